#include "util/service.h"

#include <gtest/gtest.h>

namespace lifeboat {
namespace {

TEST(Service, is_the_innermost_of_the_control_group) {
  EXPECT_EQ(service_in("0::/system.slice/lifeboat-main-heal.service\n"), "lifeboat-main-heal.service");
  EXPECT_EQ(service_in("0::/user.slice/user-0.slice/user@0.service/app.slice/lifeboat.service/jobs\n"),
            "lifeboat.service");
  EXPECT_EQ(service_in("1:name=systemd:/system.slice/cron.service\n0::/\n"), "cron.service");
  EXPECT_EQ(service_in("0::/\n"), "");
  EXPECT_EQ(service_in(""), "");
}

}  // namespace
}  // namespace lifeboat
