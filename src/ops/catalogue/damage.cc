#include "ops/catalogue/damage.h"

#include <algorithm>
#include <map>

#include "repo/manifest.h"
#include "repo/pack_usage.h"
#include "repo/tree.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

struct DamagedPack {
  repo::ParsedPackName pack;
  BackupId backup;  // in which it was found
  Timestamp found;
  std::string evidence;
  std::string problem;
};

// "clusters/main/…/packs/<backup>/000001.data: frame 73: …"
std::optional<repo::ParsedPackName> pack_named_by(std::string_view problem) {
  for (size_t at = problem.find("packs/"); at != std::string_view::npos;
       at = problem.find("packs/", at + 1)) {
    std::string_view name = problem.substr(at);
    name = name.substr(0, name.find_first_of(" :,;\"'"));
    if (auto pack = repo::parse_pack_name(name)) return pack;
  }
  return std::nullopt;
}

bool is_damage(const BackupProof& proof) {
  return !proof.passed && !proof.by_questions;
}

// A drill replays WAL behind the backup too: where that alone is broken, the backup is not.
bool is_damage_of_backup(const BackupProof& proof, bool drill) {
  auto names_wal = [](const std::string& problem) { return problem.find("/wal/") != std::string::npos; };
  return is_damage(proof) &&
         !(drill && !proof.problems.empty() && std::ranges::all_of(proof.problems, names_wal));
}

std::vector<DamagedPack> find_damaged_packs(const Proofs& proofs) {
  std::vector<DamagedPack> packs;
  for (const auto& [id, known] : proofs.backups) {
    if (known.good()) continue;
    for (const auto* proof : {&known.verified, &known.drilled}) {
      if (!*proof || !is_damage(**proof)) continue;
      for (const std::string& problem : (*proof)->problems)
        if (auto pack = pack_named_by(problem))
          packs.push_back({*pack, id, (*proof)->time, (*proof)->evidence, problem});
    }
  }
  return packs;
}

class Sharing {
 public:
  Sharing(const repo::LineageRepo& repo, const Proofs& proofs, std::vector<repo::Card> cards)
      : repo_(repo), proofs_(proofs) {
    for (repo::Card& card : cards) {
      if (card.state == repo::BackupState::aborted) continue;
      BackupId id = card.id;
      cards_.emplace(std::move(id), std::move(card));
    }
  }

  const std::map<BackupId, repo::Card>& cards() const { return cards_; }

  Result<bool> has(const BackupId& id, const DamagedPack& damage) {
    if (found_whole_since(id, damage.found)) return false;
    auto card = cards_.find(id);
    // Of one that has expired only its evidence is left: whoever stands on it is asked for itself.
    if (card == cards_.end()) return true;
    if (card->second.started > damage.found) {
      // Of what was there before, it has nothing but what it took over.
      if (!card->second.reference) return false;
      TRY_ASSIGN(bool inherited, has(*card->second.reference, damage));
      if (!inherited) return false;
    }
    return refers_to(card->second, damage.pack);
  }

 private:
  bool found_whole_since(const BackupId& id, Timestamp when) const {
    const BackupProofs* known = proofs_.of(id);
    if (known == nullptr || !known->verified) return false;
    const BackupProof& verified = *known->verified;  // a drill on a mount reads what it touches
    return verified.passed && verified.level >= ProofLevel::hashed && verified.time >= when;
  }

  Result<bool> refers_to(const repo::Card& card, const repo::ParsedPackName& pack) {
    if (pack.kind == repo::PackKind::nodes) return descends_from(card, pack.pack.backup);
    TRY_ASSIGN(const repo::PackUsage* usage, usage_of(card.id));
    if (usage == nullptr) return descends_from(card, pack.pack.backup);
    auto used = usage->find(pack.pack);
    return used != usage->end() && used->second.live != 0;
  }

  bool descends_from(const repo::Card& card, const BackupId& writer) const {
    if (card.id == writer || std::ranges::find(card.continued, writer) != card.continued.end()) return true;
    if (!card.reference) return false;
    auto reference = cards_.find(*card.reference);
    if (reference == cards_.end()) return *card.reference == writer;
    return descends_from(reference->second, writer);
  }

  // Null: it has no record of them, or none that can be read.
  Result<const repo::PackUsage*> usage_of(const BackupId& id) {
    auto known = usages_.find(id);
    if (known == usages_.end()) {
      auto read = read_usage(id);
      if (!read && !repo::is_lost(read.error())) return std::move(read).error();
      known = usages_.emplace(id, read ? std::move(*read) : std::nullopt).first;
    }
    return known->second ? &*known->second : nullptr;
  }

  Result<std::optional<repo::PackUsage>> read_usage(const BackupId& id) const {
    TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(repo_, id));
    if (!manifest.usage) return std::optional<repo::PackUsage>();
    repo::TreeReader nodes(repo_);
    TRY_ASSIGN(ByteView node, nodes.load(*manifest.usage));
    TRY_ASSIGN(repo::PackUsage usage, repo::decode_usage(id.text, node));
    return std::optional(std::move(usage));
  }

  const repo::LineageRepo& repo_;
  const Proofs& proofs_;
  std::map<BackupId, repo::Card> cards_;
  std::map<BackupId, std::optional<repo::PackUsage>> usages_;
};

bool failed_by_itself(const Proofs& proofs, const BackupId& id) {
  const BackupProofs* known = proofs.of(id);
  if (known == nullptr) return false;
  return (known->verified && is_damage(*known->verified)) || (known->drilled && is_damage(*known->drilled));
}

BackupProof shared_damage(const DamagedPack& damage) {
  BackupProof proof;
  proof.time = damage.found;
  proof.evidence = damage.evidence;
  proof.problems = {
      cat(damage.problem, " (found in backup ", damage.backup.text, ", with which it shares this pack)")};
  return proof;
}

}  // namespace

Status spread_damage(const repo::LineageRepo& repo, Proofs& proofs) {
  const std::vector<DamagedPack> packs = find_damaged_packs(proofs);
  if (packs.empty()) return {};
  auto cards = repo::read_cards(repo);
  if (!cards && repo::is_lost(cards.error())) return {};  // who lists backups says so
  TRY(cards);
  Sharing sharing(repo, proofs, std::move(*cards));
  std::map<BackupId, BackupProof> taken_back;
  for (const auto& [id, card] : sharing.cards()) {
    if (failed_by_itself(proofs, id)) continue;
    for (const DamagedPack& damage : packs) {
      TRY_ASSIGN(bool has, sharing.has(id, damage));
      if (!has) continue;
      taken_back.emplace(id, shared_damage(damage));
      break;
    }
  }
  for (auto& [id, proof] : taken_back) proofs.backups[id].verified = std::move(proof);
  return {};
}

std::optional<std::string> found_damaged(const Proofs& proofs, const BackupId& backup) {
  const BackupProofs* known = proofs.of(backup);
  if (known == nullptr || known->good()) return std::nullopt;
  for (const auto* proof : {&known->verified, &known->drilled})
    if (*proof && is_damage_of_backup(**proof, proof == &known->drilled)) return first_problem(**proof);
  return std::nullopt;
}

std::set<BackupId> found_damaged(const Proofs& proofs) {
  std::set<BackupId> damaged;
  for (const auto& [id, known] : proofs.backups)
    if (found_damaged(proofs, id)) damaged.insert(id);
  return damaged;
}

bool cannot_restore(const repo::Card& card, const Proofs& proofs) {
  const BackupProofs* of = proofs.of(card.id);
  return of != nullptr && of->verified && !of->verified->passed &&
         card.state != repo::BackupState::damaged;  // of which every verification says so
}

}  // namespace lifeboat::ops
