#!/usr/bin/env python3
"""The scripts of the agent skills on real servers: what they are for, and that each refuses what it is there to refuse."""
import os
import shutil
import stat

import harness
from harness import SOURCE, SystemTest, environment, flip_bit, give, main, new_directory, run

SKILL = "postgresql-backup-recovery/scripts"
READINESS = "postgres-backup-and-operational-readiness/scripts"


def script(name, folder=SKILL):
    """Where the servers' account can run it."""
    copy = harness.scratch() / "skills"
    if not copy.exists():
        shutil.copytree(SOURCE / "skills", copy)
    return copy / folder / name


class ScriptsTest(SystemTest):
    needs_lifeboat = False

    def environment(self, server, **more):
        """As readers have it: libpq's variables, and the major's programs first in PATH."""
        return {**server.env(), "PATH": f"{server.bin}:{environment()['PATH']}", **more}

    def archiving_server(self):
        """A server whose WAL goes to a directory by archive-wal.sh, and three segments of it."""
        server, archive = self.cluster(), new_directory("archive-")
        (archive / ".archive").write_text(server.system_identifier() + "\n")
        give(archive / ".archive")
        server.archive_with(f"{script('archive-wal.sh')} {archive} %p %f")
        for _ in range(3):
            server.wait_archived()
        return server, archive

    def segments(self, archive):
        return sorted(path for path in archive.iterdir() if len(path.name) == 24)

    # --- archive-wal.sh, restore-wal.sh
    def test_archiving_refuses_what_would_harm_the_archive(self):
        server, archive = self.archiving_server()
        segment = self.segments(archive)[0]
        copy = new_directory() / segment.name
        shutil.copyfile(segment, copy)
        give(copy)
        push = [script("archive-wal.sh"), archive, copy, segment.name]
        run(push)  # the same again is success (W2, T22)
        before = harness.tree(archive)
        flip_bit(copy, 5000)
        self.assertFails(run(push, check=False), 1, "different content")
        # Another cluster's WAL under a new name (T26): the identifier stands at offset 24 of the first page.
        flip_bit(copy, 24)
        self.assertFails(run([*push[:3], "0000000100000000000000F0"], check=False), 1, "another cluster")
        self.assertEqual(before, harness.tree(archive))
        (archive / ".archive").unlink()
        self.assertFails(run(push, check=False), 1, "not mounted")

    def test_archiving_leaves_no_half_file_when_the_disk_is_full(self):
        server, _ = self.archiving_server()
        small = harness.tmpfs(4)
        (small / ".archive").write_text(server.system_identifier())
        segment = next(path for path in (server.data / "pg_wal").iterdir() if len(path.name) == 24)
        done = run([script("archive-wal.sh"), small, segment, segment.name], check=False)
        self.assertIn(done.code, range(1, 126), "anything above is a crash to the archiver (T21)")
        self.assertEqual([".archive"], [path.name for path in small.iterdir()])

    def test_absence_and_outage_are_told_apart(self):
        server, archive = self.archiving_server()
        target = new_directory() / "RECOVERYXLOG"
        segment = self.segments(archive)[0]
        get = script("restore-wal.sh")
        run([get, archive, segment.name, target])
        self.assertEqual(segment.read_bytes(), target.read_bytes())
        absent = "0000000100000000000000F0"
        self.assertEqual(1, run([get, archive, absent, target], check=False).code)
        (archive / ".archive").rename(archive / ".moved")  # R4, T29: an archive that is away is not the end of WAL
        self.assertEqual(255, run([get, archive, absent, target], check=False).code)
        self.assertEqual(1, run([get, "--standby", archive, absent, target], check=False).code)

    # --- wal-gaps.sh, check-archiving.sh
    def test_gaps_and_short_segments_are_found(self):
        server, archive = self.archiving_server()
        server.wait_archived()
        gaps = script("wal-gaps.sh")
        self.assertIn("timeline 1: ", run([gaps, archive]).out)
        segments = self.segments(archive)
        held = segments[1].read_bytes()
        segments[1].unlink()
        self.assertFails(run([gaps, archive], check=False), 1, "1 segments are missing between", segments[2].name)
        segments[1].write_bytes(held[:-100])
        segments[1].chmod(0o644)
        self.assertFails(run([gaps, archive], check=False), 1, "bytes instead of")
        self.assertEqual(2, run([gaps, new_directory()], check=False).code)

    def test_segment_size_is_read(self):
        archive = new_directory("archive-")
        server = self.cluster(wal_segsize=1, conf={"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"})
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 100000) n")
        server.wait_archived()
        self.assertIn("timeline 1: ", run([script("wal-gaps.sh"), archive]).out)

    def test_archiving_that_fails_is_told_with_its_reason(self):
        server = self.cluster()
        check = [script("check-archiving.sh"), "--timeout", "3"]
        self.assertFails(run(check, env=self.environment(server), check=False), 1, "archive_mode is off")
        server.archive_with("false")
        server.switch_wal()
        self.assertFails(run(check, env=self.environment(server), check=False), 1, "was not archived within 3 s", "failures")
        server.archive_with("true")  # reports success and stores nothing: only --archive finds out
        empty = new_directory()
        self.assertFails(run([*check, "--archive", empty], env=self.environment(server), check=False), 1, "is not there")

    # --- dump-all.sh
    def test_a_set_of_dumps_is_whole_or_not_there(self):
        server = self.cluster()
        name = "odd 'name' \\ host=nowhere"
        quoted = name.replace('"', '""')
        server.psql(f'CREATE DATABASE "{quoted}"')
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 100) n", "template1")
        target = new_directory("dumps-")
        done = run([script("dump-all.sh"), target], env=self.environment(server))
        made = target / done.out.strip().rsplit("/", 1)[-1]
        self.assertEqual({"SHA256SUMS", "globals.sql", "postgres", "template1", name}, {path.name for path in made.iterdir()})
        self.assertEqual(0o700, stat.S_IMODE(made.stat().st_mode), "password hashes are in it")
        run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=made)
        # A table that cannot be read fails the set, and nothing is left that looks like one.
        server.psql("CREATE ROLE reader LOGIN; GRANT pg_read_all_settings TO reader")
        failed = run([script("dump-all.sh"), target], env=self.environment(server, PGUSER="reader"), check=False)
        self.assertNotEqual(0, failed.code)
        self.assertEqual([made.name], os.listdir(target))

    # --- verify-restore.sh
    def test_a_rehearsal_finds_damage_and_untrue_queries_and_leaves_nothing(self):
        server, archive = self.archiving_server()
        backup, work = new_directory() / "base", new_directory("w")
        run([harness.tool("pg_basebackup", server.major), "-D", backup, "-c", "fast", "-d", server.conninfo()])
        server.psql("CREATE TABLE later AS SELECT 1 AS n")
        server.wait_archived()
        verify = [script("verify-restore.sh"), "--backup", backup, "--work", work]
        env = self.environment(server)
        # The copy is in its own directory of sockets: a variable of the reader's must not lead to the source.
        done = run([*verify, "--archive", archive, "--sql", "SELECT count(*) = 1 FROM later"], env=env, check=False)
        self.assertEqual(0, done.code, done.err)
        self.assertIn("measured RTO", done.out)
        self.assertFails(run([*verify, "--sql", "SELECT to_regclass('later') IS NOT NULL"], env=env, check=False), 1,
                         "not true in the copy")
        flip_bit(backup / "global/pg_control", 50)
        self.assertFails(run(verify, env=env, check=False), 1, "pg_verifybackup finds damage")
        self.assertEqual([], os.listdir(work))
        self.assertEqual([], [name for name in os.listdir(archive) if name.endswith(".history")], "the copy archived (R5)")

    def test_a_rehearsal_refuses_links_to_live_tablespaces(self):
        server = self.cluster()
        location = server.tablespace("other")
        backup, copy = new_directory() / "base", new_directory() / "other"
        run([harness.tool("pg_basebackup", server.major), "-D", backup, "-c", "fast", "-T", f"{location}={copy}",
             "-d", server.conninfo()])
        done = run([script("verify-restore.sh"), "--backup", backup], env=self.environment(server), check=False)
        self.assertFails(done, 1, "has tablespaces")  # T11

    # --- signals.sh, delivered.sh
    def test_a_signal_that_cannot_be_read_is_critical(self):
        server = self.cluster()
        signals = script("signals.sh", READINESS)
        done = run([signals], env=self.environment(server), check=False)
        self.assertEqual(2, done.code, "archive_mode is off")
        self.assertRegex(done.out, r"CRITICAL archive_off +1 ")
        self.assertRegex(done.out, r"ok +xid_wraparound ")
        server.psql("CREATE ROLE nobody_special LOGIN")
        blind = run([signals], env=self.environment(server, PGUSER="nobody_special"), check=False)
        self.assertEqual(2, blind.code)
        self.assertRegex(blind.out, r"CRITICAL wal_archive_waiting +could not be read")
        server.archive_with("true")
        server.wait_archived()
        healthy = run([signals], env=self.environment(server), check=False)
        self.assertEqual(0, healthy.code, healthy.out + healthy.err)
        with_load = [server.session() for _ in range(34)]  # of 37 that are not reserved
        crowded = run([signals], env=self.environment(server), check=False)
        self.assertEqual(2, crowded.code, crowded.out)
        self.assertRegex(crowded.out, r"CRITICAL connections +9\d %")
        del with_load

    def test_signals_of_a_standby_are_read(self):
        server = self.cluster()
        copy = new_directory() / "standby"
        run([harness.tool("pg_basebackup", server.major), "-D", copy, "-c", "fast", "-R", "-d", server.conninfo()])
        standby = harness.Cluster.attach(copy, server.major, start=True)
        done = run([script("signals.sh", READINESS)], env=self.environment(standby), check=False)
        self.assertEqual(0, done.code, done.out + done.err)
        self.assertFails(run([script("check-archiving.sh")], env=self.environment(standby), check=False), 2, "standby")

    def test_nothing_is_guessed(self):
        delivered = script("delivered.sh", READINESS)
        given = ["rpo=300", "rto=900", "wait=60", "transfer=5", "size=1000", "restore_rate=10", "wal_per_day=864000",
                 "replay_rate=20", "cadence=86400", "checks=60", "lead=0"]
        done = run([delivered, *given], check=False)
        # 100 s restore, 10 bytes a second for a day at 20 a second, 60 s checks
        self.assertFails(done, 1, "RPO delivered 65 s, target 300 s: met", "restore 100, replay up to 43200", "BLOCKED")
        self.assertEqual(0, run([delivered, *given[:1], "rto=43360", *given[2:]]).code, "exactly met")
        for left_out in given:
            few = [pair for pair in given if pair != left_out]
            self.assertFails(run([delivered, *few], check=False), 2, left_out.split("=")[0] + " is missing")
        self.assertFails(run([delivered, *given, "speed=1"], check=False), 2, "what is speed=1")


if __name__ == "__main__":
    main()
