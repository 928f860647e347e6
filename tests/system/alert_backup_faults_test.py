#!/usr/bin/env python3
"""Alerts, end to end, beside those of alert_test.py: backups that take long and swell, jobs that fail, relations that bloat, the
only key. And each signal of the registry has a fault in one of the two (M2, D3)."""

import json

import alert_test
from alert_test import FaultCase
from harness import SystemTest, give, main, new_directory, wait_until

YEARLY = "0 0 1 1 *"


class BackupFaults(FaultCase):
    faults = {"backup_duration", "backup_size", "index_bloat", "job_failures", "key_custody", "table_bloat"}

    def test_a_backup_takes_long_and_is_large(self):
        self.server.archive_with(self.lb.archive_command())

        def backup(*options):
            return self.lb("backup", *options, live=True).ok().seconds
        usual = max(backup("--type", "full"), backup())
        self.only("backup_duration", "backup_size")
        # Somebody left a dump of memory beside the data, and the rate is that of a sick disk.
        core = self.server.data / "core.4711"
        with open(core, "wb") as file:
            file.truncate(300_000_000)
        give(core)
        slow = backup("--type", "full", "--rate", f"{int(300 / (usual + 3))}MB")
        between = int((usual + slow) / 2)
        self.assertGreater(between, usual, "the rate was kept to")
        self.signals["backup_duration"] = [f'warning = "{between}s"', f'critical = "{between}s"']
        told = {alert["signal"]: alert for alert in self.checked()}
        self.assertEqual(sorted(told), ["backup_duration", "backup_size"])
        self.assertIn("(full) took", told["backup_duration"]["found"])
        self.assertRegex(told["backup_size"]["found"], r"^3\d\d .*% more than the median of 2 before")
        core.unlink()
        backup()
        self.resolves("backup_size")
        self.assertEqual(self.last["backup_duration"], "resolved")

    def checked(self):
        """One check; what everybody was told at it."""
        self.document = self.alert("check").ok().json
        return self.alerts()

    def test_a_table_and_its_index_bloat(self):
        # 36 MB, and an index whose keys are as wide; hardly a page of either loses all of it.
        self.server.configure(autovacuum="off").reload()
        self.server.psql("CREATE TABLE bloat AS SELECT g AS id, md5(g::text) || repeat('x', 170) AS filler FROM generate_series(1, 150000) g;"
                         "CREATE INDEX bloat_filler ON bloat (filler); VACUUM ANALYZE bloat")
        self.only("table_bloat", "index_bloat")
        self.assertEqual(self.check(), [])
        self.server.psql("DELETE FROM bloat WHERE id % 50 <> 0", "postgres")
        self.server.psql("VACUUM (ANALYZE) bloat")
        told = {alert["signal"]: alert for alert in self.checked()}
        self.assertEqual(sorted((name, alert["severity"]) for name, alert in told.items()),
                         [("index_bloat", "critical"), ("table_bloat", "critical")])
        self.assertIn("postgres/public.bloat_filler", told["index_bloat"]["found"])
        self.assertIn("postgres/public.bloat", told["table_bloat"]["found"])
        self.server.psql("REINDEX INDEX CONCURRENTLY bloat_filler")  # as the signals' actions say
        self.resolves("index_bloat")
        self.assertEqual(self.last["table_bloat"], "firing")
        self.server.psql("VACUUM FULL bloat")
        self.resolves("table_bloat")

    def test_only_one_key_opens_it(self):
        key = new_directory("custody") / "main.secret"
        self.lb = self.lifeboat(self.server, repo=new_directory("e") / "repo", options=["--key-file", key])
        self.lb("init", "--yes", live=True).ok()
        self.only("key_custody")
        self.assertEqual(self.fires("key_custody", "warning")["found"], "1 key slot")
        phrase = new_directory("phrase") / "phrase"
        phrase.write_text("a long passphrase that lies in a safe\n")
        phrase.chmod(0o600)
        give(phrase)
        self.lb("key", "add", "--new-passphrase-file", phrase).ok()
        self.resolves("key_custody")

    def test_a_job_of_the_daemon_fails(self):
        self.server.archive_with(self.lb.archive_command())
        self.only("job_failures")
        path = self.configure()
        path.write_text(path.read_text() + f'[cluster.main.serve]\nsignals = "1s"\n[cluster.main.schedule]\nbackup = "{YEARLY}"\n')
        record = self.state / "serve.json"
        # As if the daemon had been down when it was due.
        self.due(record, {"due_us": 1, "due_before_us": 0, "started_us": 0, "ended_us": 0, "exit_code": 0, "error": "", "runs": 0,
                          "failures": 0})
        self.server.stop()
        daemon = self.serve(path)
        wait_until(lambda: ("job_failures", "firing", "warning") in self.told(), "the alert", timeout=120)
        daemon.stop()
        self.server.start()
        failed = json.loads(record.read_text())["jobs"]["main/backup"]
        self.assertIn("cannot connect", failed["error"])
        self.due(record, failed)  # as if the time of the next try had come
        daemon = self.serve(path)
        wait_until(lambda: self.alerts() and self.last["job_failures"] == "resolved", "its end", timeout=120)
        daemon.stop()
        self.assertEqual(len(self.lb("list").ok().json["lineages"][0]["backups"]), 1)

    def due(self, record, job):
        record.parent.mkdir(exist_ok=True)
        give(record.parent)
        record.write_text(json.dumps({"version": 1, "jobs": {"main/backup": {**job, "retry_us": 0 if job["runs"] == 0 else 1}}}))
        give(record)

    def serve(self, path):
        daemon = self.lb.background("serve", "--config", path, "--socket", new_directory("run") / "s", "--state-dir", self.state)
        self.addCleanup(daemon.stop)
        return daemon


class Registry(SystemTest):
    def test_every_signal_has_a_fault_that_fires_it(self):
        """Each class compares its list with what it fired; here both are compared with what there is. No signal is excepted."""
        signals = [signal["id"] for signal in self.lifeboat()("status", "--owner", "dba").json["signals"]]
        self.assertEqual(sorted(signals), sorted(alert_test.Faults.faults | BackupFaults.faults))
        self.assertEqual(alert_test.Faults.faults & BackupFaults.faults, set())


if __name__ == "__main__":
    main()
