#include "ops/session.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "codec/codec.h"
#include "storage/wrap/retry_store.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr int kControlFileTries = 20;
constexpr int64_t kControlFilePauseUs = 10'000;
constexpr uint64_t kControlFileLimit = 64 << 10;
}  // namespace

Patience Patience::shortened_to(int64_t longest_us) const {
  Patience patience = *this;
  patience.us = std::min(patience.us, longest_us);
  patience.in_all_us = std::min(patience.in_all_us, longest_us);
  return patience;
}

Result<std::unique_ptr<storage::Store>> open_store(const RepoLocation& location, storage::StoreMode mode) {
  TRY_ASSIGN(std::unique_ptr<storage::Store> store, storage::open_store(location.url, mode));
  const Patience& patience = location.patience;
  if (patience.us == 0) return store;
  storage::RetryPolicy policy;
  policy.patience_us = patience.us;
  policy.in_all_us = patience.in_all_us;
  auto random = [] {
    uint8_t bits[8];
    codec::random_bytes(bits);
    return load_le<uint64_t>(bits);
  };
  auto tell = [note = patience.note](const Error& failed, int64_t left_us) {
    if (!note) return;
    note(cat("the repository does not answer: ", failed.to_string(), "; trying again for ",
             format_seconds(static_cast<double>(left_us) / 1e6)));
  };
  return std::unique_ptr<storage::Store>(std::make_unique<storage::RetryStore>(
      std::move(store), policy, Clock::system(), random, patience.stop, tell));
}

Result<repo::Repository> open_repository(const RepoLocation& location) {
  TRY_ASSIGN(auto store, open_store(location, storage::StoreMode::existing));
  return repo::Repository::open(std::move(store), location.key);
}

Result<ChosenLineage> choose_lineage(const repo::Repository& repository, const std::string& cluster,
                                     std::optional<Lineage> asked) {
  TRY_ASSIGN(auto records, repo::list_lineages(repository, cluster));
  if (records.empty()) {
    return make_error(ErrorKind::not_found, cat("cluster ", cluster),
                      cat("not registered in ", repository.store().url()))
        .with_hint("register it with lifeboat init, or give the right --cluster");
  }
  for (auto record = records.rbegin(); record != records.rend(); ++record) {
    if (asked && record->lineage != *asked) continue;
    return ChosenLineage{repo::LineageRepo(repository, cluster, record->lineage), *record,
                         records.size() - 1};
  }
  return make_error(ErrorKind::foreign, cat("cluster ", cluster), cat("has no lineage ", asked->to_string()));
}

Result<ChosenLineage> lineage_of(const repo::Repository& repository, const std::string& cluster,
                                 const Lineage& lineage) {
  repo::LineageRepo repo(repository, cluster, lineage);
  TRY_ASSIGN(repo::LineageRecord record, repo::require_lineage(repo));
  return ChosenLineage{std::move(repo), std::move(record), 0};
}

Result<ChosenLineage> lineage_of(const repo::Repository& repository, const std::string& cluster,
                                 const DataDirFacts& facts) {
  TRY_ASSIGN(ChosenLineage lineage, lineage_of(repository, cluster, facts.lineage));
  if (lineage.record.segment_size.bytes == facts.control.wal_segment_size) return lineage;
  return make_error(ErrorKind::foreign, facts.path,
                    cat("wal_segment_size is ", facts.control.wal_segment_size,
                        " bytes, the cluster was registered with ", lineage.record.segment_size.bytes))
      .with_hint(
          "after pg_resetwal --wal-segsize the cluster has to be registered under another name: lifeboat "
          "init "
          "--cluster NAME");
}

BackupId new_backup_id() {
  uint8_t random[4];
  codec::random_bytes(random);
  return BackupId::make({Clock::system().unix_us()}, load_le<uint32_t>(random));
}

Result<DataDirFacts> read_data_dir(const std::string& path) {
  auto no_data_dir = [&](std::string cause) {
    return make_error(ErrorKind::precondition, path, "not a PostgreSQL data directory")
        .with_cause(std::move(cause))
        .with_hint("--pgdata takes the directory that SHOW data_directory prints");
  };
  DataDirFacts facts;
  char* resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return errno_error(errno, path, "resolve the data directory");
  facts.path = resolved;
  std::free(resolved);
  struct stat status{};
  if (stat(facts.path.c_str(), &status) != 0)
    return errno_error(errno, facts.path, "look at the data directory");
  facts.owner = status.st_uid;
  facts.group = status.st_gid;
  facts.mode = status.st_mode & 07777;

  auto version_text = read_file(facts.path + "/PG_VERSION", 64);
  if (!version_text) {
    if (version_text.error().kind == ErrorKind::not_found) return no_data_dir("PG_VERSION is missing");
    return std::move(version_text).error();
  }
  TRY_ASSIGN(facts.version, pg::parse_pg_version_file(as_text(*version_text)));
  // A running server rewrites pg_control in place, so a read may see half of each (T04).
  for (int tries = 1;; ++tries) {
    TRY_ASSIGN(Bytes raw, read_file(facts.path + "/global/pg_control", kControlFileLimit));
    auto control = pg::parse_control_file(raw, facts.version->major);
    if (control) {
      facts.control = *control;
      break;
    }
    if (control.error().kind != ErrorKind::damaged || tries == kControlFileTries) {
      return std::move(control).error().within(cat(facts.path, "/global/pg_control"));
    }
    Clock::system().sleep_us(kControlFilePauseUs);
  }
  facts.lineage = {facts.control.system_id, facts.version->major};
  return facts;
}

}  // namespace lifeboat::ops
