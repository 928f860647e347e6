#include "repo/retention.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <ranges>

#include "util/strings.h"

namespace lifeboat::repo {

namespace {

// The family tree of the timelines, as far as their history files tell.
class Ancestry {
 public:
  explicit Ancestry(const std::vector<TimelineFacts>& timelines) {
    lines_[Timeline{1}] = {};
    for (const TimelineFacts& facts : timelines) {
      if (!facts.history) continue;
      // A history tells the histories of all its ancestors too: the lines before theirs.
      for (size_t i = 0; i < facts.history->size(); ++i) {
        auto begin = facts.history->begin();
        lines_.try_emplace((*facts.history)[i].timeline, begin, begin + static_cast<ptrdiff_t>(i));
      }
      lines_[facts.timeline] = *facts.history;
    }
  }

  bool known(Timeline timeline) const { return lines_.contains(timeline); }

  // Does `timeline` pass through position `lsn` of timeline `on`?
  bool passes(Timeline timeline, Timeline on, Lsn lsn) const {
    if (timeline == on) return true;
    auto found = lines_.find(timeline);
    if (found == lines_.end()) return false;
    for (const HistoryLine& line : found->second) {
      if (line.timeline == on) return lsn <= line.switch_point;
    }
    return false;
  }

 private:
  std::map<Timeline, std::vector<HistoryLine>> lines_;
};

bool earlier(const BackupFacts& a, const BackupFacts& b) {
  return std::pair(a.stopped, a.id) < std::pair(b.stopped, b.id);
}

std::string days_text(double days) {
  double rounded = std::round(days * 100) / 100;
  std::string text = std::to_string(rounded);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + (rounded == 1 ? " day" : " days");
}

class Planner {
 public:
  Planner(const RetentionInput& input, const RetentionPolicy& policy, RetentionGuards guards)
      : input_(input), policy_(policy), guards_(guards), ancestry_(input.timelines), backups_(input.backups) {
    std::sort(backups_.begin(), backups_.end(), earlier);
  }

  RetentionPlan plan() {
    if (policy_.empty()) {
      for (const BackupFacts& backup : backups_) keep(backup, "there is no retention policy");
    } else {
      apply_window();
      apply_days();
      apply_count();
      apply_leases();
      apply_holds();
      if (guards_.keep_newest) protect_newest();
    }
    RetentionPlan plan;
    for (const BackupFacts& backup : backups_) {
      auto kept = reasons_.find(backup.id);
      if (kept == reasons_.end()) {
        plan.expire.push_back({backup.id, "no rule keeps it"});
      } else {
        plan.keep.push_back({backup.id, kept->second});
      }
    }
    for (const TimelineFacts& facts : input_.timelines) plan_wal(facts, plan);
    return plan;
  }

 private:
  // The first reason is the one that is shown.
  void keep(const BackupFacts& backup, std::string reason) {
    reasons_.try_emplace(backup.id, std::move(reason));
  }

  Timestamp days_ago(double days) const {
    return input_.now.plus_us(-static_cast<int64_t>(days * 86400 * 1e6));
  }

  const BackupFacts* newest_complete(const std::function<bool(const BackupFacts&)>& wanted) const {
    for (auto it = backups_.rbegin(); it != backups_.rend(); ++it) {
      if (!it->damaged && wanted(*it)) return &*it;
    }
    return nullptr;
  }

  // --- backups
  // -----------------------------------------------------------------------------------------------------

  void apply_window() {
    if (!policy_.pitr_days) return;
    Timestamp begin = days_ago(*policy_.pitr_days);
    std::string window = cat("the last ", days_text(*policy_.pitr_days));
    for (const BackupFacts& backup : backups_) {
      if (backup.stopped >= begin) {
        keep(backup, cat("within ", window, " (recovery window)"));
        in_window_.insert(backup.id);
      }
    }
    std::set<Timeline> timelines;
    for (const TimelineFacts& facts : input_.timelines) timelines.insert(facts.timeline);
    for (const BackupFacts& backup : backups_) timelines.insert(backup.timeline);
    for (Timeline timeline : timelines) {
      if (superseded(timeline, begin)) continue;
      const BackupFacts* anchor = find_anchor(timeline, begin);
      if (anchor == nullptr) continue;
      keep(*anchor, cat("recovery to the beginning of ", window, " starts from it"));
      in_window_.insert(anchor->id);
    }
  }

  // Was this branch of history left before the window began? A backup from before the window shows it that is
  // not on the branch and is newer than all of the branch. A branch without backups of its own may have begun
  // at any time, so for it only a timeline that was created later counts.
  bool superseded(Timeline timeline, Timestamp begin) const {
    // Damaged ones count here: they show as well how long the branch lived.
    auto on_branch = [&](const BackupFacts& backup) { return backup.timeline == timeline; };
    auto last = std::ranges::find_if(backups_ | std::views::reverse, on_branch);
    const BackupFacts* own = last == backups_.rend() ? nullptr : &*last;
    return newest_complete([&](const BackupFacts& other) {
             if (other.timeline == timeline || other.stopped >= begin) return false;
             if (ancestry_.passes(timeline, other.timeline, other.stop_lsn)) return false;
             return own != nullptr ? earlier(*own, other) : other.timeline > timeline;
           }) != nullptr;
  }

  const BackupFacts* find_anchor(Timeline timeline, Timestamp begin) const {
    auto usable = [&](const BackupFacts& backup) {
      return backup.stopped < begin && (ancestry_.passes(timeline, backup.timeline, backup.stop_lsn) ||
                                        (!ancestry_.known(timeline) && backup.timeline < timeline));
    };
    if (const BackupFacts* anchor = newest_complete(usable)) return anchor;
    for (auto it = backups_.rbegin(); it != backups_.rend(); ++it) {
      if (usable(*it)) return &*it;  // a damaged one is better than none
    }
    return nullptr;
  }

  void apply_days() {
    if (!policy_.keep_days) return;
    Timestamp begin = days_ago(*policy_.keep_days);
    for (const BackupFacts& backup : backups_) {
      if (backup.stopped >= begin) keep(backup, cat("within the last ", days_text(*policy_.keep_days)));
    }
  }

  void apply_count() {
    if (!policy_.keep_count) return;
    std::map<std::string, uint32_t> kept;  // complete ones of a kind
    for (const BackupFacts& backup : backups_ | std::views::reverse) {
      for (const std::string& kind : backup.kinds) {
        uint32_t& of_kind = kept[kind];
        if (of_kind == *policy_.keep_count) continue;
        keep(backup, cat("among the newest ", *policy_.keep_count, kind.empty() ? "" : cat(" of ", kind)));
        if (!backup.damaged) ++of_kind;
      }
    }
  }

  void apply_leases() {
    for (const BackupFacts& backup : backups_) {
      if (!input_.leases.references.contains(backup.id)) continue;
      keep(backup, "in use");
      in_window_.insert(backup.id);
    }
  }

  void apply_holds() {
    for (const BackupFacts& backup : backups_) {
      if (!input_.held.contains(backup.id)) continue;
      keep(backup, "held");
      in_window_.insert(backup.id);
    }
  }

  void protect_newest() {
    if (const BackupFacts* newest = newest_complete([](const BackupFacts&) { return true; })) {
      keep(*newest, "the newest backup");
      in_window_.insert(newest->id);
    } else if (!backups_.empty()) {
      keep(backups_.back(), "the newest backup, and none is sound");
      in_window_.insert(backups_.back().id);
    }
    if (const BackupFacts* newest = newest_complete([](const BackupFacts& b) { return b.verified; })) {
      keep(*newest, "the newest verified backup");
    }
  }

  // --- WAL
  // ---------------------------------------------------------------------------------------------------------

  struct Need {
    SegmentName from;
    std::optional<SegmentName> end;  // none: everything from there on
    std::string reason;
  };

  // All WAL of this timeline stays, for the returned reason.
  std::optional<std::string> blanket(Timeline timeline) const {
    if (policy_.empty()) return "there is no retention policy";
    if (input_.leases.running_without_start) return "a backup is starting";
    if (newest_complete([](const BackupFacts&) { return true; }) == nullptr)
      return "there is no complete backup yet";
    if (newest_complete([&](const BackupFacts& b) { return b.timeline >= timeline; }) == nullptr) {
      return "no backup was made on this timeline or a newer one yet";
    }
    if (ancestry_.known(timeline)) return std::nullopt;
    auto may_descend = [&](Timeline from) { return from < timeline; };
    bool unclear = false;
    for (const WalPosition& position : input_.leases.running) unclear |= may_descend(position.timeline);
    for (const WalPosition& position : input_.expiring) unclear |= may_descend(position.timeline);
    for (const BackupFacts& backup : backups_) unclear |= open_ended(backup) && may_descend(backup.timeline);
    if (unclear) return cat("the history file of timeline ", timeline.value, " is not stored");
    return std::nullopt;
  }

  // Does this kept backup need everything after it, not only what makes it consistent?
  bool open_ended(const BackupFacts& backup) const {
    if (!reasons_.contains(backup.id)) return false;
    return !policy_.pitr_days || in_window_.contains(backup.id);
  }

  // What a starting point on `on` needs of `timeline`: everything from the start on its own timeline, and all
  // of every timeline that branches off at or past it.
  std::optional<Need> need_from(Timeline timeline, Timeline on, Lsn start, const TimelineFacts& facts,
                                std::string reason) const {
    if (on == timeline) {
      return Need{SegmentName::containing(on, start, input_.segment_size), std::nullopt, std::move(reason)};
    }
    if (!ancestry_.passes(timeline, on, start)) return std::nullopt;
    return Need{*facts.oldest, std::nullopt, std::move(reason)};
  }

  std::vector<Need> needs_of(const TimelineFacts& facts) const {
    std::vector<Need> needs;
    Timeline timeline = facts.timeline;
    if (auto reason = blanket(timeline)) {
      needs.push_back({*facts.oldest, std::nullopt, *reason});
      return needs;
    }
    for (const WalPosition& position : input_.leases.running) {
      if (auto need =
              need_from(timeline, position.timeline, position.lsn, facts, "a running backup needs it")) {
        needs.push_back(*need);
      }
    }
    for (const WalPosition& position : input_.expiring) {
      auto need =
          need_from(timeline, position.timeline, position.lsn, facts, "an expiring backup may be in use");
      if (need) needs.push_back(*need);
    }
    for (const BackupFacts& backup : backups_) {
      if (!reasons_.contains(backup.id)) continue;
      if (open_ended(backup)) {
        auto need = need_from(timeline, backup.timeline, backup.start_lsn, facts,
                              cat("recovery from ", backup.id.text, " on needs it"));
        if (need) needs.push_back(*need);
      } else if (backup.timeline == timeline) {
        needs.push_back({SegmentName::containing(timeline, backup.start_lsn, input_.segment_size),
                         SegmentName::containing(timeline, backup.stop_lsn, input_.segment_size)
                             .next(input_.segment_size),
                         cat("makes ", backup.id.text, " consistent")});
      }
    }
    return needs;
  }

  // Cuts the stored range of one timeline into what stays and what goes.
  void plan_wal(const TimelineFacts& facts, RetentionPlan& plan) const {
    if (!facts.oldest || !facts.newest) return;
    std::vector<Need> needs = needs_of(facts);
    std::stable_sort(needs.begin(), needs.end(),
                     [](const Need& a, const Need& b) { return a.from < b.from; });
    SegmentName at = *facts.oldest;
    SegmentName end = facts.newest->next(input_.segment_size);
    for (const Need& need : needs) {
      if (at >= end) break;
      SegmentName need_end = std::min(need.end.value_or(end), end);
      if (need_end <= at || need.from >= end) continue;
      if (need.from > at) plan.remove_wal.push_back({{at, need.from}, "no kept backup needs it"});
      SegmentName keep_from = std::max(at, need.from);
      plan.keep_wal.push_back({{keep_from, need_end}, need.reason});
      at = need_end;
    }
    if (at < end) plan.remove_wal.push_back({{at, end}, "no kept backup needs it"});
  }

  const RetentionInput& input_;
  const RetentionPolicy& policy_;
  RetentionGuards guards_;
  Ancestry ancestry_;
  std::vector<BackupFacts> backups_;  // by time
  std::map<BackupId, std::string> reasons_;
  std::set<BackupId> in_window_;
};

}  // namespace

RetentionPlan plan_retention(const RetentionInput& input, const RetentionPolicy& policy,
                             RetentionGuards guards) {
  return Planner(input, policy, guards).plan();
}

}  // namespace lifeboat::repo
