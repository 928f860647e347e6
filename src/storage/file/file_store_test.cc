// What the conformance suite cannot say because it is about files.
#include "storage/file/file_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "util/clock.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::storage {
namespace {

TempDir temp_dir() {
  return TempDir::make("lifeboat-file-store").value();
}

std::unique_ptr<FileStore> store_in(const std::string& root) {
  return FileStore::open_root(root, StoreMode::existing).value();
}

std::vector<std::string> names(Store& store, std::string_view prefix = "") {
  std::vector<std::string> found;
  Status done = store.list(prefix, [&](const ObjectInfo& info) -> Status {
    found.push_back(info.name);
    return {};
  });
  EXPECT_TRUE(done.has_value()) << done.error().to_string();
  return found;
}

using Names = std::vector<std::string>;

TEST(FileStore, object_is_a_file_under_its_name_with_group_readable_modes) {
  TempDir dir = temp_dir();
  mode_t old = umask(0);
  auto store = store_in(dir.path());
  ASSERT_TRUE(store->put("clusters/main/object", as_bytes("content")).has_value());
  umask(old);
  EXPECT_EQ(read_text(dir / "clusters/main/object", 100).value(), "content");
  EXPECT_EQ(stat_path(dir / "clusters/main/object").value().mode, 0640u);
  EXPECT_EQ(stat_path(dir / "clusters/main").value().mode, 0750u);
  EXPECT_EQ(stat_path(dir / "clusters").value().mode, 0750u);
}

// T29: a repository that is not mounted is not one without objects.
TEST(FileStore, missing_root_is_unavailable_for_every_call) {
  TempDir dir = temp_dir();
  EXPECT_EQ(FileStore::open_root(dir / "none", StoreMode::existing).error().kind, ErrorKind::unavailable);
  ASSERT_TRUE(create_dirs(dir / "root").has_value());
  auto store = store_in(dir / "root");
  ASSERT_TRUE(store->put("a", {}).has_value());
  ASSERT_TRUE(remove_tree(dir / "root").has_value());
  EXPECT_EQ(store->open("a").error().kind, ErrorKind::unavailable);
  EXPECT_EQ(store->exists("a").error().kind, ErrorKind::unavailable);
  EXPECT_EQ(store->get("a", 1).error().kind, ErrorKind::unavailable);
  EXPECT_EQ(store->create("a").error().kind, ErrorKind::unavailable);
  EXPECT_EQ(store->put("b/c", {}).error().kind, ErrorKind::unavailable);
  EXPECT_EQ(store->remove("a").error().kind, ErrorKind::unavailable);
  EXPECT_EQ(store->list("", [](const ObjectInfo&) -> Status { return {}; }).error().kind,
            ErrorKind::unavailable);
  EXPECT_EQ(store->list_dirs("").error().kind, ErrorKind::unavailable);
  EXPECT_EQ(store->now().error().kind, ErrorKind::unavailable);
  EXPECT_EQ(store->remove_unfinished(Timestamp{1}).error().kind, ErrorKind::unavailable);
  EXPECT_FALSE(path_exists(dir / "root").value()) << "nothing makes the root again";
}

TEST(FileStore, file_in_place_of_the_root_is_refused) {
  TempDir dir = temp_dir();
  ASSERT_TRUE(write_file_durable(dir / "root", {}, 0600).has_value());
  EXPECT_FALSE(FileStore::open_root(dir / "root", StoreMode::existing).has_value());
  EXPECT_FALSE(FileStore::open_root(dir / "root", StoreMode::create_missing).has_value());
}

TEST(FileStore, object_in_the_way_of_a_directory_is_a_conflict) {
  TempDir dir = temp_dir();
  auto store = store_in(dir.path());
  ASSERT_TRUE(store->put("a", as_bytes("A")).has_value());
  EXPECT_EQ(store->put("a/b", {}).error().kind, ErrorKind::conflict);
  ASSERT_TRUE(store->put("d/e", {}).has_value());
  EXPECT_EQ(store->put("d", {}).error().kind, ErrorKind::conflict);
  EXPECT_EQ(names(*store), (Names{"a", "d/e"}));
}

TEST(FileStore, foreign_things_in_the_directory_are_ignored) {
  TempDir dir = temp_dir();
  auto store = store_in(dir.path());
  ASSERT_TRUE(store->put("a/b", as_bytes("B")).has_value());
  ASSERT_TRUE(create_dirs(dir / "lost+found").has_value());
  ASSERT_TRUE(write_file_durable(dir / "a/note to self", {}, 0600).has_value());
  ASSERT_TRUE(write_file_durable(dir / "a/.tmp-0123456789abcdef", {}, 0600).has_value());
  ASSERT_TRUE(create_dirs(dir / ".tmp-dir").has_value());
  ASSERT_TRUE(write_file_durable(dir / ".tmp-dir/x", {}, 0600).has_value());
  ASSERT_EQ(::mkfifo((dir / "a/pipe").c_str(), 0600), 0);
  ASSERT_EQ(::symlink("nowhere", (dir / "a/dangling").c_str()), 0);
  EXPECT_EQ(names(*store), Names{"a/b"});
  EXPECT_EQ(store->list_dirs("").value(), Names{"a"});
  EXPECT_FALSE(store->exists("a/dangling").value());
}

TEST(FileStore, directory_moved_behind_a_link_still_belongs_to_the_store) {
  TempDir dir = temp_dir();
  ASSERT_TRUE(create_dirs(dir / "elsewhere/packs").has_value());
  ASSERT_TRUE(create_dirs(dir / "root").has_value());
  ASSERT_EQ(::symlink("../elsewhere/packs", (dir / "root/packs").c_str()), 0);
  auto store = store_in(dir / "root");
  ASSERT_TRUE(store->put("packs/one", as_bytes("1")).has_value());
  EXPECT_EQ(names(*store), Names{"packs/one"});
  EXPECT_EQ(store->list_dirs("").value(), Names{"packs"});
  EXPECT_EQ(read_text(dir / "elsewhere/packs/one", 10).value(), "1");
}

TEST(FileStore, link_loop_ends) {
  TempDir dir = temp_dir();
  auto store = store_in(dir.path());
  ASSERT_TRUE(create_dirs(dir / "a").has_value());
  ASSERT_EQ(::symlink("..", (dir / "a/up").c_str()), 0);
  EXPECT_EQ(names(*store, "a/"), Names{});
  EXPECT_EQ(store->list_dirs("").value(), Names{});
  EXPECT_EQ(store->remove_unfinished(Timestamp{1}).value(), 0u);
}

// T38
TEST(FileStore, sweep_takes_old_temporary_files_only) {
  TempDir dir = temp_dir();
  auto store = store_in(dir.path());
  ASSERT_TRUE(store->put("a/b/object", {}).has_value());
  auto live = store->create("a/b/live").value();
  for (const char* name : {".tmp-old1", "a/.tmp-old2", "a/b/.tmp-old3"}) {
    ASSERT_TRUE(write_file_durable(dir / name, as_bytes("left"), 0600).has_value());
    timespec times[2] = {{1000, 0}, {1000, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (dir / name).c_str(), times, 0), 0);
  }
  ASSERT_TRUE(write_file_durable(dir / "a/x.tmp-keep", {}, 0600).has_value());
  EXPECT_EQ(store->remove_unfinished(Timestamp::from_seconds(1000)).value(), 0u) << "older means strictly";
  EXPECT_EQ(store->remove_unfinished(Timestamp::from_seconds(1001)).value(), 3u);
  EXPECT_TRUE(live->commit().has_value());
  EXPECT_EQ(names(*store), (Names{"a/b/live", "a/b/object", "a/x.tmp-keep"}));
}

TEST(FileStore, clock_is_the_file_systems_and_touches_no_object) {
  TempDir dir = temp_dir();
  auto store = store_in(dir.path());
  int64_t before = Clock::system().unix_us();
  int64_t now = store->now().value().unix_us;
  EXPECT_LT(std::abs(now - before), 60'000'000);
  EXPECT_TRUE(list_dir(dir.path()).value().empty());
}

TEST(FileStore, unreadable_object_is_permission) {
  if (::geteuid() == 0) {
    // Root reads everything: ask as nobody, in a child.
    TempDir dir = temp_dir();
    ::chmod(dir.path().c_str(), 0755);
    auto store = store_in(dir.path());
    ASSERT_TRUE(store->put("a", as_bytes("A")).has_value());
    ::chmod((dir / "a").c_str(), 0600);
    pid_t child = fork();
    if (child == 0) {
      if (::setgid(65534) != 0 || ::setuid(65534) != 0) _exit(9);
      bool refused = store->open("a").error().kind == ErrorKind::permission &&
                     store->exists("a").error().kind == ErrorKind::permission &&
                     store->create("b").error().kind == ErrorKind::permission &&
                     store->remove("a").error().kind == ErrorKind::permission;
      bool clock = store->now().has_value();  // this host's, since the root may not be touched
      _exit(refused && clock ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(store->exists("a").value());
    return;
  }
  TempDir dir = temp_dir();
  auto store = store_in(dir.path());
  ASSERT_TRUE(store->put("a", as_bytes("A")).has_value());
  ::chmod((dir / "a").c_str(), 0);
  EXPECT_EQ(store->open("a").error().kind, ErrorKind::permission);
}

TEST(FileStore, full_disk_is_space_and_leaves_no_trace) {
  TempDir dir = temp_dir();
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "needs the right to mount a tmpfs";
  }
  {
    auto store = store_in(dir.path());
    ASSERT_TRUE(store->put("before", Bytes(1000)).has_value());
    for (size_t piece : {1000u, 300'000u}) {
      auto writer = store->create("big").value();
      Status done;
      for (size_t size = 0; size < 3'000'000 && done; size += piece) done = writer->append(Bytes(piece));
      if (done) done = writer->commit();
      EXPECT_FALSE(done.has_value());
      if (!done) {
        EXPECT_EQ(done.error().kind, ErrorKind::space);
      }
    }
    EXPECT_EQ(names(*store), Names{"before"});
    EXPECT_TRUE(store->now().has_value()) << "expiry needs the clock when the disk is full";
    EXPECT_EQ(list_dir(dir.path()).value().size(), 1u);
    EXPECT_TRUE(store->put("after", Bytes(1000)).has_value());
  }
  EXPECT_EQ(::umount(dir.path().c_str()), 0);
}

TEST(OpenStore, urls) {
  TempDir dir = temp_dir();
  std::string url = cat("file://", dir.path());
  EXPECT_EQ(open_store(url, StoreMode::existing).value()->url(), url);
  EXPECT_EQ(open_store(cat(url, "//"), StoreMode::existing).value()->url(), url);
  EXPECT_EQ(open_store(cat(url, "/new/deep"), StoreMode::existing).error().kind, ErrorKind::unavailable);
  EXPECT_TRUE(open_store(cat(url, "/new/deep"), StoreMode::create_missing).has_value());
  EXPECT_TRUE(open_store(cat(url, "/new/deep"), StoreMode::existing).has_value());
  EXPECT_EQ(open_store("memory:", StoreMode::existing).value()->url(), "memory:");

  for (const char* bad : {"", "file:", "file:/dir", "file://", "file://host/dir", "file://relative", "/dir",
                          "memory", "memory:x", "s3://bucket/prefix", "FILE:///dir"}) {
    auto store = open_store(bad, StoreMode::existing);
    ASSERT_FALSE(store.has_value()) << bad;
    EXPECT_EQ(store.error().kind, ErrorKind::config) << bad;
  }
}

TEST(OpenStore, error_shows_no_credentials) {
  auto store = open_store("ftp://user:secret@host/dir", StoreMode::existing);
  ASSERT_FALSE(store.has_value());
  EXPECT_EQ(store.error().to_string().find("secret"), std::string::npos);
  EXPECT_NE(store.error().to_string().find("ftp"), std::string::npos);
}

// --- crash points of the real process: every durable step of a put and a remove
// -----------------------------------

TEST(FileStoreChild, DISABLED_puts_and_removes) {
  auto store = store_in(std::getenv("FILE_STORE_ROOT"));
  ASSERT_TRUE(store->put("dir/old", as_bytes("old")).has_value());
  auto writer = store->create("dir/new").value();
  ASSERT_TRUE(writer->append(Bytes(300'000)).has_value());
  ASSERT_TRUE(writer->append(Bytes(300'000)).has_value());
  ASSERT_TRUE(writer->commit().has_value());
  ASSERT_TRUE(store->remove("dir/old").has_value());
}

int run_child(const std::string& root, const std::string& fault, const std::string& count_file) {
  pid_t child = fork();
  if (child == 0) {
    if (!fault.empty()) setenv("LIFEBOAT_FAULT", fault.c_str(), 1);
    if (!count_file.empty()) setenv("LIFEBOAT_FAULT_COUNT", count_file.c_str(), 1);
    setenv("FILE_STORE_ROOT", root.c_str(), 1);
    int silent = ::open("/dev/null", O_WRONLY);
    dup2(silent, 1);
    dup2(silent, 2);
    execl("/proc/self/exe", "storage_test", "--gtest_also_run_disabled_tests",
          "--gtest_filter=FileStoreChild.DISABLED_puts_and_removes", nullptr);
    _exit(127);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST(FileStore, killed_at_every_step_leaves_whole_objects_or_none) {
  TempDir count_dir = temp_dir();
  ASSERT_TRUE(create_dirs(count_dir / "root").has_value());
  ASSERT_EQ(run_child(count_dir / "root", "", count_dir / "count"), 0);
  uint64_t points = parse_u64(trim(read_text(count_dir / "count", 100).value())).value();
  // Two objects of create, append (twice for the large one), sync, commit, sync of the directory; mkdir;
  // remove.
  ASSERT_EQ(points, 13u);

  bool seen_new = false;
  bool seen_none = false;
  for (uint64_t point = 1; point <= points; ++point) {
    for (const char* when : {"before", "after"}) {
      TempDir dir = temp_dir();
      int status = run_child(dir.path(), cat(point, ":", when), "");
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << point << when;
      auto store = store_in(dir.path());
      for (const std::string& name : names(*store)) {
        ASSERT_TRUE(name == "dir/old" || name == "dir/new") << name;
        uint64_t size = store->open(name).value()->size();
        EXPECT_EQ(size, name == "dir/old" ? 3u : 600'000u) << point << when;
        seen_new = seen_new || name == "dir/new";
      }
      seen_none = seen_none || names(*store).empty();
      Timestamp later = store->now().value().plus_us(3'600'000'000);
      EXPECT_LE(store->remove_unfinished(later).value(), 1u);
      EXPECT_TRUE(store->put("dir/next", as_bytes("next")).has_value());
    }
  }
  EXPECT_TRUE(seen_new);
  EXPECT_TRUE(seen_none);
}

}  // namespace
}  // namespace lifeboat::storage
