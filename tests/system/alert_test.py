#!/usr/bin/env python3
"""Alerts, end to end: each fault is caused on a real server, its alert arrives at a real HTTP server and a real mail server, and
when the fault is mended so does the end of it. Nobody is told twice, nobody is forgotten, and no secret leaks (M2, D3)."""

import contextlib
import json
import os
import re
import time
import unittest

from harness import SystemTest, account, flip_bit, give, main, new_directory, pg_bin, run, tmpfs, tool, wait_until
from receivers import HttpReceiver, SmtpServer, secret_file

CONFIG, USAGE, UNAVAILABLE, CHECK_FAILED = 3, 2, 8, 17
TOKEN, ROUTING_KEY, SLACK_PATH = "t0ken-of-webhook", "routing-key-of-pagerduty", "/services/T000/B000/slack-secret"


class AlertCase(SystemTest):
    """A registered server with archiving, a configuration with signals and receivers, and the receivers themselves."""

    cluster_options = {}

    def setUp(self):
        super().setUp()
        self.server = self.cluster(self.two_majors()[-1], **self.cluster_options)
        self.place = new_directory("alerts")
        self.state = self.place / "state"
        self.lb = self.lifeboat(self.server, repo=new_directory("r") / "repo")
        self.lb("init", "--yes", live=True).ok()
        self.http = HttpReceiver()
        self.addCleanup(self.http.close)
        self.signals, self.receivers = {}, {}
        self.last = {}  # of each signal that the hook was told of: its last status
        self.receiver("hook", 'type = "webhook"', f'url = "{self.http.url}/hook"')

    def receiver(self, name, *lines):
        self.receivers[name] = lines

    def configure(self):
        path = self.place / "lifeboat.toml"
        lines = ["[cluster.main]", f'repo = "file://{self.lb.repo_path}"', f'pg = "{self.server.conninfo()}"',
                 f'pgdata = "{self.server.data}"', f'state-dir = "{self.state}"', 'owner = "dba"', 'pg-bin = ' f'"{pg_bin(self.server.major)}"']
        for signal, keys in self.signals.items():
            lines += [f"[cluster.main.signals.{signal}]", *keys]
        for name, keys in self.receivers.items():
            lines += [f"[alert.{name}]", *keys]
        path.write_text("\n".join(lines) + "\n")
        give(path)
        return path

    def only(self, *ids):
        """All other signals are switched off."""
        off = {one["id"] for one in self.lb("status", "--owner", "dba", live=True).json["signals"]} - set(ids)
        for signal in off:
            self.signals.setdefault(signal, ["enabled = false"])

    def alert(self, *words, **options):
        return self.lb("alert", *words, "--config", self.configure(), **options)

    def check(self):
        """One check that reaches everybody; what the hook was told: [(signal, status, severity)]."""
        self.document = self.alert("check").ok().json
        return self.told()

    def alerts(self):
        """What the hook was told since the last call."""
        alerts = [alert for _, _, document in self.http.take() for alert in document["alerts"]]
        self.last.update((alert["signal"], alert["status"]) for alert in alerts)
        return alerts

    def told(self):
        return [(alert["signal"], alert["status"], alert["severity"]) for alert in self.alerts()]

    def fires(self, signal, severity="critical", tries=100):
        """Checks until it fires; the alert as the hook got it."""
        for _ in range(tries):
            self.document = self.alert("check").ok().json
            # All of them, so that each is noted.
            for alert in [one for one in self.alerts() if (one["signal"], one["status"]) == (signal, "firing")]:
                if severity in (None, alert["severity"]):
                    return alert
            time.sleep(0.1)
        self.fail(f"{signal} does not fire: {self.signal(signal)}")

    def resolves(self, signal, tries=100):
        for _ in range(tries):
            if (signal, "resolved") in [(name, status) for name, status, _ in self.check()]:
                return
            time.sleep(0.1)
        self.fail(f"{signal} does not resolve: {self.signal(signal)}")

    def signal(self, name):
        return next(one for one in self.document["signals"] if one["id"] == name)


class FaultCase(AlertCase):
    """Alerts are fired by their faults, and resolved by mending them. What the hook is told, the mail server is told too."""

    faults = set()  # signals that its tests fire and resolve for real, all of them together

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fired, cls.resolved, cls.passed = set(), set(), set()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        # Only when none was left out, skipped or failed.
        if cls.passed == set(unittest.defaultTestLoader.getTestCaseNames(cls)) and cls.faults != cls.fired & cls.resolved:
            raise AssertionError(f"fired for real: {sorted(cls.fired)}\nand resolved: {sorted(cls.resolved)}\n"
                                 f"expected: {sorted(cls.faults)}")

    def setUp(self):
        super().setUp()
        self.mail()

    def tearDown(self):
        super().tearDown()
        if self._outcome.success:
            self.passed.add(self._testMethodName)

    def alerts(self):
        alerts = super().alerts()
        for alert in alerts:
            if "cannot be read" not in alert["found"]:  # told as well, but not the signal's own fault
                (self.fired if alert["status"] == "firing" else self.resolved).add(alert["signal"])
            wait_until(lambda alert=alert: self.mailed(alert), f"the mail of {alert['signal']}, {alert['status']}", timeout=10)
        return alerts

    def mailed(self, alert):
        state = "resolved" if alert["status"] == "resolved" else alert["severity"]
        return any(re.search(rf"(?m)^\[{state}\] {alert['signal']}\b", message.get_content()) for _, _, message in self.smtp.mails)

    def mail(self, **options):
        server = self.smtp = SmtpServer(**options)
        self.addCleanup(server.close)
        self.receiver("mail", 'type = "email"', f'server = "{server.url}"', f'user = "{server.user}"',
                      f'password-file = "{secret_file(server.password)}"', f'ca-file = "{server.ca}"', 'from = "lifeboat@localhost"',
                      'to = ["dba@localhost", "boss@localhost"]')
        return server


class Faults(FaultCase):
    # The others: alert_backup_faults_test.py, which also compares both with the registry.
    faults = {"archive_off", "backup_age", "backup_damage", "backup_failures", "backup_success_rate", "checksum_failures",
              "connections", "drill_age", "drill_result", "multixact_wraparound", "replication_lag", "repository_down",
              "repository_used", "server_down", "storage_used", "wal_archive_lag", "wal_gaps", "xid_wraparound"}

    def test_archiving_is_broken(self):
        mail = self.smtp
        self.only("wal_archive_lag", "archive_off")
        self.signals["wal_archive_lag"] = ['warning = "1s"', 'critical = "2s"']
        alert = self.fires("archive_off")  # nobody has turned archiving on yet
        self.assertEqual(alert["owner"], "dba")
        sender, to, message = mail.take()[-1]
        self.assertEqual((sender, to), ("<lifeboat@localhost>", ["<dba@localhost>", "<boss@localhost>"]))
        self.assertIn("[critical] main: archive_off", message["Subject"])
        self.assertIn("owner: dba", message.get_content())
        self.assertTrue(message["Date"] and message["Message-ID"])
        self.server.archive_with(self.lb.archive_command())
        self.resolves("archive_off")
        self.assertIn("[resolved] main: archive_off", mail.take()[-1][2]["Subject"])
        self.server.configure(archive_command="false").reload()
        self.server.switch_wal()
        alert = self.fires("wal_archive_lag")
        self.assertIn("was not archived", alert["found"])
        self.server.archive_with(self.lb.archive_command())
        self.server.restart()  # the archiver sleeps for a minute after three failures
        self.server.wait_archived()
        self.resolves("wal_archive_lag")
        self.assertIn("STARTTLS", mail.commands)
        # A command that says "archived" and stores nothing: the archiver never counts a failure.
        self.lb("backup", live=True).ok()
        self.server.configure(archive_command="/bin/true").reload()
        self.assertIn("stores nothing", self.fires("archive_off")["found"])
        warned = self.lb("backup", live=True).ok().json["warnings"]
        self.assertTrue([one for one in warned if "stores nothing" in one], warned)
        for _ in range(5):
            self.server.switch_wal()
        for _ in range(100):
            self.check()
            if "the repository does not have it" in self.signal("archive_off")["found"]:
                break
            time.sleep(0.1)
        self.assertIn("the repository does not have it", self.signal("archive_off")["found"])
        healed = self.lb("heal", "--config", self.configure())
        self.assertIn("the repository does not have it", str([one["found"] for one in healed.json["findings"]]))
        self.server.archive_with(self.lb.archive_command())
        self.lb("backup", live=True).ok()
        self.resolves("archive_off")
        # And over TLS from the beginning.
        mail = self.mail(implicit=True)
        self.server.configure(archive_mode="off").restart()
        self.fires("archive_off")
        self.assertEqual(len(mail.take()), 1)

    def test_backups_age_and_fail(self):
        self.server.archive_with(self.lb.archive_command())
        self.only("backup_age", "backup_failures", "backup_success_rate", "drill_age", "drill_result")
        self.signals["drill_age"] = ["enabled = false"]
        self.signals["backup_success_rate"] = ['warning = "60%"', 'critical = "55%"']
        self.assertIn("no complete backup", self.fires("backup_age")["found"])
        self.lb("backup", live=True).ok()
        ended = time.monotonic()
        self.resolves("backup_age")
        # A backup that is killed leaves its lease; the next one says that it failed.
        time.sleep(1)  # ids of one second are in no order, and a failure before the newest backup counts no more
        running = self.lb.background("backup", "--rate", "1MB", "--type", "full", live=True)
        wait_until(lambda: len(list(self.lb.repo_path.glob("clusters/*/*/packs/*"))) > 1, "its first pack")
        running.stop()
        alert = self.fires("backup_failures", "warning")
        self.assertIn("1 failure", alert["found"])
        self.assertEqual(self.signal("backup_success_rate")["verdict"], "critical")
        self.assertIn("1 of 2 backups", self.signal("backup_success_rate")["found"])
        self.assertEqual(self.last["backup_success_rate"], "firing")
        # Old is what took long here, so that the next one, which is checked at once, is young.
        time.sleep(3)
        age = int(time.monotonic() - ended)
        self.signals["backup_age"] = [f'warning = "{age - 1}s"', f'critical = "{age}s"']
        self.fires("backup_age")
        self.lb("backup", live=True).ok()
        self.resolves("backup_age")
        self.assertEqual((self.last["backup_failures"], self.last["backup_success_rate"]), ("resolved", "resolved"))
        self.assertIn("2 of 3 backups", self.signal("backup_success_rate")["found"])
        # Drills.
        self.signals["drill_age"] = []
        self.fires("drill_age")
        def drill(sql):
            return self.lb("drill", "--full", "--to", new_directory("drill") / "d", "--pg-bin", pg_bin(self.server.major), "--sql", sql)
        self.assertNotEqual(drill("SELECT false").code, 0)
        alert = self.fires("drill_result")
        self.assertIn("failed", alert["found"])
        drill("SELECT true").ok()
        self.resolves("drill_result")
        self.assertEqual(self.last["drill_age"], "resolved")

    def test_disks_fill(self):
        repository, space = tmpfs(256), tmpfs(64)
        lb = self.lifeboat(self.server, repo=repository / "repo")
        lb("init", "--yes", live=True).ok()
        self.lb = lb
        location = space / "space"
        location.mkdir()
        give(location)
        self.server.psql(f"CREATE TABLESPACE small LOCATION '{location}'")
        self.only("storage_used", "repository_used")
        self.assertEqual(self.check(), [])
        for signal, directory, megabytes in (("repository_used", repository, 240), ("storage_used", location, 60)):
            ballast = directory / "ballast"
            ballast.write_bytes(b"\1" * (megabytes << 20))
            alert = self.fires(signal)
            self.assertRegex(alert["value"], r"9\d(\.\d)? %")
            ballast.unlink()
            self.resolves(signal)
        self.assertIn(str(location), [one["object"] for one in self.signal("storage_used")["objects"]])

    def test_the_server_stops(self):
        self.only("server_down")
        self.assertEqual(self.check(), [])
        self.server.stop()
        self.assertIn("cannot connect", self.fires("server_down")["found"])
        self.server.start()
        self.resolves("server_down")

    def test_the_repository_goes_away(self):
        self.only("repository_down")
        self.assertEqual(self.check(), [])
        away = self.lb.repo_path.with_name("away")
        self.lb.repo_path.rename(away)
        self.assertIn(str(self.lb.repo_path), self.fires("repository_down")["found"])
        away.rename(self.lb.repo_path)
        self.resolves("repository_down")

    def test_a_stored_backup_is_damaged(self):
        self.server.archive_with(self.lb.archive_command())
        self.lb("backup", live=True).ok()
        pack = next(path for path in self.lb.repo_path.glob("clusters/*/*/packs/*/*.data"))
        self.lb("backup", "--type", "full", live=True).ok()
        self.only("backup_damage")
        self.assertEqual(self.check(), [])
        flip_bit(pack, 100)
        self.assertFails(self.lb("verify"), CHECK_FAILED)
        self.fires("backup_damage", "warning")
        status = self.lb("wal", "status").json["lineages"][0]
        self.assertEqual((status["damaged_backups"], status["timelines"][0]["windows"][0]["backups"]), (1, 1))
        flip_bit(pack, 100)
        self.lb("verify").ok()
        self.resolves("backup_damage")

    def test_a_page_is_damaged(self):
        self.server.psql("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g; CHECKPOINT")
        path = self.server.data / self.server.value("SELECT pg_relation_filepath('t')")
        self.only("checksum_failures")
        self.assertEqual(self.check(), [])
        self.server.stop()
        whole = path.read_bytes()
        path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        self.server.start()
        with self.assertRaises(Exception):
            self.server.psql("SELECT count(*) FROM t")
        self.assertIn("database postgres", self.fires("checksum_failures")["found"])
        self.server.stop()
        path.write_bytes(whole)
        self.server.start()
        self.server.psql("SELECT count(*) FROM t; SELECT pg_stat_reset()")  # as the signal's action says
        self.resolves("checksum_failures")

    def test_a_standby_stops(self):
        self.only("replication_lag")
        self.signals["replication_lag"] = ["standbys = 1"]
        self.fires("replication_lag")  # one is expected, and there is none
        standby = self.standby()
        self.resolves("replication_lag")
        standby.stop()
        alert = self.fires("replication_lag")
        self.assertIn("0 of 1", alert["found"])
        self.assertIn("slot one", alert["found"])
        standby.start()
        self.resolves("replication_lag")
        # Its replay stands still while WAL comes: told by bytes.
        standby.psql("SELECT pg_wal_replay_pause()")
        self.server.psql("CREATE TABLE big AS SELECT repeat('x', 1000) AS a FROM generate_series(1, 20000)")
        alert = self.fires("replication_lag")
        self.assertIn("behind", alert["found"])
        standby.psql("SELECT pg_wal_replay_resume()")
        self.resolves("replication_lag")

    def standby(self):
        from harness import Cluster
        directory = new_directory("standby") / "data"
        run([tool("pg_basebackup", self.server.major), "-D", directory, "-R", "-C", "-S", "one", "-X", "stream", "-c", "fast", "-d",
             self.server.conninfo() + " application_name=one"], timeout=120)
        return Cluster.attach(directory, self.server.major, start=True)

    def test_connections_are_used_up(self):
        self.server.configure(max_connections=10).restart()
        self.server.psql("CREATE ROLE watcher LOGIN IN ROLE pg_monitor")
        self.only("connections")
        self.assertEqual(self.check(), [])
        sessions = [self.server.session() for _ in range(7)]
        alert = self.fires("connections")
        self.assertIn("of 7 in use", alert["found"])
        # An ordinary role is refused altogether, which says it too.
        refused = self.lb("status", "--config", self.path_with_role("watcher"))
        connections = refused.json["signals"][0]
        self.assertEqual((connections["id"], connections["verdict"]), ("connections", "critical"), connections)
        self.server._close_sessions()
        del sessions
        self.resolves("connections")

    def path_with_role(self, role):
        path = self.configure()
        path.write_text(path.read_text().replace("user=postgres", f"user={role}"))
        return path

    def test_transaction_ids_grow_old(self):
        """pg_resetwal moves the counters of a throw-away server, as years of load would have."""
        self.server.configure(autovacuum_freeze_max_age=2_000_000_000, autovacuum_multixact_freeze_max_age=2_000_000_000, autovacuum="off")
        self.server.stop()
        # The pages that the new counters point at: transaction status is 2 bits each, multixact offsets are 4 bytes.
        for directory, number, per_segment in (("pg_xact", 600_000_000, 1 << 20), ("pg_multixact/offsets", 1_100_000_000, 1 << 16)):
            segment = self.server.data / directory / f"{number // per_segment:04X}"
            segment.write_bytes(bytes(256 << 10))
            give(segment)
        run([self.server.bin / "pg_resetwal", "-D", self.server.data, "-x", "600000000", "-m", "1100000000,1"])
        self.server.start()
        self.only("xid_wraparound", "multixact_wraparound")
        told = {signal: severity for signal, status, severity in self.check() if status == "firing"}
        self.assertEqual(told, {"xid_wraparound": "warning", "multixact_wraparound": "critical"})
        self.assertIn("autovacuum_freeze_max_age is 2 billion", self.signal("xid_wraparound")["found"])
        self.server.psql("UPDATE pg_database SET datallowconn = true WHERE datname = 'template0'")
        for database in ("template0", "template1", "postgres"):
            self.server.psql("VACUUM (FREEZE)", database)
        self.assertEqual(sorted(name for name, status, _ in self.check() if status == "resolved"), ["multixact_wraparound", "xid_wraparound"])

    def test_wal_is_lost(self):
        self.server.archive_with(self.lb.archive_command())
        self.lb("backup", live=True).ok()
        self.only("wal_gaps")
        self.assertEqual(self.check(), [])
        self.server.configure(archive_command="true").reload()  # says that it stored what it did not
        self.server.wait_archived()
        self.server.configure(archive_command=self.lb.archive_command()).reload()
        self.server.wait_archived()
        self.assertIn("is missing", self.fires("wal_gaps")["found"])
        self.lb("backup", live=True).ok()
        self.resolves("wal_gaps")

    def test_the_server_is_down_which_is_unknown_and_told(self):
        self.only("connections", "xid_wraparound")
        self.server.stop()
        alert = self.fires("xid_wraparound", "warning")
        self.assertIn("cannot be read", alert["found"])
        self.assertIn("for this reason these cannot be read: connections", alert["found"])
        self.assertEqual(self.check(), [], "one cause is one alert")
        self.server.start()
        self.resolves("xid_wraparound")


class Telling(AlertCase):
    """archive_off is what fires here: archiving was never turned on."""

    def setUp(self):
        super().setUp()
        self.only("archive_off")

    def test_once_again_after_a_while_and_no_more_when_it_is_over(self):
        self.receiver("hook", 'type = "webhook"', f'url = "{self.http.url}"', 'repeat = "2s"')
        self.assertEqual(self.check(), [("archive_off", "firing", "critical")])
        self.assertEqual(self.check(), [], "nobody is told twice")
        time.sleep(2)
        self.assertEqual(self.check(), [("archive_off", "firing", "critical")])
        self.server.archive_with(self.lb.archive_command())
        self.assertEqual(self.check(), [("archive_off", "resolved", "critical")])
        self.assertEqual(self.check(), [])

    def test_every_kind_of_receiver(self):
        mail = SmtpServer()
        self.addCleanup(mail.close)
        secure = HttpReceiver(tls=True)
        self.addCleanup(secure.close)
        spool = new_directory("spool") / "got"
        program = new_directory("program", mode=0o755) / "tell"
        program.write_text(f"#!/bin/sh\ncat >> {spool}\n")
        program.chmod(0o755)
        self.receiver("hook", 'type = "webhook"', f'url = "{secure.url}/hook"', f'token-file = "{secret_file(TOKEN)}"', f'ca-file = "{secure.ca}"')
        self.receiver("slack", 'type = "slack"', f'url-file = "{secret_file(secure.url + SLACK_PATH)}"', f'ca-file = "{secure.ca}"')
        self.receiver("pager", 'type = "pagerduty"', f'key-file = "{secret_file(ROUTING_KEY)}"', f'url = "{secure.url}/v2/enqueue"',
                      f'ca-file = "{secure.ca}"')
        self.receiver("mail", 'type = "email"', f'server = "{mail.url}"', f'user = "{mail.user}"', f'password-file = "{secret_file(mail.password)}"',
                      f'ca-file = "{mail.ca}"', 'from = "lifeboat@localhost"', 'to = "dba@localhost"')
        self.receiver("program", 'type = "command"', f'command = ["{program}"]')
        for state, action in (("firing", "trigger"), ("resolved", "resolve")):
            if state == "resolved":
                self.server.archive_with(self.lb.archive_command())
            self.alert("check").ok()
            by_path = {path: (headers, document) for path, headers, document in secure.take()}
            headers, document = by_path["/hook"]
            self.assertEqual(headers["Authorization"], f"Bearer {TOKEN}")
            self.assertEqual((document["status"], document["alerts"][0]["status"]), (state, state))
            self.assertIn("archive_off", by_path[SLACK_PATH][1]["text"])
            event = by_path["/v2/enqueue"][1]
            self.assertEqual((event["event_action"], event["dedup_key"], event["routing_key"]), (action, "lifeboat/main/archive_off", ROUTING_KEY))
            if action == "trigger":
                self.assertEqual(event["payload"]["severity"], "critical")
            self.assertIn(state if state == "resolved" else "critical", mail.take()[0][2]["Subject"])
            self.assertIn(f'"status":"{state}"', spool.read_text())

    def test_who_does_not_answer_is_told_later(self):
        self.http.answers = [(503, {})] * 3
        result = self.alert("check")
        self.assertFails(result, UNAVAILABLE, "hook")
        receiver = result.json["alerts"]["receivers"][0]
        self.assertEqual((receiver["failures_in_a_row"], result.json["alerts"]["waiting"]), (1, 1))
        self.assertIsNotNone(receiver["next_try"])
        again = self.alert("check")  # tells nobody before the next try, and does not say that all is well
        self.assertFails(again, UNAVAILABLE, "could not be told at an earlier check", "the next attempt is at")
        self.assertEqual(self.told(), [])
        self.forget_waiting()
        self.assertEqual(self.check(), [("archive_off", "firing", "critical")])

    def forget_waiting(self):
        """As if the time of the next try had come."""
        import json
        path = self.place / "state" / "alerts-main.json"
        state = json.loads(path.read_text())
        for receiver in state["receivers"].values():
            receiver["next_try_us"] = 0
        path.write_text(json.dumps(state))

    def test_a_short_outage_is_tried_again_at_once_and_retry_after_is_honoured(self):
        self.http.answers = [(502, {}), (429, {"Retry-After": "1"})]
        began = time.monotonic()
        self.assertEqual(self.check(), [("archive_off", "firing", "critical")])
        self.assertGreater(time.monotonic() - began, 1.2)
        self.server.archive_with(self.lb.archive_command())
        self.http.answers = [(429, {"Retry-After": "120"})]
        result = self.alert("check")
        self.assertFails(result, UNAVAILABLE, "429")
        when = result.json["alerts"]["receivers"][0]["next_try"]
        wait = run(["date", "-u", "-d", when, "+%s"]).out
        self.assertAlmostEqual(int(wait) - time.time(), 120, delta=10)

    def test_quiet_periods_and_limits_hold_back_and_lose_nothing(self):
        hour = time.gmtime().tm_hour
        quiet = f'quiet = ["{hour:02}:00-{(hour + 2) % 24:02}:00"]'
        self.only("archive_off", "drill_age")
        self.signals.pop("drill_age", None)
        base = ['type = "webhook"', f'url = "{self.http.url}"']
        self.signals["archive_off"] = ["warning = 1", "critical = 2"]
        self.receiver("hook", *base, quiet)
        self.assertEqual([name for name, *_ in self.check()], ["drill_age"], "criticals do not wait")
        self.assertEqual(self.document["alerts"]["waiting"], 1, "the warning stays due")
        self.receiver("hook", *base)
        self.assertEqual([name for name, *_ in self.check()], ["archive_off"])
        # One message an hour: it has been used up.
        self.receiver("hook", *base, "most-per-hour = 1", 'repeat = "1s"')
        time.sleep(1)
        self.check()
        time.sleep(1)
        self.assertEqual(self.check(), [])
        self.assertEqual(self.document["alerts"]["waiting"], 2)

    def test_a_full_disk_keeps_nobody_from_being_told(self):
        self.state = tmpfs(1)
        filler = self.state / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        self.assertFails(self.alert("check"), 7, "sent all the same")
        self.assertEqual(self.told(), [("archive_off", "firing", "critical")])
        self.assertFails(self.alert("check"), 7, "within the last 15 minutes")
        self.assertEqual(self.told(), [], "not every minute")
        filler.unlink()
        self.assertEqual(self.check(), [("archive_off", "firing", "critical")])
        self.assertEqual(self.check(), [])

    def test_heartbeats(self):
        self.receiver("hook", 'type = "webhook"', f'url = "{self.http.url}"', 'severity = "none"', 'heartbeat = "1s"')
        self.assertEqual(self.check(), [])
        self.alert("check").ok()
        self.assertEqual([d["kind"] for _, _, d in self.http.take()], [], "not yet")
        time.sleep(1)
        self.alert("check").ok()
        self.assertEqual([d["kind"] for _, _, d in self.http.take()], ["heartbeat"])

    def test_each_alert_can_be_made_to_fire_on_purpose(self):
        mail = SmtpServer(open=True, starttls=False)
        self.addCleanup(mail.close)
        self.receiver("mail", 'type = "email"', f'server = "{mail.url}"', "tls = false", 'from = "a@localhost"', 'to = "b@localhost"')
        self.signals.clear()
        done = self.alert("test").ok().json
        all_ids = [one["id"] for one in self.lb("status", "--owner", "dba", live=True).json["signals"]]
        self.assertEqual(done["signals"], all_ids)
        told = {(alert["signal"], alert["status"]) for _, _, document in self.http.take() if document["test"] for alert in document["alerts"]}
        self.assertEqual(told, {(name, status) for name in all_ids for status in ("firing", "resolved")})
        self.assertEqual(len(mail.take()), 2 * len(all_ids))
        book = json.loads((self.place / "state" / "alerts-main.json").read_text())
        self.assertEqual(book["alerts"], [], "nobody was told of a real one")
        self.assertTrue(all(one["delivered_us"] > 0 and one["sent"] == 0 for one in book["receivers"].values()), book)
        self.assertEqual(len(self.alert("test", "backup_age").ok().json["messages"]), 4)
        self.assertFails(self.alert("test", "backup_ages"), USAGE, "did you mean backup_age")
        self.http.answers = [(500, {})] * 20
        self.assertFails(self.alert("test", "backup_age"), UNAVAILABLE, "hook")
        self.receiver("hook", 'type = "webhook"', f'url = "{self.http.url}"', 'signals = ["connections"]')
        del self.receivers["mail"]
        self.assertFails(self.alert("test", "backup_age"), CHECK_FAILED, "no receiver")

    def test_mail_goes_nowhere_without_tls_or_to_a_stranger(self):
        plain = SmtpServer(starttls=False)
        self.addCleanup(plain.close)
        lines = ['type = "email"', f'server = "{plain.url}"', 'from = "a@localhost"', 'to = "b@localhost"', f'user = "{plain.user}"',
                 f'password-file = "{secret_file(plain.password)}"']
        self.receiver("hook", *lines, f'ca-file = "{plain.ca}"')
        self.assertFails(self.alert("check"), UNAVAILABLE, "hook")
        self.assertEqual(plain.take(), [])
        self.assertNotIn("AUTH", plain.commands)
        stranger = SmtpServer()
        self.addCleanup(stranger.close)
        lines[1] = f'server = "{stranger.url}"'
        self.receiver("other", *lines)
        result = self.alert("check")
        self.assertFails(result, UNAVAILABLE, "other")
        self.assertNotIn("AUTH", stranger.commands)

    def test_no_secret_is_in_what_is_printed_or_kept(self):
        self.http.answers = [(500, {})] * 50
        stranger = SmtpServer(user="somebody", password="else")
        self.addCleanup(stranger.close)
        self.receiver("hook", 'type = "webhook"', f'url-file = "{secret_file(self.http.url + "/secret-path")}"', f'token-file = "{secret_file(TOKEN)}"')
        self.receiver("slack", 'type = "slack"', f'url-file = "{secret_file("https://localhost:1" + SLACK_PATH)}"')
        self.receiver("mail", 'type = "email"', f'server = "{stranger.url}"', 'user = "alerts"', f'password-file = "{secret_file("s3cret-of-mail")}"',
                      f'ca-file = "{stranger.ca}"', 'from = "a@localhost"', 'to = "b@localhost"')
        result = self.alert("check")
        self.assertEqual(result.code, UNAVAILABLE)
        everything = result.out + result.err + self.alert("test").out + "".join(path.read_text() for path in (self.place / "state").iterdir())
        for secret in (TOKEN, "secret-path", "slack-secret", "s3cret-of-mail"):
            self.assertNotIn(secret, everything)

    def test_two_checks_do_not_get_into_each_others_way(self):
        import fcntl
        self.check()
        with open(self.place / "state" / "alerts-main.json.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertFails(self.alert("check"), 15, "another alert check")


class Configuration(AlertCase):
    def test_each_mistake_is_told_with_its_line(self):
        for lines, phrase in [
                (["url = 5"], "has no type"), (['type = "pigeon"'], "webhook, slack"), (['type = "webhook"'], "url"),
                (['type = "webhook"', 'url = "ftp://x"'], "https://"), (['type = "webhook"', 'url = "https://a:b@x"'], "secrets belong in files"),
                (['type = "webhook"', 'url = "http://far"', 'token-file = "/x"'], "not sent over http"),
                (['type = "slack"', 'url = "https://x"'], "url-file"), (['type = "pagerduty"'], "key-file"),
                (['type = "email"', 'server = "smtp://x"', 'from = "a@b"'], "server, from and to"),
                (['type = "email"', 'server = "smtp://x"', 'from = "a@b\\r\\nBcc: c@d"', 'to = "a@b"'], "plain addresses"),
                (['type = "email"', 'server = "smtp://x"', 'from = "a@b"', 'to = "a@b"', "tls = false", 'user = "a"', 'password-file = "/x"'], "without TLS"),
                (['type = "command"', 'command = ["notify"]'], "absolute path"), (['type = "webhook"', 'url = "https://x"', 'quiet = "late"'], "22:00-06:00"),
                (['type = "webhook"', 'url = "https://x"', 'severity = "bad"'], "warning, critical or none"),
                (['type = "webhook"', 'url = "https://x"', 'signals = ["backups"]'], "there is no signal"),
                (['type = "webhook"', 'url = "https://x"', 'repaet = "1h"'], "did you mean repeat")]:
            with self.subTest(lines=lines):
                self.receivers = {"x": lines}
                result = self.alert("check")
                self.assertFails(result, CONFIG, phrase)
                self.assertRegex(result.json["error"]["object"], r"lifeboat\.toml:\d+")
        self.receivers = {}
        for keys, phrase in [(["warning = 5"], "90"), (['warning = "soon"'], "26h"), (['warning = "60h"'], "beyond"), (['waring = "1h"'], "did you mean warning"),
                             (["enabled = 1.5"], "true or false")]:
            with self.subTest(keys=keys):
                self.signals = {"backup_age": keys}
                if keys == ["warning = 5"]:
                    self.assertEqual(self.alert("rules").code, 0, "a plain number is seconds")
                    continue
                self.assertFails(self.alert("check"), CONFIG, phrase)
        self.signals = {"backup_agee": []}
        self.assertFails(self.alert("check"), CONFIG, "did you mean backup_age")

    def test_a_signal_without_an_owner_is_an_error(self):
        path = self.configure()
        path.write_text(path.read_text().replace('owner = "dba"\n', ""))
        for words in (["alert", "check"], ["alert", "rules"], ["status"], ["metrics"], ["serve", "--check"]):
            self.assertFails(self.lb(*words, "--config", path), CONFIG, "owner")
        self.lb("status", "--config", path, "--owner", "somebody")


class Daemon(AlertCase):
    def test_the_daemon_tells_of_what_happens_and_ends(self):
        self.only("archive_off")
        path = self.configure()
        path.write_text(path.read_text() + '[cluster.main.serve]\nsignals = "1s"\n')
        run_directory = new_directory("run")
        daemon = self.lb.background("serve", "--config", path, "--socket", run_directory / "s", "--state-dir", self.place / "state")
        self.addCleanup(daemon.stop)
        wait_until(lambda: ("archive_off", "firing", "critical") in self.told(), "the alert")
        self.server.archive_with(self.lb.archive_command())
        # A check while the server restarts reads nothing, which is told too, so that its end may be that of a warning.
        wait_until(lambda: self.alerts() and self.last["archive_off"] == "resolved", "its end")
        daemon.stop()


if __name__ == "__main__":
    main()
