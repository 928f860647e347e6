#include "ops/wal/check.h"

#include <random>
#include <utility>

#include "ops/doctor/doctor.h"
#include "ops/wal/beacon.h"
#include "ops/wal/scan.h"
#include "ops/wal/writer.h"
#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "repo/wal_store.h"
#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr int64_t kPollUs = 50'000;

std::string random_marker() {
  std::random_device device;
  uint64_t number = uint64_t{device()} << 32 | device();
  return cat("check 1 ", to_lower(hex_number(number, 16)));
}

double seconds_since(int64_t began_us) {
  return static_cast<double>(Clock::system().monotonic_us() - began_us) / 1e6;
}

class WalChecker {
 public:
  WalChecker(const WalCheckRequest& request, WalWriter& writer, Reporter& reporter, StopToken& stop)
      : request_(request), writer_(writer), reporter_(reporter), stop_(stop) {}

  Result<WalCheck> run() {
    TRY(may_switch());
    TRY(write_marker());
    Status verified = wait_for_segments();
    if (verified) {
      check_.seconds = seconds_since(committed_us_);
      verified = find_marker();
    }
    TRY(stop_.check());
    check_.verified_seconds = seconds_since(committed_us_) - check_.seconds;
    check_.arrived = verified.has_value();
    if (!verified) {
      check_.seconds = seconds_since(committed_us_);
      check_.verified_seconds = 0;
      TRY(explain(std::move(verified).error()));
    }
    return std::move(check_);
  }

 private:
  Status may_switch() const {
    if (request_.segment_switch == SegmentSwitch::leave || writer_.facts.role.switch_wal) return {};
    return make_error(ErrorKind::permission, writer_.client.where(), "this role may not switch WAL")
        .with_hint(cat("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ",
                       sql_identifier(writer_.facts.role.name),
                       ", or wait for the segment with --no-switch"));
  }

  Status write_marker() {
    marker_ = random_marker();
    TRY_ASSIGN(auto before, writer_.client.value("SELECT pg_current_wal_insert_lsn()"));
    from_ = Lsn::parse(before.value_or("")).value_or(Lsn{});
    TRY_ASSIGN(check_.lsn, write_message(writer_.client, marker_));
    // The commit follows the message, and may begin in the next segment.
    TRY_ASSIGN(auto after, writer_.client.value("SELECT pg_current_wal_insert_lsn()"));
    to_ = Lsn::parse(after.value_or("")).value_or(check_.lsn);
    committed_us_ = Clock::system().monotonic_us();
    if (!from_.valid() || to_ <= from_)
      return make_error(ErrorKind::server, writer_.client.where(), "its WAL did not grow by the marker");
    check_.segment = segment_of({to_.value - 1}).to_string();
    if (request_.segment_switch == SegmentSwitch::ask) TRY(writer_.client.exec("SELECT pg_switch_wal()"));
    return {};
  }

  SegmentName segment_of(Lsn lsn) const {
    return SegmentName::containing(writer_.facts.current_timeline, lsn, writer_.lineage.record.segment_size);
  }

  Status wait_for_segments() {
    for (;;) {
      TRY(stop_.check());
      TRY_ASSIGN(auto missing, missing_segments(writer_.lineage, writer_.facts.current_timeline, from_, to_));
      if (missing.empty()) return {};
      int64_t waited_us = Clock::system().monotonic_us() - committed_us_;
      if (waited_us >= request_.timeout_us) {
        return make_error(ErrorKind::timeout, missing.front().to_string(),
                          cat("did not reach the repository within ",
                              format_seconds(static_cast<double>(request_.timeout_us) / 1e6)));
      }
      reporter_.progress("waiting for WAL to arrive", static_cast<uint64_t>(waited_us / 1'000'000),
                         static_cast<uint64_t>(request_.timeout_us / 1'000'000), ProgressUnit::items);
      Clock::system().sleep_us(kPollUs);
    }
  }

  Status find_marker() {
    const ChosenLineage& lineage = writer_.lineage;
    TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(lineage.record.lineage.major));
    TRY_ASSIGN(WalHistory history, WalHistory::load(lineage));
    const StoredTimeline* stored = history.find(writer_.facts.current_timeline);
    if (stored == nullptr || !stored->history) {
      return make_error(ErrorKind::damaged, cat("timeline ", writer_.facts.current_timeline.value),
                        "its history cannot be followed in the repository");
    }
    uint32_t xid = 0;
    bool committed = false;
    auto visit = [&](const pg::WalRecord& record) {
      pg::WalEvent event = pg::event_of(record, *version);
      if (event == pg::WalEvent::logical_message) {
        auto message = pg::read_logical_message(record);
        if (message && message->prefix == kMessagePrefix && as_text(message->content) == marker_)
          xid = record.xid;
      } else if (event == pg::WalEvent::commit && xid != 0 && record.xid == xid) {
        committed = true;
        return ScanNext::stop;
      }
      return ScanNext::more;
    };
    WalPath path = history.path(stored->timeline, from_);
    ScanOptions scan;
    scan.stop = &stop_;
    TRY_ASSIGN(ScanResult read, scan_wal(lineage, path, from_, to_, visit, scan));
    if (committed) return {};
    return make_error(ErrorKind::damaged, check_.segment,
                      "was stored, and the marker that was written is not in it")
        .with_cause(read.damage ? read.damage->text : "");
  }

  // Why it is so, told by the first critical finding of doctor.
  Status explain(Error error) {
    DoctorRequest request;
    request.where = request_.where;
    request.conninfo = request_.conninfo;
    request.pgdata = request_.pgdata;
    request.config_path = request_.config_path;
    request.pg_bin = request_.pg_bin;
    request.stop = &stop_;
    TRY_ASSIGN(Diagnosis diagnosis, diagnose(request));
    for (Finding& finding : diagnosis.findings) {
      if (finding.severity == Severity::critical) check_.findings.push_back(std::move(finding));
    }
    if (!check_.findings.empty() && error.cause.empty()) {
      const Finding& first = check_.findings.front();
      error.cause = cat(first.id, ": ", first.found, first.cause.empty() ? "" : cat(": ", first.cause));
    }
    if (error.hint.empty()) {
      error.hint = check_.findings.empty()
                       ? "lifeboat doctor finds nothing wrong: it may only be slow, give it more --timeout"
                       : "lifeboat doctor shows every finding with its fix";
    }
    check_.failure = std::move(error);
    return {};
  }

  const WalCheckRequest& request_;
  WalWriter& writer_;
  Reporter& reporter_;
  StopToken& stop_;
  std::string marker_;
  Lsn from_;  // the marker and its commit lie between these
  Lsn to_;
  int64_t committed_us_ = 0;
  WalCheck check_;
};

}  // namespace

Result<WalCheck> check_wal(const WalCheckRequest& request, Reporter& reporter, StopToken& stop) {
  TRY_ASSIGN(WalWriter writer, open_writer(request.where, request.conninfo, stop));
  return WalChecker(request, writer, reporter, stop).run();
}

}  // namespace lifeboat::ops
