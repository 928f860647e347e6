#include "app/daemon/handover.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/daemon/control.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

// The archiver waits as long as its command does; so do we, for a store that may be asked again and again.
constexpr int64_t kAnswerTimeoutMs = 120'000;

Json to_json(const Error& error) {
  return {{"kind", info(error.kind).id},
          {"object", error.object},
          {"message", error.message},
          {"cause", error.cause},
          {"hint", error.hint}};
}

Error error_from(const Json& json) {
  const auto id = json.at("kind").get<std::string>();
  auto known = std::ranges::find(error_kinds(), id, &ErrorKindInfo::id);
  return {known == error_kinds().end() ? ErrorKind::failed : known->kind,
          json.at("object").get<std::string>(), json.at("message").get<std::string>(),
          json.at("cause").get<std::string>(), json.at("hint").get<std::string>()};
}

std::optional<ops::WalPushResult> result_from(const Json& json) {
  auto file = WalFileName::parse(json.at("file").get<std::string>());
  auto lineage = Lineage::parse(json.at("lineage").get<std::string>());
  if (!file || !lineage) return std::nullopt;
  const bool again = json.at("already_stored").get<bool>();
  return ops::WalPushResult{*file, *lineage,
                            again ? repo::PushOutcome::already_stored : repo::PushOutcome::stored,
                            json.value("dropped", "")};
}

}  // namespace

std::optional<Result<ops::WalPushResult>> hand_over(const std::string& socket,
                                                    const ops::WalPushOptions& options) {
  const Json question = {{"op", "push"},
                         {"repo", options.repo.url},
                         {"cluster", options.repo.cluster},
                         {"path", options.path},
                         {"working_directory", options.working_directory},
                         {"pgdata", options.pgdata.value_or("")},
                         {"state_directory", options.state_directory},
                         {"ahead", options.ahead},
                         {"queue_max", options.queue_max_bytes ? Json(*options.queue_max_bytes) : Json()}};
  auto answer =
      ask_daemon(socket, question.dump(-1, ' ', false, Json::error_handler_t::replace), kAnswerTimeoutMs);
  if (!answer) return std::nullopt;
  try {
    const Json json = Json::parse(*answer);
    if (json.contains("error")) return error_from(json.at("error"));
    if (!json.contains("stored")) return std::nullopt;
    auto result = result_from(json.at("stored"));
    if (!result) return std::nullopt;
    return *std::move(result);
  } catch (const Json::exception&) {
    return std::nullopt;  // another version of us, perhaps
  }
}

PushService::PushService(const ServicePlan& plan) {
  for (const ServedCluster& cluster : plan.clusters)
    if (cluster.archive) clusters_.push_back({&cluster, std::make_unique<ops::WalPusher>()});
}

Json PushService::answer(const Json& question) {
  const auto name = question.at("cluster").get<std::string>();
  const auto repo = question.at("repo").get<std::string>();
  auto cluster = std::ranges::find_if(clusters_, [&](const Cluster& one) {
    return one.served->name == name && one.served->repo.url == repo;
  });
  if (cluster == clusters_.end()) return {{"declined", "is not served here"}};
  // The thin archive_library leaves these to the configuration.
  ops::WalPushOptions options = cluster->served->push;
  options.repo = cluster->served->repo;
  options.ahead = question.value("ahead", options.ahead);
  if (const Json most = question.value("queue_max", Json()); most.is_number_unsigned())
    options.queue_max_bytes = most.get<uint64_t>();
  options.path = question.at("path").get<std::string>();
  options.working_directory = question.at("working_directory").get<std::string>();
  if (auto pgdata = question.at("pgdata").get<std::string>(); !pgdata.empty()) options.pgdata = pgdata;
  if (auto state = question.at("state_directory").get<std::string>(); !state.empty())
    options.state_directory = state;
  auto pushed = cluster->pusher->push(options);
  if (!pushed) return {{"error", to_json(pushed.error())}};
  return {{"stored",
           {{"file", pushed->file.text},
            {"lineage", pushed->lineage.to_string()},
            {"already_stored", pushed->outcome == repo::PushOutcome::already_stored},
            {"dropped", pushed->dropped}}}};
}

}  // namespace lifeboat::app
