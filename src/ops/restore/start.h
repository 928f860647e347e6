// Starting a restored directory and watching its recovery.
#pragma once

#include <memory>
#include <string>

#include "ops/restore/restore.h"
#include "repo/manifest.h"

namespace lifeboat::ops {

// The configuration file outside the data directory that a replaced cluster is started with; "" when there is
// none, or for a copy beside the original, which has everything inside.
std::string outside_config_file(const RestorePlan& plan, const repo::Manifest& manifest);

// What PostgreSQL reads from the configuration of the restored directory, as postgres -C prints it. The plan
// names PostgreSQL's programs. Errors: config, those of running it, cancelled.
Result<std::string> effective_setting(const RestorePlan& plan, const repo::Manifest& manifest,
                                      std::string_view name, const StopToken& stop);

// `precondition` when another server has its socket there, but for the process `ours`. What a server that was
// killed has left is none: PostgreSQL takes it over (src/backend/utils/init/miscinit.c, CreateLockFile).
Status check_socket_free(const std::string& directory, int port, pid_t ours = 0);

// The value that a setting had on the source, as pg_settings shows it (without a unit); "" when it was not
// recorded.
std::string recorded_setting(const repo::Manifest& manifest, std::string_view name);

// The cluster's bootstrap superuser, as far as the backup knows it; "": not known.
std::string bootstrap_role(const repo::Manifest& manifest);

// watched: only its Unix socket, its log where it can be read, as every server whose recovery is watched.
// as_configured: as pg_ctl would start it.
enum class StartedAs : uint8_t { watched, as_configured };

// Starts a server whose recovery was watched once more, on the same directory, and leaves it running when it
// answers. In two steps, because a server may run there until the second: what takes time is asked in the
// first. What is given is kept as references and outlives this.
class StartAgain {
 public:
  static Result<StartAgain> prepare(const RestoreSource& source, const RestoreOptions& options, StartedAs as,
                                    RestoreOutcome& outcome, Reporter& reporter, StopToken& stop);
  StartAgain(StartAgain&&) noexcept;
  StartAgain& operator=(StartAgain&&) = delete;
  ~StartAgain();
  // Once. Fills in outcome.recovery.
  Status start();

 private:
  class Impl;
  explicit StartAgain(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// How the server on a restored standby is started, which runs on as its configuration says.
Result<pg::LaunchOptions> standby_launch(const RestoreSource& source, const RestoreOptions& options,
                                         RestoreOutcome& outcome, Reporter& reporter, StopToken& stop);

// Do two positions mean the same place in WAL? A record's end at a page's end and the next record's beginning
// behind the page header do.
bool same_wal_position(Lsn a, Lsn b);

}  // namespace lifeboat::ops
