// Everything that the checks look at, gathered once. Gathering does all input and output; the checks
// (checks.h) are pure, so that each of their branches is a short test.
//
// What cannot be had is not an error: the fact is absent and the reason stands beside it, because "the server
// does not answer" is itself a finding.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/catalogue/proof.h"
#include "ops/doctor/continuity.h"
#include "ops/follow_up.h"
#include "ops/same_server.h"
#include "ops/session.h"
#include "ops/wal/push_queue.h"
#include "ops/wal/push_state.h"
#include "pg/client/facts.h"
#include "repo/manifest.h"
#include "repo/repository.h"
#include "util/files.h"
#include "util/process.h"
#include "util/reporter.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct DiskFacts {
  std::string path;
  uint64_t device = 0;
  uint64_t free_bytes = 0;  // for unprivileged users
  uint64_t total_bytes = 0;
};

// pg_wal/archive_status.
struct BacklogFacts {
  uint64_t ready = 0;       // .ready files: WAL that waits to be archived
  std::string oldest_name;  // "000000010000000000000007"
  Timestamp oldest;         // when it became ready
};

// Whether an operating system user may use a file or directory. By access(2) when we are that user, else by
// owner, groups and mode bits along the path; access control lists and SELinux are not looked at then.
enum class Use : uint8_t { read, execute, write_into };  // write_into: make files in a directory
struct AccessFacts {
  std::string path;
  bool exists = false;
  bool allowed = false;
  std::string obstacle;  // "/srv/backup has mode 0750 and belongs to root"; empty when allowed
};
AccessFacts look_at_access(const OsUser& user, const std::string& path, Use use);

// archive_command taken apart.
struct CommandFacts {
  std::string text;
  bool ours = false;                   // runs `wal push`
  bool shell = false;                  // more of the shell than words: pipes, lists, redirections, variables
  std::string program;                 // first word
  std::vector<std::string> words;      // of our command, behind the program
  std::optional<std::string> repo;     // --repo
  std::optional<std::string> cluster;  // --cluster
  repo::KeySource key;                 // --key-file or --passphrase-file
  bool has_path = false;               // %p stands in it
  std::string state_directory;         // --state-dir
  std::string refused;                 // why this program, which it runs, would not take its words
};
// Splits it into words as a POSIX shell would.
CommandFacts parse_archive_command(const std::string& text);

// The WAL file that the archiver could not get rid of, compared with the repository.
struct FailedWalFacts {
  std::string file;
  bool here = false;          // it is still in pg_wal
  bool stored_same = false;   // its content is in the repository
  bool stored_other = false;  // another content is, under the same name (T46)
};

// The segment that the archiver says it archived last, looked for in the repository (archived.h judges).
struct ArchivedWalFacts {
  SegmentName segment;
  bool came = false;                  // it, or a later one of its timeline, is stored
  std::optional<SegmentName> newest;  // of its timeline that is stored; only when it did not come
};

// Settings that postgresql.auto.conf holds and that a restore writes.
struct RestoreLeftovers {
  bool archive_off = false;               // archive_mode = off, written by a restore of ours
  bool recovery_signal = false;           // recovery.signal lies in the data directory
  std::vector<std::string> recovery_set;  // recovery_target* and the like that are not empty, "name = value"
};

struct RepositoryFacts {
  std::string url;
  std::string directory;  // of a file:// repository on this host, else ""
  std::string cluster;
  repo::KeySource key;
  std::optional<repo::Marker> marker;
  std::optional<Error> problem;                    // why it could not be opened; the rest is then absent
  std::shared_ptr<const repo::Repository> opened;  // for who reads on, with little patience; null: problem
  std::vector<repo::LineageRecord> lineages;       // of the cluster, oldest registration first
  std::vector<repo::SlotInfo> key_slots;
  std::vector<repo::Card> backups;   // complete and damaged, not condemned, of the server's lineage, by time
  std::vector<repo::Card> attempts;  // aborted ones, by time
  Proofs proofs;                     // what evidence says of all backups, expired ones too
  std::optional<BackupId> newest_verified;
  std::optional<Error> catalogue_problem;  // why `backups` could not be read
  std::optional<ContinuityFacts> continuity;
  std::optional<FailedWalFacts> failed_wal;
  std::optional<ArchivedWalFacts> archived_wal;
};

// How one OS user, the server's, meets what archive_command names.
struct ServerUserFacts {
  OsUser user;
  std::optional<AccessFacts> program;     // of archive_command
  std::optional<AccessFacts> key;         // file that archive_command names
  std::optional<AccessFacts> repository;  // directory that archive_command names
  bool command_repo_exists = false;       // a repository's marker lies in that directory
};

struct DoctorFacts {
  Timestamp now;
  std::string program;      // this executable, absolute
  std::string conninfo;     // as given
  std::string config_path;  // configuration file in use, "" when none
  Person person = Person::owner;
  std::string pg_bin;          // directory of the server's programs, "" when it was not found here
  std::string debian_cluster;  // "15 main" when pg_ctlcluster knows the data directory by this name
  bool systemd = false;        // runs this host

  std::optional<pg::ServerFacts> server;
  std::optional<ServerTrace> server_trace;
  std::optional<Error> server_problem;
  bool patroni = false;

  std::optional<DataDirFacts> data;  // only when it is this host's
  std::optional<Error> data_problem;
  std::optional<ServerUserFacts> server_user;
  std::optional<BacklogFacts> backlog;
  std::optional<RestoreLeftovers> leftovers;
  std::string state_directory;              // where our own pushes note their failures
  std::optional<PushFailure> push_failure;  // noted since the last success
  std::vector<WalGap> dropped;              // by our own pushes, and not in the repository yet
  CommandFacts archive_command;

  std::optional<DiskFacts> data_disk;
  std::optional<DiskFacts> wal_disk;
  std::optional<DiskFacts> repository_disk;

  RepositoryFacts repository;
  std::string expected_archive_command;

  // The lineage of the server or data directory, whichever is known; both agree (else data_problem says so).
  std::optional<Lineage> lineage() const;
};

struct DoctorRequest {
  RepoLocation where;
  std::string conninfo;
  std::optional<std::string> pgdata;
  std::string program;  // this executable, absolute; empty: /proc/self/exe
  std::string pg_bin;   // --pg-bin, "" when it was not given
  std::string config_path;
  bool catalogue = true;               // read cards and WAL listings; init does not
  int64_t server_timeout_ms = 15'000;  // to connect, and for each statement
  int64_t lock_timeout_ms = 0;         // of each statement; 0: the server's own
  Timestamp now;                       // zero: the system clock
  const StopToken* stop = nullptr;
  // "" or why a command line of ours is refused; empty: no command line is tried.
  std::function<std::string(const std::vector<std::string>& words)> refuses;
};

// Never fails for what is broken, only when stopped.
Result<DoctorFacts> gather_facts(const DoctorRequest& request);

// "/usr/bin/lifeboat init --repo … --pg …" with `more`, to be pasted by whoever started us.
std::string our_command(const DoctorFacts& facts, std::string_view words, std::string_view more = "");
// A program of PostgreSQL for its owner: "runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl".
std::string their_program(const DoctorFacts& facts, std::string_view name);
// Who the server runs as.
std::string server_user(const DoctorFacts& facts);

// The parts of it that can stand alone.
BacklogFacts read_backlog(const std::vector<DirEntry>& archive_status, const std::string& directory);
// `auto_conf` is the text of postgresql.auto.conf; true when a restore of ours turned archiving off there.
bool archiving_turned_off_by_restore(std::string_view auto_conf);

// Settings that the checks ask of the server.
const std::vector<std::string>& checked_settings();

}  // namespace lifeboat::ops
