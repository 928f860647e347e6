#!/usr/bin/env python3
"""`wal get` with prefetch: what follows is fetched by a process that is left behind, and nothing that this process does or
fails to do ever looks like the end of the archive (T28, T29, T30)."""

import os
import shutil
import signal
import time
from pathlib import Path

from harness import (Background, Cluster, SystemTest, binary, give, main, new_directory, run, tmpfs, tool, wait_until)


def processes_with(path):
    """Processes that have an open file below path: {pid: [paths]}."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            links = [os.readlink(link) for link in (entry / "fd").iterdir()]
        except OSError:
            continue
        if any(link.startswith(f"{path}/") for link in links):
            found[int(entry.name)] = links
    return found


class PrefetchTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.spool = new_directory("spool")
        self.addCleanup(self.end_fetchers)

    def end_fetchers(self):
        for pid in processes_with(self.spool):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not processes_with(self.spool), "the end of the fetchers")

    # --- a server whose WAL is stored, and a base backup from before it
    def history(self, rows=400000, wal_segsize=1, **options):
        server = self.cluster(wal_segsize=wal_segsize, **options)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command().replace("wal push", f"wal push --state-dir {new_directory('state')}"))
        base = self.base_backup(server)
        server.psql(f"CREATE TABLE t AS SELECT generate_series(1, {rows}) i")
        server.wait_archived()
        self.names = sorted(path.rpartition("/")[2].split("-")[0] for path in lb.objects() if "/wal/" in path)
        self.names = [name for name in self.names if len(name) == 24]
        return server, lb, base

    def base_backup(self, server):
        base = new_directory("base") / "data"
        run([tool("pg_basebackup", server.major), "-d", server.conninfo(), "-D", base, "-X", "none", "--no-manifest", "-c", "fast"])
        return base

    def restore_command(self, lb, *options):
        return lb.restore_command().replace("wal get", " ".join(["wal get", f"--spool {self.spool}", "--log-level debug", *options]))

    def recovering(self, base, major, command, **conf):
        give(self._touch(base / "recovery.signal"))
        return Cluster.attach(base, major, conf={"archive_mode": "off", "restore_command": command, **conf})

    def _touch(self, path):
        path.touch()
        return path

    def get(self, lb, name, data, *options):
        """As the server of `data` asks; returns the Result and the path."""
        target = data / "pg_wal" / "RECOVERYXLOG"
        target.unlink(missing_ok=True)
        return lb("wal", "get", name, target, "--spool", self.spool, *options, cwd=data), target

    def got(self, lb, name, data, *options):
        done, target = self.get(lb, name, data, *options)
        done.ok()
        self.assertEqual(target.stat().st_size, 1 << 20)
        return done.json["prefetched"], target.read_bytes()

    def spooled(self):
        return sorted(path.name for path in self.spool.glob("*/*") if len(path.name) == 24)

    def content(self, lb, name):
        target = new_directory("got") / "RECOVERYXLOG"
        self.assertFalse(lb("wal", "get", name, target).ok().json["prefetched"])
        return target.read_bytes()

    def away(self, lb):
        moved = new_directory("away") / "repo"
        lb.repo_path.rename(moved)
        return moved


class Recoveries(PrefetchTest):
    def test_a_recovery_of_many_segments_uses_it(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb, base = self.history(major=major)
                server.stop()
                restored = self.recovering(base, major, self.restore_command(lb))
                restored.start().wait_recovered()
                self.assertEqual(restored.value("SELECT count(*) FROM t"), "400000")
                log = restored.log_text()
                self.assertGreater(log.count("was delivered from the spool"), len(self.names) // 2, log[-3000:])
                leftovers = [name for name in os.listdir(base / "pg_wal") if name.startswith((".", "RECOVERY"))]
                self.assertEqual(leftovers, [])
                restored.stop()

    def recover_through_an_outage(self, lb, base, major, end):
        """The repository goes when a segment in the middle is asked for, with a full spool behind it. `end` is what the
        shell makes of the command's exit code. Returns the server and the repository's new place."""
        moved = new_directory("away") / "repo"
        script = new_directory("script") / "get"
        middle, behind = (self.names[len(self.names) // 2 + more] for more in (0, 5))
        script.write_text(f"#!/bin/sh\nif [ \"$1\" = {middle} ]; then\n"
                          f"  for i in $(seq 200); do ls {self.spool}/*/{behind} && break; sleep 0.02; done\n"
                          f"  [ -d {moved} ] || mv {lb.repo_path} {moved}\nfi\n"
                          f"{self.restore_command(lb).replace('%f', '$1').replace('%p', '$2')}\n{end}\n")
        script.chmod(0o755)
        give(script)
        restored = self.recovering(base, major, f"{script} %f %p")
        restored.start(wait=False)
        wait_until(moved.exists, "the outage")
        return restored, moved

    def test_an_outage_in_the_middle_does_not_end_recovery_early(self):  # T29
        server, lb, base = self.history()
        server.stop()
        restored, moved = self.recover_through_an_outage(lb, base, server.major, "exit $?")
        wait_until(lambda: not restored.running, "the end of the server")
        log = restored.log_text()
        self.assertIn("was delivered from the spool", log)
        self.assertNotIn("archive recovery complete", log)
        self.assertTrue((base / "recovery.signal").exists())
        moved.rename(lb.repo_path)
        restored.overrides["restore_command"] = self.restore_command(lb)
        restored.start().wait_recovered()
        self.assertEqual(restored.value("SELECT count(*) FROM t"), "400000")
        restored.stop()

    def test_canary_an_outage_that_is_answered_with_1_ends_recovery_early(self):
        """What the test above would see if `wal get` took an outage for absence."""
        server, lb, base = self.history()
        server.stop()
        restored, moved = self.recover_through_an_outage(lb, base, server.major, "[ $? = 0 ] || exit 1")
        restored.wait_recovered()
        self.assertIn("archive recovery complete", restored.log_text())
        self.assertNotEqual(restored.psql("SELECT count(*) FROM t", check=False).out.strip(), "400000")
        restored.stop()

    def test_a_recovery_over_promotions(self):
        server, lb, base = self.history(rows=100000)
        state = new_directory("state")
        archive = lb.archive_command().replace("wal push", f"wal push --state-dir {state}")
        for number in (2, 3):
            server.stop()
            copy = new_directory("copy") / "data"
            shutil.copytree(base, copy, symlinks=True, copy_function=shutil.copy2)
            run(["chown", "-R", "--reference", base, copy], user="root")
            promoted = Cluster.attach(copy, server.major, conf={
                "archive_mode": "on", "archive_command": archive, "restore_command": self.restore_command(lb)})
            give(self._touch(copy / "recovery.signal"))
            promoted.start().wait_recovered()
            self.assertEqual(promoted.timeline(), number)
            promoted.psql(f"INSERT INTO t SELECT generate_series({number}00001, {number}50000)")
            promoted.wait_archived(timeout=120)
            server = promoted
        server.stop()
        restored = self.recovering(base, server.major, self.restore_command(lb))
        restored.start().wait_recovered()
        self.assertEqual(restored.timeline(), 4)
        self.assertEqual(restored.value("SELECT count(*) FROM t"), "200000")
        self.assertIn("was delivered from the spool", restored.log_text())
        restored.stop()

    def test_two_recoveries_of_one_cluster_at_once(self):
        server, lb, base = self.history()
        other = self.base_backup(server)  # later, so they ask for different segments
        server.psql("INSERT INTO t SELECT generate_series(1, 100000)")
        server.wait_archived()
        server.stop()
        servers = [self.recovering(data, server.major, self.restore_command(lb)) for data in (base, other)]
        for one in servers:
            one.start(wait=False)
        for one in servers:
            one.wait_recovered()
            self.assertEqual(one.value("SELECT count(*) FROM t"), "500000")
            self.assertIn("was delivered from the spool", one.log_text())
        self.assertEqual(len(list(self.spool.iterdir())), 2)
        for one in servers:
            one.stop()

    def test_a_spool_without_room_fails_nothing(self):
        server, lb, base = self.history()
        server.stop()
        self.spool = tmpfs(1)  # less than what must be left
        restored = self.recovering(base, server.major, self.restore_command(lb))
        restored.start().wait_recovered()
        self.assertEqual(restored.value("SELECT count(*) FROM t"), "400000")
        self.assertIn("nothing is fetched ahead", restored.log_text())
        restored.stop()

    def test_a_small_spool_is_used_as_far_as_it_goes(self):
        server, lb, base = self.history()
        server.stop()
        self.spool = tmpfs(5)
        restored = self.recovering(base, server.major, self.restore_command(lb))
        restored.start().wait_recovered()
        self.assertEqual(restored.value("SELECT count(*) FROM t"), "400000")
        self.assertIn("was delivered from the spool", restored.log_text())
        restored.stop()

    def test_a_standby_follows_the_archive(self):
        server, lb, base = self.history()
        give(self._touch(base / "standby.signal"))
        standby = Cluster.attach(base, server.major, conf={
            "archive_mode": "off", "hot_standby": "on", "restore_command": self.restore_command(lb, "--standby"),
            "wal_retrieve_retry_interval": "200ms"})
        standby.start()
        for round in range(3):
            server.psql("INSERT INTO t SELECT generate_series(1, 50000)")
            server.wait_archived()
            wanted = str(400000 + 50000 * (round + 1))
            wait_until(lambda: standby.psql("SELECT count(*) FROM t", check=False).out.strip() == wanted, f"{wanted} rows", 60)
        standby.stop()


class Calls(PrefetchTest):
    """Single calls, as the server makes them."""

    def setUp(self):
        super().setUp()
        self.server, self.lb, self.base = self.history()
        self.system = self.server.system_identifier()
        self.server.stop()
        self.assertGreater(len(self.names), 14)

    def filled(self, first, segments=8):
        """Gets the segment and waits until the spool is full behind it."""
        self.got(self.lb, self.names[first], self.base, "--prefetch", str(segments))
        wanted = self.names[first + 1:first + 1 + segments]
        wait_until(lambda: self.spooled() == wanted, f"{wanted} in the spool")

    def test_what_is_delivered_from_the_spool_is_the_same(self):
        contents = [self.content(self.lb, name) for name in self.names]
        self.filled(0)
        for name, content in list(zip(self.names, contents))[1:9]:
            prefetched, data = self.got(self.lb, name, self.base)
            self.assertTrue(prefetched, name)
            self.assertEqual(data, content)
        # Onto another file system it is copied.
        self.filled(0)
        elsewhere = tmpfs(4) / "RECOVERYXLOG"
        done = self.lb("wal", "get", self.names[1], elsewhere, "--spool", self.spool, cwd=self.base).ok()
        self.assertTrue(done.json["prefetched"])
        self.assertEqual(elsewhere.read_bytes(), contents[1])

    def test_without_a_place_of_the_installation_it_has_its_own(self):
        uid = os.stat(self.base).st_uid
        own = Path(f"/var/tmp/lifeboat-{uid}")
        if Path("/var/lib/lifeboat").exists():
            self.skipTest("/var/lib/lifeboat exists")
        target = self.base / "pg_wal" / "RECOVERYXLOG"
        self.lb("wal", "get", self.names[0], target, cwd=self.base).ok()
        wait_until(lambda: list(own.glob(f"*-{self.system}-*/{self.names[1]}")), "the spool of its own")
        self.assertEqual((own.stat().st_uid, own.stat().st_mode & 0o777), (uid, 0o700))
        self.assertTrue(self.lb("wal", "get", self.names[1], target, cwd=self.base).ok().json["prefetched"])
        for pid in processes_with(next(own.glob(f"*-{self.system}-*"))):
            os.kill(pid, signal.SIGTERM)

    def test_an_older_request_goes_back(self):  # pg_rewind
        self.filled(8, 4)
        prefetched, data = self.got(self.lb, self.names[2], self.base)
        self.assertFalse(prefetched)
        self.assertEqual(data, self.content(self.lb, self.names[2]))
        wait_until(lambda: self.spooled()[:1] == [self.names[3]], "the spool follows")
        self.assertNotIn(self.names[12], self.spooled())

    def test_an_outage_with_a_full_spool_is_never_absence(self):  # T29
        self.filled(0, 4)
        moved = self.away(self.lb)
        for name in self.names[1:5]:
            self.assertTrue(self.got(self.lb, name, self.base)[0])
        self.assertEqual(self.get(self.lb, self.names[5], self.base)[0].code, 255)
        self.assertEqual(self.get(self.lb, "0000000100000000000000FF", self.base)[0].code, 255)
        self.assertTrue(2 <= self.get(self.lb, self.names[5], self.base, "--standby")[0].code <= 125)
        moved.rename(self.lb.repo_path)
        self.assertEqual(self.get(self.lb, self.names[5], self.base)[0].code, 0)
        self.assertEqual(self.get(self.lb, "0000000100000000000000FF", self.base)[0].code, 1)

    def test_the_fetcher_is_detached_and_ends_when_told_to(self):
        self.filled(0)
        fetchers = processes_with(self.spool)
        self.assertEqual(len(fetchers), 1)
        pid, links = fetchers.popitem()
        others = [link for link in links if link != "/dev/null" and not link.startswith(f"{self.spool}/")]
        self.assertEqual(others, [])
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        self.assertNotEqual(os.getsid(pid), os.getsid(0))
        self.assertNotEqual(os.getsid(pid), pid, "it leads no session, so it never gets a terminal")
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not list(self.spool.iterdir()), "an empty spool")

    def test_a_killed_fetcher_is_followed_by_another(self):
        self.filled(0)
        pid = next(iter(processes_with(self.spool)))
        left = next(self.spool.iterdir())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in processes_with(self.spool), "its end")
        (left / ".tmp-0123456789abcdef").write_text("x")
        # What it left is not served any more: nobody vouches for it.
        self.assertFalse(self.got(self.lb, self.names[1], self.base, "--prefetch", "3")[0])
        wait_until(lambda: self.spooled() == self.names[2:5], "the next one has cleared and fetched")
        self.assertFalse((left / ".tmp-0123456789abcdef").exists())
        self.assertTrue(self.got(self.lb, self.names[2], self.base)[0])

    def test_waiting_in_vain_is_not_absence(self):  # T28
        self.filled(0, 2)
        directory = next(self.spool.iterdir())
        pid = next(iter(processes_with(self.spool)))
        os.kill(pid, signal.SIGSTOP)
        try:
            give(self._touch(directory / f"{self.names[7]}.fetching"))
            started = time.monotonic()
            prefetched, data = self.got(self.lb, self.names[7], self.base)
            self.assertGreater(time.monotonic() - started, 5)
            self.assertFalse(prefetched)
            self.assertEqual(data, self.content(self.lb, self.names[7]))
            moved = self.away(self.lb)
            self.assertEqual(self.get(self.lb, self.names[7], self.base)[0].code, 255)
            moved.rename(self.lb.repo_path)
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_a_fetcher_that_dies_is_not_waited_for(self):
        self.filled(0, 2)
        directory = next(self.spool.iterdir())
        pid = next(iter(processes_with(self.spool)))
        os.kill(pid, signal.SIGSTOP)
        give(self._touch(directory / f"{self.names[7]}.fetching"))
        get = Background(self.lb.argv("wal", "get", self.names[7], self.base / "pg_wal/RECOVERYXLOG", "--spool", self.spool),
                         cwd=self.base)
        time.sleep(0.5)
        self.assertTrue(get.running)
        os.kill(pid, signal.SIGKILL)
        self.assertLess(get.wait(timeout=5).seconds, 5)

    def test_a_damaged_file_in_the_spool_is_not_delivered(self):
        self.filled(0, 3)
        directory = next(self.spool.iterdir())
        with open(directory / self.names[1], "r+b") as file:
            file.truncate(1000)
        with open(directory / self.names[2], "r+b") as file:  # another segment's content
            file.write((directory / self.names[3]).read_bytes())
        for name in self.names[1:3]:
            prefetched, data = self.got(self.lb, name, self.base)
            self.assertFalse(prefetched)
            self.assertEqual(data, self.content(self.lb, name))

    def test_a_spool_in_a_data_directory_is_refused(self):  # T28
        inside = new_directory("spool", within=self.base)
        for spool in (inside, inside / "deeper", self.base / "pg_wal"):
            done = self.lb("wal", "get", self.names[0], self.base / "pg_wal/RECOVERYXLOG", "--spool", spool, cwd=self.base)
            self.assertFails(done, 255, "the spool lies in")
            self.assertFalse((inside / "deeper").exists())
        done = self.lb("wal", "get", self.names[0], self.base / "pg_wal/RECOVERYXLOG", "--spool", inside, "--prefetch", "0",
                       cwd=self.base)
        self.assertEqual(done.code, 0, done.err)
        # A pg_wal that is linked is part of it too.
        elsewhere = new_directory("wal") / "pg_wal"
        shutil.move(self.base / "pg_wal", elsewhere)
        os.symlink(elsewhere, self.base / "pg_wal")
        done = self.lb("wal", "get", self.names[0], self.base / "pg_wal/RECOVERYXLOG", "--spool", elsewhere / "x", cwd=self.base)
        self.assertFails(done, 255, "the spool lies in")

    def test_where_nothing_may_be_written_nothing_is_prefetched(self):
        closed = new_directory("closed", mode=0o500)
        done = self.lb("wal", "get", self.names[0], self.base / "pg_wal/RECOVERYXLOG", "--spool", closed / "spool", cwd=self.base).ok()
        self.assertIn("no prefetch", done.err)
        # Somebody else's directory: what lies there could be replayed.
        open_to_all = new_directory("open", mode=0o777)
        self.lb("wal", "get", self.names[0], self.base / "pg_wal/RECOVERYXLOG", "--spool", open_to_all, cwd=self.base).ok()
        directory = wait_until(lambda: next(open_to_all.iterdir(), None), "a directory")
        for pid in processes_with(open_to_all):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not list(open_to_all.iterdir()), "its end")
        directory.mkdir()
        done = self.lb("wal", "get", self.names[0], self.base / "pg_wal/RECOVERYXLOG", "--spool", open_to_all, cwd=self.base).ok()
        self.assertIn("only this user may write", done.err)
        self.assertEqual(list(directory.iterdir()), [])

    def test_a_call_outside_of_a_recovery_does_without(self):
        target = new_directory("got") / "x"
        self.lb("wal", "get", self.names[0], target, "--spool", self.spool).ok()
        self.assertEqual(list(self.spool.iterdir()), [])
        # Nor does one for what is not stored, or for a history.
        for name in ("0000000100000000000000FF", "00000002.history"):
            self.assertEqual(self.get(self.lb, name, self.base)[0].code, 1)
        self.assertEqual(list(self.spool.iterdir()), [])

    def test_restore_clears_the_spool(self):  # T28
        self.server.start()
        self.lb("backup", live=True).ok()
        self.filled(0)
        self.lb("restore", "--to", new_directory("to") / "data", "--spool", self.spool).ok()
        self.assertEqual(self.spooled(), [])
        # The fetcher of another recovery goes on with the next request.
        self.got(self.lb, self.names[0], self.base)
        wait_until(lambda: self.spooled() == self.names[1:9], "a full spool")


if __name__ == "__main__":
    main()
