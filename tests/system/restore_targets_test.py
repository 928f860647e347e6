"""Every recovery target (R1), inclusive and exclusive, against a ledger that knows what must be there."""

import re

from harness import Cluster, SystemTest, main, new_directory, waldump


class Targets(SystemTest):
    def ledger(self, major):
        """A server and its history: entries of (n, xid, time after, LSN before, LSN after)."""
        server = self.cluster(major=major)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE ledger (n int PRIMARY KEY, what text)")
        lb("backup", live=True).ok()
        history = []
        for n in range(1, 7):
            if n == 4:
                server.psql("SELECT pg_create_restore_point('before four')")
            before = server.lsn()
            xid = server.psql(f"BEGIN; INSERT INTO ledger VALUES ({n}, 'entry'); SELECT pg_current_xact_id()::text; COMMIT;"
                              ).split("\n")[-1]
            history.append({"n": n, "xid": int(xid) % 2**32, "before": before, "after": server.lsn(), "time": server.now()})
            if n == 5:
                # A transaction that is rolled back is a target too: recovery stops at its abort.
                history[-1]["aborted"] = server.psql("BEGIN; INSERT INTO ledger VALUES (99, 'no');"
                                                     "SELECT pg_current_xact_id()::text; ROLLBACK;").split("\n")[-1]
        server.wait_archived()
        return server, lb, history

    def recovered(self, lb, major, *options):
        """The highest entry of a copy that is recovered to a target and left paused there."""
        to = new_directory("to") / "data"
        place = new_directory("k")
        done = lb("restore", "--pg-bin", lb.server.bin, "--to", to, "--start", "--port", "6100", "--socket-dir", place,
                  *options).ok().json
        copy = Cluster.attach(to, major)
        copy.place, copy.port = place, 6100
        try:
            entries = copy.value("SELECT string_agg(n::text, ' ' ORDER BY n) FROM ledger")
            self.assertEqual(entries, " ".join(map(str, range(1, len(entries.split()) + 1))))
            return len(entries.split()), done, copy
        finally:
            copy.stop("immediate")

    def test_every_target_holds_exactly_what_it_names(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb, history = self.ledger(major)
                three, four, five = history[2], history[3], history[4]
                cases = [
                    (["--target-time", three["time"]], 3),
                    (["--target-xid", str(three["xid"])], 3),
                    (["--target-xid", str(three["xid"]), "--exclusive"], 2),
                    (["--target-xid", str(int(five["aborted"]) % 2**32)], 5),
                    (["--target-name", "before four"], 3),
                    (["--target-lsn", four["before"], "--exclusive"], 3),
                    (["--target-lsn", four["after"], "--exclusive"], 4),
                    (["--target", "latest"], 6),
                    ([], 6),
                ]
                for options, expected in cases:
                    with self.subTest(options=options):
                        count, done, _ = self.recovered(lb, major, *options)
                        self.assertEqual(count, expected)
                        latest = not options or options[-1] == "latest"
                        self.assertEqual(done["recovery"]["phase"], "ready" if latest else "paused")
                # Right after the backup there is nothing of the ledger yet.
                count_of = self.consistent_only(lb, major)
                self.assertEqual(count_of, "")
                self.exact_commit_times(server, lb, major, history)

    def consistent_only(self, lb, major):
        to = new_directory("to") / "data"
        place = new_directory("k")
        done = lb("restore", "--pg-bin", lb.server.bin, "--to", to, "--start", "--port", "6100", "--socket-dir", place,
                  "--target", "immediate").ok().json
        self.assertEqual(done["recovery"]["phase"], "paused")
        copy = Cluster.attach(to, major)
        copy.place, copy.port = place, 6100
        entries = copy.value("SELECT string_agg(n::text, ' ' ORDER BY n) FROM ledger")
        copy.stop("immediate")
        return entries

    def exact_commit_times(self, server, lb, major, history):
        """The commit time itself, from pg_waldump: inclusive is with it, exclusive without."""
        start = history[0]["before"]
        commits = {}
        for line in waldump(server, "-s", start):
            found = re.search(r"tx:\s+(\d+),.*desc: COMMIT (\d{4}-\S+ [\d:.]+ UTC)", line)
            if found:
                commits[int(found[1])] = found[2].replace(" UTC", "+00")
        when = commits[history[3]["xid"]]
        self.assertEqual(self.recovered(lb, major, "--target-time", when)[0], 4)
        self.assertEqual(self.recovered(lb, major, "--target-time", when, "--exclusive")[0], 3)

    def test_a_time_after_the_last_commit_is_the_end_where_wal_shows_it(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb, history = self.ledger(major)
                after = server.now()
                # Nothing is committed any more, but a checkpoint shows that time went on.
                server.psql("SELECT pg_sleep(1.1)")  # checkpoints tell whole seconds
                server.checkpoint()
                server.wait_archived()
                count, done, _ = self.recovered(lb, major, "--target-time", after)
                self.assertEqual(count, 6)
                self.assertEqual(done["recovery"]["phase"], "paused")

    def test_timelines_three_deep(self):
        """A copy that became the primary, twice: each timeline is reached by number, the newest by default."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb, history = self.ledger(major)
                servers = [server]
                for timeline in (2, 3):
                    to = new_directory(f"line{timeline}-") / "data"
                    lb("restore", "--pg-bin", server.bin, "--to", to, "--archive-mode", "keep").ok()
                    servers[-1].stop()
                    copy = Cluster.attach(to, major, start=True).wait_recovered()
                    copy.psql(f"INSERT INTO ledger VALUES ({5 + timeline}, 'on timeline {timeline}')")
                    copy.wait_archived()
                    servers.append(copy)
                servers[-1].stop()
                self.assertEqual(self.recovered(lb, major)[0], 8)
                self.assertEqual(self.recovered(lb, major, "--timeline", "2")[0], 7)
                self.assertEqual(self.recovered(lb, major, "--timeline", "current")[0], 6)
                # A time on the first timeline lies on all three: they mean the same, so nobody has to choose.
                self.assertEqual(self.recovered(lb, major, "--target-time", history[2]["time"])[0], 3)


if __name__ == "__main__":
    main()
