#include "ops/restore/rescue.h"

#include <algorithm>
#include <map>

#include "ops/mapped_file.h"
#include "ops/wal/push.h"
#include "ops/wal/segment_check.h"
#include "pg/wal/wal_reader.h"
#include "repo/wal_store.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

class Finder {
 public:
  Finder(const ChosenLineage& lineage, std::string pg_wal, const StopToken& stop)
      : lineage_(lineage), store_(lineage.repo), pg_wal_(std::move(pg_wal)), stop_(stop) {}

  Result<RescuePlan> run() {
    auto entries = list_dir(pg_wal_);
    if (!entries) {
      if (entries.error().kind != ErrorKind::not_found) return std::move(entries).error();
      plan_.notes.push_back(cat(pg_wal_, " is not there: no WAL to rescue"));
      return std::move(plan_);
    }
    for (const DirEntry& entry : *entries) {
      if (entry.kind == FileKind::directory) continue;
      if (auto file = WalFileName::parse(entry.name)) TRY(sort_in(*file));
    }
    TRY(look_for_lost());
    std::vector<RescueFile> partials;
    for (auto& [timeline, segments] : segments_)
      TRY(look_at_timeline(segments, partials, timeline == segments_.rbegin()->first));
    std::ranges::move(partials, std::back_inserter(plan_.files));
    return std::move(plan_);
  }

 private:
  // Histories, .backup and .partial files are whole when they are there.
  Status sort_in(const WalFileName& file) {
    if (file.kind == WalFileKind::segment) {
      segments_[file.timeline].push_back(file);
      return {};
    }
    TRY_ASSIGN(std::vector<repo::WalObject> stored, store_.find_all(file));
    if (!stored.empty()) {
      plan_.stored.push_back({file, join_path(pg_wal_, file.text), {}});
      return {};
    }
    // After recovery from the archive pg_wal holds copies of histories and such that were got from there.
    auto at = file.kind == WalFileKind::history ? plan_.files.begin() : plan_.files.end();
    plan_.files.insert(at, {file, join_path(pg_wal_, file.text), {}});
    return {};
  }

  Status look_at_timeline(std::vector<WalFileName>& segments, std::vector<RescueFile>& partials,
                          bool newest) {
    std::ranges::sort(segments, {}, [](const WalFileName& file) { return file.segment; });
    const SegmentSize size = lineage_.record.segment_size;
    std::optional<SegmentName> last;  // that holds WAL of its own name
    bool ends = false;                // in it
    for (const WalFileName& file : segments) {
      TRY(stop_.check());
      std::string path = join_path(pg_wal_, file.text);
      TRY_ASSIGN(MappedFile mapped, MappedFile::open(path));
      auto header = pg::read_segment_header(mapped.bytes());
      // Preallocated files are zeros, recycled ones belong to an earlier position: no WAL under this name
      // yet.
      if (!header) continue;
      if (header->system_id != lineage_.record.lineage.system_id) {
        return make_error(
                   ErrorKind::foreign, path,
                   cat("is WAL of system ", header->system_id.to_string(), ", cluster ",
                       lineage_.repo.cluster(), " is system ", lineage_.record.lineage.system_id.to_string()))
            .with_hint("the directory belongs to another cluster; restore beside it with --to");
      }
      if (header->segment_size.bytes != size.bytes || header->start != file.segment.start(size) ||
          header->timeline > file.timeline) {
        continue;
      }
      if (ends) {
        // WAL is written in its order: what was there has been damaged since.
        plan_.notes.push_back(cat(path, " holds WAL, and that before it can only be read up to a place in ",
                                  last->to_string()));
        return {};
      }
      if (last && file.segment != last->next(size)) TRY(tell_missing(last->next(size), file.segment));
      last = file.segment;
      TRY_ASSIGN(std::vector<repo::WalObject> stored, store_.find_all(file));
      if (!stored.empty()) {
        plan_.stored.push_back({file, path, {}});
        continue;
      }
      TRY_ASSIGN(pg::ValidEnd end, pg::valid_end(mapped.bytes()));
      if (end.full) {
        plan_.files.push_back({file, path, {}});
        continue;
      }
      ends = true;
      if (end.end <= file.segment.start(size)) continue;
      auto partial = WalFileName::parse(cat(file.text, ".partial"));
      CHECK(partial.has_value());
      partials.push_back({*partial, path, end.end});
    }
    if (!newest || !last || ends) return {};
    // A server writes into a file that is there: a whole segment is the last only for a moment.
    const std::string next = last->next(size).to_string();
    if (std::ranges::find(segments, next, &WalFileName::text) == segments.end())
      plan_.notes.push_back(
          cat(join_path(pg_wal_, next), ", which the server was to write next, is not there"));
    return {};
  }

  // A segment that was finished, by the archiver's mark, and is neither here nor stored.
  Status look_for_lost() {
    constexpr std::string_view kReady = ".ready";
    auto marks = list_dir(join_path(pg_wal_, "archive_status"));
    if (!marks) {
      // Without them a segment that is gone would not be missed.
      if (marks.error().kind != ErrorKind::not_found) plan_.notes.push_back(marks.error().to_string());
      return {};
    }
    for (const DirEntry& mark : *marks) {
      if (!mark.name.ends_with(kReady)) continue;
      auto file = WalFileName::parse(std::string_view(mark.name).substr(0, mark.name.size() - kReady.size()));
      if (!file || file->kind != WalFileKind::segment) continue;
      TRY_ASSIGN(bool there, path_exists(join_path(pg_wal_, file->text)));
      if (there) continue;
      TRY_ASSIGN(std::vector<repo::WalObject> stored, store_.find_all(*file));
      if (stored.empty())
        plan_.notes.push_back(
            cat(join_path(pg_wal_, file->text), " was finished and is neither there nor stored"));
    }
    return {};
  }

  // Between two that are there; what is stored is not missed.
  Status tell_missing(const SegmentName& first, const SegmentName& behind) {
    auto file = WalFileName::parse(first.to_string());
    CHECK(file.has_value());
    TRY_ASSIGN(std::vector<repo::WalObject> stored, store_.find_all(*file));
    if (stored.empty())
      plan_.notes.push_back(
          cat(join_path(pg_wal_, first.to_string()), " is missing, and ", behind.to_string(), " is there"));
    return {};
  }

  const ChosenLineage& lineage_;
  repo::WalStore store_;
  std::string pg_wal_;
  const StopToken& stop_;
  std::map<Timeline, std::vector<WalFileName>> segments_;
  RescuePlan plan_;
};

// The segment up to the end of its records; zeros after it, so that equal WAL gives equal files.
repo::WalSource clean_partial(const MappedFile& mapped, const RescueFile& file, SegmentSize size) {
  uint64_t valid = file.end.value - file.file.segment.start(size).value;
  return {mapped.bytes().size(), [&mapped, valid](uint64_t offset, MutableBytes out) -> Status {
            for (size_t i = 0; i < out.size(); ++i) {
              out[i] = offset + i < valid ? mapped.bytes()[offset + i] : 0;
            }
            return {};
          }};
}

}  // namespace

Result<RescuePlan> plan_rescue(const ChosenLineage& lineage, const std::string& data_directory,
                               const StopToken& stop) {
  return Finder(lineage, join_path(data_directory, "pg_wal"), stop).run();
}

Result<std::vector<std::string>> carry_out_rescue(const ChosenLineage& lineage, const RescuePlan& plan,
                                                  std::vector<std::string>& notes, const StopToken& stop) {
  std::vector<std::string> stored;
  repo::WalStore store(lineage.repo);
  for (const RescueFile& file : plan.files) {
    TRY(stop.check());
    Result<repo::PushOutcome> outcome = repo::PushOutcome::stored;
    if (file.file.kind == WalFileKind::partial && file.end.valid()) {
      TRY_ASSIGN(MappedFile mapped, MappedFile::open(file.path));
      outcome = store.push(file.file, clean_partial(mapped, file, lineage.record.segment_size));
    } else {
      WalDirectory directory(parent_path(file.path));
      outcome = store_wal_file(lineage, file.file, directory);
    }
    if (outcome) {
      stored.push_back(file.file.text);
    } else if (outcome.error().kind == ErrorKind::conflict || outcome.error().kind == ErrorKind::damaged) {
      notes.push_back(cat(file.path, " is kept in the old directory only: ", outcome.error().to_string()));
    } else {
      return std::move(outcome).error().within("rescue un-archived WAL");
    }
  }
  return stored;
}

}  // namespace lifeboat::ops
