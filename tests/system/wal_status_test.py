#!/usr/bin/env python3
"""`wal status` beside real servers: windows that restores then reach, lag, and what it says of holes, two contents and a
promotion (W3)."""

import datetime

from harness import Cluster, SystemTest, main, new_directory


class WalStatusTest(SystemTest):
    def made(self, major=None):
        server = self.cluster(major=major, wal_segsize=16)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE t (i int)")
        lb("backup", live=True).ok()
        return server, lb

    def commits(self, server, first, last):
        """A commit in each of some segments."""
        for i in range(first, last + 1):
            server.psql(f"INSERT INTO t VALUES ({i})")
            server.switch_wal()
        server.wait_archived()

    def timeline(self, status, number=1):
        return next(one for one in status["lineages"][0]["timelines"] if one["timeline"] == number)

    def segments(self, lb, timeline="00000001"):
        return sorted((lb.repo_path / "clusters/main").glob(f"*/wal/{timeline}/*/{timeline}*-*"))

    def test_a_window_ends_where_a_restore_ends(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.made(major)
                self.commits(server, 1, 3)
                status = lb("wal", "status", live=True).ok().json
                self.assertTrue(status["sound"])
                windows = self.timeline(status)["windows"]
                self.assertEqual(len(windows), 1, windows)
                plan = lb("restore", "--to", new_directory("to") / "data", "--dry-run").ok().json["plan"]
                self.assertEqual(windows[0]["to_lsn"], plan["stop_lsn"])
                self.assertEqual(windows[0]["to"], plan["last_commit"])
                last = datetime.datetime.fromisoformat(windows[0]["to"].replace("Z", "+00:00"))
                lb("restore", "--to", new_directory("to") / "data", "--dry-run", "--target-time", windows[0]["to"],
                   "--exclusive").ok()
                later = (last + datetime.timedelta(hours=1)).isoformat()
                self.assertFails(lb("restore", "--to", new_directory("to") / "data", "--dry-run", "--target-time", later), 13)
                self.assertLess(status["server"]["bytes"], 2 * 16 << 20)
                self.assertEqual(status["server"]["ready"], 0)
                self.assertGreaterEqual(status["lineages"][0]["last_hour"]["segments"], 3)
                self.assertIn("end of stored WAL", lb("wal", "status", json=False).ok().out)

    def test_holes_and_two_contents_are_named(self):
        server, lb = self.made()
        self.commits(server, 1, 4)
        second = int(lb("backup", live=True).ok().json["start_lsn"].partition("/")[2], 16) >> 24
        self.commits(server, 5, 6)
        lost = [one for one in self.segments(lb) if int(one.name[16:24], 16) < second][-2]
        name = lost.name.partition("-")[0]
        lost.rename(new_directory("lost") / lost.name)
        status = lb("wal", "status")
        self.assertFails(status, 17, name)
        windows = self.timeline(status.json)["windows"]
        self.assertEqual([one["hole"] for one in windows], [name, None])
        self.assertFails(lb("wal", "status", json=False), 17, f"HOLE: 1 segment, {name}")

        # Another content under the name of the newest segment.
        newest = self.segments(lb)[-1]
        segment = newest.name.partition("-")[0]
        twin = newest.with_name(f"{segment}-{'0' * 32}")
        twin.write_bytes(newest.read_bytes())
        conflict = lb("wal", "status")
        self.assertFails(conflict, 17, segment, "different contents")
        self.assertEqual(len(self.timeline(conflict.json)["conflicts"][0]["contents"]), 2)

    def test_a_promotion_has_its_own_window(self):
        server, lb = self.made()
        self.commits(server, 1, 2)
        data = new_directory("fork") / "data"
        lb("restore", "--to", data, "--target", "latest", "--archive-mode", "keep").ok()
        server.stop()
        copy = Cluster.attach(data, server.major, start=True).wait_recovered()
        copy.psql("INSERT INTO t VALUES (100)")
        copy.wait_archived()
        status = lb("wal", "status").ok().json
        child = self.timeline(status, 2)
        self.assertEqual(child["origin"]["timeline"], 1)
        self.assertGreater(child["windows"][0]["to"], self.timeline(status, 1)["windows"][0]["to"])

    def test_it_needs_no_server_and_says_when_that_does_not_answer(self):
        server, lb = self.made()
        server.wait_archived()
        server.stop()
        status = lb("wal", "status", live=True).ok()
        self.assertIsNone(status.json["server"])
        self.assertIn("not known", status.err)


if __name__ == "__main__":
    main()
