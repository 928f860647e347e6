// Markers, places and exchanges of directories: nothing that is there already is ever lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops/restore/backup_manifest.h"
#include "ops/restore/durability.h"
#include "ops/restore/layout.h"
#include "ops/restore/marker.h"
#include "ops/restore/replace.h"
#include "ops/restore/space.h"
#include "ops/restore/target_dir.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {
namespace {

class Directories : public ::testing::Test {
 protected:
  Directories() : dir_(*TempDir::make()) {}
  std::string path(std::string_view below) const { return dir_ / below; }
  void put(std::string_view below, std::string_view content = "x") {
    ASSERT_TRUE(create_dirs(parent_path(path(below)), 0700));
    ASSERT_TRUE(write_file_durable(path(below), as_bytes(content), 0600));
  }
  std::string get(std::string_view below) const {
    auto text = read_text(path(below), 1 << 20);
    return text ? *text : cat("<", text.error().to_string(), ">");
  }
  bool there(std::string_view below) const { return access(path(below).c_str(), F_OK) == 0; }
  DirectoryState look(std::string_view below) const { return look_at_directory(path(below))->state; }

  TempDir dir_;
};

RestoreMarker marker() {
  return RestoreMarker::make(*BackupId::parse("20261120T105625Z-4f2a9c"), Timestamp::from_seconds(1));
}

TEST_F(Directories, only_what_an_aborted_restore_left_counts_as_incomplete_T04) {
  EXPECT_EQ(look("d"), DirectoryState::absent);
  ASSERT_TRUE(create_dirs(path("d"), 0700));
  EXPECT_EQ(look("d"), DirectoryState::empty);
  ASSERT_TRUE(create_dirs(path("d/lost+found"), 0700));
  put("d/.tmp-0123456789abcdef");
  EXPECT_EQ(look("d"), DirectoryState::empty);
  put("d/PG_VERSION");
  EXPECT_EQ(look("d"), DirectoryState::occupied);
  put("d/lifeboat.restore_incomplete", "not ours");
  EXPECT_EQ(look("d"), DirectoryState::occupied);
  put("d/lifeboat.restore_incomplete", marker().to_text());
  EXPECT_EQ(look("d"), DirectoryState::incomplete);
  // With pg_control in place somebody may have used it.
  put("d/global/pg_control");
  EXPECT_EQ(look("d"), DirectoryState::occupied);
}

TEST_F(Directories, a_finished_replacement_that_never_got_there_is_incomplete_until_it_is_used) {
  RestoreMarker replacing = marker();
  replacing.replaces = path("d");
  for (const char* place : {"d.new-1", "d/lifeboat.new-1", "d", "elsewhere"}) {
    put(cat(place, "/global/pg_control"));
    put(cat(place, "/lifeboat.restore_incomplete"), replacing.to_text());
  }
  EXPECT_EQ(look("d.new-1"), DirectoryState::incomplete);
  EXPECT_EQ(look("d/lifeboat.new-1"), DirectoryState::incomplete);
  for (const char* place : {"d", "elsewhere"}) {
    EXPECT_EQ(look(place), DirectoryState::occupied);
    EXPECT_TRUE(look_at_directory(path(place))->finished);
  }
  put("d.new-1/postmaster.opts");
  EXPECT_EQ(look("d.new-1"), DirectoryState::occupied);
}

TEST_F(Directories, a_tablespace_is_finished_when_its_data_directory_is) {
  RestoreMarker part = marker();
  part.part_of = path("d");
  put("ts/lifeboat.restore_incomplete", part.to_text());
  EXPECT_EQ(look("ts"), DirectoryState::incomplete);
  put("d/global/pg_control");
  EXPECT_EQ(look("ts"), DirectoryState::occupied);
}

TEST_F(Directories, a_restore_that_runs_is_not_taken_for_an_aborted_one) {
  ASSERT_TRUE(create_dirs(path("d"), 0700));
  {
    auto held = write_marker(path("d"), marker());
    ASSERT_TRUE(held);
    auto look = look_at_directory(path("d"));
    ASSERT_FALSE(look);
    EXPECT_EQ(look.error().kind, ErrorKind::busy);
    EXPECT_FALSE(clear_incomplete(path("d")));
  }
  EXPECT_EQ(look("d"), DirectoryState::incomplete);
}

TEST_F(Directories, clearing_removes_what_is_below_and_follows_no_link) {
  put("outside/precious");
  ASSERT_TRUE(create_dirs(path("d/base/5"), 0700));
  put("d/base/5/1259");
  ASSERT_EQ(symlink(path("outside").c_str(), path("d/link").c_str()), 0);
  ASSERT_TRUE(write_marker(path("d"), marker()));
  ASSERT_TRUE(clear_incomplete(path("d")));
  EXPECT_EQ(look("d"), DirectoryState::empty);
  EXPECT_TRUE(there("outside/precious"));
}

TEST_F(Directories, clearing_refuses_what_became_complete) {
  put("d/global/pg_control");
  ASSERT_TRUE(write_marker(path("d"), marker()));
  auto cleared = clear_incomplete(path("d"));
  ASSERT_FALSE(cleared);
  EXPECT_EQ(cleared.error().kind, ErrorKind::precondition);
  EXPECT_TRUE(there("d/global/pg_control"));
}

TEST_F(Directories, a_marker_says_what_it_marks) {
  RestoreMarker one = marker();
  auto back = RestoreMarker::parse(one.to_text());
  ASSERT_TRUE(back);
  EXPECT_EQ(back->id, one.id);
  EXPECT_EQ(back->backup, one.backup);
  EXPECT_EQ(back->replaces, "");
  one.replaces = "/var/lib/postgresql/15/main";
  EXPECT_EQ(RestoreMarker::parse(one.to_text())->replaces, one.replaces);
  EXPECT_FALSE(RestoreMarker::parse(""));
  EXPECT_FALSE(RestoreMarker::parse("lifeboat restore\nid x\n"));
}

// --- places
repo::Manifest manifest_with(std::vector<repo::TablespaceInfo> tablespaces) {
  repo::Manifest manifest;
  manifest.data_directory = "/var/lib/postgresql/15/main";
  manifest.tablespaces = std::move(tablespaces);
  return manifest;
}

TEST_F(Directories, an_occupied_tablespace_location_is_refused_with_the_options_to_give_T11) {
  put("ts1/PG_15_202209061/5/16385");
  put("ts2/PG_15_202209061/5/16386");
  RestoreOptions options;
  options.directory = path("copy");
  repo::Manifest manifest =
      manifest_with({{16384, "one", path("ts1"), false, 0}, {16390, "two", path("ts2"), false, 0}});
  auto placed = place_trees(manifest, {}, options, "now");
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().kind, ErrorKind::precondition);
  for (const char* location : {"ts1", "ts2"}) {
    EXPECT_NE(placed.error().hint.find(cat("--tablespace ", path(location), "=")), std::string::npos)
        << placed.error().hint;
  }
  options.tablespaces = {{path("ts1") + "/", path("new1")}, {path("ts2"), path("new2")}};
  placed = place_trees(manifest, {}, options, "now");
  ASSERT_TRUE(placed) << placed.error().to_string();
  EXPECT_EQ((*placed)[1].final_path, path("new1"));
  EXPECT_EQ((*placed)[2].final_path, path("new2"));
  options.tablespaces.clear();
  options.unmapped = UnmappedTablespaces::beside;
  placed = place_trees(manifest, {}, options, "now");
  ASSERT_TRUE(placed);
  EXPECT_EQ((*placed)[1].final_path, path("copy_tablespaces/16384"));
}

TEST_F(Directories, two_trees_never_share_a_place) {
  RestoreOptions options;
  options.directory = path("copy");
  repo::Manifest manifest = manifest_with({{1, "one", path("a"), false, 0}, {2, "two", path("b"), false, 0}});
  using Mappings = std::vector<std::pair<std::string, std::string>>;
  for (const Mappings& mapping :
       {Mappings{{path("a"), path("x")}, {path("b"), path("x")}}, Mappings{{path("a"), path("copy/inside")}},
        Mappings{{path("a"), path("x")}, {path("b"), path("x/y")}}}) {
    options.tablespaces = mapping;
    auto placed = place_trees(manifest, {}, options, "now");
    ASSERT_FALSE(placed);
    EXPECT_EQ(placed.error().kind, ErrorKind::usage);
  }
}

TEST_F(Directories, a_mapping_of_nothing_is_an_error_that_names_what_there_is) {
  RestoreOptions options;
  options.directory = path("copy");
  options.tablespaces = {{"/nowhere", path("x")}};
  auto placed = place_trees(manifest_with({{1, "one", path("a"), false, 0}}), {}, options, "now");
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().kind, ErrorKind::usage);
  EXPECT_NE(placed.error().hint.find(path("a")), std::string::npos);
}

TEST_F(Directories, a_directory_with_something_in_it_is_refused_and_replaced_only_when_asked) {
  put("data/PG_VERSION", "15\n");
  RestoreOptions options;
  options.directory = path("data");
  auto placed = place_trees(manifest_with({}), {}, options, "now");
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().kind, ErrorKind::precondition);
  options.replace = true;
  placed = place_trees(manifest_with({}), {}, options, "now");
  ASSERT_TRUE(placed);
  EXPECT_EQ((*placed)[0].staging_path, path("data.new-now"));
  EXPECT_EQ((*placed)[0].kept_as, path("data.old-now"));
  EXPECT_FALSE((*placed)[0].moves_contents);
}

TEST_F(Directories, space_is_added_up_per_file_system_and_a_short_one_is_named) {
  Placement data;
  data.final_path = data.staging_path = path("data");
  data.room = 1000;
  Placement tablespace = data;
  tablespace.tablespace = 16384;
  tablespace.final_path = tablespace.staging_path = path("ts/deep/down");
  auto needs = measure_space({data, tablespace}, 500);
  ASSERT_TRUE(needs);
  ASSERT_EQ(needs->size(), 1u);
  EXPECT_EQ((*needs)[0].needed, 2500u);
  EXPECT_TRUE(check_space(*needs));
  (*needs)[0].free = 2499;
  auto checked = check_space(*needs);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::space);
}

// --- replacing
class Replacing : public Directories {
 protected:
  Replacing() {
    put("data/PG_VERSION", "old");
    put("data/global/pg_control", "old");
    put("ts/PG_15_202209061/5/16385", "old");
    put("ts/PG_14_202107181/1/1", "another cluster's");
    EXPECT_TRUE(create_dirs(path("data/pg_tblspc"), 0700));
    EXPECT_EQ(symlink(path("ts").c_str(), path("data/pg_tblspc/16384").c_str()), 0);
  }

  std::vector<Placement> placements(bool moves_contents) {
    Placement data;
    data.final_path = path("data");
    data.staging_path = moves_contents ? path("data/lifeboat.new-t") : path("data.new-t");
    data.kept_as = moves_contents ? path("data/lifeboat.old-t") : path("data.old-t");
    data.moves_contents = moves_contents;
    Placement tablespace;
    tablespace.tablespace = 16384;
    tablespace.final_path = path("ts");
    tablespace.staging_path = path("ts/lifeboat.new-t");
    tablespace.kept_as = path("ts/lifeboat.old-t");
    tablespace.moves_contents = true;
    std::string_view root = dir_.path();
    for (const char* name : {"/PG_VERSION", "/global/pg_control", "/lifeboat.restore_incomplete"}) {
      put(std::string_view(data.staging_path + name).substr(root.size() + 1), "new");
    }
    put("ts/lifeboat.new-t/PG_15_202209061/5/16385", "new");
    put("ts/lifeboat.new-t/lifeboat.restore_incomplete", "new");
    return {data, tablespace};
  }
};

TEST_F(Replacing, both_clusters_are_whole_afterwards) {
  for (bool moves_contents : {false, true}) {
    SCOPED_TRACE(moves_contents);
    if (moves_contents) {  // once more, from a clean start
      ASSERT_TRUE(remove_tree(path("data.old-t")));
      ASSERT_TRUE(remove_tree(path("ts/lifeboat.old-t")));
      put("data/PG_VERSION", "old");
      put("data/global/pg_control", "old");
      put("ts/PG_15_202209061/5/16385", "old");
      ASSERT_TRUE(create_dirs(path("data/pg_tblspc"), 0700));
      ASSERT_EQ(symlink(path("ts").c_str(), path("data/pg_tblspc/16384").c_str()), 0);
    }
    auto kept = put_in_place(placements(moves_contents));
    ASSERT_TRUE(kept) << kept.error().to_string();
    ASSERT_EQ(kept->size(), 2u);
    std::string old = (*kept)[0].substr(dir_.path().size() + 1);
    EXPECT_EQ(get("data/PG_VERSION"), "new");
    EXPECT_EQ(get("data/global/pg_control"), "new");
    EXPECT_EQ(get("ts/PG_15_202209061/5/16385"), "new");
    EXPECT_EQ(get(old + "/PG_VERSION"), "old");
    EXPECT_EQ(get(old + "/global/pg_control"), "old");
    EXPECT_EQ(get(old + "/pg_tblspc/16384/PG_15_202209061/5/16385"), "old");
    EXPECT_EQ(get("ts/PG_14_202107181/1/1"), "another cluster's");
    EXPECT_FALSE(there("ts/lifeboat.new-t"));
    EXPECT_FALSE(there("ts/lifeboat.restore_incomplete"));
    EXPECT_FALSE(there("data/lifeboat.restore_incomplete"));
    EXPECT_FALSE(there(moves_contents ? "data/lifeboat.new-t" : "data.new-t"));
  }
}

TEST_F(Replacing, what_an_older_restore_has_kept_is_of_another_exchange) {
  ASSERT_TRUE(rename_durable(path("data"), path("data.old-t")));
  RestoreOptions options;
  options.directory = path("data");
  options.replace = true;
  auto placed = place_trees(manifest_with({}), {}, options, "u");
  ASSERT_TRUE(placed) << placed.error().to_string();
  EXPECT_EQ((*placed)[0].kept_as, "");
  EXPECT_EQ((*placed)[0].staging_path, path("data"));
}

// Killed between any two of its renames, the same call again brings both clusters to their places.
TEST_F(Replacing, an_exchange_that_was_cut_off_is_gone_on_with) {
  ASSERT_TRUE(rename_durable(path("data"), path("data.old-t")));
  const auto nothing = [] {};
  const auto old_kept = [&] {
    ASSERT_TRUE(create_dirs(path("ts/lifeboat.old-t"), 0700));
    ASSERT_TRUE(rename_durable(path("ts/PG_15_202209061"), path("ts/lifeboat.old-t/PG_15_202209061")));
  };
  const auto new_there = [&] { put("ts/PG_15_202209061/5/16385", "of the call that was cut off"); };
  const auto linked = [&] {
    ASSERT_EQ(std::remove(path("data.old-t/pg_tblspc/16384").c_str()), 0);
    ASSERT_EQ(symlink(path("ts/lifeboat.old-t").c_str(), path("data.old-t/pg_tblspc/16384").c_str()), 0);
  };
  RestoreOptions options;
  options.directory = path("data");
  options.replace = true;
  repo::Manifest manifest = manifest_with({{16384, "ts", path("ts"), false, 0}});
  int call = 0;
  for (const std::function<void()>& happened :
       {std::function<void()>(nothing), {old_kept}, {new_there}, {linked}}) {
    happened();
    const std::string suffix = cat("u", ++call);
    RestoreMarker cut = RestoreMarker::make({"20261120T105625Z-4f2a9c"}, {1});
    cut.replaces = path("data");
    cut.kept_as = path("data.old-t");
    put("data.new-cut/PG_VERSION", "new");
    ASSERT_TRUE(write_marker(path("data.new-cut"), cut));
    auto placed = place_trees(manifest, {}, options, suffix);
    ASSERT_TRUE(placed) << placed.error().to_string();
    EXPECT_EQ((*placed)[0].kept_as, path("data.old-t"));
    EXPECT_EQ((*placed)[1].kept_as, path("ts/lifeboat.old-t"));
    put(cat("data.new-", suffix, "/PG_VERSION"), "new");
    put(cat("data.new-", suffix, "/lifeboat.restore_incomplete"), "new");
    put(cat("ts/lifeboat.new-", suffix, "/PG_15_202209061/5/16385"), "new");
    put(cat("ts/lifeboat.new-", suffix, "/lifeboat.restore_incomplete"), "new");
    auto kept = put_in_place(*placed);
    ASSERT_TRUE(kept) << kept.error().to_string();
    EXPECT_EQ(get("data/PG_VERSION"), "new");
    EXPECT_EQ(get("ts/PG_15_202209061/5/16385"), "new");
    EXPECT_EQ(get("data.old-t/PG_VERSION"), "old");
    EXPECT_EQ(get("data.old-t/pg_tblspc/16384/PG_15_202209061/5/16385"), "old");
    // Back to where the old one was moved aside, for the next.
    ASSERT_TRUE(remove_tree(path("data")));
    ASSERT_EQ(std::remove(path("data.old-t/pg_tblspc/16384").c_str()), 0);
    ASSERT_EQ(symlink(path("ts").c_str(), path("data.old-t/pg_tblspc/16384").c_str()), 0);
    if (call == 1) {
      ASSERT_TRUE(remove_tree(path("ts/PG_15_202209061")));
      ASSERT_TRUE(rename_durable(path("ts/lifeboat.old-t/PG_15_202209061"), path("ts/PG_15_202209061")));
      ASSERT_TRUE(remove_tree(path("ts/lifeboat.old-t")));
    } else {
      ASSERT_TRUE(remove_tree(path("ts/PG_15_202209061")));
    }
  }
  EXPECT_EQ(get("ts/lifeboat.old-u3/PG_15_202209061/5/16385"), "of the call that was cut off");
}

TEST_F(Replacing, a_failure_says_how_to_go_back_and_the_words_do_it) {
  std::vector<Placement> places = placements(false);
  // The tablespace cannot be kept: something has its name.
  put("ts/lifeboat.old-t");
  auto kept = put_in_place(places);
  ASSERT_FALSE(kept);
  ASSERT_TRUE(kept.error().hint.starts_with("to go back: ")) << kept.error().hint;
  ASSERT_EQ(std::system(kept.error().hint.substr(12).c_str()), 0);
  EXPECT_EQ(get("data/PG_VERSION"), "old");
  EXPECT_EQ(get("data/pg_tblspc/16384/PG_15_202209061/5/16385"), "old");
  EXPECT_EQ(get("data.new-t/PG_VERSION"), "new");
}

TEST_F(Directories, what_is_no_data_directory_is_not_replaced) {
  put("photos/cat.jpg");
  auto checked = check_replaceable(path("photos"));
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::precondition);
  put("data/PG_VERSION", "15\n");
  EXPECT_TRUE(check_replaceable(path("data")));
  EXPECT_TRUE(check_replaceable(path("absent")));
}

TEST_F(Directories, patronis_directories_are_recognised) {
  for (auto [name, content] :
       {std::pair{"patroni.dynamic.json", "{}"},
        {"postgresql.base.conf", ""},
        {"postgresql.conf", "# Do not edit this file manually!\n# It will be overwritten by Patroni!\n"}}) {
    TempDir other = *TempDir::make();
    ASSERT_TRUE(write_file_durable(other / "PG_VERSION", as_bytes("15\n"), 0600));
    ASSERT_TRUE(write_file_durable(other / name, as_bytes(content), 0600));
    auto checked = check_replaceable(other.path());
    ASSERT_FALSE(checked) << name;
    EXPECT_NE(checked.error().hint.find("patronictl"), std::string::npos);
  }
}

// --- the rest
TEST_F(Directories, syncing_each_file_passes_over_links_and_meets_every_error) {
  for (int i = 0; i < 500; ++i) put(cat("d/sub", i % 7, "/f", i));
  ASSERT_EQ(symlink("/nonexistent", path("d/dangling").c_str()), 0);
  StopToken stop;
  EXPECT_TRUE(sync_each(path("d"), 3, stop));
  auto trees = DurableTrees::watch({path("d")});
  ASSERT_TRUE(trees);
  EXPECT_TRUE(trees->sync(2, stop));
  stop.request();
  EXPECT_FALSE(sync_each(path("d"), 3, stop));
  StopToken going;
  EXPECT_FALSE(sync_each(path("absent"), 3, going));
}

TEST_F(Directories, a_backup_manifest_lists_every_path_and_sums_itself) {
  for (int major : {16, 17}) {
    auto writer =
        BackupManifestWriter::create(path("backup_manifest"), 0600, {pg::find_version(major), {42}});
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->add("base/5/1259", 8192, 1'790'000'000'000'000, 0xE3069283));
    ASSERT_TRUE(writer->add("with \"quotes\"", 1, 0, 1));
    ASSERT_TRUE(writer->add("not\xff utf8", 1, 0, 1));
    ASSERT_TRUE(writer->finish({{1}, {0x2000028}, {0x2000100}}));
    std::string text = get("backup_manifest");
    EXPECT_EQ(text.find("\"System-Identifier\": 42") != std::string::npos, major == 17);
    EXPECT_NE(text.find("\"Path\": \"base/5/1259\", \"Size\": 8192"), std::string::npos);
    EXPECT_NE(text.find("\"Checksum\": \"839206e3\""), std::string::npos);
    EXPECT_NE(text.find("\"Path\": \"with \\\"quotes\\\"\""), std::string::npos);
    EXPECT_NE(text.find("\"Encoded-Path\": \"6e6f74ff2075746638\""), std::string::npos);
    EXPECT_NE(text.find("\"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\""), std::string::npos);
    size_t sum = text.find("\"Manifest-Checksum\"");
    ASSERT_NE(sum, std::string::npos);
    EXPECT_EQ(text.substr(sum),
              cat("\"Manifest-Checksum\": \"",
                  to_hex(codec::sha256(as_bytes(std::string_view(text).substr(0, sum)))), "\"}\n"));
  }
  for (const char* listed : {"pg_walx", "global/pg_control", "pg_hba.conf"})
    EXPECT_TRUE(listed_in_backup_manifest(listed));
  for (const char* not_listed :
       {"pg_wal/x", "pg_wal", "postgresql.auto.conf", "recovery.signal", "backup_manifest"}) {
    EXPECT_FALSE(listed_in_backup_manifest(not_listed));
  }
}

}  // namespace
}  // namespace lifeboat::ops
