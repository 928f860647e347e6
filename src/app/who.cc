#include "app/who.h"

#include <unistd.h>

#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::app {

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

std::string user_name() {
  auto user = OsUser::by_uid(::geteuid());
  return user ? user->name : cat(::geteuid());
}

}  // namespace lifeboat::app
