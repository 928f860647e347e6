// What the server reads is what the backup had or what it wrote itself, never anything else, whoever fetches,
// writes, cuts and stops in between (T48).
#include "ops/mount/base_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <random>
#include <thread>

#include "ops/mount/fetch_pool.h"
#include "tests/support/repo_fixture.h"
#include "util/clock.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

constexpr uint32_t kBlock = 8192;  // what file systems tell holes by must fit in
constexpr uint64_t kFrameBlocks = 4;

class BaseFileTest : public ::testing::Test {
 protected:
  BaseFileTest() : dir_(*TempDir::make()) {}

  // A backup of one file, and the sparse target of it.
  void prepare(size_t size, uint64_t seed = 1) {
    content_ = repo::tiny_content(seed, size);
    repo::PackNumbers numbers(tiny_.new_id());
    backup_ = numbers.backup();
    repo::PackWriter packs(tiny_.repo, numbers, repo::PackKind::data, tiny_.repo.compression());
    repo::PackNodeSink nodes(tiny_.repo, numbers);
    std::vector<repo::BlockRef> refs;
    for (size_t at = 0; at < size; at += kFrameBlocks * kBlock) {
      ByteView run = ByteView(content_).subspan(at, std::min<size_t>(kFrameBlocks * kBlock, size - at));
      repo::BlockRun blocks{at / kBlock, static_cast<uint32_t>((run.size() + kBlock - 1) / kBlock),
                            codec::hash128(run)};
      auto frame = packs.append(run, {"base/1/2", {&blocks, 1}});
      ASSERT_TRUE(frame);
      refs.push_back({*frame, 0, blocks.count, blocks.hash});
    }
    repo::Entry entry;
    entry.name = "2";
    entry.size = size;
    ASSERT_TRUE(repo::write_block_map(nodes, refs, entry));
    ASSERT_TRUE(packs.finish());
    ASSERT_TRUE(nodes.finish());
    auto table = FileTableWriter::create(dir_ / "files");
    ASSERT_TRUE(table);
    ASSERT_TRUE(table->add("base/1/2", entry));
    auto hash = table->finish();
    ASSERT_TRUE(hash);
    map_ = std::make_unique<BlockMap>(*FileTable::open(dir_ / "files", *hash), kBlock);
    auto target = open_file(dir_ / "target", O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(target);
    ASSERT_EQ(ftruncate(target->get(), static_cast<off_t>(size)), 0);
    ASSERT_TRUE(write_mark(target->get(), {"0123456789abcdef", 0, (size + kBlock - 1) / kBlock}, "target"));
    open();
  }

  // As after the end of the process, however it ended.
  void open() {
    pool_.reset();
    file_.reset();
    auto fd = open_file(dir_ / "target", O_RDWR);
    ASSERT_TRUE(fd);
    auto mark = read_mark(fd->get(), "target");
    ASSERT_TRUE(mark);
    ASSERT_TRUE(*mark);
    auto file = BaseFile::load(std::move(*fd), **mark, "target", *map_, shared_);
    ASSERT_TRUE(file) << file.error().to_string();
    file_ = *file;
    pool_ = std::make_unique<FetchThreads>(tiny_.repo, kBlock, 4);
    hands_ = std::make_unique<FetchHands>(tiny_.repo, kBlock, *pool_);
  }

  Result<Bytes> read(uint64_t offset, uint64_t length) { return read_with(*hands_, offset, length); }
  Result<Bytes> read_with(FetchHands& hands, uint64_t offset, uint64_t length) {
    FreshParts fresh;
    TRY_ASSIGN(auto found, file_->prepare_read(offset, length, fresh, &hands));
    if (found == BaseFile::Found::in_file) return raw(offset, length);
    Bytes bytes;
    for (ByteView view : fresh.views) bytes.insert(bytes.end(), view.begin(), view.end());
    return bytes;
  }
  // Nothing has to be fetched for it.
  bool there(uint64_t offset, uint64_t length) {
    FreshParts fresh;
    auto found = file_->prepare_read(offset, length, fresh, nullptr);
    return found && *found != BaseFile::Found::needs_hands;
  }
  bool is_fresh(uint64_t offset, uint64_t length) {
    FreshParts fresh;
    return *file_->prepare_read(offset, length, fresh, nullptr) == BaseFile::Found::fresh;
  }
  // Reads on, up to `end`, as a reader does who is `late` or never has to wait.
  void read_on(uint64_t end, bool late) {
    for (uint64_t at = 0; at < end; at += 16 * kBlock) {
      EXPECT_EQ(*read(at, 16 * kBlock), original(at, 16 * kBlock));
      // Longer than any pause of a busy host.
      const int64_t late_for_us = 60'000'000;
      shared_.waited_us = late ? Clock::system().monotonic_us() + late_for_us : 0;
      file_->read_ahead(at, 16 * kBlock, *pool_);
      // On a busy host what was asked for ahead is not there yet, and no more is asked for then.
      for (int i = 0; i < 10'000 && at >= 32 * kBlock && !there(at + 16 * kBlock, 16 * kBlock); ++i) {
        if (late) shared_.waited_us = Clock::system().monotonic_us() + late_for_us;
        Clock::system().sleep_us(1000);
      }
    }
  }

  // What is in the target, holes as zeros.
  Result<Bytes> raw(uint64_t offset, uint64_t length) {
    TRY_ASSIGN(Fd fd, open_file(dir_ / "target", O_RDONLY));
    Bytes bytes(length);
    TRY_ASSIGN(size_t got, pread_some(fd.get(), offset, bytes, "target"));
    bytes.resize(got);
    return bytes;
  }

  Bytes original(uint64_t offset, uint64_t length) const {
    offset = std::min<uint64_t>(offset, content_.size());
    length = std::min<uint64_t>(length, content_.size() - offset);
    return {content_.begin() + static_cast<ptrdiff_t>(offset),
            content_.begin() + static_cast<ptrdiff_t>(offset + length)};
  }

  repo::TinyRepo tiny_;
  TempDir dir_;
  BackupId backup_;
  Bytes content_;
  std::unique_ptr<BlockMap> map_;
  BaseFile::Shared shared_;
  std::shared_ptr<BaseFile> file_;
  std::unique_ptr<FetchThreads> pool_;
  std::unique_ptr<FetchHands> hands_;
};

TEST_F(BaseFileTest, reading_brings_the_frames_that_are_asked_for) {
  prepare(40 * kBlock);
  EXPECT_FALSE(there(0, 1));
  EXPECT_EQ(*read(5 * kBlock + 17, 100), original(5 * kBlock + 17, 100));
  EXPECT_EQ(shared_.fetches, 1u);
  EXPECT_TRUE(there(4 * kBlock, 4 * kBlock)) << "the whole frame";
  EXPECT_FALSE(there(3 * kBlock, 2 * kBlock));
  EXPECT_EQ(*read(0, 40 * kBlock), content_);
  EXPECT_EQ(shared_.fetches, 10u);
  EXPECT_EQ(file_->missing_bytes(), 0u);
}

TEST_F(BaseFileTest, what_was_brought_is_there_after_the_process) {
  prepare(40 * kBlock);
  ASSERT_TRUE(read(0, 8 * kBlock));
  open();
  EXPECT_TRUE(there(0, 8 * kBlock));
  EXPECT_EQ(file_->missing_bytes(), 32ull * kBlock);
}

TEST_F(BaseFileTest, a_fetch_never_overwrites_what_the_server_wrote) {
  prepare(16 * kBlock);
  Bytes ours(kBlock, 7);
  ASSERT_EQ(*file_->write(1 * kBlock, ours, 0, nullptr), Outcome::done);
  EXPECT_EQ(shared_.fetches, 0u) << "a whole block needs nothing of the old";
  EXPECT_EQ(*read(0, kBlock), original(0, kBlock));
  EXPECT_EQ(*read(kBlock, kBlock), ours);
  open();
  EXPECT_EQ(*read(kBlock, kBlock), ours);
  StopToken stop;
  ASSERT_TRUE(file_->hydrate(*hands_, stop, [](uint64_t) {}));
  EXPECT_EQ(*raw(kBlock, kBlock), ours);
  EXPECT_EQ(*raw(2 * kBlock, 14 * kBlock), original(2 * kBlock, 14 * kBlock));
}

TEST_F(BaseFileTest, written_zeros_are_not_a_hole) {
  prepare(16 * kBlock);
  ASSERT_EQ(*file_->write(0, Bytes(2 * kBlock, 0), 0, nullptr), Outcome::done);
  open();
  EXPECT_EQ(*read(0, 2 * kBlock), Bytes(2 * kBlock, 0));
}

TEST_F(BaseFileTest, the_edges_of_a_partial_write_come_first) {
  prepare(16 * kBlock);
  Bytes part(kBlock, 9);
  EXPECT_EQ(*file_->write(100, part, 0, nullptr), Outcome::needs_hands);
  ASSERT_EQ(*file_->write(100, part, 0, hands_.get()), Outcome::done);
  EXPECT_EQ(*raw(0, 100), original(0, 100));
  EXPECT_EQ(*raw(100, kBlock), part);
  EXPECT_EQ(*raw(kBlock + 100, kBlock - 100), original(kBlock + 100, kBlock - 100));
}

TEST_F(BaseFileTest, what_was_cut_off_does_not_come_back) {
  prepare(16 * kBlock);
  ASSERT_EQ(*file_->truncate(2 * kBlock, nullptr), Outcome::done);
  ASSERT_EQ(*file_->truncate(16 * kBlock, nullptr), Outcome::done);
  EXPECT_EQ(*read(2 * kBlock, 14 * kBlock), Bytes(14 * kBlock, 0));
  open();
  EXPECT_EQ(*read(2 * kBlock, 14 * kBlock), Bytes(14 * kBlock, 0));
  EXPECT_EQ(*read(0, 2 * kBlock), original(0, 2 * kBlock));
}

TEST_F(BaseFileTest, a_crash_between_cutting_and_noting_it_changes_nothing) {
  prepare(16 * kBlock);
  ASSERT_EQ(truncate((dir_ / "target").c_str(), 2 * kBlock), 0);
  open();
  ASSERT_EQ(*file_->truncate(16 * kBlock, nullptr), Outcome::done);
  open();
  EXPECT_EQ(*read(2 * kBlock, 14 * kBlock), Bytes(14 * kBlock, 0));
}

TEST_F(BaseFileTest, a_cut_within_a_block_keeps_what_is_before_it) {
  prepare(16 * kBlock);
  EXPECT_EQ(*file_->truncate(2 * kBlock + 10, nullptr), Outcome::needs_hands);
  ASSERT_EQ(*file_->truncate(2 * kBlock + 10, hands_.get()), Outcome::done);
  ASSERT_EQ(*file_->truncate(4 * kBlock, hands_.get()), Outcome::done);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(*read(2 * kBlock, 10), original(2 * kBlock, 10));
    EXPECT_EQ(*read(2 * kBlock + 10, kBlock - 10), Bytes(kBlock - 10, 0));
    EXPECT_EQ(*read(3 * kBlock, kBlock), Bytes(kBlock, 0));
    open();
  }
}

TEST_F(BaseFileTest, a_file_that_ends_within_a_block_grows) {
  prepare(3 * kBlock + 100);
  Bytes more(50, 5);
  EXPECT_EQ(*file_->write(6 * kBlock, more, 0, nullptr), Outcome::needs_hands);
  ASSERT_EQ(*file_->write(6 * kBlock, more, 0, hands_.get()), Outcome::done);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(*read(3 * kBlock, 100), original(3 * kBlock, 100));
    EXPECT_EQ(*read(3 * kBlock + 100, kBlock - 100), Bytes(kBlock - 100, 0));
    EXPECT_EQ(*read(6 * kBlock, 50), more);
    open();
  }
}

TEST_F(BaseFileTest, space_that_was_never_written_is_missing_whoever_has_read_it) {  // T48
  prepare(40 * kBlock);
  EXPECT_EQ(*read(0, kBlock), original(0, kBlock));
  // What a power cut leaves of writes that had begun.
  auto target = open_file(dir_ / "target", O_RDWR);
  ASSERT_TRUE(target);
  if (fallocate(target->get(), FALLOC_FL_KEEP_SIZE, 4 * kBlock + kBlock / 2, 6 * kBlock) != 0)
    GTEST_SKIP() << "the file system of temporary files reserves no space";
  ASSERT_EQ(fsync(target->get()), 0);
  // Somebody reads it, or the kernel reads ahead: pages of zeros.
  EXPECT_EQ(*raw(4 * kBlock, 6 * kBlock), Bytes(6 * kBlock));
  open();
  EXPECT_EQ(file_->missing_bytes(), 36u * kBlock);
  EXPECT_EQ(*read(0, 40 * kBlock), content_);
}

TEST_F(BaseFileTest, space_past_the_limit_is_the_files_own) {
  prepare(4 * kBlock);
  ASSERT_EQ(*file_->allocate(0, 4 * kBlock, 8 * kBlock, nullptr), Outcome::done);
  open();
  EXPECT_EQ(*read(0, 4 * kBlock), content_);
  EXPECT_EQ(*read(4 * kBlock, 8 * kBlock), Bytes(8 * kBlock));
}

TEST_F(BaseFileTest, a_block_of_which_half_is_a_hole_comes_from_the_backup) {  // T48
  prepare(16 * kBlock);
  ASSERT_EQ(*file_->write(4 * kBlock, Bytes(kBlock, 3), 0, nullptr), Outcome::done);
  {
    auto fd = open_file(dir_ / "target", O_RDWR);
    ASSERT_EQ(fallocate(fd->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * kBlock, 4096), 0);
  }
  open();
  EXPECT_EQ(*read(4 * kBlock, kBlock), original(4 * kBlock, kBlock));
}

TEST_F(BaseFileTest, allocating_space_does_not_hide_what_is_missing) {
  prepare(16 * kBlock);
  ASSERT_EQ(*file_->allocate(0, 8 * kBlock, 16 * kBlock, nullptr), Outcome::done);
  EXPECT_EQ(stat_path(dir_ / "target")->size, 24ull * kBlock);
  open();
  EXPECT_EQ(*read(0, 16 * kBlock), content_);
  EXPECT_EQ(*read(16 * kBlock, 8 * kBlock), Bytes(8 * kBlock, 0));
}

TEST_F(BaseFileTest, a_frame_is_fetched_once_however_many_wait) {
  prepare(8 * kBlock);
  std::vector<std::thread> readers;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back([&] {
      FetchHands own(tiny_.repo, kBlock, *pool_);
      auto bytes = read_with(own, 0, 4 * kBlock);
      if (bytes && *bytes == original(0, 4 * kBlock)) ++right;
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(right, 8);
  EXPECT_EQ(shared_.fetches, 1u);
}

TEST_F(BaseFileTest, reading_on_brings_what_follows) {
  prepare(2000 * kBlock);
  read_on(100 * kBlock, false);
  EXPECT_TRUE(there(112 * kBlock, 16 * kBlock));
  EXPECT_FALSE(there(1900 * kBlock, kBlock)) << "no more than some frames";
}

TEST_F(BaseFileTest, what_came_for_a_reader_is_answered_from_memory_until_the_file_changes) {
  prepare(2000 * kBlock);
  read_on(100 * kBlock, false);
  pool_->finish();
  ASSERT_TRUE(is_fresh(112 * kBlock, 16 * kBlock));
  EXPECT_EQ(*read(112 * kBlock, 16 * kBlock), original(112 * kBlock, 16 * kBlock));
  EXPECT_EQ(*raw(112 * kBlock, 16 * kBlock), original(112 * kBlock, 16 * kBlock))
      << "the file has it as well";
  const Bytes ours(kBlock, 7);
  ASSERT_EQ(*file_->write(113 * kBlock, ours, 0, nullptr), Outcome::done);
  EXPECT_FALSE(is_fresh(112 * kBlock, 16 * kBlock));
  EXPECT_EQ(*read(113 * kBlock, kBlock), ours);
}

TEST_F(BaseFileTest, what_a_reader_waited_for_is_in_memory_only_and_stays_missing) {
  prepare(2000 * kBlock);
  read_on(200 * kBlock, true);
  pool_->finish();
  ASSERT_TRUE(is_fresh(208 * kBlock, 8 * kBlock));
  EXPECT_EQ(*raw(208 * kBlock, 8 * kBlock), Bytes(8 * kBlock, 0)) << "nobody waited for a write";
  EXPECT_GT(file_->missing_bytes(), 1800ull * kBlock);
  // A change of the file takes it out of memory; then it is fetched again, and kept.
  const Bytes ours(kBlock, 7);
  ASSERT_EQ(*file_->write(209 * kBlock, ours, 0, hands_.get()), Outcome::done);
  EXPECT_FALSE(there(208 * kBlock, kBlock));
  EXPECT_EQ(*read(208 * kBlock, kBlock), original(208 * kBlock, kBlock));
  EXPECT_EQ(*read(209 * kBlock, kBlock), ours);
  // A part of a block is written into what the backup has.
  ASSERT_EQ(*file_->write(215 * kBlock + 10, Bytes(5, 3), 0, hands_.get()), Outcome::done);
  Bytes expected = original(215 * kBlock, kBlock);
  std::fill_n(expected.begin() + 10, 5, uint8_t{3});
  EXPECT_EQ(*read(215 * kBlock, kBlock), expected);
  open();
  EXPECT_EQ(*read(209 * kBlock, kBlock), ours);
  EXPECT_EQ(*read(0, 16 * kBlock), original(0, 16 * kBlock)) << "from the repository again";
}

TEST_F(BaseFileTest, what_was_forgotten_before_it_was_read_goes_through_the_file) {
  prepare(2000 * kBlock);
  read_on(100 * kBlock, true);
  pool_->finish();
  // As when many readers fetch more ahead than memory holds.
  std::atomic<bool> ended{false};
  std::thread other([&] {
    while (!ended) shared_.fresh.add(~0ull, 0, Bytes(FreshPieces::kMost, 1));
  });
  for (uint64_t at = 100; at < 132; at += 8)
    EXPECT_EQ(*read(at * kBlock, 8 * kBlock), original(at * kBlock, 8 * kBlock));
  ended = true;
  other.join();
}

TEST_F(BaseFileTest, a_frame_of_which_a_block_was_written_is_read_from_the_file) {
  prepare(2000 * kBlock);
  const Bytes ours(kBlock, 7);
  ASSERT_EQ(*file_->write(113 * kBlock, ours, 0, nullptr), Outcome::done);
  for (uint64_t at = 0; at < 160 * kBlock; at += 16 * kBlock) {
    ASSERT_TRUE(read(at, 16 * kBlock));
    file_->read_ahead(at, 16 * kBlock, *pool_);
  }
  pool_->finish();
  EXPECT_EQ(*read(113 * kBlock, kBlock), ours);
  EXPECT_EQ(*read(112 * kBlock, kBlock), original(112 * kBlock, kBlock));
}

TEST_F(BaseFileTest, what_is_damaged_is_an_error_and_stays_missing) {
  prepare(16 * kBlock);
  const std::string pack = tiny_.repo.name(repo::pack_name({backup_, 1}, repo::PackKind::data));
  Bytes damaged = *tiny_.memory.get(pack, 1 << 30);
  damaged[3 * kBlock] ^= 1;  // in the first frame
  ASSERT_TRUE(tiny_.memory.overwrite(pack, damaged));
  auto bytes = read(0, kBlock);
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().kind, ErrorKind::damaged);
  EXPECT_EQ(*raw(0, kBlock), Bytes(kBlock, 0)) << "nothing was written";
  EXPECT_FALSE(there(0, kBlock));
  EXPECT_EQ(*read(8 * kBlock, kBlock), original(8 * kBlock, kBlock)) << "other frames are fine";
  StopToken stop;
  EXPECT_FALSE(file_->hydrate(*hands_, stop, [](uint64_t) {}));
  EXPECT_FALSE(*file_->release());
}

TEST_F(BaseFileTest, a_whole_file_loses_its_mark) {
  prepare(5000 * kBlock);  // two leaves
  StopToken stop;
  uint64_t brought = 0;
  ASSERT_TRUE(file_->hydrate(*hands_, stop, [&](uint64_t bytes) { brought += bytes; }));
  EXPECT_EQ(brought, content_.size());
  EXPECT_TRUE(*file_->release());
  EXPECT_FALSE(file_->marked());
  EXPECT_EQ(*raw(0, content_.size()), content_);
  auto fd = open_file(dir_ / "target", O_RDWR);
  EXPECT_FALSE(*read_mark(fd->get(), "target"));
  ASSERT_EQ(*file_->truncate(kBlock, nullptr), Outcome::done);
  EXPECT_FALSE(*read_mark(fd->get(), "target")) << "and does not get it back";
}

TEST_F(BaseFileTest, a_broken_mark_takes_no_memory) {
  prepare(16 * kBlock);
  {
    auto fd = open_file(dir_ / "target", O_RDWR);
    ASSERT_TRUE(write_mark(fd->get(), {"0123456789abcdef", 0, UINT64_MAX}, "target"));
  }
  open();
  EXPECT_EQ(file_->missing_bytes(), 16ull * kBlock);
}

// Everything that can happen, in any order, against a plain array of bytes.
TEST_F(BaseFileTest, any_history_reads_as_a_plain_file_would) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    prepare(size_t{kBlock} * 37 + seed * 100, seed);
    std::mt19937 chance(seed);
    Bytes model = content_;
    auto up_to = [&](size_t limit) { return std::uniform_int_distribution<size_t>(0, limit)(chance); };
    for (int step = 0; step < 200; ++step) {
      switch (up_to(9)) {
        case 0: {
          size_t size = up_to(1) == 0 ? up_to(50) * kBlock : up_to(50 * kBlock);
          ASSERT_EQ(*file_->truncate(size, hands_.get()), Outcome::done);
          model.resize(size, 0);
          break;
        }
        case 1:
        case 2:
        case 3: {
          bool whole = up_to(1) == 0;
          size_t offset = whole ? up_to(45) * kBlock : up_to(45 * kBlock);
          Bytes bytes(whole ? (1 + up_to(3)) * kBlock : 1 + up_to(3 * kBlock), static_cast<uint8_t>(step));
          ASSERT_EQ(*file_->write(offset, bytes, 0, hands_.get()), Outcome::done);
          if (model.size() < offset + bytes.size()) model.resize(offset + bytes.size(), 0);
          std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<ptrdiff_t>(offset));
          break;
        }
        case 4: {
          size_t offset = up_to(50 * kBlock);
          size_t length = 1 + up_to(4 * kBlock);
          ASSERT_EQ(*file_->allocate(0, offset, length, hands_.get()), Outcome::done);
          if (model.size() < offset + length) model.resize(offset + length, 0);
          break;
        }
        case 5:
          open();
          break;
        default: {
          size_t offset = up_to(50 * kBlock);
          size_t length = up_to(6 * kBlock);
          size_t end = std::min(model.size(), offset + length);
          Bytes expected = offset < end ? Bytes(model.begin() + static_cast<ptrdiff_t>(offset),
                                                model.begin() + static_cast<ptrdiff_t>(end))
                                        : Bytes();
          ASSERT_EQ(*read(offset, length), expected) << "seed " << seed << " step " << step;
        }
      }
    }
    StopToken stop;
    ASSERT_TRUE(file_->hydrate(*hands_, stop, [](uint64_t) {}));
    ASSERT_EQ(*raw(0, 100 * kBlock), model) << "seed " << seed;
    pool_.reset();
    file_.reset();
    ASSERT_TRUE(remove_file(dir_ / "files"));
    ASSERT_TRUE(remove_file(dir_ / "target"));
  }
}

// The server's reads and writes and the hydration at the same time; each block is the backup's or the last
// written one.
TEST_F(BaseFileTest, threads_do_not_lose_each_others_blocks) {
  constexpr uint64_t kBlocks = 256;
  prepare(kBlocks * kBlock);
  std::atomic<bool> wrong{false};
  std::vector<std::thread> threads;
  for (uint64_t writer = 0; writer < 2; ++writer) {
    threads.emplace_back([&, writer] {
      FetchHands own(tiny_.repo, kBlock, *pool_);
      for (uint64_t block = writer; block < kBlocks; block += 4) {
        if (!file_->write(block * kBlock, Bytes(kBlock, static_cast<uint8_t>(block)), 0, &own)) wrong = true;
      }
    });
  }
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      FetchHands own(tiny_.repo, kBlock, *pool_);
      for (uint64_t block = 0; block < kBlocks; ++block) {
        Bytes bytes = *read_with(own, block * kBlock, kBlock);
        bool written = block % 4 < 2 && bytes == Bytes(kBlock, static_cast<uint8_t>(block));
        if (!written && bytes != original(block * kBlock, kBlock)) wrong = true;
      }
    });
  }
  threads.emplace_back([&] {
    FetchHands own(tiny_.repo, kBlock, *pool_);
    StopToken stop;
    if (!file_->hydrate(own, stop, [](uint64_t) {})) wrong = true;
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(wrong);
  for (uint64_t block = 0; block < kBlocks; ++block) {
    Bytes expected =
        block % 4 < 2 ? Bytes(kBlock, static_cast<uint8_t>(block)) : original(block * kBlock, kBlock);
    EXPECT_EQ(*raw(block * kBlock, kBlock), expected) << block;
  }
}

}  // namespace
}  // namespace lifeboat::ops
