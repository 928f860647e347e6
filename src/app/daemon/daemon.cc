#include "app/daemon/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "app/daemon/control.h"
#include "app/render.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLookUs = 200'000;
constexpr int64_t kLookMs = kLookUs / 1000;
constexpr int64_t kRestartGraceMs = 5'000;
constexpr int64_t kStopGraceMs = 60'000;  // a backup that is stopped says so in the repository first
constexpr int64_t kShortestBackOffUs = 1'000'000;
constexpr int64_t kLongestBackOffUs = 60'000'000;
constexpr int64_t kSteadyUs = 60'000'000;  // who ran that long is started again at once
constexpr uint64_t kRecordsLimit = 4 << 20;
constexpr size_t kErrorLimit = 1000;
constexpr size_t kReportLimit = 16 << 20;
constexpr int64_t kCheckTimeoutMs = 300'000;

std::string records_path(const std::string& directory) {
  return join_path(directory, kRecordsFile);
}

// What a command says of its failure: the error in its document, else its last line.
std::string failure_of(const ProcessOutcome& outcome) {
  const Json document = Json::parse(outcome.out, nullptr, false);
  std::string text = outcome.describe();
  if (document.is_object() && document.contains("error") && document["error"].is_object()) {
    for (const char* part : {"object", "message", "cause"}) {
      const Json& value = document["error"].value(part, Json(""));
      if (value.is_string() && !value.get<std::string>().empty()) text += cat(": ", value.get<std::string>());
    }
  } else if (auto lines = split(trim(outcome.err), '\n'); !trim(outcome.err).empty()) {
    text += cat(": ", trim(lines.back()));
  }
  return text.substr(0, kErrorLimit);
}

Json record_json(const Job& job, const JobRecord& record, Timestamp next) {
  const bool running = record.started.valid() && !record.ended.valid();
  return {{"cluster", job.cluster},
          {"job", job.name},
          {"command", join(job.command, " ")},
          {"schedule", job.when.text()},
          {"next", json_time(next)},
          {"last_started", json_time(record.started)},
          {"last_ended", json_time(record.ended)},
          {"running", running},
          {"exit_code", record.ended.valid() ? Json(record.exit_code) : Json(nullptr)},
          {"error", record.error},
          {"runs", record.runs},
          {"failures_in_a_row", record.failures}};
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::make(ServicePlan plan, DaemonOptions options, Output& output,
                                             StopToken& stop, Clock& clock) {
  std::map<std::string, JobRecord> records;
  const std::string path = records_path(options.state_directory);
  auto text = read_text(path, kRecordsLimit);
  if (text) {
    auto read = decode_records(path, *text);
    if (!read) return std::move(read).error().with_hint("remove it: what was missed is then not made up for");
    records = *std::move(read);
  } else if (text.error().kind != ErrorKind::not_found) {
    return std::move(text).error();
  }
  Schedule schedule(plan.jobs, std::move(records), Timestamp{clock.unix_us()});
  return std::unique_ptr<Daemon>(
      new Daemon(std::move(plan), std::move(options), std::move(schedule), output, stop, clock));
}

Daemon::Daemon(ServicePlan plan, DaemonOptions options, Schedule schedule, Output& output, StopToken& stop,
               Clock& clock)
    : plan_(std::move(plan)),
      pushes_(plan_),
      options_(std::move(options)),
      output_(output),
      stop_(stop),
      clock_(clock),
      started_{clock.unix_us()},
      schedule_(std::move(schedule)) {}

Status Daemon::run() {
  TRY(remember());
  TRY_ASSIGN(auto control, ControlServer::listen(options_.socket, [this](std::string_view question) {
               return answer(question);
             }));
  if (!plan_.metrics.empty()) {
    TRY_ASSIGN(auto web,
               HttpServer::listen(plan_.metrics, [this](std::string_view path) { return web_answer(path); }));
    std::lock_guard lock(mutex_);
    web_ = std::move(web);
  }
  if (!plan_.metrics.empty())
    output_.note(LogLevel::info, cat("metrics at http://", plan_.metrics, "/metrics"));
  output_.note(LogLevel::info, cat("serving ", counted(plan_.clusters.size(), "cluster"), " with ",
                                   counted(plan_.jobs.size(), "job"), ", listening on ", options_.socket));
  std::vector<std::thread> threads;
  for (const ServedCluster& cluster : plan_.clusters) {
    threads.emplace_back([this, &cluster] { run_jobs(cluster); });
    for (const Resident& resident : cluster.residents)
      threads.emplace_back([this, &cluster, &resident] { keep_running(cluster, resident); });
    if (cluster.signals_us != 0) threads.emplace_back([this, &cluster] { watch_signals(cluster); });
  }
  while (pause(kLookUs)) {
  }
  output_.note(LogLevel::info, "stopping");
  for (std::thread& thread : threads) thread.join();
  std::unique_ptr<HttpServer> web;
  {
    std::lock_guard lock(mutex_);
    web = std::move(web_);
  }
  return {};
}

bool Daemon::pause(int64_t us) const {
  const int64_t until_us = clock_.monotonic_us() + us;
  while (!stop_.stopped()) {
    const int64_t left_us = until_us - clock_.monotonic_us();
    if (left_us <= 0) return true;
    clock_.sleep_us(std::min(left_us, kLookUs));
  }
  return false;
}

std::vector<std::string> Daemon::argv(const std::string& cluster,
                                      const std::vector<std::string>& words) const {
  std::vector<std::string> line = {options_.program};
  line.insert(line.end(), plan_.common.begin(), plan_.common.end());
  line.insert(line.end(), {"--cluster", cluster});
  line.insert(line.end(), words.begin(), words.end());
  return line;
}

// --- jobs

void Daemon::run_jobs(const ServedCluster& cluster) {
  do {
    const Job* job = nullptr;
    {
      std::lock_guard lock(mutex_);
      job = schedule_.due(cluster.name, now());
      if (job != nullptr) schedule_.started(*job, now());
    }
    if (job != nullptr) run_job(*job);
  } while (pause(kLookUs));
}

void Daemon::run_job(const Job& job) {
  // Noted before it begins: who is killed with it knows in the next life.
  if (auto noted = remember(); !noted) output_.note(LogLevel::warning, noted.error().to_string());
  output_.note(LogLevel::info, cat(job.key(), ": started"));
  ProcessSpec spec;
  spec.argv = argv(job.cluster, job.command);
  spec.argv.insert(spec.argv.end(), {"--output", "json"});
  spec.ends_with_us = true;
  RunOptions run;
  run.kill_after_ms = kStopGraceMs;
  run.stop = &stop_;
  const int64_t began_us = clock_.monotonic_us();
  auto outcome = run_process(spec, run);
  int exit_code = 0;
  std::string error;
  if (!outcome) {
    exit_code = info(outcome.error().kind).exit_code;
    error = outcome.error().to_string();
  } else if (!outcome->ok()) {
    exit_code = outcome->signal != 0 ? 128 + outcome->signal : outcome->exit_code;
    error = failure_of(*outcome);
  }
  {
    std::lock_guard lock(mutex_);
    if (stop_.stopped() && exit_code != 0)
      schedule_.cut_off(job, now(), "the daemon was stopped");
    else
      schedule_.ended(job, now(), exit_code, error);
  }
  if (auto noted = remember(); !noted) output_.note(LogLevel::warning, noted.error().to_string());
  const std::string took = format_seconds(static_cast<double>(clock_.monotonic_us() - began_us) / 1e6);
  if (exit_code == 0)
    output_.note(LogLevel::info, cat(job.key(), ": done in ", took));
  else
    output_.note(LogLevel::warning, cat(job.key(), ": failed after ", took, ": ", error));
}

Status Daemon::remember() const {
  std::lock_guard lock(mutex_);
  return write_file_durable(records_path(options_.state_directory),
                            as_bytes(encode_records(schedule_.records())), 0600);
}

// --- residents

void Daemon::keep_running(const ServedCluster& cluster, const Resident& resident) {
  auto tell = [&](std::string state, int64_t pid, std::string error) {
    std::lock_guard lock(mutex_);
    ResidentState& known = residents_[&resident];
    known.state = std::move(state);
    known.pid = pid;
    known.since = now();
    if (!error.empty()) known.error = std::move(error);
    if (pid != 0) ++known.restarts;
  };
  int64_t back_off_us = kShortestBackOffUs;
  while (!stop_.stopped()) {
    const int64_t began_us = clock_.monotonic_us();
    ProcessSpec spec;
    spec.argv = argv(cluster.name, resident.words);
    spec.ends_with_us = true;
    auto child = ChildProcess::start(spec, {-1, STDERR_FILENO, STDERR_FILENO});
    std::string ended = child ? "" : child.error().to_string();
    if (child) {
      tell("running", child->pid(), "");
      auto outcome = child->wait(kLookMs, &stop_);
      while (!outcome && outcome.error().kind == ErrorKind::timeout && !asked_to_restart(resident))
        outcome = child->wait(kLookMs, &stop_);
      if (!outcome && outcome.error().kind != ErrorKind::timeout) {
        child->end(kStopGraceMs);
        return;
      }
      // One that hangs does not hear SIGTERM.
      if (!outcome) child->end(kRestartGraceMs);
      ended = outcome ? outcome->describe() : "it was asked to restart";
    }
    const int64_t ran_us = clock_.monotonic_us() - began_us;
    back_off_us = ran_us > kSteadyUs ? kShortestBackOffUs : std::min(back_off_us * 2, kLongestBackOffUs);
    tell("waiting", 0, ended);
    output_.note(LogLevel::warning, cat(cluster.name, ": ", resident.name, " ended: ", ended, "; again in ",
                                        format_seconds(static_cast<double>(back_off_us) / 1e6)));
    pause(back_off_us);
  }
}

// --- signals

void Daemon::watch_signals(const ServedCluster& cluster) {
  std::string told;
  do {
    std::string problem = check_signals(cluster);
    if (problem != told && !stop_.stopped())
      output_.note(
          LogLevel::warning,
          cat(cluster.name, ": alert check: ", problem.empty() ? std::string("works again") : problem));
    told = std::move(problem);
  } while (pause(cluster.signals_us));
}

std::string Daemon::check_signals(const ServedCluster& cluster) {
  ProcessSpec spec;
  spec.argv = argv(cluster.name, {"alert", "check", "--state-dir", options_.state_directory, "--output",
                                  "json", "--quiet"});
  spec.ends_with_us = true;
  RunOptions run;
  run.capture_limit = kReportLimit;
  run.timeout_ms = kCheckTimeoutMs;
  run.stop = &stop_;
  const int64_t began_us = clock_.monotonic_us();
  auto outcome = run_process(spec, run);
  std::string problem = !outcome ? outcome.error().to_string() : outcome->ok() ? "" : failure_of(*outcome);
  // That somebody could not be told stands in the receivers' own metrics; the signals were read.
  const bool untold =
      outcome && outcome->signal == 0 && outcome->exit_code == info(ErrorKind::unavailable).exit_code;
  watch_.ran(cluster.name, outcome ? outcome->out : "", untold ? "" : problem,
             static_cast<double>(clock_.monotonic_us() - began_us) / 1e6, cluster.signals_us);
  return problem;
}

// --- questions

std::string Daemon::answer(std::string_view question) {
  const int64_t began_us = clock_.monotonic_us();
  const Json looked = Json::parse(question, nullptr, false);
  const std::string op = looked.is_object() && looked.value("op", Json("")) == "push" ? "push" : "other";
  {
    std::lock_guard lock(mutex_);
    ++requests_[op].begun;
  }
  std::string answer = answer_to(question);
  std::lock_guard lock(mutex_);
  ++requests_[op].ended;
  requests_[op].seconds += static_cast<double>(clock_.monotonic_us() - began_us) / 1e6;
  return answer;
}

std::string Daemon::answer_to(std::string_view question) {
  Json answer = {{"declined", "is no question that this version understands"}};
  try {
    const Json asked = Json::parse(question);
    const auto op = asked.at("op").get<std::string>();
    if (op == "status") return status();
    if (op == "restart" &&
        restart(asked.at("cluster").get<std::string>(), asked.at("process").get<std::string>()))
      return Json{{"restarts", asked.at("process")}}.dump();
    if (op == "push") {
      answer = pushes_.answer(asked);
      std::lock_guard lock(mutex_);
      if (answer.contains("stored")) ++pushed_[asked.at("cluster").get<std::string>()];
    }
  } catch (const Json::exception& problem) {
    answer["cause"] = problem.what();
  }
  return answer.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool Daemon::restart(const std::string& cluster, const std::string& process) {
  for (const ServedCluster& served : plan_.clusters) {
    if (served.name != cluster) continue;
    for (const Resident& resident : served.residents) {
      if (resident.name != process) continue;
      std::lock_guard lock(mutex_);
      residents_[&resident].restart = true;
      return true;
    }
  }
  return false;
}

bool Daemon::asked_to_restart(const Resident& resident) {
  std::lock_guard lock(mutex_);
  return std::exchange(residents_[&resident].restart, false);
}

std::string Daemon::status() const {
  std::lock_guard lock(mutex_);
  Json clusters = Json::array();
  for (const ServedCluster& cluster : plan_.clusters) {
    Json residents = Json::array();
    for (const Resident& resident : cluster.residents) {
      auto found = residents_.find(&resident);
      const ResidentState known = found == residents_.end() ? ResidentState{} : found->second;
      residents.push_back({{"process", resident.name},
                           {"state", known.state},
                           {"pid", known.pid == 0 ? Json(nullptr) : Json(known.pid)},
                           {"since", json_time(known.since)},
                           {"starts", known.restarts},
                           {"last_error", known.error}});
    }
    auto pushed = pushed_.find(cluster.name);
    clusters.push_back({{"cluster", cluster.name},
                        {"archives", cluster.archive},
                        {"pushed_files", pushed == pushed_.end() ? 0 : pushed->second},
                        {"processes", std::move(residents)}});
  }
  Json jobs = Json::array();
  for (const Job& job : schedule_.jobs())
    jobs.push_back(record_json(job, schedule_.record(job), schedule_.next_start(job)));
  const Json all = {{"pid", getpid()},
                    {"since", json_time(started_)},
                    {"socket", options_.socket},
                    {"clusters", std::move(clusters)},
                    {"jobs", std::move(jobs)}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lifeboat::app
