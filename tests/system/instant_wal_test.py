#!/usr/bin/env python3
"""`restore --instant` answers queries before the WAL behind the backup was read. It is read while the server replays, and what a
preflight would have refused is refused then: the server never gets to it (T11, T32)."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import amcheck, checksums, main, new_directory, run, tree, wait_until  # noqa: E402
from system.instant_test import InstantCase  # noqa: E402
from system.mount_test import MOUNTER, is_mounted  # noqa: E402

PRECONDITION = 14
GATE = "lifeboat.wal-check"


class ReadLater(InstantCase):
    def write_segments(self, server, count):
        for _ in range(count):
            server.psql("UPDATE ledger SET amount = amount + 1 WHERE id < 1000")
            server.wait_archived(server.switch_wal())

    def test_T11_a_tablespace_made_after_the_backup_keeps_its_live_files(self):
        server, lb, _ = self.source(15)
        where = server.tablespace("later")
        server.psql("CREATE TABLE far WITH (autovacuum_enabled = off) TABLESPACE later AS SELECT g AS n FROM generate_series(1, 1000) g")
        server.wait_archived(server.switch_wal())
        self.write_segments(server, 2)
        server.checkpoint()
        before = tree(where)
        data, sockets = self.place(), new_directory("s")
        refused = self.instant(lb, data, sockets).wait(check=False)
        self.assertEqual(PRECONDITION, refused.code, refused.err)
        self.assertIn(str(where), refused.json["error"]["object"])
        self.assertEqual(before, tree(where))
        self.assertFalse(self.attach(data, sockets).running)

    def test_T32_settings_that_were_raised_after_the_backup_are_raised(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb, _ = self.source(major)
                server.configure(max_connections=90, max_prepared_transactions=7).restart()
                self.write_segments(server, 2)
                data, sockets = self.place(), new_directory("s")
                copy = self.attach(data, sockets, major)
                ended = run(self.argv(lb, data, sockets, "--pg-bin", copy.bin), user=MOUNTER).json
                self.assertTrue(any("max_connections is raised to 90" in note for note in ended["notes"]), ended["notes"])
                self.assertEqual("90", copy.value("SHOW max_connections"))
                self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
                self.assert_plain(data)
                copy.stop()

    def test_killed_while_wal_waits_nothing_unread_is_replayed_and_the_same_command_goes_on(self):
        server, lb, _ = self.source(15)
        self.write_segments(server, 12)
        data, sockets = self.place(), new_directory("s")
        copy = self.attach(data, sockets)
        far = {**self.slow("400"), "SLOW_PATH": "/wal/"}
        command = harness.Background(self.argv(lb, data, sockets), user=MOUNTER, env=far)
        self.accepting(command)
        # The first query did not wait for all of it.
        self.assertTrue((data / GATE).exists())
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        self.assertEqual("t", copy.value("SELECT pg_is_in_recovery()"))
        command.kill()
        checked = int((data / GATE).read_text().split()[1])
        wait_until(lambda: not copy.running, "the end of the server whose WAL nobody reads")
        log = (data / "startup.log").read_text()
        self.assertIn("the process that checked WAL has ended", log)
        self.assertLess(checked, int(server.value("SELECT pg_current_wal_lsn() - '0/0'")))
        self.assertTrue(is_mounted(data))
        run(self.argv(lb, data, sockets), user=MOUNTER)
        self.assert_plain(data)
        self.assertFalse((data / GATE).exists())
        self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
        amcheck(copy)
        copy.stop()
        checksums(copy)


if __name__ == "__main__":
    main()
