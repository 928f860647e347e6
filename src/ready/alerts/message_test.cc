#include "ready/alerts/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

AlertMessage message_of(AlertItem::Status status) {
  AlertItem item;
  item.cluster = "main";
  item.signal = "backup_age";
  item.status = status;
  item.severity = Rank::critical;
  item.since = Timestamp::from_seconds(1'800'000'000);
  item.resolved = item.since.plus_us(60'000'000);
  item.value = "60 h 00 min";
  item.found = "no backup <since> Monday & \"Tuesday\"\nreally, Zürich";
  item.action = "lifeboat backup";
  item.owner = "dba";
  return {AlertMessage::Kind::alerts, false, "team", "main", item.since, {item}};
}

TEST(message, webhooks_get_one_document) {
  const json document = json::parse(json_of(message_of(AlertItem::Status::firing), "db1"));
  EXPECT_EQ(document["schema"], "lifeboat/alert/1");
  EXPECT_EQ(document["status"], "firing");
  EXPECT_EQ(document["alerts"][0]["key"], "lifeboat/main/backup_age");
  EXPECT_EQ(document["alerts"][0]["owner"], "dba");
  EXPECT_EQ(json::parse(json_of(message_of(AlertItem::Status::resolved), "db1"))["status"], "resolved");
}

TEST(message, bytes_that_are_no_text_do_not_break_it) {
  AlertMessage message = message_of(AlertItem::Status::firing);
  message.items[0].found = "file \xff\xfe";
  EXPECT_TRUE(json::accept(json_of(message, "db1")));
  EXPECT_TRUE(json::accept(slack_of(message, "db1")));
  EXPECT_TRUE(json::accept(pagerduty_of(message, "db1", "key")[0]));
}

TEST(message, slack_text_is_escaped) {
  const std::string text = json::parse(slack_of(message_of(AlertItem::Status::firing), "db1"))["text"];
  EXPECT_THAT(text, HasSubstr("&lt;since&gt; Monday &amp;"));
  EXPECT_THAT(text, HasSubstr("owner: dba"));
}

TEST(message, pagerduty_events_pair_by_their_key) {
  const json trigger = json::parse(pagerduty_of(message_of(AlertItem::Status::firing), "db1", "routing")[0]);
  const json resolve =
      json::parse(pagerduty_of(message_of(AlertItem::Status::resolved), "db1", "routing")[0]);
  EXPECT_EQ(trigger["event_action"], "trigger");
  EXPECT_EQ(trigger["payload"]["severity"], "critical");
  EXPECT_EQ(resolve["event_action"], "resolve");
  EXPECT_EQ(trigger["dedup_key"], resolve["dedup_key"]);
  EXPECT_FALSE(resolve.contains("payload"));
}

TEST(message, a_mail_is_one_whatever_stands_in_it) {
  Receiver receiver;
  receiver.from = "lifeboat@example.org";
  receiver.to = {"a@example.org", "b@example.org"};
  AlertMessage message = message_of(AlertItem::Status::firing);
  message.items[0].value = "viel: ü\r\nBcc: evil@example.org";
  message.items[0].found = std::string(5000, 'x') + "\n.\nend";
  const std::string mail = mail_of(message, receiver, "db1", "id1");
  EXPECT_THAT(mail, HasSubstr("Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"));
  EXPECT_THAT(mail, HasSubstr("To: <a@example.org>, <b@example.org>\r\n"));
  EXPECT_THAT(mail, HasSubstr("Subject: =?utf-8?Q?"));
  EXPECT_THAT(mail, HasSubstr("Message-ID: <id1@example.org>"));
  EXPECT_THAT(mail, Not(HasSubstr("\r\nBcc:")));
  for (std::string_view line : split(mail, '\n')) {
    EXPECT_LE(line.size(), 999u);
    if (!line.empty()) {
      EXPECT_TRUE(line.ends_with('\r')) << line;
    }
  }
}

TEST(message, heartbeats_and_tests_say_so) {
  AlertMessage message = message_of(AlertItem::Status::firing);
  message.test = true;
  EXPECT_THAT(subject_of(message), HasSubstr("TEST: [critical] main: backup_age 60 h"));
  EXPECT_THAT(text_of(message, "db1"), HasSubstr("nothing has happened"));
  message.kind = AlertMessage::Kind::heartbeat;
  message.items.clear();
  EXPECT_EQ(json::parse(json_of(message, "db1"))["kind"], "heartbeat");
}

}  // namespace
}  // namespace lifeboat::ready
