// `wal push` through the daemon: the file is stored by a process that is there already, with its repository
// open, and the answer is waited for. Whatever keeps the daemon from doing it (it is not there, serves
// another repository, ends in the middle) leaves the push to do it itself: a file that is stored twice is
// stored once (T22).
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "app/daemon/plan.h"
#include "ops/wal/push.h"

namespace lifeboat::app {

// nullopt: do it yourself.
std::optional<Result<ops::WalPushResult>> hand_over(const std::string& socket,
                                                    const ops::WalPushOptions& options);

// The daemon's side: the answer to such a question.
nlohmann::ordered_json answer_push(const ServicePlan& plan, const nlohmann::ordered_json& question);

}  // namespace lifeboat::app
