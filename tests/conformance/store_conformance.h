// What every Store must do: the contract of storage/store.h as tests. Include it in one source file of a test
// program and instantiate the suite with a factory per store:
//
//   INSTANTIATE_TEST_SUITE_P(File, StoreConformance, testing::Values(StoreFactory{"file", …}),
//   store_factory_name);
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "storage/store.h"
#include "util/strings.h"

namespace lifeboat::storage {

// One fresh, empty store, and other handles on the same objects as other processes would have them.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual Store& store() = 0;
  // Another handle on the same objects; null where objects are private to the handle.
  virtual std::unique_ptr<Store> another() { return nullptr; }
};

struct StoreFactory {
  std::string name;
  std::function<std::unique_ptr<StoreUnderTest>()> make;
};

inline std::string store_factory_name(const testing::TestParamInfo<StoreFactory>& factory) {
  return factory.param.name;
}

class StoreConformance : public testing::TestWithParam<StoreFactory> {
 protected:
  void SetUp() override { under_test_ = GetParam().make(); }
  Store& store() { return under_test_->store(); }
  std::unique_ptr<Store> another() { return under_test_->another(); }

  static Bytes random_of(size_t size, uint64_t seed) {
    std::mt19937_64 random(seed);
    Bytes bytes(size);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    return bytes;
  }

  void put(std::string_view name, std::string_view content = "x") {
    Status done = store().put(name, as_bytes(content));
    ASSERT_TRUE(done.has_value()) << name << ": " << done.error().to_string();
  }

  std::vector<std::string> names(std::string_view prefix) {
    std::vector<std::string> found;
    Status done = store().list(prefix, [&](const ObjectInfo& info) -> Status {
      found.push_back(info.name);
      return {};
    });
    EXPECT_TRUE(done.has_value()) << done.error().to_string();
    return found;
  }

  std::string text_of(std::string_view name) {
    auto content = store().get(name, 1 << 20);
    return content ? std::string(as_text(*content)) : cat("error: ", content.error().to_string());
  }

  using Names = std::vector<std::string>;

 private:
  std::unique_ptr<StoreUnderTest> under_test_;
};

TEST_P(StoreConformance, object_comes_back_whole) {
  for (size_t size : {0u, 1u, 100u, 262143u, 262144u, 262145u, 9'000'001u}) {
    Bytes content = random_of(size, size);
    std::string name = cat("a/b/", size);
    ASSERT_TRUE(store().put(name, content).has_value());
    auto reader = store().open(name);
    ASSERT_TRUE(reader.has_value());
    EXPECT_EQ((*reader)->size(), size);
    EXPECT_EQ(store().get(name, size).value(), content);
  }
}

TEST_P(StoreConformance, appends_of_any_size_are_joined_in_order) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 5; ++round) {
    Bytes expected;
    auto writer = store().create(cat("joined/", round)).value();
    while (expected.size() < 3'000'000) {
      constexpr size_t kLargest[] = {10, 5000, 300'000, 1'000'000};
      Bytes piece = random_of(random() % kLargest[random() % 4], random());
      ASSERT_TRUE(writer->append(piece).has_value());
      expected.insert(expected.end(), piece.begin(), piece.end());
    }
    ASSERT_TRUE(writer->commit().has_value());
    EXPECT_EQ(store().get(cat("joined/", round), 10'000'000).value(), expected);
  }
}

TEST_P(StoreConformance, what_was_synced_early_is_invisible_until_commit_and_may_be_appended_to) {
  auto writer = store().create("early").value();
  ASSERT_TRUE(writer->append(as_bytes("one ")).has_value());
  ASSERT_TRUE(writer->sync().has_value());
  ASSERT_TRUE(writer->sync().has_value());
  EXPECT_EQ(names(""), Names());
  ASSERT_TRUE(writer->append(as_bytes("two")).has_value());
  ASSERT_TRUE(writer->sync().has_value());
  ASSERT_TRUE(writer->commit().has_value());
  EXPECT_EQ(text_of("early"), "one two");

  auto abandoned = store().create("abandoned").value();
  ASSERT_TRUE(abandoned->append(as_bytes("x")).has_value());
  ASSERT_TRUE(abandoned->sync().has_value());
  abandoned.reset();
  EXPECT_EQ(names(""), (Names{"early"}));
}

TEST_P(StoreConformance, ranges_are_read_anywhere_and_past_the_end_is_damage) {
  Bytes content = random_of(100'000, 1);
  ASSERT_TRUE(store().put("object", content).has_value());
  auto reader = store().open("object").value();
  std::mt19937_64 random(2);
  for (int round = 0; round < 200; ++round) {
    size_t from = random() % content.size();
    Bytes out(random() % (content.size() - from + 1));
    ASSERT_TRUE(reader->read_at(from, out).has_value());
    ASSERT_TRUE(std::equal(out.begin(), out.end(), content.begin() + static_cast<ptrdiff_t>(from)));
  }
  Bytes one(1);
  EXPECT_TRUE(reader->read_at(99'999, one).has_value());
  EXPECT_TRUE(reader->read_at(100'000, {}).has_value());
  EXPECT_EQ(reader->read_at(100'000, one).error().kind, ErrorKind::damaged);
  EXPECT_EQ(reader->read_at(UINT64_MAX, one).error().kind, ErrorKind::damaged);
  EXPECT_EQ(reader->read_at(UINT64_MAX - 1, one).error().kind, ErrorKind::damaged);
  Bytes many(100'001);
  EXPECT_EQ(reader->read_at(0, many).error().kind, ErrorKind::damaged);
}

TEST_P(StoreConformance, one_reader_serves_many_threads) {
  Bytes content = random_of(1'000'000, 3);
  ASSERT_TRUE(store().put("object", content).has_value());
  auto reader = store().open("object").value();
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int round = 0; round < 200; ++round) {
        size_t from = random() % 900'000;
        Bytes out(50'000);
        ASSERT_TRUE(reader->read_at(from, out).has_value());
        ASSERT_TRUE(std::equal(out.begin(), out.end(), content.begin() + static_cast<ptrdiff_t>(from)));
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_P(StoreConformance, get_limits_the_size) {
  put("object", "0123456789");
  EXPECT_EQ(store().get("object", 10).value().size(), 10u);
  EXPECT_EQ(store().get("object", 9).error().kind, ErrorKind::damaged);
}

TEST_P(StoreConformance, missing_object_is_not_found) {
  put("there/is", "x");
  for (const char* name : {"missing", "there", "there/isnt", "there/is/below", "not/at/all"}) {
    auto reader = store().open(name);
    ASSERT_FALSE(reader.has_value()) << name;
    EXPECT_EQ(reader.error().kind, ErrorKind::not_found) << name;
    EXPECT_FALSE(store().exists(name).value()) << name;
  }
  EXPECT_TRUE(store().exists("there/is").value());
}

TEST_P(StoreConformance, creation_never_replaces) {
  put("object", "old");
  auto again = store().create("object");
  if (again) {
    ASSERT_TRUE((*again)->append(as_bytes("new")).has_value());
    Status done = (*again)->commit();
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().kind, ErrorKind::conflict);
  } else {
    EXPECT_EQ(again.error().kind, ErrorKind::conflict);
  }
  EXPECT_EQ(text_of("object"), "old");
  EXPECT_EQ(names(""), Names{"object"});
}

TEST_P(StoreConformance, removed_name_may_be_used_again) {
  put("object", "old");
  ASSERT_TRUE(store().remove("object").has_value());
  put("object", "new");
  EXPECT_EQ(text_of("object"), "new");
}

TEST_P(StoreConformance, nothing_shows_before_commit) {
  auto writer = store().create("dir/object").value();
  ASSERT_TRUE(writer->append(random_of(10'000'000, 1)).has_value());
  EXPECT_EQ(names(""), Names{});
  EXPECT_FALSE(store().exists("dir/object").value());
  ASSERT_TRUE(writer->commit().has_value());
  EXPECT_EQ(names(""), Names{"dir/object"});
}

TEST_P(StoreConformance, abandoned_writer_leaves_nothing) {
  for (size_t size : {0u, 100u, 1'000'000u}) {
    auto writer = store().create("dir/object").value();
    ASSERT_TRUE(writer->append(random_of(size, 1)).has_value());
  }
  EXPECT_EQ(names(""), Names{});
  EXPECT_EQ(store().list_dirs("").value(), Names{});
  Timestamp later = store().now().value().plus_us(3'600'000'000);
  EXPECT_EQ(store().remove_unfinished(later).value(), 0u);
  put("dir/object", "x");
  EXPECT_EQ(text_of("dir/object"), "x");
}

TEST_P(StoreConformance, writer_that_lost_the_race_leaves_nothing) {
  auto one = store().create("object").value();
  auto two = store().create("object").value();
  ASSERT_TRUE(one->append(as_bytes("one")).has_value());
  ASSERT_TRUE(two->append(as_bytes("two")).has_value());
  ASSERT_TRUE(two->commit().has_value());
  EXPECT_EQ(one->commit().error().kind, ErrorKind::conflict);
  one.reset();
  EXPECT_EQ(text_of("object"), "two");
  EXPECT_EQ(names(""), Names{"object"});
  Timestamp later = store().now().value().plus_us(3'600'000'000);
  EXPECT_EQ(store().remove_unfinished(later).value(), 0u);
}

TEST_P(StoreConformance, one_of_many_racing_threads_wins_a_name) {
  if (!store().atomic_create()) GTEST_SKIP() << "the store does not promise it";
  constexpr int kThreads = 6;
  for (int round = 0; round < 40; ++round) {
    std::string name = cat("race/dir", round % 7, "/", round);
    std::atomic<int> ready{0};
    std::atomic<int> winner{-1};
    std::atomic<int> winners{0};
    std::atomic<int> conflicts{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        auto own = another();
        Store& mine = own ? *own : store();
        auto writer = mine.create(name);
        ASSERT_TRUE(writer.has_value()) << writer.error().to_string();
        ASSERT_TRUE((*writer)->append(as_bytes(cat("thread ", t))).has_value());
        ++ready;
        while (ready < kThreads) std::this_thread::yield();
        Status done = (*writer)->commit();
        if (done) {
          ++winners;
          winner = t;
        } else if (done.error().kind == ErrorKind::conflict) {
          ++conflicts;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    ASSERT_EQ(winners, 1) << name;
    ASSERT_EQ(conflicts, kThreads - 1) << name;
    ASSERT_EQ(text_of(name), cat("thread ", winner.load()));
  }
}

TEST_P(StoreConformance, one_of_many_racing_processes_wins_a_name) {
  if (!another()) GTEST_SKIP() << "objects are private to the handle";
  constexpr int kProcesses = 4;
  constexpr int kNames = 30;
  int results[2];
  ASSERT_EQ(pipe(results), 0);
  for (int p = 0; p < kProcesses; ++p) {
    pid_t child = fork();
    if (child == 0) {
      auto own = another();
      int wins = 0;
      for (int i = 0; i < kNames; ++i) {
        Status done = own->put(cat("race/", i), as_bytes(cat(p)));
        if (done) ++wins;
        if (!done && done.error().kind != ErrorKind::conflict) _exit(2);
      }
      _exit(::write(results[1], &wins, sizeof wins) == sizeof wins ? 0 : 1);
    }
  }
  int wins = 0;
  for (int p = 0; p < kProcesses; ++p) {
    int status = 0;
    ASSERT_GT(wait(&status), 0);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  for (int p = 0; p < kProcesses; ++p) {
    int one = 0;
    ASSERT_EQ(::read(results[0], &one, sizeof one), static_cast<ssize_t>(sizeof one));
    wins += one;
  }
  close(results[0]);
  close(results[1]);
  EXPECT_EQ(wins, kNames);
  EXPECT_EQ(names("race/").size(), static_cast<size_t>(kNames));
}

TEST_P(StoreConformance, killed_writer_leaves_nothing_that_shows_and_is_swept) {
  if (!another()) GTEST_SKIP() << "objects are private to the handle";
  put("dir/other", "x");
  pid_t child = fork();
  if (child == 0) {
    auto own = another();
    auto writer = own->create("dir/object");
    if (!writer || !(*writer)->append(random_of(10'000'000, 1))) _exit(1);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));

  EXPECT_EQ(names(""), Names{"dir/other"});
  EXPECT_FALSE(store().exists("dir/object").value());
  Timestamp now = store().now().value();
  EXPECT_EQ(store().remove_unfinished(now.plus_us(-3'600'000'000)).value(), 0u) << "too young";
  EXPECT_EQ(store().remove_unfinished(now.plus_us(3'600'000'000)).value(), 1u);
  EXPECT_EQ(store().remove_unfinished(now.plus_us(3'600'000'000)).value(), 0u);
  EXPECT_EQ(names(""), Names{"dir/other"});
  put("dir/object", "after");
  EXPECT_EQ(text_of("dir/object"), "after");
}

// '-' and '.' sort around '/', so that a walk by directories alone would get this wrong.
TEST_P(StoreConformance, list_is_in_byte_order_of_full_names) {
  Names all = {"a-b",   "a-b.d/x", "a.d/x", "a.e", "a/b",  "a/b-c", "a/b.d", "a/c/d", "a0",
               "a=b/c", "aa/b",    "A/z",   "B",   "_x/y", "b",     "z/y/x", "0",     "-"};
  std::mt19937 random(1);
  std::shuffle(all.begin(), all.end(), random);
  for (const auto& name : all) put(name);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(names(""), all);

  for (std::string prefix : {"a", "a/", "a-", "a.", "a/b", "a/b-", "a/c/", "a/c", "a-b", "a-b/", "A", "z/y/x",
                             "nothing", "nothing/at/all", "a/b/", "a/b/c"}) {
    Names expected;
    for (const auto& name : all) {
      if (name.starts_with(prefix)) expected.push_back(name);
    }
    EXPECT_EQ(names(prefix), expected) << prefix;
  }
}

TEST_P(StoreConformance, list_tells_size_and_time_of_the_stores_clock) {
  Timestamp before = store().now().value();
  put("object", "12345");
  Timestamp after = store().now().value();
  int seen = 0;
  ASSERT_TRUE(store()
                  .list("",
                        [&](const ObjectInfo& info) -> Status {
                          ++seen;
                          EXPECT_EQ(info.size, 5u);
                          EXPECT_GE(info.modified, before);
                          EXPECT_LE(info.modified, after);
                          return {};
                        })
                  .has_value());
  EXPECT_EQ(seen, 1);
}

TEST_P(StoreConformance, error_from_each_ends_the_list_and_is_returned) {
  for (int i = 0; i < 5; ++i) put(cat("dir/", i));
  int seen = 0;
  Status done = store().list("dir/", [&](const ObjectInfo&) -> Status {
    if (++seen == 3) return make_error(ErrorKind::cancelled, "", "enough");
    return {};
  });
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().kind, ErrorKind::cancelled);
  EXPECT_EQ(seen, 3);
}

TEST_P(StoreConformance, each_may_use_the_store) {
  for (int i = 0; i < 20; ++i) put(cat("dir/", i));
  ASSERT_TRUE(store()
                  .list("dir/", [&](const ObjectInfo& info) -> Status { return store().remove(info.name); })
                  .has_value());
  EXPECT_EQ(names(""), Names{});
}

TEST_P(StoreConformance, object_that_vanishes_during_a_list_is_no_error) {
  for (const char* name : {"a/1", "a/2", "a/3", "b/1", "c"}) put(name);
  int seen = 0;
  Status done = store().list("", [&](const ObjectInfo&) -> Status {
    if (++seen > 1) return {};
    for (const char* name : {"a/3", "b/1", "c"}) TRY(store().remove(name));
    return {};
  });
  EXPECT_TRUE(done.has_value()) << done.error().to_string();
  EXPECT_GE(seen, 2);
  EXPECT_EQ(names(""), (Names{"a/1", "a/2"}));
}

// A list that runs beside writers shows everything that was there before and nothing half-done.
TEST_P(StoreConformance, list_beside_writers_and_removers_is_complete) {
  Names kept;
  for (int i = 0; i < 60; ++i) {
    kept.push_back(cat("dir", i % 3, "/kept-", i));
    put(kept.back(), "kept");
  }
  std::sort(kept.begin(), kept.end());
  std::atomic<bool> stop{false};
  std::thread churn([&] {
    for (int i = 0; !stop; ++i) {
      std::string name = cat("dir", i % 4, "/churn-", i % 10);
      ASSERT_TRUE(store().put(name, as_bytes("churn")).has_value());
      ASSERT_TRUE(store().remove(name).has_value());
    }
  });
  for (int round = 0; round < 50; ++round) {
    Names found;
    std::string last;
    Status done = store().list("dir", [&](const ObjectInfo& info) -> Status {
      EXPECT_LT(last, info.name);
      last = info.name;
      EXPECT_EQ(info.size, info.name.find("kept") != std::string::npos ? 4u : 5u);
      if (info.name.find("kept") != std::string::npos) found.push_back(info.name);
      return {};
    });
    EXPECT_TRUE(done.has_value());
    EXPECT_EQ(found, kept);
  }
  stop = true;
  churn.join();
}

TEST_P(StoreConformance, list_dirs_tells_elements_that_have_objects_below) {
  for (const char* name :
       {"c/main/1/x", "c/main/2/y/z", "c/main/readme", "c/other/x", "c/a-b/x", "c/a/x", "c/a.b/x"}) {
    put(name);
  }
  EXPECT_EQ(store().list_dirs("").value(), Names{"c"});
  EXPECT_EQ(store().list_dirs("c/").value(), (Names{"a", "a-b", "a.b", "main", "other"}));
  EXPECT_EQ(store().list_dirs("c/main/").value(), (Names{"1", "2"}));
  EXPECT_EQ(store().list_dirs("c/main/1/").value(), Names{});
  EXPECT_EQ(store().list_dirs("nothing/").value(), Names{});
  EXPECT_FALSE(store().list_dirs("c").has_value());
  ASSERT_TRUE(store().remove("c/main/2/y/z").has_value());
  EXPECT_EQ(store().list_dirs("c/main/").value(), Names{"1"});
}

TEST_P(StoreConformance, remove_is_idempotent) {
  put("dir/object");
  put("dir/object-2");
  EXPECT_TRUE(store().confirm("dir/object").has_value());
  EXPECT_TRUE(store().remove("dir/object").has_value());
  EXPECT_EQ(store().confirm("dir/object").error().kind, ErrorKind::not_found);
  EXPECT_TRUE(store().remove("dir/object").has_value());
  EXPECT_TRUE(store().remove("never/was").has_value());
  EXPECT_TRUE(store().remove("dir/object-2/below").has_value());
  EXPECT_EQ(names(""), Names{"dir/object-2"});
}

TEST_P(StoreConformance, removing_a_prefix_removes_nothing) {
  put("dir/object");
  (void)store().remove("dir");
  EXPECT_EQ(names(""), Names{"dir/object"});
}

TEST_P(StoreConformance, open_reader_survives_removal_or_says_not_found) {
  Bytes content = random_of(300'000, 1);
  ASSERT_TRUE(store().put("object", content).has_value());
  auto reader = store().open("object").value();
  ASSERT_TRUE(store().remove("object").has_value());
  Bytes out(300'000);
  Status read = reader->read_at(0, out);
  if (read) {
    EXPECT_EQ(out, content);
  } else {
    EXPECT_EQ(read.error().kind, ErrorKind::not_found);
  }
}

// T38: temporary names are recognised by the last element only, and no object can have one.
TEST_P(StoreConformance, names_that_look_temporary_elsewhere_are_ordinary) {
  for (const char* name : {"x.tmp-1", "dir.tmp-2/object", "tmp-3", "dir/x.tmp-4"}) put(name);
  EXPECT_EQ(names(""), (Names{"dir.tmp-2/object", "dir/x.tmp-4", "tmp-3", "x.tmp-1"}));
  Timestamp later = store().now().value().plus_us(3'600'000'000);
  EXPECT_EQ(store().remove_unfinished(later).value(), 0u);
  EXPECT_EQ(names("").size(), 4u);
}

TEST_P(StoreConformance, hostile_names_are_refused_everywhere) {
  put("victim");
  const std::string long_name(2000, 'a');
  const std::string long_element(256, 'a');
  const std::string with_zero("a\0b", 3);
  for (std::string_view name : std::initializer_list<std::string_view>{
           "",          "/",           "/etc/passwd", "a/",        "a//b",  ".",      "..",
           "../victim", "a/../victim", "a/..",        "./victim",  "a/./b", ".tmp-1", "a/.tmp-1",
           "a b",       "a\nb",        "a\\b",        "a%b",       "a:b",   "é",      "~",
           "a*",        with_zero,     long_name,     long_element}) {
    EXPECT_FALSE(store().put(name, as_bytes("x")).has_value()) << name;
    EXPECT_FALSE(store().create(name).has_value()) << name;
    EXPECT_FALSE(store().open(name).has_value()) << name;
    EXPECT_FALSE(store().get(name, 100).has_value()) << name;
    EXPECT_FALSE(store().exists(name).has_value()) << name;
    EXPECT_FALSE(store().remove(name).has_value()) << name;
    EXPECT_NE(store().open(name).error().kind, ErrorKind::not_found)
        << "not an absence that anybody may act on";
  }
  for (std::string_view prefix : {"/", "../", "a/../", "//", "a//", ".tmp-1/", "a b", "./"}) {
    EXPECT_FALSE(store().list(prefix, [](const ObjectInfo&) -> Status { return {}; }).has_value()) << prefix;
    EXPECT_FALSE(store().list_dirs(prefix).has_value()) << prefix;
  }
  EXPECT_EQ(names(""), Names{"victim"});
  EXPECT_EQ(text_of("victim"), "x");
}

TEST_P(StoreConformance, longest_and_oddest_allowed_names_work) {
  std::string element(255, 'a');
  for (const std::string& name :
       {element, cat("dir/", element), std::string("..."), std::string(".hidden"), std::string("..x/y"),
        std::string("-rf"), std::string("=._-"),
        cat(std::string(200, 'b'), "/", std::string(200, 'c'), "/", std::string(200, 'd'))}) {
    put(name, name);
    EXPECT_EQ(text_of(name), name);
  }
}

TEST_P(StoreConformance, clock_does_not_run_backwards) {
  Timestamp last = store().now().value();
  EXPECT_GT(last.unix_us, 0);
  for (int round = 0; round < 50; ++round) {
    Timestamp now = store().now().value();
    EXPECT_GE(now, last);
    last = now;
  }
}

TEST_P(StoreConformance, another_handle_sees_the_same_objects) {
  auto other = another();
  if (!other) GTEST_SKIP() << "objects are private to the handle";
  put("dir/object", "shared");
  EXPECT_EQ(as_text(other->get("dir/object", 100).value()), "shared");
  EXPECT_EQ(other->url(), store().url());
  ASSERT_TRUE(other->remove("dir/object").has_value());
  EXPECT_FALSE(store().exists("dir/object").value());
}

}  // namespace lifeboat::storage
