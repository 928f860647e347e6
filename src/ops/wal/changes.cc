#include "ops/wal/changes.h"

#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "pg/format/version.h"
#include "pg/wal/summary_builder.h"
#include "repo/summary_store.h"
#include "repo/wal_store.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Ends the streaming of a segment from within; never seen by a caller.
Error enough() {
  return make_error(ErrorKind::cancelled, "", "enough was read");
}

// A flipped bit may look like a later format version: whatever of the object it hit, its bytes cannot be had.
bool cannot_be_read(const Error& error) {
  return error.kind == ErrorKind::damaged || error.kind == ErrorKind::unsupported;
}

// What the repository holds of segments: listed a log id at a time, because ranges are long and names many.
class StoredSegments {
 public:
  struct Segment {
    std::vector<repo::WalObject> contents;   // more than one: a conflict (T46)
    std::vector<repo::WalObject> summaries;  // of whichever content
  };

  explicit StoredSegments(const repo::LineageRepo& repo) : wal_(repo), summaries_(repo) {}

  Result<Segment> find(const SegmentName& name) {
    if (!listed_ || timeline_ != name.timeline || log_id_ != name.log_id) TRY(list(name));
    auto found = segments_.find(name);
    return found == segments_.end() ? Segment() : found->second;
  }

 private:
  Status list(const SegmentName& name) {
    segments_.clear();
    listed_ = false;
    repo::WalStore::Range range;
    range.from = SegmentName{name.timeline, name.log_id, 0};
    if (name.log_id != UINT32_MAX) range.end = SegmentName{name.timeline, name.log_id + 1, 0};
    // Summaries first: one of a segment that is then found gone is of no harm, the other way round it would
    // be missed.
    TRY(summaries_.list(name.timeline, range, [&](const repo::WalObject& object) -> Status {
      segments_[object.file.segment].summaries.push_back(object);
      return {};
    }));
    TRY(wal_.list(name.timeline, range, [&](const repo::WalObject& object) -> Status {
      if (object.file.kind == WalFileKind::segment) {
        segments_[object.file.segment].contents.push_back(object);
      }
      return {};
    }));
    listed_ = true;
    timeline_ = name.timeline;
    log_id_ = name.log_id;
    return {};
  }

  repo::WalStore wal_;
  repo::SummaryStore summaries_;
  bool listed_ = false;
  Timeline timeline_;
  uint32_t log_id_ = 0;
  std::map<SegmentName, Segment> segments_;
};

// Puts what a segment's end cuts together again, and proves that no record is missing between two segments.
class ChangeReader {
 public:
  // Without `visit` the changes are merged into a map.
  ChangeReader(const ChangesRequest& request, const SummaryVisitor* visit, Reporter& reporter,
               StopToken& stop)
      : request_(request),
        visit_(visit),
        reporter_(reporter),
        stop_(stop),
        record_(request.lineage->record),
        wal_(request.lineage->repo),
        summaries_(request.lineage->repo),
        stored_(request.lineage->repo) {}

  Result<WalChanges> run() {
    TRY_ASSIGN(version_, pg::require_version(record_.lineage.major));
    const uint64_t bytes = record_.segment_size.bytes;
    to_ = request_.to;
    // No record begins inside a segment's header.
    if (to_.value % bytes <= pg::kSegmentHeaderSize) to_.value -= to_.value % bytes;
    uint64_t first = request_.from.value / bytes;
    if (to_ > request_.from) result_.segments = (to_.value - 1) / bytes - first + 1;
    for (uint64_t index = first; usable(); ++index) {
      Lsn start{index * bytes};
      bool cut = pending_ && pending_->lsn < to_;
      if (start >= to_ && !cut) break;
      TRY(stop_.check());
      result_.ended = start;
      reporter_.progress("reading what WAL changed", index - first, result_.segments, ProgressUnit::items);
      // The newest timeline that had begun by the segment's end has its file (XLogFileReadAnyTLI).
      Timeline owner = request_.history.owner({start.value + bytes - 1});
      SegmentName name = SegmentName::containing(owner, start, record_.segment_size);
      TRY_ASSIGN(auto summary, summary_of(name));
      if (summary) TRY(accept(*summary));
    }
    if (usable()) result_.ended = to_;
    if (usable()) return std::move(result_);
    result_.map = {};
    return std::move(result_);
  }

 private:
  struct Pending {
    Lsn lsn;
    Timeline timeline;
    uint64_t length = 0;
    uint64_t have = 0;
    Bytes bytes;
    bool left_out = false;
    std::vector<SegmentName>
        segments;  // that hold its fragments: trailing in the first, leading in the others
  };

  bool usable() const { return result_.unusable.empty(); }
  void unusable(std::string why) {
    if (usable()) result_.unusable = std::move(why);
  }

  pg::SummaryOptions options_for(const SegmentName& name) const {
    pg::SummaryOptions options;
    options.version = version_;
    options.segment = name;
    options.segment_size = record_.segment_size;
    options.page_size = record_.block_size;
    options.system_id = record_.lineage.system_id;
    if (name.end(record_.segment_size) > to_) options.until = to_;
    return options;
  }

  // --- one segment

  // nullopt: there is none, and `unusable` says why.
  Result<std::optional<pg::SegmentSummary>> summary_of(const SegmentName& name) {
    TRY_ASSIGN(StoredSegments::Segment stored, stored_.find(name));
    TRY_ASSIGN(auto summary, stored_summary(name, stored));
    if (summary) {
      ++result_.summaries;
      return summary;
    }
    TRY_ASSIGN(auto read, read_segment(name, stored, pg::kFragmentLimit));
    if (!read) return std::optional<pg::SegmentSummary>();
    if (read->is_stored_content && request_.store) store(stored.contents.front(), read->summary);
    return std::optional(std::move(read->summary));
  }

  Result<std::optional<pg::SegmentSummary>> stored_summary(const SegmentName& name,
                                                           const StoredSegments::Segment& stored) {
    using Found = std::optional<pg::SegmentSummary>;
    // Of two contents nobody knows which one is the server's.
    if (stored.contents.size() > 1) return Found();
    const repo::WalObject* chosen = nullptr;
    for (const repo::WalObject& candidate : stored.summaries) {
      bool fits = stored.contents.empty() ? stored.summaries.size() == 1
                                          : candidate.name_hash == stored.contents.front().name_hash;
      if (fits) chosen = &candidate;
    }
    if (chosen == nullptr) return Found();
    const repo::WalObject& object = *chosen;
    auto useless = [&](const std::string& why) {
      reporter_.note(NoteLevel::warning, cat(object.object, " is of no use, so its segment is read: ", why));
      return Found();
    };
    auto bytes = summaries_.get(object, pg::kSummarySizeLimit);
    if (!bytes && cannot_be_read(bytes.error())) return useless(bytes.error().message);
    TRY(bytes);
    if (!*bytes) return Found();  // expired since it was listed
    auto summary = pg::decode_summary(**bytes);
    if (!summary) return useless(summary.error().message);
    if (summary->segment != name || summary->segment_size != record_.segment_size) {
      return useless(cat("it is of segment ", summary->segment.to_string()));
    }
    return Found(std::move(*summary));
  }

  struct Read {
    pg::SegmentSummary summary;
    bool is_stored_content = false;  // of the whole segment, which the repository has with this content
  };

  // From the server, which has what is not archived yet, else from the repository.
  Result<std::optional<Read>> read_segment(const SegmentName& name, const StoredSegments::Segment& stored,
                                           size_t fragment_limit) {
    pg::SummaryOptions options = options_for(name);
    options.fragment_limit = fragment_limit;
    std::optional<Error> wrong;
    if (request_.server_wal != nullptr) {
      TRY_ASSIGN(auto read, read_from_server(options, stored, wrong));
      if (read || !usable()) return read;
    }
    if (stored.contents.size() == 1) {
      TRY_ASSIGN(auto read, read_from_repository(options, stored.contents.front(), wrong));
      if (read) return read;
    }
    if (wrong) {
      unusable(cat("WAL segment ", wrong->to_string()));
    } else if (stored.contents.size() > 1) {
      unusable(cat("WAL segment ", name.to_string(), " is stored with different contents"));
    } else if (request_.server_wal != nullptr) {
      unusable(cat("WAL segment ", name.to_string(), " is neither in the server's pg_wal nor stored"));
    } else {
      unusable(cat("WAL segment ", name.to_string(), " is not stored"));
    }
    return std::optional<Read>();
  }

  // nullopt: it has none, or `wrong` says what is wrong with it. A file that was recycled while it was read
  // had been archived before.
  Result<std::optional<Read>> read_from_server(const pg::SummaryOptions& options,
                                               const StoredSegments::Segment& stored,
                                               std::optional<Error>& wrong) {
    pg::SummaryBuilder builder(options);
    codec::Hasher128 hasher;
    bool compare = !options.until.valid() && stored.contents.size() == 1;
    auto there = request_.server_wal->read(options.segment, [&](ByteView piece) -> Status {
      TRY(stop_.check());
      if (compare) hasher.update(piece);
      return feed(builder, piece);
    });
    if (!there && !builder.done()) return std::move(there).error();
    if (there && !*there) return std::optional<Read>();
    auto summary = builder.finish();
    if (!summary) {
      wrong = std::move(summary).error();
      return std::optional<Read>();
    }
    if (!compare) return std::optional<Read>({std::move(*summary), false});
    const repo::WalObject& object = stored.contents.front();
    codec::Hash128 hash =
        request_.lineage->repo.keys().name_hash(options.segment.to_string(), hasher.digest());
    if (hash != object.name_hash) {
      unusable(cat("WAL segment ", options.segment.to_string(),
                   " in the server's pg_wal differs from the stored one"));
      return std::optional<Read>();
    }
    return std::optional<Read>({std::move(*summary), true});
  }

  Result<std::optional<Read>> read_from_repository(const pg::SummaryOptions& options,
                                                   const repo::WalObject& object,
                                                   std::optional<Error>& wrong) {
    pg::SummaryBuilder builder(options);
    auto got = wal_.get_object(object, [&](ByteView piece) -> Status {
      TRY(stop_.check());
      return feed(builder, piece);
    });
    if (!got && !builder.done()) {
      if (!cannot_be_read(got.error())) return std::move(got).error();
      wrong = std::move(got).error();
      return std::optional<Read>();
    }
    auto summary = builder.finish();
    if (!summary) {
      wrong = std::move(summary).error();
      return std::optional<Read>();
    }
    return std::optional<Read>({std::move(*summary), !options.until.valid()});
  }

  Status feed(pg::SummaryBuilder& builder, ByteView piece) {
    builder.feed(piece);
    result_.wal_bytes += piece.size();
    return builder.done() ? Status(enough()) : Status();
  }

  // A favour to the next reader: without the right to write it is left undone.
  void store(const repo::WalObject& object, const pg::SegmentSummary& summary) {
    if (cannot_store_) return;
    auto stored = summaries_.put(object, pg::encode_summary(summary));
    if (stored) return;
    cannot_store_ = true;
    reporter_.note(NoteLevel::info, cat("change summaries are not stored: ", stored.error().to_string()));
  }

  // --- from segment to segment

  Status accept(pg::SegmentSummary& summary) {
    std::string name = summary.segment.to_string();
    if (summary.first_timeline != summary.segment.timeline &&
        summary.first_timeline != request_.history.owner(summary.start())) {
      unusable(cat("WAL segment ", name, " begins with WAL of timeline ", summary.first_timeline.value,
                   ", which is not this server's history"));
      return {};
    }
    TRY(accept_beginning(summary));
    if (!usable()) return {};
    if (summary.first.valid()) {
      if (last_.valid() && summary.first_prev != last_) {
        unusable(cat("WAL is not continuous: the first record of segment ", name, " names ",
                     summary.first_prev.to_string(), " as the one before, expected ", last_.to_string()));
        return {};
      }
      last_ = summary.last;
      in_unknown_record_ = false;
    }
    if (summary.trailing_lsn.valid()) {
      in_unknown_record_ = false;
      pending_ = Pending{
          summary.trailing_lsn, summary.trailing_timeline, summary.trailing_record_length, 0, {}, false, {}};
      add_fragment(summary.segment, summary.trailing);
    }
    take(summary);
    return {};
  }

  // The rest of a record of an earlier segment.
  Status accept_beginning(pg::SegmentSummary& summary) {
    std::string name = summary.segment.to_string();
    if (summary.overwritten.valid()) {
      // A crash left it unfinished, and this segment says so.
      bool known = pending_ ? pending_->lsn == summary.overwritten : in_unknown_record_;
      if (!known) {
        unusable(cat("WAL is not continuous: segment ", name, " gives up a record at ",
                     summary.overwritten.to_string(), " that was not begun"));
      }
      pending_.reset();
      return {};
    }
    if (!pending_) {
      // What the first segment of the range continues began before it.
      if (summary.continued != 0 && !in_unknown_record_) {
        unusable(cat("WAL is not continuous: segment ", name, " begins inside a record that was not begun"));
      }
      return {};
    }
    uint64_t missing = pending_->length - pending_->have;
    bool whole = summary.leading.length == missing;
    bool more_follows = summary.first.valid() || summary.trailing_lsn.valid();
    if (summary.continued != missing || (!whole && more_follows)) {
      unusable(cat("WAL is not continuous: segment ", name, " does not continue the record at ",
                   pending_->lsn.to_string()));
      return {};
    }
    add_fragment(summary.segment, summary.leading);
    return whole ? join() : Status();
  }

  void add_fragment(const SegmentName& segment, pg::RecordFragment& fragment) {
    pending_->have += fragment.length;
    pending_->segments.push_back(segment);
    if (fragment.left_out || pending_->left_out) {
      pending_->left_out = true;
      Bytes().swap(pending_->bytes);
    } else {
      pending_->bytes.insert(pending_->bytes.end(), fragment.bytes.begin(), fragment.bytes.end());
    }
  }

  Status join() {
    Pending record = std::move(*pending_);
    pending_.reset();
    if (record.left_out) TRY(fetch_fragments(record));
    if (!usable()) return {};
    SegmentName segment = record.segments.front();
    auto summary = pg::summarize_record(options_for(segment), record.lsn, record.timeline, record.bytes);
    if (!summary) {
      unusable(summary.error().to_string());
      return {};
    }
    if (last_.valid() && summary->first_prev != last_) {
      unusable(cat("WAL is not continuous: the record at ", record.lsn.to_string(), " names ",
                   summary->first_prev.to_string(), " as the one before, expected ", last_.to_string()));
      return {};
    }
    last_ = record.lsn;
    take(*summary);
    return {};
  }

  // A record of many megabytes: its segments are read again for its bytes.
  Status fetch_fragments(Pending& record) {
    for (size_t i = 0; i < record.segments.size(); ++i) {
      TRY_ASSIGN(StoredSegments::Segment stored, stored_.find(record.segments[i]));
      TRY_ASSIGN(auto read, read_segment(record.segments[i], stored, std::numeric_limits<size_t>::max()));
      if (!read) return {};
      const pg::RecordFragment& fragment = i == 0 ? read->summary.trailing : read->summary.leading;
      record.bytes.insert(record.bytes.end(), fragment.bytes.begin(), fragment.bytes.end());
    }
    return {};
  }

  void take(const pg::SegmentSummary& summary) {
    if (visit_ != nullptr) return (*visit_)(summary);
    if (summary.minimal_first.valid() && summary.minimal_first < to_ &&
        summary.minimal_last >= request_.from) {
      return unusable(cat("wal_level was minimal at ", summary.minimal_last.to_string()));
    }
    result_.map.merge(summary.changes);
  }

  const ChangesRequest& request_;
  const SummaryVisitor* visit_;
  Reporter& reporter_;
  StopToken& stop_;
  const repo::LineageRecord& record_;
  const pg::VersionTraits* version_ = nullptr;
  repo::WalStore wal_;
  repo::SummaryStore summaries_;
  StoredSegments stored_;
  Lsn to_;
  WalChanges result_;
  Lsn last_;                        // the last record; 0: none was seen yet
  std::optional<Pending> pending_;  // a record that the end of the last segment cut
  bool in_unknown_record_ = true;   // so far all WAL was the rest of a record from before the range
  bool cannot_store_ = false;
};

}  // namespace

Result<WalChanges> read_changes(const ChangesRequest& request, Reporter& reporter, StopToken& stop) {
  return ChangeReader(request, nullptr, reporter, stop).run();
}

Result<WalChanges> read_summaries(const ChangesRequest& request, const SummaryVisitor& visit,
                                  Reporter& reporter, StopToken& stop) {
  return ChangeReader(request, &visit, reporter, stop).run();
}

}  // namespace lifeboat::ops
