#include "ops/catalogue/proof.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "ops/catalogue/damage.h"
#include "repo/evidence.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr ProofLevel kLevels[] = {ProofLevel::none, ProofLevel::present,  ProofLevel::hashed,
                                  ProofLevel::wal,  ProofLevel::restored, ProofLevel::asserted};

std::optional<double> optional_number(const json& document, const char* name) {
  auto found = document.find(name);
  if (found == document.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::vector<ProvenLoss> read_lost(const json& document) {
  std::vector<ProvenLoss> lost;
  for (const json& one : document.at("lost_moments"))
    lost.push_back({{one.at("after_us").get<int64_t>()},
                    {one.at("until_us").get<int64_t>()},
                    one.at("segment").get<std::string>()});
  return lost;
}

// What one record says of one backup.
struct Word {
  BackupId backup;
  bool verify = false;  // else a drill's
  BackupProof proof;
};

// What the newest record that says it says of lost moments.
struct Lost {
  Timestamp time;
  std::vector<ProvenLoss> moments;
};

Status read_record(const std::string& id, const std::string& text, std::vector<Word>& words, Lost& lost) {
  auto damaged = [&](std::string_view what) {
    return make_error(ErrorKind::damaged, cat("evidence ", id), std::string(what));
  };
  try {
    json document = json::parse(text);
    if (document.at("format").get<int>() != 1) return damaged("a format that this program does not know");
    std::string kind = document.at("kind").get<std::string>();
    if (kind != "verify" && kind != "drill") return {};  // evidence of something else
    std::vector<Word> found;
    for (const json& item : document.at("backups")) {
      auto backup = BackupId::parse(item.at("id").get<std::string>());
      auto level = parse_proof_level(item.at("level").get<std::string>());
      if (!backup || !level) return damaged("not a record of proofs");
      BackupProof proof;
      proof.level = *level;
      proof.passed = item.at("passed").get<bool>();
      proof.time = {document.at("time_us").get<int64_t>()};
      proof.evidence = id;
      proof.problems = item.value("problems", std::vector<std::string>());
      proof.by_questions = item.value("by_questions", false);
      proof.rto_seconds = optional_number(document, "rto_seconds");
      proof.rpo_seconds = optional_number(document, "rpo_seconds");
      proof.rto_target_seconds = optional_number(document, "rto_target_seconds");
      proof.rpo_target_seconds = optional_number(document, "rpo_target_seconds");
      found.push_back({*backup, kind == "verify", std::move(proof)});
    }
    const Timestamp time{document.at("time_us").get<int64_t>()};
    if (document.contains("lost_moments") && time >= lost.time) lost = {time, read_lost(document)};
    std::ranges::move(found, std::back_inserter(words));
  } catch (const json::exception& exception) {
    return damaged("not a record of proofs").with_cause(exception.what());
  }
  return {};
}

// A shallow check that passes neither takes away what a deeper one proved nor clears what one found, and
// questions that failed do not hide damage.
bool has_the_last_word(const BackupProof& later, const std::optional<BackupProof>& earlier) {
  if (!earlier) return true;
  if (!later.passed) return !later.by_questions || earlier->passed || earlier->by_questions;
  return later.level >= (earlier->passed ? earlier->level : ProofLevel::wal);
}

}  // namespace

std::string_view to_string(ProofLevel level) {
  switch (level) {
    case ProofLevel::none:
      return "none";
    case ProofLevel::present:
      return "present";
    case ProofLevel::hashed:
      return "hashed";
    case ProofLevel::wal:
      return "wal";
    case ProofLevel::restored:
      return "restored";
    case ProofLevel::asserted:
      return "asserted";
  }
  return "?";
}

std::optional<ProofLevel> parse_proof_level(std::string_view text) {
  for (ProofLevel level : kLevels) {
    if (text == to_string(level)) return level;
  }
  return std::nullopt;
}

bool BackupProofs::good() const {
  auto strong = [](const std::optional<BackupProof>& proof) {
    return proof && proof->passed && proof->level >= ProofLevel::wal;
  };
  if (!strong(verified) && !strong(drilled)) return false;
  // What a verification found is cleared by a verification alone: a drill on a mount does not read
  // everything.
  if (verified && !verified->passed) return false;
  if (drilled && !drilled->passed) return strong(verified) && verified->time > drilled->time;
  return true;
}

const BackupProof* failed_proof(const BackupProofs& proofs) {
  for (const auto* proof : {&proofs.verified, &proofs.drilled})
    if (*proof && !(*proof)->passed) return &**proof;
  return nullptr;
}

std::string first_problem(const BackupProof& failed) {
  return failed.problems.empty() ? std::string("no reason recorded") : failed.problems.front();
}

std::optional<std::string> known_damage(const Proofs& proofs, const BackupId& backup) {
  const BackupProofs* of = proofs.of(backup);
  if (of == nullptr || of->good()) return std::nullopt;
  const BackupProof* failed = failed_proof(*of);
  return failed == nullptr ? std::nullopt : std::optional(first_problem(*failed));
}

const BackupProofs* Proofs::of(const BackupId& id) const {
  auto found = backups.find(id);
  return found == backups.end() ? nullptr : &found->second;
}

std::set<BackupId> Proofs::verified() const {
  std::set<BackupId> good;
  for (const auto& [id, proofs] : backups) {
    if (proofs.good()) good.insert(id);
  }
  return good;
}

Result<Proofs> read_proofs(const repo::LineageRepo& repo) {
  Proofs proofs;
  std::vector<Word> words;
  Lost lost;
  TRY_ASSIGN(auto ids, repo::list_evidence(repo));
  for (const std::string& id : ids) {
    auto text = repo::read_evidence(repo, id);
    // One broken record must not hide the backups; it proves nothing.
    if (!text) {
      proofs.unreadable.push_back(text.error().to_string());
      continue;
    }
    if (auto read = read_record(id, *text, words, lost); !read) {
      proofs.unreadable.push_back(read.error().to_string());
    }
  }
  proofs.lost = std::move(lost.moments);
  // Ids are ordered by the second only.
  std::ranges::stable_sort(words, {}, [](const Word& word) { return word.proof.time; });
  for (Word& word : words) {
    BackupProofs& known = proofs.backups[word.backup];
    std::optional<BackupProof>& proof = word.verify ? known.verified : known.drilled;
    if (word.verify && (proofs.verify_times.empty() || proofs.verify_times.back() != word.proof.time))
      proofs.verify_times.push_back(word.proof.time);
    if (has_the_last_word(word.proof, proof)) proof = std::move(word.proof);
  }
  TRY(spread_damage(repo, proofs));
  return proofs;
}

std::string encode_proof(const ProofRecord& record) {
  ordered_json document = {{"format", 1}, {"kind", record.kind}, {"time_us", record.time.unix_us}};
  ordered_json backups = ordered_json::array();
  for (const ProofRecord::Item& item : record.backups) {
    backups.push_back({{"id", item.id.text},
                       {"level", to_string(item.level)},
                       {"passed", item.passed},
                       {"problems", item.problems}});
    if (item.by_questions) backups.back()["by_questions"] = true;
  }
  document["backups"] = std::move(backups);
  if (record.rto_seconds) document["rto_seconds"] = *record.rto_seconds;
  if (record.rpo_seconds) document["rpo_seconds"] = *record.rpo_seconds;
  if (record.lost) {
    ordered_json lost = ordered_json::array();
    for (const ProvenLoss& one : *record.lost)
      lost.push_back(
          {{"after_us", one.after.unix_us}, {"until_us", one.until.unix_us}, {"segment", one.segment}});
    document["lost_moments"] = std::move(lost);
  }
  if (!record.more.empty()) {
    ordered_json more = ordered_json::parse(record.more, nullptr, false);
    CHECK(more.is_object());
    for (auto& [name, value] : more.items()) document[name] = value;
  }
  return document.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace lifeboat::ops
