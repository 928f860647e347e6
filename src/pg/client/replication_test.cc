#include "pg/client/replication.h"

#include <gtest/gtest.h>

#include "tests/support/live_cluster.h"

namespace lifeboat::pg {
namespace {

using Reply = ReplicationClient::Reply;

TEST(ReplicationTextTest, slot_names_are_postgresqls) {
  EXPECT_TRUE(check_slot_name("lifeboat_main2"));
  for (const char* name : {"", "Main", "a-b", "a\"b", "a b"}) EXPECT_FALSE(check_slot_name(name)) << name;
  EXPECT_TRUE(check_slot_name(std::string(63, 'a')));
  EXPECT_FALSE(check_slot_name(std::string(64, 'a')));
}

TEST(ReplicationTextTest, segment_sizes_as_show_prints_them) {
  EXPECT_EQ(parse_segment_size("1MB")->bytes, 1u << 20);
  EXPECT_EQ(parse_segment_size("64MB")->bytes, 64u << 20);
  EXPECT_EQ(parse_segment_size("1GB")->bytes, 1u << 30);
  for (const char* text : {"", "MB", "3MB", "16kB", "2GB", "16"})
    EXPECT_FALSE(parse_segment_size(text)) << text;
}

TEST(ReplicationBytesTest, wal_and_keepalives_are_understood) {
  Bytes wal = {'w'};
  for (int i = 0; i < 24; ++i) wal.push_back(static_cast<uint8_t>(i == 4 ? 0x12 : i == 12 ? 0x13 : 0));
  wal.push_back(0xaa);
  auto event = parse_stream_message(wal);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, StreamEvent::Kind::wal);
  EXPECT_EQ(event->at, Lsn{0x12000000});
  EXPECT_EQ(event->server_end, Lsn{0x13000000});
  EXPECT_EQ(event->bytes.size(), 1u);
  Bytes keepalive(18, 0);
  keepalive[0] = 'k';
  keepalive[17] = 1;
  event = parse_stream_message(keepalive);
  ASSERT_TRUE(event);
  EXPECT_TRUE(event->wants_reply);
}

TEST(ReplicationBytesTest, short_and_unknown_messages_are_refused) {
  EXPECT_FALSE(parse_stream_message({}));
  EXPECT_FALSE(parse_stream_message(Bytes{'w', 0, 0}));
  EXPECT_FALSE(parse_stream_message(Bytes(17, 'k')));
  EXPECT_FALSE(parse_stream_message(Bytes(64, 'x')));
}

TEST(ReplicationBytesTest, only_what_is_durable_is_reported) {  // T25
  Bytes update = status_update(Lsn{0x0102030405060708}, Timestamp::from_postgres(9), Reply::wanted);
  Bytes position = {1, 2, 3, 4, 5, 6, 7, 8};
  Bytes expected = {'r'};
  for (int i = 0; i < 2; ++i) expected.insert(expected.end(), position.begin(), position.end());
  for (int i = 0; i < 15; ++i) expected.push_back(0);
  expected.push_back(9);
  expected.push_back(1);
  EXPECT_EQ(update, expected);
}

class ReplicationTest : public test::LiveTest {
 protected:
  ReplicationClient connect() {
    auto client = ReplicationClient::connect(live->conninfo(), {});
    if (!client) ADD_FAILURE() << client.error().to_string();
    CHECK(client.has_value());
    return *std::move(client);
  }
};

TEST_F(ReplicationTest, a_server_says_who_it_is) {
  ReplicationClient client = connect();
  auto identity = client.identify();
  ASSERT_TRUE(identity) << identity.error().to_string();
  EXPECT_EQ(identity->major, live->bin().major);
  EXPECT_GT(identity->system_id.value, uint64_t{1} << 60);
  EXPECT_EQ(identity->timeline.value, 1u);
  EXPECT_EQ(identity->segment_size.bytes, 16u << 20);
  EXPECT_FALSE(identity->in_recovery);
  EXPECT_EQ(client.history({2}).error().kind, ErrorKind::not_found);
}

TEST_F(ReplicationTest, wal_is_streamed_through_a_slot_until_we_end_it) {
  ReplicationClient client = connect();
  ASSERT_TRUE(client.create_slot("stream_test"));
  ASSERT_TRUE(client.create_slot("stream_test")) << "one that is there is as good";
  if (live->bin().major >= 15) {
    auto slot = client.read_slot("stream_test");
    ASSERT_TRUE(slot) << slot.error().to_string();
    EXPECT_TRUE(slot->exists);
    EXPECT_TRUE(slot->restart_lsn.valid());
    EXPECT_FALSE(client.read_slot("no_such_slot")->exists);
  }
  auto identity = client.identify();
  ASSERT_TRUE(identity);
  Lsn from =
      SegmentName::containing({1}, identity->flushed, identity->segment_size).start(identity->segment_size);
  ASSERT_TRUE(
      live->connect().exec("SELECT pg_logical_emit_message(false, 'test', 'x'); SELECT pg_switch_wal()"));
  Status started = client.start("stream_test", from, identity->timeline);
  ASSERT_TRUE(started) << started.error().to_string();
  Lsn at = from;
  for (int i = 0; i < 200 && at < identity->flushed; ++i) {
    auto event = client.next(100, -1);
    ASSERT_TRUE(event) << event.error().to_string();
    if (event->kind != StreamEvent::Kind::wal) continue;
    EXPECT_EQ(event->at, at);
    at = at + event->bytes.size();
  }
  EXPECT_GE(at, identity->flushed);
  EXPECT_TRUE(client.report(at, {1}, Reply::not_needed));
  auto end = client.finish(10'000);
  ASSERT_TRUE(end) << end.error().to_string();
  EXPECT_FALSE(*end) << "the timeline goes on";
  EXPECT_TRUE(client.identify()) << "the connection is good for more";
  ASSERT_TRUE(live->connect().exec("SELECT pg_drop_replication_slot('stream_test')"));
}

TEST_F(ReplicationTest, a_position_that_the_server_has_not_reached_is_refused) {
  ReplicationClient client = connect();
  ASSERT_TRUE(client.create_slot("ahead_test"));
  // It is told within the stream, like a segment that was removed.
  ASSERT_TRUE(client.start("ahead_test", Lsn{uint64_t{1} << 60}, {1}));
  auto event = client.next(5000, -1);
  ASSERT_TRUE(event) << event.error().to_string();
  EXPECT_EQ(event->kind, StreamEvent::Kind::ended);
  auto end = client.finish(5000);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().kind, ErrorKind::server) << end.error().to_string();
  EXPECT_TRUE(client.identify()) << "the connection is good for more";
  ASSERT_TRUE(live->connect().exec("SELECT pg_drop_replication_slot('ahead_test')"));
}

}  // namespace
}  // namespace lifeboat::pg
