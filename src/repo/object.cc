#include "repo/object.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr std::string_view kMagic = "LIFEBOAT";
constexpr uint16_t kFormatVersion = 1;
constexpr size_t kBodyHead = 4;
constexpr uint8_t kLastFlag = 0x80;
constexpr size_t kWholeObjectFrame = 1 << 20;

enum class Seal : uint8_t { xxh3 = 0, aes_gcm = 1 };

struct Header {
  ObjectKind kind;
  Seal seal;
  uint32_t key_id;
  codec::Hash128 object_id;
  std::array<uint8_t, 32> salt;
};

std::array<uint8_t, kHeaderSize> encode(const Header& header) {
  std::array<uint8_t, kHeaderSize> raw{};
  std::copy(kMagic.begin(), kMagic.end(), raw.begin());
  store_le<uint16_t>(&raw[8], kFormatVersion);
  raw[10] = static_cast<uint8_t>(header.kind);
  raw[11] = static_cast<uint8_t>(header.seal);
  store_le<uint32_t>(&raw[12], header.key_id);
  std::copy(header.object_id.begin(), header.object_id.end(), &raw[16]);
  std::copy(header.salt.begin(), header.salt.end(), &raw[32]);
  return raw;
}

Result<Header> decode_header(const std::string& name, const std::array<uint8_t, kHeaderSize>& raw) {
  auto damaged = [&](std::string what) { return make_error(ErrorKind::damaged, name, std::move(what)); };
  if (as_text(ByteView(raw).first(8)) != kMagic) return damaged("not a lifeboat object");
  uint16_t version = load_le<uint16_t>(&raw[8]);
  if (version != kFormatVersion) {
    return make_error(ErrorKind::unsupported, name,
                      cat("format version ", version, ", this program reads ", kFormatVersion));
  }
  Header header{};
  header.kind = static_cast<ObjectKind>(raw[10]);
  if (raw[11] > 1) return damaged(cat("unknown seal ", raw[11]));
  header.seal = static_cast<Seal>(raw[11]);
  header.key_id = load_le<uint32_t>(&raw[12]);
  std::copy_n(&raw[16], 16, header.object_id.begin());
  std::copy_n(&raw[32], 32, header.salt.begin());
  return header;
}

Result<codec::Sealer> sealer_for(const Keyring& keys, const Header& header) {
  if (header.seal == Seal::xxh3) return codec::Sealer();
  TRY_ASSIGN(codec::SecretKey key, keys.object_key(header.key_id, header.salt));
  return codec::Sealer(key);
}

}  // namespace

std::string_view to_string(ObjectKind kind) {
  static constexpr std::string_view kNames[] = {"object",   "data pack", "node pack", "manifest",  "card",
                                                "WAL file", "lineage",   "lease",     "tombstone", "evidence",
                                                "attempt",  "summary",   "tail"};
  size_t index = static_cast<size_t>(kind);
  return index < std::size(kNames) ? kNames[index] : kNames[0];
}

FrameWriter::FrameWriter(std::unique_ptr<storage::ObjectWriter> writer, std::string name,
                         codec::Sealer sealer, CompressionOptions compression)
    : writer_(std::move(writer)),
      name_(std::move(name)),
      sealer_(std::move(sealer)),
      compressor_(compression.compression, compression.level) {}

Result<FrameWriter> FrameWriter::create(storage::Store& store, const Keyring& keys, ObjectKind kind,
                                        std::string name, CompressionOptions compression) {
  Header header{kind,
                keys.encrypted() ? Seal::aes_gcm : Seal::xxh3,
                keys.current(),
                codec::hash128(as_bytes(name)),
                {}};
  codec::random_bytes(header.salt);
  TRY_ASSIGN(codec::Sealer sealer, sealer_for(keys, header));
  TRY_ASSIGN(auto writer, store.create(name));
  FrameWriter frames(std::move(writer), std::move(name), std::move(sealer), compression);
  frames.header_ = encode(header);
  TRY(frames.writer_->append(frames.header_));
  frames.size_ = kHeaderSize;
  return frames;
}

Result<FramePlace> FrameWriter::append(ByteView plain, FrameEnd end) {
  CHECK(plain.size() <= kMaxPlain && !ended_);
  size_t room = kFrameOverhead + codec::Compressor::bound(plain.size());
  if (buffer_.size() < room) buffer_.resize(room);
  uint8_t* body = buffer_.data() + 4;
  auto outcome = compressor_.compress(plain, MutableBytes(body + kBodyHead, buffer_.size() - kFrameOverhead));
  ended_ = end == FrameEnd::last;
  body[0] = static_cast<uint8_t>(static_cast<uint8_t>(outcome.used) | (ended_ ? kLastFlag : 0));
  body[1] = static_cast<uint8_t>(plain.size());
  body[2] = static_cast<uint8_t>(plain.size() >> 8);
  body[3] = static_cast<uint8_t>(plain.size() >> 16);
  size_t body_size = kBodyHead + outcome.size;
  FramePlace place{frames_, size_ + 4, static_cast<uint32_t>(body_size + codec::kTagSize)};
  store_le<uint32_t>(buffer_.data(), place.length);
  sealer_.seal(frames_, header_, MutableBytes(body, body_size),
               std::span<uint8_t, codec::kTagSize>(body + body_size, codec::kTagSize));
  TRY(writer_->append(ByteView(buffer_.data(), 4 + place.length)));
  size_ += 4 + place.length;
  ++frames_;
  return place;
}

FrameReader::FrameReader(std::unique_ptr<storage::ObjectReader> reader, std::string name,
                         codec::Sealer sealer, std::array<uint8_t, kHeaderSize> header)
    : reader_(std::move(reader)), name_(std::move(name)), sealer_(std::move(sealer)), header_(header) {}

Result<FrameReader> FrameReader::open(storage::Store& store, const Keyring& keys, ObjectKind kind,
                                      std::string name) {
  TRY_ASSIGN(auto reader, store.open(name));
  std::array<uint8_t, kHeaderSize> raw{};
  if (reader->size() < kHeaderSize)
    return make_error(ErrorKind::damaged, name, cat("only ", reader->size(), " bytes long"));
  TRY(reader->read_at(0, raw));
  TRY_ASSIGN(Header header, decode_header(name, raw));
  if (header.kind != kind) {
    return make_error(ErrorKind::damaged, name,
                      cat("holds a ", to_string(header.kind), ", expected a ", to_string(kind)));
  }
  if (header.object_id != codec::hash128(as_bytes(name))) {
    return make_error(ErrorKind::damaged, name, "its header names another object");
  }
  if ((header.seal == Seal::aes_gcm) != keys.encrypted() ||
      (header.seal == Seal::xxh3 && header.key_id != 0)) {
    return make_error(ErrorKind::damaged, name,
                      keys.encrypted() ? "not encrypted in an encrypted repository"
                                       : "encrypted in a repository without encryption");
  }
  auto sealer = sealer_for(keys, header);
  if (!sealer) {
    // The key opened the repository, so it is this one object that names a key nobody has: a damaged header.
    return make_error(ErrorKind::damaged, name,
                      cat("sealed with key ", header.key_id, ", which is not at hand"));
  }
  return FrameReader(std::move(reader), std::move(name), std::move(*sealer), raw);
}

Error FrameReader::damaged(std::string message) const {
  return make_error(ErrorKind::damaged, name_, std::move(message));
}

Status FrameReader::decode(const FramePlace& place, MutableBytes stored, Frame& frame) {
  if (place.length < kBodyHead + codec::kTagSize || stored.size() != place.length) {
    return damaged(cat("frame ", place.number, " at ", place.offset, ": impossible length ", place.length));
  }
  MutableBytes body = stored.first(stored.size() - codec::kTagSize);
  std::span<const uint8_t, codec::kTagSize> tag(stored.data() + body.size(), codec::kTagSize);
  if (!sealer_.open(place.number, header_, body, tag)) {
    return damaged(
        cat("frame ", place.number, " at ", place.offset, ": its seal does not match its content"));
  }
  frame.last = (body[0] & kLastFlag) != 0;
  auto compression = static_cast<codec::Compression>(body[0] & 0x0f);
  if ((body[0] & 0x70) != 0) return damaged(cat("frame ", place.number, ": unknown flags"));
  size_t plain_size = body[1] | static_cast<size_t>(body[2]) << 8 | static_cast<size_t>(body[3]) << 16;
  frame.plain.resize(plain_size);
  if (auto opened = decompressor_.decompress(compression, body.subspan(kBodyHead), frame.plain); !opened) {
    return damaged(cat("frame ", place.number, " at ", place.offset, ": ", opened.error().to_string()));
  }
  return {};
}

Status FrameReader::read(const FramePlace& place, Frame& frame) {
  if (place.offset > size() || place.length > size() - place.offset) {
    return damaged(cat("frame ", place.number, " at ", place.offset, " lies past the end of the object, ",
                       size(), " bytes"));
  }
  if (buffer_.size() < place.length) buffer_.resize(place.length);
  MutableBytes stored(buffer_.data(), place.length);
  TRY(reader_->read_at(place.offset, stored));
  return decode(place, stored, frame);
}

Status FrameReader::next(Frame& frame) {
  uint8_t raw[4];
  if (size() - position_ < sizeof raw) return damaged(cat("ends at ", size(), " without its last frame"));
  TRY(reader_->read_at(position_, raw));
  last_place_ = {next_number_, position_ + 4, load_le<uint32_t>(raw)};
  TRY(read(last_place_, frame));
  ++next_number_;
  position_ += 4 + last_place_.length;
  return {};
}

Status FrameReader::expect_end(uint64_t trailer_size) const {
  if (size() - position_ == trailer_size) return {};
  return damaged(cat(size() - position_, " bytes after its last frame, expected ", trailer_size));
}

bool is_lost(const Error& error) {
  return error.kind == ErrorKind::damaged || error.kind == ErrorKind::unsupported ||
         error.kind == ErrorKind::not_found;
}

Status put_object(storage::Store& store, const Keyring& keys, ObjectKind kind, const std::string& name,
                  ByteView plain, CompressionOptions compression) {
  TRY_ASSIGN(FrameWriter writer, FrameWriter::create(store, keys, kind, name, compression));
  do {
    ByteView piece = plain.first(std::min(plain.size(), kWholeObjectFrame));
    plain = plain.subspan(piece.size());
    TRY(writer.append(piece, plain.empty() ? FrameEnd::last : FrameEnd::more));
  } while (!plain.empty());
  return writer.commit();
}

Result<Bytes> get_object(storage::Store& store, const Keyring& keys, ObjectKind kind, const std::string& name,
                         uint64_t size_limit) {
  TRY_ASSIGN(FrameReader reader, FrameReader::open(store, keys, kind, name));
  Bytes content;
  Frame frame;
  do {
    TRY(reader.next(frame));
    if (content.size() + frame.plain.size() > size_limit) {
      return make_error(ErrorKind::damaged, name, cat("larger than ", size_limit, " bytes"));
    }
    content.insert(content.end(), frame.plain.begin(), frame.plain.end());
  } while (!frame.last);
  TRY(reader.expect_end());
  return content;
}

}  // namespace lifeboat::repo
