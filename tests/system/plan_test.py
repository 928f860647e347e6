#!/usr/bin/env python3
"""`lifeboat plan` on real servers: what is there is read with pg_monitor, rates come from drills (before there is one, from a
calibration that says so), the applied configuration is one that the daemon serves, and pgBackRest and Barman tell what
they last did (P6, P7)."""

import json
import os
import pty
import re
import select
import shutil
import time
import unittest
from pathlib import Path

from harness import OS_USER, SystemTest, account, environment, give, main, new_directory, run, wait_until
from support.json_schema import problems

SOURCE = Path(__file__).resolve().parent.parent.parent
PLAN_SCHEMA = json.loads((SOURCE / "docs/schema/backup_plan.schema.json").read_text())
REQUIREMENTS_SCHEMA = json.loads((SOURCE / "docs/schema/backup_requirements.schema.json").read_text())
NOT_CONFIRMED, BLOCKED, UNDECIDED = 21, 24, 25


class PlanCase(SystemTest):
    def begin(self, major=None):
        self.server = self.cluster(major)
        self.lb = self.lifeboat(self.server)
        self.lb("init", "--yes", live=True).ok()
        self.server.archive_with(self.lb.archive_command())
        self.server.psql("CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher;"
                         "CREATE TABLE t AS SELECT i, repeat(md5(i::text), 4) AS v FROM generate_series(1, 60000) i")
        self.place = new_directory("plan")
        self.to = self.place / "made" / "here"

    def demand(self, **members):
        demands = {"rpo_seconds": 300, "rto_seconds": 900, "substrate": "self-managed", "owner": "dba@example.org",
                   "targets_source": "a test", **members}
        path = self.place / "requirements.json"
        path.write_text(json.dumps(demands))
        give(path)
        return path

    def plan(self, *options, **more):
        return self.lb("plan", "--to", self.to, "--pg-bin", self.server.bin, *options, **more)

    def watcher(self):
        return ["--inspect", "--pg", self.server.conninfo(user="watcher")]

    def written(self, name="backup_plan.json"):
        return json.loads((self.to / name).read_text())

    def gaps(self, plan):
        return {gap["id"]: gap["weight"] for gap in plan["gaps"]}


class FromMeasurements(PlanCase):
    def test_drills_give_the_rates_and_the_plan_is_applied(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                self.begin(major)
                self.lb("backup", live=True).ok()
                self.server.psql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 20000) i; SELECT pg_switch_wal()")
                self.lb("verify").ok()
                evidence = [self.lb("drill", "--full", "--pg-bin", self.server.bin, live=True).ok().json["evidence"] for _ in range(2)]
                # The server's own count has to be of longer than the sample of three seconds, in which nothing happens.
                wait_until(lambda: self.server.value("SELECT now() - pg_postmaster_start_time() > interval '5 s'") == "t",
                           "the server is older than a sample")
                # What is measured in some seconds corrects no stated rate of WAL.
                result = self.plan(*self.watcher(), "--requirements", self.demand(wal_bytes_per_day=1e9)).ok().json
                plan, facts = self.written(), self.written("backup_facts.json")
                self.assertEqual(result["plan"], plan)
                self.assertEqual([], problems(plan, PLAN_SCHEMA))
                # Everything was read, by a role that has pg_monitor and nothing else.
                server, rates = facts["server"], facts["rates"]
                self.assertEqual("", facts["server_problem"])
                self.assertEqual(major, server["version_num"] // 10000)
                self.assertGreater(server["size_bytes"], 10e6)
                self.assertGreater(server["archived"], 0)
                self.assertIn("wal push", server["settings"]["archive_command"])
                self.assertIsNotNone(server["wal_bytes_per_day"], server["wal_how"])
                self.assertTrue(server["wal_weak"], server["wal_how"])
                self.assertEqual("local socket", server["connection"])
                self.assertEqual("off", server["settings"]["ssl"])
                self.assertEqual("drills", rates["basis"])
                self.assertEqual(evidence[::-1], rates["evidence"])
                self.assertEqual(2, rates["samples"])
                # The arithmetic is that of the measured rates.
                restore = next(term for term in plan["rto"]["terms"] if term["name"] == "restore")
                self.assertAlmostEqual(server["size_bytes"] / rates["restore_bytes_per_second"], restore["seconds"], delta=0.06)
                self.assertEqual("met", plan["rpo"]["verdict"])
                # A repository beside the data, not encrypted: nothing that could be called ready.
                self.assertEqual("unproven", plan["status"])
                self.assertEqual({"encryption", "off_site"},
                                 {gap for gap, weight in self.gaps(plan).items() if weight == "critical"})
                text = (self.to / "backup_plan.md").read_text()
                self.assertIn("# Backup plan of cluster main: unproven", text)
                self.assertIn("a local socket, which needs no TLS", text)
                self.assertIn("TLS for network clients: not seen (ssl = off)", text)
                self.assertIn("at 1.0 GB a day (stated)", text)
                self.apply_it()

    def apply_it(self):
        config = self.place / "lifeboat.toml"
        before = ('# ours\n[cluster.main]\njobs = 2 # two cores\n\n[cluster.main.schedule]\n# at night\n'
                  'backup = ["0 3 * * *",\n  "--type", "full"]\nold = ["@monthly", "list"]\n')
        config.write_text(before)
        give(config)
        # The facts that were just read: what drills leave open is not calibrated again each time.
        options = ["--facts", self.to / "backup_facts.json", "--requirements", self.demand(wal_bytes_per_day=1e9), "--config", config, "--apply"]
        refused = self.plan(*options)
        self.assertEqual(NOT_CONFIRMED, refused.code, refused.err)
        self.assertEqual(before, config.read_text())
        shown = self.plan(*options, "--yes", json=False).ok().out
        for line in ['+backup = "15 1 * * *"', '-  "--type", "full"]', '+owner = "dba@example.org"', "+[cluster.main.serve]"]:
            self.assertIn(line, shown)
        text = config.read_text()
        for line in ["# ours", "jobs = 2 # two cores", "# at night", 'old = ["@monthly", "list"]', "pitr-days = 30"]:
            self.assertIn(line, text)
        checked = self.lb("serve", "--check", "--config", config).ok().json
        jobs = {job["job"]: job["command"] for job in checked["jobs"]}
        self.assertEqual({"backup", "dump", "expire", "verify", "drill", "pitr-drill", "old"}, set(jobs))
        self.assertEqual("drill --target latest --full", jobs["drill"])
        # What is applied stays applied: nothing is left to write.
        self.assertIn("already as planned", self.plan(*options, json=False).ok().out)

    def test_before_any_drill_a_calibration_that_says_so(self):
        self.begin()
        self.lb("backup", live=True).ok()
        # The WAL a day is stated: what a server that began a moment ago shows of it may be nothing at all.
        result = self.plan(*self.watcher(), "--requirements", self.demand(wal_bytes_per_day=10 ** 9)).ok().json
        plan, rates = result["plan"], self.written("backup_facts.json")["rates"]
        self.assertEqual("calibration", rates["basis"])
        self.assertGreater(rates["restore_bytes_per_second"], 1e6)
        self.assertGreater(rates["replay_bytes_per_second"], 1e6)
        self.assertIn("calibration", plan["rto"]["basis"])
        self.assertEqual("unproven", plan["status"])
        self.assertEqual("critical", self.gaps(plan)["no_drill"])
        self.assertEqual(["backup_facts.json", "backup_plan.json", "backup_plan.md", "lifeboat.toml"],
                         sorted(path.name for path in self.to.iterdir()), "nothing of the calibration stays")

    def test_facts_travel_and_a_server_that_is_away_is_said(self):
        self.begin()
        self.server.stop()
        self.plan("--inspect", "--pg", self.server.conninfo(), "--calibration", "off", "--requirements", self.demand()).ok()
        facts = self.to / "backup_facts.json"
        self.assertNotEqual("", self.written("backup_facts.json")["server_problem"])
        again = self.plan("--facts", facts, "--requirements", self.demand()).ok().json
        self.assertIn("no_rates", self.gaps(again["plan"]))
        self.assertIn("server", self.gaps(again["plan"]))


class Wal(PlanCase):
    """How much WAL is written a day, by who knows it longest."""

    def server_facts(self):
        self.plan(*self.watcher(), "--calibration", "off", "--requirements", self.demand()).ok()
        return self.written("backup_facts.json")["server"]

    def test_an_idle_server_has_no_rate_of_0(self):
        self.server = self.cluster()
        self.lb = self.lifeboat(self.server)
        self.server.psql("CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CHECKPOINT; SELECT pg_stat_reset_shared('archiver')")
        if self.server.major >= 14:
            self.server.psql("SELECT pg_stat_reset_shared('wal')")
        self.place = new_directory("plan")
        self.to = self.place / "made"
        # No segment before the current one, and a checkpoint just now: a sample is all there is.
        time.sleep(2)
        server = self.server_facts()
        self.assertIsNone(server["wal_bytes_per_day"], server["wal_how"])
        self.assertIn("not measured long enough", server["wal_how"])
        plan = self.written()
        self.assertEqual("unproven", plan["status"])
        self.assertIsNone(plan["rto"]["delivered_seconds"])
        self.assertIn("the WAL that is written a day (not measured long enough", plan["rto"]["not_known"])
        action = next(gap["action"] for gap in plan["gaps"] if gap["id"] == "rto_unproven")
        self.assertIn("after a day of usual load, or wal_bytes_per_day in the requirements", action)

    def test_a_promoted_server_counts_from_its_promotion_on(self):
        self.server = self.cluster()
        self.lb = self.lifeboat(self.server)
        self.server.psql("CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE TABLE t AS SELECT generate_series(1, 60000) i")
        self.place = new_directory("plan")
        self.to = self.place / "made"
        time.sleep(10)
        self.server.stop()
        began = time.time()
        signal = Path(self.server.data) / "standby.signal"
        signal.write_text("")
        give(signal)
        self.server.start()
        self.server.psql("SELECT pg_promote()")
        self.server.psql("INSERT INTO t SELECT generate_series(1, 60000)")
        time.sleep(6)
        server = self.server_facts()
        self.assertTrue(server["wal_weak"], server["wal_how"])
        seconds = float(re.search(r"the last ([0-9.]+) s$", server["wal_how"]).group(1))
        self.assertLess(seconds, time.time() - began + 1, server["wal_how"])

    def test_how_long_storing_takes_is_measured(self):
        self.begin()
        for _ in range(4):
            self.server.psql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 100) i; SELECT pg_switch_wal()")
        wait_until(lambda: int(self.server.psql("SELECT archived_count FROM pg_stat_archiver")) >= 4, "four segments are archived")
        server = self.server_facts()
        self.assertIsNotNone(server["archive_seconds"])
        self.assertLess(server["archive_seconds"], 30)
        self.assertIn("measured: from a finished segment to its being stored", (self.to / "backup_plan.md").read_text())


class Targets(PlanCase):
    def test_impossible_and_missing_targets(self):
        self.begin()
        refused = self.plan("--inspect", "--pg", self.server.conninfo(), "--calibration", "off")
        self.assertFails(refused, UNDECIDED, "RPO and RTO")
        self.assertTrue((self.to / "backup_facts.json").exists(), "what could be read is kept")
        self.assertFalse((self.to / "backup_plan.json").exists())
        blocked = self.plan("--calibration", "off", "--requirements",
                            self.demand(rpo_seconds=0, substrate="managed", database_size_bytes=1e9))
        self.assertEqual(BLOCKED, blocked.code)
        self.assertEqual("blocked", self.written()["status"])
        self.assertEqual("blocked", blocked.json["error"]["kind"])
        self.assertTrue(self.written()["gaps"][0]["decision_record"]["options"])

    def test_asked_at_a_terminal(self):
        self.begin()
        answers = ["5min", "soon", "15min", "the board", "cloud", "self-managed", "dba@example.org", "", "2GB", "", "", "14", "", "", ""]
        argv = self.lb.argv("plan", "--ask", "--calibration", "off", "--to", self.to, json=False)
        child, fd = pty.fork()
        if child == 0:
            switch = account()
            if switch:
                os.setgroups(switch["extra_groups"])
                os.setgid(switch["group"])
                os.setuid(switch["user"])
            os.chdir("/")
            os.execve(argv[0], [str(word) for word in argv], environment(OS_USER))
        seen, waiting = "", list(answers)
        deadline = time.monotonic() + 60
        answered = 0
        while time.monotonic() < deadline:
            ready, _, _ = select.select([fd], [], [], 1)
            if not ready:
                continue
            try:
                chunk = os.read(fd, 4096).decode()
            except OSError:
                break
            if not chunk:
                break
            seen += chunk
            if waiting and seen.endswith(": ") and len(seen) > answered:
                os.write(fd, (waiting.pop(0) + "\n").encode())
                answered = len(seen)
        _, status = os.waitpid(child, 0)
        self.assertEqual(0, os.waitstatus_to_exitcode(status), seen)
        demands = self.written("backup_requirements.json")
        self.assertEqual([], problems(demands, REQUIREMENTS_SCHEMA))
        self.assertEqual((300, 900, 14, "the board"),
                         (demands["rpo_seconds"], demands["rto_seconds"], demands["retention_days"], demands["targets_source"]))
        self.assertIn("expected a time", seen)
        self.assertEqual(14, self.written()["retention"]["pitr_days"])


class OtherTools(PlanCase):
    @unittest.skipUnless(shutil.which("pgbackrest"), "SKIP: pgbackrest is not installed")
    def test_pgbackrest_tells_its_last_backup(self):
        self.begin()
        place = new_directory("pgbackrest")
        config = place / "pgbackrest.conf"
        config.write_text(f"[global]\nrepo1-path={place}/repo\nlog-path={place}\nlock-path={place}/lock\nspool-path={place}/spool\n"
                          f"repo1-retention-full=2\nstart-fast=y\n[main]\npg1-path={self.server.data}\n"
                          f"pg1-port={self.server.port}\npg1-socket-path={self.server.place}\npg1-user=postgres\n")
        give(config)
        env = {"PGBACKREST_CONFIG": str(config)}
        run(["pgbackrest", "--config", config, "--stanza=main", "stanza-create"])
        self.server.archive_with(f"pgbackrest --config={config} --stanza=main archive-push %p")
        run(["pgbackrest", "--config", config, "--stanza=main", "backup"])
        result = self.plan("--inspect", "--pg", self.server.conninfo(), "--calibration", "off", "--requirements", self.demand(),
                           env=env).ok().json
        tool = next(item for item in self.written("backup_facts.json")["tools"] if item["name"] == "pgbackrest")
        self.assertEqual(("main", f"{place}/repo", "ok"), (tool["cluster"], tool["destination"], tool["last_result"]))
        self.assertIn("repo1-retention-full=2", tool["retention"])
        self.assertEqual("none", tool["encryption"])
        self.assertIsNotNone(tool["last_backup"])
        self.assertIn("other_archiver", self.gaps(result["plan"]))
        self.assertIn("pgbackrest main", [item["tool"] for item in result["plan"]["inventory"]])

    @unittest.skipUnless(shutil.which("barman"), "SKIP: barman is not installed")
    def test_barman_tells_its_last_backup_and_what_fails(self):
        self.begin()
        place = new_directory("barman")
        (place / "home").mkdir()
        config = place / ".barman.conf"
        config.write_text(f"[barman]\nbarman_home = {place}/home\nbarman_user = {OS_USER}\nlog_file = {place}/log\n"
                          f"[main]\ndescription = main\nconninfo = {self.server.conninfo()}\n"
                          f"streaming_conninfo = {self.server.conninfo()}\nbackup_method = postgres\nstreaming_archiver = on\n"
                          f"slot_name = barman\ncreate_slot = auto\nretention_policy = RECOVERY WINDOW OF 7 DAYS\n")
        give(config)
        give(place / "home")
        self.plan("--inspect", "--pg", self.server.conninfo(), "--calibration", "off", "--requirements", self.demand(),
                  env={"HOME": str(place)}).ok()
        tool = next(item for item in self.written("backup_facts.json")["tools"] if item["name"] == "barman")
        self.assertEqual(("main", "RECOVERY WINDOW OF 7 DAYS"), (tool["cluster"], tool["retention"]))
        self.assertEqual(f"{place}/home", tool["destination"])
        self.assertIsNone(tool["last_backup"])
        self.assertTrue(any("FAILED" in note for note in tool["notes"]), tool["notes"])


if __name__ == "__main__":
    main()
