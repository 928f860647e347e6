#include "ops/wal/push_state.h"

#include <nlohmann/json.hpp>

#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr uint64_t kStateLimit = 64 << 10;
constexpr mode_t kStateMode = 0600;

Result<PushFailure> decode(const std::string& path, std::string_view text) {
  auto json = nlohmann::json::parse(text, nullptr, false);
  auto damaged = [&] { return make_error(ErrorKind::damaged, path, "not a note of a failed wal push"); };
  if (!json.is_object()) return damaged();
  try {
    PushFailure failure;
    failure.cluster = json.at("cluster").get<std::string>();
    auto lineage = Lineage::parse(json.at("lineage").get<std::string>());
    if (!lineage) return damaged();
    failure.lineage = *lineage;
    failure.first = {json.at("first_us").get<int64_t>()};
    failure.last = {json.at("last_us").get<int64_t>()};
    failure.count = json.at("count").get<uint64_t>();
    failure.file = json.at("file").get<std::string>();
    failure.kind = json.at("kind").get<std::string>();
    failure.text = json.at("text").get<std::string>();
    failure.hint = json.at("hint").get<std::string>();
    return failure;
  } catch (const nlohmann::json::exception&) {
    return damaged();
  }
}

std::string encode(const PushFailure& failure) {
  nlohmann::ordered_json json = {{"cluster", failure.cluster},
                                 {"lineage", failure.lineage.to_string()},
                                 {"first_us", failure.first.unix_us},
                                 {"last_us", failure.last.unix_us},
                                 {"count", failure.count},
                                 {"file", failure.file},
                                 {"kind", failure.kind},
                                 {"text", failure.text},
                                 {"hint", failure.hint}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}
}  // namespace

std::string push_state_path(const std::string& directory, const std::string& cluster,
                            const Lineage& lineage) {
  return join_path(directory, cat("wal-push-", cluster, "-", lineage.to_string(), ".json"));
}

Status note_push_failure(const std::string& directory, PushFailure failure) {
  failure.first = failure.last;
  failure.count = 1;
  // A note that cannot be understood is replaced: the newest failure is what matters.
  if (auto before = read_push_failure(directory, failure.cluster, failure.lineage); before && *before) {
    failure.first = (*before)->first;
    failure.count = (*before)->count + 1;
  }
  return write_file_durable(push_state_path(directory, failure.cluster, failure.lineage),
                            as_bytes(encode(failure)), kStateMode);
}

Result<std::optional<PushFailure>> read_push_failure(const std::string& directory, const std::string& cluster,
                                                     const Lineage& lineage) {
  std::string path = push_state_path(directory, cluster, lineage);
  auto text = read_text(path, kStateLimit);
  if (!text && text.error().kind == ErrorKind::not_found) return std::optional<PushFailure>();
  TRY(text);
  TRY_ASSIGN(PushFailure failure, decode(path, *text));
  return std::optional<PushFailure>(std::move(failure));
}

Status clear_push_failure(const std::string& directory, const std::string& cluster, const Lineage& lineage) {
  std::string path = push_state_path(directory, cluster, lineage);
  TRY_ASSIGN(bool noted, path_exists(path));
  if (!noted) return {};
  return remove_file(path);
}

}  // namespace lifeboat::ops
