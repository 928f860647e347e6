#include "pg/files/listing_rules.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "pg/format/version.h"
#include "util/strings.h"

namespace lifeboat::pg {

namespace {

constexpr std::array<std::string_view, 9> kKeptEmpty = {
    "pg_dynshmem", "pg_notify",   "pg_replslot",           "pg_serial",       "pg_snapshots",
    "pg_stat_tmp", "pg_subtrans", "pg_wal/archive_status", "pg_wal/summaries"};
constexpr std::array<std::string_view, 16> kOwnDirectories = {
    "base",        "global",      "pg_commit_ts", "pg_dynshmem",  "pg_logical", "pg_multixact",
    "pg_notify",   "pg_replslot", "pg_serial",    "pg_snapshots", "pg_stat",    "pg_stat_tmp",
    "pg_subtrans", "pg_twophase", "pg_wal",       "pg_xact"};
constexpr std::array<std::string_view, 8> kLeftOut = {
    "postgresql.auto.conf.tmp", "current_logfiles.tmp", "backup_label",    "tablespace_map",
    "backup_manifest",          "postmaster.pid",       "postmaster.opts", "lost+found"};

template <size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string child_path(std::string_view directory, std::string_view name) {
  return directory.empty() ? std::string(name) : cat(directory, '/', name);
}

bool is_left_out(std::string_view name) {
  return name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init") || name == ".DS_Store" ||
         is_one_of(name, kLeftOut);
}

bool is_kept_empty(std::string_view path) {
  return is_one_of(path, kKeptEmpty);
}

bool is_own_directory(std::string_view path) {
  return is_one_of(path, kOwnDirectories);
}

bool is_tablespace(std::string_view path) {
  constexpr std::string_view kPrefix = "pg_tblspc/";
  return path.starts_with(kPrefix) && all_digits(path.substr(kPrefix.size()));
}

std::vector<std::string_view> pg_wal_directories(int major) {
  std::vector<std::string_view> names = {"archive_status"};
  const VersionTraits* version = find_version(major);
  if (version != nullptr && version->wal_summaries) names.emplace_back("summaries");
  return names;
}

void leave_out_unlogged(std::vector<Entry>& entries) {
  std::unordered_set<uint32_t> unlogged;
  for (const Entry& entry : entries)
    if (entry.file_class == FileClass::relation && entry.fork == Fork::init)
      unlogged.insert(entry.relfilenode);
  if (unlogged.empty()) return;
  std::erase_if(entries, [&](const Entry& entry) {
    return entry.file_class == FileClass::relation && entry.fork != Fork::init &&
           unlogged.count(entry.relfilenode);
  });
}

}  // namespace lifeboat::pg
