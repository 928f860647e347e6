#include "ops/heal/blocks.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "pg/files/data_dir.h"
#include "pg/files/range_reader.h"
#include "pg/server/postmaster.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr size_t kReadBytes = 1 << 20;
// A server writes a page in one call; one that stays torn for half a second is damaged.
constexpr int kReads = 6;
constexpr auto kBetweenReads = std::chrono::milliseconds(100);

class BlockScanner {
 public:
  BlockScanner(const DataDirFacts& data_dir, Reporter& reporter, const StopToken& stop,
               const RelationFilter& wanted)
      : data_dir_(data_dir), reporter_(reporter), stop_(stop), wanted_(wanted), buffer_(kReadBytes) {}

  Result<BlockScan> run() {
    TRY_ASSIGN(auto running, pg::running_server(data_dir_.path));
    scan_.running = running.has_value();
    scan_.checksums = data_dir_.control.checksums();
    if (!scan_.checksums)
      scan_.notes.emplace_back(
          "no data checksums: pages are judged by their headers, most damage is not seen");
    pg::DataDirOptions options;
    options.data_directory = data_dir_.path;
    options.major = data_dir_.version->major;
    options.tablespace_version_dir = cat("PG_", options.major, "_", data_dir_.control.catalog_version);
    TRY_ASSIGN(pg::DataDirLister lister, pg::DataDirLister::open(options));
    TRY(lister.walk([&](const pg::DirectoryListing& listing) { return scan_directory(lister, listing); },
                    &stop_));
    return std::move(scan_);
  }

 private:
  Status scan_directory(const pg::DataDirLister& lister, const pg::DirectoryListing& listing) {
    for (const pg::Entry& entry : listing.entries) {
      if (entry.file_class != pg::FileClass::relation) continue;
      if (wanted_ && !wanted_(join_path(listing.path, cat(entry.relfilenode)))) continue;
      const std::string path = join_path(listing.path, entry.name);
      TRY(scan_file(lister.absolute(path), path, entry));
    }
    return {};
  }

  Status scan_file(const std::string& file, const std::string& path, const pg::Entry& entry) {
    TRY_ASSIGN(auto reader, pg::RangeReader::open(file));
    if (!reader) return {};  // dropped meanwhile
    ++scan_.files;
    const uint32_t page = data_dir_.control.block_size;
    const uint64_t first = entry.first_block(data_dir_.control.relation_segment_blocks);
    for (uint64_t offset = 0;;) {
      TRY(stop_.check());
      TRY_ASSIGN(size_t size, reader->read(offset, buffer_));
      for (size_t at = 0; at + page <= size; at += page) {
        DamagedBlock block{path, entry.fork, static_cast<uint32_t>(first + (offset + at) / page),
                           offset + at};
        TRY(judge(*reader, MutableBytes(buffer_).subspan(at, page), std::move(block)));
      }
      const size_t rest = size % page;
      if (rest != 0 && !scan_.running)
        scan_.notes.push_back(cat(path, ": ends with ", rest, " bytes that are no whole page"));
      offset += size - rest;
      if (size < buffer_.size()) break;
    }
    reporter_.progress("reading pages", scan_.blocks * page, 0, ProgressUnit::bytes);
    return {};
  }

  pg::PageState state_of(ByteView page, uint32_t block) const {
    return scan_.checksums ? pg::verify_page(page, block) : pg::verify_page_header(page);
  }

  Status judge(const pg::RangeReader& reader, MutableBytes page, DamagedBlock block) {
    ++scan_.blocks;
    block.state = state_of(page, block.block);
    for (int i = 1; i < kReads && scan_.running && is_damage(block.state); ++i) {
      std::this_thread::sleep_for(kBetweenReads);
      TRY_ASSIGN(size_t size, reader.read(block.offset, page));
      if (size < page.size()) return {};  // truncated meanwhile
      block.state = state_of(page, block.block);
    }
    if (!is_damage(block.state)) return {};
    block.lsn = pg::page_lsn(page);
    scan_.damaged.push_back(std::move(block));
    return {};
  }

  static bool is_damage(pg::PageState state) {
    return state == pg::PageState::bad_header || state == pg::PageState::bad_checksum;
  }

  const DataDirFacts& data_dir_;
  Reporter& reporter_;
  const StopToken& stop_;
  const RelationFilter& wanted_;
  Bytes buffer_;
  BlockScan scan_;
};

}  // namespace

Result<BlockScan> scan_blocks(const DataDirFacts& data_dir, Reporter& reporter, const StopToken& stop,
                              const RelationFilter& wanted) {
  return BlockScanner(data_dir, reporter, stop, wanted).run();
}

Result<Bytes> read_block(const std::string& file, uint64_t offset, uint32_t block_size) {
  TRY_ASSIGN(Fd fd, open_file(file, O_RDONLY));
  Bytes page(block_size);
  TRY(pread_exact(fd.get(), offset, page, file));
  return page;
}

Result<DamagedBlock> named_block(const DataDirFacts& data_dir, std::string_view text) {
  const size_t colon = text.rfind(':');
  const std::string path(text.substr(0, colon));
  const std::optional<uint64_t> number =
      parse_u64(colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1));
  const auto name = pg::RelationFileName::parse(base_name(path));
  if (!number || *number > UINT32_MAX || !name || name->segment != 0 ||
      !pg::RelationDirectory::parse(parent_path(path))) {
    return make_error(ErrorKind::usage, cat("'", text, "'"), "is no block of a relation")
        .with_hint("as in base/5/16384:3, which PostgreSQL's messages call block 3 of relation base/5/16384");
  }
  const pg::ControlFile& control = data_dir.control;
  const uint64_t segment = *number / control.relation_segment_blocks;
  DamagedBlock block;
  block.path = segment == 0 ? path : cat(path, ".", segment);
  block.fork = name->fork;
  block.block = static_cast<uint32_t>(*number);
  block.offset = *number % control.relation_segment_blocks * control.block_size;
  TRY_ASSIGN(Bytes page, read_block(join_path(data_dir.path, block.path), block.offset, control.block_size));
  block.state = control.checksums() ? pg::verify_page(page, block.block) : pg::verify_page_header(page);
  block.lsn = pg::page_lsn(page);
  return block;
}

}  // namespace lifeboat::ops
