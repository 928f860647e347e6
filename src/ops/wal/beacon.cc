#include "ops/wal/beacon.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "pg/format/version.h"
#include "pg/wal/wal_events.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr std::string_view kBeaconBegins = "beacon 1 ";

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

}  // namespace lifeboat::ops
