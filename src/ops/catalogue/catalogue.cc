#include "ops/catalogue/catalogue.h"

#include <algorithm>

#include "model/wal_name.h"
#include "pg/files/entry.h"
#include "repo/pack_usage.h"
#include "repo/tombstone.h"
#include "repo/tree.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

Error unknown_cluster(const repo::Repository& repository, const std::string& cluster) {
  Error error = make_error(ErrorKind::not_found, cat("cluster ", cluster),
                           cat("not registered in ", repository.store().url()));
  auto known = repo::list_clusters(repository);
  if (known && !known->empty()) {
    return std::move(error).with_hint(cat("the repository knows: ", join(*known, ", ")));
  }
  return std::move(error).with_hint("register it with lifeboat init");
}

// Cards one by one, so that a damaged one does not hide the others.
Result<std::vector<repo::Card>> read_cards_leniently(const repo::LineageRepo& repo,
                                                     std::vector<Error>& problems) {
  std::string prefix = repo.name("cards/");
  std::vector<repo::Card> cards;
  TRY(repo.store().list(prefix, [&](const storage::ObjectInfo& object) -> Status {
    auto id = BackupId::parse(std::string_view(object.name).substr(prefix.size()));
    if (!id) {
      problems.push_back(make_error(ErrorKind::damaged, object.name, "not the name of a card"));
      return {};
    }
    auto card = repo::read_card(repo, *id);
    if (card) {
      cards.push_back(std::move(*card));
    } else if (card.error().kind == ErrorKind::damaged) {
      problems.push_back(std::move(card).error());
    } else if (card.error().kind != ErrorKind::not_found) {  // not_found: expired since the listing
      return std::move(card).error();
    }
    return {};
  }));
  std::ranges::sort(cards, [](const repo::Card& a, const repo::Card& b) {
    return std::pair(a.started, a.id) < std::pair(b.started, b.id);
  });
  return cards;
}

Result<CatalogueLineage> read_lineage(const repo::Repository& repository, const std::string& cluster,
                                      const repo::LineageRecord& record, ListAttempts attempts) {
  repo::LineageRepo repo(repository, cluster, record.lineage);
  CatalogueLineage lineage;
  lineage.record = record;
  TRY_ASSIGN(auto condemned, repo::read_condemned(repo));
  TRY_ASSIGN(Proofs proofs, read_proofs(repo));
  for (const std::string& what : proofs.unreadable) {
    lineage.problems.push_back(make_error(ErrorKind::damaged, "", what));
  }
  TRY_ASSIGN(auto cards, read_cards_leniently(repo, lineage.problems));
  for (repo::Card& card : cards) {
    if (condemned.condemns(card.id)) continue;
    if (card.state == repo::BackupState::aborted && attempts == ListAttempts::hide) continue;
    CatalogueEntry entry;
    if (const BackupProofs* known = proofs.of(card.id)) entry.proofs = *known;
    entry.card = std::move(card);
    lineage.backups.push_back(std::move(entry));
  }
  return lineage;
}

// "base/5/16384.3" → "base/5/16384": all segments of a main fork together; nullopt for anything else.
std::optional<std::string> relation_of(std::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return std::nullopt;
  if (!pg::RelationDirectory::parse(path.substr(0, slash))) return std::nullopt;
  auto name = pg::RelationFileName::parse(path.substr(slash + 1));
  if (!name || name->fork != pg::Fork::main) return std::nullopt;
  return cat(path.substr(0, slash), "/", name->relfilenode);
}

Status find_largest(const repo::LineageRepo& repo, const repo::Manifest& manifest, size_t most,
                    std::vector<BackupDetails::LargeRelation>& largest) {
  if (most == 0) return {};
  repo::TreeReader tree(repo);
  TRY_ASSIGN(repo::Entry data, tree.find(manifest.root, "pgdata"));
  // Segments of one main fork follow each other in byte order ("16384", "16384.1", "163841", "16384_fsm"), so
  // one sum is open at a time, and nothing but the largest is kept (T42).
  auto larger = [](const auto& a, const auto& b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.path < b.path;
  };
  BackupDetails::LargeRelation here;
  auto close = [&] {
    if (here.path.empty()) return;
    auto at = std::ranges::upper_bound(largest, here, larger);
    if (at != largest.end() || largest.size() < most) largest.insert(at, std::move(here));
    if (largest.size() > most) largest.pop_back();
    here = {};
  };
  TRY(tree.walk(data.directory, [&](const std::string& path, const repo::Entry& entry) -> Status {
    if (entry.type != repo::EntryType::file) return {};
    auto relation = relation_of(path);
    if (!relation) return {};
    if (here.path != *relation) {
      close();
      here.path = std::move(*relation);
    }
    here.bytes += entry.size;
    return {};
  }));
  close();
  return {};
}

}  // namespace

Result<Catalogue> read_catalogue(const repo::Repository& repository, const std::string& cluster,
                                 ListAttempts attempts) {
  TRY_ASSIGN(auto records, repo::list_lineages(repository, cluster));
  if (records.empty()) return unknown_cluster(repository, cluster);
  Catalogue catalogue;
  catalogue.cluster = cluster;
  for (const repo::LineageRecord& record : records) {
    TRY_ASSIGN(CatalogueLineage lineage, read_lineage(repository, cluster, record, attempts));
    catalogue.lineages.push_back(std::move(lineage));
  }
  return catalogue;
}

Result<FoundBackup> find_backup(const repo::Repository& repository, const std::string& cluster,
                                const std::string& id) {
  TRY_ASSIGN(Catalogue catalogue, read_catalogue(repository, cluster, ListAttempts::show));
  std::vector<std::string> known;
  // "latest" means the newest of the newest lineage that has one; ids are unique over lineages.
  for (auto lineage = catalogue.lineages.rbegin(); lineage != catalogue.lineages.rend(); ++lineage) {
    for (auto entry = lineage->backups.rbegin(); entry != lineage->backups.rend(); ++entry) {
      bool usable = entry->card.state != repo::BackupState::aborted;
      bool wanted =
          id == "latest" ? entry->card.state == repo::BackupState::complete : entry->card.id.text == id;
      if (usable) known.push_back(entry->card.id.text);
      if (!wanted) continue;
      repo::LineageRepo repo(repository, cluster, lineage->record.lineage);
      return FoundBackup{{repo, lineage->record, catalogue.lineages.size() - 1}, entry->card};
    }
    // A card that cannot be read is not "no such backup".
    for (Error& problem : lineage->problems) {
      if (id != "latest" && problem.object.ends_with(id)) return std::move(problem);
    }
  }
  if (id == "latest") {
    return make_error(ErrorKind::not_found, cat("cluster ", cluster), "has no complete backup")
        .with_hint("take one with lifeboat backup");
  }
  for (const CatalogueLineage& lineage : catalogue.lineages) {
    repo::LineageRepo dumps = repo::LineageRepo(repository, cluster, lineage.record.lineage).dumps();
    TRY_ASSIGN(bool is_dump, repository.store().exists(dumps.name(cat("cards/", id))));
    if (is_dump)
      return make_error(ErrorKind::not_found, cat("backup ", id), "is a dump, not a physical backup")
          .with_hint("lifeboat dump show and dump restore take it");
  }
  constexpr size_t kNamed = 5;
  if (known.size() > kNamed) known.resize(kNamed);
  return make_error(ErrorKind::not_found, cat("backup ", id), cat("not in cluster ", cluster))
      .with_hint(known.empty() ? "there is no backup yet" : cat("the newest are: ", join(known, ", ")));
}

namespace {

Status find_origins(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                    std::vector<BackupDetails::Origin>& origins) {
  if (!manifest.usage) return {};
  repo::TreeReader nodes(repo);
  TRY_ASSIGN(ByteView node, nodes.load(*manifest.usage));
  TRY_ASSIGN(repo::PackUsage usage, repo::decode_usage(manifest.card.id.text, node));
  for (auto entry = usage.rbegin(); entry != usage.rend(); ++entry) {
    const BackupId& backup = entry->first.backup;
    if (origins.empty() || origins.back().backup != backup) origins.push_back({backup, 0});
    origins.back().bytes += entry->second.live * manifest.block_size;
  }
  return {};
}

}  // namespace

Result<BackupDetails> describe_backup(const repo::Repository& repository, const std::string& cluster,
                                      const std::string& id, size_t largest) {
  TRY_ASSIGN(FoundBackup found, find_backup(repository, cluster, id));
  const repo::LineageRepo& repo = found.lineage.repo;
  if (found.card.state == repo::BackupState::aborted) {
    return make_error(ErrorKind::not_found, cat("backup ", found.card.id.text),
                      cat("never completed: ", found.card.reason));
  }
  BackupDetails details;
  details.lineage = found.lineage.record;
  TRY_ASSIGN(details.manifest, repo::read_manifest(repo, found.card.id));
  TRY_ASSIGN(Proofs proofs, read_proofs(repo));
  if (const BackupProofs* known = proofs.of(found.card.id)) details.proofs = *known;
  details.location = cat(repo.store().url(), repo.store().url().ends_with('/') ? "" : "/", repo.prefix());

  const repo::Card& card = details.manifest.card;
  SegmentSize size = details.manifest.segment_size;
  Timeline timeline = details.manifest.start_timeline;
  SegmentName first = SegmentName::containing(timeline, card.start_lsn, size);
  // The byte before the stop position is the last one that is needed.
  Lsn last_byte{card.stop_lsn.value > card.start_lsn.value ? card.stop_lsn.value - 1 : card.start_lsn.value};
  SegmentName last = SegmentName::containing(timeline, last_byte, size);
  details.first_wal = first.to_string();
  details.last_wal = last.to_string();
  details.wal_segments = last.index(size) - first.index(size) + 1;

  TRY(find_largest(repo, details.manifest, largest, details.largest));
  TRY(find_origins(repo, details.manifest, details.origins));
  return details;
}

}  // namespace lifeboat::ops
