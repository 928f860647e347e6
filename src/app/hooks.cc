#include "app/hooks.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/output.h"
#include "app/render.h"
#include "app/run.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;
using Environment = std::vector<std::pair<std::string, std::optional<std::string>>>;

constexpr size_t kOutputLimit = 64 << 10;

bool given(const Invocation& invocation, std::string_view option) {
  return find_option(invocation.command(), option) != nullptr && invocation.has(option);
}

// Asks for nothing to be done.
bool only_asks(const Invocation& invocation) {
  bool dry_run = find_option(invocation.command(), "dry-run") != nullptr && invocation.flag("dry-run");
  return dry_run || given(invocation, "gate") || given(invocation, "history");
}

Json or_null(std::string text) {
  return text.empty() ? Json(nullptr) : Json(std::move(text));
}

int code_of(const Invocation& invocation, const Result<int>& result) {
  return result ? *result : exit_code(invocation.command().exit_rule, false, result.error().kind);
}

// The options that all commands share, so that a hook calls lifeboat without repeating them.
Environment environment_of(const Invocation& invocation, const ConfigHook& hook, const Result<int>* result) {
  Environment environment = {{std::string(kHookVariable), hook.name}};
  auto set = [&](const char* name, std::string value) {
    if (!value.empty()) environment.emplace_back(name, std::move(value));
  };
  set("LIFEBOAT_CONFIG", invocation.config_path());
  set("LIFEBOAT_REPO", invocation.repo().value_or(""));
  set("LIFEBOAT_CLUSTER", invocation.cluster());
  set("LIFEBOAT_PGDATA", invocation.pgdata().value_or(""));
  set("LIFEBOAT_PG", invocation.conninfo());
  const KeySource key = invocation.key();
  if (key.kind == KeySource::Kind::key_file) set("LIFEBOAT_KEY_FILE", key.path);
  if (key.kind == KeySource::Kind::passphrase_file) set("LIFEBOAT_PASSPHRASE_FILE", key.path);
  if (result != nullptr) {
    set("LIFEBOAT_HOOK_RESULT", *result ? "succeeded" : "failed");
    set("LIFEBOAT_HOOK_EXIT_CODE", std::to_string(code_of(invocation, *result)));
  }
  return environment;
}

std::string input_of(const Invocation& invocation, const ConfigHook& hook, const Result<int>* result) {
  Json input = {{"schema", "lifeboat/hook/1"},
                {"hook", hook.name},
                {"command", invocation.command().path},
                {"cluster", invocation.cluster()},
                {"repository", or_null(invocation.repo().value_or(""))},
                {"pgdata", or_null(invocation.pgdata().value_or(""))},
                {"time", json_time(Timestamp{invocation.clock().unix_us()})},
                {"version", kVersion}};
  if (result != nullptr) {
    const int code = code_of(invocation, *result);
    const std::string& document = invocation.output().document();
    input["exit_code"] = code;
    input["error"] = *result ? Json(nullptr) : json_error(result->error(), code);
    input["result"] = document.empty() ? Json(nullptr) : Json::parse(document, nullptr, false);
  }
  return to_json_text(input) + "\n";
}

}  // namespace

std::string hook_suffix(const Command& command) {
  std::string suffix(command.path);
  std::ranges::replace(suffix, ' ', '-');
  return suffix;
}

Hooks::Hooks(const Invocation& invocation) : invocation_(invocation) {
  if (!invocation.command().hooks || invocation.inside_hook() || only_asks(invocation)) return;
  section_ = invocation.cluster_section();
}

const ConfigHook* Hooks::find(std::string_view when) const {
  if (section_ == nullptr) return nullptr;
  const std::string name = cat(when, hook_suffix(invocation_.command()));
  for (const ConfigHook& hook : section_->hooks) {
    if (hook.name == name) return &hook;
  }
  return nullptr;
}

Error Hooks::failure(const ConfigHook& hook, std::string message) const {
  return make_error(ErrorKind::hook_failed, cat("hook ", hook.name, " (", hook.argv.front(), ")"),
                    std::move(message))
      .with_hint(cat("it stands in ", invocation_.config_path(), ", line ", hook.line));
}

Status Hooks::run(const ConfigHook& hook, const Result<int>* result) const {
  ProcessSpec spec;
  spec.argv = hook.argv;
  spec.env = environment_of(invocation_, hook, result);
  spec.new_session = true;  // what it started itself ends with it when it takes too long
  const std::string input = input_of(invocation_, hook, result);
  RunOptions options;
  options.stdin_text = input;
  options.capture_limit = kOutputLimit;
  options.timeout_ms = section_->hook_timeout_us / 1000;
  options.stop = result == nullptr ? &invocation_.stop() : nullptr;
  Output& output = invocation_.output();
  output.note(LogLevel::debug, cat("running hook ", hook.name, ": ", join(hook.argv, " ")));
  output.end_progress();
  auto outcome = run_process(spec, options);
  if (!outcome) {
    const Error& error = outcome.error();
    if (error.kind == ErrorKind::cancelled) return error;
    if (error.kind == ErrorKind::timeout) {
      return failure(hook, cat("was ended: it took longer than ",
                               format_seconds(static_cast<double>(section_->hook_timeout_us) / 1e6)));
    }
    return failure(hook, "could not be started").with_cause(error.to_string());
  }
  for (const std::string* text : {&outcome->out, &outcome->err}) {
    if (trim(*text).empty()) continue;
    for (std::string_view line : split(trim(*text), '\n'))
      output.note(LogLevel::info, cat("hook ", hook.name, ": ", line));
  }
  if (outcome->ok()) return {};
  const std::vector<std::string_view> last = split(trim(outcome->err), '\n');
  return failure(hook, outcome->describe()).with_cause(std::string(last.empty() ? "" : trim(last.back())));
}

Status Hooks::before() const {
  const ConfigHook* hook = find("before-");
  if (hook == nullptr) return {};
  Status done = run(*hook, nullptr);
  if (done || done.error().kind != ErrorKind::hook_failed) return done;
  Error error = std::move(done).error();
  error.message += cat("; the ", invocation_.command().path, " was not begun");
  return error;
}

Result<int> Hooks::after(Result<int> result) const {
  const ConfigHook* hook = find("after-");
  if (hook == nullptr) return result;
  Status done = run(*hook, &result);
  if (done) return result;
  Error error = std::move(done).error();
  if (!result) {
    invocation_.output().note(LogLevel::warning, error.to_string());
    return result;
  }
  error.message += cat("; the ", invocation_.command().path, " itself succeeded");
  return error;
}

}  // namespace lifeboat::app
