#include "app/later.h"

#include "app/output.h"
#include "pg/client/conninfo.h"
#include "util/strings.h"

namespace lifeboat::app {

std::string conninfo_for_later(const Invocation& invocation) {
  return conninfo_for_later(invocation, invocation.conninfo());
}

std::string conninfo_for_later(const Invocation& invocation, const std::string& conninfo) {
  auto made = pg::explicit_conninfo(conninfo);
  if (made) return made->text;
  invocation.output().note(LogLevel::debug,
                           cat("the environment of libpq is not looked at: ", made.error().to_string()));
  return conninfo;
}

void warn_of_password(const Invocation& invocation) {
  auto made = pg::explicit_conninfo(invocation.conninfo());
  if (!made || !made->password_in_environment) return;
  invocation.output().note(
      LogLevel::warning,
      "the password comes from this environment (PGPASSWORD or a service) and is not written down: put it "
      "into a pass file that passfile= or PGPASSFILE names, or into ~/.pgpass of who runs the jobs");
}

}  // namespace lifeboat::app
