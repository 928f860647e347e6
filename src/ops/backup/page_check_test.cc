// T06: torn pages are normal, pages that replay repairs are fine, what stays broken is reported.
#include "ops/backup/page_check.h"

#include <gtest/gtest.h>

#include "pg/format/page.h"
#include "tests/support/manual_clock.h"

namespace lifeboat::ops {
namespace {

constexpr size_t kPage = 8192;
constexpr Lsn kStart{0x2000028};
constexpr Lsn kStop{0x3000000};

// A page as PostgreSQL would write it: LSN high half first, a plausible header, its checksum.
Bytes make_page(Lsn lsn, uint32_t number) {
  Bytes page(kPage, 0);
  store_le<uint32_t>(&page[0], static_cast<uint32_t>(lsn.value >> 32));
  store_le<uint32_t>(&page[4], static_cast<uint32_t>(lsn.value));
  store_le<uint16_t>(&page[12], 24);
  store_le<uint16_t>(&page[14], kPage);
  store_le<uint16_t>(&page[16], kPage);
  store_le<uint16_t>(&page[18], kPage | 4);
  page[5000] = 1;
  store_le<uint16_t>(&page[8], pg::page_checksum(page, number));
  return page;
}

Bytes broken(Bytes page) {
  page[6000] ^= 1;
  return page;
}

class PageCheckTest : public testing::Test {
 protected:
  PageChecker::Verdict check(Bytes first, const Bytes& again, uint32_t number = 7) {
    PageCheckOptions options{kPage, true, kStart, &clock};
    PageChecker checker(options);
    EXPECT_TRUE(checker.check("pgdata/base/5/1", first, number, number,
                              [&](uint64_t block, MutableBytes into) -> Result<size_t> {
                                EXPECT_EQ(block, number);
                                ++rereads;
                                std::copy(again.begin(), again.end(), into.begin());
                                return again.size();
                              }));
    kept = first;
    return checker.judge(kStop);
  }
  ManualClock clock;
  int rereads = 0;
  Bytes kept;
};

TEST_F(PageCheckTest, says_how_new_the_pages_are) {
  Bytes pages = make_page({500}, 0);
  for (const Bytes& more : {make_page({900}, 1), make_page({700}, 2)})
    pages.insert(pages.end(), more.begin(), more.end());
  auto not_again = [](uint64_t, MutableBytes) -> Result<size_t> { return size_t{kPage}; };
  for (bool checksums : {true, false}) {
    PageChecker checker({kPage, checksums, kStart, &clock});
    EXPECT_EQ(checker.check("x", pages, 0, 0, not_again).value(), Lsn{900});
  }
  pages[kPage + 6000] ^= 1;
  PageChecker checker({kPage, true, kStart, &clock});
  auto broken_again = [&](uint64_t, MutableBytes into) -> Result<size_t> {
    std::copy_n(pages.begin() + kPage, kPage, into.begin());
    return size_t{kPage};
  };
  EXPECT_EQ(checker.check("x", pages, 0, 0, broken_again).value(), repo::kDoubtful);
}

TEST_F(PageCheckTest, good_and_empty_pages_are_read_once) {
  EXPECT_EQ(check(make_page({100}, 7), {}).count, 0u);
  EXPECT_EQ(check(Bytes(kPage, 0), {}).count, 0u);
  EXPECT_EQ(rereads, 0);
}

TEST_F(PageCheckTest, a_torn_page_is_replaced_by_what_the_second_read_gives) {
  Bytes good = make_page({100}, 7);
  EXPECT_EQ(check(broken(good), good).count, 0u);
  EXPECT_EQ(rereads, 1);
  EXPECT_EQ(kept, good);
}

TEST_F(PageCheckTest, a_page_that_stays_broken_is_reported) {
  Bytes bad = broken(make_page({100}, 7));
  auto verdict = check(bad, bad);
  ASSERT_EQ(verdict.count, 1u);
  EXPECT_EQ(verdict.broken[0].block, 7u);
}

TEST_F(PageCheckTest, a_broken_page_between_start_and_stop_is_repaired_by_replay) {
  Bytes bad = broken(make_page(kStart + 8, 7));
  EXPECT_EQ(check(bad, bad).count, 0u);
}

TEST_F(PageCheckTest, a_page_from_past_the_stop_is_corruption_even_with_a_right_checksum) {
  Bytes future = make_page(kStop + 8, 7);
  EXPECT_EQ(check(future, future).count, 1u);
  Bytes bad = broken(future);
  EXPECT_EQ(check(bad, bad).count, 1u);
}

TEST_F(PageCheckTest, a_page_at_another_place_is_noticed) {
  Bytes page = make_page({100}, 8);
  EXPECT_EQ(check(page, page, 7).count, 1u);
}

TEST_F(PageCheckTest, without_checksums_nothing_is_judged) {
  PageChecker checker({kPage, false, kStart, &clock});
  Bytes bad = broken(make_page({100}, 7));
  EXPECT_TRUE(
      checker.check("x", bad, 0, 0, [](uint64_t, MutableBytes) -> Result<size_t> { return size_t{0}; }));
  EXPECT_EQ(checker.judge(kStop).count, 0u);
}

}  // namespace
}  // namespace lifeboat::ops
