#include "model/lsn.h"

#include <gtest/gtest.h>

namespace lifeboat {
namespace {

TEST(Lsn, prints_and_parses_as_postgresql_does) {
  EXPECT_EQ(Lsn{0x16B374D848}.to_string(), "16/B374D848");
  EXPECT_EQ(Lsn{0}.to_string(), "0/0");
  EXPECT_EQ(Lsn{UINT64_MAX}.to_string(), "FFFFFFFF/FFFFFFFF");
  EXPECT_EQ(Lsn::parse("16/B374D848"), Lsn{0x16B374D848});
  EXPECT_EQ(Lsn::parse("16/b374d848"), Lsn{0x16B374D848});
  EXPECT_EQ(Lsn::parse("0/0"), Lsn{0});
  EXPECT_EQ(Lsn::parse("00000016/00000001"), Lsn{0x1600000001});
  for (const char* bad : {"", "/", "16", "16/", "/16", "16/B374D848/", "1/2/3", "123456789/0", "0/123456789",
                          "-1/0", "0/-1", " 0/0", "0/0 ", "0x1/0", "g/0"}) {
    EXPECT_EQ(Lsn::parse(bad), std::nullopt) << bad;
  }
}

TEST(Lsn, orders_by_position_and_zero_is_no_position) {
  EXPECT_LT((Lsn{0xFFFFFFFF}), (Lsn{0x100000000}));
  EXPECT_EQ((Lsn{5} + 3), Lsn{8});
  EXPECT_FALSE(Lsn{}.valid());
  EXPECT_TRUE(Lsn{1}.valid());
}

TEST(Timeline, is_printed_as_eight_hex_digits) {
  EXPECT_EQ(Timeline{10}.to_hex(), "0000000A");
  EXPECT_EQ(Timeline{UINT32_MAX}.to_hex(), "FFFFFFFF");
}

TEST(SystemId, is_printed_in_decimal) {
  EXPECT_EQ(SystemId{7424242424242424242}.to_string(), "7424242424242424242");
}

}  // namespace
}  // namespace lifeboat
