#include "ops/scratch/scratch_mount.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "ops/mount/users.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kPatienceUs = 10'000'000;
constexpr int64_t kPatienceOfAStopUs = 2'000'000;  // the server has just ended
constexpr auto kPoll = std::chrono::milliseconds(50);

// Nobody hears what a mount that was left has to say.
class UntilLeft : public Reporter {
 public:
  explicit UntilLeft(Reporter& inner) : inner_(&inner) {}
  void progress(std::string_view phase, uint64_t done, uint64_t total, ProgressUnit unit) override {
    std::lock_guard lock(mutex_);
    if (inner_ != nullptr) inner_->progress(phase, done, total, unit);
  }
  void note(NoteLevel level, std::string_view message) override {
    std::lock_guard lock(mutex_);
    if (inner_ != nullptr) inner_->note(level, message);
  }
  void leave() {
    std::lock_guard lock(mutex_);
    inner_ = nullptr;
  }

 private:
  std::mutex mutex_;
  Reporter* inner_;
};

std::string who_holds(const std::string& directory) {
  const std::vector<MountUser> users = mount_users(directory);
  return users.empty() ? std::string() : cat(" by process ", users.front().pid);
}

}  // namespace

struct ScratchMount::Serving {
  explicit Serving(Reporter& to) : reporter(to) {}

  UntilLeft reporter;
  ServeOptions options;
  StopToken stop;
  StopToken leave;
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by it:
  bool mounted = false;
  std::optional<uint64_t> left;                // what was fetched
  std::optional<Result<ServeOutcome>> served;  // it has ended
  std::thread thread;
};

ScratchMount::ScratchMount(std::string directory, std::shared_ptr<Serving> serving, Reporter& reporter,
                           const StopToken& stop)
    : directory_(std::move(directory)), serving_(std::move(serving)), reporter_(reporter), stop_(stop) {}

Result<std::unique_ptr<ScratchMount>> ScratchMount::begin(const std::string& directory, Mounter& mounter,
                                                          int jobs, Reporter& reporter,
                                                          const StopToken& stop) {
  auto serving = std::make_shared<Serving>(reporter);
  std::unique_ptr<ScratchMount> mount(new ScratchMount(directory, serving, reporter, stop));
  Serving& self = *serving;
  self.options.directory = directory;
  self.options.mounter = &mounter;
  self.options.jobs = jobs;
  self.options.leave = &self.leave;
  self.options.mounted = [&self](const MountState&) {
    std::lock_guard lock(self.mutex);
    self.mounted = true;
    self.changed.notify_all();
  };
  self.options.left = [&self](uint64_t fetched_bytes) {
    std::lock_guard lock(self.mutex);
    self.left = fetched_bytes;
    self.changed.notify_all();
  };
  self.thread = std::thread([serving] {
    auto served = serve_mount(serving->options, serving->reporter, serving->stop);
    std::lock_guard lock(serving->mutex);
    serving->served = std::move(served);
    serving->changed.notify_all();
  });
  std::unique_lock lock(self.mutex);
  self.changed.wait(lock, [&self] { return self.mounted || self.served; });
  if (self.mounted) return mount;
  if (!*self.served) return self.served->error();
  return make_error(ErrorKind::failed, directory, "the mount ended at once");
}

ScratchMount::~ScratchMount() {
  (void)end();
}

bool ScratchMount::waits_in_vain() {
  Serving& self = *serving_;
  const int64_t began = Clock::system().monotonic_us();
  std::unique_lock lock(self.mutex);
  while (!self.served && !self.left) {
    const int64_t waited = Clock::system().monotonic_us() - began;
    if (waited > (stop_.stopped() ? kPatienceOfAStopUs : kPatienceUs)) self.leave.request();
    self.changed.wait_for(lock, kPoll);
  }
  return !self.served;
}

Result<uint64_t> ScratchMount::end() {
  Serving& self = *serving_;
  if (!self.thread.joinable()) return uint64_t{0};
  self.stop.request();
  if (waits_in_vain()) {
    self.reporter.leave();
    self.thread.detach();
    reporter_.note(NoteLevel::warning,
                   cat(directory_, " is still in use", who_holds(directory_),
                       " and is left mounted: when that has ended, umount it and remove it"));
    return *self.left;
  }
  self.thread.join();
  if (!*self.served) return self.served->error();
  return (*self.served)->fetched_bytes;
}

}  // namespace lifeboat::ops
