#include "ops/wal/push.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "ops/wal/commands.h"
#include "ops/wal/push_state.h"
#include "ops/wal/segment_check.h"
#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using repo::PushOutcome;
using ::testing::AllOf;
using testing::at;
using ::testing::HasSubstr;
using testing::kSegment;
using testing::name_of;
using testing::Wal;

// Files in a directory that stands for pg_wal; the data directory around it is checked in
// tests/system/wal_test.py.
class PushTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    WalFixture::SetUp();
    for (int i = 0; i < 12; ++i) {
      wal_.commit(700 + static_cast<uint32_t>(i), at(i));
      wal_.fill(300'000);
    }
  }
  void write(const std::string& name, ByteView content) {
    ASSERT_TRUE(write_file_durable(directory_ / name, content, 0600));
  }
  Result<PushOutcome> push(const std::string& name) {
    WalDirectory directory(directory_.path());
    return store_wal_file(lineage(), *WalFileName::parse(name), directory);
  }
  Result<PushOutcome> push(const std::string& name, ByteView content) {
    write(name, content);
    return push(name);
  }
  PushOutcome pushed(const std::string& name, ByteView content) {
    auto outcome = push(name, content);
    EXPECT_TRUE(outcome) << outcome.error().to_string();
    return outcome ? *outcome : PushOutcome::stored;
  }
  Error refused(const std::string& name, ByteView content) {
    auto outcome = push(name, content);
    EXPECT_FALSE(outcome);
    if (outcome) return {};
    auto found = wal_store().find_all(*WalFileName::parse(name));
    EXPECT_TRUE(found);
    return outcome.error();
  }
  bool stored(const std::string& name) {
    auto found = wal_store().find_all(*WalFileName::parse(name));
    return found && found->size() == 1;
  }
  static std::string partial(uint32_t timeline, uint64_t index) {
    return cat(name_of(timeline, index).to_string(), ".partial");
  }

  TempDir directory_ = TempDir::make("lifeboat-push-test").value();
  Wal wal_;
  std::string one_ = name_of(1, 1).to_string();
};

TEST_F(PushTest, the_same_content_again_is_success_and_other_content_is_not) {  // T22
  EXPECT_EQ(pushed(one_, wal_.segment(1)), PushOutcome::stored);
  EXPECT_EQ(pushed(one_, wal_.segment(1)), PushOutcome::already_stored);
  Bytes other = wal_.segment(1);
  other[other.size() - 9] ^= 1;
  EXPECT_EQ(refused(one_, other).kind, ErrorKind::conflict);
  EXPECT_TRUE(stored(one_));
}

TEST_F(PushTest, a_segment_must_be_of_this_cluster) {  // T26
  Bytes bytes = wal_.segment(1);
  bytes[24] ^= 1;  // xlp_sysid
  EXPECT_EQ(refused(one_, bytes).kind, ErrorKind::foreign);
  EXPECT_FALSE(stored(one_));
}

TEST_F(PushTest, a_segment_must_be_of_this_major) {  // T26
  Bytes bytes = wal_.segment(1);
  store_le(bytes.data(), pg::find_version(16)->wal_magic);
  EXPECT_EQ(refused(one_, bytes).kind, ErrorKind::foreign);
}

TEST_F(PushTest, a_segment_must_be_of_the_registered_segment_size) {  // T12
  Bytes bytes = wal_.segment(2);
  store_le(bytes.data() + 32, uint32_t{2 * kSegment});
  bytes.resize(2 * kSegment);
  EXPECT_EQ(refused(name_of(1, 2).to_string(), bytes).kind, ErrorKind::foreign);
}

TEST_F(PushTest, a_segment_must_be_at_the_position_that_its_name_says) {
  EXPECT_THAT(refused(one_, wal_.segment(2)).to_string(), HasSubstr("begins at"));
  EXPECT_FALSE(stored(one_));
}

TEST_F(PushTest, a_segment_must_not_be_of_a_later_timeline) {
  Bytes bytes = wal_.segment(1);
  store_le(bytes.data() + 4, uint32_t{3});
  EXPECT_THAT(refused(one_, bytes).to_string(), HasSubstr("belongs to timeline 3"));
}

TEST_F(PushTest, a_truncated_segment_and_an_empty_one_are_refused) {  // T30
  Bytes bytes = wal_.segment(1);
  bytes.resize(kSegment / 2);
  EXPECT_EQ(refused(one_, bytes).kind, ErrorKind::damaged);
  EXPECT_EQ(refused(one_, Bytes()).kind, ErrorKind::damaged);
  EXPECT_EQ(refused(one_, Bytes(kSegment)).kind, ErrorKind::damaged);
  EXPECT_FALSE(stored(one_));
}

TEST_F(PushTest, the_history_file_is_stored_before_the_first_segment_of_its_timeline) {  // T23
  Wal second = wal_;
  second.promote({2});
  second.fill(300'000);
  pg::TimelineHistory two =
      pg::TimelineHistory::root({1}).branch({2}, wal_.end(), "no recovery target specified");
  write("00000002.history", as_bytes(two.to_text()));
  uint64_t index = wal_.last_index();
  EXPECT_EQ(pushed(name_of(2, index).to_string(), second.segment(index)), PushOutcome::stored);
  EXPECT_TRUE(stored("00000002.history"));
  EXPECT_EQ(pushed("00000002.history", as_bytes(two.to_text())), PushOutcome::already_stored);
}

TEST_F(PushTest, the_histories_of_all_ancestors_are_stored) {  // T23
  pg::TimelineHistory two = pg::TimelineHistory::root({1}).branch({2}, Lsn{2 * kSegment}, "a");
  pg::TimelineHistory three = two.branch({3}, Lsn{3 * kSegment}, "b");
  write("00000002.history", as_bytes(two.to_text()));
  EXPECT_EQ(pushed("00000003.history", as_bytes(three.to_text())), PushOutcome::stored);
  EXPECT_TRUE(stored("00000002.history"));
}

TEST_F(PushTest, a_segment_of_a_timeline_with_another_history_is_a_conflict) {  // T46
  Wal second = wal_;
  second.promote({2});
  second.fill(300'000);
  uint64_t index = wal_.last_index();
  store_history(pg::TimelineHistory::root({1}).branch({2}, Lsn{kSegment + 64}, "elsewhere"));
  write("00000002.history",
        as_bytes(pg::TimelineHistory::root({1}).branch({2}, wal_.end(), "here").to_text()));
  EXPECT_EQ(refused(name_of(2, index).to_string(), second.segment(index)).kind, ErrorKind::conflict);
  EXPECT_FALSE(stored(name_of(2, index).to_string()));
}

TEST_F(PushTest, a_copied_beginning_must_be_of_the_ancestor_that_the_history_names) {
  Wal third = wal_;  // its first page says timeline 1
  third.promote({3});
  third.fill(300'000);
  uint64_t index = wal_.last_index();
  pg::TimelineHistory two = pg::TimelineHistory::root({1}).branch({2}, Lsn{2 * kSegment}, "a");
  write("00000003.history", as_bytes(two.branch({3}, wal_.end(), "b").to_text()));
  EXPECT_THAT(refused(name_of(3, index).to_string(), third.segment(index)).to_string(),
              HasSubstr("must be 2"));
}

TEST_F(PushTest, a_damaged_history_file_is_refused) {
  EXPECT_EQ(refused("00000003.history", as_bytes("2\t0/5000000\tx\n1\t0/3000000\tx\n")).kind,
            ErrorKind::damaged);
}

TEST_F(PushTest, backup_files_are_stored_as_they_are) {
  EXPECT_EQ(pushed(cat(one_, ".00000028.backup"), as_bytes("START WAL LOCATION: …\n")), PushOutcome::stored);
}

// --- .partial (T22)

class PartialTest : public PushTest {
 protected:
  // The last segment, filled in part; what follows the last record is `rest`.
  Bytes last(uint8_t rest) const {
    Bytes bytes = wal_.segment(wal_.last_index());
    size_t end = wal_.end().value % kSegment;
    std::fill(bytes.begin() + static_cast<ptrdiff_t>(end), bytes.end(), rest);
    return bytes;
  }
  std::string whole_name() const { return name_of(1, wal_.last_index()).to_string(); }
  std::string partial_name() const { return cat(whole_name(), ".partial"); }
};

TEST_F(PartialTest, partials_that_differ_past_their_valid_end_agree) {
  EXPECT_EQ(pushed(partial_name(), last(0)), PushOutcome::stored);
  EXPECT_EQ(pushed(partial_name(), last(0xaa)), PushOutcome::already_stored);
}

TEST_F(PartialTest, partials_that_differ_in_valid_wal_are_a_conflict) {
  Wal other = wal_;
  wal_.commit(801, at(50));
  EXPECT_EQ(pushed(partial_name(), last(0)), PushOutcome::stored);
  wal_ = other;
  wal_.commit(802, at(50));
  EXPECT_THAT(refused(partial_name(), last(0)).to_string(),
              AllOf(HasSubstr("differs from"), HasSubstr("valid WAL")));
}

TEST_F(PartialTest, a_shorter_or_longer_partial_of_the_same_history_agrees) {
  Wal shorter = wal_;
  wal_.commit(801, at(50));
  Bytes longer = last(0);
  EXPECT_EQ(pushed(partial_name(), longer), PushOutcome::stored);
  wal_ = shorter;
  EXPECT_EQ(pushed(partial_name(), last(0)), PushOutcome::already_stored);
}

TEST_F(PartialTest, a_partial_agrees_with_the_whole_segment_that_continues_it) {
  Bytes part = last(0xaa);
  std::string name = partial_name();
  std::string whole = whole_name();
  uint64_t index = wal_.last_index();
  wal_.fill(500'000);
  wal_.fill(900'000);
  EXPECT_EQ(pushed(whole, wal_.segment(index)), PushOutcome::stored);
  EXPECT_EQ(pushed(name, part), PushOutcome::already_stored);
}

TEST_F(PartialTest, a_whole_segment_agrees_with_the_partial_that_it_continues) {
  EXPECT_EQ(pushed(partial_name(), last(0xaa)), PushOutcome::stored);
  std::string whole = whole_name();
  uint64_t index = wal_.last_index();
  wal_.fill(500'000);
  wal_.fill(900'000);
  EXPECT_EQ(pushed(whole, wal_.segment(index)), PushOutcome::stored);
}

TEST_F(PartialTest, a_whole_segment_that_contradicts_a_partial_is_a_conflict) {  // T46
  Wal other = wal_;
  wal_.commit(801, at(50));
  EXPECT_EQ(pushed(partial_name(), last(0)), PushOutcome::stored);
  std::string whole = whole_name();
  uint64_t index = wal_.last_index();
  other.commit(802, at(50));
  other.fill(900'000);
  EXPECT_EQ(refused(whole, other.segment(index)).kind, ErrorKind::conflict);
  EXPECT_FALSE(stored(whole));
}

TEST_F(PartialTest, a_partial_that_is_not_readable_means_nothing) {
  store_file(partial_name(), Bytes(kSegment));
  uint64_t index = wal_.last_index();
  EXPECT_EQ(pushed(whole_name(), wal_.segment(index)), PushOutcome::stored);
}

// --- notes of failures

TEST(PushState, a_failure_is_noted_counted_and_cleared) {
  TempDir directory = TempDir::make("lifeboat-state-test").value();
  Lineage lineage = testing::test_lineage();
  PushFailure failure{.cluster = "main",
                      .lineage = lineage,
                      .first = {},
                      .last = at(10),
                      .count = 0,
                      .file = "000000010000000000000001",
                      .kind = "unavailable",
                      .text = "file:///x: not there",
                      .hint = "mount it"};
  ASSERT_TRUE(note_push_failure(directory.path(), failure));
  failure.last = at(20);
  failure.file = "000000010000000000000002";
  ASSERT_TRUE(note_push_failure(directory.path(), failure));
  auto noted = read_push_failure(directory.path(), "main", lineage);
  ASSERT_TRUE(noted) << noted.error().to_string();
  ASSERT_TRUE(noted->has_value());
  EXPECT_EQ((*noted)->first, at(10));
  EXPECT_EQ((*noted)->last, at(20));
  EXPECT_EQ((*noted)->count, 2u);
  EXPECT_EQ((*noted)->file, failure.file);
  EXPECT_EQ((*noted)->kind, "unavailable");
  EXPECT_EQ((*noted)->text, failure.text);
  EXPECT_EQ((*noted)->hint, failure.hint);
  EXPECT_FALSE(*read_push_failure(directory.path(), "other", lineage));
  auto info = stat_path(push_state_path(directory.path(), "main", lineage));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->mode, 0600u);

  ASSERT_TRUE(clear_push_failure(directory.path(), "main", lineage));
  noted = read_push_failure(directory.path(), "main", lineage);
  ASSERT_TRUE(noted);
  EXPECT_FALSE(noted->has_value());
  EXPECT_TRUE(clear_push_failure(directory.path(), "main", lineage));
}

TEST(PushState, a_note_that_cannot_be_understood_is_replaced) {
  TempDir directory = TempDir::make("lifeboat-state-test").value();
  Lineage lineage = testing::test_lineage();
  std::string path = push_state_path(directory.path(), "main", lineage);
  ASSERT_TRUE(write_file_durable(path, as_bytes("{\"cluster\":3}"), 0600));
  EXPECT_EQ(read_push_failure(directory.path(), "main", lineage).error().kind, ErrorKind::damaged);
  ASSERT_TRUE(note_push_failure(directory.path(), {.cluster = "main",
                                                   .lineage = lineage,
                                                   .first = {},
                                                   .last = at(1),
                                                   .count = 0,
                                                   .file = "f",
                                                   .kind = "failed",
                                                   .text = "\xff",
                                                   .hint = ""}));
  auto noted = read_push_failure(directory.path(), "main", lineage);
  ASSERT_TRUE(noted) << noted.error().to_string();
  EXPECT_EQ((*noted)->count, 1u);
}

// --- command lines

TEST(WalCommands, stand_on_their_own) {
  WalCommandLine line{"/usr/bin/lifeboat", {"file:///srv/backup", "main", {}}};
  EXPECT_EQ(archive_command(line), "/usr/bin/lifeboat --repo file:///srv/backup --cluster main wal push %p");
  EXPECT_EQ(restore_command(line, RestoreCommandFor::recovery),
            "/usr/bin/lifeboat --repo file:///srv/backup --cluster main wal get %f %p");
  EXPECT_EQ(restore_command(line, RestoreCommandFor::standby),
            "/usr/bin/lifeboat --repo file:///srv/backup --cluster main wal get %f %p --standby");
  line.repo.key = {repo::KeySourceKind::key_file, "/etc/lifeboat/main.key"};
  EXPECT_THAT(archive_command(line),
              HasSubstr("--cluster main --key-file /etc/lifeboat/main.key wal push %p"));
}

TEST(WalCommands, quote_for_the_shell_and_for_the_servers_placeholders) {
  WalCommandLine line{"/opt/life boat/lifeboat", {"file:///srv/50%p/it's", "main", {}}};
  std::string command = archive_command(line);
  EXPECT_THAT(command, AllOf(HasSubstr("'/opt/life boat/lifeboat' "), HasSubstr("50%%p"),
                             ::testing::EndsWith("wal push %p")));
}

TEST(WalCommands, the_programs_own_path_is_absolute) {
  auto path = own_program_path();
  ASSERT_TRUE(path);
  EXPECT_THAT(*path, ::testing::StartsWith("/"));
}

}  // namespace
}  // namespace lifeboat::ops
