// The one physical form of every object but the few plain-text ones: a 64-byte header and sealed frames.
//
//   header (64 bytes)                          frame
//    0  8  "LIFEBOAT"                           0  4  length of what follows: body + tag (u32 LE)
//    8  2  format version (1)                   4  n  body, sealed
//   10  1  kind                                       0  1  bits 0-3 compression, bit 7 last frame
//   11  1  seal: 0 XXH3-128, 1 AES-256-GCM            1  3  plain size (u24 LE)
//   12  4  key id (0: not encrypted)                  4     compressed bytes
//   16 16  XXH3-128 of the object's name      4+n 16  tag
//   32 32  random salt
//
// Frame number n (from 0) is the nonce, the header is the associated data, and the object's key comes from
// the salt, so that no (key, nonce) pair occurs twice (T47), no frame can be moved within or between objects,
// and no object can stand under another's name. After the frame marked last nothing but a kind's own trailer
// may follow.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "codec/codec.h"
#include "repo/keyring.h"
#include "storage/store.h"

namespace lifeboat::repo {

enum class ObjectKind : uint8_t {  // stored: docs/format.md
  data_pack = 1,
  node_pack = 2,
  manifest = 3,
  card = 4,
  wal = 5,
  lineage = 6,
  lease = 7,
  tombstone = 8,
  evidence = 9,
  attempt = 10,
  summary = 11,
  tail = 12,
};
std::string_view to_string(ObjectKind kind);

inline constexpr size_t kHeaderSize = 64;
inline constexpr size_t kFrameOverhead = 4 + 4 + codec::kTagSize;  // length, body head, tag
inline constexpr size_t kMaxPlain = (1u << 24) - 1;

struct CompressionOptions {
  codec::Compression compression = codec::Compression::zstd;
  int level = 1;
};

// Where a frame lies in its object.
struct FramePlace {
  uint32_t number = 0;
  uint64_t offset = 0;  // of the body, past the length
  uint32_t length = 0;  // body and tag
};

enum class FrameEnd : uint8_t { more, last };

// Writes one object. Not thread-safe; each worker has its own.
class FrameWriter {
 public:
  static Result<FrameWriter> create(storage::Store& store, const Keyring& keys, ObjectKind kind,
                                    std::string name, CompressionOptions compression);
  // Compresses, seals and appends one frame of at most kMaxPlain bytes.
  Result<FramePlace> append(ByteView plain, FrameEnd end);
  // Bytes after the last frame (a pack's trailer).
  Status append_trailer(ByteView bytes) { return writer_->append(bytes); }
  Status commit() { return writer_->commit(); }
  // The object without our buffers, to be committed later by whoever takes it; nothing may be appended.
  std::unique_ptr<storage::ObjectWriter> release() && { return std::move(writer_); }
  uint64_t size() const { return size_; }  // bytes so far, without a trailer
  const std::string& name() const { return name_; }

 private:
  FrameWriter(std::unique_ptr<storage::ObjectWriter> writer, std::string name, codec::Sealer sealer,
              CompressionOptions compression);
  std::unique_ptr<storage::ObjectWriter> writer_;
  std::string name_;
  codec::Sealer sealer_;
  codec::Compressor compressor_;
  std::array<uint8_t, kHeaderSize> header_{};
  Bytes buffer_;
  uint64_t size_ = 0;
  uint32_t frames_ = 0;
  bool ended_ = false;
};

// A decoded frame.
struct Frame {
  Bytes plain;
  bool last = false;
};

// Reads one object. read() may not be called concurrently on one reader (contexts are reused); open one per
// thread.
class FrameReader {
 public:
  static Result<FrameReader> open(storage::Store& store, const Keyring& keys, ObjectKind kind,
                                  std::string name);
  // The frame at a known place. `plain` is reused across calls. `damaged` names object and frame.
  Status read(const FramePlace& place, Frame& frame);
  // The same from bytes that the caller fetched (body and tag, decrypted in place), so that one read of the
  // store can serve many frames.
  Status decode(const FramePlace& place, MutableBytes stored, Frame& frame);
  // Raw bytes of the object.
  Status read_raw(uint64_t offset, MutableBytes out) { return reader_->read_at(offset, out); }
  // The next frame in order; begins with the first. After the last frame call end().
  Status next(Frame& frame);
  // `damaged` unless exactly `trailer_size` bytes follow the last frame read by next().
  Status expect_end(uint64_t trailer_size = 0) const;
  uint64_t size() const { return reader_->size(); }
  uint64_t position() const { return position_; }        // after the frames read by next()
  FramePlace last_place() const { return last_place_; }  // of the frame that next() read
  const std::string& name() const { return name_; }

 private:
  FrameReader(std::unique_ptr<storage::ObjectReader> reader, std::string name, codec::Sealer sealer,
              std::array<uint8_t, kHeaderSize> header);
  Error damaged(std::string message) const;
  std::unique_ptr<storage::ObjectReader> reader_;
  std::string name_;
  codec::Sealer sealer_;
  codec::Decompressor decompressor_;
  std::array<uint8_t, kHeaderSize> header_;
  Bytes buffer_;
  uint64_t position_ = kHeaderSize;
  uint32_t next_number_ = 0;
  FramePlace last_place_;
};

// Whether what was to be read is gone or broken, so that it is as if it had never been there; a flipped bit
// may look like a later format. Other errors (the store does not answer, the key is missing) say nothing
// about the object.
bool is_lost(const Error& error);

// Whole small objects: content cut into frames of 1 MiB.
Status put_object(storage::Store& store, const Keyring& keys, ObjectKind kind, const std::string& name,
                  ByteView plain, CompressionOptions compression = {});
Result<Bytes> get_object(storage::Store& store, const Keyring& keys, ObjectKind kind, const std::string& name,
                         uint64_t size_limit);

}  // namespace lifeboat::repo
