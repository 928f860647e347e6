// lifeboat version
#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "app/run.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

constexpr int kOldestMajor = 13;
constexpr int kNewestMajor = 18;

Result<int> run_version(const Invocation& invocation) {
  invocation.output().text(cat("lifeboat ", kVersion));
  if (invocation.output().json()) {
    nlohmann::ordered_json json = {
        {"version", kVersion},
        {"postgresql", {{"oldest", kOldestMajor}, {"newest", kNewestMajor}}},
    };
    invocation.output().document(to_json_text(json));
  }
  return 0;
}

}  // namespace

extern const Command kVersionCommand;
constinit const Command kVersionCommand = {
    .path = "version",
    .summary = "print the version",
    .description =
        "Prints the version of this program; as JSON also the PostgreSQL majors that it works with.",
    .run_as = RunAs::caller,
    .groups = {&kOutputOptions},
    .schema = R"({
      "type": "object",
      "required": ["version", "postgresql"],
      "properties": {
        "version": {"type": "string"},
        "postgresql": {
          "type": "object",
          "required": ["oldest", "newest"],
          "properties": {"oldest": {"type": "integer"}, "newest": {"type": "integer"}}
        }
      }
    })",
    .handler = run_version,
};

}  // namespace lifeboat::app
