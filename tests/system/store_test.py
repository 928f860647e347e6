#!/usr/bin/env python3
"""Recovery at once from whatever store LIFEBOAT_TEST_STORE names: mounted, restored instantly, one table back, rehearsed; with
tablespaces and encryption. Skipped while no store is named, or while this program has no driver for the one that is."""
import os
import secrets
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import MOUNTER, Cluster, amcheck, checksums, main, new_directory, run, skip  # noqa: E402
from system.instant_test import InstantCase  # noqa: E402
from system.mount_test import is_mounted, unmount  # noqa: E402

USAGE, UNSUPPORTED = 2, 18
ROWS = 100_000


class StoreTest(InstantCase):
    SUMS = "SELECT count(*), sum(n), sum(hashtext(what)::bigint) FROM ledger"
    FAR = "SELECT count(*), sum(n) FROM far"

    def source(self, major):
        base = os.environ.get("LIFEBOAT_TEST_STORE")
        if not base:
            skip("LIFEBOAT_TEST_STORE is not set: the URL of a store below which this test may write, such as s3://bucket/prefix")
        known = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))}
        server = self.cluster(major=major)
        lb = self.lifeboat(server, url=f"{base.rstrip('/')}/{secrets.token_hex(6)}", env=known,
                           options=["--key-file", new_directory("key") / "main.key"])
        made = lb("init", "--yes", live=True)
        if made.code in (USAGE, UNSUPPORTED):
            skip(f"{base.split(':')[0]}: {made.err.strip() or made.json['error']['message']}")
        made.ok()
        server.configure(archive_mode="on", archive_command="true").restart()
        self.location = server.tablespace("elsewhere")
        server.psql(f"CREATE TABLE ledger AS SELECT g AS n, md5(g::text) AS what FROM generate_series(1, {ROWS}) g;"
                    "CREATE INDEX ON ledger (n); CREATE TABLE small AS SELECT g AS n FROM generate_series(1, 100) g;"
                    "CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS n FROM generate_series(1, 10000) g")
        lb("backup", live=True).ok()
        server.psql("INSERT INTO ledger SELECT -g, 'later' FROM generate_series(1, 1000) g; UPDATE far SET n = n + 1")
        last = server.switch_wal()
        for segment in sorted(path.name for path in (server.data / "pg_wal").iterdir() if len(path.name) == 24):
            if segment <= last:
                lb("wal", "push", f"pg_wal/{segment}", cwd=server.data, json=False).ok()
        return server, lb

    def far(self, data):
        harness._at_end.callback(unmount, data.parent / "far")
        return ["--tablespace", f"{self.location}={data.parent / 'far'}"]

    def test_a_mounted_backup(self):
        for major in self.all_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                data = self.place()
                command = self.mount(lb, "latest", data, *self.far(data), "--target", "immediate", json=True, env=lb.env)
                copy = Cluster.attach(data, major, start=True)
                self.assertEqual("100", copy.value("SELECT count(*) FROM small"))
                copy.stop()
                command.signal(signal.SIGTERM)
                ended = command.wait(60).json
                self.assertLess(ended["fetched_bytes"], 0.2 * ended["bytes"])

    def test_an_instant_restore(self):
        for major in self.all_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                data, sockets = self.place(), new_directory("s")
                copy = self.attach(data, sockets, major)
                run(self.argv(lb, data, sockets, *self.far(data), "--pg-bin", copy.bin), user=MOUNTER, env=lb.env)
                self.assert_plain(data)
                self.assertFalse(is_mounted(data.parent / "far"))
                for sums in (self.SUMS, self.FAR):
                    self.assertEqual(server.value(sums), copy.value(sums))
                amcheck(copy)
                copy.stop()
                checksums(copy)

    def test_one_table_and_a_drill(self):
        server, lb = self.source(15)
        expected = server.value(self.SUMS)
        server.psql("DROP TABLE ledger")
        done = lb("restore", "--to", new_directory("t") / "d", "--table", "ledger", "--schema", "back", live=True, user=MOUNTER).ok()
        self.assertEqual(done.json["medium"], "mount", done.err)
        self.assertEqual(expected, server.value(self.SUMS.replace("ledger", "back.ledger")))
        drill = lb("drill", "--to", new_directory("drill") / "d", user=MOUNTER).ok().json
        self.assertEqual((drill["verdict"], drill["medium"]), ("passed", "mount"))

    def all_majors(self):
        return harness.all_majors()


if __name__ == "__main__":
    main()
