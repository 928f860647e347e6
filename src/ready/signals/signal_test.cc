#include "ready/signals/signal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "ready/signals/facts.h"
#include "ready/signals/history.h"
#include "ready/signals/report_json.h"

namespace lifeboat::ready {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kHour = 3600;
const Timestamp kNow = Timestamp::from_seconds(1'800'000'000);

repo::Card card(double hours_ago, repo::BackupState state = repo::BackupState::complete,
                uint64_t bytes = 1'000'000'000) {
  repo::Card made;
  made.started = kNow.plus_us(static_cast<int64_t>(-hours_ago * 3.6e9));
  made.stopped = made.started;
  made.id = BackupId::make(made.started, 1);
  made.state = state;
  made.reason = "because";
  made.totals.plain_bytes = bytes;
  return made;
}

// A cluster in which all is well.
SignalFacts well() {
  SignalFacts facts;
  facts.cluster = "main";
  facts.now = kNow;
  facts.doctor.now = kNow;
  facts.doctor.server.emplace();
  pg::ServerFacts& server = *facts.doctor.server;
  server.system_id = {7};
  server.major = 15;
  server.current_timeline = {1};
  server.current_lsn = {0x3000100};
  server.settings["archive_mode"] = "on";
  ops::RepositoryFacts& repository = facts.doctor.repository;
  repository.url = "file:///srv/backup";
  repository.marker.emplace();
  repo::LineageRecord record;
  record.lineage = {{7}, 15};
  repository.lineages.push_back(record);
  repository.backups.push_back(card(1));
  ops::ContinuityFacts continuity;
  continuity.timeline = {1};
  continuity.newest = SegmentName{{1}, 0, 2};
  repository.continuity = continuity;
  ops::BackupProof drilled;
  drilled.passed = true;
  drilled.time = kNow.plus_us(-3'600'000'000);
  repository.proofs.backups[repository.backups[0].id].drilled = drilled;
  facts.server.connections = Asked<ConnectionUse>(Result(ConnectionUse{10, 97, 3}));
  facts.server.ages = Asked<Ages>(Result(Ages{{{"postgres", 1000, 5}}, 200'000'000, 400'000'000}));
  facts.server.primary = Asked<PrimaryReplication>(Result(PrimaryReplication()));
  facts.server.waiting = Asked<WaitingWal>(Result(WaitingWal()));
  facts.server.bloat = Asked<Bloat>(Result(Bloat()));
  facts.server.checksums = Asked<std::vector<ChecksumFailures>>(Result(std::vector<ChecksumFailures>{}));
  facts.file_systems.push_back({{"/srv/data", 1, 60, 100}, {"data directory"}});
  ops::Finding mode;
  mode.id = "archive_mode";
  mode.found = "on";
  facts.findings.push_back(mode);
  return facts;
}

SignalSettings owned() {
  SignalSettings settings;
  settings.owner = "dba";
  return settings;
}

Reading read(const SignalFacts& facts, std::string_view id, SignalSettings settings = owned()) {
  for (Reading& reading : evaluate(facts, settings).readings)
    if (reading.signal->id == id) return reading;
  ADD_FAILURE() << id;
  return {};
}

TEST(registry, each_signal_is_complete) {
  std::set<std::string_view> ids;
  std::set<std::string_view> metrics;
  for (const SignalInfo& signal : signals()) {
    EXPECT_TRUE(ids.insert(signal.id).second) << signal.id;
    EXPECT_TRUE(metrics.insert(signal.metric).second) << signal.metric;
    EXPECT_TRUE(signal.metric.starts_with("lifeboat_")) << signal.id;
    EXPECT_FALSE(signal.what.empty() || signal.source.empty() || signal.action.empty()) << signal.id;
    EXPECT_TRUE(signal.thresholds.warning && signal.thresholds.critical) << signal.id;
    EXPECT_NE(signal.read, nullptr) << signal.id;
    EXPECT_EQ(find_signal(signal.id), &signal);
  }
}

TEST(registry, a_well_cluster_is_well) {
  for (const Reading& reading : evaluate(well(), owned()).readings)
    EXPECT_EQ(rank_of(reading.verdict), Rank::fine) << reading.signal->id << ": " << reading.found;
}

TEST(registry, a_signal_without_an_owner_is_named) {
  SignalSettings settings;
  EXPECT_EQ(settings.require_owners("main").error().kind, ErrorKind::config);
  for (const SignalInfo& signal : signals()) settings.overrides[std::string(signal.id)].owner = "someone";
  EXPECT_TRUE(settings.require_owners("main"));
  settings.overrides["wal_gaps"].owner.clear();
  EXPECT_THAT(settings.require_owners("main").error().to_string(), HasSubstr("wal_gaps"));
  settings.overrides["wal_gaps"].enabled = false;
  EXPECT_TRUE(settings.require_owners("main"));
}

TEST(judge, thresholds_are_met_at_their_value) {
  EXPECT_EQ(judge(9.9, {10, 20}, Worse::above), Verdict::ok);
  EXPECT_EQ(judge(10, {10, 20}, Worse::above), Verdict::warning);
  EXPECT_EQ(judge(20, {10, 20}, Worse::above), Verdict::critical);
  EXPECT_EQ(judge(2, {2, 1}, Worse::below), Verdict::ok);
  EXPECT_EQ(judge(1, {2, 1}, Worse::below), Verdict::warning);
  EXPECT_EQ(judge(0, {2, 1}, Worse::below), Verdict::critical);
  EXPECT_EQ(judge(1e9, {}, Worse::above), Verdict::ok);
}

TEST(server, that_does_not_answer_is_critical_and_one_that_refuses_is_unknown) {
  SignalFacts facts = well();
  EXPECT_EQ(read(facts, "server_down").value, 0);
  facts.doctor.server.reset();
  facts.doctor.server_problem = make_error(ErrorKind::unavailable, "host db1", "cannot connect");
  EXPECT_EQ(read(facts, "server_down").verdict, Verdict::unknown) << "nobody said which server";
  facts.doctor.conninfo = "host=db1";
  EXPECT_EQ(read(facts, "server_down").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "server_down").found, HasSubstr("host db1"));
  facts.doctor.server_problem->kind = ErrorKind::permission;
  EXPECT_EQ(read(facts, "server_down").verdict, Verdict::unknown);
  facts.doctor.server_problem = make_error(ErrorKind::unavailable, "", "cannot connect")
                                    .with_cause("FATAL: sorry, too many clients already");
  EXPECT_EQ(read(facts, "server_down").verdict, Verdict::ok);
}

TEST(backups, age_is_of_the_newest_complete_one) {
  SignalFacts facts = well();
  facts.doctor.repository.backups = {card(30), card(2, repo::BackupState::damaged)};
  EXPECT_EQ(read(facts, "backup_age").verdict, Verdict::warning);
  EXPECT_NEAR(*read(facts, "backup_age").value, 30 * kHour, 1);
  EXPECT_THAT(read(facts, "backup_age").found, HasSubstr("no backup is verified"));
  facts.doctor.repository.backups = {card(2, repo::BackupState::damaged)};
  EXPECT_EQ(read(facts, "backup_age").verdict, Verdict::critical);
}

TEST(backups, failures_count_since_the_newest_complete_one) {
  SignalFacts facts = well();
  facts.doctor.repository.attempts = {card(5, repo::BackupState::aborted),
                                      card(0.5, repo::BackupState::aborted)};
  EXPECT_EQ(*read(facts, "backup_failures").value, 1);
  EXPECT_NEAR(*read(facts, "backup_success_rate").value, 1.0 / 3, 1e-9);
  EXPECT_THAT(read(facts, "backup_success_rate").found, HasSubstr("1 of 3"));
  facts.jobs = {{"backup", "backup --type incr", 4, "no answer", {}}, {"other", "verify", 9, "", {}}};
  EXPECT_EQ(read(facts, "backup_failures").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "backup_failures").found, HasSubstr("no answer"));
  EXPECT_EQ(*read(facts, "job_failures").value, 9);
  facts.jobs.clear();
  EXPECT_EQ(read(facts, "job_failures").verdict, Verdict::not_applicable);
}

TEST(backups, a_sudden_change_of_size_is_told_and_a_small_one_not) {
  SignalFacts facts = well();
  facts.doctor.repository.backups = {card(4), card(3), card(1, repo::BackupState::complete, 100'000'000)};
  EXPECT_EQ(read(facts, "backup_size").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "backup_size").found, HasSubstr("90 % less"));
  facts.doctor.repository.backups = {card(4, repo::BackupState::complete, 1000),
                                     card(1, repo::BackupState::complete, 100'000)};
  EXPECT_EQ(read(facts, "backup_size").verdict, Verdict::ok);
}

TEST(backups, no_drill_is_critical_and_a_failed_one_keeps_the_age_of_the_last_that_passed) {
  SignalFacts facts = well();
  auto& proofs = facts.doctor.repository.proofs.backups;
  ops::BackupProof failed;
  failed.time = kNow;
  failed.problems = {"amcheck"};
  proofs[BackupId{"20270115T000000Z-000002"}].drilled = failed;
  EXPECT_EQ(read(facts, "drill_result").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "drill_result").found, HasSubstr("amcheck"));
  EXPECT_EQ(read(facts, "drill_age").verdict, Verdict::ok);
  proofs.clear();
  EXPECT_EQ(read(facts, "drill_age").verdict, Verdict::critical);
  EXPECT_EQ(read(facts, "drill_result").verdict, Verdict::not_applicable);
}

TEST(backups, a_drill_that_missed_its_target_is_critical) {
  SignalFacts facts = well();
  ops::BackupProof slow;
  slow.time = kNow;
  slow.passed = true;
  slow.rto_seconds = 40;
  slow.rto_target_seconds = 30;
  auto& proofs = facts.doctor.repository.proofs.backups;
  proofs[BackupId{"20270115T000000Z-000002"}].drilled = slow;
  EXPECT_EQ(read(facts, "drill_result").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "drill_result").found, HasSubstr("RTO 40.0 s, target 30.0 s"));
  proofs[BackupId{"20270115T000000Z-000002"}].drilled->rto_target_seconds = 40;
  EXPECT_EQ(read(facts, "drill_result").verdict, Verdict::ok);
}

TEST(backups, what_was_not_read_is_unknown_and_what_is_not_registered_critical) {
  SignalFacts facts = well();
  facts.doctor.repository.problem = make_error(ErrorKind::unavailable, "s3", "does not answer");
  for (const char* id : {"backup_age", "backup_failures", "drill_age", "wal_gaps"})
    EXPECT_EQ(read(facts, id).verdict, Verdict::unknown) << id;
  EXPECT_EQ(read(facts, "repository_down").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "repository_down").found, HasSubstr("does not answer"));
  facts = well();
  facts.doctor.repository.catalogue_problem = make_error(ErrorKind::damaged, "cards", "do not match");
  EXPECT_EQ(read(facts, "repository_down").verdict, Verdict::critical);
  facts = well();
  facts.doctor.repository.lineages.clear();
  EXPECT_EQ(read(facts, "backup_age").verdict, Verdict::critical);
}

TEST(wal, lag_is_told_by_time_by_bytes_and_by_a_failing_archiver) {
  SignalFacts facts = well();
  facts.server.waiting = Asked<WaitingWal>(Result(WaitingWal{3, 200.0}));
  EXPECT_EQ(read(facts, "wal_archive_lag").verdict, Verdict::warning);
  facts = well();
  facts.doctor.server->current_lsn = {0x3000000 + (2ull << 30)};
  EXPECT_EQ(read(facts, "wal_archive_lag").verdict, Verdict::critical)
      << "the archiver says nothing waits, and nothing came";
  facts = well();
  ops::Finding archiver;
  archiver.id = "archiver";
  archiver.severity = ops::Severity::critical;
  archiver.found = "was not archived";
  facts.findings.push_back(archiver);
  EXPECT_EQ(read(facts, "wal_archive_lag").verdict, Verdict::warning);
  facts = well();
  facts.server.waiting = Asked<WaitingWal>();
  EXPECT_EQ(read(facts, "wal_archive_lag").verdict, Verdict::unknown);
  facts.doctor.backlog.emplace();
  EXPECT_EQ(read(facts, "wal_archive_lag").verdict, Verdict::ok);
  facts.doctor.server->in_recovery = true;
  EXPECT_EQ(read(facts, "wal_archive_lag").verdict, Verdict::not_applicable);
}

TEST(backups, that_a_check_found_damaged_are_told) {
  SignalFacts facts = well();
  EXPECT_EQ(read(facts, "backup_damage").verdict, Verdict::ok);
  ops::BackupProof proof;
  proof.time = kNow;
  proof.passed = false;
  proof.problems = {"packs/x/000001.data: its seal does not match"};
  const BackupId id = facts.doctor.repository.backups[0].id;
  facts.doctor.repository.proofs.backups[id].verified = proof;
  EXPECT_EQ(read(facts, "backup_damage").verdict, Verdict::warning);
  EXPECT_THAT(read(facts, "backup_damage").found, HasSubstr(id.text));
}

TEST(archiving, an_exit_code_that_is_swallowed_is_a_warning) {
  SignalFacts facts = well();
  facts.doctor.archive_command.ours = true;
  facts.doctor.archive_command.text = "lifeboat wal push %p || true";
  ops::Finding command;
  command.id = "archive_command";
  command.severity = ops::Severity::warning;
  command.found = "lifeboat wal push %p || true";
  facts.findings.push_back(command);
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::warning);
}

TEST(jobs, that_cannot_be_read_are_not_well) {
  SignalFacts facts = well();
  facts.jobs_problem = "serve.json: permission denied";
  EXPECT_EQ(read(facts, "job_failures").verdict, Verdict::unknown);
}

TEST(wal, a_receiver_is_as_far_as_it_has_confirmed) {
  SignalFacts facts = well();
  facts.doctor.server->settings["archive_mode"] = "off";
  pg::SenderFacts sender;
  sender.application_name = "lifeboat wal receive";
  sender.state = "streaming";
  facts.doctor.server->senders.push_back(sender);
  auto with = [&](Streaming one) {
    facts.doctor.server->current_lsn = {0x3000000 + one.bytes};  // no whole segment of that is stored
    facts.server.primary = Asked<PrimaryReplication>(Result(PrimaryReplication{{std::move(one)}, {}, ""}));
    return read(facts, "wal_archive_lag");
  };
  EXPECT_EQ(with({"lifeboat wal receive at local", "streaming", 0.5, 1'000'000}).verdict, Verdict::ok);
  EXPECT_EQ(with({"lifeboat wal receive at local", "streaming", 0.5, 1'000'000}).value, 0.5);
  const Reading stuck = with({"lifeboat wal receive at local", "streaming", 400.0, 1'000'000});
  EXPECT_EQ(stuck.verdict, Verdict::critical) << "connected, and its store takes nothing";
  EXPECT_THAT(stuck.found, HasSubstr("confirmed nothing newer"));
  EXPECT_EQ(with({"lifeboat wal receive at local", "streaming", 400.0, 0}).verdict, Verdict::ok)
      << "it has everything, and that was then";
  EXPECT_EQ(with({"lifeboat wal receive at local", "streaming", std::nullopt, 40'000'000}).verdict,
            Verdict::warning);
  EXPECT_EQ(with({"lifeboat wal receive at local", "streaming", std::nullopt, 2'000'000'000}).verdict,
            Verdict::critical);
  // It is near, and here nothing comes: it feeds another repository.
  with({"lifeboat wal receive at local", "streaming", 0.5, 1'000});
  facts.doctor.server->current_lsn = {0x3000000 + (100ull << 20)};
  EXPECT_EQ(read(facts, "wal_archive_lag").verdict, Verdict::warning);
  EXPECT_THAT(read(facts, "wal_archive_lag").found, HasSubstr("not stored here"));
}

TEST(wal, gaps_and_dropped_segments_count) {
  SignalFacts facts = well();
  facts.doctor.repository.continuity->missing = SegmentName{{1}, 0, 5};
  EXPECT_EQ(*read(facts, "wal_gaps").value, 1);
  facts.doctor.dropped.push_back({});
  EXPECT_EQ(*read(facts, "wal_gaps").value, 2);
  EXPECT_EQ(read(facts, "wal_gaps").verdict, Verdict::critical);
}

TEST(wal, moments_lost_before_the_newest_backup_are_a_warning_while_a_backup_leads_there) {
  SignalFacts facts = well();
  const Timestamp before = facts.doctor.repository.backups[0].stopped;
  facts.doctor.repository.proofs.lost = {{before.plus_us(1), kNow, "000000010000000000000007"}};
  EXPECT_EQ(read(facts, "wal_gaps").verdict, Verdict::warning);
  EXPECT_THAT(read(facts, "wal_gaps").found, HasSubstr("000000010000000000000007"));
  facts.doctor.repository.proofs.lost[0].after = before.plus_us(-1);
  EXPECT_EQ(read(facts, "wal_gaps").verdict, Verdict::ok) << "nothing leads there any more";
}

TEST(server, checksum_failures_are_critical) {
  SignalFacts facts = well();
  EXPECT_EQ(read(facts, "checksum_failures").verdict, Verdict::not_applicable) << "without checksums";
  facts.doctor.server->data_checksums = true;
  EXPECT_EQ(read(facts, "checksum_failures").verdict, Verdict::ok);
  facts.server.checksums = Asked<std::vector<ChecksumFailures>>(
      Result(std::vector<ChecksumFailures>{{"", 1, {}}, {"shop", 2, kNow}}));
  const Reading found = read(facts, "checksum_failures");
  EXPECT_EQ(found.verdict, Verdict::critical);
  EXPECT_EQ(found.value, 3);
  EXPECT_THAT(found.found, HasSubstr("shared objects; database shop, last at"));
  facts.server.checksums = {};
  EXPECT_EQ(read(facts, "checksum_failures").verdict, Verdict::unknown);
}

TEST(wal, what_the_server_believes_archived_and_nobody_has_is_critical) {
  SignalFacts facts = well();
  facts.doctor.server->archiver.emplace();
  facts.doctor.server->archiver->last_archived_time = kNow.plus_us(-100'000'000);
  facts.doctor.repository.archived_wal = {SegmentName{{1}, 0, 3}, false, SegmentName{{1}, 0, 2}};
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "archive_off").found, HasSubstr("000000010000000000000003"));
  pg::SlotFacts slot;
  slot.name = "lifeboat_main";
  slot.type = "physical";
  slot.restart_lsn = {0x2000000};
  facts.doctor.server->slots.push_back(slot);
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::warning) << "a receiver will fetch it";
  facts.doctor.repository.archived_wal->came = true;
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::ok);
}

// Of a command that doctor finds fault with.
SignalFacts archived_by(std::string command, std::string cause) {
  SignalFacts facts = well();
  ops::Finding finding;
  finding.id = "archive_command";
  finding.severity = ops::Severity::critical;
  finding.found = std::move(command);
  finding.cause = std::move(cause);
  facts.findings.push_back(std::move(finding));
  return facts;
}

TEST(wal, a_command_that_is_not_ours_is_believed_once_something_came_through_it) {
  SignalFacts facts = archived_by("/opt/archive.sh %p", "it does not run lifeboat wal push");
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::warning);
  EXPECT_THAT(read(facts, "archive_off").found, HasSubstr("/opt/archive.sh"));
  facts.doctor.server->archiver.emplace();
  facts.doctor.server->archiver->last_archived_time = kNow;
  facts.doctor.repository.archived_wal = {SegmentName{{1}, 0, 3}, true, std::nullopt};
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::ok);
  facts.doctor.server->archiver->configuration_read = kNow.plus_us(1);
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::warning) << "that was another configuration";
}

TEST(wal, a_command_that_cannot_run_is_critical) {
  SignalFacts facts = well();
  ops::Finding program;
  program.id = "archive_program";
  program.severity = ops::Severity::critical;
  program.found = "/usr/bin/lifeboat is not there";
  facts.findings.push_back(program);
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "archive_off").found, HasSubstr("is not there"));
  // What the server archives arrives: its program lies where this host does not see it.
  SignalFacts elsewhere = facts;
  elsewhere.doctor.server->archiver.emplace();
  elsewhere.doctor.server->archiver->last_archived_time = kNow;
  elsewhere.doctor.repository.archived_wal = {SegmentName{{1}, 0, 3}, true, std::nullopt};
  EXPECT_EQ(read(elsewhere, "archive_off").verdict, Verdict::ok);
  elsewhere.server.waiting = Asked<WaitingWal>(Result(WaitingWal{1, 5.0}));
  EXPECT_EQ(read(elsewhere, "archive_off").verdict, Verdict::critical) << "it has ended";
  facts.doctor.server->settings["archive_library"] = "lifeboat_archive";
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::ok) << "the library is what archives";
}

TEST(wal, a_command_that_stores_nothing_is_critical_though_a_backup_brought_its_wal) {
  SignalFacts facts = archived_by("/bin/true", "it stores nothing");
  facts.doctor.server->archiver.emplace();
  facts.doctor.server->archiver->last_archived_time = kNow;
  facts.doctor.repository.archived_wal = {SegmentName{{1}, 0, 3}, true, std::nullopt};
  const SegmentSize size = facts.doctor.server->wal_segment_size;
  facts.doctor.repository.backups.back().stop_lsn = {3 * uint64_t{size.bytes} + 100};
  facts.doctor.repository.continuity->newest = SegmentName{{1}, 0, 3};
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "archive_off").found, HasSubstr("stores nothing"));
  facts.doctor.repository.continuity->newest = SegmentName{{1}, 0, 4};
  EXPECT_EQ(read(facts, "archive_off").verdict, Verdict::ok) << "a receiver at a standby brought it";
}

TEST(replication, by_time_by_bytes_by_slots_and_by_absence) {
  SignalFacts facts = well();
  auto with = [&](PrimaryReplication primary) {
    facts.server.primary = Asked<PrimaryReplication>(Result(std::move(primary)));
  };
  with({{{"one", "streaming", 0.1, 100}, {"two", "streaming", 6.0, 100}}, {}, ""});
  EXPECT_EQ(read(facts, "replication_lag").verdict, Verdict::warning);
  EXPECT_THAT(read(facts, "replication_lag").found, HasSubstr("two"));
  with({{{"one", "streaming", std::nullopt, 11'000'000}}, {}, ""});
  EXPECT_EQ(read(facts, "replication_lag").verdict, Verdict::critical);
  with({{}, {{"left", 100, false}}, ""});
  EXPECT_EQ(read(facts, "replication_lag").verdict, Verdict::warning);
  with({{}, {{"left", 0, true}}, ""});
  EXPECT_EQ(read(facts, "replication_lag").verdict, Verdict::critical);
  with({{{"lifeboat wal receive at local", "streaming", 100.0, 1'000'000'000}}, {}, ""});
  EXPECT_EQ(read(facts, "replication_lag").verdict, Verdict::not_applicable) << "wal_archive_lag watches it";
  SignalSettings settings = owned();
  settings.overrides["replication_lag"].standbys = 2;
  with({{{"one", "streaming", 0.1, 100}}, {}, ""});
  EXPECT_EQ(read(facts, "replication_lag", settings).verdict, Verdict::critical);
  EXPECT_THAT(read(facts, "replication_lag", settings).found, HasSubstr("1 of 2"));
}

TEST(replication, a_standby_that_receives_nothing_is_never_ok) {
  SignalFacts facts = well();
  facts.doctor.server->in_recovery = true;
  facts.server.primary = Asked<PrimaryReplication>();
  facts.server.standby = Asked<StandbyReplication>(Result(StandbyReplication{true, 0.0, 0}));
  EXPECT_EQ(read(facts, "replication_lag").verdict, Verdict::ok);
  facts.server.standby = Asked<StandbyReplication>(Result(StandbyReplication{false, 1.0, 0}));
  EXPECT_EQ(read(facts, "replication_lag").verdict, Verdict::warning);
  facts.server.standby = Asked<StandbyReplication>(Result(StandbyReplication{false, std::nullopt, 0}));
  EXPECT_EQ(read(facts, "replication_lag").verdict, Verdict::unknown);
}

TEST(server, connections_and_ages) {
  SignalFacts facts = well();
  facts.server.connections = Asked<ConnectionUse>(Result(ConnectionUse{80, 97, 3}));
  EXPECT_EQ(read(facts, "connections").verdict, Verdict::warning);
  facts.server.connections = Asked<ConnectionUse>(Result<ConnectionUse>(
      make_error(ErrorKind::unavailable, "", "FATAL:  sorry, too many clients already")));
  EXPECT_EQ(read(facts, "connections").verdict, Verdict::critical);
  facts.server.connections = Asked<ConnectionUse>(
      Result<ConnectionUse>(make_error(ErrorKind::unavailable, "", "connection refused")));
  EXPECT_EQ(read(facts, "connections").verdict, Verdict::unknown);
  facts.server.ages =
      Asked<Ages>(Result(Ages{{{"a", 600'000'000, 5}, {"b", 5, 1'100'000'000}}, 200'000'000, 400'000'000}));
  EXPECT_EQ(read(facts, "xid_wraparound").verdict, Verdict::warning);
  EXPECT_THAT(read(facts, "xid_wraparound").found, HasSubstr("autovacuum_freeze_max_age is 200 million"));
  EXPECT_EQ(read(facts, "multixact_wraparound").verdict, Verdict::critical);
}

TEST(server, bloat_of_small_or_hidden_relations) {
  SignalFacts facts = well();
  Bloat bloat;
  bloat.tables = {{"db", "public.small", 20 << 20, 10 << 20}};
  facts.server.bloat = Asked<Bloat>(Result(bloat));
  EXPECT_EQ(read(facts, "table_bloat").verdict, Verdict::ok);
  bloat.tables[0] = {"db", "public.large", 200 << 20, 150 << 20};
  facts.server.bloat = Asked<Bloat>(Result(bloat));
  EXPECT_EQ(read(facts, "table_bloat").verdict, Verdict::warning);
  EXPECT_EQ(read(facts, "index_bloat").verdict, Verdict::ok);
  bloat.tables.clear();
  bloat.hidden = 4;
  facts.server.bloat = Asked<Bloat>(Result(bloat));
  EXPECT_EQ(read(facts, "table_bloat").verdict, Verdict::unknown);
}

TEST(history, keeps_few_samples_however_often_it_is_read) {
  SignalHistory history;
  SignalFacts facts = well();
  SignalReport report = evaluate(facts, owned());
  for (int minute = 0; minute < 20 * 24 * 60; ++minute) {
    report.time = kNow.plus_us(minute * 60'000'000ll);
    history.add(report);
  }
  const auto* samples = history.samples("connections");
  ASSERT_NE(samples, nullptr);
  EXPECT_LT(samples->size(), 250u);
  EXPECT_GT(samples->size(), 200u);
  EXPECT_LE(report.time.seconds_since(samples->front().time), 8 * 86'400);
  auto again = SignalHistory::decode("history", history.encode());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->samples("connections")->size(), samples->size());
}

TEST(history, when_it_was_watched_is_kept_and_what_is_none_is_refused) {
  SignalHistory history;
  history.watched = kNow;
  auto again = SignalHistory::decode("history", history.encode());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->watched, kNow);
  EXPECT_TRUE(SignalHistory::decode("x", R"({"samples":{},"continuity":{"end":"0/5000000"}})"))
      << "older versions kept where their look at WAL ended";
  EXPECT_FALSE(SignalHistory::decode("x", R"({"samples":{"a":[[9223372036854775807,1]]}})"));
}

TEST(history, a_trend_needs_samples_and_says_when_a_disk_is_full) {
  EXPECT_FALSE(trend_of({{kNow, 1}, {kNow.plus_us(3'600'000'000), 2}}).per_day);
  EXPECT_FALSE(trend_of({{kNow, 1}, {kNow.plus_us(1'000'000), 2}, {kNow.plus_us(2'000'000), 3}}).per_day);
  const Trend trend =
      trend_of({{kNow, 0.1}, {kNow.plus_us(3'600'000'000), 0.2}, {kNow.plus_us(7'200'000'000), 0.3}});
  EXPECT_NEAR(*trend.per_day, 2.4, 1e-9);
}

TEST(report, is_read_back_as_it_was_written) {
  SignalFacts facts = well();
  facts.doctor.server_problem = make_error(ErrorKind::unavailable, "", "x");
  const SignalReport report = evaluate(facts, owned());
  auto again = parse_report(report_json(report).dump());
  ASSERT_TRUE(again.has_value()) << again.error().to_string();
  EXPECT_EQ(report_json(*again), report_json(report));
  EXPECT_EQ(parse_report("{}").error().kind, ErrorKind::damaged);
}

TEST(format, values_for_people) {
  EXPECT_EQ(format_value(0.8123, Unit::ratio), "81.2 %");
  EXPECT_EQ(format_value(-0.5, Unit::ratio), "-50 %");
  EXPECT_EQ(format_value(10 * 86'400, Unit::seconds), "10 days");
  EXPECT_EQ(format_value(1.5e9, Unit::transactions), "1.5 billion");
  EXPECT_EQ(format_value(3, Unit::count), "3");
}

}  // namespace
}  // namespace lifeboat::ready
