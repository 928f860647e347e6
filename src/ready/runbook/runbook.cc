#include "ready/runbook/runbook.h"

#include <unistd.h>

#include <algorithm>

#include "pg/server/pg_bin.h"
#include "ready/runbook/books.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr RunbookInfo kRunbooks[] = {
    {"primary-loss", "The primary is lost", primary_loss},
    {"archive-failure", "WAL is not archived", archive_failure},
    {"backup-failure", "Backups fail", backup_failure},
    {"wraparound", "Transaction ids are running out", wraparound},
    {"bloat", "Tables or indexes are bloated", bloat},
    {"storage", "A disk is full, or nearly", storage_exhaustion},
    {"connections", "Connections are used up", connection_exhaustion},
    {"data-changed", "Data was changed or dropped by mistake", data_changed},
    {"region-lost", "The whole site is lost", region_lost},
};

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

const repo::Setting* setting(const repo::Manifest& manifest, std::string_view name) {
  auto found = std::ranges::find(manifest.settings, name, &repo::Setting::name);
  return found == manifest.settings.end() ? nullptr : &*found;
}

void from_server(RunbookFacts& runbook, const ops::DoctorFacts& doctor) {
  const pg::ServerFacts& server = *doctor.server;
  runbook.from = "the running server";
  runbook.major = server.major;
  runbook.system_id = server.system_id.to_string();
  runbook.pgdata = server.data_directory;
  auto port = server.settings.find("port");
  if (port != server.settings.end()) runbook.port = port->second;
  for (const pg::TablespaceFacts& space : server.tablespaces)
    runbook.tablespaces.push_back(cat(space.name, " at ", space.location));
}

// A server that is down is described by the newest backup of it.
void from_manifest(RunbookFacts& runbook, const ReportFacts& facts, const ops::RepoLocation& where) {
  const repo::Card* card = facts.newest_backup();
  if (card == nullptr) return;
  auto repository = ops::open_repository(where);
  if (!repository) return;
  auto chosen = ops::choose_lineage(*repository, where.cluster, facts.doctor().lineage());
  if (!chosen) return;
  auto manifest = repo::read_manifest(chosen->repo, card->id);
  if (!manifest) return;
  runbook.from = cat("the newest backup, ", card->id.text);
  runbook.host = card->host;
  runbook.major = card->server_version_num / 10'000;
  runbook.system_id = chosen->record.lineage.system_id.to_string();
  runbook.pgdata = manifest->data_directory;
  runbook.os_user = manifest->owner.empty() ? runbook.os_user : manifest->owner;
  if (const repo::Setting* port = setting(*manifest, "port")) runbook.port = port->value;
  for (const repo::TablespaceInfo& space : manifest->tablespaces)
    runbook.tablespaces.push_back(cat(space.name, " at ", space.location));
}

// "" where no rule is stated.
std::string expiry_options(const ReportSettings& settings) {
  std::vector<std::string> words;
  auto add = [&](std::string_view name, const auto& value) {
    if (value) words.push_back(cat("--", name, " ", static_cast<int64_t>(*value)));
  };
  add("keep-count", settings.retention.keep_count);
  add("keep-days", settings.retention.keep_days);
  add("pitr-days", settings.retention.pitr_days);
  add("dump-keep-count", settings.dump_retention.keep_count);
  add("dump-keep-days", settings.dump_retention.keep_days);
  return join(words, " ");
}

// "shop" of the "shop/public.orders" that is worst.
std::string bloated_database(const ReportFacts& facts) {
  for (std::string_view id : {"table_bloat", "index_bloat"}) {
    const Reading* reading = facts.reading(id);
    if (reading == nullptr || reading->parts.empty()) continue;
    const std::string& object = reading->parts.front().object;
    return object.substr(0, object.rfind('/'));
  }
  return "";
}

}  // namespace

RunbookFacts runbook_facts(const ReportFacts& facts, const ops::RepoLocation& where) {
  const ops::DoctorFacts& doctor = facts.doctor();
  RunbookFacts runbook;
  runbook.cluster = facts.signals.cluster;
  runbook.written = facts.now();
  runbook.owner = facts.settings.owner;
  runbook.host = host_name();
  runbook.os_user = ops::server_user(doctor);
  runbook.patroni = doctor.patroni;
  runbook.debian_cluster = doctor.debian_cluster;
  if (doctor.server) {
    from_server(runbook, doctor);
  } else {
    from_manifest(runbook, facts, where);
  }
  if (doctor.data) runbook.pgdata = doctor.data->path;
  runbook.bin = doctor.pg_bin;
  if (runbook.bin.empty() && runbook.major != 0) {
    auto found = pg::find_pg_bin(runbook.major);
    if (found) runbook.bin = found->directory;
  }
  runbook.us = {doctor.program, where, doctor.conninfo,
                runbook.pgdata.empty() ? std::nullopt : std::optional(runbook.pgdata)};
  runbook.repository_place = facts.place.says;
  const ops::RepositoryFacts& known = doctor.repository;
  if (const auto& problem = known.problem ? known.problem : known.catalogue_problem)
    runbook.repository_problem = problem->to_string();
  for (const repo::SlotInfo& slot : doctor.repository.key_slots)
    runbook.keys.push_back(cat("a ", slot.kind, " opens it (slot ", slot.slot, ", key ", slot.key_id, ")"));
  if (!doctor.repository.key.path.empty())
    runbook.keys.push_back(cat("the commands here read it from ", doctor.repository.key.path));
  if (const repo::Card* newest = facts.newest_backup()) {
    runbook.newest_backup = newest->id.text;
    runbook.bytes = newest->totals.plain_bytes;
  }
  if (doctor.repository.newest_verified) runbook.newest_verified = doctor.repository.newest_verified->text;
  if (const std::string stated = expiry_options(facts.settings); !stated.empty()) runbook.expiry = stated;
  runbook.rpo_target = facts.settings.rpo.value;
  runbook.rto_target = facts.settings.rto.value;
  runbook.rehearsals = facts.rehearsals;
  runbook.bloated = bloated_database(facts);
  return runbook;
}

std::span<const RunbookInfo> runbook_infos() {
  return kRunbooks;
}

std::vector<Runbook> make_runbooks(const RunbookFacts& facts, std::string_view id) {
  std::vector<Runbook> made;
  for (const RunbookInfo& info : kRunbooks) {
    if (!id.empty() && id != info.id) continue;
    Runbook book = info.make(facts);
    book.id = info.id;
    book.title = info.title;
    made.push_back(std::move(book));
  }
  return made;
}

}  // namespace lifeboat::ready
