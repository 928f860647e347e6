// The reader is a state machine over pages. Between two pages it holds one of these states:
//
//   between records   the last page ended with a record; the next page begins with one (prev_ is known)
//   in a record       partial_ has its beginning; the next page continues it
//   in an unknown one  input began inside a record, or damage was met: the rest of that record is skipped,
//   which its
//                     page headers (xlp_rem_len) allow without knowing the record (prev_ is unknown)
//
// A record that lies in one page, which most do, is handed out as a view into the caller's bytes; only
// records that cross pages are copied together. The CRC is checked before anything inside a record is
// believed.
#include "pg/wal/wal_reader.h"

#include <algorithm>
#include <bit>

#include "codec/codec.h"
#include "pg/format/page.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

// XLogPageHeaderData: 0 xlp_magic, 2 xlp_info, 4 xlp_tli, 8 xlp_pageaddr, 16 xlp_rem_len, padded to 24.
// XLogLongPageHeaderData, on the first page of a segment: 24 xlp_sysid, 32 xlp_seg_size, 36 xlp_xlog_blcksz.
constexpr size_t kShortHeader = kWalPageHeaderSize;
constexpr size_t kLongHeader = kSegmentHeaderSize;
constexpr uint16_t kFirstIsContrecord = 0x0001;           // XLP_FIRST_IS_CONTRECORD
constexpr uint16_t kIsLongHeader = 0x0002;                // XLP_LONG_HEADER
constexpr uint16_t kFirstIsOverwriteContrecord = 0x0008;  // XLP_FIRST_IS_OVERWRITE_CONTRECORD
constexpr uint16_t kAllFlags = 0x000f;                    // XLP_ALL_FLAGS

// XLogRecord: 0 xl_tot_len, 4 xl_xid, 8 xl_prev, 16 xl_info, 17 xl_rmid, 20 xl_crc.
constexpr size_t kCrcOffset = 20;
constexpr uint8_t kLastBuiltinRmgr = 21;   // RM_MAX_BUILTIN_ID
constexpr uint8_t kFirstCustomRmgr = 128;  // RM_MIN_CUSTOM_ID, 15 on

// Block ids with a meaning of their own, flags (src/include/access/xlogrecord.h).
constexpr uint8_t kIdDataShort = 255;
constexpr uint8_t kIdDataLong = 254;
constexpr uint8_t kIdOrigin = 253;
constexpr uint8_t kIdToplevelXid = 252;
constexpr uint8_t kBlockForkMask = 0x0f;
constexpr uint8_t kBlockHasImage = 0x10;
constexpr uint8_t kBlockHasData = 0x20;
constexpr uint8_t kBlockWillInit = 0x40;
constexpr uint8_t kBlockSameRelation = 0x80;
constexpr uint8_t kImageHasHole = 0x01;

constexpr uint8_t kOperationSwitch = 0x40;  // XLOG_SWITCH

constexpr size_t kKeepCapacity = 4u << 20;  // a larger reassembly buffer is given back after use

constexpr size_t align8(size_t length) {
  return (length + 7) & ~size_t{7};
}

struct ImageFlags {
  bool applies;
  ImageCompression compression;
};

ImageFlags read_image_flags(uint8_t info, PageImageFlags shape) {
  if (shape == PageImageFlags::v13) {
    return {(info & 0x04) != 0, (info & 0x02) != 0 ? ImageCompression::pglz : ImageCompression::none};
  }
  ImageCompression compression = ImageCompression::none;
  if ((info & 0x04) != 0) compression = ImageCompression::pglz;
  if ((info & 0x08) != 0) compression = ImageCompression::lz4;
  if ((info & 0x10) != 0) compression = ImageCompression::zstd;
  return {(info & 0x02) != 0, compression};
}

bool valid_wal_block_size(uint32_t bytes) {
  return bytes >= 1024 && bytes <= 65536 && std::has_single_bit(bytes);
}

std::string magic_text(uint16_t magic) {
  std::string text = hex_number(magic, 4);
  const VersionTraits* version = find_version_by_wal_magic(magic);
  return version == nullptr ? text : cat(text, " (PostgreSQL ", version->major, ")");
}

}  // namespace

Result<SegmentHeader> read_segment_header(ByteView bytes) {
  auto damaged = [](std::string text) { return make_error(ErrorKind::damaged, "", std::move(text)); };
  if (bytes.size() < kSegmentHeaderSize) {
    return damaged(cat("WAL segment is too short: expected at least ", kSegmentHeaderSize, " bytes, found ",
                       bytes.size()));
  }
  if (is_all_zero(bytes.first(kSegmentHeaderSize))) return damaged("WAL segment begins with zeros");

  ByteReader in(bytes);
  SegmentHeader header;
  header.magic = in.u16();
  uint16_t info = in.u16();
  header.timeline = {in.u32()};
  header.start = {in.u64()};
  header.remaining = in.u32();
  in.u32();  // padding
  header.system_id = {in.u64()};
  header.segment_size = {in.u32()};
  header.block_size = in.u32();
  header.continues = (info & kFirstIsContrecord) != 0;

  const VersionTraits* version = find_version_by_wal_magic(header.magic);
  if (version == nullptr) {
    // The upper byte has been D0 or D1 since 9.x; anything else never was WAL.
    bool wal = header.magic >> 8 == 0xD0 || header.magic >> 8 == 0xD1;
    return make_error(wal ? ErrorKind::unsupported : ErrorKind::damaged, "",
                      cat("WAL segment has the page magic ", hex_number(header.magic, 4),
                          ", which belongs to no release of PostgreSQL ", supported_versions().front().major,
                          " to ", supported_versions().back().major));
  }
  header.major = version->major;
  if ((info & ~kAllFlags) != 0 || (info & kIsLongHeader) == 0) {
    return damaged(cat("WAL segment has impossible flags ", hex_number(info, 4), " on its first page"));
  }
  if (!SegmentSize::valid(header.segment_size.bytes)) {
    return damaged(
        cat("WAL segment states an impossible segment size of ", header.segment_size.bytes, " bytes"));
  }
  if (!valid_wal_block_size(header.block_size)) {
    return damaged(cat("WAL segment states an impossible block size of ", header.block_size, " bytes"));
  }
  if (header.start.value % header.segment_size.bytes != 0) {
    return damaged(cat("WAL segment states an impossible address of ", header.start.to_string()));
  }
  if (header.timeline.value == 0) return damaged("WAL segment states timeline 0");
  if (header.continues != (header.remaining != 0)) {
    return damaged(cat("WAL segment's first page has ", header.remaining,
                       " bytes of an earlier record, but its flags are ", hex_number(info, 4)));
  }
  return header;
}

std::string_view to_string(WalDamageKind kind) {
  switch (kind) {
    case WalDamageKind::zeros:
      return "zeros";
    case WalDamageKind::page_header:
      return "page header";
    case WalDamageKind::page_address:
      return "page address";
    case WalDamageKind::timeline:
      return "timeline";
    case WalDamageKind::foreign:
      return "foreign";
    case WalDamageKind::record_header:
      return "record header";
    case WalDamageKind::record_crc:
      return "record CRC";
    case WalDamageKind::prev_link:
      return "prev link";
    case WalDamageKind::continuation:
      return "continuation";
    case WalDamageKind::structure:
      return "structure";
    case WalDamageKind::gap:
      return "gap";
    case WalDamageKind::truncated:
      return "truncated";
  }
  return "unknown";
}

WalReader::WalReader(const WalReaderOptions& options, WalSink& sink) : options_(options), sink_(sink) {
  CHECK(options.version != nullptr);
  CHECK(SegmentSize::valid(options.segment_size.bytes));
  CHECK(valid_wal_block_size(options.block_size));
  CHECK(options.page_size == 0 || valid_page_size(options.page_size));
}

// --- input, cut into pages
// ----------------------------------------------------------------------------------------

void WalReader::feed(Lsn at, ByteView bytes) {
  if (stopped_) return;
  if (!fed_ || at != next_) {
    CHECK(at.value % options_.block_size == 0);
    bool after_switch = skip_until_.valid() && at == skip_until_ && next_ < at;
    if (fed_ && !after_switch) {
      if (at < next_) timeline_ = {};
      lose(WalDamageKind::gap, next_, cat("expected bytes at ", next_.to_string(), ", got ", at.to_string()));
      if (stopped_) return;
    }
    page_.clear();
    fed_ = true;
    next_ = at;
  }
  while (!bytes.empty() && !stopped_) {
    Lsn page_start = {next_.value - page_.size()};
    size_t take = std::min<size_t>(options_.block_size - page_.size(), bytes.size());
    if (take == options_.block_size) {
      page(page_start, bytes.first(take));
    } else {
      page_.insert(page_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(take));
      if (page_.size() == options_.block_size) {
        page(page_start, page_);
        page_.clear();
      }
    }
    next_ = next_ + take;
    bytes = bytes.subspan(take);
  }
}

void WalReader::finish() {
  if (!page_.empty() && !stopped_) {
    page({next_.value - page_.size()}, page_);
    page_.clear();
  }
  if (stopped_ || !partial_lsn_.valid()) return;
  lose(WalDamageKind::truncated, partial_lsn_,
       cat("input ends at ", next_.to_string(), " inside a record of ", partial_length_, " bytes"));
}

std::optional<WalReader::Unfinished> WalReader::unfinished() const {
  if (stopped_ || !partial_lsn_.valid()) return std::nullopt;
  return Unfinished{partial_lsn_, partial_length_, partial_timeline_, partial_};
}

// --- pages
// ----------------------------------------------------------------------------------------------------------

void WalReader::page(Lsn at, ByteView bytes) {
  if (at < skip_until_) return;
  if (options_.start && at + options_.block_size <= *options_.start) return;

  PageHeader header;
  if (!check_page_header(at, bytes, header)) return;

  size_t offset = header.size;
  if (options_.start && *options_.start > at) {
    // The caller knows that a record begins here, so what the page continues does not matter.
    offset = std::max(offset, static_cast<size_t>(options_.start->value - at.value));
    options_.start.reset();
  } else {
    options_.start.reset();
    if (partial_lsn_.valid()) {
      if (continue_record(at, bytes, header, offset) == Continued::page_consumed) return;
    } else if (skip_continuation(at, bytes, header, offset) == Continued::page_consumed) {
      return;
    }
  }
  if (!stopped_) read_records(at, bytes, offset);
}

bool WalReader::check_page_header(Lsn at, ByteView bytes, PageHeader& header) {
  if (bytes.size() < kShortHeader) return false;  // cut off: nothing to say about it yet
  auto magic = load_le<uint16_t>(bytes.data());
  if (magic != options_.version->wal_magic) {
    if (is_all_zero(bytes.first(kShortHeader))) {
      lose_page(WalDamageKind::zeros, at, "page is zeros");
    } else {
      lose_page(WalDamageKind::page_header, at,
                cat("expected page magic ", magic_text(options_.version->wal_magic), ", found ",
                    magic_text(magic)));
    }
    return false;
  }
  header.info = load_le<uint16_t>(bytes.data() + 2);
  header.remaining = load_le<uint32_t>(bytes.data() + 16);
  bool segment_start = at.value % options_.segment_size.bytes == 0;
  bool is_long = (header.info & kIsLongHeader) != 0;
  header.size = is_long ? kLongHeader : kShortHeader;
  Lsn address = {load_le<uint64_t>(bytes.data() + 8)};
  if (address != at) {
    lose_page(WalDamageKind::page_address, at, cat("page states its address as ", address.to_string()));
    return false;
  }
  if ((header.info & ~kAllFlags) != 0 || is_long != segment_start) {
    lose_page(WalDamageKind::page_header, at, cat("page has impossible flags ", hex_number(header.info, 4)));
    return false;
  }
  if (bytes.size() < header.size) return false;
  if (is_long && !check_long_header(at, bytes)) return false;

  Timeline timeline = {load_le<uint32_t>(bytes.data() + 4)};
  if (timeline.value == 0 || timeline < timeline_) {
    lose_page(WalDamageKind::timeline, at,
              cat("page is of timeline ", timeline.value, ", after one of timeline ", timeline_.value));
    return false;
  }
  if (options_.timeline && timeline > *options_.timeline) {
    lose_page(WalDamageKind::timeline, at,
              cat("page is of timeline ", timeline.value, ": expected at most ", options_.timeline->value));
    return false;
  }
  timeline_ = timeline;
  return true;
}

bool WalReader::check_long_header(Lsn at, ByteView bytes) {
  SystemId system_id = {load_le<uint64_t>(bytes.data() + 24)};
  auto segment_size = load_le<uint32_t>(bytes.data() + 32);
  auto block_size = load_le<uint32_t>(bytes.data() + 36);
  if (options_.system_id && system_id != *options_.system_id) {
    lose_page(WalDamageKind::foreign, at,
              cat("expected system identifier ", options_.system_id->value, ", found ", system_id.value));
    return false;
  }
  if (segment_size != options_.segment_size.bytes) {
    lose_page(WalDamageKind::foreign, at,
              cat("expected segments of ", options_.segment_size.bytes, " bytes, found ", segment_size));
    return false;
  }
  if (block_size != options_.block_size) {
    lose_page(WalDamageKind::foreign, at,
              cat("expected WAL blocks of ", options_.block_size, " bytes, found ", block_size));
    return false;
  }
  return true;
}

// The page after one that ended inside a record which we know.
WalReader::Continued WalReader::continue_record(Lsn at, ByteView bytes, const PageHeader& header,
                                                size_t& offset) {
  if ((header.info & kFirstIsOverwriteContrecord) != 0) {
    // The server crashed before the record was complete, and began anew on this page; its first record is an
    // XLOG_OVERWRITE_CONTRECORD, whose xl_prev names the record before the one given up. prev_ is still that.
    drop_partial();
    return Continued::no;
  }
  auto missing = static_cast<uint32_t>(partial_length_ - partial_.size());
  if ((header.info & kFirstIsContrecord) == 0 || header.remaining != missing) {
    std::string text = cat("record of ", partial_length_, " bytes lacks ", missing,
                           " bytes, but the page at ", at.to_string(), " continues with ", header.remaining);
    lose(WalDamageKind::continuation, partial_lsn_, std::move(text));
    if (stopped_) return Continued::page_consumed;
    return skip_continuation(at, bytes, header, offset);
  }
  size_t take = std::min<size_t>(missing, bytes.size() - header.size);
  ByteView more = bytes.subspan(header.size, take);
  partial_.insert(partial_.end(), more.begin(), more.end());
  if (take < missing) return Continued::page_consumed;

  offset = header.size + align8(take);
  Lsn lsn = partial_lsn_;
  // The header is checked (again): it may have crossed the pages.
  bool good =
      check_record_header(lsn, partial_) && complete_record(lsn, at + offset, partial_timeline_, partial_);
  drop_partial();
  return good && at + offset >= skip_until_ ? Continued::no : Continued::page_consumed;
}

// The page may begin with the rest of a record whose beginning we do not have.
WalReader::Continued WalReader::skip_continuation(Lsn at, ByteView bytes, const PageHeader& header,
                                                  size_t& offset) {
  bool continues = (header.info & kFirstIsContrecord) != 0;
  if (skip_left_ != 0 && (header.info & kFirstIsOverwriteContrecord) == 0 &&
      (!continues || header.remaining != skip_left_)) {
    uint32_t expected = skip_left_;
    skip_left_ = 0;
    lose(WalDamageKind::continuation, at,
         cat("expected the last ", expected, " bytes of a record, found ", header.remaining));
    if (stopped_) return Continued::page_consumed;
  }
  skip_left_ = 0;
  if (!continues) return Continued::no;
  if (prev_.valid()) {
    lose(WalDamageKind::continuation, at,
         cat("page continues a record with ", header.remaining, " bytes, but none was begun"));
    if (stopped_) return Continued::page_consumed;
  }
  size_t room = options_.block_size - header.size;
  if (!first_.valid() && !lost_) {
    size_t take = std::min<size_t>(std::min<size_t>(header.remaining, room), bytes.size() - header.size);
    sink_.continuation(bytes.subspan(header.size, take));
  }
  if (header.remaining > room) {
    skip_left_ = header.remaining - static_cast<uint32_t>(room);
    return Continued::page_consumed;
  }
  offset = header.size + align8(header.remaining);
  if (header.remaining == 0 || header.size + header.remaining > bytes.size()) return Continued::page_consumed;
  if (!lost_) boundary_ = at + offset;
  return Continued::no;
}

// --- records
// --------------------------------------------------------------------------------------------------------

void WalReader::read_records(Lsn at, ByteView bytes, size_t offset) {
  while (offset < bytes.size()) {
    Lsn lsn = at + offset;
    ByteView rest = bytes.subspan(offset);
    if (rest.size() < sizeof(uint32_t)) return;  // only at the end of a page that was cut off
    auto length = load_le<uint32_t>(rest.data());
    if (length == 0) {
      lose_page(WalDamageKind::zeros, lsn, "no record: length is 0");
      return;
    }
    if (length < kWalRecordHeaderSize || length > kMaxWalRecordSize) {
      lose(WalDamageKind::record_header, lsn,
           cat("record states an impossible length of ", length, " bytes"));
      return;
    }
    if (rest.size() >= kWalRecordHeaderSize && !check_record_header(lsn, rest)) return;
    if (length > rest.size()) {
      partial_.assign(rest.begin(), rest.end());
      partial_lsn_ = lsn;
      partial_timeline_ = timeline_;
      partial_length_ = length;
      return;
    }
    offset += align8(length);
    if (!complete_record(lsn, at + offset, timeline_, rest.first(length))) return;
    if (at < skip_until_) return;
  }
}

bool WalReader::check_record_header(Lsn lsn, ByteView header) {
  Lsn prev = {load_le<uint64_t>(header.data() + 8)};
  uint8_t rmgr = header[17];
  if (rmgr > kLastBuiltinRmgr && rmgr < kFirstCustomRmgr) {
    lose(WalDamageKind::record_header, lsn, cat("record states an impossible resource manager ", rmgr));
    return false;
  }
  if (prev_.valid() ? prev != prev_ : prev >= lsn) {
    lose(WalDamageKind::prev_link, lsn,
         cat("record names ", prev.to_string(), " as the one before: expected ",
             prev_.valid() ? prev_.to_string() : cat("a lower position")));
    return false;
  }
  return true;
}

bool WalReader::complete_record(Lsn lsn, Lsn end, Timeline timeline, ByteView bytes) {
  auto stored = load_le<uint32_t>(bytes.data() + kCrcOffset);
  uint32_t crc = codec::crc32c(0xffffffff, bytes.subspan(kWalRecordHeaderSize));
  crc = codec::crc32c(crc, bytes.first(kCrcOffset)) ^ 0xffffffff;
  if (crc != stored) {
    lose(WalDamageKind::record_crc, lsn,
         cat("record of ", bytes.size(), " bytes has a wrong CRC: stored ", hex_number(stored, 8),
             ", computed ", hex_number(crc, 8)));
    return false;
  }

  WalRecord record;
  record.lsn = lsn;
  record.end = end;
  record.timeline = timeline;
  record.total_length = static_cast<uint32_t>(bytes.size());
  record.bytes = bytes;
  record.xid = load_le<uint32_t>(bytes.data() + 4);
  record.prev = {load_le<uint64_t>(bytes.data() + 8)};
  record.info = bytes[16];
  record.rmgr = static_cast<Rmgr>(bytes[17]);
  if (record.rmgr == Rmgr::xlog && record.operation() == kOperationSwitch) {
    uint64_t segment = options_.segment_size.bytes;
    record.end = {(end.value + segment - 1) / segment * segment};
    skip_until_ = record.end;
  }
  if (const char* wrong = take_apart(bytes, record)) {
    lose(WalDamageKind::structure, lsn, wrong);
    return false;
  }

  if (!first_.valid()) first_ = lsn;
  prev_ = lsn;
  end_ = record.end;
  boundary_ = record.end;
  lost_ = false;
  ++record_count_;
  sink_.record(record);
  return true;
}

// Fills what lies behind the header; returns what is wrong, or nullptr. A record is a list of headers (block
// references, origin, top-level xid, length of the main data) and then the bytes that they announce, in that
// order.
const char* WalReader::take_apart(ByteView bytes, WalRecord& record) {
  ByteReader in(bytes.subspan(kWalRecordHeaderSize));
  std::array<uint16_t, kMaxWalBlocks> image_lengths;
  std::array<uint16_t, kMaxWalBlocks> data_lengths;
  size_t count = 0;
  size_t announced = 0;
  size_t main_length = 0;
  bool more = true;
  while (more && in.remaining() > announced) {
    uint8_t id = in.u8();
    switch (id) {
      case kIdDataShort:
        main_length = in.u8();
        announced += main_length;
        more = false;  // always the last header
        continue;
      case kIdDataLong:
        main_length = in.u32();
        announced += main_length;
        more = false;
        continue;
      case kIdOrigin:
        record.origin = in.u16();
        continue;
      case kIdToplevelXid:
        if (!options_.version->toplevel_xid) return "top-level xid in a version that has none";
        record.toplevel_xid = in.u32();
        continue;
      default:
        break;
    }
    if (id >= kMaxWalBlocks) return "block id out of range";
    if (count > 0 && id <= blocks_[count - 1].id) return "block ids do not ascend";

    WalBlock& block = blocks_[count];
    uint8_t flags = in.u8();
    block.id = id;
    if ((flags & kBlockForkMask) > static_cast<uint8_t>(Fork::init)) return "fork number out of range";
    block.fork = static_cast<Fork>(flags & kBlockForkMask);
    block.will_init = (flags & kBlockWillInit) != 0;
    block.has_image = (flags & kBlockHasImage) != 0;
    data_lengths[count] = in.u16();
    if (((flags & kBlockHasData) != 0) != (data_lengths[count] != 0))
      return "block data flag and length disagree";
    image_lengths[count] = 0;
    block.image_applies = false;
    block.compression = ImageCompression::none;
    block.hole_offset = 0;
    block.hole_length = 0;
    if (block.has_image) {
      uint16_t length = in.u16();
      uint16_t hole_offset = in.u16();
      uint8_t info = in.u8();
      ImageFlags image = read_image_flags(info, options_.version->page_image_flags);
      image_lengths[count] = length;
      block.image_applies = image.applies;
      block.compression = image.compression;
      bool hole = (info & kImageHasHole) != 0;
      if (hole) block.hole_offset = hole_offset;
      uint32_t page_size = options_.page_size;
      if (page_size != 0 && length > page_size) return "page image is longer than a page";
      if (image.compression != ImageCompression::none) {
        block.hole_length = hole ? in.u16() : uint16_t{0};
      } else if (page_size != 0) {
        block.hole_length = static_cast<uint16_t>(page_size - length);
        if (hole != (block.hole_length != 0)) return "page image flag and length disagree";
      }
      if (page_size != 0 && uint32_t{block.hole_offset} + block.hole_length > page_size) {
        return "hole of a page image exceeds the page";
      }
    }
    if ((flags & kBlockSameRelation) == 0) {
      block.relation.tablespace = in.u32();
      block.relation.database = in.u32();
      block.relation.number = in.u32();
    } else if (count == 0) {
      return "first block refers to the relation of a block before";
    } else {
      block.relation = blocks_[count - 1].relation;
    }
    block.block = in.u32();
    announced += size_t{image_lengths[count]} + data_lengths[count];
    ++count;
  }
  if (!in.ok() || in.remaining() != announced) return "lengths in the record do not add up";

  for (size_t i = 0; i < count; ++i) {
    blocks_[i].image = in.bytes(image_lengths[i]);
    blocks_[i].data = in.bytes(data_lengths[i]);
  }
  record.main_data = in.bytes(main_length);
  record.blocks = {blocks_.data(), count};
  return nullptr;
}

namespace {

class PassOn : public WalSink {
 public:
  explicit PassOn(WalSink& sink) : sink_(sink) {}
  void record(const WalRecord& record) override {
    WalRecord passed = record;
    passed.end = {};
    sink_.record(passed);
  }
  void damage(const WalDamage& damage) override { damage_ = damage; }
  const std::optional<WalDamage>& found() const { return damage_; }

 private:
  WalSink& sink_;
  std::optional<WalDamage> damage_;
};

}  // namespace

Status read_record(const WalReaderOptions& options, Lsn lsn, Timeline timeline, ByteView bytes,
                   WalSink& sink) {
  std::string object = cat("WAL record at ", lsn.to_string());
  if (bytes.size() < kWalRecordHeaderSize || load_le<uint32_t>(bytes.data()) != bytes.size()) {
    return make_error(ErrorKind::damaged, object,
                      cat("its length is not the ", bytes.size(), " bytes it has"));
  }
  PassOn pass_on(sink);
  WalReader reader(options, pass_on);
  if (reader.check_record_header(lsn, bytes))
    reader.complete_record(lsn, lsn + bytes.size(), timeline, bytes);
  if (!pass_on.found()) return {};
  return make_error(ErrorKind::damaged, object, pass_on.found()->text);
}

// --- damage
// ---------------------------------------------------------------------------------------------------------

void WalReader::drop_partial() {
  partial_lsn_ = {};
  partial_.clear();
  if (partial_.capacity() > kKeepCapacity) Bytes().swap(partial_);
}

void WalReader::lose(WalDamageKind kind, Lsn lsn, std::string text) {
  // `partial_` keeps its bytes here: the caller may hold a view of them. The next record overwrites them.
  partial_lsn_ = {};
  prev_ = {};
  skip_left_ = 0;
  skip_until_ = {};
  lost_ = true;
  if (options_.after_damage == AfterDamage::stop) stopped_ = true;
  sink_.damage({kind, lsn, std::move(text)});
}

// A page that is no page of this WAL, or empty: reported once for a stretch of such pages.
void WalReader::lose_page(WalDamageKind kind, Lsn lsn, std::string text) {
  if (lost_) return;
  lose(kind, lsn, std::move(text));
}

// --- conveniences
// ---------------------------------------------------------------------------------------------------

namespace {

class FirstDamage : public WalSink {
 public:
  void record(const WalRecord&) override {}
  void damage(const WalDamage& damage) override {
    if (!found_) found_ = damage;
  }
  const std::optional<WalDamage>& found() const { return found_; }

 private:
  std::optional<WalDamage> found_;
};

}  // namespace

Result<ValidEnd> valid_end(ByteView segment) {
  TRY_ASSIGN(SegmentHeader header, read_segment_header(segment));
  WalReaderOptions options;
  options.version = find_version(header.major);
  options.segment_size = header.segment_size;
  options.block_size = header.block_size;
  options.page_size = 0;  // not stated in WAL, and not needed to find the end
  options.after_damage = AfterDamage::stop;
  FirstDamage sink;
  WalReader reader(options, sink);
  Lsn segment_end = header.start + header.segment_size.bytes;
  segment = segment.first(std::min<size_t>(segment.size(), header.segment_size.bytes));
  reader.feed(header.start, segment);

  ValidEnd result;
  bool whole = segment.size() == header.segment_size.bytes;
  if (!sink.found() && (whole || reader.end_of_records() == segment_end)) {
    result.end = segment_end;
    result.full = true;
    return result;
  }
  reader.finish();
  // The padding of the last record may be what is missing.
  result.end = std::clamp(reader.boundary(), header.start, header.start + segment.size());
  if (sink.found()) {
    result.reason = *sink.found();
  } else {
    result.reason = {WalDamageKind::truncated, header.start + segment.size(), "the file ends here"};
  }
  return result;
}

}  // namespace lifeboat::pg
