// The runbooks that lie written in a directory: which, when they were written, who has read them since. Kept
// in the files themselves, so that a copy on paper or on another host says it too.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/timestamp.h"
#include "util/result.h"

namespace lifeboat::ready {

// The first lines of each: "Written: 2026-11-20 10:56:25+00" and "Reviewed: 2026-11-21 by NAME".
inline constexpr std::string_view kWrittenLine = "Written: ";
inline constexpr std::string_view kReviewedLine = "Reviewed: ";
inline constexpr std::string_view kClusterLine = "Cluster: ";

inline constexpr uint64_t kLongestRunbook = 1 << 20;  // bytes of a file that is read as one

struct WrittenRunbook {
  std::string id;    // "primary-loss"
  std::string path;  // absolute
  std::string cluster;
  std::string system_id;  // "" when the sheet does not say
  Timestamp written;
  Timestamp reviewed;  // unknown: by nobody
  std::string reviewer;
};

// Of the cluster, by id; none where there is no such directory. What is no runbook is passed over.
std::vector<WrittenRunbook> written_runbooks(const std::string& directory, const std::string& cluster);

// nullopt for text that has not these lines.
std::optional<WrittenRunbook> parse_runbook(const std::string& path, std::string_view text);

const WrittenRunbook* find_runbook(const std::vector<WrittenRunbook>& runbooks, std::string_view id);

}  // namespace lifeboat::ready
