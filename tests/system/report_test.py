"""report: NOT READY until every item has its evidence; each precondition that breaks takes READY away; what a test host cannot
prove is named here and nowhere else (RK2, RK3, RK4)."""

import json
import time

from harness import MOUNTER, SystemTest, give, main, new_directory, tmpfs, wait_until

USAGE, NOT_READY = 2, 26
# A repository on a disk of this host is no copy away from it, whatever disk that is.
NOT_ON_ONE_HOST = {"offsite_copy", "offsite"}


class ReportCase(SystemTest):
    def well(self, major=None):
        """A cluster of which everything is done that can be done on one host."""
        server = self.cluster(major)
        server.configure(archive_timeout="60s").reload()
        repo = tmpfs(256)
        key = new_directory("key") / "key"
        lb = self.lifeboat(server, repo=repo / "repo", options=["--key-file", key])
        lb("init", "--yes", live=True).ok()
        phrase = new_directory("phrase") / "phrase"
        phrase.write_text("a long passphrase that lies in a safe\n")
        phrase.chmod(0o600)
        give(phrase)
        lb("key", "add", "--new-passphrase-file", phrase).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a")
        self.began = time.gmtime()  # a schedule that names this minute is one that something ran
        lb("backup", live=True).ok()
        server.psql("INSERT INTO t VALUES (0)")
        server.wait_archived()
        lb("verify").ok()
        self.runbooks = new_directory("books")
        self._state = new_directory("state")  # what an earlier cluster's alerts left there would be taken for this one's
        self.write_config(lb)
        return server, lb

    def write_config(self, lb, *, schedule=True, hours_off=0, alert=True, standbys=0, **changes):
        """The configuration file; a change to None takes the line away."""
        lines = {"repo": f'"{lb.repo}"', "pg": f'"{lb.server.conninfo()}"', "pgdata": f'"{lb.server.data}"', "owner": '"dba"',
                 "rpo": '"5min"', "rto": '"15min"', "pitr-days": "30", "keep-days": "90", "compliance-days": "0",
                 "runbook-dir": f'"{self.runbooks}"',
                 "not-applicable": '["daily_logical_backup: every database is in the physical backups"]',
                 **{name.replace("_", "-"): value for name, value in changes.items()}}
        text = "[cluster.main]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items() if value is not None)
        if standbys is not None:
            text += f"[cluster.main.signals.replication_lag]\nstandbys = {standbys}\n"
        if schedule:
            began = getattr(self, "began", time.gmtime())
            at = f"{began.tm_min} {(began.tm_hour + hours_off) % 24} * *"
            text += (f'[cluster.main.schedule]\nbackup = "{at} *"\nexpire = ["45 1 * * *", "--pitr-days", "30"]\n'
                     f'drill = ["{at} {(began.tm_wday + 1) % 7}", "--random-target"]\n')
        if alert:
            text += '[alert.office]\ntype = "command"\ncommand = ["/bin/true"]\n'
        self.config = new_directory("conf") / "lifeboat.toml"
        self.config.write_text(text)
        give(self.config)

    def try_alerts(self, lb):
        """A line in the configuration proves nothing until an alert was taken, and the signals are watched."""
        for words in (["test", "archive_off"], ["check"]):
            lb("alert", *words, "--config", self.config, "--state-dir", self.state(), live=True).ok()

    def drill(self, lb, *options):
        return lb("drill", "--to", new_directory("d") / "d", "--pg-bin", lb.server.bin, *options, live=True, user=MOUNTER)

    def report(self, lb, *options, **how):
        """{item: item} and the result."""
        result = lb("report", "--config", self.config, "--state-dir", self.state(), *options, live=True, **how)
        return {one["id"]: one for one in result.json["items"]}, result

    def state(self):
        if not hasattr(self, "_state"):
            self._state = new_directory("state")
        return self._state

    def failing(self, items):
        return {name for name, one in items.items() if one["result"] == "fail"}


class Report(ReportCase):
    def test_ready_but_for_what_one_host_cannot_have(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.well(major)
                # Before anything was rehearsed and written down.
                items, result = self.report(lb)
                self.assertFails(result, NOT_READY, "NOT READY", "monthly_restore_test")
                self.assertEqual(self.failing(items), NOT_ON_ONE_HOST | {
                    "targets_delivered", "drill_automated", "wraparound_watched", "connections_watched", "runbooks_cover",
                    "monthly_restore_test", "recovery_runbook", "targets_validated", "pitr_validated", "recovery_documented",
                    "restore_tested", "runbooks_reviewed", "monitoring", "alerts", "automatic_verification"})
                self.try_alerts(lb)
                # A drill to the end of WAL proves no recovery to a moment.
                lb("runbook", "--config", self.config, "--to", self.runbooks, "--reviewed-by", "Ada", live=True).ok()
                self.drill(lb).ok()
                items, result = self.report(lb)
                self.assertEqual(self.failing(items), NOT_ON_ONE_HOST | {"pitr_validated"})
                rehearsed = self.drill(lb, "--random-target").ok().json["evidence"]
                where = new_directory("out") / "made"
                items, result = self.report(lb, "--to", where)
                self.assertEqual(self.failing(items), NOT_ON_ONE_HOST)
                self.assertIn(f"evidence/{rehearsed}", items["pitr_validated"]["evidence"])
                self.check_documents(result, where)
                server.stop()

    def check_documents(self, result, where):
        self.assertEqual(sorted(path.name for path in where.iterdir()),
                         ["backup-operational-readiness.json", "backup-operational-readiness.md"])
        document = json.loads((where / "backup-operational-readiness.json").read_text())
        self.assertEqual(document["items"], result.json["items"])
        self.assertEqual(len([one for one in document["items"] if one["list"] == "quality"]), 11)
        self.assertEqual(len([one for one in document["items"] if one["list"] == "production"]), 9)
        self.assertEqual(len([one for one in document["items"] if one["list"] == "done"]), 12)
        for one in document["items"]:
            # Never a pass without evidence, and each id that is cited says something.
            if one["result"] == "pass":
                self.assertTrue(one["evidence"], one)
            elif one["result"] == "fail":
                self.assertTrue(one["missing"], one)
                self.assertTrue(all(missing["fix"] for missing in one["missing"]), one)
            else:
                self.assertTrue(one["found"], one)
            for cited in one["evidence"]:
                self.assertTrue(document["evidence"][cited], cited)
        markdown = (where / "backup-operational-readiness.md").read_text()
        for section in ("Targets and what is delivered", "Gaps", "Quality checks", "Production checklist", "Definition of done",
                        "Strategy", "WAL", "Retention and cost", "Security", "Threats", "Signals", "Drills", "Runbooks", "Evidence"):
            self.assertIn(f"\n## {section}\n", markdown)
        self.assertTrue(markdown.startswith("# Backup and operational readiness: cluster main\n\n**NOT READY**"))

    def test_each_precondition_that_breaks_is_named(self):
        server, lb = self.well()
        self.try_alerts(lb)
        lb("runbook", "--config", self.config, "--to", self.runbooks, "--reviewed-by", "Ada", live=True).ok()
        self.drill(lb, "--random-target").ok()
        self.assertEqual(self.failing(self.report(lb)[0]), NOT_ON_ONE_HOST)
        config = self.config
        for change, expected in (
                ({"rpo": None}, {"targets_stated", "targets_delivered", "targets_validated", "strategy"}),
                ({"rto": '"1ms"'}, {"targets_delivered", "targets_validated"}),
                ({"rpo": '"1min"'}, {"targets_delivered", "targets_validated"}),  # archive_timeout alone is as long
                ({"owner": None}, {"wraparound_watched", "connections_watched", "signals_owned", "age_watched"}),
                ({"pitr_days": "7"}, {"retention_set"}),
                ({"compliance_days": None}, {"retention_stated"}),
                ({"compliance_days": "365"}, {"retention_stated"}),
                ({"schedule": False}, {"drill_automated", "retention_stated", "automated_backups", "automatic_verification"}),
                ({"hours_off": 12}, {"drill_automated", "automated_backups", "automatic_verification"}),  # nothing runs that
                ({"alert": False}, {"monitoring", "alerts"}),
                ({"standbys": None}, {"topology_elsewhere", "replication_tested"}),
                ({"not_applicable": None}, {"daily_logical_backup"})):
            with self.subTest(change=change):
                self.write_config(lb, **change)
                items, result = self.report(lb)
                self.assertEqual(self.failing(items), NOT_ON_ONE_HOST | expected)
        self.config = config
        # What always applies cannot be declared away.
        self.assertFails(lb("report", "--not-applicable", "monthly_restore_test: we are busy", live=True), USAGE, "always applies")
        self.assertFails(lb("report", "--not-applicable", "no_such: why", live=True), USAGE, "no such item")
        self.assertFails(lb("report", "--not-applicable", "daily_logical_backup", live=True), USAGE, "ITEM: REASON")
        # Archiving that is off, or fails.
        server.configure(archive_command="false").reload()
        server.psql("SELECT pg_switch_wal()")
        found = wait_until(lambda: self.failing(self.report(lb)[0]) - NOT_ON_ONE_HOST or None, "the archiver to fail")
        self.assertIn("wal_archiving", found)
        server.configure(archive_mode="off").restart()
        items, _ = self.report(lb)
        self.assertEqual(self.failing(items) - NOT_ON_ONE_HOST, {"pitr_from_wal", "wal_archiving"} | (self.failing(items) & {"targets_delivered", "targets_validated"}))
        # A server that is down proves nothing, and the report is made all the same.
        server.stop()
        items, result = self.report(lb, "--to", new_directory("out"))
        self.assertEqual(result.code, NOT_READY)
        self.assertLessEqual({"wal_archiving", "connections_watched", "monitoring"}, self.failing(items))

    def test_unencrypted_on_the_disk_of_the_database(self):
        server = self.cluster()
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        lb("backup", live=True).ok()
        self.runbooks = new_directory("books")
        self.write_config(lb)
        items, _ = self.report(lb)
        self.assertLessEqual({"encryption", "encrypted", "offsite_copy"}, self.failing(items))
        self.assertIn("not encrypted", json.dumps(items["encryption"]["missing"]))
        self.assertIn("on the disk of the database", json.dumps(items["offsite_copy"]["missing"]))
        # WAL that is missing between two backups takes moments away that were promised.
        for _ in range(3):
            server.psql("SELECT txid_current()")
            server.switch_wal()
        server.wait_archived()
        sorted(lb.repo_path.glob("clusters/*/*/wal/00000001/*/*"))[-2].unlink()
        lb("backup", live=True).ok()
        items, _ = self.report(lb)
        self.assertIn("no moment between", json.dumps(items["pitr_from_wal"]["missing"]))
        # A drill that failed is worse than none.
        self.assertNotEqual(self.drill(lb, "--sql", "SELECT false").code, 0)
        items, _ = self.report(lb)
        self.assertIn("failed", json.dumps(items["restore_tested"]["missing"]))


if __name__ == "__main__":
    main()
