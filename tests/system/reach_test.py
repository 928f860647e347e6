#!/usr/bin/env python3
"""Where a recovery will end, as the preflight reads it from stored WAL, against where PostgreSQL really stops.

A random history of commits, aborts, restore points and segment switches; then for targets of every kind the plan's stop
position and last commit are compared with pg_last_wal_replay_lsn() and pg_last_xact_replay_timestamp() of a server that
recovered (T31), and what the plan refuses is refused by the server too.
"""

import datetime

from harness import Cluster, SystemTest, main, new_directory, rng, run, tool, wait_until


class ReachTest(SystemTest):
    def make_history(self, server, random, steps):
        """Random transactions. Returns (xid, time) of each end, and names of restore points."""
        ends, points = [], []
        for step in range(steps):
            kind = random.choice(["commit"] * 6 + ["abort", "point", "switch", "bulk", "prepared"])
            if kind in ("commit", "abort"):
                xid = server.psql("BEGIN; INSERT INTO t SELECT coalesce(max(i), 0) + 1 FROM t; SELECT pg_current_xact_id();"
                                  + ("COMMIT" if kind == "commit" else "ROLLBACK")).split("\n")[0]
                ends.append((xid, server.now()))
            elif kind == "prepared":
                xid = server.psql(f"BEGIN; INSERT INTO t SELECT coalesce(max(i), 0) + 1 FROM t; SELECT pg_current_xact_id();"
                                  f"PREPARE TRANSACTION 'p{step}'").split("\n")[0]
                server.psql(f"{random.choice(['COMMIT', 'ROLLBACK'])} PREPARED 'p{step}'")
                ends.append((xid, server.now()))
            elif kind == "point":
                points.append(f"point {step}")
                server.psql(f"SELECT pg_create_restore_point('point {step}')")
            elif kind == "bulk":
                server.psql("CREATE TABLE IF NOT EXISTS bulk (x text); INSERT INTO bulk SELECT repeat('x', 1000) FROM "
                            "generate_series(1, 3000)")
            else:
                server.switch_wal()
        return ends, points

    def plan(self, lb, backup, *target):
        return lb("restore", "--to", new_directory("to") / "data", "--backup", backup, "--dry-run", *target)

    def recover(self, lb, major, backup, *target):
        """Restores, starts, waits for the pause, and returns the positions that the server tells."""
        data = new_directory("restored") / "data"
        done = lb("restore", "--to", data, "--backup", backup, *target).ok()
        copy = Cluster.attach(data, major, start=True)
        copy.wait_paused()
        told = copy.rows("SELECT pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC'")[0]
        copy.stop("immediate")
        return done.json, told

    def assertAgrees(self, lb, major, backup, *target):
        planned = self.plan(lb, backup, *target).ok().json["plan"]
        _, (lsn, last_end) = self.recover(lb, major, backup, *target)
        self.assertEqual(planned["stop_lsn"], lsn, f"{target}: {planned}")
        # The server counts aborts too: its time is that of the plan's last commit or later, and before the next end.
        if planned["last_commit"]:
            commit = datetime.datetime.fromisoformat(planned["last_commit"].replace("Z", "+00:00")).replace(tzinfo=None)
            self.assertLessEqual(commit, datetime.datetime.fromisoformat(self.padded(last_end)), f"{target}: {planned}")
        return planned

    def end_of(self, lb, major, backup, *options):
        """Restores to the latest and returns the rows of t that are there then."""
        data = new_directory("latest") / "data"
        lb("restore", "--to", data, "--backup", backup, *options).ok()
        copy = Cluster.attach(data, major, start=True).wait_recovered()
        rows = [row[0] for row in copy.rows("SELECT i FROM t ORDER BY i")]
        copy.stop("immediate")
        return rows

    @staticmethod
    def padded(text):
        """PostgreSQL leaves out trailing zeros, which fromisoformat() wants."""
        return text if "." not in text else (text + "000000")[:26]

    def test_plans_agree_with_the_server(self):
        for major in self.majors():
            with self.subTest(major=major):
                self.agree_on(major)

    def agree_on(self, major):
        random = rng(f"reach-{major}")
        server = self.cluster(major=major, wal_segsize=1, conf={"max_prepared_transactions": 5})
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE t (i int)")
        early = server.now()
        backup = lb("backup", live=True).ok().json["backup"]
        ends, points = self.make_history(server, random, 80)
        server.psql("SELECT pg_create_restore_point('the end')")
        server.wait_archived()

        targets = [("--target", "immediate"), ("--target-name", "the end")]
        for xid, time in random.sample(ends, 4):
            exclusive = ["--exclusive"] if random.random() < 0.5 else []
            targets.append(("--target-xid", xid, *exclusive))
            targets.append(("--target-time", time, *exclusive))
        if points:
            targets.append(("--target-name", random.choice(points)))
        lsn = server.value("SELECT lsn::text FROM pg_create_restore_point('for lsn') lsn")
        server.wait_archived()
        targets.append(("--target-lsn", lsn, "--exclusive"))
        for target in targets:
            with self.subTest(major=major, target=target):
                self.assertAgrees(lb, major, backup, *target)

        # Refused before anything is touched.
        for target in (("--target-time", early), ("--target-time", "2100-01-01 00:00:00+00"), ("--target-name", "no such point"),
                       ("--target-xid", "4000000000"), ("--target-lsn", "FF/0")):
            with self.subTest(major=major, target=target):
                self.assertFails(self.plan(lb, backup, *target), 13)

        # A hole: nothing behind it is reachable.
        server.wait_archived()
        segment = server.value(f"SELECT pg_walfile_name('{lsn}')")
        found = [path for path in lb.objects() if f"/{segment}-" in path]
        (lb.repo_path / found[0]).rename(new_directory() / "away")
        self.assertFails(self.plan(lb, backup, "--target-name", "for lsn"), 13, segment)
        self.assertFails(self.plan(lb, backup), 13, segment)

    def test_a_failover_makes_two_branches(self):
        for major in self.majors():
            with self.subTest(major=major):
                self.fail_over(major)

    def fail_over(self, major):
        server = self.cluster(major=major, wal_segsize=1)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE t (i int); INSERT INTO t VALUES (0)")
        backup = lb("backup", live=True).ok().json["backup"]
        directory = new_directory("standby") / "data"
        run([tool("pg_basebackup", major), "-d", server.conninfo(), "-D", directory, "-X", "stream", "-c", "fast", "-R"])
        standby = Cluster.attach(directory, major, start=True, conf={"archive_mode": "on",
                                                                     "archive_command": lb.archive_command()})
        server.psql("INSERT INTO t VALUES (1)")
        common = server.now()
        server.psql("INSERT INTO t VALUES (2)")
        wait_until(lambda: standby.value("SELECT count(*) FROM t") == "3", "replication")
        standby.promote()
        # The old server does not know and goes on.
        server.psql("INSERT INTO t VALUES (3)")
        on_both = server.now()
        standby.psql("INSERT INTO t VALUES (-3)")
        server.psql("INSERT INTO t VALUES (4)")
        standby.psql("INSERT INTO t VALUES (-4)")
        server.wait_archived()
        # The new timeline's first segment is not stored yet, the old one's is, with what came after the fork (T46).
        ended = self.end_of(lb, major, backup, "--timeline", "2")
        self.assertEqual(ended, ["0", "1", "2"])
        # Not by pg_stat_archiver: after a promotion the order of files is not that of their names.
        segment = standby.switch_wal()
        wait_until(lambda: any(f"/{segment}-" in path for path in lb.objects()), f"{segment} in the repository", 120)

        self.assertEqual(self.assertAgrees(lb, major, backup, "--target-time", common)["timeline"], 2)
        self.assertFails(self.plan(lb, backup, "--target-time", on_both), 13, "timeline 1", "timeline 2", "--timeline")
        old = self.assertAgrees(lb, major, backup, "--target-time", on_both, "--timeline", "current")
        new = self.assertAgrees(lb, major, backup, "--target-time", on_both, "--timeline", "2")
        self.assertNotEqual(old["stop_lsn"], new["stop_lsn"])
        self.assertEqual(self.plan(lb, backup).ok().json["plan"]["timeline"], 2)


if __name__ == "__main__":
    main()
