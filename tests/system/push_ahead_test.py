#!/usr/bin/env python3
"""`wal push` that looks ahead, under the real archiver: segments that wait are stored together and published in order, a
failure or a kill never leaves anything out of order or half, and each segment's own call still decides (T21, T22, T46)."""

import os
import re
import signal
import time

from harness import (Background, SystemTest, flip_bit, main, new_directory, rng, run, tmpfs, wait_until)

SEGMENT = re.compile("[0-9A-F]{24}")


class PushAheadTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.state = new_directory("state")
        self.server = self.cluster(wal_segsize=1, conf={"archive_mode": "on", "archive_command": "", "wal_keep_size": "512MB"})
        self.lb = self.lifeboat(self.server)
        self.lb("init", "--yes", live=True).ok()

    def make_wal(self, segments):
        """So many segments wait for the archiver; their names in order."""
        # Hardly compressible, or a push is done before anything can happen beside it.
        self.server.psql("CREATE TABLE IF NOT EXISTS t(a text)")
        before = len(self.ready())
        while len(self.ready()) < before + segments:
            self.server.psql("INSERT INTO t SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 20000) i, "
                             "generate_series(1, 4) j WHERE j = i % 4 + 1 GROUP BY j")
        self.server.switch_wal()
        return self.ready()

    def ready(self):
        names = (path.stem for path in (self.server.data / "pg_wal/archive_status").glob("*.ready"))
        return sorted(name for name in names if SEGMENT.fullmatch(name))

    def push(self, name, *options, **more):
        return self.lb("wal", "push", f"pg_wal/{name}", "--state-dir", self.state, *options, cwd=self.server.data, **more)

    def command(self, *options):
        return self.lb.archive_command().replace("wal push", " ".join(["wal push", f"--state-dir {self.state}", *options]))

    def stored(self):
        """Names of the stored segments in order."""
        names = (path.rpartition("/")[2].split("-")[0] for path in self.lb.objects() if "/wal/" in path and "/.tmp-" not in path)
        return sorted(name for name in names if SEGMENT.fullmatch(name))

    def published(self):
        """The stored segments in the order in which they got their names."""
        found = []
        for path in self.lb.objects():
            name = path.rpartition("/")[2].split("-")[0]
            if "/wal/" in path and SEGMENT.fullmatch(name):
                found.append(((self.lb.repo_path / path).stat().st_ctime_ns, name))
        return [name for _, name in sorted(found)]

    def assertWhole(self, names):
        for name in names:
            target = new_directory("got") / "RECOVERYXLOG"
            self.lb("wal", "get", name, target).ok()
            self.assertEqual(target.read_bytes(), (self.server.data / "pg_wal" / name).read_bytes(), name)

    def wait_idle(self, timeout=120):
        wait_until(lambda: not list((self.server.data / "pg_wal/archive_status").glob("*.ready")), "an idle archiver", timeout)

    # --- the stories
    def test_an_archiver_that_fell_behind_catches_up_in_order(self):  # T21
        names = self.make_wal(30)
        self.server.archive_with(self.command("--log-level debug", "--ahead 6"))
        self.wait_idle()
        self.assertEqual(self.server.value("SELECT failed_count FROM pg_stat_archiver"), "0", self.server.log_text()[-3000:])
        self.assertLessEqual(set(names), set(self.stored()))
        self.assertEqual(self.published(), sorted(self.published()))
        self.assertWhole(names)
        log = self.server.log_text()
        self.assertGreater(log.count("was stored already"), 15, "segments were stored ahead")
        self.assertGreater(log.count("is stored"), 3)

    def test_what_is_turned_off_stores_one_by_one(self):
        names = self.make_wal(3)
        self.push(names[0], "--ahead", "0").ok()
        self.assertEqual(self.stored(), names[:1])
        self.push(names[1], "--ahead", "1").ok()
        self.assertEqual(self.stored(), names[:3])

    def test_a_conflict_stops_what_comes_after_it(self):  # T46
        names = self.make_wal(12)
        path = self.server.data / "pg_wal" / names[4]
        flip_bit(path, 1000000)
        self.push(names[4], "--ahead", "0").ok()
        flip_bit(path, 1000000)
        self.server.archive_with(self.command("--ahead 3"))
        wait_until(lambda: int(self.server.value("SELECT failed_count FROM pg_stat_archiver")) > 0, "a failed push")
        self.assertEqual(self.stored(), names[:5])
        self.assertEqual(self.ready()[0], names[4])
        self.assertFails(self.push(names[4]), 5, names[4], "different content")
        self.assertEqual(self.stored(), names[:5])

    def test_killed_at_random_it_leaves_nothing_false_and_goes_on(self):  # T21
        random = rng("push ahead kill")
        names = self.make_wal(24)
        left = list(names)
        killed = 0
        # How long one takes here that stores a row decides when the others are killed.
        began = time.monotonic()
        self.push(left.pop(0), "--ahead", "5").ok()
        takes = time.monotonic() - began
        while left:
            push = Background(self.lb.argv("wal", "push", f"pg_wal/{left[0]}", "--state-dir", self.state, "--ahead", "5"),
                              cwd=self.server.data)
            if random.random() < 0.8:
                time.sleep(random.uniform(0.0, 0.8 * takes))
                push.kill()
            code = push.wait(check=False).code
            self.assertIn(code, (0, -signal.SIGKILL))
            stored = self.stored()
            self.assertEqual(stored, names[:len(stored)], "no hole, and nothing before its turn")
            if code == 0:
                self.assertIn(left[0], stored)
                left.pop(0)
            killed += code != 0
        self.assertEqual(self.published(), sorted(self.published()))
        self.assertWhole(names)
        self.assertGreater(killed, 0)
        self.server.archive_with(self.command())
        self.wait_idle()
        self.assertEqual(self.server.value("SELECT failed_count FROM pg_stat_archiver"), "0")

    def test_killed_at_every_step_it_can_be_done_again(self):
        names = self.make_wal(5)
        killed = 0
        for after in ("", ":after"):
            for point in range(1, 200):
                done = self.push(names[0], "--ahead", "4", env={"LIFEBOAT_FAULT": f"{point}{after}"})
                stored = self.stored()
                self.assertEqual(stored, names[:len(stored)], f"point {point}{after}")
                self.assertWhole(stored)
                self.push(names[0], "--ahead", "4").ok()
                self.assertWhole(self.stored())
                for path in self.lb.objects():
                    if "/wal/" in path:
                        (self.lb.repo_path / path).unlink()
                if done.code == 0:
                    break
                self.assertEqual(done.code, -signal.SIGKILL, done.err)
                killed += 1
            else:
                self.fail("the push never came to its end")
        self.assertGreater(killed, 30)

    def test_pushers_of_the_same_wal_do_not_conflict(self):
        names = self.make_wal(16)
        pushes = [Background(self.lb.argv("wal", "push", f"pg_wal/{name}", "--state-dir", self.state, "--ahead", "8"),
                             cwd=self.server.data) for name in (names[0], names[0], names[2], names[5])]
        for push in pushes:
            push.wait()
        self.assertWhole(self.stored())
        self.server.archive_with(self.command())
        self.wait_idle()
        self.assertEqual(self.server.value("SELECT failed_count FROM pg_stat_archiver"), "0")
        self.assertWhole(names)

    def test_an_encrypted_repository_is_stored_ahead_too(self):
        lb = self.lifeboat(self.server, options=["--key-file", new_directory("key") / "main.key"])
        lb("init", "--yes", live=True).ok()
        self.lb = lb
        names = self.make_wal(6)
        self.push(names[0], "--ahead", "5").ok()
        self.assertEqual(self.stored(), names[:6])
        self.assertWhole(names[:6])
        self.assertTrue(self.push(names[3]).ok().json["already_stored"])

    def test_a_full_repository_fails_the_call_of_what_it_could_not_store(self):
        names = self.make_wal(12)
        place = tmpfs(4)
        lb = self.lifeboat(self.server, repo=place / "repo")
        run(["mkdir", place / "repo"])
        lb("init", "--yes", live=True).ok()
        self.lb = lb
        accepted = 0
        while (done := self.push(names[accepted], "--ahead", "4")).code == 0:
            accepted += 1
        self.assertFails(done, 7)
        self.assertGreater(accepted, 2)
        stored = self.stored()
        self.assertEqual(stored, names[:len(stored)])
        self.assertGreaterEqual(len(stored), accepted)
        self.assertWhole(stored)

    def test_what_is_stored_ahead_takes_no_room_from_what_was_asked_for(self):
        names = self.make_wal(8)
        place = tmpfs(16)
        lb = self.lifeboat(self.server, repo=place / "repo")
        run(["mkdir", place / "repo"])
        lb("init", "--yes", live=True).ok()
        self.lb = lb
        # Room for this one: those behind it are staged at the same time.
        free = os.statvfs(place).f_bavail * 4096
        (place / "filler").write_bytes(b"x" * (free - 950_000))
        self.push(names[0], "--ahead", "7").ok()
        self.assertEqual(self.stored()[:1], names[:1])


if __name__ == "__main__":
    main()
