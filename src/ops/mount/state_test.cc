#include "ops/mount/state.h"

#include <gtest/gtest.h>

namespace lifeboat::ops {
namespace {

MountState example() {
  MountState state;
  state.id = "0123456789abcdef";
  state.location.url = "file:///srv/backup";
  state.location.cluster = "main";
  state.location.key = {repo::KeySourceKind::key_file, "/etc/lifeboat/main.key"};
  state.lineage = *Lineage::parse("7424242424242424242-15");
  state.backup = BackupId::make({1'700'000'000'000'000}, 1);
  state.files = 3;
  state.bytes = 4711;
  state.table_hash = "00";
  state.hydrate = true;
  state.next = "pg_ctl -D '/srv/100%\n' start";
  state.action = pg::TargetAction::promote;
  state.instant.emplace();
  state.instant->target = "time 2026-11-20 10:56:25+00";
  state.instant->stop = Lsn{0x3000028};
  state.instant->timeline = Timeline{2};
  state.instant->time = Timestamp{1'790'000'000'000'000};
  state.instant->exclusive = true;
  state.trees = {{0, "/srv/two words"}, {16385, "/srv/100%\n"}};
  return state;
}

TEST(MountStateTest, what_was_written_is_read_back) {
  MountState state = example();
  auto read = MountState::parse("state", state.to_text());
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->to_text(), state.to_text());
  EXPECT_EQ(read->trees[1].path, "/srv/100%\n");
  EXPECT_EQ(read->location.key.path, "/etc/lifeboat/main.key");
  EXPECT_TRUE(read->hydrate);
  EXPECT_EQ(read->action, pg::TargetAction::promote);
  EXPECT_FALSE(read->throw_away);
}

TEST(MountStateTest, half_of_it_is_damage) {
  std::string text = example().to_text();
  for (size_t size = 0; size + 5 < text.size(); size += 7) {
    auto read = MountState::parse("state", text.substr(0, size));
    ASSERT_FALSE(read) << size;
    EXPECT_EQ(read.error().kind, ErrorKind::damaged);
  }
}

TEST(MountStateTest, what_is_not_known_is_damage) {
  EXPECT_FALSE(MountState::parse("state", example().to_text() + "later yes\n"));
  EXPECT_FALSE(MountState::parse("state", "lifeboat mount 2\n"));
}

}  // namespace
}  // namespace lifeboat::ops
