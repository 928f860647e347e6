#include "repo/evidence.h"

#include <gtest/gtest.h>

#include "tests/support/repo_fixture.h"

namespace lifeboat::repo {
namespace {

TEST(EvidenceTest, records_are_listed_in_order_of_time_and_read_back) {
  TinyRepo tiny;
  EXPECT_TRUE(list_evidence(tiny.repo)->empty());
  std::string late = *write_evidence(tiny.repo, Timestamp::from_seconds(2'000'000'000), "{\"n\":2}");
  std::string early = *write_evidence(tiny.repo, Timestamp::from_seconds(1'900'000'000), "{\"n\":1}");
  EXPECT_EQ(*list_evidence(tiny.repo), (std::vector<std::string>{early, late}));
  EXPECT_EQ(*read_evidence(tiny.repo, early), "{\"n\":1}");
  // Within a second too.
  std::vector<std::string> ids;
  for (int64_t ms : {1, 2, 500, 998, 999})
    ids.push_back(*write_evidence(tiny.repo, Timestamp{2'100'000'000'000'000 + ms * 1000}, "{}"));
  const std::vector<std::string> listed = *list_evidence(tiny.repo);
  EXPECT_EQ(std::vector<std::string>(listed.begin() + 2, listed.end()), ids);
  EXPECT_EQ(read_evidence(tiny.repo, "20200101T000000Z-000000").error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace lifeboat::repo
