// What is found, what is proposed, and when nothing is done (SH1).
#include "ready/heal/heal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lifeboat::ready {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Timestamp kNow = Timestamp::from_seconds(1'800'000'000);
constexpr int64_t kMinuteUs = 60'000'000;

class HealTest : public ::testing::Test {
 protected:
  void SetUp() override {
    facts_.cluster = "main";
    facts_.now = facts_.doctor.now = kNow;
    facts_.doctor.server.emplace();
    facts_.doctor.server->system_id = {7};
    facts_.doctor.server->major = 15;
    facts_.doctor.server->current_timeline = {1};
    facts_.doctor.server->settings["archive_mode"] = "on";
    facts_.doctor.data.emplace();
    facts_.doctor.data->path = "/srv/data";
    facts_.doctor.archive_command.ours = true;
    facts_.doctor.archive_command.repo = "file:///srv/backup";
    facts_.doctor.repository.url = "file:///srv/backup";
    facts_.doctor.repository.marker.emplace();
    repo::LineageRecord record;
    record.lineage = {{7}, 15};
    facts_.doctor.repository.lineages.push_back(record);
    repo::Card card;
    card.started = card.stopped = kNow.plus_us(-60 * kMinuteUs);
    card.id = BackupId::make(card.started, 1);
    card.state = repo::BackupState::complete;
    facts_.doctor.repository.backups.push_back(card);
    ops::ContinuityFacts continuity;
    continuity.timeline = {1};
    continuity.newest = SegmentName{{1}, 0, 2};
    facts_.doctor.repository.continuity = continuity;
    facts_.server.primary = Asked<PrimaryReplication>(Result(PrimaryReplication()));
    facts_.server.waiting = Asked<WaitingWal>(Result(WaitingWal()));
    facts_.server.bloat = Asked<Bloat>(Result(Bloat()));
    facts_.server.connections = Asked<ConnectionUse>(Result(ConnectionUse{10, 97, 3}));
    facts_.server.ages = Asked<Ages>(Result(Ages{{{"postgres", 1000, 5}}, 200'000'000, 400'000'000}));
    facts_.file_systems.push_back({{"/srv/data", 1, 60, 100}, {"data directory"}});
    ops::Finding mode;
    mode.id = "archive_mode";
    mode.found = "on";
    facts_.findings.push_back(mode);
    policy_.allowed = {HealAction::spool,    HealAction::archiver, HealAction::rotate, HealAction::slot,
                       HealAction::receiver, HealAction::backup,   HealAction::standby};
    policy_.rotate_to = "file:///srv/second";
  }

  std::vector<HealFinding> judge() {
    SignalSettings settings;
    settings.owner = "dba";
    report_ = evaluate(facts_, settings);
    return judge_heal({facts_, report_, probe_}, policy_, trail_);
  }
  std::vector<std::string> ids() {
    std::vector<std::string> ids;
    for (const HealFinding& finding : judge()) ids.push_back(finding.id);
    return ids;
  }
  HealFinding find(std::string_view id) {
    for (HealFinding& finding : judge())
      if (finding.id == id) return finding;
    ADD_FAILURE() << id << " was not found";
    return {};
  }
  void waits(int64_t files, double seconds) {
    WaitingWal waiting;
    waiting.files = files;
    waiting.oldest_seconds = seconds;
    facts_.server.waiting = Asked<WaitingWal>(Result(waiting));
  }
  void command_runs(double seconds, bool ours) {
    probe_.archiver_commands = {{4711, 99, seconds, "lifeboat wal push pg_wal/1", ours}};
  }
  void push_fails(std::string kind, int64_t minutes) {
    ops::PushFailure failure;
    failure.first = kNow.plus_us(-minutes * kMinuteUs);
    failure.last = kNow;
    failure.count = 9;
    failure.kind = std::move(kind);
    failure.text = "/srv/backup: create: no";
    facts_.doctor.push_failure = failure;
    waits(3, static_cast<double>(minutes) * 60);
  }
  void gap() { facts_.doctor.repository.continuity->missing = SegmentName{{1}, 0, 1}; }
  void is_standby(ops::StandbyState state) {
    facts_.doctor.server->in_recovery = true;
    facts_.server.primary = {};
    facts_.server.standby = Asked<StandbyReplication>(Result(StandbyReplication{false, 900.0, 0}));
    probe_.standby.emplace();
    probe_.standby->state = state;
    probe_.standby->why = "needs WAL";
  }
  void tried(std::string action, int64_t minutes_ago, ops::HealOutcome outcome = ops::HealOutcome::done) {
    ops::HealRecord record;
    record.action = std::move(action);
    record.began = kNow.plus_us(-minutes_ago * kMinuteUs);
    record.outcome = outcome;
    trail_.push_back(record);
  }

  SignalFacts facts_;
  SignalReport report_;
  HealProbe probe_;
  HealPolicy policy_;
  std::vector<ops::HealRecord> trail_;
};

TEST_F(HealTest, a_cluster_that_is_well_has_nothing_to_heal) {
  EXPECT_THAT(ids(), IsEmpty());
}

TEST_F(HealTest, names_of_actions_are_read_as_they_are_written) {
  for (const HealActionInfo& one : heal_actions()) {
    EXPECT_EQ(parse_heal_action(one.name), one.action);
    EXPECT_EQ(to_string(one.action), one.name);
  }
  EXPECT_EQ(parse_heal_action("none"), std::nullopt);
  EXPECT_EQ(parse_heal_action("delete_wal"), std::nullopt);
}

// --- archiver and daemon

TEST_F(HealTest, a_push_that_hangs_is_ended) {
  waits(9, 360);
  command_runs(361, true);
  const HealFinding finding = find("archiver_stuck");
  EXPECT_EQ(finding.action, HealAction::archiver);
  EXPECT_EQ(finding.state, HealState::ready);
  EXPECT_EQ(finding.object, "process 4711");
  EXPECT_THAT(finding.cites, testing::Contains(HasSubstr("signal wal_archive_lag")));
}

TEST_F(HealTest, a_push_that_works_is_left_alone) {
  waits(1, 200);
  command_runs(200, true);
  for (const std::string& id : ids()) EXPECT_NE(id, "archiver_stuck");
  waits(0, 0);
  command_runs(1000, true);
  EXPECT_THAT(ids(), IsEmpty()) << "nothing waits";
}

TEST_F(HealTest, a_command_that_is_not_ours_is_for_a_person) {
  waits(9, 900);
  command_runs(900, false);
  const HealFinding finding = find("archiver_stuck");
  EXPECT_EQ(finding.action, HealAction::none);
  EXPECT_EQ(finding.state, HealState::manual);
}

TEST_F(HealTest, a_daemon_that_does_not_answer_is_ended_only_when_it_is_ours) {
  waits(2, 10);
  probe_.daemon.state = DaemonState::silent;
  probe_.daemon.socket = "/run/s";
  EXPECT_EQ(find("daemon_stuck").state, HealState::manual);
  probe_.daemon.process = ops::ProcessFacts{12, 1, 500, "other serve", false};
  EXPECT_EQ(find("daemon_stuck").state, HealState::manual);
  probe_.daemon.process->ours = true;
  const HealFinding finding = find("daemon_stuck");
  EXPECT_EQ(finding.state, HealState::ready);
  EXPECT_EQ(finding.rank, Rank::critical);
  EXPECT_EQ(finding.object, "process 12");
}

TEST_F(HealTest, an_archiver_that_fails_for_another_reason_gets_the_doctors_advice) {
  waits(9, 900);
  ops::Finding archiver;
  archiver.id = "archiver";
  archiver.severity = ops::Severity::critical;
  archiver.found = "WAL segment X was not archived";
  archiver.cause = "the program is not there";
  archiver.fix = {"put it there"};
  facts_.findings.push_back(archiver);
  const HealFinding finding = find("archiver_fails");
  EXPECT_EQ(finding.state, HealState::manual);
  EXPECT_THAT(finding.found, HasSubstr("the program is not there"));
  EXPECT_EQ(finding.proposal, "put it there");
}

TEST_F(HealTest, a_command_that_is_not_known_to_store_anything_is_told_before_wal_is_lost) {
  ops::Finding command;
  command.id = "archive_command";
  command.severity = ops::Severity::critical;
  command.found = "/bin/true";
  command.cause = "is not lifeboat's";
  command.fix = {"ALTER SYSTEM SET archive_command = 'x';"};
  facts_.findings.push_back(command);
  const HealFinding finding = find("archiving_off");
  EXPECT_EQ(finding.state, HealState::manual);
  EXPECT_EQ(finding.object, "archive_command");
  EXPECT_THAT(finding.found, HasSubstr("/bin/true"));
  EXPECT_THAT(finding.proposal, HasSubstr("ALTER SYSTEM SET archive_command"));
}

TEST_F(HealTest, a_server_that_does_not_answer_is_told) {
  facts_.doctor.server.reset();
  facts_.doctor.conninfo = "host=db1";
  facts_.doctor.server_problem = make_error(ErrorKind::unavailable, "host db1", "cannot connect");
  const HealFinding finding = find("server_down");
  EXPECT_EQ(finding.rank, Rank::critical);
  EXPECT_EQ(finding.state, HealState::manual);
  EXPECT_THAT(finding.found, HasSubstr("host db1"));
}

// --- the repository

TEST_F(HealTest, a_repository_that_refuses_is_rotated_after_a_while) {
  for (const char* kind : {"permission", "space", "unavailable", "timeout"}) {
    push_fails(kind, 6);
    const HealFinding finding = find("repository_refuses");
    EXPECT_EQ(finding.action, HealAction::rotate) << kind;
    EXPECT_EQ(finding.state, HealState::ready) << kind;
    push_fails(kind, 4);
    for (const std::string& id : ids()) EXPECT_NE(id, "repository_refuses") << kind;
  }
}

TEST_F(HealTest, what_another_repository_would_not_mend_is_not_rotated) {
  for (const char* kind : {"conflict", "foreign", "precondition", "usage", "wrong_key"}) {
    push_fails(kind, 60);
    for (const std::string& id : ids()) EXPECT_NE(id, "repository_refuses") << kind;
  }
}

TEST_F(HealTest, without_another_repository_or_with_other_archiving_a_person_rotates) {
  push_fails("space", 10);
  policy_.rotate_to = "";
  EXPECT_THAT(find("repository_refuses").proposal, HasSubstr("rotate-to"));
  policy_.rotate_to = "file:///srv/backup";
  EXPECT_EQ(find("repository_refuses").state, HealState::manual);
  policy_.rotate_to = "file:///srv/second";
  facts_.doctor.patroni = true;
  EXPECT_THAT(find("repository_refuses").proposal, HasSubstr("Patroni"));
  facts_.doctor.patroni = false;
  facts_.doctor.server->settings["archive_library"] = "lifeboat_archive";
  EXPECT_EQ(find("repository_refuses").state, HealState::manual);
  facts_.doctor.server->settings["archive_library"] = "";
  facts_.doctor.archive_command.ours = false;
  EXPECT_EQ(find("repository_refuses").state, HealState::manual);
}

TEST_F(HealTest, once_rotated_it_is_told_and_not_done_again) {
  push_fails("space", 10);
  facts_.doctor.archive_command.repo = "file:///srv/second";
  gap();
  const HealFinding finding = find("repository_rotated");
  EXPECT_EQ(finding.state, HealState::manual);
  for (const std::string& id : ids()) EXPECT_NE(id, "repository_refuses");
  EXPECT_EQ(find("wal_gap").state, HealState::manual) << "no backup into a repository that is broken";
}

TEST_F(HealTest, a_rotation_whose_backup_failed_is_taken_up_again) {
  policy_.most_per_day = 9;
  facts_.doctor.archive_command.repo = "file:///srv/second";
  tried("rotate", 40, ops::HealOutcome::failed);
  HealFinding finding = find("repository_rotated");
  EXPECT_EQ(finding.action, HealAction::rotate);
  EXPECT_EQ(finding.state, HealState::ready);
  EXPECT_THAT(finding.proposal, HasSubstr("backup into file:///srv/second"));
  tried("rotate", 35, ops::HealOutcome::begun);  // cut off
  EXPECT_EQ(find("repository_rotated").state, HealState::ready);
  tried("rotate", 5, ops::HealOutcome::failed);
  EXPECT_EQ(find("repository_rotated").state, HealState::cooling_down);
  tried("rotate", 1);
  EXPECT_EQ(find("repository_rotated").action, HealAction::none) << "it is complete";
}

// --- slots and the receiver

TEST_F(HealTest, a_slot_that_is_missing_or_lost_is_made_again) {
  EXPECT_THAT(ids(), IsEmpty()) << "nobody wants one";
  probe_.wanted_slot = WantedSlot{"lifeboat_main", "serve"};
  EXPECT_EQ(find("slot_missing").state, HealState::ready);
  pg::SlotFacts slot;
  slot.name = "lifeboat_main";
  slot.wal_status = "lost";
  facts_.doctor.server->slots = {slot};
  EXPECT_EQ(find("slot_lost").action, HealAction::slot);
  facts_.doctor.server->slots[0].wal_status = "reserved";
  EXPECT_THAT(ids(), IsEmpty());
}

TEST_F(HealTest, what_could_not_be_read_is_not_acted_upon) {
  probe_.wanted_slot = WantedSlot{"lifeboat_main", "serve"};
  facts_.doctor.server->refused.push_back({"slots", "no", "grant"});
  EXPECT_THAT(ids(), IsEmpty());
  facts_.doctor.server->refused.clear();
  facts_.doctor.server->in_recovery = true;
  facts_.server.standby = Asked<StandbyReplication>(Result(StandbyReplication{true, 0.0, 0}));
  EXPECT_THAT(ids(), IsEmpty()) << "slots of a standby are its own";
  facts_.doctor.server.reset();
  for (const HealFinding& finding : judge()) EXPECT_NE(finding.state, HealState::ready) << finding.id;
}

TEST_F(HealTest, a_receiver_that_hangs_is_restarted_and_one_that_fails_is_not) {
  probe_.wanted_slot = WantedSlot{"lifeboat_main", "serve"};
  pg::SlotFacts slot;
  slot.name = "lifeboat_main";
  slot.wal_status = "reserved";
  facts_.doctor.server->slots = {slot};
  probe_.daemon.state = DaemonState::answers;
  probe_.daemon.receiver = "running";
  probe_.daemon.receiver_seconds = 600;
  EXPECT_THAT(ids(), IsEmpty()) << "it runs for long, and may come back";
  probe_.slot_idle_seconds = 61;
  EXPECT_EQ(find("receiver_stuck").action, HealAction::receiver);
  probe_.daemon.receiver = "waiting";
  probe_.daemon.receiver_error = "exit code 6";
  EXPECT_EQ(find("receiver_stuck").state, HealState::manual);
  probe_.daemon.receiver_seconds = 10;
  EXPECT_THAT(ids(), IsEmpty());
  probe_.daemon.receiver_seconds = 600;
  facts_.doctor.server->slots[0].active = true;
  EXPECT_THAT(ids(), IsEmpty());
}

// --- gaps

TEST_F(HealTest, a_gap_is_closed_from_pg_wal_or_left_behind_by_a_backup) {
  gap();
  EXPECT_EQ(find("wal_gap").action, HealAction::backup);
  EXPECT_THAT(find("wal_gap").proposal, HasSubstr("take a new backup"));
  probe_.gap_in_pg_wal = true;
  EXPECT_THAT(find("wal_gap").proposal, HasSubstr("from pg_wal"));
}

TEST_F(HealTest, split_brain_is_for_a_person) {
  facts_.doctor.repository.continuity->conflict = SegmentName{{1}, 0, 1};
  EXPECT_EQ(find("wal_gap").state, HealState::manual);
}

TEST_F(HealTest, no_backup_into_a_repository_that_refuses) {
  gap();
  push_fails("space", 10);
  EXPECT_EQ(find("wal_gap").state, HealState::manual);
}

// --- standbys

TEST_F(HealTest, a_standby_beyond_repair_is_made_anew) {
  is_standby(ops::StandbyState::beyond_repair);
  const HealFinding finding = find("standby_beyond_repair");
  EXPECT_EQ(finding.state, HealState::ready);
  EXPECT_EQ(finding.object, "/srv/data");
}

TEST_F(HealTest, in_a_service_of_ours_no_server_is_started) {
  is_standby(ops::StandbyState::beyond_repair);
  probe_.service = "lifeboat-main-heal.service";
  EXPECT_EQ(find("standby_beyond_repair").state, HealState::manual);
  EXPECT_THAT(find("standby_beyond_repair").proposal, HasSubstr("from cron"));
}

TEST_F(HealTest, a_standby_that_may_come_back_is_left_alone) {
  for (ops::StandbyState state : {ops::StandbyState::unclear, ops::StandbyState::catching_up}) {
    is_standby(state);
    EXPECT_EQ(find("standby_not_streaming").state, HealState::manual);
  }
}

TEST_F(HealTest, no_standby_is_made_from_a_backup_before_a_gap) {
  is_standby(ops::StandbyState::beyond_repair);
  gap();
  EXPECT_EQ(find("standby_beyond_repair").state, HealState::manual);
  EXPECT_EQ(find("wal_gap").state, HealState::manual) << "the primary's host has pg_wal";
}

TEST_F(HealTest, patronis_standby_is_patronis) {
  is_standby(ops::StandbyState::beyond_repair);
  facts_.doctor.patroni = true;
  EXPECT_EQ(find("standby_beyond_repair").state, HealState::manual);
}

TEST_F(HealTest, lag_of_a_standby_is_told_by_its_primary) {
  PrimaryReplication primary;
  primary.streaming.push_back({"db2 at 10.0.0.2", "streaming", 30.0, 1});
  facts_.server.primary = Asked<PrimaryReplication>(Result(primary));
  EXPECT_EQ(find("replication_lag").state, HealState::manual);
}

// --- disks and damage

TEST_F(HealTest, the_spool_is_freed_where_its_disk_is_full) {
  probe_.spools = {{"/spool", ops::DiskFacts{"/spool", 3, 5, 100}, {{"/spool/x", 1000}}}};
  EXPECT_EQ(find("spool_full").action, HealAction::spool);
  EXPECT_EQ(find("spool_full").rank, Rank::critical);
  probe_.spools[0].disk->free_bytes = 90;
  EXPECT_THAT(ids(), IsEmpty());
  probe_.spools[0].disk->free_bytes = 5;
  probe_.spools[0].abandoned.clear();
  EXPECT_THAT(ids(), IsEmpty()) << "what living fetchers have is theirs";
}

TEST_F(HealTest, nothing_deletes_wal_where_the_disk_of_pg_wal_is_full) {
  facts_.file_systems[0].disk.free_bytes = 1;
  const HealFinding finding = find("storage_used");
  EXPECT_EQ(finding.action, HealAction::none);
  EXPECT_THAT(finding.proposal, HasSubstr("never delete from pg_wal"));
}

TEST_F(HealTest, damage_is_never_repaired_by_itself) {
  facts_.doctor.server->data_checksums = true;
  facts_.server.checksums =
      Asked<std::vector<ChecksumFailures>>(Result(std::vector<ChecksumFailures>{{"shop", 2, kNow}}));
  HealFinding finding = find("corruption");
  EXPECT_EQ(finding.state, HealState::manual);
  EXPECT_THAT(finding.found, HasSubstr("shop"));
  EXPECT_THAT(finding.proposal, testing::ContainsRegex("heal blocks --repo .* --pgdata /srv/data"));
  EXPECT_THAT(finding.proposal, HasSubstr("pg_stat_reset()"));
  facts_.server.checksums = Asked<std::vector<ChecksumFailures>>(Result(std::vector<ChecksumFailures>{}));
  facts_.doctor.repository.backups.back().state = repo::BackupState::damaged;
  finding = find("corruption");
  EXPECT_EQ(finding.state, HealState::manual);
}

TEST_F(HealTest, a_verify_that_failed_is_told_with_its_evidence) {
  ops::BackupProof proof;
  proof.passed = false;
  proof.evidence = "20260101T000000Z-aaaaaa";
  proof.problems = {"pack 3 is damaged"};
  facts_.doctor.repository.proofs.backups[facts_.doctor.repository.backups[0].id].verified = proof;
  const HealFinding finding = find("backup_damaged");
  EXPECT_EQ(finding.state, HealState::manual);
  EXPECT_THAT(finding.cites, ElementsAre("evidence 20260101T000000Z-aaaaaa"));
}

// --- the list, the cool-down, the limit

TEST_F(HealTest, nothing_is_done_that_is_not_on_the_list) {
  gap();
  for (const HealActionInfo& one : heal_actions()) {
    policy_.allowed = {one.action};
    const HealFinding finding = find("wal_gap");
    EXPECT_EQ(finding.state, one.action == HealAction::backup ? HealState::ready : HealState::not_allowed)
        << one.name;
  }
  policy_.allowed.clear();
  EXPECT_EQ(next_to_do(judge(), {}), nullptr);
}

TEST_F(HealTest, an_action_cools_down) {
  gap();
  tried("backup", 29);
  HealFinding finding = find("wal_gap");
  EXPECT_EQ(finding.state, HealState::cooling_down);
  EXPECT_EQ(finding.not_before, kNow.plus_us(kMinuteUs));
  EXPECT_EQ(finding.attempts, 1u);
  trail_.clear();
  tried("backup", 30);
  EXPECT_EQ(find("wal_gap").state, HealState::ready);
  policy_.cooldown_us = 31 * kMinuteUs;
  EXPECT_EQ(find("wal_gap").state, HealState::cooling_down);
}

TEST_F(HealTest, the_next_hole_that_pg_wal_can_close_does_not_wait_for_the_last) {
  gap();
  probe_.gap_in_pg_wal = true;
  tried("backup", 1);
  trail_.back().object = "000000010000000000000009";
  EXPECT_EQ(find("wal_gap").state, HealState::ready);
  EXPECT_EQ(find("wal_gap").attempts, 0u);
  trail_.back().object = find("wal_gap").object;
  EXPECT_EQ(find("wal_gap").state, HealState::cooling_down);
  trail_.back().object = "000000010000000000000009";
  probe_.gap_in_pg_wal = false;
  EXPECT_EQ(find("wal_gap").state, HealState::cooling_down) << "a backup is no small thing";
}

TEST_F(HealTest, a_repository_that_cannot_be_read_is_told_though_nothing_waits) {
  facts_.doctor.repository.problem = make_error(ErrorKind::damaged, "marker", "does not match");
  const HealFinding finding = find("repository_down");
  EXPECT_EQ(finding.rank, Rank::critical);
  EXPECT_EQ(finding.state, HealState::manual);
  EXPECT_THAT(finding.found, HasSubstr("does not match"));
}

TEST_F(HealTest, other_actions_do_not_wait_for_it) {
  gap();
  tried("archiver", 1);
  EXPECT_EQ(find("wal_gap").state, HealState::ready);
}

TEST_F(HealTest, an_attempt_that_was_cut_off_counts) {
  gap();
  tried("backup", 1, ops::HealOutcome::begun);
  EXPECT_EQ(find("wal_gap").state, HealState::cooling_down);
}

TEST_F(HealTest, after_so_many_attempts_within_a_day_it_stops_and_tells) {
  gap();
  tried("backup", 1400);
  tried("backup", 700);
  tried("backup", 100);
  HealFinding finding = find("wal_gap");
  EXPECT_EQ(finding.state, HealState::exhausted);
  EXPECT_EQ(finding.not_before, kNow.plus_us(40 * kMinuteUs));
  EXPECT_EQ(heal_verdict({finding}, {}), HealVerdict::failed);
  trail_[0].began = kNow.plus_us(-1441 * kMinuteUs);
  EXPECT_EQ(find("wal_gap").state, HealState::ready) << "a day later";
  policy_.most_per_day = 2;
  EXPECT_EQ(find("wal_gap").state, HealState::exhausted);
}

TEST_F(HealTest, a_clock_that_was_set_back_does_not_undo_the_cool_down) {
  gap();
  tried("backup", -500);
  EXPECT_EQ(find("wal_gap").state, HealState::cooling_down);
}

TEST_F(HealTest, one_after_the_other_in_their_order_and_each_once) {
  gap();
  waits(9, 900);
  command_runs(900, true);
  const std::vector<HealFinding> findings = judge();
  const HealFinding* first = next_to_do(findings, {});
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->id, "archiver_stuck");
  const HealFinding* second = next_to_do(findings, {"archiver_stuck"});
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->id, "wal_gap");
  EXPECT_EQ(next_to_do(findings, {"archiver_stuck", "wal_gap"}), nullptr);
}

TEST_F(HealTest, a_run_is_well_only_when_nothing_is_left) {
  EXPECT_EQ(heal_verdict({}, {}), HealVerdict::well);
  gap();
  EXPECT_EQ(heal_verdict(judge(), {}), HealVerdict::left);
  ops::HealRecord record;
  record.outcome = ops::HealOutcome::done;
  EXPECT_EQ(heal_verdict({}, {record}), HealVerdict::well);
  record.outcome = ops::HealOutcome::failed;
  EXPECT_EQ(heal_verdict({}, {record}), HealVerdict::failed);
}

}  // namespace
}  // namespace lifeboat::ready
