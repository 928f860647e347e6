// Trees come back bit for bit whatever their shape, and nothing that is wrong with them comes back as a file
// (T36).
#include "ops/restore/tree_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <random>

#include "codec/codec.h"
#include "tests/support/repo_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using repo::kTinyBlock;
using repo::kTinyFrameBlocks;

constexpr uint64_t kLeafBytes = uint64_t{repo::kMapLeafBlocks} * kTinyBlock;

Bytes random_content(size_t size, uint32_t seed) {
  std::mt19937 chance(seed);
  Bytes content(size);
  for (uint8_t& byte : content) byte = static_cast<uint8_t>(chance());
  return content;
}

// Restores into a directory of its own and keeps what the writer said of each file.
class TreeWriter : public ::testing::Test {
 protected:
  TreeWriter() : dir_(*TempDir::make()) { options_.block_size = kTinyBlock; }

  Result<TreeWriteTotals> write(const repo::NodeRef& root) {
    options_.place = [this](const std::string& path, const repo::Entry&) {
      return TreePlace{TreePlace::Do::write, join_path(dir_.path(), path), ""};
    };
    options_.written = [this](const WrittenFile& file) -> Status {
      crcs_[std::string(file.path)] = file.crc;
      return {};
    };
    SilentReporter reporter;
    return write_tree(tiny_.repo, root, options_, reporter, stop_);
  }

  repo::NodeRef stored(const repo::TinyFiles& files) {
    return *repo::store_tiny_tree(tiny_.repo, tiny_.new_id(), files, nullptr);
  }

  // Stores one file whose block map is what `change` makes of the right one.
  template <typename Change>
  repo::NodeRef stored_with_map(const Bytes& content, uint64_t size, Change change) {
    repo::PackNumbers numbers(tiny_.new_id());
    repo::PackWriter packs(tiny_.repo, numbers, repo::PackKind::data, tiny_.repo.compression());
    repo::PackNodeSink nodes(tiny_.repo, numbers);
    std::vector<repo::BlockRef> refs;
    constexpr size_t kFrame = size_t{kTinyBlock} * kTinyFrameBlocks;
    for (size_t at = 0; at < content.size(); at += kFrame) {
      ByteView run = ByteView(content).subspan(at, std::min(kFrame, content.size() - at));
      repo::BlockRun blocks{at / kTinyBlock,
                            static_cast<uint32_t>((run.size() + kTinyBlock - 1) / kTinyBlock),
                            codec::hash128(run)};
      auto frame = packs.append(run, {"f", {&blocks, 1}});
      refs.push_back({*frame, 0, blocks.count, codec::hash128(run)});
    }
    change(refs);
    repo::Entry entry;
    entry.name = "f";
    entry.mode = 0600;
    entry.size = size;
    entry.blocks = refs;
    repo::DirectoryWriter directory(nodes);
    EXPECT_TRUE(directory.add(entry));
    EXPECT_TRUE(packs.finish());
    auto root = directory.finish();
    EXPECT_TRUE(nodes.finish());
    return *root;
  }

  Bytes read(const std::string& name) { return *read_file(dir_ / name, 1 << 30); }

  repo::TinyRepo tiny_;
  TempDir dir_;
  TreeWriteOptions options_;
  StopToken stop_;
  std::map<std::string, uint32_t> crcs_;
};

TEST_F(TreeWriter, files_of_every_size_come_back_with_their_checksums) {
  repo::TinyFiles files;
  uint32_t seed = 0;
  for (size_t size :
       {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{1023}, size_t{kLeafBytes - 1},
        size_t{kLeafBytes}, size_t{kLeafBytes + 1}, size_t{3 * kLeafBytes + 777}}) {
    files["file" + std::to_string(size)] = random_content(size, ++seed);
  }
  for (int i = 0; i < 600; ++i)
    files["small" + std::to_string(i)] = random_content(static_cast<size_t>(i % 130), ++seed);
  for (int workers : {1, 4}) {
    ASSERT_TRUE(remove_tree(dir_.path()));
    ASSERT_TRUE(create_dirs(dir_.path(), 0700));
    crcs_.clear();
    options_.workers = workers;
    auto totals = write(stored(files));
    ASSERT_TRUE(totals) << totals.error().to_string();
    EXPECT_EQ(totals->files, files.size());
    for (const auto& [name, content] : files) {
      EXPECT_EQ(read(name), content) << name;
      EXPECT_EQ(crcs_.at(name), codec::crc32c(0xffffffff, content) ^ 0xffffffff) << name;
    }
  }
}

TEST_F(TreeWriter, modes_are_as_recorded_whatever_the_umask) {
  mode_t before = umask(0277);
  ASSERT_TRUE(write(stored({{"f", random_content(100, 1)}})));
  umask(before);
  EXPECT_EQ(stat_path(dir_ / "f")->mode, 0600u);
}

TEST_F(TreeWriter, references_into_older_packs_in_any_order_come_back) {
  Bytes first = random_content(3 * kLeafBytes, 7);
  auto base = *tiny_.back_up({{"f", first}});
  Bytes second = first;
  std::mt19937 chance(11);
  for (int i = 0; i < 300; ++i) second[chance() % second.size()] ^= 1;
  auto manifest = repo::read_manifest(tiny_.repo, base);
  auto root = repo::store_tiny_tree(tiny_.repo, tiny_.new_id(), {{"f", second}}, &*manifest);
  options_.workers = 3;
  ASSERT_TRUE(write(*root));
  EXPECT_EQ(read("f"), second);
}

TEST_F(TreeWriter, a_gap_in_a_block_map_is_damage_T36) {
  Bytes content = random_content(10 * kTinyBlock * kTinyFrameBlocks, 3);
  auto root = stored_with_map(content, content.size(), [](auto& refs) { refs.erase(refs.begin() + 4); });
  auto written = write(root);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::damaged);
}

TEST_F(TreeWriter, a_block_map_with_the_right_total_but_exchanged_runs_is_damage_T36) {
  // The sizes add up; only the hashes of the ranges know. A run that stands at the wrong place has the wrong
  // length.
  Bytes content = random_content(4 * kTinyBlock * kTinyFrameBlocks + 10, 4);
  auto root = stored_with_map(content, content.size(), [](auto& refs) { std::swap(refs[0], refs[4]); });
  auto written = write(root);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::damaged);
}

TEST_F(TreeWriter, a_block_map_past_the_end_of_its_file_is_damage_T36) {
  Bytes content = random_content(2 * kTinyBlock * kTinyFrameBlocks, 5);
  for (uint64_t size : {content.size() - kTinyBlock, content.size() + 1, uint64_t{0}}) {
    auto written = write(stored_with_map(content, size, [](auto&) {}));
    ASSERT_FALSE(written) << size;
    EXPECT_EQ(written.error().kind, ErrorKind::damaged);
  }
}

TEST_F(TreeWriter, content_that_is_not_what_the_map_says_is_damage) {
  Bytes content = random_content(kTinyBlock, 6);
  auto root = stored_with_map(content, content.size(), [](auto& refs) { refs[0].hash[3] ^= 1; });
  auto written = write(root);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::damaged);
  EXPECT_NE(written.error().message.find("f had at byte 0"), std::string::npos) << written.error().message;
}

TEST_F(TreeWriter, a_range_outside_its_frame_is_damage) {
  Bytes content = random_content(kTinyBlock, 6);
  auto root = stored_with_map(content, content.size(), [](auto& refs) { refs[0].first_block = 1; });
  auto written = write(root);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::damaged);
}

TEST_F(TreeWriter, a_failing_sink_ends_the_restore_with_its_error) {
  options_.workers = 4;
  options_.place = [this](const std::string& path, const repo::Entry&) {
    return TreePlace{TreePlace::Do::write, join_path(dir_.path(), path), ""};
  };
  options_.written = [](const WrittenFile&) -> Status {
    return make_error(ErrorKind::space, "sink", "full");
  };
  repo::TinyFiles files;
  for (int i = 0; i < 1000; ++i)
    files["f" + std::to_string(i)] = random_content(200, static_cast<uint32_t>(i));
  SilentReporter reporter;
  auto written = write_tree(tiny_.repo, stored(files), options_, reporter, stop_);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::space);
}

TEST_F(TreeWriter, a_stop_request_ends_it) {
  stop_.request();
  auto written = write(stored({{"f", random_content(100, 1)}}));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::cancelled);
}

TEST_F(TreeWriter, nothing_is_written_through_a_link_that_is_in_the_way) {
  ASSERT_EQ(symlink("/etc/hostname", (dir_ / "f").c_str()), 0);
  auto written = write(stored({{"f", random_content(100, 1)}}));
  ASSERT_FALSE(written);
}

TEST_F(TreeWriter, what_is_there_already_becomes_what_the_tree_has_and_the_rest_is_not_fetched) {
  repo::TinyFiles files;
  const std::vector<std::string> names = {"same", "flipped", "short",     "long",
                                          "lost", "link",    "directory", "twice"};
  uint32_t seed = 100;
  for (const std::string& name : names) {
    files["small_" + name] = random_content(3 * kTinyBlock + 7, ++seed);
    files["large_" + name] = random_content(2 * kLeafBytes + 100, ++seed);
  }
  files["empty"] = {};
  repo::NodeRef root = stored(files);
  for (int workers : {1, 4}) {
    ASSERT_TRUE(remove_tree(dir_.path()));
    ASSERT_TRUE(create_dirs(dir_.path(), 0700));
    options_.workers = workers;
    options_.existing = Existing::nothing;
    ASSERT_TRUE(write(root));
    auto elsewhere = TempDir::make();
    ASSERT_TRUE(write_file_durable(*elsewhere / "file", random_content(10, 1), 0600));
    for (std::string size : {"small_", "large_"}) {
      auto at = [&](const char* name) { return dir_ / (size + name); };
      Bytes flipped = files[size + "flipped"];
      flipped[flipped.size() / 2] ^= 1;
      ASSERT_TRUE(write_file_durable(at("flipped"), flipped, 0600));
      ASSERT_EQ(truncate(at("short").c_str(), 65), 0);
      ASSERT_EQ(truncate(at("long").c_str(), static_cast<off_t>(files[size + "long"].size() + 5000)), 0);
      ASSERT_TRUE(remove_file(at("lost")));
      ASSERT_TRUE(remove_file(at("link")));
      ASSERT_EQ(symlink((*elsewhere / "file").c_str(), at("link").c_str()), 0);
      ASSERT_TRUE(remove_file(at("directory")));
      ASSERT_TRUE(create_dirs(at("directory") + "/below", 0700));
      ASSERT_TRUE(remove_file(at("twice")));
      ASSERT_TRUE(write_file_durable(*elsewhere / size, random_content(500, 2), 0600));
      ASSERT_EQ(link((*elsewhere / size).c_str(), at("twice").c_str()), 0);
    }
    crcs_.clear();
    options_.existing = Existing::compared;
    auto totals = write(root);
    ASSERT_TRUE(totals) << totals.error().to_string();
    for (const auto& [name, content] : files) {
      EXPECT_EQ(read(name), content) << name;
      EXPECT_EQ(crcs_.at(name), codec::crc32c(0xffffffff, content) ^ 0xffffffff) << name;
      EXPECT_EQ(stat_path(dir_ / name)->mode, 0600u) << name;
    }
    EXPECT_EQ(*read_file(*elsewhere / "file", 100), random_content(10, 1))
        << "nothing is written through a link";
    EXPECT_EQ(*read_file(*elsewhere / "large_", 1000), random_content(500, 2)) << "nor through another name";
    // Whole: same, long, and flipped but for one run of blocks.
    const uint64_t large = 2 * kLeafBytes + 100;
    EXPECT_GE(totals->unchanged, 3 * large - kTinyBlock * kTinyFrameBlocks);
    EXPECT_EQ(totals->fetched, totals->written);
    EXPECT_EQ(totals->fetched + totals->unchanged, totals->bytes);
    EXPECT_GT(totals->fetched_stored, 0u);
    // And then nothing differs.
    auto again = write(root);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->fetched, 0u);
    EXPECT_EQ(again->fetched_stored, 0u);
    EXPECT_EQ(again->unchanged, again->bytes);
  }
}

// A part's hash is of the whole run, so it tells nothing before the run is there.
TEST_F(TreeWriter, parts_of_runs_are_fetched_and_written_where_they_differ) {
  constexpr size_t kRun = size_t{kTinyBlock} * kTinyFrameBlocks;
  Bytes content = random_content(3 * kRun, 21);
  repo::NodeRef root = stored_with_map(content, content.size(), [](std::vector<repo::BlockRef>& refs) {
    repo::BlockRef run = refs[1];
    refs[1] = run.part(0, 1);
    refs.insert(refs.begin() + 2, run.part(1, kTinyFrameBlocks - 1));
  });
  ASSERT_TRUE(write(root));
  options_.existing = Existing::compared;
  auto equal = write(root);
  ASSERT_TRUE(equal) << equal.error().to_string();
  EXPECT_EQ(equal->unchanged, 2 * kRun);
  EXPECT_EQ(equal->fetched, kRun);
  EXPECT_EQ(equal->written, 0u);
  Bytes damaged = content;
  damaged[kRun] ^= 1;
  ASSERT_TRUE(write_file_durable(dir_ / "f", damaged, 0600));
  auto mended = write(root);
  ASSERT_TRUE(mended);
  EXPECT_EQ(mended->written, kTinyBlock);
  EXPECT_EQ(read("f"), content);
}

TEST_F(TreeWriter, one_file_is_read_back_whole_or_refused) {
  Bytes content = random_content(2 * kLeafBytes + 5, 9);
  repo::NodeRef root = stored({{"f", content}});
  repo::TreeReader tree(tiny_.repo);
  auto entry = tree.find(root, "f");
  ASSERT_TRUE(entry);
  auto back = read_tree_file(tiny_.repo, *entry, kTinyBlock, content.size());
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, content);
  EXPECT_FALSE(read_tree_file(tiny_.repo, *entry, kTinyBlock, content.size() - 1));
}

}  // namespace
}  // namespace lifeboat::ops
