// When jobs of the daemon run (SC1). Decides only; nothing is started here, and time is passed in.
//
// A job runs at the moments of its cron expression, each later by a part of the jitter that follows from its
// name and the moment, so that many hosts with one configuration do not start as one. Moments that passed
// while nobody could start it (the daemon was down, another job of the cluster was running) are made up for
// by one run. A job that was never seen before has missed nothing. A run that failed for a passing reason (an
// ErrorKind that is retryable: the repository did not answer, another backup was running) is tried again
// kMostRetries times, later each time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/daemon/cron.h"
#include "model/timestamp.h"
#include "util/result.h"

namespace lifeboat::app {

struct Job {
  std::string cluster;
  std::string name;  // unique in its cluster
  CronExpression when;
  int64_t jitter_us = 0;             // less than this
  std::vector<std::string> command;  // words and options, as a user would type them after the program
  bool beside = false;               // without the daemon: does not wait for the other jobs of its cluster
  std::string key() const { return cluster + "/" + name; }
};

// What is remembered of a job between two lives of the daemon.
struct JobRecord {
  Timestamp due;         // the moment that the last run was for; at first: when the job was first seen
  Timestamp due_before;  // the same of the run before
  Timestamp started;     // of the last run; unknown: it never ran
  Timestamp ended;       // unknown: it runs, or the daemon ended with it
  int exit_code = 0;
  std::string error;  // of a run that failed, one line
  uint64_t runs = 0;
  uint64_t failures = 0;  // in a row; exit code 23, attention, is none
  Timestamp retry;        // when a run that failed for a passing reason is tried again; unknown: not at all
};

class Schedule {
 public:
  static constexpr uint64_t kMostCutOff = 3;
  static constexpr uint64_t kMostRetries = 3;
  // `records` may know jobs that are not there any more: they are dropped. What ran when they were written
  // was cut off.
  Schedule(std::vector<Job> jobs, std::map<std::string, JobRecord> records, Timestamp now);

  const std::vector<Job>& jobs() const { return jobs_; }
  const JobRecord& record(const Job& job) const { return records_.at(job.key()); }
  const std::map<std::string, JobRecord>& records() const { return records_; }

  // When the job is to be started next; a moment that has passed means now.
  Timestamp next_start(const Job& job) const;
  // Of the jobs of a cluster the one that has waited longest, null when none is to be started at `now`.
  const Job* due(const std::string& cluster, Timestamp now) const;

  void started(const Job& job, Timestamp now);
  void ended(const Job& job, Timestamp now, int exit_code, std::string error);
  // The run ended with the daemon, not by itself: it is made up for, unless that has happened kMostCutOff
  // times in a row (it may be what brings the host down).
  void cut_off(const Job& job, Timestamp now, std::string error);

 private:
  std::vector<Job> jobs_;
  std::map<std::string, JobRecord> records_;  // by Job::key()
};

// As a file of the state directory keeps it. `damaged` for what is no such text.
std::string encode_records(const std::map<std::string, JobRecord>& records);
Result<std::map<std::string, JobRecord>> decode_records(std::string_view object, std::string_view text);

}  // namespace lifeboat::app
