// The daemon: runs the jobs of its clusters when they are due, keeps their WAL receivers running, and answers
// `wal push` on a local socket; has their signals checked, and offers metrics by HTTP where it is asked to.
//
// Jobs and receivers are processes of the same program, so that none of them can take the daemon with it, and
// each does what the command does when a person types it. One job of a cluster runs at a time. What is
// remembered between two lives stands in one small file of the state directory; everything else is in the
// repository, so that the daemon may be stopped or killed at any moment.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "app/daemon/handover.h"
#include "app/daemon/http_server.h"
#include "app/daemon/plan.h"
#include "app/daemon/watch.h"
#include "app/output.h"
#include "util/clock.h"
#include "util/stop.h"

namespace lifeboat::app {

// In the state directory: what is remembered of jobs (schedule.h).
inline constexpr std::string_view kRecordsFile = "serve.json";

struct DaemonOptions {
  std::string program;          // absolute
  std::string state_directory;  // exists, and may be written
  std::string socket;
};

class Daemon {
 public:
  // Reads what an earlier life remembered. Errors: damaged, and those of reading it.
  static Result<std::unique_ptr<Daemon>> make(ServicePlan plan, DaemonOptions options, Output& output,
                                              StopToken& stop, Clock& clock);
  // Until a stop is requested; then running jobs and receivers are stopped as by Ctrl-C and waited for.
  // Errors: the socket cannot be had (busy: another daemon has it).
  Status run();
  // As `serve --status` shows it: JSON.
  std::string status() const;

 private:
  struct ResidentState {
    std::string state = "starting";  // running, waiting
    int64_t pid = 0;
    Timestamp since;
    uint64_t restarts = 0;
    std::string error;
    bool restart = false;  // it was asked for
  };
  struct RequestCounts {
    uint64_t begun = 0;
    uint64_t ended = 0;
    double seconds = 0;
  };
  Daemon(ServicePlan plan, DaemonOptions options, Schedule schedule, Output& output, StopToken& stop,
         Clock& clock);
  void run_jobs(const ServedCluster& cluster);
  void run_job(const Job& job);
  void keep_running(const ServedCluster& cluster, const Resident& resident);
  void watch_signals(const ServedCluster& cluster);
  std::string check_signals(const ServedCluster& cluster);  // why it failed, or empty
  HttpReply web_answer(std::string_view path) const;
  std::string metrics() const;
  std::string answer(std::string_view question);
  std::string answer_to(std::string_view question);
  bool restart(const std::string& cluster, const std::string& process);  // false: there is none
  bool asked_to_restart(const Resident& resident);
  Status remember() const;
  std::vector<std::string> argv(const std::string& cluster, const std::vector<std::string>& words) const;
  Timestamp now() const { return {clock_.unix_us()}; }
  bool pause(int64_t us) const;  // false: the daemon stops

  const ServicePlan plan_;
  PushService pushes_;
  const DaemonOptions options_;
  Output& output_;
  StopToken& stop_;
  Clock& clock_;
  const Timestamp started_;
  mutable std::mutex mutex_;  // guards what follows, and the file of records
  Schedule schedule_;
  std::map<const Resident*, ResidentState> residents_;  // of plan_
  std::map<std::string, uint64_t> pushed_;              // by cluster: files that were handed over and stored
  std::map<std::string, RequestCounts> requests_;       // of the local socket, by what was asked
  SignalWatch watch_;
  std::unique_ptr<HttpServer> web_;  // null: no metrics are offered
};

}  // namespace lifeboat::app
