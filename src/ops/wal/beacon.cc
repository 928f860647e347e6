#include "ops/wal/beacon.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "ops/wal/writer.h"
#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kBeaconBegins = "beacon 1 ";
constexpr int64_t kLookUs = 200'000;
constexpr uint64_t kFirstLook = 16ull << 20;

Result<Lsn> lsn_of(const std::optional<std::string>& text, std::string_view statement) {
  auto lsn = text ? Lsn::parse(*text) : std::nullopt;
  if (!lsn)
    return make_error(ErrorKind::server, std::string(statement), cat("answered ", text.value_or("nothing")));
  return *lsn;
}

}  // namespace

Result<Lsn> write_message(pg::PgClient& client, const std::string& content) {
  TRY_ASSIGN(auto lsn, client.value("SELECT pg_catalog.pg_logical_emit_message(true, $1, $2)",
                                    {std::string(kMessagePrefix), content}));
  return lsn_of(lsn, "pg_logical_emit_message");
}

std::string encode_beacon(const Beacon& beacon) {
  return cat(kBeaconBegins, beacon.time.unix_us, " ", beacon.cluster);
}

std::optional<Beacon> decode_beacon(std::string_view content) {
  if (!content.starts_with(kBeaconBegins)) return std::nullopt;
  std::vector<std::string_view> fields = split(content.substr(kBeaconBegins.size()), ' ');
  if (fields.size() < 2 || fields[1].empty()) return std::nullopt;
  auto time = parse_i64(fields[0]);
  if (!time || *time <= 0) return std::nullopt;
  return Beacon{{*time}, std::string(fields[1])};
}

Result<Lsn> write_beacon(pg::PgClient& client, const std::string& cluster) {
  TRY_ASSIGN(auto now, client.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"));
  auto time = now ? parse_i64(*now) : std::nullopt;
  if (!time) return make_error(ErrorKind::server, "clock_timestamp", "gave no time");
  return write_message(client, encode_beacon({{*time}, cluster}));
}

Result<BeaconOutcome> write_beacons(const BeaconRequest& request, Clock& clock, const StopToken& stop) {
  BeaconOutcome outcome;
  std::optional<WalWriter> writer;
  int64_t next_us = clock.monotonic_us();
  while (!stop.stopped()) {
    if (!writer) {
      auto opened = open_writer(request.where, request.conninfo, stop);
      if (opened)
        writer = std::move(*opened);
      else if (request.every_us == 0 || opened.error().kind != ErrorKind::precondition)
        return std::move(opened).error();
    }
    if (writer) {
      TRY_ASSIGN(outcome.last, write_beacon(writer->client, request.where.cluster));
      ++outcome.written;
    }
    if (request.every_us == 0) break;
    // What was missed while the host slept is not made up for.
    next_us = std::max(next_us + request.every_us, clock.monotonic_us());
    while (!stop.stopped() && clock.monotonic_us() < next_us)
      clock.sleep_us(std::min(kLookUs, next_us - clock.monotonic_us()));
  }
  return outcome;
}

Result<std::optional<FoundBeacon>> newest_beacon(const ChosenLineage& lineage, const WalPath& path, Lsn from,
                                                 Lsn to, const std::string& cluster,
                                                 const ScanOptions& options) {
  std::optional<FoundBeacon> newest;
  if (path.empty()) return newest;
  TRY_ASSIGN(const pg::VersionTraits* version, pg::require_version(lineage.record.lineage.major));
  std::map<uint32_t, Beacon> open;  // by the transaction that wrote it
  auto visit = [&](const pg::WalRecord& record) {
    pg::WalEvent event = pg::event_of(record, *version);
    if (event == pg::WalEvent::logical_message) {
      auto message = pg::read_logical_message(record);
      if (!message || !message->transactional || message->prefix != kMessagePrefix) return ScanNext::more;
      auto beacon = decode_beacon(as_text(message->content));
      if (beacon && beacon->cluster == cluster) open[record.xid] = std::move(*beacon);
    } else if (event == pg::WalEvent::commit && !open.empty()) {
      auto end = pg::read_transaction_end(record, *version);
      auto found = end ? open.find(end->xid) : open.end();
      if (found == open.end()) return ScanNext::more;
      newest = FoundBeacon{std::move(found->second), found->first, record.lsn};
      open.erase(found);
    }
    return ScanNext::more;
  };
  TRY(scan_wal(lineage, path, from, to, visit, options));
  return newest;
}

Result<std::optional<FoundBeacon>> last_beacon(const ChosenLineage& lineage, const WalPath& path, Lsn from,
                                               Lsn to, const std::string& cluster,
                                               const ScanOptions& options) {
  // A beacon's message and its commit adjoin, so hardly any is cut by where a look begins; if one is, the
  // next older one is found.
  for (uint64_t look = kFirstLook;; look *= 4) {
    const uint64_t most = std::min(look, kLastBeaconWal);
    const bool all = to.value <= from.value + most;
    const Lsn begin = all ? from : Lsn{to.value - most};
    TRY_ASSIGN(auto found, newest_beacon(lineage, path, begin, to, cluster, options));
    if (found || all || most == kLastBeaconWal) return found;
  }
}

}  // namespace lifeboat::ops
