// What the daemon offers by HTTP: the signals of its clusters, and how it fares itself (M3).
#include "app/daemon/daemon.h"
#include "app/run.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using ready::Exposition;
using ready::Labels;
using ready::MetricType;

constexpr std::string_view kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

double seconds_of(Timestamp time) {
  return static_cast<double>(time.unix_us) / 1e6;
}

void add_job(Exposition& exposition, const Schedule& schedule, const Job& job, Timestamp now) {
  const JobRecord& record = schedule.record(job);
  const Labels labels = {{"cluster", job.cluster}, {"job", job.name}};
  auto gauge = [&](std::string_view name, std::string_view help, double value) {
    exposition.add(name, help, MetricType::gauge, labels, value);
  };
  const bool running = record.started.valid() && !record.ended.valid();
  exposition.add("lifeboat_job_runs_total", "runs of the job that began", MetricType::counter, labels,
                 static_cast<double>(record.runs));
  gauge("lifeboat_job_failures_in_a_row", "runs that failed since the last that did not",
        static_cast<double>(record.failures));
  gauge("lifeboat_job_running", "1 while the job runs", running ? 1 : 0);
  gauge("lifeboat_job_waiting", "1 while the job is due and waits for another of its cluster",
        !running && schedule.next_start(job) <= now ? 1 : 0);
  gauge("lifeboat_job_next_timestamp_seconds", "when the job is due next",
        seconds_of(schedule.next_start(job)));
  if (record.started.valid())
    gauge("lifeboat_job_last_start_timestamp_seconds", "when its last run began", seconds_of(record.started));
  if (!record.ended.valid()) return;
  gauge("lifeboat_job_last_end_timestamp_seconds", "when its last run ended", seconds_of(record.ended));
  gauge("lifeboat_job_last_exit_code", "of the last run that ended", record.exit_code);
}

void add_web(Exposition& exposition, const HttpStatistics& web) {
  for (const auto& [status, count] : web.replies)
    exposition.add("lifeboat_http_requests_total", "HTTP requests that were answered", MetricType::counter,
                   {{"code", std::to_string(status)}}, static_cast<double>(count));
  exposition.add("lifeboat_http_request_seconds_total", "from whole requests to whole replies",
                 MetricType::counter, {}, web.seconds);
  exposition.add("lifeboat_http_connections", "HTTP connections that are open", MetricType::gauge, {},
                 static_cast<double>(web.open));
  exposition.add("lifeboat_http_dropped_total", "HTTP connections that were too slow or cut off",
                 MetricType::counter, {}, static_cast<double>(web.dropped));
}

}  // namespace

HttpReply Daemon::web_answer(std::string_view path) const {
  if (path == "/metrics") return {200, std::string(kMetricsType), metrics()};
  if (path == "/health") {
    const std::string problem = watch_.problem(now());
    if (problem.empty()) return {200, "text/plain; charset=utf-8", "ok\n"};
    return {503, "text/plain; charset=utf-8", problem + "\n"};
  }
  return {404, "text/plain; charset=utf-8", "there are /metrics and /health\n"};
}

std::string Daemon::metrics() const {
  Exposition exposition;
  ready::add_build(exposition, kVersion);
  exposition.add("lifeboat_daemon_start_timestamp_seconds", "when the daemon began", MetricType::gauge, {},
                 seconds_of(started_));
  watch_.add_to(exposition, now());
  {
    std::lock_guard lock(mutex_);
    for (const Job& job : schedule_.jobs()) add_job(exposition, schedule_, job, now());
    for (const ServedCluster& cluster : plan_.clusters) {
      for (const Resident& resident : cluster.residents) {
        auto found = residents_.find(&resident);
        const Labels labels = {{"cluster", cluster.name}, {"process", resident.name}};
        exposition.add("lifeboat_process_running", "1 while the process runs", MetricType::gauge, labels,
                       found != residents_.end() && found->second.state == "running" ? 1 : 0);
        exposition.add("lifeboat_process_starts_total", "starts of the process", MetricType::counter, labels,
                       found == residents_.end() ? 0 : static_cast<double>(found->second.restarts));
      }
      auto pushed = pushed_.find(cluster.name);
      exposition.add("lifeboat_pushed_files_total",
                     "WAL files that wal push handed over and that were stored", MetricType::counter,
                     {{"cluster", cluster.name}},
                     pushed == pushed_.end() ? 0 : static_cast<double>(pushed->second));
    }
    for (const auto& [op, counts] : requests_) {
      const Labels labels = {{"op", op}};
      exposition.add("lifeboat_socket_requests_total", "questions on the local socket that were answered",
                     MetricType::counter, labels, static_cast<double>(counts.ended));
      exposition.add("lifeboat_socket_request_seconds_total", "time that answering took", MetricType::counter,
                     labels, counts.seconds);
      exposition.add("lifeboat_socket_requests_waiting",
                     "questions that are being answered or wait for each other", MetricType::gauge, labels,
                     static_cast<double>(counts.begun - counts.ended));
    }
    if (web_ != nullptr) add_web(exposition, web_->statistics());
  }
  return exposition.to_string();
}

}  // namespace lifeboat::app
