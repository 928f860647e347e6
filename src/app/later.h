// What is written down now and used later, from another environment: in a configuration, a unit, a report.
#pragma once

#include <string>

#include "app/invocation.h"

namespace lifeboat::app {

// --pg, made explicit: with what libpq would take from the environment now (pg/client/conninfo.h), never with
// a password. As given when that cannot be told.
std::string conninfo_for_later(const Invocation& invocation);
std::string conninfo_for_later(const Invocation& invocation, const std::string& conninfo);

// Warns when a password comes from the environment: it is not written down, and would be missing later.
void warn_of_password(const Invocation& invocation);

}  // namespace lifeboat::app
