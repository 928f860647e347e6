#!/usr/bin/env python3
"""Incremental backups (T13 to T20): what they take over, what they read, and that a restore is the server bit for bit.

Randomised histories: at every step the server does a few of the things that break change tracking, an incremental backup
proves its own map against everything (--prove), and is restored; the copy has to be the live server by pg_dump, pg_amcheck
with heapallindexed, pg_visibility, pg_verifybackup and pg_checksums. In a history without an unsafe event reading
everything is a failure. LIFEBOAT_SOAK=1 makes the histories long; LIFEBOAT_STEPS says how long.
"""

import os
import shutil
import time
from pathlib import Path

from harness import (SEED, Cluster, SystemTest, amcheck, checksums, dump_compare, flip_bit, main, new_directory, rng, run, tool,
                     verify_backup)

PRECONDITION = 14
SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
STEPS = int(os.environ.get("LIFEBOAT_STEPS", 50 if SOAK else 6))
BUDGET_SECONDS = None if SOAK else 150
BLOCK = 8192

FORKS_READ = ("_fsm", "_vm")


class IncrementalCase(SystemTest):
    def source(self, major, **options):
        server = self.cluster(major, **options)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        return server, lb

    def backup(self, lb, *options):
        return lb("backup", *options, live=True).ok().json

    def incremental(self, lb, *options):
        """One that must not read everything."""
        made = self.backup(lb, *options)
        self.assertEqual((made["type"], made["reason"]), ("incr", ""), made)
        self.assertGreater(made["reference"], "")
        return made

    def restored(self, lb, made, *options):
        to = new_directory("restored") / "data"
        lb("restore", "--to", to, "--backup", made["backup"], "--target", "immediate", "--pg-bin", lb.server.bin,
           *options).ok()
        verify_backup(to, lb.server.major)
        return to

    def assertIsTheServer(self, lb, made, *options):
        """The restored backup is the live server, which has not been written to since."""
        to = self.restored(lb, made, *options)
        copy = Cluster.attach(to, lb.server.major, start=True, conf={"archive_mode": "off"})
        copy.wait_paused() if not copy.recovered() else None
        copy.psql("SELECT pg_wal_replay_resume()", check=False)
        copy.wait_recovered()
        dump_compare(lb.server, copy, options=["--no-unlogged-table-data"])
        amcheck(copy)
        self.assertVisibilityMapsAreRight(copy)
        with_checksums = copy.value("SHOW data_checksums") == "on"
        copy.stop()
        if with_checksums:
            checksums(copy)
        shutil.rmtree(to.parent)

    def assertVisibilityMapsAreRight(self, copy):
        for database in copy.databases():
            copy.psql("CREATE EXTENSION IF NOT EXISTS pg_visibility", database)
            wrong = copy.value(
                "SELECT count(*) FROM pg_class c, LATERAL (SELECT 1 FROM pg_check_visible(c.oid) UNION ALL "
                "SELECT 1 FROM pg_check_frozen(c.oid)) wrong WHERE relkind IN ('r', 'm', 't')", database)
            self.assertEqual(wrong, "0", f"visibility maps of {database}")

    def always_read(self, server):
        """Bytes of the files that no map decides about."""
        total = 0
        for path in Path(server.data).rglob("*"):
            relative = str(path.relative_to(server.data))
            if not path.is_file() or relative.startswith("pg_wal/"):
                continue
            relation = path.name.split(".")[0].removesuffix("_init").isdigit() and relative.startswith(("base/", "global/"))
            if not relation:
                total += path.stat().st_size
        return total


class Reading(IncrementalCase):
    """What is read and stored is in proportion to what changed."""

    def test_cost_follows_change(self):
        for major in self.two_majors():
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
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                server.psql("CREATE TABLE t (id int, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 5000) g;")
                server.psql("VACUUM FREEZE t")
                self.backup(lb)
                server.psql("UPDATE t SET a = a + 1 WHERE id = 77; DELETE FROM t WHERE id = 78")
                self.assertIsTheServer(lb, self.incremental(lb))

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


class Histories(IncrementalCase):
    """Randomised histories."""

    def test_random_history(self):
        done = 0
        for major in self.two_majors():
            with self.subTest(major=major):
                done += self.history(major)
        print(f"\n{done} steps, seed {SEED}", flush=True)
        self.assertGreaterEqual(done, 3)

    def history(self, major):
        self.dice = rng(f"history {major}")
        server, lb = self.source(major, checksums=self.dice.random() < 0.7)
        self.server, self.serial = server, 0
        self.location = new_directory("ts")
        server.psql(f"CREATE TABLESPACE side LOCATION '{self.location}'")
        server.psql("CREATE EXTENSION pg_visibility")
        for _ in range(4):
            self.create_table()
        self.backup(lb)
        started, done = time.monotonic(), 0
        for step in range(STEPS):
            if BUDGET_SECONDS and done and time.monotonic() - started > BUDGET_SECONDS / 2:
                break
            events = [self.dice.choice(self.EVENTS) for _ in range(self.dice.randint(1, 5))]
            with self.subTest(step=step, events=[event.__name__ for event in events]):
                for event in events:
                    event(self)
                made = self.incremental(lb, *(["--prove"] if self.dice.random() < 0.7 else []))
                elsewhere = new_directory("side") / "ts"
                self.assertIsTheServer(lb, made, "--tablespace", f"{self.location}={elsewhere}")
                shutil.rmtree(elsewhere.parent)
                done += 1
        server.stop()
        return done

    # --- what may happen to a server
    def sql(self, text, database="postgres"):
        self.server.psql(text, database)

    def tables(self):
        names = self.server.value("SELECT string_agg(relname, ' ') FROM pg_class WHERE relname ~ '^t[0-9]+$' AND relkind = 'r'")
        return names.split()

    def table(self):
        return self.dice.choice(self.tables() or [self.create_table()])

    def create_table(self):
        self.serial += 1
        name = f"t{self.serial}"
        kind = self.dice.choice(["", "", "", "UNLOGGED"])
        place = self.dice.choice(["", "", " TABLESPACE side"])
        self.sql(f"CREATE {kind} TABLE {name} (id serial, a int, b text, c int[]){place};"
                 f"INSERT INTO {name} (a, b, c) SELECT g, repeat(md5(g::text), 1 + g % 5), ARRAY[g, g % 7] "
                 f"FROM generate_series(1, {self.dice.randint(0, 8000)}) g")
        for access, column in self.dice.sample([("btree", "a"), ("hash", "b"), ("gin", "c"), ("brin", "a"),
                                                ("gist", "int4range(a, a + 1)"), ("spgist", "b")], 2):
            self.sql(f"CREATE INDEX ON {name} USING {access} ({column})")
        return name

    def drop_table(self):
        if len(self.tables()) > 2:
            self.sql(f"DROP TABLE {self.table()}")

    def insert(self):
        self.sql(f"INSERT INTO {self.table()} (a, b, c) SELECT g, md5(g::text), ARRAY[g] FROM generate_series(1, "
                 f"{self.dice.randint(1, 5000)}) g")

    def update(self):
        self.sql(f"UPDATE {self.table()} SET b = b || 'x' WHERE a % {self.dice.randint(1, 50)} = 0")

    def delete(self):
        self.sql(f"DELETE FROM {self.table()} WHERE a % {self.dice.randint(1, 10)} = 0")

    def truncate(self):
        self.sql(f"TRUNCATE {self.table()}")

    def truncate_and_fill(self):
        name = self.table()
        self.sql(f"BEGIN; TRUNCATE {name}; INSERT INTO {name} (a, b) SELECT g, 'y' FROM generate_series(1, 3000) g; COMMIT")

    def cut_short(self):
        """VACUUM gives the end of a table back, and it grows again."""
        name = self.table()
        self.sql(f"DELETE FROM {name} WHERE ctid > (SELECT max(ctid) FROM {name} WHERE a < 50)")
        self.sql(f"VACUUM {name}")
        self.sql(f"INSERT INTO {name} (a, b) SELECT g, 'z' FROM generate_series(1, 2000) g")

    def rewrite(self):
        name = self.table()
        self.sql(self.dice.choice([f"VACUUM FULL {name}", f"CREATE INDEX {name}_cluster_{self.serial} ON {name} (a); CLUSTER {name} "
                                   f"USING {name}_cluster_{self.serial}; DROP INDEX {name}_cluster_{self.serial}",
                                   f"ALTER TABLE {name} ALTER a TYPE bigint; ALTER TABLE {name} ALTER a TYPE int",
                                   f"REINDEX TABLE {name}"]))

    def vacuum(self):
        self.sql(f"VACUUM (FREEZE) {self.table()}")

    def hint_bits_only(self):
        self.sql(f"SELECT count(*) FROM {self.table()}; CHECKPOINT")

    def move(self):
        self.sql(f"ALTER TABLE {self.table()} SET TABLESPACE {self.dice.choice(['side', 'pg_default'])}")

    def logged_unlogged(self):
        self.sql(f"ALTER TABLE {self.table()} SET {self.dice.choice(['LOGGED', 'UNLOGGED'])}")

    def large_object(self):
        self.sql(f"SELECT lo_from_bytea(0, decode(repeat('ab', {self.dice.randint(1, 100000)}), 'hex'))")

    def database(self):
        self.serial += 1
        names = [name for name in self.server.databases() if name.startswith("d")]
        if names and self.dice.random() < 0.5:
            self.sql(f"DROP DATABASE {self.dice.choice(names)}")
            return
        strategy = self.dice.choice([" STRATEGY wal_log", " STRATEGY file_copy"]) if self.server.major >= 15 else ""
        place = self.dice.choice(["", " TABLESPACE side"])
        self.sql(f"CREATE DATABASE d{self.serial} TEMPLATE template0{strategy}{place}")
        self.sql("CREATE TABLE here AS SELECT g AS n FROM generate_series(1, 3000) g", f"d{self.serial}")

    def in_another_database(self):
        for name in self.server.databases():
            if name.startswith("d"):
                self.sql("INSERT INTO here SELECT g FROM generate_series(1, 500) g", name)

    def subtransactions(self):
        name = self.table()
        self.sql(f"BEGIN; SAVEPOINT a; DELETE FROM {name}; ROLLBACK TO a; SAVEPOINT b; INSERT INTO {name} (a) VALUES (1); "
                 f"RELEASE b; CREATE TABLE gone AS SELECT * FROM {name}; ROLLBACK")

    def crash(self):
        self.server.kill9()
        self.server.start()
        self.server.wait_recovered()

    def restart(self):
        self.server.restart()

    def switch(self):
        self.server.switch_wal()

    def checkpoint(self):
        self.server.checkpoint()

    EVENTS = [create_table, drop_table, insert, insert, update, update, delete, truncate, truncate_and_fill, cut_short, rewrite,
              vacuum, vacuum, hint_bits_only, move, logged_unlogged, large_object, database, in_another_database,
              subtransactions, crash, restart, switch, checkpoint]


if __name__ == "__main__":
    main()
