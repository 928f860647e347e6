// `wal push` through the daemon: the file is stored by a process that is there already, with its repository
// open, and the answer is waited for. Whatever keeps the daemon from doing it (it is not there, serves
// another repository, ends in the middle) leaves the push to do it itself: a file that is stored twice is
// stored once (T22).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "app/daemon/plan.h"
#include "ops/wal/push.h"

namespace lifeboat::app {

// nullopt: do it yourself.
std::optional<Result<ops::WalPushResult>> hand_over(const std::string& socket,
                                                    const ops::WalPushOptions& options);

// The daemon's side. Thread rule: any thread; pushes of one cluster wait for each other.
class PushService {
 public:
  // Borrows the plan.
  explicit PushService(const ServicePlan& plan);
  // The answer to such a question.
  nlohmann::ordered_json answer(const nlohmann::ordered_json& question);

 private:
  struct Cluster {
    const ServedCluster* served;
    std::unique_ptr<ops::WalPusher> pusher;
  };
  std::vector<Cluster> clusters_;
};

}  // namespace lifeboat::app
