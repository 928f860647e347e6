#include "pg/format/timeline_history.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::pg {

namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// The next run of non-blank characters; `line` loses it and the blanks before it.
std::string_view next_word(std::string_view& line) {
  while (!line.empty() && is_space(line.front())) line.remove_prefix(1);
  size_t length = 0;
  while (length < line.size() && !is_space(line[length])) ++length;
  std::string_view word = line.substr(0, length);
  line.remove_prefix(length);
  return word;
}

std::string file_name(Timeline timeline) {
  return timeline.to_hex() + ".history";
}

Result<TimelineSwitch> parse_line(Timeline target, std::string_view line) {
  std::string_view rest = line;
  auto id = parse_u64(next_word(rest));
  if (!id || *id > UINT32_MAX) {
    return make_error(ErrorKind::damaged, file_name(target),
                      cat("expected a numeric timeline, found \"", line.substr(0, 60), "\""));
  }
  auto end = Lsn::parse(next_word(rest));
  if (!end) {
    return make_error(
        ErrorKind::damaged, file_name(target),
        cat("expected a switch position after timeline ", *id, ", found \"", line.substr(0, 60), "\""));
  }
  return TimelineSwitch{{static_cast<uint32_t>(*id)}, *end, std::string(trim(rest))};
}

}  // namespace

TimelineHistory TimelineHistory::root(Timeline target) {
  TimelineHistory history;
  history.target_ = target;
  return history;
}

Result<TimelineHistory> TimelineHistory::parse(Timeline target, std::string_view text) {
  if (target.value == 0)
    return make_error(ErrorKind::damaged, file_name(target), "timeline 0 does not exist");
  TimelineHistory history = root(target);
  for (std::string_view line : split(text, '\n')) {
    std::string_view content = trim(line);
    if (content.empty() || content.front() == '#') continue;
    TRY_ASSIGN(TimelineSwitch entry, parse_line(target, content));
    if (!history.ancestors_.empty() && entry.timeline <= history.ancestors_.back().timeline) {
      return make_error(ErrorKind::damaged, file_name(target),
                        cat("timelines must ascend: ", entry.timeline.value, " follows ",
                            history.ancestors_.back().timeline.value));
    }
    history.ancestors_.push_back(std::move(entry));
  }
  if (!history.ancestors_.empty() && history.ancestors_.back().timeline >= target) {
    return make_error(ErrorKind::damaged, file_name(target),
                      cat("ancestors must be below timeline ", target.value, ": found ",
                          history.ancestors_.back().timeline.value));
  }
  return history;
}

std::string TimelineHistory::to_text() const {
  std::string text;
  for (const TimelineSwitch& entry : ancestors_) {
    // The server separates copied lines from its own with a blank line; readers skip it.
    if (!text.empty()) text += '\n';
    text += cat(entry.timeline.value, "\t", entry.end.to_string(), "\t", entry.reason, "\n");
  }
  return text;
}

TimelineHistory TimelineHistory::branch(Timeline child, Lsn at, std::string reason) const {
  TimelineHistory history = *this;
  history.target_ = child;
  history.ancestors_.push_back({target_, at, std::move(reason)});
  return history;
}

bool TimelineHistory::has(Timeline timeline) const {
  if (timeline == target_) return true;
  return std::any_of(ancestors_.begin(), ancestors_.end(),
                     [&](const TimelineSwitch& entry) { return entry.timeline == timeline; });
}

Timeline TimelineHistory::owner(Lsn lsn) const {
  // Newest first: entry i covers [end of i-1, end of i), the target everything from the last end on.
  if (ancestors_.empty() || lsn >= ancestors_.back().end) return target_;
  for (size_t i = ancestors_.size(); i-- > 1;) {
    if (lsn >= ancestors_[i - 1].end && lsn < ancestors_[i].end) return ancestors_[i].timeline;
  }
  return ancestors_.front().timeline;
}

std::optional<Lsn> TimelineHistory::begin_of(Timeline timeline) const {
  Lsn begin;
  for (const TimelineSwitch& entry : ancestors_) {
    if (entry.timeline == timeline) return begin;
    begin = entry.end;
  }
  if (timeline == target_) return begin;
  return std::nullopt;
}

std::optional<Lsn> TimelineHistory::end_of(Timeline timeline) const {
  // A later switch at a lower position leaves every timeline above it.
  std::optional<Lsn> end;
  for (const TimelineSwitch& entry : ancestors_) {
    if (end) {
      end = std::min(*end, entry.end);
    } else if (entry.timeline == timeline) {
      end = entry.end;
    }
  }
  return end;
}

bool TimelineHistory::contains(Timeline timeline, Lsn lsn) const {
  auto begin = begin_of(timeline);
  if (!begin || lsn < *begin) return false;
  auto end = end_of(timeline);
  return !end || lsn <= *end;
}

}  // namespace lifeboat::pg
