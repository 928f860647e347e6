#include "ops/verify/verify.h"

#include <gtest/gtest.h>

#include "repo/evidence.h"
#include "tests/support/repo_fixture.h"
#include "tests/support/wal_fixture.h"
#include "util/files.h"

namespace lifeboat::ops {
namespace {

using repo::tiny_content;
using repo::TinyFiles;
using testing::kSegment;
using testing::Wal;

// A repository on disk with a backup whose WAL is real, so that bits of it can be flipped.
class VerifyOpsTest : public testing::WalFixture {
 protected:
  void SetUp() override {
    auto directory = TempDir::make("verify");
    ASSERT_TRUE(directory);
    directory_.emplace(std::move(*directory));
    make_repository("file://" + (*directory_ / "repo"), storage::StoreMode::create_missing);
    for (int segment = 1; segment <= 4; ++segment) {
      wal_.commit(static_cast<uint32_t>(700 + segment), testing::at(segment));
      wal_.end_segment();
    }
    store_segments(1, 1, 4, wal_);
    first_ = back_up(1, {kSegment + 100}, {2 * kSegment + 50});
    second_ = back_up(2, {3 * kSegment + 10}, {3 * kSegment + 60});
  }
  const repo::Repository& repository() const { return lineage().repo.repository(); }
  BackupId back_up(uint32_t seed, Lsn start, Lsn stop,
                   repo::BackupState state = repo::BackupState::complete) {
    BackupId id = BackupId::make(testing::at(10 + seed), seed);
    auto root =
        repo::store_tiny_tree(lineage().repo, id, {{"a", tiny_content(seed, 900)}, {"b", Bytes()}}, nullptr);
    CHECK(root.has_value());
    repo::Manifest manifest = repo::tiny_manifest(id, *root, testing::at(10 + seed), testing::at(11 + seed),
                                                  {{1}, start, stop}, state);
    manifest.segment_size = {kSegment};
    CHECK(repo::write_manifest(lineage().repo, manifest).has_value());
    CHECK(repo::write_card(lineage().repo, manifest.card).has_value());
    return id;
  }
  VerifySummary run(VerifyRequest request = {}) {
    request.now = testing::at(1000 + ++runs_);
    auto summary = verify(repository(), request);
    EXPECT_TRUE(summary) << summary.error().to_string();
    return summary ? std::move(*summary) : VerifySummary();
  }
  static const VerifiedBackup& of(const VerifySummary& summary, const BackupId& id) {
    for (const VerifiedBackup& backup : summary.backups) {
      if (backup.id == id) return backup;
    }
    ADD_FAILURE() << "no verdict on " << id.text;
    static const VerifiedBackup kNone;
    return kNone;
  }
  std::string path_of(std::string_view part, std::string_view ending = "") {
    std::string found;
    EXPECT_TRUE(lineage().repo.store().list("", [&](const storage::ObjectInfo& object) -> Status {
      if (object.name.find(part) != std::string::npos && object.name.ends_with(ending)) found = object.name;
      return {};
    }));
    EXPECT_FALSE(found.empty()) << part;
    return *directory_ / ("repo/" + found);
  }
  void flip(const std::string& path) {
    auto bytes = read_file(path, 64 << 20);
    ASSERT_TRUE(bytes);
    (*bytes)[bytes->size() / 2] ^= 4;
    ASSERT_TRUE(remove_file(path));
    ASSERT_TRUE(write_file_durable(path, *bytes, 0600));
  }
  BackupProofs proofs(const BackupId& id) {
    auto all = read_proofs(lineage().repo);
    EXPECT_TRUE(all);
    const BackupProofs* known = all->of(id);
    return known == nullptr ? BackupProofs() : *known;
  }

  std::optional<TempDir> directory_;
  Wal wal_;
  BackupId first_;
  BackupId second_;
  int runs_ = 0;
};

TEST_F(VerifyOpsTest, a_whole_repository_passes_and_the_verdict_is_kept) {
  EXPECT_FALSE(proofs(first_).good());
  VerifySummary summary = run();
  EXPECT_TRUE(summary.ok());
  EXPECT_EQ(summary.backups.size(), 2u);
  EXPECT_EQ(of(summary, first_).level, ProofLevel::wal);
  ASSERT_EQ(summary.windows.size(), 1u);
  EXPECT_EQ(summary.windows[0].from, second_);
  EXPECT_EQ(summary.windows[0].end, Lsn{5 * kSegment});
  EXPECT_EQ(summary.evidence.size(), 1u);
  EXPECT_TRUE(proofs(first_).good());
  EXPECT_TRUE(proofs(second_).good());
  // Evidence and leases of this run do not disturb the next.
  EXPECT_TRUE(run().ok());
}

TEST_F(VerifyOpsTest, damage_in_one_backup_is_that_backups_and_takes_an_earlier_verdict_back) {
  EXPECT_TRUE(run().ok());
  flip(path_of(first_.text + "/000001.data"));
  VerifySummary summary = run();
  EXPECT_FALSE(summary.ok());
  EXPECT_FALSE(of(summary, first_).passed);
  EXPECT_FALSE(of(summary, first_).problems.empty());
  EXPECT_TRUE(of(summary, second_).passed);
  EXPECT_FALSE(proofs(first_).good());
  EXPECT_TRUE(proofs(second_).good());
}

TEST_F(VerifyOpsTest, wal_that_a_backup_needs_and_that_is_gone_fails_that_backup) {
  ASSERT_TRUE(remove_file(path_of("000000010000000000000002-")));
  VerifySummary summary = run();
  EXPECT_FALSE(summary.ok());
  EXPECT_FALSE(of(summary, first_).passed);
  EXPECT_NE(of(summary, first_).problems[0].find("000000010000000000000002"), std::string::npos);
  EXPECT_TRUE(of(summary, second_).passed);
  // Hashed does not look at WAL's continuity.
  VerifyRequest hashed;
  hashed.level = ProofLevel::hashed;
  EXPECT_TRUE(run(hashed).ok());
  EXPECT_FALSE(proofs(first_).good());
}

TEST_F(VerifyOpsTest, a_hole_behind_the_newest_backup_breaks_the_window) {
  store_segment(1, 4, wal_);
  Wal more = wal_;
  more.commit(900, testing::at(9));
  more.end_segment();
  more.commit(901, testing::at(10));
  more.end_segment();
  store_segment(1, 6, more);
  VerifySummary summary = run();
  EXPECT_FALSE(summary.ok());
  ASSERT_EQ(summary.windows.size(), 1u);
  ASSERT_FALSE(summary.windows[0].problems.empty());
  EXPECT_NE(summary.windows[0].problems[0].find("000000010000000000000005"), std::string::npos);
  EXPECT_TRUE(of(summary, second_).passed) << "the backup itself is whole";
}

TEST_F(VerifyOpsTest, a_segment_of_another_history_breaks_the_chain_of_records) {
  Wal other({3 * kSegment});
  other.commit(5, testing::at(1));
  other.commit(6, testing::at(2));
  other.end_segment();
  ASSERT_TRUE(remove_file(path_of("000000010000000000000003-")));
  store_segment(1, 3, other);
  VerifySummary summary = run();
  EXPECT_TRUE(summary.report.ok()) << "every byte is what it was stored as";
  EXPECT_FALSE(summary.ok());
}

TEST_F(VerifyOpsTest, two_contents_of_one_segment_fail) {  // T46
  store_conflict(1, 2, wal_);
  VerifySummary summary = run();
  EXPECT_FALSE(summary.ok());
  EXPECT_FALSE(of(summary, first_).passed);
}

TEST_F(VerifyOpsTest, flipped_wal_fails_the_backup_that_needs_it) {
  flip(path_of("000000010000000000000001-"));
  VerifySummary summary = run();
  EXPECT_FALSE(summary.ok());
  EXPECT_FALSE(of(summary, first_).passed);
  EXPECT_TRUE(of(summary, second_).passed);
}

TEST_F(VerifyOpsTest, a_backup_with_broken_pages_is_never_verified) {
  BackupId broken = back_up(3, {3 * kSegment + 100}, {3 * kSegment + 200}, repo::BackupState::damaged);
  VerifySummary summary = run();
  EXPECT_TRUE(of(summary, broken).passed) << "its bytes are whole";
  EXPECT_TRUE(of(summary, broken).marked_damaged);
  EXPECT_FALSE(proofs(broken).good());
}

TEST_F(VerifyOpsTest, one_backup_alone_is_read_and_others_damage_does_not_matter) {
  flip(path_of(first_.text + "/000001.data"));
  VerifyRequest request;
  request.backup = "latest";
  request.workers = 2;
  VerifySummary summary = run(request);
  EXPECT_TRUE(summary.ok());
  ASSERT_EQ(summary.backups.size(), 1u);
  EXPECT_EQ(summary.backups[0].id, second_);
  EXPECT_GT(summary.report.totals.bytes, 900u);
  EXPECT_TRUE(proofs(second_).good());

  request.backup = first_.text;
  summary = run(request);
  EXPECT_FALSE(summary.ok());
  EXPECT_FALSE(summary.backups[0].problems.empty());
  EXPECT_FALSE(proofs(first_).good());
}

TEST_F(VerifyOpsTest, each_object_of_one_backup_is_noticed) {
  const std::pair<std::string, std::string> kObjects[] = {
      {"packs/", ".data"}, {"packs/", ".nodes"}, {"manifests/", ""}};
  for (const auto& [folder, ending] : kObjects) {
    SetUp();
    flip(path_of(folder + first_.text, ending));
    VerifyRequest request;
    request.backup = first_.text;
    EXPECT_FALSE(run(request).ok()) << folder << ending;
  }
}

TEST_F(VerifyOpsTest, presence_finds_what_is_gone_and_does_not_read_data) {
  VerifyRequest request;
  request.level = ProofLevel::present;
  flip(path_of(first_.text + "/000001.data"));
  VerifySummary summary = run(request);
  EXPECT_TRUE(summary.ok()) << "presence alone believes names and sizes";
  EXPECT_EQ(of(summary, first_).level, ProofLevel::present);
  EXPECT_FALSE(proofs(first_).good()) << "and therefore proves little";
  ASSERT_TRUE(remove_file(path_of(first_.text + "/000001.data")));
  summary = run(request);
  EXPECT_FALSE(of(summary, first_).passed);
  EXPECT_TRUE(of(summary, second_).passed);
}

TEST_F(VerifyOpsTest, an_unknown_cluster_or_backup_is_an_error_not_a_success) {
  VerifyRequest request;
  request.cluster = "shop";
  auto summary = verify(repository(), request);
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().kind, ErrorKind::not_found);
  request.cluster = "main";
  request.backup = "20200101T000000Z-000000";
  summary = verify(repository(), request);
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().kind, ErrorKind::not_found);
}

TEST_F(VerifyOpsTest, a_stop_request_ends_it_without_a_verdict) {
  StopToken stop;
  stop.request();
  VerifyRequest request;
  request.stop = &stop;
  auto summary = verify(repository(), request);
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().kind, ErrorKind::cancelled);
  EXPECT_FALSE(proofs(first_).good());
}

// --- gates (V2)

class GateTest : public VerifyOpsTest {
 protected:
  GateVerdict ask(Gate gate, GateLimits limits = {}, double seconds = 5000) {
    auto verdict = judge_gate(repository(), "main", gate, limits, testing::at(seconds));
    EXPECT_TRUE(verdict) << verdict.error().to_string();
    return verdict ? std::move(*verdict) : GateVerdict();
  }
  void drill(const BackupId& id, bool passed, double seconds, std::optional<double> rto,
             std::optional<double> rpo) {
    ProofRecord record;
    record.kind = "drill";
    record.time = testing::at(seconds);
    record.backups.push_back({id, passed ? ProofLevel::asserted : ProofLevel::none, passed, {}});
    record.rto_seconds = rto;
    record.rpo_seconds = rpo;
    ASSERT_TRUE(repo::write_evidence(lineage().repo, record.time, encode_proof(record)));
  }
};

TEST_F(GateTest, backup_verified_asks_for_the_newest_backup) {
  EXPECT_FALSE(ask(Gate::backup_verified).passed);
  EXPECT_TRUE(run().ok());
  EXPECT_TRUE(ask(Gate::backup_verified).passed);
  GateLimits strict;
  strict.max_age_seconds = 10;
  EXPECT_FALSE(ask(Gate::backup_verified, strict).passed);
  BackupId newer = back_up(5, {3 * kSegment + 100}, {3 * kSegment + 200});
  GateVerdict verdict = ask(Gate::backup_verified);
  EXPECT_FALSE(verdict.passed) << "an older verified one does not vouch for a newer";
  EXPECT_EQ(verdict.backup, newer);
}

TEST_F(GateTest, recovery_tested_asks_for_the_newest_drill) {
  EXPECT_TRUE(run().ok());
  EXPECT_FALSE(ask(Gate::recovery_tested).passed) << "verified is not rehearsed";
  drill(first_, true, 2000, 10, 0);
  EXPECT_TRUE(ask(Gate::recovery_tested).passed);
  GateLimits strict;
  strict.max_age_seconds = 60;
  EXPECT_FALSE(ask(Gate::recovery_tested, strict).passed);
  drill(second_, false, 3000, std::nullopt, std::nullopt);
  EXPECT_FALSE(ask(Gate::recovery_tested).passed) << "the newest drill failed";
}

TEST_F(GateTest, what_the_other_kind_of_check_found_closes_a_gate) {
  EXPECT_TRUE(run().ok());
  drill(second_, true, 2000, 10, 0);
  EXPECT_TRUE(ask(Gate::backup_verified).passed);
  EXPECT_TRUE(ask(Gate::recovery_tested).passed);
  flip(path_of(second_.text + "/000001.data"));
  VerifyRequest request;
  request.backup = second_.text;
  runs_ = 2000;
  EXPECT_FALSE(run(request).ok());
  EXPECT_FALSE(ask(Gate::recovery_tested).passed) << "what was recovered then is not whole now";
  EXPECT_NE(ask(Gate::recovery_tested).reason.find("failed its newest verification"), std::string::npos);
  drill(second_, true, 3500, 10, 0);
  EXPECT_FALSE(ask(Gate::backup_verified).passed) << "a drill need not touch what is damaged";
  EXPECT_FALSE(ask(Gate::recovery_tested).passed);
  flip(path_of(second_.text + "/000001.data"));
  runs_ = 3000;
  EXPECT_TRUE(run(request).ok());
  EXPECT_TRUE(ask(Gate::backup_verified).passed);
  EXPECT_TRUE(ask(Gate::recovery_tested).passed);
  drill(second_, false, 4500, std::nullopt, std::nullopt);
  runs_ = 4000;
  EXPECT_TRUE(run(request).ok());
  EXPECT_FALSE(ask(Gate::backup_verified).passed) << "whole, and yet its newest drill failed";
}

TEST_F(GateTest, a_latest_state_out_of_reach_closes_every_gate) {
  drill(second_, true, 500, 10, 0);
  EXPECT_TRUE(run().ok());
  EXPECT_TRUE(ask(Gate::backup_verified).passed);
  Wal more = wal_;
  for (int segment = 5; segment <= 6; ++segment) {
    more.commit(900, testing::at(segment));
    more.end_segment();
  }
  store_segment(1, 6, more);
  EXPECT_FALSE(run().ok());
  for (Gate gate : {Gate::backup_verified, Gate::recovery_tested}) {
    EXPECT_FALSE(ask(gate).passed) << to_string(gate);
    EXPECT_NE(ask(gate).reason.find("000000010000000000000005"), std::string::npos) << ask(gate).reason;
  }
  store_segment(1, 5, more);
  EXPECT_TRUE(run().ok());
  EXPECT_TRUE(ask(Gate::backup_verified).passed);
  EXPECT_TRUE(ask(Gate::recovery_tested).passed);
}

TEST_F(GateTest, rpo_rto_met_compares_what_was_measured) {
  EXPECT_FALSE(ask(Gate::rpo_rto_met).passed);
  drill(first_, true, 2000, 100, std::nullopt);
  EXPECT_FALSE(ask(Gate::rpo_rto_met).passed) << "what was not measured is not met";
  drill(first_, true, 2001, 100, 30);
  EXPECT_TRUE(ask(Gate::rpo_rto_met).passed);
  GateLimits limits;
  limits.rto_seconds = 99;
  EXPECT_FALSE(ask(Gate::rpo_rto_met, limits).passed);
  limits.rto_seconds = 100;
  limits.rpo_seconds = 29;
  EXPECT_FALSE(ask(Gate::rpo_rto_met, limits).passed);
}

TEST_F(GateTest, a_record_that_cannot_be_read_closes_every_gate) {
  EXPECT_TRUE(run().ok());
  ASSERT_TRUE(repo::write_evidence(lineage().repo, testing::at(4000), "not json"));
  EXPECT_FALSE(ask(Gate::backup_verified).passed);
}

}  // namespace
}  // namespace lifeboat::ops
