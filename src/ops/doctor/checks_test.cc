// Every check has a canary: on sound facts nothing is wrong, and each way of being broken is named by exactly
// the check that is about it, with cause and fix.
#include "ops/doctor/checks.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "util/strings.h"

namespace lifeboat::ops {
namespace {

constexpr std::string_view kCommand =
    "/usr/bin/lifeboat --repo file:///srv/backup --cluster main --key-file /etc/lifeboat/main.key wal push "
    "%p";

Timestamp now() {
  return Timestamp::from_seconds(1'790'000'000);
}
Timestamp ago(double seconds) {
  return now().plus_us(static_cast<int64_t>(-seconds * 1e6));
}

repo::Card card(double age_seconds, repo::BackupState state = repo::BackupState::complete) {
  repo::Card one;
  one.id = BackupId::make(ago(age_seconds), 7);
  one.started = ago(age_seconds + 10);
  one.stopped = ago(age_seconds);
  one.state = state;
  return one;
}

pg::ServerFacts sound_server() {
  pg::ServerFacts server;
  server.version_num = 150013;
  server.major = 15;
  server.version_text = "15.13";
  server.system_id = {7};
  server.data_directory = "/var/lib/postgresql/15/main";
  server.wal_segment_size = {16 << 20};
  server.data_checksums = true;
  server.current_lsn = {100ull << 30};
  server.current_timeline = {1};
  server.role.name = "lifeboat";
  server.role.start_backup = server.role.stop_backup = true;
  server.role.switch_wal = server.role.restore_point = true;
  server.settings = {{"wal_level", "replica"},
                     {"archive_mode", "on"},
                     {"archive_library", ""},
                     {"archive_command", std::string(kCommand)},
                     {"archive_timeout", "60"},
                     {"max_wal_senders", "10"},
                     {"fsync", "on"},
                     {"full_page_writes", "on"},
                     {"max_replication_slots", "10"},
                     {"max_slot_wal_keep_size", "-1"},
                     {"synchronous_standby_names", "lifeboat"},
                     {"synchronous_commit", "on"}};
  server.archiver.emplace();
  server.archiver->archived_count = 12;
  server.archiver->last_archived_wal = "00000001000000190000000A";
  server.archiver->last_archived_time = ago(20);
  return server;
}

AccessFacts allowed(std::string path) {
  return {std::move(path), true, true, ""};
}

DoctorFacts sound() {
  DoctorFacts facts;
  facts.now = now();
  facts.program = "/usr/bin/lifeboat";
  facts.conninfo = "host=/run/postgresql";
  facts.expected_archive_command = kCommand;
  facts.server = sound_server();
  facts.archive_command = parse_archive_command(std::string(kCommand));
  facts.data.emplace();
  facts.data->path = "/var/lib/postgresql/15/main";
  facts.data->lineage = {{7}, 15};
  facts.data->version = pg::find_version(15);
  facts.server_user.emplace();
  facts.server_user->user.name = "postgres";
  facts.server_user->program = allowed("/usr/bin/lifeboat");
  facts.server_user->key = allowed("/etc/lifeboat/main.key");
  facts.server_user->repository = allowed("/srv/backup");
  facts.server_user->command_repo_exists = true;
  facts.backlog.emplace();
  facts.leftovers.emplace();
  facts.data_disk = DiskFacts{"/var/lib/postgresql/15/main", 1, 500ull << 30, 1000ull << 30};
  facts.wal_disk = facts.data_disk;
  facts.repository_disk = DiskFacts{"/srv/backup", 2, 500ull << 30, 1000ull << 30};
  RepositoryFacts& known = facts.repository;
  known.url = "file:///srv/backup";
  known.directory = "/srv/backup";
  known.cluster = "main";
  known.key = {repo::KeySourceKind::key_file, "/etc/lifeboat/main.key"};
  known.marker.emplace();
  known.marker->encrypted = true;
  repo::LineageRecord record;
  record.lineage = {{7}, 15};
  record.registered = ago(100 * 86400);
  known.lineages = {record};
  known.key_slots = {{1, "key-file-1", "key-file"}, {1, "passphrase-2", "passphrase"}};
  known.backups = {card(86400 + 3600), card(3600)};
  known.continuity.emplace();
  known.continuity->backup = known.backups.back().id;
  known.continuity->timeline = {1};
  known.continuity->end = {100ull << 30};
  return facts;
}

void set(DoctorFacts& facts, const std::string& name, const std::string& value) {
  facts.server->settings[name] = value;
  if (name == "archive_command") facts.archive_command = parse_archive_command(value);
}

void fail_archiving(DoctorFacts& facts) {
  facts.server->archiver->failed_count = 3;
  facts.server->archiver->last_failed_wal = "00000001000000190000000B";
  facts.server->archiver->last_failed_time = ago(1);
}

// The server says that a segment was archived so long ago, and the repository ends one before it.
void lose_wal(DoctorFacts& facts, double seconds_ago) {
  facts.server->archiver->last_archived_time = ago(seconds_ago);
  ArchivedWalFacts archived;
  archived.segment = *SegmentName::parse(facts.server->archiver->last_archived_wal);
  archived.newest = *SegmentName::parse("000000010000001900000009");
  facts.repository.archived_wal = archived;
}

TEST(Checks, sound_facts_have_nothing_wrong) {
  for (const Finding& finding : run_checks(sound())) {
    EXPECT_EQ(finding.severity, Severity::ok) << finding.id << ": " << finding.found << ": " << finding.cause;
  }
}

TEST(Checks, ids_are_unique_and_every_check_says_what_it_found) {
  std::set<std::string> ids;
  for (const Finding& finding : run_checks(sound())) {
    EXPECT_TRUE(ids.insert(finding.id).second) << finding.id;
    EXPECT_FALSE(finding.what.empty());
    EXPECT_FALSE(finding.found.empty()) << finding.id;
  }
  EXPECT_EQ(ids.size(), checks().size());
}

TEST(Checks, nothing_known_is_no_reason_to_crash_and_never_ok_about_the_server) {
  DoctorFacts facts;
  facts.server_problem = make_error(ErrorKind::unavailable, "host /run/postgresql", "no server");
  facts.data_problem = make_error(ErrorKind::not_found, "", "the data directory is not known");
  facts.repository.problem =
      make_error(ErrorKind::not_found, "file:///srv/backup", "there is no repository here");
  Findings findings = run_checks(facts);
  EXPECT_EQ(find(findings, "server")->severity, Severity::critical);
  EXPECT_EQ(find(findings, "repository")->severity, Severity::critical);
  for (std::string_view id :
       {"role", "wal_level", "archive_mode", "archive_command", "archiver", "durability", "data_checksums",
        "slots", "registration", "newest_backup", "wal_continuity"}) {
    EXPECT_EQ(find(findings, id)->severity, Severity::skipped) << id;
  }
}

struct Broken {
  std::string name;
  std::string id;  // the check that must name it
  Severity severity;
  std::string cause;  // a part of found, cause or fix
  std::function<void(DoctorFacts&)> damage;
};

class BrokenFacts : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenFacts, are_named_with_cause_and_fix) {
  DoctorFacts facts = sound();
  GetParam().damage(facts);
  Findings findings = run_checks(facts);
  const Finding* finding = find(findings, GetParam().id);
  ASSERT_NE(finding, nullptr);
  EXPECT_EQ(finding->severity, GetParam().severity) << finding->found << ": " << finding->cause;
  std::string all = cat(finding->found, "\n", finding->cause, "\n", join(finding->fix, "\n"));
  EXPECT_NE(all.find(GetParam().cause), std::string::npos) << all;
  EXPECT_FALSE(finding->cause.empty());
  EXPECT_FALSE(finding->fix.empty());
  for (const std::string& fix : finding->fix) EXPECT_FALSE(fix.empty());
}

const std::vector<Broken>& broken() {
  static const std::vector<Broken> kBroken = {
      {"foreign_directory", "data_directory", Severity::critical, "two clusters",
       [](DoctorFacts& f) {
         f.data.reset();
         f.data_problem =
             make_error(ErrorKind::foreign, "/data", "the data directory and the server are two clusters");
       }},
      {"end_of_life", "version", Severity::warning, "ended on",
       [](DoctorFacts& f) { f.now = Timestamp::from_seconds(2'000'000'000); }},
      {"wrong_key", "repository", Severity::critical, "not this repository's",
       [](DoctorFacts& f) {
         f.repository.problem = make_error(ErrorKind::wrong_key, "/k", "opens no key slot");
       }},
      {"unreadable_repository", "repository", Severity::critical, "may not read it",
       [](DoctorFacts& f) {
         f.repository.problem = make_error(ErrorKind::permission, "/srv/backup", "open");
       }},
      {"damaged_catalogue", "repository", Severity::critical, "lifeboat verify",
       [](DoctorFacts& f) {
         f.repository.catalogue_problem = make_error(ErrorKind::damaged, "cards/x", "bad seal");
       }},
      {"not_registered", "registration", Severity::critical, "lifeboat init",
       [](DoctorFacts& f) { f.repository.lineages.clear(); }},
      {"foreign_system_identifier", "registration", Severity::critical, "--new-lineage",
       [](DoctorFacts& f) { f.server->system_id = {8}; }},
      {"no_grants", "role", Severity::critical, "GRANT EXECUTE ON FUNCTION pg_backup_start",
       [](DoctorFacts& f) { f.server->role.start_backup = false; }},
      {"refused_view", "role", Severity::warning, "pg_file_settings",
       [](DoctorFacts& f) { f.server->refused.push_back({"pg_file_settings", "42501", "grant select"}); }},
      {"minimal_wal", "wal_level", Severity::critical, "'replica'",
       [](DoctorFacts& f) { set(f, "wal_level", "minimal"); }},
      {"archiving_off", "archive_mode", Severity::critical, "nothing archives",
       [](DoctorFacts& f) { set(f, "archive_mode", "off"); }},
      {"off_since_a_restore", "archive_mode", Severity::critical, "a restore turned it off",
       [](DoctorFacts& f) {
         set(f, "archive_mode", "off");
         f.leftovers->archive_off = true;
       }},
      {"waits_for_restart", "archive_mode", Severity::critical, "restart",
       [](DoctorFacts& f) {
         set(f, "archive_mode", "off");
         f.server->pending_restart = {"archive_mode"};
       }},
      {"library_15", "archive_library", Severity::critical, "takes the place",
       [](DoctorFacts& f) { set(f, "archive_library", "basic_archive"); }},
      {"library_16", "archive_library", Severity::critical, "refuses to work",
       [](DoctorFacts& f) {
         f.server->major = 16;
         set(f, "archive_library", "basic_archive");
       }},
      {"empty_command", "archive_command", Severity::critical, "piles up",
       [](DoctorFacts& f) { set(f, "archive_command", ""); }},
      {"foreign_command", "archive_command", Severity::critical, "does not run lifeboat",
       [](DoctorFacts& f) { set(f, "archive_command", "test ! -f /a/%f && cp %p /a/%f"); }},
      {"refused", "archive_command", Severity::critical, "refuses it: there is no option --clustr",
       [](DoctorFacts& f) {
         set(f, "archive_command", "/usr/bin/lifeboat wal push --repo file:///srv/backup --clustr main %p");
         f.archive_command.refused = "there is no option --clustr";
       }},
      {"no_path", "archive_command", Severity::critical, "%p",
       [](DoctorFacts& f) {
         set(f, "archive_command", "/usr/bin/lifeboat --repo file:///srv/backup wal push %f");
       }},
      {"other_repository", "archive_command", Severity::critical, "file:///srv/old",
       [](DoctorFacts& f) {
         set(f, "archive_command", "/usr/bin/lifeboat wal push --repo file:///srv/old %p");
       }},
      {"other_cluster", "archive_command", Severity::critical, "cluster shop",
       [](DoctorFacts& f) {
         set(f, "archive_command", "/usr/bin/lifeboat --repo file:///srv/backup --cluster shop wal push %p");
       }},
      {"no_key", "archive_command", Severity::critical, "names no key",
       [](DoctorFacts& f) {
         set(f, "archive_command", "/usr/bin/lifeboat --repo file:///srv/backup --cluster main wal push %p");
       }},
      {"by_path", "archive_command", Severity::warning, "relies on PATH",
       [](DoctorFacts& f) {
         set(f, "archive_command",
             "lifeboat --repo /srv/backup --key-file /etc/lifeboat/main.key wal push %p");
       }},
      {"shell_around_it", "archive_command", Severity::warning, "exit code",
       [](DoctorFacts& f) { set(f, "archive_command", cat(kCommand, " || true")); }},
      {"program_missing", "archive_program", Severity::critical, "does not count this as a failure",
       [](DoctorFacts& f) {
         f.server_user->program = AccessFacts{"/usr/bin/lifeboat", false, false, "it is not there"};
       }},
      {"program_forbidden", "archive_program", Severity::critical, "chmod 755",
       [](DoctorFacts& f) {
         f.server_user->program = AccessFacts{"/usr/bin/lifeboat", true, false, "/usr has mode"};
       }},
      {"key_missing", "archive_key", Severity::critical, "not there",
       [](DoctorFacts& f) {
         f.server_user->key = AccessFacts{"/etc/lifeboat/main.key", false, false, "none"};
       }},
      {"key_forbidden", "archive_key", Severity::critical, "chown postgres",
       [](DoctorFacts& f) {
         f.server_user->key = AccessFacts{"/etc/lifeboat/main.key", true, false, "mode 0600"};
       }},
      {"repository_missing", "archive_repository", Severity::critical, "not mounted",
       [](DoctorFacts& f) { f.server_user->repository = AccessFacts{"/srv/backup", false, false, "none"}; }},
      {"repository_forbidden", "archive_repository", Severity::critical, "chown -R postgres",
       [](DoctorFacts& f) {
         f.server_user->repository = AccessFacts{"/srv/backup", true, false, "mode 0755"};
       }},
      {"empty_mount_point", "archive_repository", Severity::critical, "holds no repository",
       [](DoctorFacts& f) { f.server_user->command_repo_exists = false; }},
      {"timeout_off", "archive_timeout", Severity::warning, "60s",
       [](DoctorFacts& f) { set(f, "archive_timeout", "0"); }},
      // P4: a timeout as long as the RPO is over it.
      {"timeout_as_long_as_the_rpo", "archive_timeout", Severity::warning, "storing takes time",
       [](DoctorFacts& f) { set(f, "archive_timeout", "300"); }},
      {"archiver_failing_unknown", "archiver", Severity::critical, "was not archived",
       [](DoctorFacts& f) { fail_archiving(f); }},
      {"archiver_failing_by_push", "archiver", Severity::critical, "no space left",
       [](DoctorFacts& f) {
         fail_archiving(f);
         f.push_failure.emplace();
         f.push_failure->last = ago(2);
         f.push_failure->kind = "space";
         f.push_failure->text = "/srv/backup: write: no space left on device";
       }},
      // T27.
      {"archiver_dropped_wal", "archiver", Severity::critical, "the store was away",
       [](DoctorFacts& f) {
         f.dropped.push_back(
             {{1}, {0x1000000}, {0x2000000}, ago(2), "", "dropped because the store was away"});
       }},
      {"archive_command_that_lifeboat_refuses", "archive_command", Severity::warning, "it fails each time",
       [](DoctorFacts& f) {
         set(f, "archive_command", cat(f.expected_archive_command, " --nonsense 1"));
         fail_archiving(f);
       }},
      {"archiver_failing_by_old_note", "archiver", Severity::critical, "does not run lifeboat",
       [](DoctorFacts& f) {
         fail_archiving(f);
         f.push_failure.emplace();  // of another day: not this failure's cause
         f.push_failure->last = ago(86400);
         f.push_failure->kind = "space";
         f.push_failure->text = "no space left on device";
         set(f, "archive_command", "false");
       }},
      {"archiver_failing_by_conflict", "archiver", Severity::critical, "two servers with one identity",
       [](DoctorFacts& f) {
         fail_archiving(f);
         f.repository.failed_wal = FailedWalFacts{"00000001000000190000000B", true, false, true};
       }},
      {"archiver_failing_by_key", "archiver", Severity::critical, "not there",
       [](DoctorFacts& f) {
         fail_archiving(f);
         f.server_user->key = AccessFacts{"/etc/lifeboat/main.key", false, false, "none"};
       }},
      // '/bin/true' says "archived" and fails never.
      {"archiver_that_stores_nothing", "archiver", Severity::critical, "and stores nothing",
       [](DoctorFacts& f) {
         set(f, "archive_command", "/bin/true");
         lose_wal(f, 100);
       }},
      {"archiver_of_which_nothing_comes", "archiver", Severity::critical, "without storing anything here",
       [](DoctorFacts& f) { lose_wal(f, 100); }},
      {"archiver_beside_a_receiver_that_is_away", "archiver", Severity::warning, "wal receive",
       [](DoctorFacts& f) {
         lose_wal(f, 100);
         pg::SlotFacts slot;
         slot.name = "lifeboat_main";
         slot.type = "physical";
         slot.restart_lsn = {0x1900000000};
         f.server->slots.push_back(slot);
       }},
      {"backlog_young", "archive_backlog", Severity::warning, "since",
       [](DoctorFacts& f) { f.backlog = BacklogFacts{3, "00000001000000190000000B", ago(90)}; }},
      {"backlog_old", "archive_backlog", Severity::critical, "since",
       [](DoctorFacts& f) { f.backlog = BacklogFacts{300, "00000001000000190000000B", ago(3600)}; }},
      // T21: the shell's 127 is not counted as a failure, only the backlog shows it.
      {"backlog_by_missing_program", "archive_backlog", Severity::critical, "cannot run it",
       [](DoctorFacts& f) {
         f.backlog = BacklogFacts{3, "00000001000000190000000B", ago(600)};
         f.server_user->program = AccessFacts{"/usr/bin/lifeboat", false, false, "it is not there"};
       }},
      {"fsync_off", "durability", Severity::critical, "power cut",
       [](DoctorFacts& f) { set(f, "fsync", "off"); }},
      {"full_page_writes_off", "durability", Severity::warning, "torn pages",
       [](DoctorFacts& f) { set(f, "full_page_writes", "off"); }},
      {"no_checksums", "data_checksums", Severity::warning, "pg_checksums --enable",
       [](DoctorFacts& f) { f.server->data_checksums = false; }},
      {"no_senders", "wal_senders", Severity::warning, "max_wal_senders",
       [](DoctorFacts& f) { set(f, "max_wal_senders", "0"); }},
      {"slot_behind", "slots", Severity::warning, "pg_drop_replication_slot('old')",
       [](DoctorFacts& f) {
         f.server->slots.push_back({"old", "physical", "", false, false, {90ull << 30}, "extended"});
       }},
      {"slot_fills_the_disk", "slots", Severity::critical, "max_slot_wal_keep_size",
       [](DoctorFacts& f) {
         f.server->slots.push_back({"old", "physical", "", false, false, {90ull << 30}, "extended"});
         f.wal_disk->free_bytes = 5ull << 30;
       }},
      {"slot_lost", "slots", Severity::warning, "has lost",
       [](DoctorFacts& f) { f.server->slots.push_back({"old", "physical", "", false, false, {}, "lost"}); }},
      {"remote_apply", "synchronous_receiver", Severity::critical, "applies nothing",
       [](DoctorFacts& f) { set(f, "synchronous_commit", "remote_apply"); }},
      {"leftover_target", "restore_leftovers", Severity::warning, "ALTER SYSTEM RESET recovery_target_name",
       [](DoctorFacts& f) { f.leftovers->recovery_set = {"recovery_target_name = before"}; }},
      {"data_disk_full", "disk_data", Severity::critical, "filling up",
       [](DoctorFacts& f) { f.data_disk->free_bytes = 5ull << 30; }},
      {"wal_disk_filling", "disk_wal", Severity::warning, "never delete from pg_wal",
       [](DoctorFacts& f) { f.wal_disk = DiskFacts{"/wal", 3, 15ull << 30, 100ull << 30}; }},
      {"repository_disk_full", "disk_repository", Severity::critical, "expire",
       [](DoctorFacts& f) { f.repository_disk->free_bytes = 1 << 20; }},
      {"same_device", "same_device", Severity::warning, "one file system",
       [](DoctorFacts& f) { f.repository_disk->device = 1; }},
      {"one_key", "key_slots", Severity::warning, "key add",
       [](DoctorFacts& f) { f.repository.key_slots.resize(1); }},
      {"no_backup_for_long", "newest_backup", Severity::critical, "no backup yet",
       [](DoctorFacts& f) { f.repository.backups.clear(); }},
      {"no_backup_since_an_hour", "newest_backup", Severity::warning, "no backup yet",
       [](DoctorFacts& f) {
         f.repository.backups.clear();
         f.repository.lineages[0].registered = ago(3600);
       }},
      {"old_backup", "newest_backup", Severity::warning, "schedule",
       [](DoctorFacts& f) { f.repository.backups = {card(30 * 3600)}; }},
      {"very_old_backup", "newest_backup", Severity::critical, "schedule",
       [](DoctorFacts& f) { f.repository.backups = {card(30 * 86400)}; }},
      {"only_damaged_backups", "newest_backup", Severity::critical, "marked damaged",
       [](DoctorFacts& f) { f.repository.backups = {card(3600, repo::BackupState::damaged)}; }},
      {"newest_is_damaged", "newest_backup", Severity::warning, "marked damaged",
       [](DoctorFacts& f) { f.repository.backups.push_back(card(60, repo::BackupState::damaged)); }},
      {"hole_in_wal", "wal_continuity", Severity::critical, "00000001000000000000000A is missing",
       [](DoctorFacts& f) { f.repository.continuity->missing = SegmentName{{1}, 0, 10}; }},
      // T46
      {"split_brain", "wal_continuity", Severity::critical, "two contents",
       [](DoctorFacts& f) { f.repository.continuity->conflict = SegmentName{{1}, 0, 10}; }},
  };
  return kBroken;
}

INSTANTIATE_TEST_SUITE_P(All, BrokenFacts, ::testing::ValuesIn(broken()),
                         [](const auto& instance) { return instance.param.name; });

TEST(Checks, every_check_has_a_canary) {
  std::set<std::string> shown = {"server"};  // by nothing_known_…
  for (const Broken& one : broken()) shown.insert(one.id);
  for (const Check& check : checks()) EXPECT_TRUE(shown.contains(std::string(check.id))) << check.id;
}

TEST(Checks, a_standby_is_not_blamed_for_not_archiving) {
  DoctorFacts facts = sound();
  facts.server->in_recovery = true;
  set(facts, "archive_mode", "off");
  fail_archiving(facts);
  Findings findings = run_checks(facts);
  EXPECT_EQ(find(findings, "archive_mode")->severity, Severity::warning);
  EXPECT_EQ(find(findings, "archiver")->severity, Severity::skipped);
}

TEST(Checks, streaming_alone_is_enough) {
  DoctorFacts facts = sound();
  set(facts, "archive_mode", "off");
  set(facts, "archive_command", "");
  pg::SenderFacts sender;
  sender.application_name = "lifeboat wal receive";
  sender.state = "streaming";
  facts.server->senders.push_back(sender);
  Findings findings = run_checks(facts);
  EXPECT_EQ(find(findings, "archive_mode")->severity, Severity::ok);
  EXPECT_EQ(find(findings, "archive_command")->severity, Severity::ok);
}

TEST(Checks, a_past_failure_that_was_followed_by_success_is_no_finding) {
  DoctorFacts facts = sound();
  fail_archiving(facts);
  facts.server->archiver->last_failed_time = ago(600);
  EXPECT_EQ(find(run_checks(facts), "archiver")->severity, Severity::ok);
}

TEST(Checks, wal_that_did_not_come_is_lost_only_where_something_rests_on_it) {
  auto severity_when = [](const std::function<void(DoctorFacts&)>& change) {
    DoctorFacts facts = sound();
    lose_wal(facts, 100);
    change(facts);
    return find(run_checks(facts), "archiver")->severity;
  };
  EXPECT_EQ(severity_when([](DoctorFacts&) {}), Severity::critical);
  EXPECT_EQ(severity_when([](DoctorFacts& f) { f.repository.archived_wal->came = true; }), Severity::ok);
  EXPECT_EQ(severity_when([](DoctorFacts& f) { lose_wal(f, 1); }), Severity::critical)
      << "ours says archived of what is stored";
  EXPECT_EQ(severity_when([](DoctorFacts& f) {
              lose_wal(f, 1);
              f.archive_command.ours = false;
            }),
            Severity::ok)
      << "a receiver at a standby may be a moment behind";
  EXPECT_EQ(severity_when([](DoctorFacts& f) {
              lose_wal(f, 1);
              f.archive_command.ours = false;
              f.repository.archived_wal->newest = *SegmentName::parse("000000010000001900000001");
            }),
            Severity::critical)
      << "but not by so much";
  EXPECT_EQ(severity_when([](DoctorFacts& f) { f.repository.backups.back().start_lsn = {0x190B000000}; }),
            Severity::ok)
      << "the newest backup does not need it";
  EXPECT_EQ(severity_when([](DoctorFacts& f) { f.repository.backups.clear(); }), Severity::ok);
  EXPECT_EQ(severity_when([](DoctorFacts& f) {
              pg::SenderFacts sender;
              sender.application_name = "lifeboat wal receive";
              sender.state = "streaming";
              f.server->senders.push_back(sender);
            }),
            Severity::ok);
}

TEST(Checks, a_registered_cluster_whose_server_is_away_has_no_backup_yet_and_is_not_unregistered) {
  DoctorFacts facts = sound();
  facts.server.reset();
  facts.server_problem = make_error(ErrorKind::unavailable, "db1", "connection refused");
  facts.data.reset();
  facts.data_problem = make_error(ErrorKind::not_found, "", "the data directory is not known");
  facts.repository.backups.clear();
  facts.repository.continuity.reset();
  Findings findings = run_checks(facts);
  EXPECT_EQ(find(findings, "newest_backup")->found, "there is no backup yet");
  facts.repository.lineages.clear();
  findings = run_checks(facts);
  EXPECT_EQ(find(findings, "newest_backup")->found, "the cluster is not registered");
}

TEST(Checks, setup_leaves_out_what_only_a_running_cluster_has) {
  Findings findings = run_checks(sound(), CheckScope::setup);
  EXPECT_EQ(find(findings, "newest_backup"), nullptr);
  EXPECT_EQ(find(findings, "archiver"), nullptr);
  EXPECT_NE(find(findings, "archive_command"), nullptr);
}

TEST(Checks, commands_to_paste_stand_on_their_own) {
  DoctorFacts facts = sound();
  facts.repository.backups.clear();
  facts.repository.lineages.back().registered = ago(60);
  std::vector<std::string> fix = find(run_checks(facts), "newest_backup")->fix;
  EXPECT_EQ(fix,
            std::vector<std::string>{
                "/usr/bin/lifeboat backup --repo file:///srv/backup --key-file /etc/lifeboat/main.key --pg "
                "host=/run/postgresql --pgdata /var/lib/postgresql/15/main"});
  facts.person = Person::sudoer;
  fix = find(run_checks(facts), "newest_backup")->fix;
  EXPECT_EQ(fix.front().find("sudo -u postgres /usr/bin/lifeboat backup"), 0u) << fix.front();
}

TEST(Checks, a_failure_before_the_newest_configuration_is_told_as_past) {
  DoctorFacts facts = sound();
  fail_archiving(facts);
  EXPECT_EQ(find(run_checks(facts), "archiver")->severity, Severity::critical);
  facts.server->archiver->last_archived_time = ago(600);
  facts.server->archiver->last_failed_time = ago(30);
  facts.server->archiver->configuration_read = ago(5);
  facts.backlog = BacklogFacts{3, "00000001000000190000000B", ago(600)};
  Findings findings = run_checks(facts);
  EXPECT_EQ(find(findings, "archiver")->severity, Severity::warning);
  EXPECT_NE(find(findings, "archiver")->cause.find("next attempt, within a minute"), std::string::npos);
  EXPECT_EQ(find(findings, "archive_backlog")->severity, Severity::warning);
  // A new configuration that is wrong too is no news.
  set(facts, "archive_command", "false");
  EXPECT_EQ(find(run_checks(facts), "archiver")->severity, Severity::critical);
}

TEST(Checks, a_backlog_that_shrinks_says_that_the_failure_is_past) {
  DoctorFacts facts = sound();
  facts.server->archiver->failed_count = 3;
  facts.server->archiver->last_failed_time = ago(100);
  facts.server->archiver->last_archived_time = ago(2);
  facts.backlog = BacklogFacts{300, "00000001000000190000000B", ago(3600)};
  Findings findings = run_checks(facts);
  const Finding* backlog = find(findings, "archive_backlog");
  EXPECT_EQ(backlog->severity, Severity::warning);
  EXPECT_NE(backlog->cause.find("older than its newest success"), std::string::npos) << backlog->cause;
  EXPECT_EQ(find(findings, "archiver")->severity, Severity::ok);
  EXPECT_NE(find(findings, "archiver")->found.find("3 failures"), std::string::npos);
}

TEST(Checks, a_promoted_copy_is_first_asked_what_it_is_for) {
  DoctorFacts facts = sound();
  set(facts, "archive_mode", "off");
  facts.leftovers->archive_off = true;
  const Findings findings = run_checks(facts);
  const Finding* mode = find(findings, "archive_mode");
  EXPECT_EQ(mode->severity, Severity::critical);
  EXPECT_EQ(mode->fix.front().find("# Does this copy replace the original"), 0u) << mode->fix.front();
}

}  // namespace
}  // namespace lifeboat::ops
