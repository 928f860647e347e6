#include "ops/catalogue/catalogue.h"

#include <gtest/gtest.h>

#include "ops/catalogue/stored.h"
#include "repo/evidence.h"
#include "repo/tombstone.h"
#include "repo/wal_store.h"
#include "tests/support/repo_fixture.h"

namespace lifeboat::ops {
namespace {

using repo::BackupState;
using repo::tiny_content;
using repo::TinyRepo;

class CatalogueTest : public ::testing::Test {
 protected:
  BackupId back_up(BackupState state = BackupState::complete) {
    tiny_.clock.advance_us(1'000'000);
    auto id =
        tiny_.back_up({{"pgdata", tiny_content(1, 100)}}, std::nullopt, {{1}, {1 << 20}, {2 << 20}}, state);
    EXPECT_TRUE(id) << id.error().to_string();
    return *id;
  }
  void prove(const BackupId& id, const char* kind, bool passed, ProofLevel level = ProofLevel::wal) {
    tiny_.clock.advance_us(1'000'000);
    ProofRecord record;
    record.kind = kind;
    record.time = {tiny_.clock.unix_us()};
    record.backups.push_back(
        {id, level, passed, passed ? std::vector<std::string>() : std::vector<std::string>{"x"}});
    ASSERT_TRUE(repo::write_evidence(tiny_.repo, record.time, encode_proof(record)));
  }
  BackupProofs proofs(const BackupId& id) {
    auto all = read_proofs(tiny_.repo);
    EXPECT_TRUE(all);
    const BackupProofs* known = all->of(id);
    return known == nullptr ? BackupProofs() : *known;
  }
  TinyRepo tiny_;
};

TEST_F(CatalogueTest, what_a_cluster_takes_is_told_by_its_use) {
  auto nothing = measure_stored(tiny_.repository, "main");
  ASSERT_TRUE(nothing) << nothing.error().to_string();
  EXPECT_EQ(nothing->backups + nothing->dumps + nothing->wal, 0u);
  back_up();
  const Bytes segment(repo::kTinySegment.bytes, 7);
  ASSERT_TRUE(
      repo::WalStore(tiny_.repo)
          .push(*WalFileName::parse("000000010000000000000001"), repo::WalSource::from_bytes(segment)));
  ASSERT_TRUE(tiny_.repo.dumps().put(repo::ObjectKind::card, "cards/x", as_bytes("a dump's")));
  auto stored = measure_stored(tiny_.repository, "main");
  ASSERT_TRUE(stored) << stored.error().to_string();
  EXPECT_GT(stored->backups, 0u);
  EXPECT_GT(stored->wal, 0u);
  EXPECT_GT(stored->dumps, 0u);
  uint64_t all = 0;
  ASSERT_TRUE(tiny_.repository.store().list("clusters/", [&](const storage::ObjectInfo& info) -> Status {
    all += info.size;
    return {};
  }));
  EXPECT_EQ(stored->total(), all) << "every object is counted once";
  EXPECT_EQ(measure_stored(tiny_.repository, "mai")->total(), 0u) << "a name's beginning is another cluster";
}

TEST_F(CatalogueTest, lists_by_time_and_hides_attempts_and_the_condemned) {
  BackupId first = back_up();
  BackupId second = back_up();
  BackupId condemned = back_up();
  BackupId aborted = back_up(BackupState::aborted);
  repo::Tombstone tombstone;
  tombstone.created = {tiny_.clock.unix_us()};
  tombstone.backups = {condemned};
  ASSERT_TRUE(repo::write_tombstone(tiny_.repo, tombstone));

  auto shown = read_catalogue(tiny_.repository, "main", ListAttempts::hide);
  ASSERT_TRUE(shown) << shown.error().to_string();
  ASSERT_EQ(shown->lineages.size(), 1u);
  ASSERT_EQ(shown->lineages[0].backups.size(), 2u);
  EXPECT_EQ(shown->lineages[0].backups[0].card.id, first);
  EXPECT_EQ(shown->lineages[0].backups[1].card.id, second);

  auto all = read_catalogue(tiny_.repository, "main", ListAttempts::show);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->lineages[0].backups.size(), 3u);
  EXPECT_EQ(all->lineages[0].backups[2].card.id, aborted);
}

TEST_F(CatalogueTest, an_unknown_cluster_names_those_that_are_known) {
  auto shown = read_catalogue(tiny_.repository, "shop", ListAttempts::hide);
  ASSERT_FALSE(shown);
  EXPECT_EQ(shown.error().kind, ErrorKind::not_found);
  EXPECT_NE(shown.error().hint.find("main"), std::string::npos);
}

TEST_F(CatalogueTest, a_damaged_card_does_not_hide_the_others) {
  BackupId sound = back_up();
  BackupId broken = back_up();
  std::string name = tiny_.repo.name("cards/" + broken.text);
  Bytes bytes = *tiny_.memory.get(name, 1 << 20);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(tiny_.memory.overwrite(name, bytes));
  auto shown = read_catalogue(tiny_.repository, "main", ListAttempts::hide);
  ASSERT_TRUE(shown) << shown.error().to_string();
  ASSERT_EQ(shown->lineages[0].backups.size(), 1u);
  EXPECT_EQ(shown->lineages[0].backups[0].card.id, sound);
  ASSERT_EQ(shown->lineages[0].problems.size(), 1u);
  EXPECT_EQ(shown->lineages[0].problems[0].kind, ErrorKind::damaged);
  // And it is not "no such backup".
  auto found = find_backup(tiny_.repository, "main", broken.text);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::damaged);
}

TEST_F(CatalogueTest, latest_is_the_newest_complete_one) {
  auto none = find_backup(tiny_.repository, "main", "latest");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::not_found);
  BackupId complete = back_up();
  back_up(BackupState::damaged);
  back_up(BackupState::aborted);
  auto found = find_backup(tiny_.repository, "main", "latest");
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->card.id, complete);
  auto missing = find_backup(tiny_.repository, "main", "20200101T000000Z-000000");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().hint.find(complete.text), std::string::npos);
}

TEST_F(CatalogueTest, the_newest_word_on_a_backup_decides) {
  BackupId id = back_up();
  EXPECT_FALSE(proofs(id).good()) << "unverified is never good";
  prove(id, "verify", true, ProofLevel::hashed);
  EXPECT_FALSE(proofs(id).good()) << "bytes alone are not enough, its WAL has to be there";
  prove(id, "verify", true);
  EXPECT_TRUE(proofs(id).good());
  prove(id, "drill", false, ProofLevel::none);
  EXPECT_FALSE(proofs(id).good()) << "a drill that failed takes it back";
  prove(id, "drill", true, ProofLevel::asserted);
  EXPECT_TRUE(proofs(id).good());
  prove(id, "verify", false, ProofLevel::none);
  EXPECT_FALSE(proofs(id).good()) << "damage was found since";
  EXPECT_EQ(proofs(id).verified->problems, std::vector<std::string>{"x"});
}

TEST_F(CatalogueTest, a_shallow_pass_neither_takes_away_nor_clears) {
  BackupId id = back_up();
  prove(id, "verify", true);
  prove(id, "verify", true, ProofLevel::present);
  EXPECT_TRUE(proofs(id).good()) << "that everything is there says nothing against what was read";
  prove(id, "verify", false, ProofLevel::none);
  prove(id, "verify", true, ProofLevel::hashed);
  EXPECT_FALSE(proofs(id).good());
  EXPECT_FALSE(proofs(id).verified->passed) << "what failed may be what this one did not look at";
  prove(id, "verify", true);
  EXPECT_TRUE(proofs(id).good());
}

TEST_F(CatalogueTest, records_of_one_second_are_in_order) {
  BackupId id = back_up();
  for (int round = 0; round < 20; ++round) {  // the ids of a second are in the order of chance
    bool passed = round % 2 == 1;
    ProofRecord record;
    record.kind = "verify";
    record.time = {tiny_.clock.unix_us() + 1'000'000 + round};
    record.backups.push_back({id, passed ? ProofLevel::wal : ProofLevel::none, passed, {}});
    ASSERT_TRUE(repo::write_evidence(tiny_.repo, record.time, encode_proof(record)));
    EXPECT_EQ(proofs(id).good(), passed) << round;
  }
}

TEST_F(CatalogueTest, what_the_operator_asked_is_told_apart_from_damage) {
  BackupId id = back_up();
  ProofRecord record;
  record.kind = "drill";
  record.time = {tiny_.clock.unix_us()};
  record.backups.push_back({id, ProofLevel::restored, false, {"assertion: 5000, expected true"}, true});
  ASSERT_TRUE(repo::write_evidence(tiny_.repo, record.time, encode_proof(record)));
  const BackupProofs by_questions = proofs(id);
  const BackupProof* failed = failed_proof(by_questions);
  ASSERT_NE(failed, nullptr);
  EXPECT_TRUE(failed->by_questions);
  EXPECT_FALSE(by_questions.good());
  EXPECT_EQ(first_problem(*failed), "assertion: 5000, expected true");
  prove(id, "drill", false, ProofLevel::none);
  const BackupProofs damaged = proofs(id);
  EXPECT_FALSE(failed_proof(damaged)->by_questions);
  record.time = {tiny_.clock.unix_us() + 1};
  ASSERT_TRUE(repo::write_evidence(tiny_.repo, record.time, encode_proof(record)));
  EXPECT_FALSE(failed_proof(proofs(id))->by_questions) << "questions do not hide damage";
  prove(id, "drill", true, ProofLevel::asserted);
  EXPECT_EQ(failed_proof(proofs(id)), nullptr);
}

TEST_F(CatalogueTest, moments_that_were_lost_are_those_of_the_newest_look) {
  BackupId id = back_up();
  auto look = [&](int64_t at, std::optional<std::vector<ProvenLoss>> lost) {
    ProofRecord record;
    record.kind = "verify";
    record.time = {tiny_.clock.unix_us() + at};
    record.backups.push_back({id, ProofLevel::wal, true, {}});
    record.lost = std::move(lost);
    ASSERT_TRUE(repo::write_evidence(tiny_.repo, record.time, encode_proof(record)));
  };
  look(1'000'000, std::vector<ProvenLoss>{{{5}, {9}, "000000010000000000000007"}});
  look(2'000'000, std::nullopt);  // of one backup: WAL between backups was not looked at
  auto all = read_proofs(tiny_.repo);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->lost.size(), 1u);
  EXPECT_EQ(all->lost[0].after.unix_us, 5);
  EXPECT_EQ(all->lost[0].until.unix_us, 9);
  EXPECT_EQ(all->lost[0].segment, "000000010000000000000007");
  look(3'000'000, std::vector<ProvenLoss>());
  EXPECT_TRUE(read_proofs(tiny_.repo)->lost.empty());
}

TEST_F(CatalogueTest, a_record_that_cannot_be_read_is_told_and_proves_nothing) {
  BackupId id = back_up();
  prove(id, "verify", true);
  for (const char* text : {"not json", "{}", "[]", R"({"format": 2})",
                           R"({"format": 1, "kind": "verify", "time_us": 1, "backups": [{"id": 5}]})",
                           R"({"format": 1, "kind": "verify", "time_us": "x", "backups": [{"id":
                              "20201120T105625Z-4f2a9c", "level": "wal", "passed": true}]})"}) {
    ASSERT_TRUE(repo::write_evidence(tiny_.repo, {tiny_.clock.unix_us()}, text));
  }
  ASSERT_TRUE(repo::write_evidence(tiny_.repo, {tiny_.clock.unix_us()}, R"({"format": 1, "kind": "other"})"));
  auto all = read_proofs(tiny_.repo);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->unreadable.size(), 6u);
  EXPECT_TRUE(all->of(id)->good());
  EXPECT_EQ(all->verified(), std::set<BackupId>{id});
}

TEST_F(CatalogueTest, show_gives_the_wal_that_a_backup_needs) {
  BackupId id = back_up();
  auto details = describe_backup(tiny_.repository, "main", "latest", 0);
  ASSERT_TRUE(details) << details.error().to_string();
  EXPECT_EQ(details->manifest.card.id, id);
  // From 1 MiB to before 2 MiB with segments of 1 MiB: one segment, though the stop is the next one's first
  // byte.
  EXPECT_EQ(details->first_wal, "000000010000000000000001");
  EXPECT_EQ(details->last_wal, "000000010000000000000001");
  EXPECT_EQ(details->wal_segments, 1u);
}

// Names in byte order: segments stand side by side, other forks and longer names between relations.
TEST_F(CatalogueTest, show_sums_the_segments_of_a_main_fork_and_keeps_the_largest) {
  BackupId id = back_up();
  auto manifest = repo::read_manifest(tiny_.repo, id);
  ASSERT_TRUE(manifest);
  repo::PackNumbers numbers(BackupId::make({1}, 1));
  repo::PackNodeSink nodes(tiny_.repo, numbers);
  auto directory = [&](std::vector<repo::Entry> entries) {
    repo::DirectoryWriter writer(nodes);
    for (repo::Entry& entry : entries) EXPECT_TRUE(writer.add(std::move(entry)));
    auto node = writer.finish();
    EXPECT_TRUE(node);
    return *node;
  };
  auto file = [](const char* name, uint64_t size) {
    repo::Entry entry;
    entry.name = name;
    entry.size = size;
    return entry;
  };
  auto below = [](const char* name, const repo::NodeRef& node) {
    repo::Entry entry;
    entry.name = name;
    entry.type = repo::EntryType::directory;
    entry.directory = node;
    return entry;
  };
  repo::NodeRef five =
      directory({file("16384", 100), file("16384.1", 100), file("16384.10", 5), file("163841", 50),
                 file("16384_fsm", 1000), file("16384_vm", 1000), file("16385", 60)});
  repo::NodeRef six = directory({file("16384", 70), file("PG_VERSION", 3)});
  manifest->root = directory(
      {below("pgdata", directory({below("base", directory({below("5", five), below("6", six)}))}))});
  ASSERT_TRUE(nodes.finish());
  manifest->card.id = BackupId::make({tiny_.clock.unix_us() + 5'000'000}, 7);
  ASSERT_TRUE(repo::write_manifest(tiny_.repo, *manifest));
  ASSERT_TRUE(repo::write_card(tiny_.repo, manifest->card));

  auto largest = [&](size_t most) {
    std::vector<std::pair<std::string, uint64_t>> found;
    auto details = describe_backup(tiny_.repository, "main", manifest->card.id.text, most);
    EXPECT_TRUE(details) << details.error().to_string();
    for (const auto& relation : details->largest) found.emplace_back(relation.path, relation.bytes);
    return found;
  };
  using List = std::vector<std::pair<std::string, uint64_t>>;
  EXPECT_EQ(largest(3), (List{{"base/5/16384", 205}, {"base/6/16384", 70}, {"base/5/16385", 60}}));
  EXPECT_EQ(largest(10),
            (List{{"base/5/16384", 205}, {"base/6/16384", 70}, {"base/5/16385", 60}, {"base/5/163841", 50}}));
  EXPECT_EQ(largest(0), List{});
}

TEST_F(CatalogueTest, show_of_an_attempt_says_why_there_is_no_backup) {
  BackupId id = back_up(BackupState::aborted);
  auto details = describe_backup(tiny_.repository, "main", id.text, 0);
  ASSERT_FALSE(details);
  EXPECT_EQ(details.error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace lifeboat::ops
