// What a cluster's owner demands of its recovery: backup_requirements.json (P6). RPO and RTO are the owner's
// to state; a file without them is refused, and nothing is ever put in their place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "util/result.h"

namespace lifeboat::ready {

inline constexpr std::string_view kRequirementsSchema = "lifeboat/backup_requirements/1";

enum class Substrate : uint8_t { self_managed, managed, operated };
enum class Profile : uint8_t { development, small_production, production };
// What must be possible within the RTO: queries that are still slower while the rest is fetched (restore
// --instant), or the server as it was.
enum class RtoMeans : uint8_t { first_query, full_speed };
std::string_view to_string(Substrate substrate);
std::string_view to_string(Profile profile);
std::string_view to_string(RtoMeans means);

struct StorageTerms {
  std::string url;            // of the repository
  std::string storage_class;  // as the provider calls it: "STANDARD", "STANDARD_IA", "DEEP_ARCHIVE"
  std::string second_copy;    // URL of a copy elsewhere
  std::optional<double> price_per_gb_month;  // GB = 10^9 bytes
  std::string currency;
  std::optional<double> minimum_days;       // that an object is charged for at least
  std::optional<double> capacity_bytes;     // of the place
  std::optional<double> immutable_days;     // object lock
  std::optional<double> retrieval_seconds;  // before the first byte of an archived object can be read
};

// What a managed service promises of its own recovery; taken as stated, proven by nobody.
struct ProviderTerms {
  std::optional<double> rpo_seconds;
  std::optional<double> rto_seconds;
  std::optional<double> window_days;
  std::string source;  // where it is promised
};

struct Requirements {
  double rpo_seconds = 0;
  double rto_seconds = 0;
  Substrate substrate = Substrate::self_managed;
  std::string owner;
  std::string on_call;
  std::string targets_source;  // who decided RPO and RTO, and where it is written
  std::optional<Profile> profile;
  RtoMeans rto_means = RtoMeans::first_query;
  std::vector<std::string> recovery_levels;  // cluster, database, table, schema
  std::vector<std::string> databases;
  std::vector<std::string> tables;
  std::optional<double> database_size_bytes;
  std::optional<double> growth_bytes_per_day;
  std::optional<double> wal_bytes_per_day;
  std::optional<double> retention_days;
  std::optional<double> compliance_days;
  bool legal_hold = false;
  StorageTerms storage;
  ProviderTerms provider;
  std::string current_setup;
};

// Errors: config for a member that is unknown or wrong, all of them at once, with what a misspelt one may
// have meant; undecided when RPO or RTO is not stated.
Result<Requirements> parse_requirements(std::string_view text, const std::string& path);
std::string requirements_json(const Requirements& requirements);

}  // namespace lifeboat::ready
