#include "ops/archive_setting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;

pg::ServerFacts server(std::string mode, std::string command) {
  pg::ServerFacts facts;
  facts.settings = {{"archive_mode", std::move(mode)}, {"archive_command", std::move(command)}};
  return facts;
}

TEST(archive_setting, what_reaches_no_archive_is_told) {
  EXPECT_THAT(why_nothing_is_archived(server("off", "cp %p /x/%f")), Optional(HasSubstr("archive_mode")));
  EXPECT_THAT(why_nothing_is_archived(server("on", "")), Optional(HasSubstr("empty")));
  EXPECT_THAT(why_nothing_is_archived(server("on", " /bin/true ")), Optional(HasSubstr("stores nothing")));
  EXPECT_THAT(why_nothing_is_archived(server("always", "exit 0")), Optional(HasSubstr("stores nothing")));
}

TEST(archive_setting, what_hides_a_failed_push_is_told) {
  for (const char* command : {"lifeboat wal push %p || true", "lifeboat wal push %p; exit 0",
                              "lifeboat wal push %p | tee /x", "lifeboat wal push --repo '/a b' %p & true"})
    EXPECT_TRUE(hides_failures(command)) << command;
  for (const char* command :
       {"lifeboat wal push %p", "lifeboat wal push %p 2>>/var/log/push.log", "lifeboat wal push %p >/x 2>&1",
        "test ! -f /off && lifeboat wal push %p", "lifeboat wal push --repo '/a;b' %p && logger stored"})
    EXPECT_FALSE(hides_failures(command)) << command;
}

TEST(archive_setting, what_may_reach_one_is_not) {
  EXPECT_EQ(why_nothing_is_archived(server("on", "cp %p /x/%f")), std::nullopt);
  EXPECT_EQ(why_nothing_is_archived(server("on", "/usr/bin/true && cp %p /x/%f")), std::nullopt);
  EXPECT_EQ(why_nothing_is_archived({}), std::nullopt) << "nothing is known";
  pg::ServerFacts facts = server("on", "");
  facts.settings["archive_library"] = "lifeboat_archive";
  EXPECT_EQ(why_nothing_is_archived(facts), std::nullopt);
  facts = server("off", "");
  facts.in_recovery = true;
  EXPECT_EQ(why_nothing_is_archived(facts), std::nullopt) << "its primary archives";
  facts = server("off", "");
  pg::SenderFacts sender;
  sender.application_name = "lifeboat wal receive at db2";
  sender.state = "streaming";
  facts.senders = {sender};
  EXPECT_EQ(why_nothing_is_archived(facts), std::nullopt);
  facts.senders.front().state = "startup";
  EXPECT_EQ(why_nothing_is_archived(facts), std::nullopt) << "it is there";
  facts.senders.front().application_name = "backup of db1";
  EXPECT_NE(why_nothing_is_archived(facts), std::nullopt);
  pg::SlotFacts slot;
  slot.name = "lifeboat_main";
  slot.type = "physical";
  slot.active = true;
  facts.slots = {slot};
  EXPECT_EQ(why_nothing_is_archived(facts), std::nullopt) << "under another name";
}

}  // namespace
}  // namespace lifeboat::ops
