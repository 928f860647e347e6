#include "ops/init/keys.h"

#include <algorithm>

#include "repo/manifest.h"
#include "repo/pack.h"
#include "repo/tombstone.h"
#include "repo/tree.h"
#include "repo/wal_store.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

// Follows one backup from its manifest to bytes of the database, as a restore would.
Status read_backup(const repo::LineageRepo& repo, const BackupId& id, std::vector<std::string>& read) {
  TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(repo, id));
  read.push_back(repo.name(cat("manifests/", id.text)));
  repo::TreeReader tree(repo);
  TRY_ASSIGN(repo::Entry control, tree.find(manifest.root, "pgdata/global/pg_control"));
  read.push_back(repo.name(repo::pack_name(manifest.root.frame.pack, repo::PackKind::nodes)));
  repo::PackReaders packs(repo, repo::PackKind::data);
  return tree.blocks(control, [&](uint64_t, const std::vector<repo::BlockRef>& refs) -> Status {
    for (const repo::BlockRef& ref : refs) {
      repo::Frame frame;
      TRY(packs.read(ref.frame, frame));
      read.push_back(repo.name(repo::pack_name(ref.frame.pack, repo::PackKind::data)));
    }
    return {};
  });
}

Status read_newest_wal(const repo::LineageRepo& repo, std::vector<std::string>& read) {
  repo::WalStore wal(repo);
  TRY_ASSIGN(auto timelines, wal.timelines());
  if (timelines.empty()) return {};
  TRY_ASSIGN(auto newest, wal.newest_segment(timelines.back()));
  if (!newest) return {};
  auto name = WalFileName::parse(newest->to_string());
  CHECK(name.has_value());
  TRY_ASSIGN(auto objects, wal.find_all(*name));
  if (objects.empty()) return {};  // expired since the listing
  TRY(wal.get_object(objects.front(), [](ByteView) -> Status { return {}; }));
  read.push_back(objects.front().object);
  return {};
}

Result<KeyCheck::Proof> prove(const repo::Repository& repository, const std::string& cluster,
                              const Lineage& lineage) {
  repo::LineageRepo repo(repository, cluster, lineage);
  KeyCheck::Proof proof{cluster, lineage.to_string(), {repo.name("lineage")}};
  TRY_ASSIGN(auto condemned, repo::read_condemned(repo));
  TRY_ASSIGN(auto cards, repo::read_cards(repo));
  auto newest = std::find_if(cards.rbegin(), cards.rend(), [&](const repo::Card& card) {
    return card.state != repo::BackupState::aborted && !condemned.condemns(card.id);
  });
  if (newest != cards.rend()) TRY(read_backup(repo, newest->id, proof.read));
  TRY(read_newest_wal(repo, proof.read));
  return proof;
}

}  // namespace

Result<AddedKey> add_key(const RepoLocation& location, const repo::KeySource& added) {
  TRY_ASSIGN(repo::Repository repository, open_repository(location));
  if (!repository.keys().encrypted()) {
    return make_error(ErrorKind::precondition, location.url,
                      "the repository is not encrypted and has no keys")
        .with_hint("encryption is chosen when a repository is made: init a new one with --key-file");
  }
  AddedKey outcome;
  if (added.kind == repo::KeySourceKind::key_file) {
    TRY_ASSIGN(bool exists, path_exists(added.path));
    if (!exists) {
      TRY(repo::create_key_file(added.path));
      outcome.generated = true;
    }
  }
  auto slot = repo::add_slot(repository.store(), repository.keys(), added);
  if (!slot) {
    if (outcome.generated) (void)remove_file(added.path);
    return std::move(slot).error();
  }
  outcome.slot = std::move(*slot);
  return outcome;
}

Result<KeyCheck> check_key(const RepoLocation& location) {
  TRY_ASSIGN(repo::Repository repository, open_repository(location));
  KeyCheck check;
  if (repository.keys().encrypted()) {
    TRY_ASSIGN(auto slots, repo::list_slots(repository.store()));
    TRY_ASSIGN(auto opened,
               repo::slots_opened_by(repository.store(), location.key, repository.marker().key_check));
    for (repo::SlotInfo& slot : slots) {
      bool opens = std::ranges::find(opened, slot.slot, &repo::SlotInfo::slot) != opened.end();
      check.slots.push_back({std::move(slot), opens});
    }
  }
  TRY_ASSIGN(auto clusters, repo::list_clusters(repository));
  for (const std::string& cluster : clusters) {
    TRY_ASSIGN(auto lineages, repo::list_lineages(repository, cluster));
    for (const repo::LineageRecord& record : lineages) {
      TRY_ASSIGN(KeyCheck::Proof proof, prove(repository, cluster, record.lineage));
      check.proofs.push_back(std::move(proof));
    }
  }
  return check;
}

}  // namespace lifeboat::ops
