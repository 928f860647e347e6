#include "ops/doctor/facts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops/wal/commands.h"
#include "pg/server/recovery_settings.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

TEST(ParseArchiveCommand, what_we_generate_is_read_back_whatever_is_in_the_paths) {
  for (const char* program : {"/usr/bin/lifeboat", "/opt/life boat/it's/lifeboat", "/a%p/lifeboat"}) {
    WalCommandLine line;
    line.program = program;
    line.repo.url = "file:///srv/50% off/$HOME";
    line.repo.cluster = "shop";
    line.repo.key = {repo::KeySourceKind::key_file, "/etc/the key"};
    CommandFacts facts = parse_archive_command(archive_command(line));
    EXPECT_TRUE(facts.ours);
    EXPECT_FALSE(facts.shell);
    EXPECT_TRUE(facts.has_path);
    EXPECT_EQ(facts.program, program);
    EXPECT_EQ(facts.repo, "file:///srv/50% off/$HOME");
    EXPECT_EQ(facts.cluster, "shop");
    EXPECT_EQ(facts.key.path, "/etc/the key");
  }
}

TEST(ParseArchiveCommand, what_a_person_wrote_is_understood) {
  CommandFacts facts = parse_archive_command(
      "PGTZ=UTC nice lifeboat wal push --repo=/srv/x --passphrase-file \"/etc/p p\" --state-dir /run/s "
      "\"%p\"");
  EXPECT_TRUE(facts.ours);
  EXPECT_EQ(facts.program, "nice");
  EXPECT_EQ(facts.repo, "/srv/x");
  EXPECT_EQ(facts.key.kind, repo::KeySourceKind::passphrase_file);
  EXPECT_EQ(facts.key.path, "/etc/p p");
  EXPECT_EQ(facts.state_directory, "/run/s");
  EXPECT_TRUE(facts.has_path);
}

TEST(ParseArchiveCommand, our_part_of_a_list_is_found) {
  CommandFacts facts = parse_archive_command("test -f /tmp/stop || /usr/bin/lifeboat wal push %p 2>/tmp/log");
  EXPECT_TRUE(facts.ours);
  EXPECT_TRUE(facts.shell);
  EXPECT_EQ(facts.program, "/usr/bin/lifeboat");
}

TEST(ParseArchiveCommand, others_are_not_ours) {
  EXPECT_FALSE(parse_archive_command("").ours);
  EXPECT_FALSE(parse_archive_command("pgbackrest --stanza=main archive-push %p").ours);
  EXPECT_FALSE(parse_archive_command("cp %p /archive/%f").ours);
  EXPECT_EQ(parse_archive_command("cp %p /archive/%f").program, "cp");
}

TEST(ParseArchiveCommand, unfinished_quotes_end_with_the_text) {
  for (const char* text : {"'", "\"", "\\", "a 'b", "a \"b\\", "%", "lifeboat wal push '%p"}) {
    (void)parse_archive_command(text);
  }
}

TEST(Access, mode_bits_decide_for_a_user_that_we_are_not) {
  auto directory = TempDir::make("access");
  ASSERT_TRUE(directory);
  // TempDir is 0700; let others enter.
  ASSERT_EQ(chmod(directory->path().c_str(), 0755), 0);
  std::string inner = *directory / "inner";
  std::string file = inner + "/file";
  ASSERT_EQ(mkdir(inner.c_str(), 0700), 0);
  ASSERT_TRUE(write_file_durable(file, as_bytes("x"), 0644));
  OsUser other;
  other.name = "other";
  other.uid = 54321;
  other.gid = 54321;

  AccessFacts closed = look_at_access(other, file, Use::read);
  EXPECT_FALSE(closed.allowed);
  if (geteuid() == 0) {
    EXPECT_TRUE(closed.exists);
    EXPECT_NE(closed.obstacle.find("/inner has mode 0700 and belongs to root"), std::string::npos)
        << closed.obstacle;
  }
  ASSERT_EQ(chmod(inner.c_str(), 0755), 0);
  EXPECT_TRUE(look_at_access(other, file, Use::read).allowed);
  EXPECT_FALSE(look_at_access(other, file, Use::execute).allowed);
  EXPECT_FALSE(look_at_access(other, inner, Use::write_into).allowed);
  ASSERT_EQ(chmod(inner.c_str(), 0777), 0);
  EXPECT_TRUE(look_at_access(other, inner, Use::write_into).allowed);
  EXPECT_FALSE(look_at_access(other, file, Use::write_into).allowed);
  // The first class that applies decides, even when a later one would allow more.
  OsUser owner = other;
  owner.uid = geteuid() == 0 ? 65000 : geteuid();
  if (geteuid() == 0) {
    ASSERT_EQ(chown(file.c_str(), 65000, 65000), 0);
    ASSERT_EQ(chmod(file.c_str(), 0044), 0);
    EXPECT_FALSE(look_at_access(owner, file, Use::read).allowed);
    EXPECT_TRUE(look_at_access(other, file, Use::read).allowed);
  }
}

TEST(Access, what_is_not_there_is_told_apart_from_what_is_forbidden) {
  OsUser self;
  self.uid = geteuid();
  AccessFacts facts = look_at_access(self, "/nonexistent/x", Use::read);
  EXPECT_FALSE(facts.exists);
  EXPECT_FALSE(facts.allowed);
  EXPECT_TRUE(look_at_access(self, "/proc/self/exe", Use::execute).allowed);
}

TEST(Backlog, counts_ready_files_and_knows_the_oldest) {
  auto directory = TempDir::make("backlog");
  ASSERT_TRUE(directory);
  for (const char* name : {"000000010000000000000003.ready", "000000010000000000000002.ready",
                           "000000010000000000000001.done"}) {
    ASSERT_TRUE(write_file_durable(*directory / name, {}, 0600));
  }
  struct timespec times[2] = {{1'700'000'000, 0}, {1'700'000'000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, (*directory / "000000010000000000000002.ready").c_str(), times, 0), 0);
  auto entries = list_dir(directory->path());
  ASSERT_TRUE(entries);
  BacklogFacts backlog = read_backlog(*entries, directory->path());
  EXPECT_EQ(backlog.ready, 2u);
  EXPECT_EQ(backlog.oldest_name, "000000010000000000000002");
  EXPECT_EQ(backlog.oldest, Timestamp::from_seconds(1'700'000'000));
}

TEST(RestoreLeftovers, what_a_restore_writes_is_recognised) {
  pg::RecoverySettings settings;
  settings.restore_command = "x";
  settings.archive_off = true;
  settings.archive_off_reason = "this copy must not write into the archive of its source";
  settings.written_by = "lifeboat 0.1.0, backup 20261120T105625Z-4f2a9c";
  std::string text = pg::with_recovery_settings("# comment\nshared_buffers = '1GB'\n", settings);
  EXPECT_TRUE(archiving_turned_off_by_restore(text)) << text;
  settings.archive_off = false;
  EXPECT_FALSE(archiving_turned_off_by_restore(pg::with_recovery_settings("", settings)));
  EXPECT_FALSE(archiving_turned_off_by_restore("archive_mode = 'off'\n"));
  EXPECT_FALSE(archiving_turned_off_by_restore(text + "archive_mode = 'on'\n"));
}

}  // namespace
}  // namespace lifeboat::ops
