#include "app/readings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lifeboat::app {
namespace {

using ready::Reading;
using ready::Verdict;

size_t count_of(const std::string& text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(ReportText, one_cause_of_many_unread_signals_is_told_with_the_first) {
  ready::SignalReport report;
  report.cluster = "main";
  for (const char* id : {"archive_off", "replication_lag", "connections", "backup_age"}) {
    Reading reading;
    reading.signal = ready::find_signal(id);
    reading.verdict = Verdict::unknown;
    reading.found = "connection refused at db1";
    report.readings.push_back(reading);
  }
  report.readings.back().found = "the repository does not answer";
  const std::string text = report_text(report);
  EXPECT_EQ(count_of(text, "connection refused"), 2u) << "in the table, and with what to do\n" << text;
  EXPECT_EQ(count_of(text, "as archive_off says"), 2u) << text;
  EXPECT_EQ(count_of(text, "the repository does not answer"), 2u) << text;
  EXPECT_THAT(text, testing::HasSubstr("unknown: archive_off, replication_lag, connections: "));
}

}  // namespace
}  // namespace lifeboat::app
