#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "ready/report/document.h"
#include "ready/report/item.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kHour = 3600;
constexpr double kDay = 24 * kHour;
const Timestamp kNow = Timestamp::from_seconds(1'800'000'000);

Timestamp ago(double seconds) {
  return kNow.plus_us(static_cast<int64_t>(-seconds * 1e6));
}

repo::Card card(double age) {
  repo::Card made;
  made.started = made.stopped = ago(age);
  made.id = BackupId::make(made.stopped, 1);
  made.encrypted = true;
  made.key_id = 1;
  made.timeline = {1};
  made.stop_lsn = {0x2000100};
  made.totals.plain_bytes = 5'000'000'000;
  made.totals.stored_bytes = 1'000'000'000;
  return made;
}

Rehearsal drill(double age, std::string target) {
  Rehearsal made;
  made.time = ago(age);
  made.id = BackupId::make(made.time, 2).text;
  made.passed = true;
  made.backup = card(kHour).id.text;
  made.target = std::move(target);
  made.point_in_time = made.target != "latest";
  made.host = "standby.example.org";
  made.rto_seconds = 240;
  made.rpo_seconds = 20;
  return made;
}

void add_finding(SignalFacts& facts, std::string id, std::string found) {
  ops::Finding finding;
  finding.id = std::move(id);
  finding.what = cat("what ", finding.id, " looks at");
  finding.found = std::move(found);
  facts.findings.push_back(std::move(finding));
}

SignalFacts signal_facts() {
  SignalFacts facts;
  facts.cluster = "main";
  facts.now = facts.doctor.now = kNow;
  facts.doctor.program = "/usr/bin/lifeboat";
  facts.doctor.conninfo = "host=/run/postgresql";
  facts.doctor.server.emplace();
  facts.doctor.server->connection = pg::Connection::local_socket;
  add_finding(facts, "server", "PostgreSQL 15.13, primary");
  pg::ServerFacts& server = *facts.doctor.server;
  server.system_id = {7};
  server.major = 15;
  server.version_text = "15.13";
  server.current_timeline = {1};
  server.current_lsn = {0x3000100};
  server.settings = {{"archive_mode", "on"}, {"archive_timeout", "60"}};
  ops::RepositoryFacts& repository = facts.doctor.repository;
  repository.url = "s3://bucket.example.org/main";
  repository.cluster = "main";
  repository.marker.emplace();
  repository.marker->encrypted = true;
  repository.key_slots = {{1, "key-file-1", "key-file"}, {1, "passphrase-2", "passphrase"}};
  repo::LineageRecord record;
  record.lineage = {{7}, 15};
  repository.lineages.push_back(record);
  repository.backups.push_back(card(kHour));
  repository.newest_verified = repository.backups[0].id;
  ops::ContinuityFacts continuity;
  continuity.timeline = {1};
  continuity.newest = SegmentName{{1}, 0, 2};
  repository.continuity = continuity;
  ops::BackupProof proof;
  proof.passed = true;
  proof.level = ops::ProofLevel::asserted;
  proof.time = ago(0.5 * kHour);
  proof.evidence = drill(0.5 * kHour, "latest").id;
  repository.proofs.backups[repository.backups[0].id].drilled = proof;
  facts.server.connections = Asked<ConnectionUse>(Result(ConnectionUse{10, 97, 3}));
  facts.server.ages = Asked<Ages>(Result(Ages{{{"postgres", 1000, 5}}, 200'000'000, 400'000'000}));
  facts.server.primary = Asked<PrimaryReplication>(Result(PrimaryReplication()));
  facts.server.waiting = Asked<WaitingWal>(Result(WaitingWal()));
  facts.server.bloat = Asked<Bloat>(Result(Bloat()));
  facts.server.checksums = Asked<std::vector<ChecksumFailures>>(Result(std::vector<ChecksumFailures>{}));
  facts.doctor.server->data_checksums = true;
  facts.file_systems.push_back({{"/srv/data", 1, 60, 100}, {"data directory"}});
  for (const char* id : {"archive_mode", "archive_timeout", "wal_continuity"}) add_finding(facts, id, "fine");
  return facts;
}

WrittenRunbook written(std::string id) {
  return {std::move(id), "/srv/books/" + id + ".md", "main", "", ago(kDay), ago(kDay), "Ada"};
}

SignalSettings owned() {
  SignalSettings settings;
  settings.owner = "dba";
  settings.overrides["replication_lag"].standbys = 0;
  return settings;
}

// A cluster of which nothing is missing.
ReportFacts well(const SignalSettings& signals = owned()) {
  ReportFacts facts;
  facts.signals = signal_facts();
  facts.report = evaluate(facts.signals, signals);
  ReportSettings& settings = facts.settings;
  settings.config_path = "/etc/lifeboat/lifeboat.toml";
  settings.owner = signals.owner;
  settings.rpo = {300, "`rpo` in the file"};
  settings.rto = {900, "`rto` in the file"};
  settings.compliance_days = {0, "`compliance-days` in the file"};
  settings.retention.pitr_days = 30;
  settings.retention.keep_days = 90;
  settings.dump_retention.keep_days = 90;
  settings.jobs = {
      {"backup", "15 1 * * *", "backup", "backup", kDay, 0, {card(kHour).started}, 0, {}},
      {"drill", "0 5 * * 0", "drill", "drill --random-target", 7 * kDay, 0, {ago(0.6 * kHour)}, 0, {}},
      {"expire", "45 1 * * *", "expire", "expire --pitr-days 30", kDay, 0, {}, 0, {}}};
  settings.receivers = {{"office", "email", true, ago(kDay), ""}};
  settings.metrics_endpoint = "127.0.0.1:9187";
  settings.signals_read = ago(60);
  settings.runbook_directory = "/srv/books";
  facts.rehearsals = {drill(0.5 * kHour, "latest"), drill(20 * kDay, "time 2027-01-01 00:00:00+00")};
  for (const char* id : {"primary-loss", "archive-failure", "backup-failure", "wraparound", "bloat",
                         "storage", "connections", "data-changed", "region-lost"})
    facts.runbooks.push_back(written(id));
  facts.dumps = {{"20270115T030000Z-aaaaaa", ago(4 * kHour), true, ""}};
  facts.lost_moments.emplace();
  facts.place = {Distance::other_host, "host bucket.example.org"};
  facts.tool_version = "1.0";
  return facts;
}

std::set<std::string> failing(const ReportFacts& facts) {
  std::set<std::string> ids;
  for (const JudgedItem& item : judge_items(facts))
    if (item.answer.outcome() == Outcome::fail) ids.emplace(item.info->id);
  return ids;
}

using Ids = std::set<std::string>;

TEST(items, a_cluster_of_which_nothing_is_missing_is_ready) {
  EXPECT_EQ(failing(well()), Ids());
  EXPECT_TRUE(judge_readiness(well()).ready);
}

TEST(items, there_are_eleven_nine_and_twelve_with_ids_of_their_own) {
  Ids ids;
  size_t counts[3] = {};
  for (const ItemInfo& item : items()) {
    EXPECT_TRUE(ids.emplace(item.id).second) << item.id;
    ++counts[static_cast<size_t>(item.list)];
  }
  EXPECT_THAT(counts, ElementsAre(11u, 9u, 12u));
}

TEST(items, nothing_passes_without_evidence) {
  ItemAnswer answer;
  EXPECT_EQ(answer.outcome(), Outcome::fail);
  answer.shows("all is well", {});
  EXPECT_EQ(answer.outcome(), Outcome::fail);
  answer.shows("and this proves it", {"signal/x"});
  EXPECT_EQ(answer.outcome(), Outcome::pass);
  answer.lacks("one thing", "do it");
  EXPECT_EQ(answer.outcome(), Outcome::fail);
  for (const JudgedItem& item : judge_items(well())) {
    if (item.answer.outcome() == Outcome::pass) {
      EXPECT_THAT(item.answer.evidence(), testing::Not(IsEmpty())) << item.info->id;
      for (const std::string& id : item.answer.evidence()) EXPECT_NE(describe_evidence(well(), id), "") << id;
    }
  }
  // Of nothing at all nothing passes.
  ReportFacts empty;
  empty.signals.cluster = "main";
  empty.signals.now = kNow;
  for (const JudgedItem& item : judge_items(empty))
    EXPECT_NE(item.answer.outcome(), Outcome::pass) << item.info->id;
}

// What goes wrong, and exactly which items say so.
struct Case {
  const char* name;
  std::function<void(ReportFacts&)> breaks;
  Ids fails;
};

void evaluate_again(ReportFacts& facts) {
  facts.report = evaluate(facts.signals, owned());
}

// Its time was three days ago; a verification ended at `on_record`.
void verify_weekly(ReportFacts& facts, Timestamp on_record) {
  facts.settings.jobs.push_back(
      {"verify", "0 5 * * 0", "verify", "verify", 7 * kDay, 0, {ago(3 * kDay)}, 0, {}});
  facts.signals.doctor.repository.proofs.verify_times = {on_record};
}

const Case kCases[] = {
    {"no rpo",
     [](ReportFacts& f) { f.settings.rpo = {}; },
     {"targets_stated", "targets_delivered", "targets_validated", "strategy"}},
    {"rto missed",
     [](ReportFacts& f) { f.settings.rto.value = 200; },
     {"targets_delivered", "targets_validated"}},
    {"rpo as long as archive_timeout is over it",
     [](ReportFacts& f) { f.settings.rpo.value = 60; },
     {"targets_delivered", "targets_validated"}},
    {"no limit to an unfinished segment",
     [](ReportFacts& f) { f.signals.doctor.server->settings["archive_timeout"] = "0"; },
     {"targets_delivered", "targets_validated"}},
    {"a drill that measured more loss",
     [](ReportFacts& f) { f.rehearsals[0].rpo_seconds = 400; },
     {"targets_delivered", "targets_validated"}},
    {"never drilled",
     [](ReportFacts& f) { f.rehearsals.clear(); },
     {"targets_delivered", "drill_automated", "monthly_restore_test", "targets_validated", "pitr_validated",
      "restore_tested", "automatic_verification"}},
    {"the newest drill failed",
     [](ReportFacts& f) { f.rehearsals[0].passed = false; },
     {"drill_automated", "monthly_restore_test", "targets_validated", "restore_tested"}},
    {"drilled long ago",
     [](ReportFacts& f) { f.rehearsals = {drill(40 * kDay, "time 2027-01-01 00:00:00+00")}; },
     {"targets_delivered", "drill_automated", "monthly_restore_test", "targets_validated", "restore_tested",
      "automatic_verification"}},
    {"never to a moment", [](ReportFacts& f) { f.rehearsals.pop_back(); }, {"pitr_validated"}},
    {"to a moment last year",
     [](ReportFacts& f) { f.rehearsals[1].time = ago(100 * kDay); },
     {"pitr_validated"}},
    {"no drill is scheduled",
     [](ReportFacts& f) { f.settings.jobs.erase(f.settings.jobs.begin() + 1); },
     {"drill_automated", "automatic_verification"}},
    {"drills every two months",
     [](ReportFacts& f) { f.settings.jobs[1].longest_gap_seconds = 62 * kDay; },
     {"drill_automated"}},
    {"expiry by other rules",
     [](ReportFacts& f) { f.settings.jobs.back().command = "expire --pitr-days=7"; },
     {"retention_stated"}},
    {"nothing expires", [](ReportFacts& f) { f.settings.jobs.pop_back(); }, {"retention_stated"}},
    {"a window of a week", [](ReportFacts& f) { f.settings.retention.pitr_days = 7; }, {"retention_set"}},
    {"dumps go too early",
     [](ReportFacts& f) { f.settings.dump_retention.keep_days = 30; },
     {"retention_set"}},
    {"dumps go by number",
     [](ReportFacts& f) {
       f.settings.dump_retention = {};
       f.settings.dump_retention.keep_count = 14;
     },
     {"retention_set"}},
    {"a compliance minimum above the policy",
     [](ReportFacts& f) { f.settings.compliance_days.value = 365; },
     {"retention_stated"}},
    {"no word on compliance", [](ReportFacts& f) { f.settings.compliance_days = {}; }, {"retention_stated"}},
    {"not encrypted",
     [](ReportFacts& f) { f.signals.doctor.repository.marker->encrypted = false; },
     {"encryption", "encrypted"}},
    {"one key alone",
     [](ReportFacts& f) { f.signals.doctor.repository.key_slots.pop_back(); },
     {"encryption"}},
    {"key files alone, and one of them in a vault",
     [](ReportFacts& f) {
       f.signals.doctor.repository.key_slots[1].kind = "key-file";
       f.settings.key_escrow = "vault";
     },
     {}},
    {"the passphrase is in a file here",
     [](ReportFacts& f) { f.signals.doctor.repository.key.kind = repo::KeySourceKind::passphrase_file; },
     {"encryption"}},
    {"key files alone",
     [](ReportFacts& f) { f.signals.doctor.repository.key_slots[1].kind = "key-file"; },
     {"encryption"}},
    {"a server that is read without TLS",
     [](ReportFacts& f) { f.signals.doctor.server->connection = pg::Connection::plain; },
     {"encryption"}},
    {"a key in the data directory",
     [](ReportFacts& f) {
       f.signals.doctor.data.emplace();
       f.signals.doctor.data->path = "/srv/data";
       f.signals.doctor.repository.key.path = "/srv/data/key";
     },
     {"encryption"}},
    {"on the disk of the database",
     [](ReportFacts& f) { f.place.distance = Distance::same_file_system; },
     {"offsite_copy", "offsite"}},
    {"on the host of the database",
     [](ReportFacts& f) { f.place.distance = Distance::same_host; },
     {"offsite_copy", "offsite"}},
    {"no backup",
     [](ReportFacts& f) {
       f.signals.doctor.repository.backups.clear();
       evaluate_again(f);
     },
     {"pitr_from_wal", "encryption", "weekly_physical_backup", "age_watched", "strategy", "automated_backups",
      "encrypted"}},
    {"an old backup",
     [](ReportFacts& f) {
       f.signals.doctor.repository.backups = {card(8 * kDay)};
       evaluate_again(f);
     },
     {"weekly_physical_backup", "age_watched", "automated_backups"}},
    {"no dumps", [](ReportFacts& f) { f.dumps.clear(); }, {"daily_logical_backup"}},
    {"a database that no dump has",
     [](ReportFacts& f) {
       f.signals.server.ages = Asked<Ages>(Result(Ages{{{"postgres", 1, 1}, {"shop", 1, 1}}, 1, 1}));
       f.dumps[0].databases = {"postgres"};
     },
     {"daily_logical_backup"}},
    {"every database in a dump",
     [](ReportFacts& f) {
       f.signals.server.ages = Asked<Ages>(Result(Ages{{{"template1", 1, 1}, {"shop", 1, 1}}, 1, 1}));
       f.dumps[0].databases = {"shop"};
     },
     {}},
    {"runbooks of another server",
     [](ReportFacts& f) {
       for (WrittenRunbook& one : f.runbooks) one.system_id = "9";
     },
     {"wraparound_watched", "connections_watched", "runbooks_cover", "recovery_runbook",
      "recovery_documented", "runbooks_reviewed"}},
    {"partial dumps", [](ReportFacts& f) { f.dumps[0].whole = false; }, {"daily_logical_backup"}},
    {"old dumps", [](ReportFacts& f) { f.dumps[0].time = ago(30 * kHour); }, {"daily_logical_backup"}},
    {"WAL has a hole",
     [](ReportFacts& f) { f.signals.findings.back().severity = ops::Severity::critical; },
     {"pitr_from_wal"}},
    {"moments within the window that nothing reaches",
     [](ReportFacts& f) { f.lost_moments = {{ago(9 * kDay), ago(8 * kDay), SegmentName{{1}, 0, 2}, true}}; },
     {"pitr_from_wal"}},
    {"moments that nobody promised",
     [](ReportFacts& f) {
       f.lost_moments = {{ago(90 * kDay), ago(80 * kDay), SegmentName{{1}, 0, 2}, false}};
     },
     {}},
    {"WAL that could not be looked at", [](ReportFacts& f) { f.lost_moments.reset(); }, {"pitr_from_wal"}},
    {"backups that nothing begins by the clock",
     [](ReportFacts& f) { f.settings.jobs[0].due = {ago(20 * kHour)}; },
     {"automated_backups"}},
    {"backups that the daemon remembers",
     [](ReportFacts& f) {
       f.settings.jobs[0].due = {ago(20 * kHour)};
       f.settings.jobs[0].started = ago(10 * kHour);
     },
     {}},
    {"backups that the daemon began long ago",
     [](ReportFacts& f) {
       f.settings.jobs[0].due = {ago(20 * kHour)};
       f.settings.jobs[0].started = ago(3 * kDay);
     },
     {"automated_backups"}},
    {"backups that begin as late as the jitter allows",
     [](ReportFacts& f) {
       f.settings.jobs[0].due = {ago(5 * kHour)};
       f.settings.jobs[0].jitter_seconds = 4 * kHour;
     },
     {}},
    {"a server whose clock is behind",
     [](ReportFacts& f) { f.settings.jobs[0].due = {ago(kHour - 20)}; },
     {}},
    {"drills that took a day",
     [](ReportFacts& f) {
       f.rehearsals[0].phases = {{"copy", kDay}};
       f.settings.jobs[1].due = {ago(kDay + 0.6 * kHour)};
     },
     {}},
    {"drills that nothing begins by the clock",
     [](ReportFacts& f) { f.settings.jobs[1].due = {ago(4 * kDay)}; },
     {"drill_automated", "automatic_verification"}},
    {"a scheduled backup that fails",
     [](ReportFacts& f) { f.settings.jobs[0].failures = 2; },
     {"automated_backups"}},
    {"no runbooks",
     [](ReportFacts& f) { f.runbooks.clear(); },
     {"wraparound_watched", "connections_watched", "runbooks_cover", "recovery_runbook",
      "recovery_documented", "runbooks_reviewed"}},
    {"a runbook that nobody read",
     [](ReportFacts& f) { f.runbooks[4].reviewed = {}; },
     {"runbooks_reviewed"}},
    {"a runbook read last year",
     [](ReportFacts& f) { f.runbooks[4].reviewed = ago(200 * kDay); },
     {"runbooks_reviewed"}},
    {"a receiver that nobody ever tried",
     [](ReportFacts& f) { f.settings.receivers[0].delivered = {}; },
     {"alerts"}},
    {"a receiver that did not take the last alert",
     [](ReportFacts& f) { f.settings.receivers[0].failing = "connection refused"; },
     {"alerts"}},
    {"a newest backup that failed its verification",
     [](ReportFacts& f) {
       ops::BackupProof failed;
       failed.level = ops::ProofLevel::wal;
       failed.time = kNow;
       failed.problems = {"a pack is missing"};
       auto& repository = f.signals.doctor.repository;
       repository.proofs.backups[repository.backups[0].id].verified = failed;
       evaluate_again(f);
     },
     // It is also what the drills have shown to come back.
     {"weekly_physical_backup", "age_watched", "automatic_verification", "pitr_from_wal", "drill_automated",
      "monthly_restore_test", "restore_tested", "targets_validated"}},
    {"metrics that nobody offers",
     [](ReportFacts& f) { f.settings.metrics_problem = "nothing answers there"; },
     {"monitoring"}},
    {"a dump whose drill failed",
     [](ReportFacts& f) { f.dumps[0].failure = "restore: a table is missing"; },
     {"daily_logical_backup"}},
    {"a drill that failed, and a lesser one that passed since",
     [](ReportFacts& f) {
       f.rehearsals.insert(f.rehearsals.begin() + 1, drill(kHour, "latest"));
       f.rehearsals[1].passed = false;
       f.rehearsals[0].target = "immediate";
     },
     {"drill_automated", "monthly_restore_test", "targets_validated", "restore_tested"}},
    {"the longest WAL takes longer than any drill took",
     [](ReportFacts& f) {
       f.rates.basis = RateBasis::drills;
       f.rates.restore_bytes_per_second = 1e9;
       f.rates.replay_bytes_per_second = 20'000;
     },
     {"targets_delivered", "targets_validated"}},
    {"a verification that is scheduled and on record",
     [](ReportFacts& f) { verify_weekly(f, ago(2 * kDay)); },
     {}},
    {"a verification that is on record from before its time",
     [](ReportFacts& f) { verify_weekly(f, ago(5 * kDay)); },
     {"automatic_verification"}},
    {"a verification that the daemon never began",
     [](ReportFacts& f) {
       verify_weekly(f, ago(2 * kDay));
       f.settings.jobs.back().known_to_daemon = true;
     },
     {"automatic_verification"}},
    {"a verification that the daemon began and that left no record",
     [](ReportFacts& f) {
       verify_weekly(f, ago(5 * kDay));
       f.settings.jobs.back().known_to_daemon = true;
       f.settings.jobs.back().started = ago(3 * kDay);
     },
     {"automatic_verification"}},
    {"a verification that found a backup broken",
     [](ReportFacts& f) {
       verify_weekly(f, ago(2 * kDay));
       ops::BackupProof failed;
       failed.time = ago(2 * kDay);
       failed.problems = {"a pack is missing"};
       f.signals.doctor.repository.proofs.backups[card(40 * kDay).id].verified = failed;
     },
     {"automatic_verification"}},
    {"a receiver that was tried last year",
     [](ReportFacts& f) { f.settings.receivers[0].delivered = ago(200 * kDay); },
     {"alerts"}},
    {"signals that nothing reads", [](ReportFacts& f) { f.settings.signals_read = {}; }, {"monitoring"}},
    {"signals that were read yesterday",
     [](ReportFacts& f) { f.settings.signals_read = ago(kDay); },
     {"monitoring"}},
    {"nobody is told", [](ReportFacts& f) { f.settings.receivers[0].tells = false; }, {"alerts"}},
    {"a server that does not answer",
     [](ReportFacts& f) {
       f.signals.doctor.server.reset();
       f.signals.server = {};
       evaluate_again(f);
     },
     {"pitr_from_wal", "targets_delivered", "wraparound_watched", "connections_watched", "wal_archiving",
      "targets_validated", "topology_elsewhere", "replication_tested", "monitoring"}},
};

TEST(items, each_thing_that_is_missing_is_told_by_its_items_and_no_others) {
  for (const Case& one : kCases) {
    ReportFacts facts = well();
    one.breaks(facts);
    EXPECT_EQ(failing(facts), one.fails) << one.name;
  }
}

TEST(items, signals_without_owner_or_turned_off) {
  SignalSettings nobody = owned();
  nobody.owner.clear();
  EXPECT_EQ(failing(well(nobody)),
            (Ids{"wraparound_watched", "connections_watched", "signals_owned", "age_watched"}));
  SignalSettings off = owned();
  off.overrides["xid_wraparound"].enabled = false;
  EXPECT_EQ(failing(well(off)), (Ids{"wraparound_watched", "signals_owned"}));
  SignalSettings late = owned();
  late.overrides["xid_wraparound"].thresholds.critical = 1.9e9;
  late.overrides["backup_age"].thresholds.warning = 48 * kHour;
  EXPECT_EQ(failing(well(late)), (Ids{"wraparound_watched", "age_watched"}));
}

TEST(items, an_open_decision_stands_for_targets_but_meets_none) {
  ReportFacts facts = well();
  facts.settings.rpo = {};
  facts.settings.decision_record = "/srv/decisions/7.md";
  facts.settings.decision_record_exists = true;
  EXPECT_EQ(failing(facts), (Ids{"targets_delivered", "targets_validated"}));
}

TEST(items, standbys_are_stated_and_their_failover_rehearsed_elsewhere) {
  SignalSettings two = owned();
  two.overrides["replication_lag"].standbys = 2;
  ReportFacts facts = well(two);
  EXPECT_EQ(failing(facts), (Ids{"topology_elsewhere", "replication_tested"})) << "they are not there";
  facts.settings.waivers = {{"replication_tested", "rehearsed by the platform team on 2027-01-10"}};
  EXPECT_FALSE(failing(facts).contains("replication_tested"));
  facts.settings.waivers.clear();
  PrimaryReplication both;
  both.streaming = {{"one", "streaming", {}, 0}, {"two", "streaming", {}, 0}};
  facts.signals.server.primary = Asked<PrimaryReplication>(Result(both));
  facts.report = evaluate(facts.signals, two);
  EXPECT_EQ(failing(facts), Ids{"replication_tested"}) << "they stream, and nobody has tried a failover";
  facts.settings.failover = {ago(100 * kDay), "2026-10-07 by the platform team"};
  EXPECT_EQ(failing(facts), Ids{"replication_tested"}) << "a quarter is over";
  facts.settings.failover->time = ago(10 * kDay);
  EXPECT_EQ(failing(facts), Ids());
  facts.settings.failover.reset();
  // What always applies is not waived.
  facts.rehearsals.clear();
  facts.settings.waivers = {{"monthly_restore_test", "no time"}};
  EXPECT_TRUE(failing(facts).contains("monthly_restore_test"));
}

TEST(items, streaming_bounds_the_loss_where_archive_timeout_does_not) {
  ReportFacts facts = well();
  facts.signals.doctor.server->settings["archive_timeout"] = "0";
  pg::SenderFacts sender;
  sender.application_name = "lifeboat wal receive";
  sender.state = "streaming";
  facts.signals.doctor.server->senders.push_back(sender);
  EXPECT_EQ(failing(facts), Ids());
}

TEST(place, network_file_systems_and_urls) {
  EXPECT_TRUE(is_network_file_system("nfs4"));
  EXPECT_FALSE(is_network_file_system("ext4"));
  ops::DoctorFacts doctor;
  doctor.repository.url = "sftp://backup@vault.example.org:22/srv";
  EXPECT_EQ(place_of(doctor).distance, Distance::other_host);
  EXPECT_THAT(place_of(doctor).says, HasSubstr("vault.example.org"));
  doctor.repository.url = "s3://127.0.0.1:7480/bucket";
  EXPECT_EQ(place_of(doctor).distance, Distance::same_host);
}

TEST(documents, gaps_are_told_once_with_a_draft_for_a_missed_target) {
  ReportFacts facts = well();
  facts.settings.rto.value = 200;
  const Readiness readiness = judge_readiness(facts);
  ASSERT_EQ(readiness.gaps.size(), 1u);
  EXPECT_THAT(readiness.gaps[0].items, ElementsAre("targets_delivered", "targets_validated"));
  const auto drafts = decision_drafts(facts, readiness);
  ASSERT_EQ(drafts.size(), 1u);
  EXPECT_THAT(drafts[0], HasSubstr("RTO"));
  EXPECT_THAT(decision_drafts(well(), judge_readiness(well())), IsEmpty());
}

TEST(documents, a_figure_that_reads_like_its_target_says_why_it_is_over) {
  auto says = [](double target) {
    ReportFacts facts = well();
    facts.settings.rto.value = target;
    const Readiness readiness = judge_readiness(facts);
    return readiness.gaps.empty() ? std::string() : readiness.gaps[0].what;
  };
  EXPECT_THAT(says(239.8), HasSubstr("240.0 s of 239.8 s"));
  EXPECT_THAT(says(239.8), HasSubstr("over the target by 0.20 s"));
  EXPECT_THAT(says(240), HasSubstr("leaves nothing"));
}

TEST(documents, a_repository_that_cannot_be_read_is_one_gap_and_no_advice_to_take_a_backup) {
  ReportFacts facts = well();
  facts.signals.doctor.repository.problem = make_error(ErrorKind::unavailable, "s3://b", "does not answer");
  facts.signals.doctor.repository.backups.clear();
  facts.rehearsals.clear();
  facts.dumps.clear();
  const Readiness readiness = judge_readiness(facts);
  size_t of_repository = 0;
  for (const ReportGap& gap : readiness.gaps) {
    EXPECT_THAT(gap.what, testing::Not(HasSubstr("there is no"))) << gap.what;
    of_repository +=
        gap.what.find("the repository cannot be read: s3://b: does not answer") != std::string::npos;
  }
  EXPECT_EQ(of_repository, 1u);
}

TEST(documents, what_the_archiver_lost_is_no_delivered_rpo) {
  ReportFacts facts = well();
  facts.signals.doctor.server->archiver.emplace();
  facts.signals.doctor.server->archiver->last_archived_time = ago(kHour);
  facts.signals.doctor.repository.archived_wal = {SegmentName{{1}, 0, 3}, false, SegmentName{{1}, 0, 2}};
  EXPECT_FALSE(delivered(facts).rpo_seconds);
  EXPECT_THAT(delivered(facts).rpo_basis, HasSubstr("does not have it"));
}

TEST(documents, a_recovery_is_counted_as_one_and_the_longest_wal_as_the_plan_counts_it) {
  ReportFacts facts = well();
  facts.rehearsals[1].kind = RehearsalKind::recovery;
  EXPECT_THAT(delivered(facts).rto_basis, HasSubstr("1 drill and 1 recovery"));
  facts.rates.basis = RateBasis::drills;
  facts.rates.restore_bytes_per_second = 100e6;
  facts.rates.replay_bytes_per_second = 1e6;
  facts.rates.fixed_seconds = 3;
  facts.rates.relative_error = 0.1;
  repo::Card& newest = facts.signals.doctor.repository.backups.back();
  newest.start_lsn = {0x2000000};
  facts.signals.doctor.server->current_lsn = {0x2000000 + 300'000'000};
  // 5 GB at 100 MB/s, 300 MB of WAL at 1 MB/s, and 3 s.
  EXPECT_DOUBLE_EQ(*delivered(facts).rto_seconds, 50 + 300 + 3);
  EXPECT_DOUBLE_EQ(delivered(facts).rto_error_seconds, 35.3);
  facts.rates.replay_bytes_per_second = {};
  EXPECT_FALSE(delivered(facts).rto_seconds) << "no drill replayed as much";
  facts.rehearsals[0].wal_bytes = 300e6;
  EXPECT_EQ(delivered(facts).rto_seconds, 240) << "one did";
}

TEST(documents, what_is_stored_has_its_price) {
  ReportFacts facts = well();
  EXPECT_FALSE(storage_cost(facts).per_month.has_value()) << "nothing was measured";
  facts.stored = {.backups = 800'000'000'000, .wal = 150'000'000'000, .dumps = 50'000'000'000, .other = 0};
  EXPECT_FALSE(storage_cost(facts).per_month.has_value()) << "no price was stated";
  facts.settings.price = {0.0125, "USD", "standard_ia"};
  facts.settings.retention.pitr_days = 14;
  const StorageCost cost = storage_cost(facts);
  EXPECT_DOUBLE_EQ(cost.per_month.value_or(0), 12.5);
  const std::string markdown = report_markdown(facts, judge_readiness(facts));
  EXPECT_THAT(markdown, HasSubstr("Cost a month: 12.50 USD"));
  EXPECT_THAT(markdown, HasSubstr("WAL lives 14 days and is charged for 16 longer"));
  const auto json = readiness_json(facts, judge_readiness(facts))["storage"];
  EXPECT_EQ(json["stored"]["total_bytes"], 1'000'000'000'000);
  EXPECT_EQ(json["cost_per_month"], 12.5);
  EXPECT_EQ(json["currency"], "USD");
}

TEST(documents, a_table_survives_what_stands_in_a_message) {
  ReportFacts facts = well();
  facts.settings.owner = "a | b";
  facts.report.readings[0].policy.owner = "a | b\nc";
  EXPECT_THAT(report_markdown(facts, judge_readiness(facts)), HasSubstr("a \\| b c"));
}

// LIFEBOAT_WRITE_GOLDEN=1 writes them anew; read the difference before it is committed.
void compare_with_golden(const std::string& name, const std::string& text) {
  const char* source = std::getenv("LIFEBOAT_SOURCE_DIR");
  if (source == nullptr) GTEST_SKIP() << "LIFEBOAT_SOURCE_DIR is not set";
  const std::string path = cat(source, "/tests/golden/report/", name);
  if (std::getenv("LIFEBOAT_WRITE_GOLDEN") != nullptr) {
    ASSERT_TRUE(write_file_durable(path, as_bytes(text), 0644).has_value());
  }
  auto golden = read_text(path, 1 << 20);
  ASSERT_TRUE(golden.has_value()) << path;
  EXPECT_EQ(text, *golden) << path;
}

TEST(documents, golden_reports) {
  ReportFacts ready_facts = well();
  compare_with_golden("ready.md", report_markdown(ready_facts, judge_readiness(ready_facts)));
  ReportFacts facts = well();
  facts.rehearsals.clear();
  facts.runbooks.clear();
  facts.settings.rto.value = 60;
  facts.place = {Distance::same_host, "ext4 from /dev/sdb1, mounted at /srv"};
  const Readiness readiness = judge_readiness(facts);
  compare_with_golden("not-ready.md", report_markdown(facts, readiness));
  compare_with_golden("not-ready.json", readiness_json(facts, readiness).dump(2) + "\n");
}

TEST(rehearsals, records_of_drills_and_recoveries_are_read_and_others_passed_over) {
  const std::string text =
      R"({"format":1,"kind":"drill","time_us":1800000000000000,"host":"h","backups":[{"id":"b","level":"asserted",)"
      R"("passed":true,"problems":[]}],"rto_seconds":12.5,"target":"time 2027-01-01 00:00:00+00","medium":"mount",)"
      R"("phases":{"copy":3,"start":1}})";
  auto read = parse_rehearsal("id", text);
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(read->passed);
  EXPECT_TRUE(read->point_in_time);
  EXPECT_EQ(read->rto_seconds, 12.5);
  EXPECT_FALSE(read->rpo_seconds.has_value());
  EXPECT_EQ(read->phases.size(), 2u);
  EXPECT_FALSE(parse_rehearsal("id", R"({"format":1,"kind":"verify","time_us":1,"backups":[]})").has_value());
  EXPECT_FALSE(parse_rehearsal("id", R"({"format":1,"kind":"drill","time_us":1,"backups":[]})").has_value());
  EXPECT_FALSE(parse_rehearsal("id", "{").has_value());
  EXPECT_EQ(newest_passed({*read}, true)->id, "id");
  EXPECT_EQ(newest_passed({}, false), nullptr);
}

}  // namespace
}  // namespace lifeboat::ready
