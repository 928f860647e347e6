#!/usr/bin/env python3
"""`lifeboat restore --instant` killed at each step of its way, the switch to the plain directory and the steps behind it above
all, each process of it: nothing starts on what is not whole, the same command goes on, and in the end nothing of ours is left.

LIFEBOAT_SOAK=1 takes every step; else those of the switch and some others."""
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import Background, amcheck, checksums, main, new_directory, run, skip, wait_until  # noqa: E402
from system.instant_test import InstantCase  # noqa: E402
from system.mount_test import MOUNTER, end_server, is_mounted, unmount  # noqa: E402

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))


class InstantSwitchTest(InstantCase):
    def source(self, major, **how):
        server = self.cluster(major=major)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE ledger (id bigint PRIMARY KEY, amount int, note text);"
                    "INSERT INTO ledger SELECT g, g % 1000, md5(g::text) FROM generate_series(1, 20000) g")
        self.location = server.tablespace("elsewhere")
        self.bin = server.bin
        server.psql("CREATE TABLE far TABLESPACE elsewhere AS SELECT g FROM generate_series(1, 5000) g")
        lb("backup", live=True).ok()
        server.psql("INSERT INTO ledger SELECT -g, g, 'later' FROM generate_series(1, 500) g")
        server.wait_archived()
        return server, lb

    def place_of(self, lb):
        """(data directory, socket directory, command) of one more restore."""
        data, sockets = self.place(), new_directory("s")
        harness._at_end.callback(unmount, data.parent / "far")
        where = f"{self.location}={data.parent / 'far'}"
        return data, sockets, self.argv(lb, data, sockets, "--pg-bin", self.bin, "--tablespace", where)

    def end_all(self, data, copy):
        """What the killed command left running: the server, as a crash of the machine would."""
        postmaster = copy.pid
        if postmaster:
            end_server(postmaster)

    def assert_done(self, server, copy, done, data):
        self.assertTrue(done.json["instant"]["running"])
        self.assert_plain(data)
        copy.wait_recovered()
        self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
        self.assertEqual("5000", copy.value("SELECT count(*) FROM far"))

    def points(self, lb):
        """How many points the process with the most of them passes."""
        counts = new_directory("count", mode=0o777) / "points"
        data, sockets, argv = self.place_of(lb)
        run(argv, user=MOUNTER, env={"LIFEBOAT_FAULT_COUNT": counts})
        self.attach(data, sockets).stop()
        return [int(line.split()[-1]) for line in counts.read_text().splitlines()]

    def test_killed_at_each_step_the_same_command_goes_on(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                counts = self.points(lb)
                most = max(counts)
                print(f"crash points of its processes: {sorted(counts, reverse=True)[:6]}", flush=True)
                every = [f"{n}{when}" for n in range(1, most + 1) for when in ("", ":after")]
                chosen = every if SOAK else [*harness.rng(self.id()).sample(every[:-6], min(6, len(every) - 6)), *every[-6:]]
                slowest = killed = 0
                for point in chosen:
                    data, sockets, argv = self.place_of(lb)
                    copy = self.attach(data, sockets, major)
                    first = Background(argv, user=MOUNTER, env={"LIFEBOAT_FAULT": point})
                    ended = first.wait(120, check=False)
                    killed += ended.code != 0
                    harness_forget(copy)
                    if not is_mounted(data) and (data / "global/pg_control").exists() and not (data / "lifeboat.instant").exists():
                        # All was done, but for telling so.
                        self.assert_plain(data)
                        self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
                        copy.stop()
                        continue
                    began = time.monotonic()
                    done = run(argv, user=MOUNTER, timeout=120)
                    slowest = max(slowest, time.monotonic() - began)
                    self.assert_done(server, copy, done, data)
                    copy.stop()
                    checksums(copy)
                print(f"{major}: killed at {killed} of {len(chosen)} points; at most {slowest:.2f} s to go on and end", flush=True)
                self.assertGreater(killed, 3)

    def test_killed_between_the_switch_and_the_last_start(self):
        """The narrow place: no mount any more, no server yet."""
        server, lb = self.source(15)
        data, sockets, argv = self.place_of(lb)
        copy = self.attach(data, sockets)
        first = Background(argv, user=MOUNTER)

        def switched():
            return "every block is there" in first.result().err and (data / "lifeboat.instant").exists()
        wait_until(lambda: switched() or not first.running, "the switch", interval=0.001)
        first.kill()
        time.sleep(1)
        self.end_all(data, copy)
        harness_forget(copy)
        self.assertFalse(is_mounted(data))
        refused = run(self.argv(lb, data, sockets, "--target", "immediate"), user=MOUNTER, check=False)
        self.assertFails(refused, 14, "holds an instant restore to")
        began = time.monotonic()
        done = run(argv, user=MOUNTER)
        print(f"{time.monotonic() - began:.2f} s to go on", flush=True)
        self.assert_done(server, copy, done, data)
        amcheck(copy)
        # Done is done.
        self.assertFails(run(argv, user=MOUNTER, check=False), 14)
        copy.stop()

    def test_the_mount_is_killed_while_the_server_is_stopped(self):
        """Nobody has to come and give the command once more: there is no server meanwhile."""
        server, lb = self.source(15)
        data, sockets, argv = self.place_of(lb)
        copy = self.attach(data, sockets)
        first = Background(argv, user=MOUNTER)
        serving = []

        def stopping():
            status = data / "lifeboat.mount.status"
            words = status.read_text().split() if not serving and status.exists() else []
            if len(words) > 1:
                serving[:] = [int(words[1])]
            return "every block is there" in first.result().err
        wait_until(lambda: stopping() or not first.running, "the switch", timeout=120, interval=0.001)
        os.kill(serving[0], signal.SIGKILL)
        began = time.monotonic()
        done = first.wait(60)
        print(f"{time.monotonic() - began:.2f} s from the kill to the plain directory", flush=True)
        self.assertIn("mounted once more", done.err)
        harness_forget(copy)
        self.assert_done(server, copy, done, data)
        amcheck(copy)
        copy.stop()

    def test_what_unmounts_is_killed_with_the_command(self):
        """The process that serves lives on and cannot unmount: the next call does not wait for it."""
        if os.geteuid() != 0:
            skip("as root alone another process mounts")
        server, lb = self.source(15)
        data, sockets, argv = self.place_of(lb)
        copy = self.attach(data, sockets)
        first = Background([*argv, "--hydrate-rate", "2MB"], user=MOUNTER)
        wait_until(lambda: "accepting queries" in first.result().err or not first.running, "queries", timeout=120)
        serving = int((data / "lifeboat.mount.status").read_text().split()[1])
        killed = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                ours = str(data).encode() in (process / "cmdline").read_bytes() and "lifeboat" in os.readlink(process / "exe")
                if ours and int(process.name) != serving:
                    os.kill(int(process.name), signal.SIGKILL)
                    killed += 1
            except OSError:
                continue
        self.assertGreaterEqual(killed, 2, "the command, and what mounts for it")
        first.wait(60, check=False)
        began = time.monotonic()
        done = run(argv, user=MOUNTER)
        print(f"{time.monotonic() - began:.2f} s to go on", flush=True)
        self.assertLess(time.monotonic() - began, 60)
        harness_forget(copy)
        self.assert_done(server, copy, done, data)
        amcheck(copy)
        copy.stop()

    def test_one_that_is_started_by_hand_is_left_running(self):
        server, lb = self.source(15)
        data, sockets, argv = self.place_of(lb)
        copy = self.attach(data, sockets)
        first = Background(argv, user=MOUNTER)
        wait_until(lambda: (data / "lifeboat.instant").exists() or not first.running, "the switch", interval=0.001)
        first.kill()
        time.sleep(1)
        self.end_all(data, copy)
        harness_forget(copy)
        copy.start().wait_recovered()
        copy.psql("CREATE TABLE since AS SELECT 1")
        pid = copy.pid
        done = run(argv, user=MOUNTER)
        self.assertEqual(pid, copy.pid)
        self.assert_done(server, copy, done, data)
        copy.stop()


def harness_forget(copy):
    """Where process 1 does not reap, a server that was killed would be taken for alive (see harness.Cluster.kill9)."""
    if copy.pid is None:
        for lock in (copy.data / "postmaster.pid", copy.place / f".s.PGSQL.{copy.port}.lock"):
            lock.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
