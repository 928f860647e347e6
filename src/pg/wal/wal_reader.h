// Walks the records of write-ahead log of PostgreSQL 13 to 18 from bytes.
//
// The caller feeds consecutive bytes, whole segments or chunks of any size, and gets each complete, verified
// record through a sink. No I/O, no exceptions. Damage is reported to the sink, and reading goes on at the
// next page that holds together, so one flipped bit costs one page's records, not the rest of the archive.
//
//   class Count : public WalSink { void record(const WalRecord& r) override { ++n; } … };
//   WalReader reader({.version = find_version(15), .segment_size = {16 << 20}}, sink);
//   reader.feed(name.start(size), bytes);   // repeated, consecutive
//   reader.finish();
//
// Checked: page headers (magic, address, system identifier, segment and block size, timeline never going
// back), continuation lengths, record CRC-32C, xl_prev of each record against the record before, the record's
// inner structure. Sources: src/backend/access/transam/xlogreader.c, src/include/access/xlog_internal.h,
// xlogrecord.h.
//
// Memory: one page, and one buffer for records that cross pages. The buffer grows as bytes arrive, never
// ahead of them, to at most the length that the record's header states (bounded by kMaxWalRecordSize). Thread
// rule: one reader belongs to one thread at a time; readers are independent of each other.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lsn.h"
#include "model/wal_name.h"
#include "pg/format/version.h"
#include "pg/wal/wal_record.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::pg {

// --- the header of a segment
// -----------------------------------------------------------------------------------

// What the first page of a segment says of itself (XLogLongPageHeaderData).
struct SegmentHeader {
  uint16_t magic = 0;
  int major = 0;      // by the magic
  Timeline timeline;  // of the first page: an ancestor's, when the segment was copied at a promotion
  Lsn start;          // xlp_pageaddr: the segment's first position
  SystemId system_id;
  SegmentSize segment_size;
  uint32_t block_size = 0;  // XLOG_BLCKSZ
  bool continues = false;   // the page begins with the rest of a record of the segment before
  uint32_t remaining = 0;   // bytes of that rest, which may go on in later segments
};
inline constexpr size_t kSegmentHeaderSize = 40;
inline constexpr size_t kWalPageHeaderSize = 24;  // of every page but a segment's first
// `bytes`: the first 40 bytes or more of a segment file. `damaged`: too short, no long header, impossible
// sizes or address; `unsupported`: the magic of no supported major. All zeros are `damaged` too, with a text
// that says so.
Result<SegmentHeader> read_segment_header(ByteView bytes);

// --- damage
// ------------------------------------------------------------------------------------------------------

enum class WalDamageKind : uint8_t {
  zeros,  // zeros where a record or page should be: the ordinary end of a segment that was being written
  page_header,    // magic, flags or sizes
  page_address,   // the page belongs to another position: the ordinary end of a recycled segment
  timeline,       // a page's timeline is lower than an earlier page's, or higher than allowed
  foreign,        // system identifier, segment size or block size differ from what was stated
  record_header,  // length or fields impossible
  record_crc,
  prev_link,     // xl_prev does not point to the record before
  continuation,  // the next page does not continue the record that the last one began
  structure,     // CRC right, but block references or lengths contradict each other
  gap,           // bytes that were fed are not consecutive
  truncated,     // input ended inside a record (reported by finish)
};
std::string_view to_string(WalDamageKind kind);

struct WalDamage {
  WalDamageKind kind = WalDamageKind::zeros;
  Lsn lsn;           // the record or page that is wrong
  std::string text;  // expected and found
};

class WalSink {
 public:
  virtual ~WalSink() = default;
  virtual void record(const WalRecord& record) = 0;
  virtual void damage(const WalDamage& damage) = 0;
  // The rest of a record that began before what is fed, without page headers, piece by piece. Comes before
  // the first record(); nothing of it has been checked.
  virtual void continuation(ByteView) {}
};

// --- the reader
// ----------------------------------------------------------------------------------------------------

enum class AfterDamage : uint8_t {
  stop,    // ignore everything that follows
  resync,  // skip to the next good page and go on
};

struct WalReaderOptions {
  const VersionTraits* version = nullptr;  // required
  SegmentSize segment_size = {};
  uint32_t block_size = 8192;  // of WAL pages (XLOG_BLCKSZ); a power of two from 1 to 64 kB
  uint32_t page_size =
      8192;  // of data pages (BLCKSZ), from which the hole of a page image is computed; 0: unknown
  std::optional<SystemId> system_id = std::nullopt;  // compared with each segment's when given
  std::optional<Timeline> timeline = std::nullopt;   // no page may have a higher one
  // Where the first record begins, when that is known (a redo position, the end of what was read before).
  // Pages before it are ignored. Otherwise reading begins with the first record that begins in what is fed.
  std::optional<Lsn> start = std::nullopt;
  AfterDamage after_damage = AfterDamage::resync;
};

class WalReader {
 public:
  // CHECKs that the options have a version and valid sizes. `sink` outlives the reader.
  WalReader(const WalReaderOptions& options, WalSink& sink);

  // The bytes at `at` and following. The first call starts at a page boundary (CHECKed); later ones continue
  // where the last ended, or at the next segment after an xlog switch; else the hole is reported as `gap` and
  // reading starts anew there (at a page boundary, CHECKed). In `resync` mode records may follow after a
  // report of zeros: then there is a hole in the WAL.
  void feed(Lsn at, ByteView bytes);
  // Reads a last page that arrived only in part, and reports a record that was cut off. Nothing is fed
  // afterwards.
  void finish();

  // Where the first record was found, 0 before it was.
  Lsn first_record() const { return first_; }
  // Just past the last good record (PostgreSQL's EndRecPtr), 0 before the first.
  Lsn end_of_records() const { return end_; }
  // The same, or just past the rest of an earlier record with which the input began: all bytes up to here
  // held together.
  Lsn boundary() const { return boundary_; }
  // The record that was begun and not ended by what was fed; call it before finish(). Its header is checked
  // when all of it is there; the bytes are valid until the next call of the reader.
  struct Unfinished {
    Lsn lsn;
    uint32_t length = 0;  // xl_tot_len
    Timeline timeline;
    ByteView bytes;
  };
  std::optional<Unfinished> unfinished() const;
  // False once damage was met in `stop` mode.
  bool running() const { return !stopped_; }
  uint64_t records() const { return record_count_; }

 private:
  struct PageHeader {
    uint16_t info = 0;
    uint32_t remaining = 0;  // xlp_rem_len
    size_t size = 0;
  };
  enum class Continued : uint8_t { no, page_consumed };

  void page(Lsn at, ByteView bytes);
  bool check_page_header(Lsn at, ByteView bytes, PageHeader& header);
  bool check_long_header(Lsn at, ByteView bytes);
  Continued continue_record(Lsn at, ByteView bytes, const PageHeader& header, size_t& offset);
  Continued skip_continuation(Lsn at, ByteView bytes, const PageHeader& header, size_t& offset);
  void read_records(Lsn at, ByteView bytes, size_t offset);
  bool check_record_header(Lsn lsn, ByteView header);
  bool complete_record(Lsn lsn, Lsn end, Timeline timeline, ByteView bytes);
  const char* take_apart(ByteView bytes, WalRecord& record);
  void drop_partial();
  friend Status read_record(const WalReaderOptions&, Lsn, Timeline, ByteView, WalSink&);
  void lose(WalDamageKind kind, Lsn lsn, std::string text);
  void lose_page(WalDamageKind kind, Lsn lsn, std::string text);

  WalReaderOptions options_;
  WalSink& sink_;

  Lsn next_;  // the next byte to be fed
  bool fed_ = false;
  Bytes page_;  // the beginning of a page that has arrived in part
  bool stopped_ = false;

  Bytes partial_;    // a record that continues on the next page
  Lsn partial_lsn_;  // where it begins; 0: none
  Timeline partial_timeline_;
  uint32_t partial_length_ = 0;  // its xl_tot_len

  uint32_t skip_left_ = 0;  // bytes of an unknown record's rest that the next page must continue; 0: unknown
  Lsn skip_until_;          // the segment's end after an xlog switch
  Lsn prev_;                // the last good record, which the next one must name; 0: unknown
  bool lost_ = false;       // damage was reported and no good record seen since
  Timeline timeline_;       // of the last good page
  Lsn first_;
  Lsn end_;
  Lsn boundary_;
  uint64_t record_count_ = 0;
  std::array<WalBlock, kMaxWalBlocks> blocks_;
};

// One record whose bytes were put together elsewhere, without page headers. Checked as by the reader, but for
// what its neighbours say of it; `end` stays 0, because it depends on the pages. `damaged` instead of a
// report to the sink.
Status read_record(const WalReaderOptions& options, Lsn lsn, Timeline timeline, ByteView bytes,
                   WalSink& sink);

// --- conveniences
// --------------------------------------------------------------------------------------------------

// Where the valid part of a segment ends that may be filled only in part (T22: of a .partial file, bytes from
// `end` on mean nothing).
struct ValidEnd {
  Lsn end;  // just past the last complete valid record, or past the rest of an earlier segment's record with
            // which this one begins; the segment's start when nothing in it is valid
  bool full = false;  // nothing is wrong up to the segment's end (a record may continue in the next), or an
                      // xlog switch filled it: `end` is then the segment's end
  WalDamage reason;   // what stopped the reader; meaningless when full
};
// `segment` is a whole file or its beginning. Errors: those of read_segment_header.
Result<ValidEnd> valid_end(ByteView segment);

}  // namespace lifeboat::pg
