// The dump that somebody named, or did not.
#pragma once

#include <string>

#include "app/invocation.h"

namespace lifeboat::app {

// The first positional; "latest" when it was left out.
inline std::string dump_id(const Invocation& invocation) {
  const std::string id = invocation.positional(0);
  return id.empty() ? "latest" : id;
}

}  // namespace lifeboat::app
