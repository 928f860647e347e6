#include "ops/wal/mark.h"

#include <gtest/gtest.h>

#include <string>

namespace lifeboat::ops {
namespace {

TEST(mark, names_that_the_server_keeps_are_accepted) {
  EXPECT_TRUE(check_mark_name("before release 4.2"));
  EXPECT_TRUE(check_mark_name("vor dem Einspielen, für Zürich"));
  EXPECT_TRUE(check_mark_name(std::string(kLongestMark, 'x')));
}

TEST(mark, names_that_it_would_cut_or_nobody_could_type_are_refused) {
  for (const std::string& name : {std::string(), std::string(kLongestMark + 1, 'x'), std::string("a\nb"),
                                  std::string("a\tb"), std::string("a\x7f"), std::string("a\0b", 3)}) {
    auto refused = check_mark_name(name);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::usage);
  }
}

}  // namespace
}  // namespace lifeboat::ops
