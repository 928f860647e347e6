#!/usr/bin/env python3
"""WAL archiving and fetching with real servers: archive_command and restore_command.

T21 success only when durable, failures 1 to 125; T22 the same again is success, different is an error, .partial by its
valid prefix; T23 history files; T26 system identifier; T29 absence and outage are told apart; T30 files arrive whole;
T46 conflicts (W1, W2).
"""

import os
import re
import shutil
import signal
import time
from pathlib import Path

from harness import (Background, Cluster, SystemTest, binary, flip_bit, give, main, new_directory, run, tool, wait_until)

SEGMENT = re.compile("[0-9A-F]{24}")


class WalTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.state = new_directory("state")

    # --- helpers
    def registered(self, server, **options):
        """A repository that knows the server, which runs."""
        lb = self.lifeboat(server, **options)
        lb("init", "--yes", live=True).ok()
        return lb

    def archive_command(self, lb, reference=None):
        """Lifeboat's command with a state directory of this test; then a plain copy, to compare with."""
        command = lb.archive_command().replace("wal push", f"wal push --state-dir {self.state}")
        return command + (f" && cp %p {reference}/%f" if reference else "")

    def push(self, lb, server, path, *options, cwd=None, **more):
        return lb("wal", "push", path, "--state-dir", self.state, *options, cwd=cwd or server.data, **more)

    def get(self, lb, name, *options, cwd=None, directory=None):
        """Fetches into a new directory; returns the Result and the path."""
        target = (directory or new_directory("got")) / "RECOVERYXLOG"
        return lb("wal", "get", name, target, *options, cwd=cwd or "/"), target

    def get_code(self, lb, name, *options, cwd=None):
        """The exit code; anything but success must leave nothing behind."""
        done, target = self.get(lb, name, *options, cwd=cwd)
        left = os.listdir(target.parent)
        self.assertEqual(left, ["RECOVERYXLOG"] if done.code == 0 else [], f"exit code {done.code}: {done.err}")
        return done.code

    def assertStored(self, lb, reference):
        """Every file that was archived comes back byte for byte."""
        names = sorted(os.listdir(reference))
        for name in names:
            done, target = self.get(lb, name)
            done.ok()
            self.assertEqual(target.read_bytes(), (reference / name).read_bytes(), name)
        return names

    def finished_segment(self, server):
        """The name of a whole segment in pg_wal that the server does not write to any more."""
        return server.switch_wal()

    def wait_stored(self, lb, server):
        """Ends the segment and waits until the archiver has nothing left to do. pg_stat_archiver does not tell: after a
        promotion the order of files is not that of their names."""
        segment = server.switch_wal()
        wait_until(lambda: any(f"/{segment}-" in path for path in lb.objects()), f"{segment} in the repository", 120)
        wait_until(lambda: not list((server.data / "pg_wal/archive_status").glob("*.ready")), "an idle archiver", 120)

    def object_of(self, lb, name):
        found = [path for path in lb.objects() if f"/{name}-" in path]
        self.assertEqual(len(found), 1, f"{name}: {found}")
        return lb.repo_path / found[0]


class ArchiveUnderLoad(WalTest):
    def archive_under_load(self, major, segment_size):
        server = self.cluster(major=major, wal_segsize=segment_size)
        lb = self.registered(server)
        reference = new_directory("reference")
        server.archive_with(self.archive_command(lb, reference))
        server.pgbench("-i", "-q", "-s", "4" if segment_size < 64 else "16")
        server.pgbench("-c", "4", "-t", "300")
        run([tool("pg_basebackup", major), "-d", server.conninfo(), "-D", new_directory("base") / "data", "-X", "none",
             "--no-manifest", "-c", "fast"])  # leaves a .backup file
        server.wait_archived()
        wait_until(lambda: not list((server.data / "pg_wal/archive_status").glob("*.ready")), "an idle archiver")
        self.assertEqual(server.value("SELECT failed_count FROM pg_stat_archiver"), "0", server.log_text()[-3000:])
        names = self.assertStored(lb, reference)
        self.assertGreater(len([name for name in names if SEGMENT.fullmatch(name)]), 2)
        self.assertTrue([name for name in names if name.endswith(".backup")], names)
        self.assertEqual(os.path.getsize(reference / names[0]), segment_size << 20)

    def test_segments_of_1_MB(self):  # T12, T21
        for major in self.majors():
            with self.subTest(major=major):
                self.archive_under_load(major, 1)

    def test_segments_of_16_MB(self):
        for major in self.majors():
            with self.subTest(major=major):
                self.archive_under_load(major, 16)

    def test_segments_of_64_MB(self):
        for major in self.majors():
            with self.subTest(major=major):
                self.archive_under_load(major, 64)


class Promotion(WalTest):
    def standby_of(self, server, command):
        directory = new_directory("standby") / "data"
        run([tool("pg_basebackup", server.major), "-d", server.conninfo(), "-D", directory, "-X", "stream", "-c", "fast", "-R"])
        return Cluster.attach(directory, server.major, start=True, conf={"archive_mode": "on", "archive_command": command})

    def test_history_partial_and_the_old_servers_last_segment(self):  # T22, T23
        for major in self.majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                lb = self.registered(server)
                reference, old_reference = new_directory("reference"), new_directory("reference")
                server.archive_with(self.archive_command(lb, old_reference))
                server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) i")
                server.wait_archived()
                standby = self.standby_of(server, self.archive_command(lb, reference))
                server.psql("INSERT INTO t VALUES (0)")
                wait_until(lambda: standby.value("SELECT count(*) FROM t WHERE i = 0") == "1", "replication")
                standby.promote()
                standby.psql("INSERT INTO t VALUES (-1)")
                self.wait_stored(lb, standby)
                names = self.assertStored(lb, reference)
                self.assertIn("00000002.history", names)
                partials = [name for name in names if name.endswith(".partial")]
                self.assertEqual(len(partials), 1, names)
                # The old server goes on for a while and archives the segment whole: it continues the .partial.
                server.psql("INSERT INTO t VALUES (-2)")
                self.wait_stored(lb, server)
                self.assertIn(partials[0].removesuffix(".partial"), self.assertStored(lb, old_reference))
                # And the .partial again, whose whole segment is stored now.
                done = self.push_file_again(lb, standby, reference / partials[0])
                self.assertTrue(done.ok().json["already_stored"])
                self.assertEqual(server.value("SELECT failed_count FROM pg_stat_archiver"), "0")
                self.assertEqual(standby.value("SELECT failed_count FROM pg_stat_archiver"), "0")

    def push_file_again(self, lb, server, file):
        """As after a crash of the archiver: the server hands over what it handed over before."""
        target = server.data / "pg_wal" / file.name
        if not target.exists():  # removed by a checkpoint
            shutil.copyfile(file, target)
            give(target)
        return self.push(lb, server, f"pg_wal/{file.name}")


class Refusals(WalTest):
    """Nothing is stored, the exit code is documented and never above 125 (T21)."""

    def setUp(self):
        super().setUp()
        self.server = self.cluster()
        self.lb = self.registered(self.server)
        self.name = self.finished_segment(self.server)
        self.path = f"pg_wal/{self.name}"

    def assertNothingStored(self):
        self.assertEqual([path for path in self.lb.objects() if "/wal/" in path], [])

    def test_the_same_again_is_success_and_different_is_not(self):  # T22
        self.assertFalse(self.push(self.lb, self.server, self.path).ok().json["already_stored"])
        self.assertTrue(self.push(self.lb, self.server, self.path).ok().json["already_stored"])
        before = self.lb.objects()
        flip_bit(self.server.data / self.path, 1 << 20)
        self.assertFails(self.push(self.lb, self.server, self.path), 5, self.name, "different content")
        self.assertEqual(self.lb.objects(), before)
        flip_bit(self.server.data / self.path, 1 << 20)
        self.push(self.lb, self.server, self.path).ok()

    def test_an_absolute_path_is_accepted_when_it_lies_in_pg_wal(self):
        self.push(self.lb, self.server, self.server.data / self.path).ok()

    def test_a_linked_pg_wal_is_the_same_directory(self):
        self.server.stop("immediate")  # no checkpoint that recycles the segment
        elsewhere = new_directory("wal") / "pg_wal"
        shutil.move(self.server.data / "pg_wal", elsewhere)
        os.symlink(elsewhere, self.server.data / "pg_wal")
        self.push(self.lb, self.server, self.path).ok()
        self.push(self.lb, self.server, elsewhere / self.name).ok()

    def test_the_working_directory_must_be_the_data_directory(self):
        self.assertFails(self.push(self.lb, self.server, self.server.data / self.path, cwd="/"), 14, "not a PostgreSQL data directory")
        self.assertFails(self.push(self.lb, self.server, self.name, cwd=self.server.data / "pg_wal"), 14)
        self.assertNothingStored()

    def test_pgdata_must_be_the_working_directory(self):
        self.assertFails(self.push(self.lb, self.server, self.path, "--pgdata", new_directory()), 14, "--pgdata")
        self.assertNothingStored()
        self.push(self.lb, self.server, self.path, "--pgdata", self.server.data).ok()

    def test_pgdata_of_the_environment_may_be_elsewhere(self):
        self.push(self.lb, self.server, self.path, env={"PGDATA": new_directory()}).ok()

    def test_a_file_from_elsewhere_is_refused(self):
        copy = new_directory() / self.name
        shutil.copyfile(self.server.data / self.path, copy)
        give(copy)
        self.assertFails(self.push(self.lb, self.server, copy), 14, "pg_wal")
        self.assertNothingStored()

    def test_what_is_no_wal_file_is_refused(self):
        self.assertFails(self.push(self.lb, self.server, "pg_wal/archive_status"), 2, "not the name of a WAL file")
        self.assertFails(self.push(self.lb, self.server, "pg_wal/0000000100000000000000FF"), 4)
        self.assertNothingStored()

    def test_another_cluster_under_the_same_name_is_foreign(self):  # T26
        other = self.cluster()
        name = self.finished_segment(other)
        self.assertFails(self.push(self.lb, other, f"pg_wal/{name}"), 12, other.system_identifier())
        # Its segment inside this data directory.
        target = self.server.data / "pg_wal" / "0000000100000000000000EE"
        shutil.copyfile(other.data / "pg_wal" / name, target)
        give(target)
        self.assertFails(self.push(self.lb, self.server, "pg_wal/0000000100000000000000EE"), 12, other.system_identifier())
        self.assertNothingStored()

    def test_segments_of_another_size_than_was_registered_are_foreign(self):  # T12
        self.server.stop()
        run([tool("pg_resetwal", self.server.major), "--wal-segsize=8", self.server.data])
        self.server.start()
        name = self.finished_segment(self.server)
        self.assertFails(self.push(self.lb, self.server, f"pg_wal/{name}"), 12, "wal_segment_size is 8388608")
        self.assertFails(self.lb("backup", "--wal-timeout", "5s", live=True), 12, "wal_segment_size is 8388608")
        self.assertNothingStored()

    def test_an_unknown_cluster_name_and_an_unknown_repository(self):
        other = self.lifeboat(self.server, repo=self.lb.repo_path, cluster="other")
        self.assertFails(self.push(other, self.server, self.path), 4, "cluster other")
        empty = self.lifeboat(self.server)
        self.assertFails(self.push(empty, self.server, self.path), 4, "no repository")
        self.assertNothingStored()

    def test_codes_stay_below_126_even_for_command_lines_that_do_not_parse(self):
        for arguments in (["--nonsense", self.path], [], [self.path, "--repo", "ftp://x/y"], [self.path, "--config", "/nowhere"]):
            done = run([binary(), "wal", "push", *arguments], cwd=self.server.data, check=False)
            self.assertTrue(1 <= done.code <= 125, f"{done.code}: {done.err}")

    def test_a_crash_is_an_ordinary_failure(self):  # T21
        pipe = self.server.data / "pg_wal" / "0000000100000000000000FF"  # opening it for reading waits for a writer
        os.mkfifo(pipe)
        give(pipe)
        self.addCleanup(pipe.unlink)
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT):
            push = Background(self.lb.argv("wal", "push", f"pg_wal/{pipe.name}", "--state-dir", self.state),
                              cwd=self.server.data)
            stat = Path(f"/proc/{push.process.pid}/stat")
            wait_until(lambda: all((time.sleep(0.02), stat.read_text().split(") ")[1][0] == "S")[1] for _ in range(10)),
                       "the push waits at its file")
            push.signal(number)
            done = push.wait(check=False)
            self.assertTrue(1 <= done.code <= 125, f"{number!r}: {done.code}: {done.err}")

    def test_killed_anywhere_a_push_can_be_done_again(self):  # T21
        content = (self.server.data / self.path).read_bytes()
        killed = 0
        for after in ("", ":after"):
            for point in range(1, 100):
                done = self.push(self.lb, self.server, self.path, env={"LIFEBOAT_FAULT": f"{point}{after}"})
                code = self.get_code(self.lb, self.name)
                self.assertIn(code, (0, 1), f"point {point}{after}")
                if code == 0:
                    _, target = self.get(self.lb, self.name)
                    self.assertEqual(target.read_bytes(), content)
                if done.code == 0:
                    break
                self.assertEqual(done.code, -9, done.err)
                killed += 1
            else:
                self.fail("the push never came to its end")
            for path in self.lb.objects():
                if f"/{self.name}-" in path:
                    (self.lb.repo_path / path).unlink()
        self.assertGreater(killed, 4)


class Outages(WalTest):
    def setUp(self):
        super().setUp()
        self.server = self.cluster()
        self.lb = self.registered(self.server)
        self.name = self.finished_segment(self.server)
        self.push(self.lb, self.server, f"pg_wal/{self.name}").ok()

    def away(self):
        moved = self.lb.repo_path.with_name("away")
        self.lb.repo_path.rename(moved)
        return moved

    def test_absence_is_1_and_everything_else_is_not(self):  # T29
        self.assertEqual(self.get_code(self.lb, self.name), 0)
        self.assertEqual(self.get_code(self.lb, self.name, cwd=self.server.data), 0)
        for options in ([], ["--standby"]):
            for absent in ("00000002.history", "0000000100000000000000FF", "000000090000000000000001"):
                self.assertEqual(self.get_code(self.lb, absent, *options), 1)
        self.assertEqual(self.get_code(self.lb, "no-wal-file"), 255)
        self.assertEqual(self.get_code(self.lb, self.name, "--lineage", "1-15"), 255)
        other = self.lifeboat(self.server, repo=self.lb.repo_path, cluster="other")
        self.assertEqual(self.get_code(other, self.name), 255)
        self.assertTrue(2 <= self.get_code(other, self.name, "--standby") <= 125)
        done = run([binary(), "wal", "get", self.name, "/tmp/x", "--config", "/nowhere"], check=False)
        self.assertEqual(done.code, 255, done.err)
        stranger = self.cluster()
        self.assertEqual(self.get_code(self.lb, self.name, cwd=stranger.data), 255)  # T26

    def test_a_damaged_object_is_255(self):
        path = self.object_of(self.lb, self.name)
        flip_bit(path, path.stat().st_size // 2)
        self.assertEqual(self.get_code(self.lb, self.name), 255)
        self.assertTrue(2 <= self.get_code(self.lb, self.name, "--standby") <= 125)
        flip_bit(path, path.stat().st_size // 2)
        self.assertEqual(self.get_code(self.lb, self.name), 0)
        whole = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(whole[:len(whole) // 2])
        self.assertEqual(self.get_code(self.lb, self.name), 255)

    def test_two_contents_are_255(self):  # T46
        path = self.object_of(self.lb, self.name)
        other = path.with_name(path.name[:-4] + ("0000" if not path.name.endswith("0000") else "1111"))
        shutil.copyfile(path, other)
        give(other)
        done, _ = self.get(self.lb, self.name)
        self.assertFails(done, 255, "different content", self.name)

    def test_a_repository_that_is_away(self):  # T29
        moved = self.away()
        self.assertEqual(self.get_code(self.lb, self.name), 255)
        self.assertEqual(self.get_code(self.lb, "0000000100000000000000FF"), 255)
        self.assertTrue(2 <= self.get_code(self.lb, self.name, "--standby") <= 125)
        done = self.push(self.lb, self.server, f"pg_wal/{self.name}")
        self.assertTrue(1 <= done.code <= 125, done.err)
        # An empty directory where the file system should be mounted.
        give(self._mkdir(self.lb.repo_path))
        self.assertEqual(self.get_code(self.lb, "0000000100000000000000FF"), 255)
        done = self.push(self.lb, self.server, f"pg_wal/{self.name}")
        self.assertTrue(1 <= done.code <= 125, done.err)
        self.lb.repo_path.rmdir()
        moved.rename(self.lb.repo_path)
        self.assertEqual(self.get_code(self.lb, self.name), 0)

    def _mkdir(self, path):
        path.mkdir()
        return path

    def test_the_archiver_goes_on_after_an_outage(self):  # T21
        self.server.archive_with(self.archive_command(self.lb))
        self.server.wait_archived()
        moved = self.away()
        waiting = self.server.switch_wal()
        wait_until(lambda: int(self.server.value("SELECT failed_count FROM pg_stat_archiver")) > 0, "a failed push")
        notes = list(self.state.glob("wal-push-main-*.json"))
        self.assertEqual(len(notes), 1)
        self.assertIn(waiting, notes[0].read_text())
        self.assertEqual(notes[0].stat().st_mode & 0o777, 0o600)
        self.assertIsNotNone(self.server.pid)
        moved.rename(self.lb.repo_path)
        self.server.wait_archived(waiting, timeout=120)  # the archiver sleeps 60 s after three failures
        self.assertEqual(self.get_code(self.lb, waiting), 0)
        self.assertEqual(list(self.state.iterdir()), [])

    def test_an_unwritable_repository_fails_and_says_so(self):
        name = self.finished_segment(self.server)
        for directory in [self.lb.repo_path, *(path for path in self.lb.repo_path.rglob("*") if path.is_dir())]:
            directory.chmod(0o500)
        try:
            self.assertFails(self.push(self.lb, self.server, f"pg_wal/{name}"), 6)
            self.assertEqual(self.get_code(self.lb, self.name), 0)
            self.assertEqual(self.get_code(self.lb, name), 1)
        finally:
            for directory in [self.lb.repo_path, *(path for path in self.lb.repo_path.rglob("*") if path.is_dir())]:
                directory.chmod(0o700)
        self.push(self.lb, self.server, f"pg_wal/{name}").ok()


class Recovery(WalTest):
    """PostgreSQL itself recovers through restore_command."""

    def test_an_outage_stops_recovery_and_absence_ends_it(self):  # T29, T30
        for major in self.majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                lb = self.registered(server)
                server.archive_with(self.archive_command(lb))
                base = new_directory("base") / "data"
                run([tool("pg_basebackup", major), "-d", server.conninfo(), "-D", base, "-X", "none", "--no-manifest", "-c", "fast"])
                server.psql("CREATE TABLE t AS SELECT generate_series(1, 200000) i")
                server.wait_archived()
                server.stop()
                give(self._signal(base))
                restored = Cluster.attach(base, major, conf={"archive_mode": "off", "restore_command": lb.restore_command()})
                moved = lb.repo_path.with_name("away")
                lb.repo_path.rename(moved)
                with self.assertRaisesRegex(AssertionError, "did not start"):
                    restored.start()
                # Nothing was promoted: it can be tried again.
                moved.rename(lb.repo_path)
                self.assertTrue((base / "recovery.signal").exists())
                restored.start().wait_recovered()
                self.assertEqual(restored.value("SELECT count(*) FROM t"), "200000")
                self.assertEqual(restored.timeline(), 2)
                leftovers = [name for name in os.listdir(base / "pg_wal") if name.startswith(".")]
                self.assertEqual(leftovers, [])
                restored.stop()

    def _signal(self, base):
        path = base / "recovery.signal"
        path.touch()
        return path


class StartUp(WalTest):
    def test_a_push_loads_neither_libpq_nor_tls_nor_curl(self):
        server = self.cluster()
        lb = self.registered(server)
        name = self.finished_segment(server)
        done = self.push(lb, server, f"pg_wal/{name}", env={"LD_DEBUG": "files"}).ok()
        loaded = set(re.findall(r"file=(\S+)", done.err))
        self.assertTrue(any("libc.so" in name for name in loaded), done.err[:500])
        for library in ("libpq", "libcurl", "libssl", "libcrypto", "libstdc++", "libgssapi", "libldap"):
            self.assertFalse([name for name in loaded if library in name], loaded)

    def test_an_encrypted_repository_with_a_key_file(self):
        server = self.cluster()
        directory = new_directory("key")
        lb = self.lifeboat(server, options=["--key-file", directory / "main.key"])
        lb("init", "--yes", live=True).ok()
        name = self.finished_segment(server)
        self.push(lb, server, f"pg_wal/{name}").ok()
        done, target = self.get(lb, name)
        done.ok()
        self.assertEqual(target.read_bytes(), (server.data / "pg_wal" / name).read_bytes())
        without = self.lifeboat(server, repo=lb.repo_path)
        self.assertEqual(self.get_code(without, name), 255)
        self.assertFails(self.push(without, server, f"pg_wal/{name}"), 11, "key")


if __name__ == "__main__":
    main()
