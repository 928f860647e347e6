#!/usr/bin/env python3
"""Backups of real servers, each proven by a restore: pg_verifybackup accepts the directory before its first start,
PostgreSQL starts it with nothing but pg_ctl, and pg_dump, pg_amcheck --heapallindexed and pg_checksums find what the source
has.

LIFEBOAT_SOAK=1 makes it 10,000 tables and more kills (B1, B2).
"""

import os
import re
import socket
import stat
import threading
import time

from harness import (Cluster, SystemTest, amcheck, checksums, dump, dump_compare, flip_bit, give, main, new_directory, rng,
                     run_metered, tree, verify_backup, wait_until)

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
EXIT = {"not_found": 4, "wrong_key": 11, "unreachable": 13, "precondition": 14, "busy": 15, "cancelled": 16,
        "check_failed": 17, "backup_damaged": 20}
MEMORY_LIMIT = 128 << 20


class BackupCase(SystemTest):
    def archiving(self, server, **options):
        """Registers a running server in a new repository and archives to it."""
        lb = self.lifeboat(server, **options)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        return lb

    def fill(self, server, rows=20000):
        server.psql("CREATE TABLE account (id bigint PRIMARY KEY, owner text NOT NULL, balance numeric(12, 2), note text);"
                    f"INSERT INTO account SELECT g, md5(g::text), g % 1000, repeat('n', g % 200) FROM generate_series(1, {rows}) g;"
                    "CREATE INDEX ON account (owner); CREATE SEQUENCE counter; SELECT nextval('counter')")
        return server

    def back_up(self, lb, *options):
        made = lb("backup", *options, live=True).ok().json
        self.assertEqual((made["state"], made["broken_pages"]), ("complete", 0), made)
        return made

    def restore(self, lb, major, *options, start=True, recovered=True, verify=True):
        """Restores beside the original into a new directory and starts it as its owner would."""
        to = new_directory("copy") / "data"
        done = lb("restore", "--to", to, *options).ok().json
        self.assertEqual(done["directory"], str(to))
        if verify:
            verify_backup(to, major)
        copy = Cluster.attach(to, major)
        if start:
            copy.start()
            if recovered:
                copy.wait_recovered()
        return copy

    def assertWhole(self, server, copy, *dump_options):
        """The same content as the source, which nobody writes to now; every index agrees; every page is whole."""
        if dump_options:
            for database in server.databases():
                self.assertEqual(dump(server, database, *dump_options), dump(copy, database, *dump_options), database)
        else:
            dump_compare(server, copy)
        amcheck(copy)
        with_checksums = copy.value("SHOW data_checksums") == "on"
        copy.stop()
        if with_checksums:
            checksums(copy)

    def listed(self, lb, *options):
        [lineage] = lb("list", *options).ok().json["lineages"]
        self.assertEqual(lineage["problems"], [])
        return lineage["backups"]

    def round_trip(self, server, *options):
        """Backup, something after it, restore to the end."""
        lb = self.archiving(server)
        self.fill(server)
        made = self.back_up(lb, *options)
        server.psql("UPDATE account SET balance = balance + 1 WHERE id % 7 = 0; DELETE FROM account WHERE id % 11 = 0")
        server.wait_archived()
        return lb, made, self.restore(lb, server.major)


class RoundTrip(BackupCase):
    def test_under_load_and_the_copy_archives_nothing(self):  # T01, T06, T08, T33
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                lb = self.archiving(server)
                server.pgbench("-i", "-q", "-s", "3")
                self.fill(server, 3000)
                # What is not copied: contents of some directories, temporary files, the server's own locks.
                server.psql("SELECT pg_create_physical_replication_slot('left_behind', true)")
                os.makedirs(server.data / "base/pgsql_tmp", exist_ok=True)
                litter = ["base/pgsql_tmp/pgsql_tmp1.1", "postgresql.auto.conf.tmp", "current_logfiles.tmp",
                          "pg_stat_tmp/x.stat", "pg_notify/FFFF", "base/1/pgsql_tmp9"]
                for name in litter:
                    (server.data / name).write_text("litter")
                    give(server.data / name)
                load = server.pgbench("-n", "-c", "4", "-T", "600", background=True)
                wait_until(lambda: server.value("SELECT count(*) > 200 FROM pgbench_history") == "t", "load")
                started = server.value("SELECT count(*) FROM pgbench_history")
                made = self.back_up(lb, "--rate", "20MB", "--label", "under load")
                self.assertTrue(load.running, load.result().err)
                self.assertGreater(int(server.value("SELECT count(*) FROM pgbench_history")), int(started))
                time.sleep(0.5)
                load.stop()
                server.wait_archived()
                self.assertEqual([b["id"] for b in self.listed(lb)], [made["backup"]])

                copy = self.restore(lb, major, start=False)
                for name in [*litter, "pg_replslot/left_behind", "postmaster.pid", "postmaster.opts", "pg_wal/archive_status/x"]:
                    self.assertFalse(os.path.lexists(copy.data / name), name)
                # A new cluster brings its own; what is there comes from nobody else.
                self.assertEqual([str(p) for p in copy.data.rglob("pg_internal.init*")], [])
                copy.start().wait_recovered()
                self.assertEqual(copy.timeline(), 2)
                self.assertEqual(copy.value("SHOW archive_mode"), "off")
                for _ in range(2):
                    copy.switch_wal()
                copy.checkpoint()
                # Compared with what the source has, the copy has what it did itself.
                self.assertWhole(server, copy)
                self.assertEqual([name for name in lb.objects() if "/wal/00000002" in name], [])
                self.assertTrue([name for name in lb.objects() if "/wal/00000001" in name], lb.objects()[:20])
                lb("verify").ok()

    def test_without_data_checksums(self):  # T12
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major, checksums=False)
                _, made, copy = self.round_trip(server)
                self.assertEqual(server.value("SHOW data_checksums"), "off")
                self.assertEqual(made["broken_pages"], 0)
                self.assertWhole(server, copy)

    def test_wal_segments_of_1_MB(self):  # T12
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major, wal_segsize=1)
                _, _, copy = self.round_trip(server)
                self.assertEqual(copy.value("SHOW wal_segment_size"), "1MB")
                self.assertWhole(server, copy)

    def test_wal_segments_of_64_MB(self):  # T12
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major, wal_segsize=64)
                _, _, copy = self.round_trip(server)
                self.assertEqual(copy.value("SHOW wal_segment_size"), "64MB")
                self.assertWhole(server, copy)

    def test_many_tables_in_little_memory(self):  # T42
        tables = 10_000 if SOAK else 600
        for major in self.majors():
            with self.subTest(major=major):
                # pg_dump locks every table.
                server = self.cluster(major=major, conf={"max_locks_per_transaction": "1024"})
                lb = self.archiving(server)
                for first in range(0, tables, 300):
                    server.psql(f"DO $$ BEGIN FOR i IN {first}..{min(first + 300, tables) - 1} LOOP EXECUTE format("
                                "'CREATE TABLE t%s (i int PRIMARY KEY, t text); INSERT INTO t%s VALUES (%s, ''x'')', i, i, i);"
                                " END LOOP; END $$")
                files = int(server.value("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'i', 't') AND relname ~ '^t[0-9]'"))
                self.assertGreaterEqual(files, 2 * tables)
                done, peak = run_metered(lb.argv("backup", live=True), timeout=900)
                made = done.json
                self.assertGreater(made["files"], files)
                self.assertLessEqual(peak, MEMORY_LIMIT)
                server.wait_archived()
                to = new_directory("copy") / "data"
                _, restore_peak = run_metered(lb.argv("restore", "--to", to), timeout=900)
                self.assertLessEqual(restore_peak, MEMORY_LIMIT)
                print(f"PostgreSQL {major}: {tables} tables, {made['files']} files: peak memory {peak >> 20} MiB in backup,"
                      f" {restore_peak >> 20} MiB in restore", flush=True)
                verify_backup(to, major)
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.assertWhole(server, copy)


class Relations(BackupCase):
    def test_unlogged_temporary_and_empty_relations_and_those_that_change_meanwhile(self):  # T07, T08, T09
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major, conf={"autovacuum_naptime": "1s"})
                lb = self.archiving(server)
                self.fill(server)
                server.psql("CREATE UNLOGGED TABLE u (i int PRIMARY KEY, t text);"
                            "INSERT INTO u SELECT g, repeat('u', 500) FROM generate_series(1, 3000) g;"
                            "CREATE UNLOGGED TABLE u_empty (i int); CREATE TABLE empty (i int); CREATE TABLE keeps (i int, t text);"
                            "INSERT INTO keeps SELECT g, repeat('k', 600) FROM generate_series(1, 20000) g; CREATE TABLE grows (i int, t text);"
                            "CREATE TABLE shrinks (i int, t text); CREATE TABLE emptied (i int, t text)")
                server.checkpoint()
                temporary = server.session()
                temporary.execute("CREATE TEMPORARY TABLE tmp AS SELECT g, repeat('t', 900) AS t FROM generate_series(1, 3000) g;"
                                  "CREATE INDEX ON tmp (g)")
                path = {name: server.value(f"SELECT pg_relation_filepath('{name}')")
                        for name in ("u", "u_pkey", "u_empty", "empty")}
                temporary_path = temporary.execute("SELECT pg_relation_filepath('tmp')")
                self.assertTrue((server.data / temporary_path).exists())
                self.assertGreater((server.data / path["u"]).stat().st_size, 0)

                rounds = self.meanwhile(server, [
                    "INSERT INTO grows SELECT g, repeat('g', 700) FROM generate_series(1, 200) g",
                    "INSERT INTO shrinks SELECT g, repeat('s', 700) FROM generate_series(1, 2000) g; DELETE FROM shrinks; VACUUM shrinks",
                    "INSERT INTO emptied SELECT g, repeat('e', 700) FROM generate_series(1, 500) g; TRUNCATE emptied",
                    "CREATE TABLE gone AS SELECT g, repeat('v', 900) AS t FROM generate_series(1, 2000) g; CHECKPOINT; DROP TABLE gone",
                    "VACUUM FULL keeps; CHECKPOINT",
                    "CREATE DATABASE fleeting; DROP DATABASE fleeting",
                ], lambda: self.back_up(lb, "--rate", "15MB"))
                self.assertGreater(min(rounds), 0, rounds)
                server.psql("DROP DATABASE IF EXISTS fleeting; DROP TABLE IF EXISTS gone")
                server.wait_archived()

                copy = self.restore(lb, major, start=False)
                for name in ("u", "u_pkey", "u_empty"):
                    self.assertTrue((copy.data / f"{path[name]}_init").is_file(), f"the init fork of {name}")
                    self.assertFalse((copy.data / path[name]).exists(), f"the main fork of {name}")
                self.assertEqual((copy.data / path["empty"]).stat().st_size, 0)
                left = [p.name for p in copy.data.glob("base/*/t*_*") if re.fullmatch(r"t\d+_\d+.*", p.name)]
                self.assertEqual(left, [])
                copy.start().wait_recovered()
                self.assertEqual(copy.value("SELECT (SELECT count(*) FROM u), (SELECT count(*) FROM u_empty), (SELECT count(*) FROM empty)"), "0|0|0")
                self.assertEqual(copy.value("INSERT INTO u VALUES (1, 'again') RETURNING i"), "1")
                copy.psql("TRUNCATE u")
                self.assertWhole(server, copy, "--no-unlogged-table-data")

    def meanwhile(self, server, scripts, action):
        """Each script again and again, each in a session of its own, while the action runs. Returns how often."""
        ended = threading.Event()
        rounds, failures = [0] * len(scripts), []
        def repeat(number, session, script):
            try:
                while not ended.is_set():
                    session.execute(script)
                    rounds[number] += 1
                    time.sleep(0.05)
            except Exception as failure:  # Told by the test's own thread.
                failures.append(failure)
        threads = [threading.Thread(target=repeat, args=(n, server.session(), script), daemon=True)
                   for n, script in enumerate(scripts)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: failures or min(rounds) > 0, "a first round of everything")
            rounds[:] = [0] * len(scripts)
            action()
        finally:
            ended.set()
            for thread in threads:
                thread.join(60)
        if failures:
            raise failures[0]
        return rounds

    def test_tablespaces_are_remapped_and_never_shared(self):  # T11
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                lb = self.archiving(server)
                self.fill(server, 2000)
                location = server.tablespace("outside")
                server.psql("CREATE DATABASE elsewhere TABLESPACE outside")
                server.psql("CREATE TABLE there (i int PRIMARY KEY); INSERT INTO there SELECT generate_series(1, 3000)", "elsewhere")
                server.psql("CREATE TABLE moved TABLESPACE outside AS SELECT g, repeat('m', 300) FROM generate_series(1, 4000) g")
                if major >= 15:
                    server.tablespace("inside", in_place=True)
                    server.psql("CREATE TABLE within TABLESPACE inside AS SELECT generate_series(1, 3000) AS i")
                self.back_up(lb)
                server.psql("INSERT INTO moved SELECT g, 'later' FROM generate_series(1, 100) g; CREATE TABLE new TABLESPACE outside AS SELECT 1 AS i")
                server.wait_archived()
                # The original's own directory is in use: refused, and nothing is touched.
                before = tree(location)
                to = new_directory("copy") / "data"
                refused = lb("restore", "--to", to)
                self.assertFails(refused, EXIT["precondition"], str(location))
                self.assertFalse(to.exists())
                self.assertEqual(tree(location), before)

                new_location = new_directory("ts") / "moved"
                copy = self.restore(lb, major, "--tablespace", f"{location}={new_location}")
                links = {os.readlink(p) for p in (copy.data / "pg_tblspc").iterdir() if p.is_symlink()}
                self.assertEqual(links, {str(new_location)})
                self.assertEqual(copy.value("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'outside'"), str(new_location))
                if major >= 15:
                    oid = copy.value("SELECT oid FROM pg_tablespace WHERE spcname = 'inside'")
                    self.assertTrue((copy.data / "pg_tblspc" / oid).is_dir() and not (copy.data / "pg_tblspc" / oid).is_symlink())
                server.checkpoint()
                before = tree(location)
                copy.psql("TRUNCATE moved; CREATE TABLE of_the_copy TABLESPACE outside AS SELECT 1 AS i")
                copy.psql("DELETE FROM there", "elsewhere")
                copy.checkpoint()
                self.assertEqual(tree(location), before)
                copy.stop()
                whole = self.restore(lb, major, "--tablespace", f"{location}={new_directory('ts') / 'again'}")
                self.assertWhole(server, whole)


class Layouts(BackupCase):
    def test_configuration_outside_the_data_directory(self):  # T10, Debian's layout
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major, start=False)
                lb = self.lifeboat(server)
                server.configure(archive_mode="on", archive_command=lb.archive_command())
                etc = new_directory("etc")
                for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
                    os.rename(server.data / name, etc / name)
                (etc / "conf.d").mkdir()
                (etc / "conf.d/extra.conf").write_text("work_mem = '7MB'\n")
                (etc / "more.conf").write_text("maintenance_work_mem = '33MB'\ninclude_if_exists 'absent.conf'\n")
                with open(etc / "postgresql.conf", "a") as file:
                    file.write(f"data_directory = '{server.data}'\nhba_file = '{etc}/pg_hba.conf'\n"
                               f"ident_file = '{etc}/pg_ident.conf'\nexternal_pid_file = '{server.place}/main.pid'\n"
                               "include_dir 'conf.d'\ninclude 'more.conf'\ncluster_name = 'debianish'\n")
                for path in [etc, *etc.rglob("*")]:
                    give(path)
                server.overrides = {"config_file": etc / "postgresql.conf"}
                server.start()
                lb("init", "--yes", live=True).ok()
                self.fill(server, 3000)
                self.back_up(lb)
                server.wait_archived(timeout=120)
                before = tree(etc)
                copy = self.restore(lb, major)
                shown = copy.value("SELECT current_setting('work_mem'), current_setting('maintenance_work_mem'), current_setting('cluster_name')")
                self.assertEqual(shown, "7MB|33MB|debianish")
                files = copy.value("SELECT DISTINCT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL UNION"
                                   " SELECT current_setting('hba_file') UNION SELECT current_setting('ident_file') UNION"
                                   " SELECT current_setting('config_file') UNION SELECT current_setting('data_directory')").split("\n")
                for file in files:
                    self.assertTrue(file.startswith(str(copy.data)), f"{file} is not in the copy: {files}")
                self.assertFalse(copy.value("SHOW external_pid_file").startswith(str(server.place)))
                self.assertWhole(server, copy)
                self.assertEqual(tree(etc), before)

    def test_group_access_is_kept_where_it_was(self):
        for major in self.majors():
            for group in (True, False):
                with self.subTest(major=major, group=group):
                    server = self.cluster(major=major, group_access=group)
                    directory, file = (0o750, 0o640) if group else (0o700, 0o600)
                    _, _, copy = self.round_trip(server)
                    copy.stop()
                    for root, names, files in os.walk(copy.data):
                        self.assertEqual(stat.S_IMODE(os.stat(root).st_mode), directory, root)
                        for name in files:
                            if name not in ("postmaster.opts", "postmaster.pid"):
                                mode = stat.S_IMODE(os.lstat(os.path.join(root, name)).st_mode)
                                self.assertEqual(oct(mode), oct(file), os.path.join(root, name))
                    copy.start()
                    self.assertEqual(copy.value("SHOW data_directory_mode"), f"{directory:04o}")
                    self.assertWhole(server, copy)
                    server.stop()

    def test_pg_wal_elsewhere(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                elsewhere = new_directory("wal") / "wal"
                server = self.cluster(major=major, initdb=[f"--waldir={elsewhere}"])
                self.assertTrue((server.data / "pg_wal").is_symlink())
                lb, _, copy = self.round_trip(server)
                self.assertNotEqual(os.path.realpath(copy.data / "pg_wal"), os.path.realpath(elsewhere))
                self.assertWhole(server, copy)


class Timelines(BackupCase):
    def say(self, server, what):
        server.psql(f"INSERT INTO said (what) VALUES ('{what}')")
        return server.value(f"SELECT pg_create_restore_point('{what}')")

    def said(self, server):
        return server.value("SELECT string_agg(what, ' ' ORDER BY n) FROM said").split()

    def test_three_deep_with_backups_and_points_on_each(self):  # T23, R1
        for major in self.two_majors():
            with self.subTest(major=major):
                first = self.cluster(major=major)
                lb = self.archiving(first)
                self.fill(first, 1000)
                first.psql("CREATE TABLE said (n timestamptz DEFAULT clock_timestamp(), what text)")
                backups = [self.back_up(lb)["backup"]]
                self.say(first, "a1")
                self.say(first, "a2")
                first.wait_archived()
                # Promoted copies that go on archiving, each backed up itself. The one that was copied goes on too.
                second = self.restore(lb, major, "--archive-mode", "keep")
                self.assertEqual((second.timeline(), second.value("SHOW archive_mode")), (2, "on"))
                self.say(first, "a3")
                first.wait_archived()
                first.stop()
                lb2 = self.lifeboat(second, repo=lb.repo_path)
                self.say(second, "b1")
                backups.append(self.back_up(lb2)["backup"])
                self.say(second, "b2")
                second.wait_archived()
                third = self.restore(lb, major, "--archive-mode", "keep")
                self.assertEqual(third.timeline(), 3)
                self.assertEqual(self.said(third), ["a1", "a2", "b1", "b2"])
                self.say(second, "b3")
                second.wait_archived()
                second.stop()
                lb3 = self.lifeboat(third, repo=lb.repo_path)
                self.say(third, "c1")
                backups.append(self.back_up(lb3)["backup"])
                self.say(third, "c2")
                third.wait_archived()
                self.assertEqual([b["timeline"] for b in self.listed(lb)], [1, 2, 3])

                for options, wanted, backup in [
                    (["--target-name", "a1"], "a1", 0),
                    (["--target-name", "a3", "--timeline", "1"], "a1 a2 a3", 0),
                    (["--timeline", "1"], "a1 a2 a3", 0),
                    (["--target-name", "b1", "--timeline", "2"], "a1 a2 b1", 0),
                    (["--target-name", "b3", "--timeline", "2"], "a1 a2 b1 b2 b3", 1),
                    (["--timeline", "current", "--backup", backups[1]], "a1 a2 b1 b2 b3", 1),
                    (["--target-name", "c1"], "a1 a2 b1 b2 c1", 1),
                    (["--target-name", "c2", "--backup", backups[0]], "a1 a2 b1 b2 c1 c2", 0),
                    ([], "a1 a2 b1 b2 c1 c2", 2),
                    (["--backup", backups[0]], "a1 a2 b1 b2 c1 c2", 0),
                ]:
                    plan = lb("restore", "--to", new_directory("plan") / "x", "--dry-run", *options).ok().json["plan"]
                    self.assertEqual(plan["backup"], backups[backup], options)
                    latest = "--target-name" not in options
                    copy = self.restore(lb, major, *options, recovered=latest)
                    if not latest:
                        copy.wait_paused()
                    self.assertEqual(self.said(copy), wanted.split(), options)
                    copy.stop("immediate")
                # A point that only another branch has.
                self.assertFails(lb("restore", "--to", new_directory("plan") / "x", "--target-name", "a3", "--timeline", "3"),
                                 EXIT["unreachable"], "a3")
                final = self.restore(lb, major)
                self.assertWhole(third, final)


class Damage(BackupCase):
    def flip(self, server, table, block):
        """A bit in the middle of a heap page, where a row lies."""
        path = server.data / server.value(f"SELECT pg_relation_filepath('{table}')")
        server.stop()
        flip_bit(path, block * 8192 + 8192 - 100, 3)
        server.start()
        return path.relative_to(server.data)

    def gate(self, lb):
        return lb("verify", "--gate", "backup_verified").code

    def test_a_broken_page_marks_the_backup_and_it_never_counts_as_verified(self):  # T06
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                lb = self.archiving(server)
                self.fill(server)
                server.checkpoint()
                path = self.flip(server, "account", 5)
                done = lb("backup", live=True)
                self.assertFails(done, EXIT["backup_damaged"], str(path))
                first = done.json
                self.assertEqual((first["state"], first["broken_pages"]), ("damaged", 1))
                self.assertIn(str(path), first["broken"][0]["path"])
                self.assertEqual(first["broken"][0]["block"], 5)
                [listed] = self.listed(lb)
                self.assertEqual((listed["id"], listed["state"], listed["good"]), (first["backup"], "damaged", False))
                lb("verify")
                self.assertFalse(self.listed(lb)[0]["good"])
                self.assertEqual(self.gate(lb), EXIT["check_failed"])
                # Mended: the next one counts; broken again: the one before it is still the newest verified one.
                self.flip(server, "account", 5)
                good = self.back_up(lb)["backup"]
                lb("verify")
                self.assertEqual([b["good"] for b in self.listed(lb)], [False, True])
                self.assertEqual(self.gate(lb), 0)
                self.flip(server, "account", 7)
                done = lb("backup", "--type", "full", live=True)  # an incremental one has no reason to read that page
                self.assertEqual(done.code, EXIT["backup_damaged"], done.err)
                lb("verify")
                self.assertEqual([b["good"] for b in self.listed(lb)], [False, True, False])
                server.wait_archived()
                plan = lb("restore", "--to", new_directory("plan") / "x", "--dry-run").ok().json["plan"]
                self.assertEqual(plan["backup"], good)
                # Asked for by name it is restored, with a warning, and the broken page is there as it was.
                plan = lb("restore", "--to", new_directory("plan") / "x", "--dry-run", "--backup", first["backup"]).ok().json["plan"]
                self.assertIn("broken", " ".join(plan["warnings"]))
                copy = self.restore(lb, major, "--backup", first["backup"], start=False)
                self.assertNotEqual((copy.data / path).read_bytes()[5 * 8192:6 * 8192], b"")
                copy.start().wait_recovered()
                failed = copy.psql("SELECT count(*) FROM account", check=False)
                self.assertIn("invalid page in block 5", failed.err)

    def test_killed_anywhere_nothing_is_listed_and_the_next_one_succeeds(self):
        random = rng("killed backups")
        server = self.cluster()
        lb = self.archiving(server)
        self.fill(server)
        duration = 2.5
        kills = [("KILL", 9)] * (20 if SOAK else 3) + [("TERM", 15)] * (20 if SOAK else 2) + [("INT", 2)]
        complete, killed = 0, 0
        for name, number in kills:
            attempt = lb.background("backup", "--type", "full", "--rate", "12MB", live=True)
            moment = random.uniform(0.01, duration)
            deadline = time.monotonic() + moment
            while attempt.running and time.monotonic() < deadline:
                time.sleep(0.005)
            if attempt.running:
                attempt.signal(number)
            done = attempt.wait(30, check=False)
            if done.code == 0:
                complete += 1  # too late to be killed
            elif number == 9:
                self.assertEqual(done.code, -9, done.err)
                killed += 1
            else:
                self.assertIn(done.code, (EXIT["cancelled"], -number), f"SIG{name} after {moment:.2f} s: {done.err}")
                killed += 1
            self.assertEqual(len(self.listed(lb)), complete, f"after SIG{name} at {moment:.2f} s")
            # The session's end ended the server's backup mode too.
            wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%'") == "0",
                       "the end of the killed backup's session")
        self.assertGreater(killed, len(kills) // 3)
        print(f"{killed} backups killed, {complete} ended before", flush=True)
        made = self.back_up(lb)
        self.assertEqual(self.listed(lb)[-1]["id"], made["backup"])
        self.assertEqual(len(self.listed(lb)), complete + 1)
        for attempt in self.listed(lb, "--all"):
            self.assertIn(attempt["state"], ("complete", "aborted"))
        lb("verify").ok()
        server.wait_archived()
        self.assertWhole(server, self.restore(lb, server.major))

    def test_why_an_attempt_failed_is_short_in_the_list_and_whole_in_show(self):
        server = self.cluster()
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        # A file that only root may read ends it.
        secret = server.data / "base" / ("secret" * 8)
        secret.write_text("x")
        secret.chmod(0o600)
        self.assertNotEqual(lb("backup", live=True).code, 0)
        attempt, = self.listed(lb, "--all")
        row, = [line for line in lb("list", "--all", json=False).ok().out.splitlines() if attempt["id"] in line]
        self.assertGreater(len(attempt["reason"]), 60)
        self.assertIn(attempt["reason"][:20], row)
        self.assertNotIn(attempt["reason"][:60], row)
        self.assertFails(lb("show", attempt["id"], json=False), EXIT["not_found"], attempt["reason"])

    def test_a_second_backup_at_once_is_busy_and_names_the_first(self):
        server = self.cluster()
        lb = self.archiving(server)
        self.fill(server)
        first = lb.background("backup", "--rate", "10MB", live=True)
        wait_until(lambda: [o for o in lb.objects() if "/leases/backup/" in o] or not first.running, "the first backup's lease")
        second = lb("backup", live=True)
        self.assertTrue(first.running, first.result().err)
        self.assertFails(second, EXIT["busy"], socket.gethostname(), f"process {first.process.pid}")
        self.assertRegex(second.out, r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
        self.assertEqual(self.listed(lb), [])
        self.assertEqual(first.wait().json["state"], "complete")
        self.back_up(lb)
        self.assertEqual(len(self.listed(lb)), 2)

    def test_a_restore_never_touches_a_running_server(self):  # T35
        server = self.cluster()
        lb = self.archiving(server)
        self.fill(server, 500)
        self.back_up(lb)
        server.wait_archived()
        pid, names = server.pid, sorted(os.listdir(server.data))
        for options in (["--to", server.data], ["--replace", "--pgdata", server.data, "--yes"]):
            done = lb("restore", *options)
            self.assertFails(done, EXIT["precondition"], str(server.data))
            self.assertEqual((server.pid, sorted(os.listdir(server.data))), (pid, names))
            self.assertEqual(server.value("SELECT count(*) FROM account"), "500")


class Repositories(BackupCase):
    MARK = "thissentencestandsinonerowonly"

    def test_compression_and_encryption(self):  # E1
        for major in self.majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                keys = new_directory("keys")
                (keys / "passphrase").write_text("correct horse battery staple\n")
                (keys / "passphrase").chmod(0o600)
                give(keys / "passphrase")
                cases = [("none", []), ("none", ["--key-file", keys / "first.key"]), ("lz4", ["--key-file", keys / "second.key"]),
                         ("zstd", ["--passphrase-file", keys / "passphrase"])]
                boats = []
                for compression, options in cases:
                    lb = self.lifeboat(server, options=options)
                    made = lb("init", "--yes", "--compression", compression, live=True).ok().json
                    self.assertEqual(made["encrypted"], bool(options))
                    boats.append(lb)
                server.archive_with(" && ".join(lb.archive_command() for lb in boats))
                self.fill(server, 3000)
                server.psql(f"CREATE TABLE secret AS SELECT '{self.MARK}'::text AS t")
                server.checkpoint()
                for lb in boats:
                    self.back_up(lb)
                server.psql("INSERT INTO secret VALUES ('after')")
                server.wait_archived(timeout=120)
                for (compression, options), lb in zip(cases, boats):
                    with self.subTest(compression=compression, options=options):
                        found = any(self.MARK.encode() in (lb.repo_path / name).read_bytes() for name in lb.objects())
                        # Where nothing hides it, it is there to be found.
                        self.assertEqual(found, (compression, options) == cases[0])
                        [card] = self.listed(lb)
                        self.assertTrue(card["compression"].startswith(compression), card)
                        self.assertEqual(card["encrypted"], bool(options))
                        lb("verify").ok()
                        if options:
                            stranger = self.lifeboat(server, repo=lb.repo_path)
                            to = new_directory("copy") / "data"
                            self.assertFails(stranger("restore", "--to", to), EXIT["wrong_key"])
                            self.assertFalse(to.exists())
                        self.assertWhole(server, self.restore(lb, major))


if __name__ == "__main__":
    main()
