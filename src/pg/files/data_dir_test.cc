#include "pg/files/data_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <set>

#include "pg/client/facts.h"
#include "tests/support/live_cluster.h"
#include "util/files.h"

namespace lifeboat::pg {
namespace {

constexpr const char* kVersionDir = "PG_15_202209061";

// A directory tree that looks like a data directory of 15.
class DataDirTest : public ::testing::Test {
 protected:
  DataDirTest() : temp(*TempDir::make()), root(temp.path() + "/data") {
    for (const char* path : {"", "base", "base/5", "global", "pg_tblspc", "pg_wal", "pg_wal/archive_status",
                             "pg_xact", "pg_replslot", "pg_stat_tmp", "pg_subtrans"})
      directory(path);
    file("PG_VERSION", "15\n");
  }
  void directory(const std::string& path) {
    ASSERT_EQ(::mkdir((root + "/" + path).c_str(), 0700), 0) << path;
  }
  void file(const std::string& path, const std::string& text = "x") {
    std::ofstream(root + "/" + path) << text;
  }
  DataDirOptions options() const {
    return {.data_directory = root, .tablespace_version_dir = kVersionDir, .major = 15, .keep_empty = {}};
  }
  DataDirLister lister() {
    auto opened = DataDirLister::open(options());
    CHECK(opened.has_value());
    return *std::move(opened);
  }
  std::vector<std::string> names(const std::string& path) {
    auto listing = lister().list(path);
    EXPECT_TRUE(listing);
    std::vector<std::string> found;
    for (const Entry& entry : listing->entries) found.push_back(entry.name);
    return found;
  }
  TempDir temp;
  std::string root;
};

using Names = std::vector<std::string>;

TEST_F(DataDirTest, other_directories_and_other_majors_are_refused) {
  DataDirOptions wrong = options();
  wrong.major = 16;
  auto opened = DataDirLister::open(wrong);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::precondition);
  wrong.data_directory = root + "/base";
  EXPECT_EQ(DataDirLister::open(wrong).error().kind, ErrorKind::precondition);
  wrong.data_directory = root + "/missing";
  EXPECT_EQ(DataDirLister::open(wrong).error().kind, ErrorKind::not_found);
}

// T08
TEST_F(DataDirTest, files_that_a_start_makes_anew_are_left_out) {
  for (const char* name :
       {"postmaster.pid", "postmaster.opts", "backup_label", "tablespace_map", "backup_manifest",
        "postgresql.auto.conf.tmp", "current_logfiles.tmp", "pg_internal.init", "pgsql_tmp1.2",
        "postgresql.auto.conf", "backup_label.old", "standby.signal"})
    file(name);
  directory("lost+found");
  EXPECT_EQ(names(""), (Names{"PG_VERSION", "backup_label.old", "base", "global", "pg_replslot",
                              "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_wal", "pg_xact",
                              "postgresql.auto.conf", "standby.signal"}));
  for (const char* name :
       {"pg_internal.init", "pg_internal.init.123", "pgsql_tmp12.3", "t3_16384", "t3_16384_fsm", "1259"})
    file(std::string("base/5/") + name);
  directory("base/pgsql_tmp");
  EXPECT_EQ(names("base/5"), Names{"1259"});
  EXPECT_EQ(names("base"), Names{"5"});
}

// T08
TEST_F(DataDirTest, directories_that_a_start_empties_are_kept_empty) {
  file("pg_replslot/state");
  file("pg_stat_tmp/global.stat");
  directory("other");
  directory("other/pg_notify");
  file("other/pg_notify/kept");
  auto listing = lister().list("pg_replslot");
  ASSERT_TRUE(listing);
  EXPECT_TRUE(listing->entries.empty());
  EXPECT_TRUE(listing->self.contents_skipped);
  EXPECT_EQ(listing->self.mode, 0700u);
  EXPECT_TRUE(names("pg_stat_tmp").empty());
  EXPECT_EQ(names("other/pg_notify"), Names{"kept"}) << "only PostgreSQL's own, at the top";
}

TEST_F(DataDirTest, pg_wal_is_kept_with_its_status_directory_only) {
  file("pg_wal/000000010000000000000001");
  file("pg_wal/archive_status/000000010000000000000001.ready");
  EXPECT_EQ(names("pg_wal"), Names{"archive_status"});
  EXPECT_TRUE(names("pg_wal/archive_status").empty());
  directory("pg_wal/summaries");
  file("pg_wal/summaries/x");
  EXPECT_EQ(names("pg_wal"), (Names{"archive_status", "summaries"}));
  EXPECT_TRUE(names("pg_wal/summaries").empty());
}

TEST_F(DataDirTest, pg_wal_may_be_a_symbolic_link) {
  const std::string elsewhere = temp.path() + "/wal";
  ASSERT_EQ(::rename((root + "/pg_wal").c_str(), elsewhere.c_str()), 0);
  ASSERT_EQ(::symlink(elsewhere.c_str(), (root + "/pg_wal").c_str()), 0);
  auto listing = lister().list("");
  ASSERT_TRUE(listing);
  const Entry* wal = nullptr;
  for (const Entry& entry : listing->entries)
    if (entry.name == "pg_wal") wal = &entry;
  ASSERT_NE(wal, nullptr);
  EXPECT_EQ(wal->kind, EntryKind::directory);
  EXPECT_EQ(wal->mode, 0700u);
  EXPECT_EQ(wal->link_target, elsewhere);
  EXPECT_EQ(names("pg_wal"), Names{"archive_status"});
}

// T09
TEST_F(DataDirTest, unlogged_relations_keep_their_init_fork_only) {
  for (const char* name :
       {"16384", "16384.1", "16384_fsm", "16384_vm", "16384_init", "16385", "16385_fsm", "163840"})
    file(std::string("base/5/") + name);
  EXPECT_EQ(names("base/5"), (Names{"163840", "16384_init", "16385", "16385_fsm"}));
}

TEST_F(DataDirTest, relation_files_are_classified_with_their_attributes) {
  file("base/5/16385.2", std::string(12345, 'x'));
  ASSERT_EQ(::chmod((root + "/base/5/16385.2").c_str(), 0640), 0);
  auto listing = lister().list("base/5");
  ASSERT_TRUE(listing);
  ASSERT_EQ(listing->entries.size(), 1u);
  const Entry& entry = listing->entries[0];
  EXPECT_EQ(entry.file_class, FileClass::relation);
  EXPECT_EQ(entry.segment, 2u);
  EXPECT_EQ(entry.size, 12345u);
  EXPECT_EQ(entry.mode, 0640u);
  EXPECT_EQ(entry.uid, ::geteuid());
  EXPECT_GT(entry.mtime_ns, int64_t{1'500'000'000} * 1'000'000'000);
}

// T11
TEST_F(DataDirTest, tablespaces_outside_inside_and_in_place_are_read_once_and_ours_only) {
  const std::string outside = temp.path() + "/space";
  ASSERT_EQ(::mkdir(outside.c_str(), 0700), 0);
  for (const char* name : {kVersionDir, "PG_14_202107181", "lost+found"})
    ASSERT_EQ(::mkdir((outside + "/" + name).c_str(), 0700), 0);
  ASSERT_EQ(::symlink(outside.c_str(), (root + "/pg_tblspc/16400").c_str()), 0);
  directory("pg_tblspc/16401");
  directory(std::string("pg_tblspc/16401/") + kVersionDir);
  directory("inside");
  directory(std::string("inside/") + kVersionDir);
  directory(std::string("inside/") + kVersionDir + "/5");
  file(std::string("inside/") + kVersionDir + "/5/16410");
  ASSERT_EQ(::symlink((root + "/inside").c_str(), (root + "/pg_tblspc/16402").c_str()), 0);

  auto listing = lister().list("pg_tblspc");
  ASSERT_TRUE(listing);
  ASSERT_EQ(listing->entries.size(), 3u);
  EXPECT_EQ(listing->entries[0].kind, EntryKind::tablespace_link);
  EXPECT_EQ(listing->entries[0].link_target, outside);
  EXPECT_EQ(listing->entries[1].kind, EntryKind::directory);
  EXPECT_EQ(listing->entries[2].kind, EntryKind::tablespace_link);
  EXPECT_EQ(names("pg_tblspc/16400"), Names{kVersionDir});
  EXPECT_EQ(names("pg_tblspc/16401"), Names{kVersionDir});
  EXPECT_EQ(names(std::string("pg_tblspc/16402/") + kVersionDir + "/5"), Names{"16410"});
  EXPECT_TRUE(names("inside").empty());
}

TEST_F(DataDirTest, tablespace_without_its_location_is_warned_about) {
  ASSERT_EQ(::symlink("/lifeboat-no-such-place", (root + "/pg_tblspc/16400").c_str()), 0);
  auto listing = lister().list("pg_tblspc/16400");
  ASSERT_TRUE(listing);
  EXPECT_TRUE(listing->vanished);
  EXPECT_EQ(listing->warnings.size(), 1u);
}

TEST_F(DataDirTest, other_links_are_recorded_and_special_files_are_left_out_with_a_warning) {
  ASSERT_EQ(::symlink("/etc/ssl/certs/snakeoil.pem", (root + "/server.crt").c_str()), 0);
  ASSERT_EQ(::mkfifo((root + "/pipe").c_str(), 0600), 0);
  auto listing = lister().list("");
  ASSERT_TRUE(listing);
  std::map<std::string, Entry> found;
  for (const Entry& entry : listing->entries) found[entry.name] = entry;
  EXPECT_EQ(found.at("server.crt").kind, EntryKind::symlink);
  EXPECT_EQ(found.at("server.crt").link_target, "/etc/ssl/certs/snakeoil.pem");
  EXPECT_EQ(found.count("pipe"), 0u);
  ASSERT_EQ(listing->warnings.size(), 1u);
  EXPECT_TRUE(listing->warnings[0].starts_with("pipe: "));
}

// T07
TEST_F(DataDirTest, vanished_directory_is_a_value) {
  auto listing = lister().list("base/99999");
  ASSERT_TRUE(listing);
  EXPECT_TRUE(listing->vanished);
  EXPECT_TRUE(listing->entries.empty());
}

TEST_F(DataDirTest, walk_visits_parents_first_in_order_and_stops_on_request) {
  file("base/5/1259");
  directory("base/1");
  std::vector<std::string> order;
  ASSERT_TRUE(lister().walk([&](const DirectoryListing& listing) {
    order.push_back(listing.path);
    return Status();
  }));
  EXPECT_EQ(order, (Names{"", "base", "base/1", "base/5", "global", "pg_replslot", "pg_stat_tmp",
                          "pg_subtrans", "pg_tblspc", "pg_wal", "pg_wal/archive_status", "pg_xact"}));
  StopToken stop;
  Status walked = lister().walk(
      [&](const DirectoryListing&) {
        stop.request();
        return Status();
      },
      &stop);
  ASSERT_FALSE(walked);
  EXPECT_EQ(walked.error().kind, ErrorKind::cancelled);
}

// The oracle: what PostgreSQL's own base backup of the same server holds.
using DataDirOracle = test::LiveTest;

TEST_F(DataDirOracle, listing_equals_what_pg_basebackup_takes) {
  const std::string space = live->root() + "/space";
  ASSERT_EQ(::mkdir(space.c_str(), 0700), 0);
  live->give(space);
  PgClient admin = live->connect();
  ASSERT_TRUE(admin.exec(cat("CREATE TABLESPACE oracle_space LOCATION '", space, "'")));
  ASSERT_TRUE(admin.exec("CREATE DATABASE oracle_db"));
  auto db = PgClient::connect(live->conninfo("postgres", "oracle_db"));
  ASSERT_TRUE(db);
  for (const char* sql :
       {"CREATE TABLE public.logged AS SELECT * FROM generate_series(1, 1000) AS n",
        "CREATE UNLOGGED TABLE public.unlogged AS SELECT * FROM generate_series(1, 100000) AS n",
        "CREATE UNLOGGED TABLE public.unlogged_elsewhere (n int) TABLESPACE oracle_space",
        "CREATE TABLE public.elsewhere TABLESPACE oracle_space AS SELECT 1 AS n",
        "CREATE TEMPORARY TABLE temporary AS SELECT * FROM generate_series(1, 1000) AS n",
        "CREATE TEMPORARY TABLE temporary_elsewhere TABLESPACE oracle_space AS SELECT 1 AS n",
        "VACUUM public.logged", "CHECKPOINT"}) {
    Status done = db->exec(sql);
    ASSERT_TRUE(done) << sql << ": " << done.error().to_string();
  }
  const std::string copy = live->root() + "/oracle";
  ASSERT_TRUE(live->run({live->bin().program("pg_basebackup"), "-h", live->root(), "-p", "5432", "-U",
                         "postgres", "-D", copy, "-X", "none", "-c", "fast", "--no-sync",
                         cat("-T", space, "=", live->root(), "/oracle_space")}));
  auto facts = read_facts(admin, {});
  ASSERT_TRUE(facts);

  std::set<std::string> ours, theirs;
  auto lister = DataDirLister::open({.data_directory = live->data(),
                                     .tablespace_version_dir = facts->tablespace_version_dir(),
                                     .major = facts->major,
                                     .keep_empty = {}});
  ASSERT_TRUE(lister) << lister.error().to_string();
  ASSERT_TRUE(lister->walk([&](const DirectoryListing& listing) {
    EXPECT_TRUE(listing.warnings.empty()) << listing.warnings[0];
    for (const Entry& entry : listing.entries)
      ours.insert(listing.path.empty() ? entry.name : cat(listing.path, "/", entry.name));
    return Status();
  }));
  std::vector<std::string> waiting = {""};
  while (!waiting.empty()) {
    std::string path = waiting.back();
    waiting.pop_back();
    auto entries = list_dir(join_path(copy, path));
    ASSERT_TRUE(entries) << entries.error().to_string();
    for (const DirEntry& entry : *entries) {
      std::string child = path.empty() ? entry.name : cat(path, "/", entry.name);
      if (child == "backup_label" || child == "backup_manifest" || child == "tablespace_map") continue;
      theirs.insert(child);
      auto info = stat_path(join_path(copy, child));
      if (info && info->kind == FileKind::directory) waiting.push_back(child);
    }
  }
  EXPECT_EQ(ours, theirs);
  EXPECT_GT(ours.size(), 900u);
  ASSERT_TRUE(db->exec("DROP TABLE public.unlogged_elsewhere, public.elsewhere, temporary_elsewhere"));
  db->close();
  ASSERT_TRUE(admin.exec("DROP DATABASE oracle_db"));
  ASSERT_TRUE(admin.exec("DROP TABLESPACE oracle_space"));
}

}  // namespace
}  // namespace lifeboat::pg
