#include "ops/heal/rebuild.h"

#include <fcntl.h>

#include <algorithm>
#include <map>

#include "ops/restore/rescue.h"
#include "pg/server/postmaster.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr uint64_t kNeighbours = 8;  // on each side of a damaged block
constexpr mode_t kFileMode = 0600;

std::string block_key(const std::string& path, uint64_t offset) {
  return cat(path, ":", offset);
}

class Rebuild {
 public:
  Rebuild(RebuildRequest request, Reporter& reporter, StopToken& stop)
      : request_(std::move(request)),
        reporter_(reporter),
        stop_(stop),
        page_size_(request_.data_dir.control.block_size) {
    for (const DamagedBlock& block : request_.blocks) damaged_[block_key(block.path, block.offset)] = true;
  }

  Result<RebuildOutcome> run() {
    TRY(check_stopped(request_.data_dir));
    TRY(check_destination());
    TRY(store_wal());
    TRY(recover_copy());
    for (const DamagedBlock& block : request_.blocks) TRY(rebuild(block));
    TRY(check_unchanged());
    TRY(write());
    TRY(scratch_->end());
    return std::move(outcome_);
  }

 private:
  // What an earlier repair kept there is not overwritten.
  Status check_destination() const {
    auto listing = list_dir(request_.to);
    if (!listing && listing.error().kind == ErrorKind::not_found) return {};
    TRY(listing);
    if (listing->empty()) return {};
    return make_error(ErrorKind::precondition, request_.to, "is not empty")
        .with_hint("--to takes a directory that is absent or empty");
  }

  // What rollback does before it replaces a directory.
  Status store_wal() {
    TRY_ASSIGN(repo::Repository repository, open_repository(request_.scratch.location));
    TRY_ASSIGN(ChosenLineage lineage,
               lineage_of(repository, request_.scratch.location.cluster, request_.data_dir));
    TRY_ASSIGN(RescuePlan rescue, plan_rescue(lineage, request_.data_dir.path, stop_));
    for (const std::string& note : rescue.notes) outcome_.notes.push_back(note);
    TRY_ASSIGN(outcome_.stored_wal, carry_out_rescue(lineage, rescue, outcome_.notes, stop_));
    return {};
  }

  Status recover_copy() {
    const pg::ControlFile& control = request_.data_dir.control;
    ScratchOptions& options = request_.scratch;
    outcome_.position = control.checkpoint_lsn;
    options.lineage = request_.data_dir.lineage;
    options.target.kind = pg::TargetKind::lsn;
    options.target.lsn = control.checkpoint_lsn;
    options.timeline_choice = TimelineChoice::number;
    options.timeline = control.checkpoint.timeline;
    options.until = ScratchUntil::stopped_at_target;
    TRY_ASSIGN(scratch_, Scratch::make(options));
    TRY_ASSIGN(source_, open_restore(scratch_->restore()));
    TRY_ASSIGN(RestorePlan plan, plan_restore(source_, scratch_->restore(), reporter_, stop_));
    TRY(scratch_->start(source_, std::move(plan), reporter_, stop_));
    outcome_.backup = scratch_->plan().backup.id;
    outcome_.medium = scratch_->medium();
    for (const std::string& note : scratch_->notes()) outcome_.notes.push_back(note);
    return {};
  }

  std::string here(const std::string& path) const { return join_path(request_.data_dir.path, path); }
  std::string there(const std::string& path) const { return join_path(scratch_->data(), path); }

  Status rebuild(const DamagedBlock& block) {
    TRY(stop_.check());
    RebuiltBlock rebuilt;
    rebuilt.damaged = block;
    TRY_ASSIGN(Bytes damaged, read_block(here(block.path), block.offset, page_size_));
    auto page = read_block(there(block.path), block.offset, page_size_);
    if (!page && page.error().kind != ErrorKind::not_found && page.error().kind != ErrorKind::damaged)
      return std::move(page).error();
    if (!page) {
      rebuilt.problem = "the backup and its WAL do not have this block";
    } else {
      rebuilt.lsn = pg::page_lsn(*page);
      for (size_t i = 0; i < damaged.size(); ++i) rebuilt.different_bytes += damaged[i] != (*page)[i];
      rebuilt.problem = judge(block, *page);
      if (rebuilt.problem.empty()) TRY(compare_neighbours(rebuilt));
      if (rebuilt.problem.empty()) pages_[block_key(block.path, block.offset)] = {damaged, *page};
    }
    outcome_.blocks.push_back(std::move(rebuilt));
    return {};
  }

  std::string judge(const DamagedBlock& block, ByteView page) const {
    const pg::PageState state = request_.data_dir.control.checksums() ? pg::verify_page(page, block.block)
                                                                      : pg::verify_page_header(page);
    if (state != pg::PageState::ok && state != pg::PageState::zero)
      return cat("it is damaged in the backup too: ", pg::to_string(state));
    if (pg::page_lsn(page) > outcome_.position)
      return cat("the rebuilt page is of ", pg::page_lsn(page).to_string(),
                 ", later than the server's last checkpoint");
    return "";
  }

  // Pages of the main fork carry the position of their last change, so the same position is the same state
  // but for hint bits. The other forks are changed without one.
  Status compare_neighbours(RebuiltBlock& rebuilt) {
    const DamagedBlock& block = rebuilt.damaged;
    if (block.fork != pg::Fork::main) return {};
    TRY_ASSIGN(FileInfo file, stat_path(here(block.path)));
    const uint64_t reach = kNeighbours * page_size_;
    const uint64_t begin = block.offset > reach ? block.offset - reach : 0;
    const uint64_t end = std::min(block.offset + reach + page_size_, file.size / page_size_ * page_size_);
    for (uint64_t offset = begin; offset < end; offset += page_size_) {
      if (damaged_.contains(block_key(block.path, offset))) continue;
      TRY_ASSIGN(Bytes ours, read_block(here(block.path), offset, page_size_));
      auto copy = read_block(there(block.path), offset, page_size_);
      const Lsn copied = copy ? pg::page_lsn(*copy) : Lsn();
      if (!copy || copied != pg::page_lsn(ours)) {
        rebuilt.problem = cat("block ", block.block + offset / page_size_ - block.offset / page_size_,
                              " beside it is of ", pg::page_lsn(ours).to_string(), " here and of ",
                              copied.to_string(), " in the copy: they are not the same state");
        return {};
      }
      ++rebuilt.neighbours;
    }
    return {};
  }

  // The server has not been started while the copy recovered.
  Status check_unchanged() {
    TRY_ASSIGN(DataDirFacts now, read_data_dir(request_.data_dir.path));
    TRY(check_stopped(now));
    if (now.control.checkpoint_lsn != request_.data_dir.control.checkpoint_lsn)
      return make_error(ErrorKind::conflict, now.path, "a server ran there meanwhile; nothing was written");
    return {};
  }

  Status write() {
    TRY(create_dirs(request_.to, 0700));
    std::map<std::string, std::vector<const RebuiltBlock*>> by_file;
    for (const RebuiltBlock& block : outcome_.blocks)
      if (block.problem.empty()) by_file[block.damaged.path].push_back(&block);
    for (const auto& [path, blocks] : by_file) {
      for (const RebuiltBlock* block : blocks) TRY(keep(block->damaged));
      if (request_.place == PatchPlace::beside)
        TRY(write_copy(path, blocks));
      else
        TRY(patch(here(path), blocks));
    }
    return {};
  }

  Status keep(const DamagedBlock& block) {
    const std::string kept = join_path(request_.to, cat("damaged/", block.path, ".block-", block.block));
    TRY(create_dirs(parent_path(kept), 0700));
    TRY(write_file_durable(kept, pages_.at(block_key(block.path, block.offset)).damaged, kFileMode));
    outcome_.kept.push_back(kept);
    return {};
  }

  Status write_copy(const std::string& path, const std::vector<const RebuiltBlock*>& blocks) {
    const std::string copy = join_path(request_.to, path);
    TRY(create_dirs(parent_path(copy), 0700));
    TRY_ASSIGN(Fd from, open_file(here(path), O_RDONLY));
    TRY_ASSIGN(Fd to, open_file(copy, O_WRONLY | O_CREAT | O_EXCL, kFileMode));
    Bytes buffer(1 << 20);
    for (uint64_t offset = 0;;) {
      TRY(stop_.check());
      TRY_ASSIGN(size_t size, pread_some(from.get(), offset, buffer, here(path)));
      if (size == 0) break;
      TRY(pwrite_all(to.get(), offset, ByteView(buffer).first(size), copy));
      offset += size;
    }
    TRY(to.close(copy));
    TRY(patch(copy, blocks));
    return fsync_dir(parent_path(copy));
  }

  Status patch(const std::string& file, const std::vector<const RebuiltBlock*>& blocks) {
    TRY_ASSIGN(Fd fd, open_file(file, O_WRONLY));
    for (const RebuiltBlock* block : blocks) {
      const Pages& pages = pages_.at(block_key(block->damaged.path, block->damaged.offset));
      TRY(pwrite_all(fd.get(), block->damaged.offset, pages.rebuilt, file));
    }
    TRY(fsync_file(fd.get(), file));
    outcome_.files.push_back(file);
    return fd.close(file);
  }

  struct Pages {
    Bytes damaged;
    Bytes rebuilt;
  };
  RebuildRequest request_;
  Reporter& reporter_;
  StopToken& stop_;
  const uint32_t page_size_;
  std::map<std::string, bool> damaged_;  // by block_key()
  std::map<std::string, Pages> pages_;   // the same: what is to be written
  RestoreSource source_;
  std::unique_ptr<Scratch> scratch_;
  RebuildOutcome outcome_;
};

}  // namespace

Status check_stopped(const DataDirFacts& data_dir) {
  TRY_ASSIGN(auto running, pg::running_server(data_dir.path));
  if (running) {
    return make_error(ErrorKind::precondition, data_dir.path,
                      cat("a server runs there, process ", running->pid_file.pid))
        .with_hint(
            "stop it cleanly (pg_ctl stop -m fast): blocks are rebuilt to the state of its last checkpoint");
  }
  if (data_dir.control.state == pg::DbState::shut_down) return {};
  return make_error(ErrorKind::precondition, data_dir.path,
                    cat("the server was not stopped cleanly, its state is '",
                        pg::to_string(data_dir.control.state), "', expected 'shut down'"))
      .with_hint("start it and stop it, or bring all of it back with restore --replace");
}

Result<RebuildOutcome> rebuild_blocks(RebuildRequest request, Reporter& reporter, StopToken& stop) {
  return Rebuild(std::move(request), reporter, stop).run();
}

}  // namespace lifeboat::ops
