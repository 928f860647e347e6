#!/usr/bin/env python3
"""Incremental backups after what moves a server to another history: failover and pg_rewind (T14, T16), and pg_upgrade, which
begins a new lineage (T39)."""

import shutil

from harness import Cluster, main, new_directory, pg_bin, run, tool, wait_until
from incremental_case import IncrementalCase

FOREIGN = 12


class Rewound(IncrementalCase):
    def test_a_rewound_server_stands_on_the_history_that_it_was_given(self):
        """T14, T16: blocks that only the lost timeline changed are taken back by pg_rewind without any WAL. A backup that
        lies past the fork must not be the reference, and the one before it may."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major, conf={"wal_keep_size": "512MB"})  # pg_rewind reads WAL from before the fork
                server.psql("CREATE TABLE t AS SELECT g AS n, repeat('x', 100) AS a FROM generate_series(1, 30000) g;"
                            "CREATE INDEX ON t USING hash (n); VACUUM t")
                before = self.backup(lb)
                standby = self.standby_of(server)
                server.psql("UPDATE t SET a = 'both' WHERE n % 700 = 0")
                server.wait_archived()
                lsn = server.lsn()
                wait_until(lambda: standby.value(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "a standby that caught up")
                standby.promote().archive_with(lb.archive_command())
                standby.psql("UPDATE t SET a = 'new' WHERE n % 900 = 1; CREATE TABLE only_new AS SELECT 1 AS n; CHECKPOINT")
                # The old primary does not know, and goes on.
                server.psql("UPDATE t SET a = 'lost' WHERE n % 800 = 2;"
                            "CREATE TABLE lost AS SELECT g FROM generate_series(1, 9000) g")
                lost = self.incremental(lb)
                server.stop()
                run([tool("pg_rewind", major), "-D", server.data, "--source-server", standby.conninfo("postgres")])
                standby.wait_archived()
                standby.stop()
                # pg_rewind has copied the other server's configuration and backup label; it recovers with its WAL.
                server.configure(archive_mode="on", archive_command=lb.archive_command(), restore_command=lb.restore_command())
                (server.data / "standby.signal").touch()
                server.start().promote()
                self.assertEqual(server.value("SELECT count(*) FROM pg_class WHERE relname IN ('lost', 'only_new')"), "1")
                server.psql("UPDATE t SET a = 'last' WHERE n % 1000 = 3")
                made = self.incremental(lb, "--prove")
                self.assertEqual(made["timeline"], 3)
                self.assertNotEqual(made["reference"], lost["backup"])
                self.assertEqual(made["reference"], before["backup"])
                self.assertIsTheServer(lb, made)
                server.psql("INSERT INTO t SELECT g, 'more' FROM generate_series(1, 500) g")
                self.assertIsTheServer(lb, self.incremental(lb))

    def standby_of(self, primary):
        data = new_directory("standby") / "data"
        run([tool("pg_basebackup", primary.major), "-h", primary.place, "-p", primary.port, "-U", "postgres", "-D", data, "-R",
             "-X", "stream", "-c", "fast", "--no-sync"])
        standby = Cluster.attach(data, primary.major)
        standby.configure(archive_mode="off")  # one archive, one writer
        return standby.start()


class Upgraded(IncrementalCase):
    def test_pg_upgrade_begins_a_new_lineage(self):
        """T39: the upgraded server is another cluster whose files have old pages; nothing of the old lineage is a
        reference, and the old lineage stays what it was."""
        # 17 of one suite and 18 of another do not always fit: the upgrade itself fails (an attribute option that 18.6 does not know).
        for old in self.two_majors((13, 15))[-1:]:
            new = {13: 17, 15: 18}[old]
            pg_bin(new)  # skips where it is not there
            with self.subTest(old=old, new=new):
                server, lb = self.source(old)
                server.psql("CREATE TABLE t AS SELECT g AS n, repeat('x', 100) AS a FROM generate_series(1, 20000) g;"
                            "CREATE INDEX ON t (n)")
                self.backup(lb)
                server.psql("UPDATE t SET a = 'y' WHERE n % 500 = 0")
                of_old = self.incremental(lb)
                server.stop()
                upgraded = self.upgraded(server, new)
                lb_new = self.lifeboat(upgraded, repo=lb.repo_path)
                self.assertFails(lb_new("backup", live=True), FOREIGN, upgraded.system_identifier())
                lb_new("init", "--new-lineage", "--yes", live=True).ok()
                upgraded.archive_with(lb_new.archive_command())
                full = self.backup(lb_new)
                self.assertEqual((full["type"], full["reference"], full["reason"]), ("full", None, "there is no earlier backup"))
                self.assertEqual(full["broken_pages"], 0)
                upgraded.psql("UPDATE t SET a = 'z' WHERE n % 400 = 0")
                made = self.incremental(lb_new, "--prove")
                self.assertEqual(made["reference"], full["backup"])
                self.assertIsTheServer(lb_new, made)
                upgraded.stop()
                server.start()
                self.assertIsTheServer(lb, of_old, "--lineage", f"{server.system_identifier()}-{old}")

    def upgraded(self, server, major):
        other = Cluster(major, start=False)
        place = new_directory("u")
        shutil.copyfile(server.data / "postgresql.conf", server.data / "before.conf")
        server.configure(archive_mode="off")
        run([pg_bin(major) / "pg_upgrade", "-b", server.bin, "-B", pg_bin(major), "-d", server.data, "-D", other.data,
             "-U", "postgres", "-s", place], cwd=place)
        server.configure(archive_mode="on")
        return other.start()


if __name__ == "__main__":
    main()
