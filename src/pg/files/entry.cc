#include "pg/files/entry.h"

#include <algorithm>
#include <array>

#include "util/strings.h"

namespace lifeboat::pg {
namespace {

constexpr Oid kDefaultTablespace = 1663;  // src/include/catalog/pg_tablespace.dat
constexpr Oid kGlobalTablespace = 1664;

// Takes a decimal number without leading zeros, at least 1 and below 2^32, off the front.
std::optional<uint32_t> take_number(std::string_view& text) {
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits == 0 || digits > 10 || text[0] == '0') return std::nullopt;
  auto number = parse_u64(text.substr(0, digits));
  if (!number || *number > UINT32_MAX) return std::nullopt;
  text.remove_prefix(digits);
  return static_cast<uint32_t>(*number);
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// "", "_fsm", "_vm.2", ".7": what follows a relfilenode in a file name.
bool take_fork_and_segment(std::string_view& text, Fork& fork, uint32_t& segment) {
  fork = Fork::main;
  segment = 0;
  if (text.starts_with('_')) {
    if (take(text, "_fsm"))
      fork = Fork::fsm;
    else if (take(text, "_vm"))
      fork = Fork::vm;
    else if (take(text, "_init"))
      fork = Fork::init;
    else
      return false;
  }
  if (take(text, ".")) {
    auto number = take_number(text);
    if (!number) return false;
    segment = *number;
  }
  return text.empty();
}

}  // namespace

std::string_view to_string(Fork fork) {
  switch (fork) {
    case Fork::main:
      return "main";
    case Fork::fsm:
      return "fsm";
    case Fork::vm:
      return "vm";
    case Fork::init:
      return "init";
  }
  return "main";
}

std::optional<RelationFileName> RelationFileName::parse(std::string_view name) {
  RelationFileName parsed;
  auto number = take_number(name);
  if (!number || !take_fork_and_segment(name, parsed.fork, parsed.segment)) return std::nullopt;
  parsed.relfilenode = *number;
  return parsed;
}

bool is_temporary_relation_name(std::string_view name) {
  auto digits = [&] {
    size_t count = 0;
    while (count < name.size() && name[count] >= '0' && name[count] <= '9') ++count;
    name.remove_prefix(count);
    return count > 0;
  };
  if (!take(name, "t") || !digits() || !take(name, "_") || !digits()) return false;
  Fork fork;
  uint32_t segment;
  return take_fork_and_segment(name, fork, segment);
}

std::optional<RelationDirectory> RelationDirectory::parse(std::string_view directory) {
  RelationDirectory parsed;
  if (directory == "global") {
    parsed.tablespace = kGlobalTablespace;
    return parsed;
  }
  if (take(directory, "base/")) {
    parsed.tablespace = kDefaultTablespace;
  } else if (take(directory, "pg_tblspc/")) {
    auto tablespace = take_number(directory);
    if (!tablespace || !take(directory, "/PG_")) return std::nullopt;
    parsed.tablespace = *tablespace;
    size_t slash = directory.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    directory.remove_prefix(slash + 1);
  } else {
    return std::nullopt;
  }
  auto database = take_number(directory);
  if (!database || !directory.empty()) return std::nullopt;
  parsed.database = *database;
  return parsed;
}

void classify(std::string_view directory, Entry& entry) {
  static constexpr std::array<std::string_view, 4> kConfig = {"postgresql.conf", "postgresql.auto.conf",
                                                              "pg_hba.conf", "pg_ident.conf"};
  static constexpr std::array<std::string_view, 3> kSlru = {"pg_xact", "pg_multixact", "pg_commit_ts"};
  entry.file_class = FileClass::other;
  const std::string_view name = entry.name;
  if (name == "PG_VERSION") {
    entry.file_class = FileClass::version;
    return;
  }
  if (directory.empty()) {
    if (std::find(kConfig.begin(), kConfig.end(), name) != kConfig.end())
      entry.file_class = FileClass::config;
    if (name == "recovery.signal" || name == "standby.signal") entry.file_class = FileClass::recovery_signal;
    return;
  }
  const std::string_view top = directory.substr(0, directory.find('/'));
  if (std::find(kSlru.begin(), kSlru.end(), top) != kSlru.end()) {
    entry.file_class = FileClass::slru;
    return;
  }
  if (directory == "global" && name == "pg_control") {
    entry.file_class = FileClass::control;
    return;
  }
  if (!RelationDirectory::parse(directory)) return;
  if (name == "pg_filenode.map") {
    entry.file_class = FileClass::filenode_map;
  } else if (auto relation = RelationFileName::parse(name)) {
    entry.file_class = FileClass::relation;
    entry.relfilenode = relation->relfilenode;
    entry.fork = relation->fork;
    entry.segment = relation->segment;
  }
}

}  // namespace lifeboat::pg
