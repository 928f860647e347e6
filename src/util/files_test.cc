#include "util/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "util/strings.h"

namespace lifeboat {
namespace {

TempDir temp_dir() {
  return TempDir::make("lifeboat-files-test").value();
}

void write_plain(const std::string& path, std::string_view text) {
  Fd fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644).value();
  ASSERT_TRUE(write_all(fd.get(), as_bytes(text), path).has_value());
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  auto entries = list_dir(path).value();
  for (const DirEntry& entry : entries) names.push_back(entry.name);
  return names;
}

TEST(Files, bulk_writes_are_whole_also_where_the_kernel_has_none) {
  Bytes content(3 << 20);
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<uint8_t>(i * 7 >> 8);
  // tmpfs does not know uncached writes.
  for (const char* base : {"/var/tmp", "/dev/shm"}) {
    std::string path = cat(base, "/", temporary_name());
    auto fd = open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_TRUE(fd) << fd.error().to_string();
    ASSERT_EQ(unlink(path.c_str()), 0);
    ASSERT_TRUE(pwrite_bulk(fd->get(), 5, ByteView(content).first(1 << 20), path));
    ASSERT_TRUE(pwrite_bulk(fd->get(), 5 + (1 << 20), ByteView(content).subspan(1 << 20), path));
    Bytes back(content.size());
    ASSERT_TRUE(pread_exact(fd->get(), 5, back, path));
    EXPECT_EQ(back, content);
  }
}

TEST(Paths, join_parent_and_base) {
  EXPECT_EQ(join_path("/a", "b"), "/a/b");
  EXPECT_EQ(join_path("/", "b"), "/b");
  EXPECT_EQ(join_path("", "b"), "b");
  EXPECT_EQ(parent_path("/a/b"), "/a");
  EXPECT_EQ(parent_path("/a/b/"), "/a");
  EXPECT_EQ(parent_path("/a//b"), "/a");
  EXPECT_EQ(parent_path("/a"), "/");
  EXPECT_EQ(parent_path("/"), "/");
  EXPECT_EQ(parent_path("a"), ".");
  EXPECT_EQ(base_name("/a/b"), "b");
  EXPECT_EQ(base_name("/a/b/"), "b");
  EXPECT_EQ(base_name("b"), "b");
  EXPECT_EQ(base_name("/"), "/");
}

TEST(Fd, moving_transfers_and_destruction_closes) {
  TempDir dir = temp_dir();
  int raw = -1;
  {
    Fd one = open_file(dir / "f", O_WRONLY | O_CREAT, 0600).value();
    raw = one.get();
    Fd two = std::move(one);
    EXPECT_FALSE(one.valid());
    EXPECT_EQ(two.get(), raw);
    one = std::move(two);
    EXPECT_EQ(one.get(), raw);
    EXPECT_NE(fcntl(raw, F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_EQ(fcntl(raw, F_GETFD), -1);
}

TEST(Fd, close_reports_errors_and_may_be_called_twice) {
  TempDir dir = temp_dir();
  Fd fd = open_file(dir / "f", O_WRONLY | O_CREAT, 0600).value();
  ::close(fd.get());
  EXPECT_FALSE(fd.close(dir / "f").has_value());
  EXPECT_TRUE(fd.close(dir / "f").has_value());
}

TEST(OpenFile, errors_name_the_path_and_the_kind) {
  TempDir dir = temp_dir();
  auto missing = open_file(dir / "missing", O_RDONLY);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().kind, ErrorKind::not_found);
  EXPECT_EQ(missing.error().object, dir / "missing");
  write_plain(dir / "there", "x");
  EXPECT_EQ(open_file(dir / "there", O_WRONLY | O_CREAT | O_EXCL, 0600).error().kind, ErrorKind::conflict);
}

TEST(Reading, exact_reads_tell_a_short_file_as_damage) {
  TempDir dir = temp_dir();
  std::string path = dir / "f";
  write_plain(path, "0123456789");
  Fd fd = open_file(path, O_RDONLY).value();
  Bytes out(4);
  EXPECT_TRUE(pread_exact(fd.get(), 3, out, path).has_value());
  EXPECT_EQ(as_text(out), "3456");
  EXPECT_EQ(pread_exact(fd.get(), 8, out, path).error().kind, ErrorKind::damaged);
  EXPECT_EQ(pread_some(fd.get(), 8, out, path).value(), 2u);
  EXPECT_EQ(pread_some(fd.get(), 100, out, path).value(), 0u);
  EXPECT_TRUE(read_exact(fd.get(), out, path).has_value());
  EXPECT_EQ(as_text(out), "0123");
  Bytes more(7);
  EXPECT_EQ(read_exact(fd.get(), more, path).error().kind, ErrorKind::damaged);
  EXPECT_TRUE(pread_exact(fd.get(), 100, {}, path).has_value());
}

TEST(Reading, a_pipe_is_read_in_as_many_steps_as_it_takes) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Fd reader(ends[0]);
  std::thread writer([fd = ends[1]] {
    for (int i = 0; i < 100; ++i) ASSERT_EQ(::write(fd, "abcdefghij", 10), 10);
    ::close(fd);
  });
  Bytes out(2000);
  EXPECT_EQ(read_some(reader.get(), out, "pipe").value(), 1000u);
  writer.join();
}

TEST(Writing, positioned_writes_land_where_told) {
  TempDir dir = temp_dir();
  std::string path = dir / "f";
  {
    Fd fd = open_file(path, O_RDWR | O_CREAT, 0600).value();
    ASSERT_TRUE(pwrite_all(fd.get(), 4, as_bytes("two"), path).has_value());
    ASSERT_TRUE(pwrite_all(fd.get(), 0, as_bytes("one,"), path).has_value());
  }
  EXPECT_EQ(read_text(path, 100).value(), "one,two");
}

TEST(Writing, full_disk_is_space) {
  Fd fd = open_file("/dev/full", O_WRONLY).value();
  EXPECT_EQ(write_all(fd.get(), as_bytes("x"), "/dev/full").error().kind, ErrorKind::space);
}

TEST(Writing, descriptor_opened_for_reading_fails) {
  Fd fd = open_file("/dev/null", O_RDONLY).value();
  EXPECT_FALSE(write_all(fd.get(), as_bytes("x"), "/dev/null").has_value());
}

TEST(ReadFile, limit_is_inclusive) {
  TempDir dir = temp_dir();
  write_plain(dir / "f", std::string(10000, 'x'));
  EXPECT_EQ(read_file(dir / "f", 10000).value().size(), 10000u);
  EXPECT_EQ(read_file(dir / "f", UINT64_MAX).value().size(), 10000u);
  EXPECT_EQ(read_file(dir / "f", 9999).error().kind, ErrorKind::damaged);
  EXPECT_EQ(read_file(dir / "f", 0).error().kind, ErrorKind::damaged);
  write_plain(dir / "empty", "");
  EXPECT_TRUE(read_file(dir / "empty", 0).value().empty());
}

TEST(ReadFile, files_without_a_size_are_read_whole) {
  EXPECT_GT(read_text("/proc/self/maps", 10'000'000).value().size(), 100u);
}

TEST(ReadFile, directories_and_missing_files_are_errors) {
  TempDir dir = temp_dir();
  EXPECT_FALSE(read_file(dir.path(), 100).has_value());
  EXPECT_EQ(read_file(dir / "missing", 100).error().kind, ErrorKind::not_found);
}

TEST(RewriteFileDurable, a_file_that_is_rewritten_keeps_mode_and_owner) {
  TempDir dir = temp_dir();
  EXPECT_EQ(rewrite_file_durable(dir / "f", as_bytes("x")).error().kind, ErrorKind::not_found);
  ASSERT_TRUE(write_file_durable(dir / "f", as_bytes("old"), 0640).has_value());
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(chown((dir / "f").c_str(), 12345, 12346), 0);
  }
  ASSERT_TRUE(rewrite_file_durable(dir / "f", as_bytes("new")).has_value());
  EXPECT_EQ(read_text(dir / "f", 100).value(), "new");
  const FileInfo info = stat_path(dir / "f").value();
  EXPECT_EQ(info.mode & 07777, 0640u);
  EXPECT_EQ(info.uid, root ? 12345u : geteuid());
  EXPECT_EQ(info.gid, root ? 12346u : getegid());
  EXPECT_EQ(names_in(dir.path()).size(), 1u);
}

TEST(WriteFileDurable, replaces_whole_and_leaves_no_temporary_file) {
  TempDir dir = temp_dir();
  ASSERT_TRUE(write_file_durable(dir / "f", as_bytes("old content"), 0644).has_value());
  ASSERT_TRUE(write_file_durable(dir / "f", as_bytes("new"), 0600).has_value());
  EXPECT_EQ(read_text(dir / "f", 100).value(), "new");
  EXPECT_EQ(stat_path(dir / "f").value().mode, 0600u);
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"f"});
}

TEST(WriteFileDurable, mode_is_exact_whatever_the_umask) {
  TempDir dir = temp_dir();
  mode_t old = umask(0077);
  ASSERT_TRUE(write_file_durable(dir / "f", {}, 0664).has_value());
  umask(old);
  EXPECT_EQ(stat_path(dir / "f").value().mode, 0664u);
}

TEST(WriteFileDurable, failure_keeps_the_old_and_cleans_up) {
  TempDir dir = temp_dir();
  ASSERT_EQ(::mkdir((dir / "d").c_str(), 0700), 0);
  EXPECT_FALSE(write_file_durable(dir / "d", as_bytes("x"), 0600).has_value());  // rename onto a directory
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"d"});
  EXPECT_EQ(write_file_durable(dir / "missing/f", as_bytes("x"), 0600).error().kind, ErrorKind::not_found);
}

TEST(CreateDirs, makes_missing_parents_and_accepts_existing_ones) {
  TempDir dir = temp_dir();
  EXPECT_TRUE(create_dirs(dir / "a/b/c").has_value());
  EXPECT_TRUE(create_dirs(dir / "a/b/c/").has_value());
  EXPECT_EQ(stat_path(dir / "a/b/c").value().kind, FileKind::directory);
  ASSERT_EQ(::symlink("a", (dir / "link").c_str()), 0);
  EXPECT_TRUE(create_dirs(dir / "link/d").has_value());
  EXPECT_EQ(stat_path(dir / "a/d").value().kind, FileKind::directory);
}

TEST(CreateDirs, file_or_dangling_link_in_the_way_is_conflict) {
  TempDir dir = temp_dir();
  write_plain(dir / "f", "x");
  EXPECT_EQ(create_dirs(dir / "f").error().kind, ErrorKind::conflict);
  EXPECT_FALSE(create_dirs(dir / "f/below").has_value());
  ASSERT_EQ(::symlink("nowhere", (dir / "dangling").c_str()), 0);
  EXPECT_EQ(create_dirs(dir / "dangling").error().kind, ErrorKind::conflict);
}

TEST(CreateDirs, threads_may_race) {
  TempDir dir = temp_dir();
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(create_dirs(dir / cat("a", i, "/b/c")).has_value());
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(RenameDurable, moves_between_directories) {
  TempDir dir = temp_dir();
  ASSERT_TRUE(create_dirs(dir / "to").has_value());
  write_plain(dir / "f", "x");
  ASSERT_TRUE(rename_durable(dir / "f", dir / "to/g").has_value());
  EXPECT_EQ(read_text(dir / "to/g", 10).value(), "x");
  EXPECT_EQ(rename_durable(dir / "f", dir / "h").error().kind, ErrorKind::not_found);
}

// T38
TEST(TemporaryName, is_random_and_recognised_by_its_beginning_only) {
  EXPECT_NE(temporary_name(), temporary_name());
  EXPECT_TRUE(is_temporary_name(temporary_name()));
  EXPECT_FALSE(is_temporary_name("x.tmp-1"));
  EXPECT_FALSE(is_temporary_name("tmp-1"));
  EXPECT_FALSE(is_temporary_name(".tmp"));
}

TEST(ListDir, sorted_by_bytes_with_kinds) {
  TempDir dir = temp_dir();
  write_plain(dir / "b", "x");
  write_plain(dir / "B", "x");
  write_plain(dir / "a-b", "x");
  ASSERT_TRUE(create_dirs(dir / "a").has_value());
  ASSERT_EQ(::symlink("b", (dir / "link").c_str()), 0);
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  auto entries = list_dir(dir.path()).value();
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"B", "a", "a-b", "b", "link", "pipe"}));
  EXPECT_EQ(entries[0].kind, FileKind::regular);
  EXPECT_EQ(entries[1].kind, FileKind::directory);
  EXPECT_EQ(entries[4].kind, FileKind::symlink);
  EXPECT_EQ(entries[5].kind, FileKind::other);
  EXPECT_EQ(list_dir(dir / "missing").error().kind, ErrorKind::not_found);
  EXPECT_FALSE(list_dir(dir / "b").has_value());
}

TEST(FindInDir, stops_where_told) {
  TempDir dir = temp_dir();
  for (const char* name : {"a", "b", "c"}) write_plain(dir / name, "x");
  int seen = 0;
  EXPECT_TRUE(find_in_dir(dir.path(), [&](const DirEntry&) { return ++seen == 2; }).value());
  EXPECT_EQ(seen, 2);
  EXPECT_FALSE(find_in_dir(dir.path(), [](const DirEntry& entry) { return entry.name == "d"; }).value());
  EXPECT_EQ(find_in_dir(dir / "d", [](const DirEntry&) { return true; }).error().kind, ErrorKind::not_found);
}

TEST(Stat, tells_size_mode_and_links) {
  TempDir dir = temp_dir();
  write_plain(dir / "f", "12345");
  ::chmod((dir / "f").c_str(), 0640);
  ASSERT_EQ(::symlink("f", (dir / "link").c_str()), 0);
  FileInfo info = stat_path(dir / "link").value();
  EXPECT_EQ(info.kind, FileKind::regular);
  EXPECT_EQ(info.size, 5u);
  EXPECT_EQ(info.mode, 0640u);
  EXPECT_EQ(info.uid, ::getuid());
  EXPECT_EQ(info.device, stat_path(dir.path()).value().device);
  EXPECT_EQ(lstat_path(dir / "link").value().kind, FileKind::symlink);
  EXPECT_EQ(read_link(dir / "link").value(), "f");
  EXPECT_FALSE(read_link(dir / "f").has_value());
  EXPECT_TRUE(path_exists(dir / "f").value());
  EXPECT_FALSE(path_exists(dir / "g").value());
  EXPECT_FALSE(path_exists(dir / "f/g").value());
  EXPECT_EQ(stat_path(dir / "g").error().kind, ErrorKind::not_found);
}

TEST(FreeBytes, is_told_for_an_existing_path) {
  TempDir dir = temp_dir();
  EXPECT_GT(free_bytes(dir.path()).value(), 0u);
  EXPECT_EQ(free_bytes(dir / "missing").error().kind, ErrorKind::not_found);
}

TEST(RemoveTree, removes_everything_and_follows_no_link) {
  TempDir dir = temp_dir();
  ASSERT_TRUE(create_dirs(dir / "keep").has_value());
  write_plain(dir / "keep/f", "x");
  ASSERT_TRUE(create_dirs(dir / "tree/a/b/c").has_value());
  write_plain(dir / "tree/a/b/f", "x");
  ASSERT_EQ(::symlink("../keep", (dir / "tree/link").c_str()), 0);
  EXPECT_TRUE(remove_tree(dir / "tree").has_value());
  EXPECT_FALSE(path_exists(dir / "tree").value());
  EXPECT_EQ(read_text(dir / "keep/f", 10).value(), "x");
  EXPECT_TRUE(remove_tree(dir / "tree").has_value()) << "not there is success";

  ASSERT_EQ(::symlink("keep", (dir / "root-link").c_str()), 0);
  EXPECT_TRUE(remove_tree(dir / "root-link").has_value());
  EXPECT_TRUE(path_exists(dir / "keep/f").value());
  EXPECT_TRUE(remove_file(dir / "keep/f").has_value());
  EXPECT_TRUE(remove_file(dir / "keep/f").has_value());
}

TEST(TempDir, is_removed_with_its_content) {
  std::string path;
  {
    TempDir dir = temp_dir();
    path = dir.path();
    ASSERT_TRUE(create_dirs(dir / "a/b").has_value());
    write_plain(dir / "a/f", "x");
    TempDir moved = std::move(dir);
    EXPECT_EQ(moved.path(), path);
  }
  EXPECT_FALSE(path_exists(path).value());
}

}  // namespace
}  // namespace lifeboat
