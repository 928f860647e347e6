#!/usr/bin/env python3
"""`lifeboat restore --instant` under load, while the process that mounts, the server and the command itself are killed at
random: what was committed is there, nothing is corrupt, and the same command goes on until the directory is plain."""
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import amcheck, checksums, main, new_directory, run, wait_until  # noqa: E402
from system.instant_test import InstantCase  # noqa: E402
from system.mount_test import MOUNTER, end_server  # noqa: E402

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
ROUNDS = 12 if SOAK else 4


class Writer:
    """Commits numbers one by one on a connection of its own, and knows which ones were acknowledged."""

    def __init__(self, cluster, first):
        self.cluster, self.next, self.acknowledged, self.times = cluster, first, [], []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        # Recorded per statement, so that what was in flight at a kill counts as neither.
        argv = self.cluster._psql("postgres", "postgres", "-e")
        while not self.stopped.is_set():
            number = self.next
            self.next += 1
            done = subprocess.run([str(a) for a in argv], input=f"INSERT INTO acknowledged VALUES ({number})", text=True,
                                  capture_output=True, check=False, timeout=60, env=harness.environment(), **harness.account())
            if done.returncode == 0:
                self.acknowledged.append(number)
                self.times.append(time.monotonic())
            else:
                time.sleep(0.05)

    def stop(self):
        self.stopped.set()
        self.thread.join()
        return self.acknowledged


class InstantCrashTest(InstantCase):
    def test_whatever_is_killed_what_was_committed_is_there(self):
        chance = harness.rng(self.id())
        for major in harness.majors() if SOAK else self.two_majors()[-1:]:
            with self.subTest(major=major):
                self.crash(major, chance)

    def crash(self, major, chance):
        lb = self.source_of_load(major)
        data, sockets = self.place(), new_directory("s")
        copy = self.attach(data, sockets, major)
        acknowledged, number = [], 1
        for turn in range(ROUNDS):
            command = self.instant(lb, data, sockets, "--hydrate-rate", "4MB", "--pg-bin", copy.bin)
            wait_until(lambda: self.works(copy, command) or not command.running, "promotion", timeout=120)
            if not command.running:
                raise harness.CommandFailed(command.result())
            load = copy.pgbench("-n", "-T", 120, "-c", 3, "-R", 60, background=True)  # each brings a frame or two
            writer = Writer(copy, number)
            self.addCleanup(writer.stopped.set)
            status = "there is none"
            time.sleep(chance.uniform(0.2, 2.5))
            postmaster = copy.pid
            with contextlib.suppress(FileNotFoundError):
                status = (data / "lifeboat.mount.status").read_text()
            self.assertIn("complete no", status, "the rest comes too fast for this test")
            victims = chance.choice([["mount"], ["server"], ["command"], ["mount", "server"], ["mount", "command"],
                                     ["mount", "server", "command"], ["server", "command"]])
            print(f"round {turn}: {', '.join(victims)}", flush=True)
            for victim in victims:
                if victim == "mount":
                    os.kill(int(status.split()[1]), signal.SIGKILL)
                elif victim == "server":
                    end_server(postmaster)
                else:
                    command.kill()
            acknowledged += writer.stop()
            number = writer.next
            load.kill()
            command.kill()
        done = run(self.argv(lb, data, sockets), user=MOUNTER, timeout=200).json
        self.assertTrue(done["instant"]["running"])
        self.assert_plain(data)
        copy.wait_recovered()
        self.assertGreater(len(acknowledged), ROUNDS)
        self.assert_whole(copy, acknowledged)

    def test_load_during_the_bringing_and_across_the_switch(self):
        for major in harness.majors() if SOAK else [15]:
            with self.subTest(major=major):
                self.across(major)

    def across(self, major):
        lb = self.source_of_load(major)
        data, sockets = self.place(), new_directory("s")
        copy = self.attach(data, sockets, major)
        command = self.instant(lb, data, sockets, "--hydrate-rate", "40MB", "--pg-bin", copy.bin)
        wait_until(lambda: self.works(copy, command) or not command.running, "promotion", timeout=120)
        writer = Writer(copy, 1)
        self.addCleanup(writer.stopped.set)
        before = after = 0
        while command.running:
            # Ends with its connections when the server is stopped for the switch.
            copy.pgbench("-n", "-T", 2, "-c", 3, background=True).wait(60, check=False)
            before += 1
        done = command.wait(10).json
        for _ in range(2):
            copy.pgbench("-n", "-t", 100, "-c", 3)
            after += 1
        acknowledged = writer.stop()
        gap = max(b - a for a, b in zip(writer.times, writer.times[1:]))
        print(f"{major}: {len(acknowledged)} commits beside {before} rounds of pgbench before the switch and {after} after it; "
              f"longest time without one {gap:.2f} s, switch {done['instant']['switch_seconds']:.2f} s", flush=True)
        self.assertTrue(done["instant"]["running"])
        self.assertGreater(before, 1)
        self.assert_plain(data)
        self.assert_whole(copy, acknowledged)

    def source_of_load(self, major):
        server = self.cluster(major=major)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.pgbench("-i", "-q", "-s", 25)
        server.psql("CREATE TABLE acknowledged (n bigint PRIMARY KEY)")
        server.checkpoint()
        lb("backup", live=True).ok()
        server.pgbench("-n", "-t", 300, "-c", 2)
        server.wait_archived(server.switch_wal())
        server.stop()
        return lb

    def assert_whole(self, copy, acknowledged):
        there = {int(row[0]) for row in copy.rows("SELECT n FROM acknowledged")}
        self.assertEqual(set(), set(acknowledged) - there, "committed, acknowledged and lost")
        sums = copy.rows("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),"
                         "(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)")[0]
        self.assertEqual(1, len(set(sums)), sums)
        amcheck(copy)
        copy.stop()
        checksums(copy)

    def works(self, copy, command):
        """Not the server of the round before, which may still answer from memory although its files are gone."""
        command._err.seek(0)
        if b"accepting queries" not in command._err.read():
            return False
        return self.answers(copy)

    def answers(self, copy):
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            return copy.psql("SELECT pg_is_in_recovery()", check=False, timeout=20).out.strip() == "f"
        return False


if __name__ == "__main__":
    main()
