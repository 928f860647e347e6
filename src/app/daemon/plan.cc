#include "app/daemon/plan.h"

#include <algorithm>

#include "app/daemon/http_server.h"
#include "app/location.h"
#include "app/parse.h"
#include "app/push_options.h"
#include "app/readings.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr std::string_view kReceive = "wal receive";
constexpr std::string_view kBeacon = "wal beacon";
constexpr std::string_view kAlertCheck = "alert check";
constexpr int64_t kSignalsUs = 60'000'000;

Error at_line(const Invocation& serve, int line, std::string message) {
  return make_error(ErrorKind::config, cat(serve.config_path(), ":", line), std::move(message));
}

// What a person would have got for these words.
Result<CommandLine> parse_words(const Invocation& serve, const std::vector<std::string>& words, int line,
                                std::string_view name) {
  const std::vector<std::string_view> arguments(words.begin(), words.end());
  auto parsed = parse_command_line(arguments, "/");
  if (!parsed) {
    Error error = at_line(serve, line, cat(name, ": ", parsed.error().to_string()));
    error.hint = parsed.error().hint;
    return error;
  }
  return std::move(*parsed);
}

// A drill that nobody told where to recover to. By a schedule every moment has its turn.
bool has_no_target(const CommandLine& line) {
  return line.command->path == "drill" && std::ranges::none_of(line.options, [](const auto& typed) {
           const std::string_view name = typed.option->name;
           return name.starts_with("target") || name == "random-target" || name == "dump" ||
                  name == "history";
         });
}

Result<Job> plan_job(const Invocation& serve, const ConfigBlock& block, const ConfigJob& line) {
  TRY_ASSIGN(const CommandLine parsed, parse_words(serve, line.words, line.line, line.name));
  const Command* command = parsed.command;
  if (command == &serve.command() || command->path == kReceive || command->path == kBeacon ||
      command->path == "wal push" || command->path == "wal get" || command->path == "restore")
    return at_line(serve, line.line, cat(line.name, ": '", command->path, "' is no job"));
  TRY_ASSIGN(CronExpression when, CronExpression::parse(line.when));
  Job job = {block.name, line.name, std::move(when), block.service.jitter_us, line.words, false};
  // A backup of hours must not keep anybody from hearing that archiving has stopped.
  job.beside = command->path == kAlertCheck;
  // Who wrote the policy into the file has agreed to it; nobody is there to be asked.
  if (command->danger == Danger::destructive) job.command.emplace_back("--yes");
  if (has_no_target(parsed)) job.command.emplace_back("--random-target");
  return job;
}

// The options of one cluster as each of its commands will have them.
Result<Invocation> resolve_for(const Invocation& serve, const std::string& cluster, std::string_view path) {
  CommandLine line;
  line.command = find_command(path);
  line.options.push_back({find_option(*line.command, "cluster"), cluster});
  line.options.push_back({find_option(*line.command, "config"), serve.config_path()});
  return Invocation::resolve(std::move(line), {}, serve.working_directory(), serve.output(), serve.stop(),
                             serve.clock());
}

// How often signals are read. Whoever has them read must say who owns them.
Result<int64_t> plan_signals(const Invocation& serve, const std::string& cluster, int64_t asked_us) {
  const Config& config = serve.config();
  const bool wanted = asked_us != 0 || !config.receivers.empty() || !config.serve.metrics.empty();
  if (!wanted) return 0;
  TRY_ASSIGN(Invocation status, resolve_for(serve, cluster, "status"));
  TRY(signal_settings(status, Owners::required));
  return asked_us != 0 ? asked_us : kSignalsUs;
}

Result<ServedCluster> plan_cluster(const Invocation& serve, const ConfigBlock& block) {
  TRY_ASSIGN(Invocation resolved, resolve_for(serve, block.name, "serve"));
  ServedCluster cluster;
  cluster.name = block.name;
  TRY_ASSIGN(cluster.repo, repo_location(resolved));
  cluster.archive = block.service.archive;
  TRY_ASSIGN(Invocation push, resolve_for(serve, block.name, "wal push"));
  cluster.push = push_options(push);
  const ConfigService& service = block.service;
  if (service.receive) {
    Resident receiver{std::string(kReceive), {"wal", "receive"}};
    receiver.words.insert(receiver.words.end(), service.receive_words.begin(), service.receive_words.end());
    TRY(parse_words(serve, receiver.words, service.line, "receive"));
    cluster.residents.push_back(std::move(receiver));
  }
  if (!service.beacon_every.empty())
    cluster.residents.push_back({std::string(kBeacon), {"wal", "beacon", "--every", service.beacon_every}});
  TRY_ASSIGN(cluster.signals_us, plan_signals(serve, block.name, service.signals_us));
  return cluster;
}

bool is_served(const Invocation& serve, const ConfigBlock& block) {
  if (block.section != ConfigSection::cluster) return false;
  if (serve.source("cluster") == Source::command_line && serve.cluster() != block.name) return false;
  return block.service.line != 0 || !block.schedule.empty();
}

constexpr std::string_view kStateDir = "state-dir";

// What a job of this cluster takes for it when nobody says so; empty: the default.
std::string stated_directory(const Invocation& invocation, const std::string& cluster) {
  const ConfigBlock* block = invocation.config().find(ConfigSection::cluster, cluster);
  if (block == nullptr) return "";
  for (const ConfigValue& value : block->values)
    if (value.option->name == kStateDir) return value.values.front();
  return "";
}

void carry_into(const Invocation& invocation, const std::string& cluster, std::vector<std::string>& words) {
  const std::vector<std::string_view> arguments(words.begin(), words.end());
  auto line = parse_command_line(arguments, "/");
  if (!line) return;  // it was parsed before
  const Option* option = find_option(*line->command, kStateDir);
  const bool given =
      std::ranges::any_of(line->options, [&](const auto& one) { return one.option == option; });
  if (option == nullptr || given) return;
  const std::string wanted = invocation.value(kStateDir);
  std::string has = stated_directory(invocation, cluster);
  if (has.empty()) has = option->default_text;
  if (has != wanted) words.insert(words.end(), {cat("--", kStateDir), wanted});
}

}  // namespace

void carry_state_directory(const Invocation& invocation, ServicePlan& plan) {
  for (Job& job : plan.jobs) carry_into(invocation, job.cluster, job.command);
  for (ServedCluster& cluster : plan.clusters)
    for (Resident& resident : cluster.residents) carry_into(invocation, cluster.name, resident.words);
}

Result<ServicePlan> plan_service(const Invocation& serve) {
  ServicePlan plan;
  if (!serve.config_path().empty()) plan.common = {"--config", serve.config_path()};
  const ConfigServe& endpoint = serve.config().serve;
  plan.metrics = endpoint.metrics;
  if (!plan.metrics.empty()) {
    if (auto good = check_listen_address(plan.metrics); !good)
      return at_line(serve, endpoint.line, cat("metrics: ", good.error().to_string()));
  }
  for (const ConfigBlock& block : serve.config().blocks) {
    if (!is_served(serve, block)) continue;
    TRY_ASSIGN(ServedCluster cluster, plan_cluster(serve, block));
    plan.clusters.push_back(std::move(cluster));
    for (const ConfigJob& line : block.schedule) {
      TRY_ASSIGN(Job job, plan_job(serve, block, line));
      plan.jobs.push_back(std::move(job));
    }
  }
  if (plan.clusters.empty()) {
    ServedCluster cluster;
    cluster.name = serve.cluster();
    TRY_ASSIGN(cluster.repo, repo_location(serve));
    TRY_ASSIGN(cluster.signals_us, plan_signals(serve, cluster.name, 0));
    plan.clusters.push_back(std::move(cluster));
  }
  return plan;
}

}  // namespace lifeboat::app
