#!/usr/bin/env python3
"""Incremental backups (T13 to T20): what they take over, what they read, and that a restore is the server bit for bit.
Randomised histories are in history_test.py (B1)."""

from harness import all_majors, flip_bit, main, run, tool, wait_until
from incremental_case import BLOCK, PRECONDITION, IncrementalCase


class Reading(IncrementalCase):
    """What is read and stored is in proportion to what changed."""

    def test_cost_follows_change(self):
        for major in all_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                server.psql("CREATE TABLE big (id int PRIMARY KEY, a text) WITH (fillfactor = 90);"
                            "INSERT INTO big SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 150000) g;"
                            "VACUUM FREEZE big; CHECKPOINT")
                full = self.backup(lb)
                self.assertEqual((full["type"], full["reference"]), ("full", None))
                self.assertEqual(full["reason"], "there is no earlier backup")
                idle = self.incremental(lb)
                self.assertEqual(idle["reference"], full["backup"])
                slack = 64 * BLOCK  # what the server writes by itself
                self.assertLess(idle["read_bytes"], self.always_read(server) + slack)
                self.assertLess(idle["stored_bytes"], 1_000_000)
                self.assertEqual(idle["plain_bytes"] // 1_000_000, full["plain_bytes"] // 1_000_000)
                pages = int(server.value("SELECT pg_relation_size('big') / 8192"))
                server.psql("UPDATE big SET a = a || 'x' WHERE id % 1500 = 0")
                little = self.incremental(lb)
                changed = little["changed_blocks"]
                self.assertGreater(changed, 50)
                self.assertLess(changed, pages // 4)
                self.assertLess(little["read_bytes"], self.always_read(server) + changed * BLOCK + slack)
                self.assertLess(little["stored_bytes"], changed * BLOCK + 1_000_000)
                print(f"\nPostgreSQL {major}: full read {full['read_bytes']}, nothing changed {idle['read_bytes']}, "
                      f"{changed} blocks changed {little['read_bytes']}", flush=True)
                self.assertIsTheServer(lb, little)
                lb("verify").ok()

    def test_explicit_types(self):
        server, lb = self.source(15)
        for kind in ("incr", "diff"):
            self.assertFails(lb("backup", "--type", kind, live=True), PRECONDITION, "there is no earlier backup")
        full = self.backup(lb)
        server.psql("CREATE TABLE t AS SELECT 1 AS n")
        incr = self.backup(lb, "--type", "incr")
        diff = self.backup(lb, "--type", "diff")
        self.assertEqual((incr["type"], incr["reference"]), ("incr", full["backup"]))
        self.assertEqual((diff["type"], diff["reference"]), ("diff", full["backup"]))
        again = self.backup(lb, "--type", "full")
        self.assertEqual((again["type"], again["reference"]), ("full", None))
        self.assertGreater(again["stored_bytes"], incr["stored_bytes"])
        self.assertEqual(self.backup(lb)["reference"], again["backup"])
        self.assertIsTheServer(lb, diff)

    def test_damaged_manifest_of_the_reference_does_not_stop_backups(self):
        server, lb = self.source(15)
        first = self.backup(lb)
        flip_bit(next(lb.repo_path.glob(f"clusters/*/*/manifests/{first['backup']}")), 200)
        made = self.backup(lb)
        self.assertEqual((made["type"], made["reference"]), ("full", None))
        self.assertIn(first["backup"], made["reason"])
        self.assertIsTheServer(lb, made)

    def test_expiry_of_the_reference_harms_nothing(self):
        server, lb = self.source(15)
        self.backup(lb)
        server.psql("CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 10000) g")
        made = self.incremental(lb)
        lb("expire", "--keep-count", "1", "--grace", "0", "--yes").ok()
        backups = lb("list").ok().json["lineages"][0]["backups"]
        self.assertEqual([one["id"] for one in backups], [made["backup"]])
        lb("verify").ok()
        self.assertIsTheServer(lb, made)
        server.psql("INSERT INTO t VALUES (0)")
        self.assertIsTheServer(lb, self.incremental(lb))


class Traps(IncrementalCase):
    def test_stale_visibility_map(self):
        """PostgreSQL's own incremental backup, 17 on, shipped stale visibility maps (T15)."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                for name, how in (("visible", ""), ("frozen", "FREEZE")):
                    server.psql(f"CREATE TABLE {name} (id int, a int); INSERT INTO {name} SELECT g, g FROM generate_series(1, 5000) g")
                    server.psql(f"VACUUM {how} {name}")
                # A worker of the server's may have held VACUUM off.
                wait_until(lambda: server.psql("VACUUM visible; VACUUM frozen") or self.not_all_visible(server) == "0|0", "a map")
                self.backup(lb)
                for name in ("visible", "frozen"):
                    server.psql(f"UPDATE {name} SET a = a + 1 WHERE id = 77; DELETE FROM {name} WHERE id = 4000")
                self.assertNotIn("0", self.not_all_visible(server).split("|"))
                self.assertIsTheServer(lb, self.incremental(lb))

    def not_all_visible(self, server):
        """Blocks of both tables of which the map does not say so."""
        server.psql("CREATE EXTENSION IF NOT EXISTS pg_visibility")
        return server.value("SELECT " + ", ".join(f"(SELECT count(*) FROM pg_visibility_map('{name}') WHERE NOT all_visible)"
                                                  for name in ("visible", "frozen")))

    def test_a_stale_visibility_map_would_be_found(self):
        """The canary of the check (T15): the map of before the change is put in the place of the one after it."""
        server = self.cluster(15)
        server.psql("CREATE TABLE t (id int, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 5000) g")
        server.psql("VACUUM t; CHECKPOINT")
        self.assertVisibilityMapsAreRight(server)
        visibility_map = server.data / (server.value("SELECT pg_relation_filepath('t')") + "_vm")
        server.stop()
        stale = visibility_map.read_bytes()
        server.start()
        server.psql("UPDATE t SET a = a + 1 WHERE id = 77; DELETE FROM t WHERE id = 4000")
        server.stop()
        self.assertNotEqual(visibility_map.read_bytes(), stale)
        visibility_map.write_bytes(stale)
        server.start()
        with self.assertRaises(AssertionError):
            self.assertVisibilityMapsAreRight(server)

    def test_wal_level_minimal_in_between(self):
        """T18: what was written without WAL is read."""
        server, lb = self.source(15)
        server.psql("CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 1000) g")
        self.backup(lb)
        server.stop()
        server.configure(wal_level="minimal", max_wal_senders=0, archive_mode="off")
        server.start()
        server.psql("BEGIN; TRUNCATE t; INSERT INTO t SELECT g FROM generate_series(5, 60000) g; COMMIT")
        server.stop()
        server.configure(wal_level="replica", max_wal_senders=10, archive_mode="on")
        server.start()
        made = self.backup(lb)
        self.assertIn("wal_level", made["reason"])
        self.assertIsTheServer(lb, made)
        self.assertIsTheServer(lb, self.incremental(lb))

    def test_checksums_turned_on_and_off(self):
        """T19"""
        server, lb = self.source(15, checksums=False)
        server.psql("CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 1000) g")
        self.backup(lb)
        for switch in ("--enable", "--disable"):
            server.stop()
            run([tool("pg_checksums", 15), switch, "-D", server.data])
            server.start()
            made = self.backup(lb)
            self.assertIn("checksums", made["reason"])
            self.assertIsTheServer(lb, made)
        self.incremental(lb)

    def test_missing_wal_is_a_hole(self):
        """Never a smaller map: without a part of the WAL everything is read."""
        server, lb = self.source(15)
        self.backup(lb)
        server.psql("CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 1000) g")
        gone = server.wait_archived()
        server.psql("INSERT INTO t SELECT g FROM generate_series(1, 1000) g")
        server.wait_archived()
        server.checkpoint()
        for path in lb.repo_path.rglob(f"{gone}-*"):
            path.unlink()
        (server.data / "pg_wal" / gone).unlink(missing_ok=True)
        made = self.backup(lb)
        self.assertIn(gone, made["reason"])
        self.assertIsTheServer(lb, made)

    def test_another_timeline_is_not_stood_on(self):
        """T16: the newest backup lies past the fork; the one before it lies on this server's history."""
        server, lb = self.source(15)
        server.psql("CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 20000) g")
        first = self.backup(lb)
        server.psql("CREATE TABLE early (n int)")
        target = server.value("SELECT pg_create_restore_point('fork')")
        server.wait_archived()
        server.psql("UPDATE t SET n = n + 1")
        second = self.backup(lb)
        server.wait_archived()
        server.stop()
        del target
        lb("restore", "--replace", "--pgdata", server.data, "--target-name", "fork", "--action", "promote",
           "--pg-bin", server.bin, "--yes").ok()
        server.start()
        server.wait_recovered()
        server.archive_with(lb.archive_command())
        server.psql("DELETE FROM t WHERE n < 100")
        third = self.backup(lb, "--prove")
        self.assertEqual(third["timeline"], 2)
        self.assertNotEqual(third["reference"], second["backup"])
        self.assertEqual(third["reference"], first["backup"])
        self.assertIsTheServer(lb, third)
        server.psql("INSERT INTO t SELECT g FROM generate_series(1, 3000) g")
        fourth = self.incremental(lb, "--prove")
        self.assertEqual(fourth["reference"], third["backup"])
        self.assertIsTheServer(lb, fourth)


if __name__ == "__main__":
    main()
