#include "ops/mount/mount.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <thread>
#include <unordered_set>

#include "ops/mount/fetch_pool.h"
#include "ops/mount/file_table.h"
#include "ops/mount/finish.h"
#include "ops/mount/fuse_server.h"
#include "ops/mount/hydrate.h"
#include "ops/mount/status.h"
#include "ops/mount/users.h"
#include "ops/restore/marker.h"
#include "repo/lease.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int kFetchThreads = 16;  // requests to the store under way: what hides 20 ms of each
constexpr int kServeThreads = 3;   // of each tree
constexpr int64_t kPollUs = 50'000;
constexpr int64_t kOtherNamespacesUs = 3'000'000;
constexpr int64_t kMountWaitUs = 10'000'000;
constexpr int64_t kUsersEndUs = 10'000'000;
constexpr int64_t kBringAgainUs = 5'000'000;
constexpr uint64_t kReadAhead = 1 << 20;

// Whom to name; 0: nobody can be seen.
pid_t main_user(const std::vector<MountUser>& users) {
  auto server = std::ranges::find_if(users, &MountUser::server);
  return server != users.end() ? server->pid : users.empty() ? 0 : users.front().pid;
}

// A mount whose process is gone. Plain unmounting is refused while anybody uses it, and that is the guard: a
// server that lost only its mount would go on with what is below. A restore_command that outlived its server
// ends by itself.
Status clear_dead(const std::string& directory, Mounter& mounter) {
  const int64_t began = Clock::system().monotonic_us();
  for (;;) {
    Status gone = mounter.unmount(directory);
    if (gone || gone.error().kind != ErrorKind::busy) return gone;
    const std::vector<MountUser> users = mount_users(directory);
    const bool server = std::ranges::any_of(users, &MountUser::server);
    if (!server && Clock::system().monotonic_us() - began < kUsersEndUs) {
      Clock::system().sleep_us(kPollUs);
      continue;
    }
    const pid_t user = main_user(users);
    return make_error(ErrorKind::precondition, directory,
                      user != 0 ? cat("the process that served the mount has ended, but process ", user,
                                      " still uses it")
                                : "the process that served the mount has ended, but somebody still uses it")
        .with_hint(server ? cat("its files answer nothing, so pg_ctl cannot end that server; kill -QUIT ",
                                user, " can (or -KILL), and what was committed is kept")
                          : std::string("end it first"));
  }
}

Result<Fd> open_root(const std::string& path) {
  return open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

void allow_many_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

// Hands progress on, and keeps the numbers for the status file.
class CountingReporter : public Reporter {
 public:
  explicit CountingReporter(Reporter& inner) : inner_(inner) {}
  void progress(std::string_view phase, uint64_t done, uint64_t total, ProgressUnit unit) override {
    brought = done;
    inner_.progress(phase, done, total, unit);
  }
  void note(NoteLevel level, std::string_view message) override { inner_.note(level, message); }
  std::atomic<uint64_t> brought{0};

 private:
  Reporter& inner_;
};

class Serving {
 public:
  Serving(const ServeOptions& options, Reporter& reporter, StopToken& stop)
      : options_(options),
        mounter_(*options.mounter),
        reporter_(reporter),
        stop_(stop),
        counting_(reporter) {}

  Result<ServeOutcome> run() {
    TRY(take_up());
    TRY_ASSIGN(bool over, end_what_had_begun());
    if (over) return std::move(outcome_);
    TRY_ASSIGN(repo::Repository repository, open_repository(location()));
    TRY_ASSIGN(ChosenLineage lineage, choose_lineage(repository, state_.location.cluster, state_.lineage));
    repo::LeaseOptions lease_options;
    lease_options.stop = &lease_lost_;
    TRY_ASSIGN(repo::ReaderLease lease,
               repo::ReaderLease::acquire(lineage.repo, "mount", {state_.backup}, lease_options));
    TRY_ASSIGN(FileTable table, FileTable::open(table_path(options_.directory), state_.table_hash));
    BlockMap map(std::move(table), state_.block_size);
    BaseFiles files(state_.id, map);
    FetchThreads pool(lineage.repo, state_.block_size, kFetchThreads);
    MountEngine engine{files, pool, [this](const Error& error) { note_failure(error); },
                       [this] { return sync_all(); }, mounter_};
    TRY(sync_all());
    Status served = serve(engine, lineage.repo);
    // Requests that wait for blocks are answered before their server goes.
    pool.finish();
    servers_.clear();
    TRY(served);
    TRY(sync_all());
    outcome_.fetched_bytes = files.shared().fetched_bytes;
    outcome_.fetches = files.shared().fetches;
    if (Status ended = lease.end(); !ended) {
      reporter_.note(NoteLevel::info, cat("the lease could not be ended: ", ended.error().to_string()));
    }
    TRY(settle());
    outcome_.state = std::move(state_);
    return std::move(outcome_);
  }

 private:
  // --- before mounting
  Status take_up() {
    umask(0);  // modes are the server's own
    allow_many_files();
    TRY_ASSIGN(std::optional<MountState> state, look_at_mount(options_.directory, mounter_));
    if (!state) {
      return make_error(ErrorKind::not_found, options_.directory, "is no mount of lifeboat's")
          .with_hint("make one: lifeboat mount BACKUP DIR, where BACKUP may be latest");
    }
    state_ = std::move(*state);
    // Whole files of it may be missing or zeros, and no server could tell.
    if (state_.throw_away && !state_.removing && state_.boot != repo::ProcessIdentity::self().boot_id) {
      return make_error(ErrorKind::precondition, options_.directory,
                        "is a throw-away mount of before this machine was started again; nothing of it was "
                        "made durable")
          .with_hint("remove the directory, and mount the backup again");
    }
    TRY_ASSIGN(lock_, lock_state(options_.directory));
    for (const MountedTree& tree : state_.trees) {
      if (tree.tablespace == 0) continue;
      TRY_ASSIGN(bool mounted, is_mounted(tree.path));
      if (mounted) TRY(clear_dead(tree.path, mounter_));
    }
    for (const MountedTree& tree : state_.trees) {
      TRY_ASSIGN(Fd root, open_root(tree.path));
      roots_.push_back(std::move(root));
    }
    // Of making it, when that was cut off at its last step: whoever restores would clear what bears it.
    for (const MountedTree& tree : state_.trees) {
      TRY_ASSIGN(bool unfinished, path_exists(join_path(tree.path, kMarkerName)));
      if (unfinished) TRY(remove_marker(tree.path));
    }
    if (options_.hydrate && !state_.hydrate) {
      state_.hydrate = true;
      TRY(write_state(options_.directory, state_));
    }
    return {};
  }

  // A crash came between the first and the last step of finishing, or of removing.
  Result<bool> end_what_had_begun() {
    TRY_ASSIGN(bool named, path_exists(join_path(options_.directory, "global/pg_control")));
    if (!named && !state_.removing) return false;
    outcome_.end = state_.removing ? MountEnd::removed : MountEnd::finished;
    TRY(state_.removing ? remove_mount(state_) : finish_mount(state_));
    outcome_.state = state_;
    return true;
  }

  RepoLocation location() const {
    RepoLocation where = state_.location;
    where.patience = options_.patience;
    return where;
  }

  Status sync_all() {
    for (size_t i = 0; i < roots_.size(); ++i) {
      if (state_.throw_away) return {};
      if (syncfs(roots_[i].get()) != 0)
        return errno_error(errno, state_.trees[i].path, "sync the file system of");
    }
    return {};
  }

  // --- while it is served
  void note_failure(const Error& error) {
    std::string text = error.to_string();
    std::lock_guard lock(noted_mutex_);
    // One line for each thing that is wrong, however often the server asks for it.
    if (noted_.size() < 1000 && !noted_.insert(text).second) return;
    reporter_.note(NoteLevel::warning, cat("the server was told of an input/output error: ", text));
  }

  Status serve(MountEngine& engine, const repo::LineageRepo& repo) {
    TRY_ASSIGN(StatusFile file, StatusFile::create(cat("/proc/self/fd/", roots_.front().get()), state_));
    status_file_.emplace(std::move(file));
    TRY(write_status());
    Status mounted = mount_all(engine);
    if (mounted) {
      if (options_.mounted) options_.mounted(state_);
      StopToken stop_bringing;
      std::thread bringer;
      if (state_.hydrate) bringer = std::thread([&] { bring_rest(engine, repo, stop_bringing); });
      mounted = wait();
      stop_bringing.request();
      if (bringer.joinable()) bringer.join();
    }
    Status unmounted = unmount_all();
    if ((is_left_ || !unmounted) && options_.left) options_.left(engine.files.shared().fetched_bytes);
    if (unmounted && !is_left_) cut_off_others();
    if (!unmounted) cut_off_unused();
    for (auto& server : servers_) {
      if (server) server->join();
    }
    TRY(mounted);
    return unmounted;
  }

  Status write_status() {
    MountStatus status;
    status.pid = getpid();
    const uint64_t brought = counting_.brought;
    status.brought = brought_before_ + brought;
    status.total = state_.bytes;
    status.complete = complete_;
    {
      std::lock_guard lock(noted_mutex_);
      // Something comes again.
      if (bringing_ && brought > 0) problem_.clear();
      status.problem = problem_;
    }
    return status_file_->write(status);
  }

  Status mount_all(MountEngine& engine) {
    servers_.resize(state_.trees.size());
    // The data directory last: with it everything is there.
    for (size_t i = state_.trees.size(); i-- > 0;) {
      const MountedTree& tree = state_.trees[i];
      TRY_ASSIGN(Fd device, mounter_.mount(tree.path, state_.read_only ? MountAccess::read_only
                                                                       : MountAccess::read_write));
      TRY_ASSIGN(Fd root,
                 open_file(cat("/proc/self/fd/", roots_[i].get()), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      servers_[i] = std::make_unique<FuseServer>(std::move(device), std::move(root), tree.kind(), engine);
      servers_[i]->start(kServeThreads);
      const int64_t began = Clock::system().monotonic_us();
      while (!servers_[i]->initialised() && !servers_[i]->ended()) {
        if (Clock::system().monotonic_us() - began > kMountWaitUs)
          return make_error(ErrorKind::timeout, tree.path, "the kernel does not use the mount");
        Clock::system().sleep_us(500);
      }
      mounter_.read_ahead(tree.path, kReadAhead);
    }
    return {};
  }

  // What cannot be brought now may be later: a store that is away comes back, a full disk is emptied.
  void bring_rest(MountEngine& engine, const repo::LineageRepo& repo, const StopToken& stop_bringing) {
    while (!bring_once(engine, repo, stop_bringing)) {
      const int64_t began = Clock::system().monotonic_us();
      while (!stop_bringing.stopped() && Clock::system().monotonic_us() - began < kBringAgainUs)
        Clock::system().sleep_us(kPollUs);
    }
  }

  // False: to be tried again.
  bool bring_once(MountEngine& engine, const repo::LineageRepo& repo, const StopToken& stop_bringing) {
    brought_before_ += counting_.brought.exchange(0);
    bringing_ = true;
    HydrateOptions hydrate;
    for (const Fd& root : roots_) hydrate.roots.push_back(cat("/proc/self/fd/", root.get()));
    hydrate.threads = options_.jobs;
    hydrate.total_bytes = state_.bytes;
    hydrate.rate = options_.rate;
    Status done =
        hydrate_trees(repo, state_.block_size, engine.files, engine.pool, hydrate, counting_, stop_bringing);
    bringing_ = false;
    if (!done && done.error().kind == ErrorKind::cancelled) return true;
    std::string problem = done ? "" : done.error().to_string();
    {
      std::lock_guard lock(noted_mutex_);
      if (!problem.empty() && problem != told_problem_)
        reporter_.note(NoteLevel::warning,
                       cat("not everything can be brought, which is tried again; the directory needs its "
                           "mount: ",
                           problem));
      if (!problem.empty()) told_problem_ = problem;
      problem_ = std::move(problem);
    }
    if (!done) return false;
    complete_ = true;
    reporter_.note(NoteLevel::info, "every block is in the directory");
    if (options_.complete) options_.complete();
    return true;
  }

  // Until it is to end and nobody uses it, or somebody has unmounted it.
  Status wait() {
    bool told = false;
    bool lease_told = false;
    for (;;) {
      if (Status written = write_status(); !written && !status_told_) {
        status_told_ = true;
        reporter_.note(NoteLevel::warning,
                       cat("the status cannot be written: ", written.error().to_string()));
      }
      if (servers_[0]->ended()) return {};
      if (lease_lost_.stopped() && !lease_told) {
        lease_told = true;
        reporter_.note(NoteLevel::warning,
                       "the lease was lost: an expiry may remove what this mount needs; finish with it soon");
      }
      if (stop_.stopped()) {
        Status gone = mounter_.unmount(options_.directory);
        if (gone) return {};
        if (gone.error().kind != ErrorKind::busy) {
          reporter_.note(
              NoteLevel::warning,
              cat("it cannot be unmounted, and is served until somebody does: ", gone.error().to_string()));
          return gone;
        }
        if (!told) {
          told = true;
          const pid_t user = main_user(mount_users(options_.directory));
          reporter_.note(NoteLevel::warning, cat(options_.directory, " is still in use",
                                                 user != 0 ? cat(" by process ", user) : std::string(),
                                                 "; it is unmounted as soon as that has ended"));
        }
        if (leaves()) return {};
      }
      Clock::system().sleep_us(kPollUs);
    }
  }

  // What somebody still uses, for whoever cannot wait for that.
  bool leaves() {
    is_left_ = is_left_ || (options_.leave != nullptr && options_.leave->stopped());
    return is_left_;
  }

  // Of the data directory first: without it nobody finds the tablespaces.
  Status unmount_all() {
    for (size_t i = 0; i < state_.trees.size(); ++i) {
      if (i >= servers_.size() || !servers_[i]) continue;
      for (bool told = false; !servers_[i]->ended();) {
        Status gone = mounter_.unmount(state_.trees[i].path);
        if (gone) break;
        if (gone.error().kind != ErrorKind::busy) return gone;
        if (!told) {
          told = true;
          reporter_.note(NoteLevel::warning, cat(state_.trees[i].path, " is still in use"));
        }
        if (leaves()) return {};
        Clock::system().sleep_us(kPollUs);
      }
    }
    return {};
  }

  // Unmounted here, a tree may be mounted still in a mount namespace that was copied meanwhile (unshare, a
  // container), for as long as that lives.
  void cut_off_others() {
    const int64_t began = Clock::system().monotonic_us();
    for (size_t i = 0; i < servers_.size(); ++i) {
      if (!servers_[i]) continue;
      while (!servers_[i]->ended() && Clock::system().monotonic_us() - began < kOtherNamespacesUs)
        Clock::system().sleep_us(kPollUs);
      if (servers_[i]->ended()) continue;
      reporter_.note(NoteLevel::warning,
                     cat(state_.trees[i].path,
                         " is mounted still in another mount namespace, which is cut off from it now"));
      servers_[i]->cut_off();
    }
  }

  // What mounts for us is gone, so that nothing here can unmount it. Whoever goes on mounts it once more,
  // which takes that this process has ended.
  void cut_off_unused() {
    if (!mount_users(options_.directory).empty()) return;
    reporter_.note(NoteLevel::warning, "nobody uses it: the process that serves it ends");
    for (auto& server : servers_) {
      if (server) server->cut_off();
    }
  }

  // --- afterwards
  Status settle() {
    if (state_.throw_away) {
      TRY(remove_mount(state_));
      outcome_.end = MountEnd::removed;
    } else if (complete_) {
      TRY(finish_mount(state_));
      outcome_.end = MountEnd::finished;
    }
    return {};
  }

  const ServeOptions& options_;
  Mounter& mounter_;
  Reporter& reporter_;
  StopToken& stop_;
  StopToken lease_lost_;
  bool is_left_ = false;
  MountState state_;
  ServeOutcome outcome_;
  Fd lock_;
  std::vector<Fd> roots_;
  std::vector<std::unique_ptr<FuseServer>> servers_;
  std::atomic<bool> complete_{false};
  std::atomic<bool> bringing_{false};
  std::atomic<uint64_t> brought_before_{0};  // by earlier attempts
  std::mutex noted_mutex_;
  std::unordered_set<std::string> noted_;
  std::string problem_;  // since when nothing was brought
  std::string told_problem_;
  bool status_told_ = false;
  CountingReporter counting_;
  std::optional<StatusFile> status_file_;
};

}  // namespace

// Asks for what the kernel does not remember.
bool mount_is_dead(const std::string& directory) {
  struct statvfs status{};
  return statvfs(directory.c_str(), &status) != 0 && errno == ENOTCONN;
}

Result<std::optional<MountState>> look_at_mount(const std::string& directory, Mounter& mounter) {
  TRY_ASSIGN(bool mounted, is_mounted(directory));
  if (mounted && !mount_is_dead(directory)) {
    return make_error(ErrorKind::busy, directory, "is mounted already")
        .with_hint(cat("to end that: umount ", shell_quote(directory), ", or fusermount3 -u ",
                       shell_quote(directory)));
  }
  if (mounted) TRY(clear_dead(directory, mounter));
  return read_state(directory);
}

Result<ServeOutcome> serve_mount(const ServeOptions& options, Reporter& reporter, StopToken& stop) {
  return Serving(options, reporter, stop).run();
}

}  // namespace lifeboat::ops
