#include "storage/wrap/fault_store.h"

#include <gtest/gtest.h>

#include "storage/memory/memory_store.h"
#include "util/strings.h"

namespace lifeboat::storage {
namespace {

using Action = FaultPlan::Action;
using Domain = FaultPlan::Domain;

// put (3 points), two-piece object (4), remove (1), sweep (1).
Status work(Store& store) {
  TRY(store.put("one", as_bytes("1")));
  TRY_ASSIGN(auto writer, store.create("two"));
  TRY(writer->append(as_bytes("2")));
  TRY(writer->append(as_bytes("2")));
  TRY(writer->commit());
  TRY(store.remove("one"));
  TRY(store.remove_unfinished(Timestamp{1}));
  return {};
}

TEST(FaultStore, counts_every_write_point) {
  MemoryStore memory;
  FaultStore store(memory);
  ASSERT_TRUE(work(store).has_value());
  EXPECT_EQ(store.write_points(), 9u);
  EXPECT_EQ(store.read_points(), 0u);
}

TEST(FaultStore, counts_every_read_point) {
  MemoryStore memory;
  FaultStore store(memory);
  ASSERT_TRUE(memory.put("dir/one", as_bytes("1")).has_value());
  ASSERT_TRUE(store.get("dir/one", 10).has_value());  // open, read_at
  ASSERT_TRUE(store.exists("dir/one").value());       // open
  ASSERT_TRUE(store.list("", [](const ObjectInfo&) -> Status { return {}; }).has_value());
  ASSERT_TRUE(store.list_dirs("").has_value());
  ASSERT_TRUE(store.now().has_value());
  EXPECT_EQ(store.read_points(), 6u);
  EXPECT_EQ(store.write_points(), 0u);
}

TEST(FaultStore, each_write_point_can_fail_once_with_the_given_kind) {
  for (uint64_t at = 1; at <= 9; ++at) {
    MemoryStore memory;
    FaultStore store(memory, {.action = Action::fail, .at = at, .kind = ErrorKind::space});
    Status done = work(store);
    ASSERT_FALSE(done.has_value()) << at;
    EXPECT_EQ(done.error().kind, ErrorKind::space);
    EXPECT_FALSE(store.crashed());
    EXPECT_TRUE(store.put("later", as_bytes("x")).has_value()) << "only that point fails";
  }
}

TEST(FaultStore, failed_call_did_nothing_and_lost_answer_did_all) {
  for (auto [action, there] : {std::pair{Action::fail, false}, std::pair{Action::fail_after, true}}) {
    MemoryStore memory;
    FaultStore store(memory, {.action = action, .at = 3});
    Status done = store.put("object", as_bytes("x"));
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().kind, ErrorKind::unavailable);
    EXPECT_EQ(memory.exists("object").value(), there);
  }
}

TEST(FaultStore, several_points_in_a_row_can_fail) {
  MemoryStore memory;
  FaultStore store(memory, {.action = Action::fail, .domain = Domain::reads, .at = 2, .times = 3});
  EXPECT_TRUE(store.now().has_value());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(store.now().has_value());
  EXPECT_TRUE(store.now().has_value());
}

TEST(FaultStore, after_a_crash_everything_fails_as_cancelled) {
  for (uint64_t at = 1; at <= 9; ++at) {
    for (Action action : {Action::crash_before, Action::crash_after}) {
      MemoryStore memory;
      ASSERT_TRUE(memory.put("zero", as_bytes("0")).has_value());
      FaultStore store(memory, {.action = action, .at = at});
      auto reader = store.open("zero").value();
      Status done = work(store);
      ASSERT_FALSE(done.has_value());
      EXPECT_EQ(done.error().kind, ErrorKind::cancelled);
      EXPECT_EQ(done.error().to_string(), "crashed");
      EXPECT_TRUE(store.crashed());
      uint64_t points = store.write_points();
      Bytes out(1);
      EXPECT_EQ(reader->read_at(0, out).error().kind, ErrorKind::cancelled);
      EXPECT_EQ(store.open("zero").error().kind, ErrorKind::cancelled);
      EXPECT_EQ(store.put("x", {}).error().kind, ErrorKind::cancelled);
      EXPECT_EQ(store.remove("zero").error().kind, ErrorKind::cancelled);
      EXPECT_EQ(store.now().error().kind, ErrorKind::cancelled);
      EXPECT_EQ(store.write_points(), points);
      EXPECT_TRUE(memory.exists("zero").value());
    }
  }
}

// What a restart finds after a crash at each point: the effect of everything before it, and of it if `after`.
TEST(FaultStore, crash_leaves_exactly_what_was_done) {
  for (uint64_t at = 1; at <= 9; ++at) {
    for (bool after : {false, true}) {
      MemoryStore memory;
      FaultStore store(memory, {.action = after ? Action::crash_after : Action::crash_before, .at = at});
      (void)work(store);
      uint64_t done = after ? at : at - 1;
      EXPECT_EQ(memory.exists("one").value(), done >= 3 && done < 8) << at << after;
      EXPECT_EQ(memory.exists("two").value(), done >= 7) << at << after;
    }
  }
}

TEST(FaultStore, new_plan_counts_from_the_start_and_ends_a_crash) {
  MemoryStore memory;
  FaultStore store(memory, {.action = Action::crash_before, .at = 1});
  EXPECT_FALSE(store.put("a", {}).has_value());
  store.set_plan({});
  EXPECT_EQ(store.write_points(), 0u);
  EXPECT_TRUE(store.put("a", {}).has_value());
  EXPECT_EQ(store.write_points(), 3u);
}

TEST(FaultStore, hook_sees_each_point_before_it_happens) {
  MemoryStore memory;
  FaultStore store(memory);
  std::string seen;
  store.set_hook([&](Domain domain, uint64_t number, std::string_view what) {
    seen += cat(domain == Domain::writes ? "w" : "r", number, what, memory.object_count(), " ");
  });
  ASSERT_TRUE(store.put("a", as_bytes("x")).has_value());
  ASSERT_TRUE(store.get("a", 1).has_value());
  EXPECT_EQ(seen, "w1create0 w2append0 w3commit0 r1open1 r2read_at1 ");
}

TEST(FaultStore, a_call_that_fails_by_itself_keeps_its_own_error) {
  MemoryStore memory;
  ASSERT_TRUE(memory.put("a", {}).has_value());
  FaultStore store(memory, {.action = Action::fail_after, .at = 3});
  EXPECT_EQ(store.put("a", {}).error().kind, ErrorKind::conflict);
}

}  // namespace
}  // namespace lifeboat::storage
