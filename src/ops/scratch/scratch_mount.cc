#include "ops/scratch/scratch_mount.h"

namespace lifeboat::ops {

Result<std::unique_ptr<ScratchMount>> ScratchMount::begin(const std::string& directory, Mounter& mounter,
                                                          int jobs, Reporter& reporter) {
  std::unique_ptr<ScratchMount> mount(new ScratchMount());
  ServeOptions options;
  options.directory = directory;
  options.mounter = &mounter;
  options.jobs = jobs;
  ScratchMount& self = *mount;
  options.mounted = [&self](const MountState&) {
    std::lock_guard lock(self.mutex_);
    self.mounted_ = true;
    self.changed_.notify_all();
  };
  self.thread_ = std::thread([&self, &reporter, options] {
    auto served = serve_mount(options, reporter, self.stop_);
    std::lock_guard lock(self.mutex_);
    self.served_ = std::move(served);
    self.changed_.notify_all();
  });
  std::unique_lock lock(self.mutex_);
  self.changed_.wait(lock, [&self] { return self.mounted_ || self.served_; });
  if (self.mounted_) return mount;
  if (!*self.served_) return self.served_->error();
  return make_error(ErrorKind::failed, directory, "the mount ended at once");
}

ScratchMount::~ScratchMount() {
  stop_.request();
  if (thread_.joinable()) thread_.join();
}

Result<ServeOutcome> ScratchMount::end() {
  stop_.request();
  if (thread_.joinable()) thread_.join();
  std::lock_guard lock(mutex_);
  return std::move(*served_);
}

}  // namespace lifeboat::ops
