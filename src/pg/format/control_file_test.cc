// Golden files: the first 300 bytes of pg_control of clusters that PostgreSQL 13 to 18 made and shut down
// (the rest of the 8192 bytes is zeros). Expected values are pg_controldata's. wal_oracle_test.cc compares
// every field live.
#include "pg/format/control_file.h"

#include <gtest/gtest.h>

#include "codec/codec.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

struct Golden {
  int major;
  uint64_t system_id;
  uint64_t next_xid;
  int64_t checkpoint_seconds;
  const char* hex;
};

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = {
      {13, 7710215879104407705ull, 488, 1795174526,
       "992898d77d30006b14050000a1620a0c01000000000000007e30006b0000000028000003000000002800000300000000"
       "01000000010000000100000000000000e801000000000000034000000100000000000000de0100000100000001000000"
       "01000000000000007e30006b0000000000000000000000000000000000000000e8030000000000000000000000000000"
       "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
       "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
       "cc070000000800000100000001000000427a244d37eab814e74f1050ebe41f3ff5f3718107549bc82c4cc25281275f8c"
       "f54a30330000000000000000"},
      {14, 7710215983904332149ull, 736, 1795174550,
       "7519283e9630006b140500002de90b0c01000000000000009630006b0000000028000003000000002800000300000000"
       "01000000010000000100000000000000e002000000000000034000000100000000000000d60200000100000001000000"
       "01000000000000009630006b0000000000000000000000000000000000000000e8030000000000000000000000000000"
       "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
       "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
       "cc070000000800000100000001000000dad4a80dcd0b0726042510beec66ad02867c154a6e31d68f2ed1421cbe176d40"
       "47183b490000000000000000"},
      {15, 7710215882854435004ull, 729, 1795175809,
       "bc081db77e30006b1405000025770d0c01000000000000008135006b00000000c092020300000000c092020300000000"
       "01000000010000000100000000000000d902000000000000084000000100000000000000cc0200000100000001000000"
       "01000000000000008135006b0000000000000000000000000000000000000000e8030000000000000000000000000000"
       "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
       "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
       "cc070000000800000100000001000000528b42ea444506689405eefac9a69a60daf29f48d52cb0565ae397bd5da7106c"
       "1eb4d6f10000000000000000"},
      {16, 7710215987521194394ull, 733, 1795174551,
       "9a09bd159730006b14050000fff50e0c01000000000000009730006b0000000028000003000000002800000300000000"
       "01000000010000000100000000000000dd02000000000000034000000100000000000000d20200000100000001000000"
       "01000000000000009730006b0000000000000000000000000000000000000000e8030000000000000000000000000000"
       "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
       "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
       "cc070000000800000100000001000000d703c7969c617d97d3e85a5588879fd0c215640be0996306dcbbdd4ea5a11184"
       "dda0addc0000000000000000"},
      {17, 7710215886598994142ull, 741, 1795174528,
       "de784e967f30006ba40600008979100c01000000000000008030006b0000000028000003000000002800000300000000"
       "01000000010000000100000001000000e502000000000000034000000100000000000000da0200000100000001000000"
       "01000000000000008030006b0000000000000000000000000000000000000000e8030000000000000000000000000000"
       "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
       "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
       "cc0700000008000001000000010000002b16369edb1005adac54f4514b128df99f1336e8330982d0b8cf0c2f342b8e2b"
       "48ae7cc30000000000000000"},
      {18, 7710215890242468149ull, 755, 1795174529,
       "3579796f8030006b080700003300120c01000000000000008130006b0000000028000003000000002800000300000000"
       "01000000010000000100000001000000f302000000000000034000000100000000000000e80200000100000001000000"
       "01000000000000008130006b0000000000000000000000000000000000000000e8030000000000000000000000000000"
       "00000000000000000000000000000000000000000000000000000000010000000000000064000000080000000a000000"
       "000000004000000000000000080000000000000087d63241002000000000020000200000000000014000000020000000"
       "cc0700000008000001000000010000000193dd3a2b30bb2022bda88e76f1b02bab2ef756dfeecd4f41ea2a67a65dbe39"
       "460000002917e7de00000000"},
  };
  return all;
}

Bytes golden_bytes(const Golden& golden) {
  Bytes bytes = from_hex(golden.hex).value();
  bytes.resize(8192);
  return bytes;
}

void fix_crc(Bytes& bytes, size_t crc_offset) {
  store_le(bytes.data() + crc_offset,
           codec::crc32c(0xffffffff, ByteView(bytes).first(crc_offset)) ^ 0xffffffff);
}

TEST(ControlFile, of_every_major_is_read_and_names_its_major) {
  for (const Golden& golden : goldens()) {
    auto control = parse_control_file(golden_bytes(golden));
    ASSERT_TRUE(control) << golden.major << " " << control.error().to_string();
    EXPECT_EQ(control->major, golden.major);
    EXPECT_EQ(control->system_id.value, golden.system_id);
    EXPECT_EQ(control->checkpoint.next_xid, golden.next_xid);
    EXPECT_EQ(control->checkpoint.time, Timestamp::from_seconds(golden.checkpoint_seconds));
    EXPECT_EQ(control->state, DbState::shut_down);
    EXPECT_EQ(control->checkpoint.timeline, Timeline{1});
    EXPECT_EQ(control->checkpoint_lsn, control->checkpoint.redo) << "a shutdown checkpoint";
    EXPECT_EQ(control->wal_level, WalLevel::replica);
    EXPECT_EQ(control->max_connections, 100);
    EXPECT_EQ(control->max_locks_per_transaction, 64);
    EXPECT_EQ(control->block_size, 8192u);
    EXPECT_EQ(control->wal_block_size, 8192u);
    EXPECT_EQ(control->relation_segment_blocks, 131072u);
    EXPECT_EQ(control->wal_segment_size, 16u << 20);
    EXPECT_TRUE(control->checksums());
    EXPECT_FALSE(control->backup_end_required);
    EXPECT_EQ(parse_control_file(golden_bytes(golden), golden.major)->major, golden.major);
  }
}

TEST(ControlFile, any_flipped_bit_before_or_in_the_crc_is_damage) {  // T04
  for (const Golden& golden : goldens()) {
    size_t crc_end = golden.major == 18 ? 296 : 292;
    for (size_t bit = 0; bit < crc_end * 8; ++bit) {
      Bytes bytes = golden_bytes(golden);
      bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
      auto control = parse_control_file(bytes, golden.major);
      ASSERT_FALSE(control) << golden.major << " bit " << bit;
      ASSERT_EQ(control.error().kind, ErrorKind::damaged) << control.error().to_string();
    }
  }
}

TEST(ControlFile, shorter_than_its_fields_is_damage) {
  Bytes bytes = golden_bytes(goldens()[0]);
  EXPECT_EQ(parse_control_file(ByteView(bytes).first(299)).error().kind, ErrorKind::damaged);
  EXPECT_TRUE(parse_control_file(ByteView(bytes).first(300)));
  EXPECT_EQ(parse_control_file({}).error().kind, ErrorKind::damaged);
}

TEST(ControlFile, of_an_unknown_release_is_unsupported) {
  Bytes newer = golden_bytes(goldens().back());
  store_le<uint32_t>(newer.data() + 8, 1900);
  store_le<uint32_t>(newer.data() + 12, 202607021);
  fix_crc(newer, 292);
  EXPECT_EQ(parse_control_file(newer).error().kind, ErrorKind::unsupported);

  // A fork has another catalog version; with PG_VERSION known it is read all the same.
  Bytes fork = golden_bytes(goldens()[2]);
  store_le<uint32_t>(fork.data() + 12, 202209999);
  fix_crc(fork, 288);
  EXPECT_EQ(parse_control_file(fork).error().kind, ErrorKind::unsupported);
  ASSERT_TRUE(parse_control_file(fork, 15));
  EXPECT_EQ(parse_control_file(fork, 15)->major, 15);
}

TEST(ControlFile, that_contradicts_pg_version_is_damage) {  // T26
  auto control = parse_control_file(golden_bytes(goldens()[2]), 17);
  ASSERT_FALSE(control);
  EXPECT_EQ(control.error().kind, ErrorKind::damaged);
  EXPECT_EQ(parse_control_file(golden_bytes(goldens()[2]), 19).error().kind, ErrorKind::unsupported);
}

TEST(ControlFile, impossible_sizes_are_damage_although_the_crc_holds) {
  for (size_t offset : {216, 220, 224, 228}) {
    for (uint32_t value : {0u, 3u, 1u << 31}) {
      if (offset == 220 && value != 0) continue;
      Bytes bytes = golden_bytes(goldens()[2]);
      store_le(bytes.data() + offset, value);
      fix_crc(bytes, 288);
      EXPECT_EQ(parse_control_file(bytes).error().kind, ErrorKind::damaged) << offset << " " << value;
    }
  }
}

TEST(ControlFile, with_other_build_options_is_read) {  // T12
  Bytes bytes = golden_bytes(goldens()[2]);
  store_le<uint32_t>(bytes.data() + 216, 32768);
  store_le<uint32_t>(bytes.data() + 224, 65536);
  store_le<uint32_t>(bytes.data() + 228, 1u << 30);
  fix_crc(bytes, 288);
  auto control = parse_control_file(bytes);
  ASSERT_TRUE(control);
  EXPECT_EQ(control->block_size, 32768u);
  EXPECT_EQ(control->wal_block_size, 65536u);
  EXPECT_EQ(control->wal_segment_size, 1u << 30);
}

TEST(ControlFile, states_are_named_as_pg_controldata_names_them) {
  EXPECT_EQ(to_string(DbState::in_production), "in production");
  EXPECT_EQ(to_string(DbState::shut_down_in_recovery), "shut down in recovery");
  EXPECT_EQ(to_string(static_cast<DbState>(99)), "unrecognized status code");
}

}  // namespace
}  // namespace lifeboat::pg
