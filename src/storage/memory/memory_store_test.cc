#include "storage/memory/memory_store.h"

#include <gtest/gtest.h>

#include "tests/support/manual_clock.h"

namespace lifeboat::storage {
namespace {

TEST(MemoryStore, clone_holds_what_was_committed_and_goes_its_own_way) {
  MemoryStore store;
  ASSERT_TRUE(store.put("a", as_bytes("A")).has_value());
  auto writer = store.create("pending").value();
  ASSERT_TRUE(writer->append(as_bytes("x")).has_value());
  auto copy = store.clone();
  ASSERT_TRUE(writer->commit().has_value());
  ASSERT_TRUE(store.remove("a").has_value());
  ASSERT_TRUE(copy->put("b", as_bytes("B")).has_value());

  EXPECT_EQ(as_text(copy->get("a", 10).value()), "A");
  EXPECT_FALSE(copy->exists("pending").value());
  EXPECT_FALSE(store.exists("b").value());
  EXPECT_TRUE(store.exists("pending").value());
}

TEST(MemoryStore, times_come_from_the_given_clock) {
  ManualClock clock(1'000'000);
  MemoryStore store(clock);
  EXPECT_EQ(store.now().value().unix_us, 1'000'000);
  auto writer = store.create("a").value();
  clock.advance_us(5);
  ASSERT_TRUE(writer->commit().has_value());
  clock.advance_us(5);
  auto copy = store.clone();
  EXPECT_EQ(copy->now().value().unix_us, 1'000'010);
  ASSERT_TRUE(copy->list("",
                         [](const ObjectInfo& info) -> Status {
                           EXPECT_EQ(info.modified.unix_us, 1'000'005);
                           return {};
                         })
                  .has_value());
}

TEST(MemoryStore, overwrite_damages_an_object_for_new_readers_only) {
  MemoryStore store;
  ASSERT_TRUE(store.put("a", as_bytes("old")).has_value());
  auto reader = store.open("a").value();
  auto copy = store.clone();
  ASSERT_TRUE(store.overwrite("a", Bytes{'n', 'e', 'w', '!'}).has_value());
  EXPECT_EQ(as_text(store.get("a", 10).value()), "new!");
  EXPECT_EQ(as_text(copy->get("a", 10).value()), "old");
  Bytes out(3);
  ASSERT_TRUE(reader->read_at(0, out).has_value());
  EXPECT_EQ(as_text(out), "old");
  EXPECT_EQ(store.overwrite("b", {}).error().kind, ErrorKind::not_found);
}

TEST(MemoryStore, writer_may_outlive_the_store) {
  auto store = std::make_unique<MemoryStore>();
  auto writer = store->create("a").value();
  store.reset();
  EXPECT_TRUE(writer->append(as_bytes("x")).has_value());
  EXPECT_TRUE(writer->commit().has_value());
}

}  // namespace
}  // namespace lifeboat::storage
