"""Drills of real servers: a passed one proves, a failed one says why, and production never notices either (D1, T10, T11,
T32, T33, T43, T44)."""

import os
import shutil
import signal
import time

import harness
from harness import MOUNTER, SystemTest, flip_bit, give, main, new_directory, run, tool, tree, wait_until

CHECK_FAILED, NOT_FOUND, USAGE = 17, 4, 2


class Drill(SystemTest):
    def source(self, major, **how):
        server = self.cluster(major=major, **how)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE t (n int PRIMARY KEY, what text); INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 5000) g;"
                    "CREATE TABLE still AS SELECT g AS n FROM generate_series(1, 100) g; ANALYZE")
        return server, lb

    def drill(self, lb, *options, live=True, user=MOUNTER, **how):
        to = new_directory("drill") / "d"
        result = lb("drill", "--to", to, "--pg-bin", lb.server.bin, *options, live=live, user=user, **how)
        self.assertFalse((to / "data").exists(), "the copy is removed")
        return result

    def history(self, lb, *options):
        return lb("drill", "--history", *options).ok().json

    def assert_evidence(self, lb, reason):
        """The newest drill on record failed, and why; returns what it says."""
        newest = self.history(lb)["drills"][0]
        self.assertEqual(newest["result"], "failed", newest)
        self.assertIn(reason, " ".join(newest["problems"]))
        return newest["problems"]

    def signals(self, status):
        return {signal["id"]: signal for signal in status["signals"]}

    def checks(self, document):
        return {check["id"]: check for check in document["checks"]}

    def test_passed_drill_measures_and_leaves_no_trace(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major, conf={"max_connections": "77", "max_prepared_transactions": "5"})
                where = server.tablespace("elsewhere")
                server.psql("CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS n FROM generate_series(1, 1000) g;"
                            "BEGIN; INSERT INTO t VALUES (0, 'prepared'); PREPARE TRANSACTION 'held'")
                # What would hang, end or leak out of a copy that inherits it.
                server.configure(synchronous_standby_names="nobody", recovery_target_name="forgotten",
                                 synchronous_commit="local").reload()
                lb("backup", live=True).ok()
                server.wait_archived()
                before_wal = {name for name in lb.objects() if "/wal/" in name}
                before_tablespace = tree(where)
                first = self.drill(lb).ok().json
                self.assertEqual(first["verdict"], "passed")
                self.assertGreater(first["rto_seconds"], 0)
                self.assertGreaterEqual(first["rto_seconds"], first["phases"]["copy"])
                checks = self.checks(first)
                for name in ("recovered", "row_counts", "amcheck", "page_checksums"):
                    self.assertEqual(checks[name]["result"], "passed", checks[name])
                # Nothing of the copy's new timeline reached the archive, nothing its tablespaces.
                after_wal = {name for name in lb.objects() if "/wal/" in name}
                self.assertEqual([name for name in after_wal - before_wal if "/wal/00000002/" in name], [])
                self.assertEqual(tree(where), before_tablespace)
                # The second is compared with the first: tables that did not change must match exactly.
                server.psql("INSERT INTO t SELECT g, 'new' FROM generate_series(10001, 10100) g")
                server.wait_archived()
                second = self.drill(lb).ok().json
                counts = self.checks(second)["row_counts"]
                self.assertEqual(counts["result"], "passed", counts)
                self.assertIn("against drill " + first["evidence"], counts["detail"])
                server.psql("COMMIT PREPARED 'held'")
                listed = lb("list").ok()
                self.assertIn(second["backup"], listed.out)

    def job_library(self, server):
        """A library that is called like one that runs jobs, and the file in which it notes who loads it."""
        place = new_directory("jobs", mode=0o755)
        log = place / "loaded"
        log.write_text("")
        give(log)
        library = server.bin.parent / "lib/auto_explain.so"
        run(["cc", "-O2", "-shared", "-fPIC", f'-DJOB_LOG="{log}"', "-o", place / "pg_cron.so",
             harness.SOURCE / "tests/support/job_library.c", "-Wl,--no-as-needed,--unresolved-symbols=ignore-all", library,
             f"-Wl,-rpath,{library.parent}"], user=MOUNTER)
        (place / "pg_cron.so").chmod(0o755)
        return place / "pg_cron", log

    def test_from_outside_nothing_is_to_be_seen_of_a_drill(self):
        """T10, T33: a subscriber with a job extension, configuration outside its data directory, a tablespace, archiving and a
        standby's slot; the publisher hears nothing, the jobs run nowhere, the archive and every file stay as they are."""
        for major in self.two_majors():
            for options in ((), ("--full",)):
                with self.subTest(major=major, options=options):
                    publisher = self.cluster(major=major, conf={"wal_level": "logical", "log_replication_commands": "on"})
                    publisher.psql("CREATE TABLE t (n int PRIMARY KEY, what text); CREATE PUBLICATION news FOR TABLE t")
                    server, lb = self.source(major)
                    outside = new_directory("etc", mode=0o755)
                    library, loaded = self.job_library(server)
                    server.configure(shared_preload_libraries=library, hba_file=outside / "pg_hba.conf")
                    for name in ("postgresql.conf", "pg_hba.conf"):
                        give(shutil.move(server.data / name, outside / name))
                    server.overrides = {"config_file": outside / "postgresql.conf"}
                    server.restart()
                    self.assertNotEqual(loaded.read_text(), "", "the canary: whoever loads the library is seen")
                    server.psql(f"CREATE SUBSCRIPTION news CONNECTION '{publisher.conninfo('postgres')}' PUBLICATION news"
                                " WITH (copy_data = false)")
                    publisher.psql("INSERT INTO t VALUES (-1, 'published')")
                    wait_until(lambda: server.value("SELECT count(*) FROM t WHERE n = -1") == "1", "what was published")
                    where = server.tablespace("elsewhere")
                    server.psql("CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS n FROM generate_series(1, 1000) g")
                    slot = "SELECT restart_lsn, active, xmin, confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'standby'"
                    server.psql("SELECT pg_create_physical_replication_slot('standby', true)")
                    lb("backup", live=True).ok()
                    server.wait_archived()
                    kept = server.rows(slot)
                    self.assertRegex(kept[0][0], "^[0-9A-F]+/[0-9A-F]+$")
                    files, jobs, heard = tree(outside), loaded.read_text(), publisher.log_text()
                    walsender = publisher.value("SELECT string_agg(pid::text, ',') FROM pg_stat_replication")
                    stored = [name for name in lb.objects() if "/wal/" in name]
                    archived = server.value("SELECT archived_count FROM pg_stat_archiver")
                    done = self.drill(lb, *options).ok().json
                    self.assertIn("pg_cron", self.checks(done)["preload_libraries"]["detail"])
                    self.assertEqual(tree(outside), files)
                    self.assertEqual(loaded.read_text(), jobs)
                    self.assertEqual(publisher.log_text(), heard)
                    self.assertEqual(server.rows(slot), kept)
                    self.assertEqual(publisher.value("SELECT string_agg(pid::text, ',') FROM pg_stat_replication"), walsender)
                    self.assertEqual([name for name in lb.objects() if "/wal/" in name], stored)
                    self.assertEqual(server.value("SELECT archived_count FROM pg_stat_archiver"), archived)
                    publisher.psql("INSERT INTO t VALUES (-2, 'still')")
                    wait_until(lambda: server.value("SELECT count(*) FROM t WHERE n = -2") == "1", "what is published after it")
                    server.psql("DROP SUBSCRIPTION news")
                    # Once more while it stands still, so that every byte can be compared. What the copy knows of the publisher is
                    # what the backup knew.
                    server.stop()
                    heard, jobs = publisher.log_text(), loaded.read_text()
                    places = [server.data, where, outside]
                    before = [tree(place) for place in places]
                    self.assertIn("pg_replslot/standby/state", before[0])
                    self.drill(lb, *options, live=False).ok()
                    for place, was in zip(places, before):
                        self.assertEqual(tree(place), was, place)
                    self.assertEqual((publisher.log_text(), loaded.read_text()), (heard, jobs))

    def test_rpo_is_what_a_loss_at_the_start_would_have_cost(self):
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        server.wait_archived()
        idle = self.drill(lb).ok().json
        self.assertEqual(idle["rpo_seconds"], 0, "an idle server loses nothing, whatever the age of its last commit")
        for n in range(3):
            server.psql(f"INSERT INTO t VALUES ({-1 - n}, 'not archived')")
        lossy = self.drill(lb).ok().json
        self.assertEqual(lossy["lost_commits"], 3)
        self.assertGreater(lossy["rpo_seconds"], 0)
        blind = self.drill(lb, live=False).ok().json
        self.assertIsNone(blind["rpo_seconds"])
        self.assertIn("not measured", blind["rpo_how"])

    def test_a_drill_on_a_mount_costs_what_it_touches_and_comes_round_to_everything(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                server.psql("CREATE TABLE large AS SELECT g AS id, repeat(md5(g::text), 20) AS filler FROM generate_series(1, 60000) g;"
                            "ALTER TABLE large ADD PRIMARY KEY (id)")
                for n in range(20):
                    server.psql(f"CREATE TABLE small{n} AS SELECT g AS id FROM generate_series(1, {n}) g;"
                                f"CREATE INDEX ON small{n} (id)")
                lb("backup", live=True).ok()
                server.wait_archived()
                whole = self.drill(lb, "--rotation", "1d").ok().json
                self.assertEqual(whole["medium"], "mount", whole["notes"])
                self.assertGreater(whole["fetched_bytes"], 0.9 * whole["restored_bytes"])
                # A day that has its turn in four days does not see most tables. Which day it is decides which.
                part = self.drill(lb, "--rotation", "4d").ok().json
                self.assertGreater(part["tables_counted"], 0)
                self.assertLess(part["tables_counted"], 15)
                self.assertLess(part["fetched_bytes"], part["restored_bytes"])
                pages = self.checks(part)["page_checksums"]
                self.assertEqual(pages["result"], "passed")
                self.assertRegex(pages["detail"], r"part . of 4: [1-9]\d* pages of [1-9]")
                self.assertIn("part ", self.checks(part)["amcheck"]["detail"])
                again = self.drill(lb, "--rotation", "4d").ok().json
                self.assertIn("against drill " + part["evidence"], self.checks(again)["row_counts"]["detail"])
                copy = self.drill(lb, "--full").ok().json
                self.assertEqual((copy["medium"], copy["fetched_bytes"]), ("copy", 0))
                self.assertEqual(copy["notes"], [])
                self.assertEqual(self.checks(copy)["page_checksums"]["result"], "passed")

    def test_a_random_moment_lies_between_the_oldest_backup_and_the_last_commit(self):
        server, lb = self.source(15, conf={"autovacuum": "off"})
        older = lb("backup", live=True).ok().json["backup"]
        server.psql("CREATE TABLE moments (at timestamptz)")
        for _ in range(10):
            server.psql("INSERT INTO moments VALUES (clock_timestamp())")
        server.switch_wal()
        server.wait_archived()
        targets = set()
        for _ in range(3):
            done = self.drill(lb, "--random-target", "--rotation", "9d").ok().json
            self.assertTrue(done["target"].startswith("time "), done["target"])
            targets.add(done["target"])
        self.assertEqual(len(targets), 3)
        # Behind a newer backup nothing was committed: the moments of the window are those before it.
        newer = lb("backup", live=True).ok().json["backup"]
        server.wait_archived()
        done = self.drill(lb, "--random-target", "--rotation", "9d").ok().json
        self.assertTrue(done["target"].startswith("time "), done["target"])
        self.assertEqual(done["backup"], older)
        # With a commit behind both, each has its turn.
        time.sleep(8)
        server.psql("INSERT INTO moments VALUES (clock_timestamp())")
        server.switch_wal()
        server.wait_archived()
        tried = set()
        for _ in range(25):
            tried.add(self.drill(lb, "--random-target", "--rotation", "9d").ok().json["backup"])
            if len(tried) == 2:
                break
        self.assertEqual(tried, {older, newer})
        # Of one that is named, the moment lies behind that one.
        done = self.drill(lb, "--random-target", "--rotation", "9d", "--backup", newer).ok().json
        self.assertEqual(done["backup"], newer)
        self.assertTrue(done["target"].startswith("time "), done["target"])

    def test_an_index_that_is_silently_wrong_fails_the_drill(self):
        """The canary of amcheck: an index that lacks entries, on a mount, whole and in part."""
        server, lb = self.source(15)
        system = ("BEGIN; SET LOCAL allow_system_table_mods = on; UPDATE pg_index SET indisready = %s, indisvalid = %s WHERE"
                  " indexrelid = 't_pkey'::regclass; COMMIT")
        server.psql(system % ("false", "false"))
        server.psql("INSERT INTO t VALUES (777777, 'not indexed')")
        server.psql(system % ("true", "true"))
        lb("backup", live=True).ok()
        server.wait_archived()
        for options in ((), ("--full",)):
            with self.subTest(options=options):
                result = self.drill(lb, *options)
                self.assertEqual(result.code, CHECK_FAILED, result.out)
                found = self.checks(result.json)["amcheck"]
                self.assertEqual(found["result"], "failed")
                self.assertIn("t_pkey", found["detail"])

    def test_a_damaged_page_of_any_index_fails_a_drill_of_a_part(self):
        """The canary of page checksums in a rotation: no row and no B-tree leads to the page of a GIN index."""
        server, lb = self.source(15)
        paths = []
        for n in range(16):  # of so many some have their turn, whatever the day
            server.psql(f"CREATE TABLE words{n} AS SELECT g AS id, array[md5(g::text)] AS tags FROM generate_series(1, 500) g;"
                        f"CREATE INDEX words{n}_tags ON words{n} USING gin (tags)")
            paths.append(server.data / server.value(f"SELECT pg_relation_filepath('words{n}_tags')"))
        server.stop()
        for path in paths:
            flip_bit(path, path.stat().st_size // 2)
        server.start()
        made = lb("backup", live=True).json["backup"]  # says what it found, and keeps the pages as they are
        server.wait_archived()
        result = self.drill(lb, "--rotation", "2d", "--backup", made)
        self.assertEqual(result.code, CHECK_FAILED, result.out)
        pages = self.checks(result.json)["page_checksums"]
        self.assertEqual(pages["result"], "failed", pages)
        self.assertTrue(any(f"{path.relative_to(server.data)}:" in pages["detail"] for path in paths), pages)
        self.assertEqual(self.checks(result.json)["amcheck"]["result"], "passed")

    def test_what_the_host_sorts_otherwise_and_what_is_invalid_is_told(self):
        server, lb = self.source(15, initdb=["--locale-provider=icu", "--icu-locale=en"])
        server.psql("CREATE TABLE sorted (a text, b text COLLATE \"de-x-icu\"); CREATE INDEX by_a ON sorted (a);"
                    "CREATE INDEX by_b ON sorted (b); CREATE TABLE twice AS SELECT 1 AS id FROM generate_series(1, 2);"
                    "UPDATE pg_database SET datcollversion = '0.1' WHERE datname = current_database();"
                    "UPDATE pg_collation SET collversion = '0.2' WHERE collname = 'de-x-icu'")
        server.psql("CREATE UNIQUE INDEX CONCURRENTLY never ON twice (id)", check=False)
        lb("backup", live=True).ok()
        server.wait_archived()
        done = self.drill(lb).ok().json
        checks, notes = self.checks(done), " ".join(done["notes"])
        for word in ("public.by_a", "0.1", "public.by_b", "0.2", "heal indexes"):
            self.assertIn(word, checks["collation_versions"]["detail"])
            self.assertIn(word, notes)
        self.assertIn("public.never", checks["invalid_indexes"]["detail"])
        self.assertIn("public.never", notes)

    def test_an_analyze_that_fails_is_a_failed_check(self):
        server, lb = self.source(15)
        server.psql("CREATE FUNCTION half(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
                    " $$ BEGIN IF i = 7 THEN RETURN 7 / (SELECT count(*) FROM nothing); END IF; RETURN i / 2; END $$;"
                    "CREATE TABLE nothing AS SELECT 1 AS one; CREATE TABLE halves AS SELECT g FROM generate_series(1, 10) g;"
                    "CREATE INDEX ON halves (half(g)); DELETE FROM nothing")
        lb("backup", live=True).ok()
        server.wait_archived()
        result = self.drill(lb)
        self.assertEqual(result.code, CHECK_FAILED)
        self.assertEqual(self.checks(result.json)["analyze"]["result"], "failed")
        self.assertIn("public.halves", self.checks(result.json)["analyze"]["detail"])
        server.psql("DROP TABLE halves")
        server.wait_archived()
        self.assertEqual(self.checks(self.drill(lb).ok().json)["analyze"]["result"], "passed")

    def test_programs_of_the_operator_look_at_the_copy(self):
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        server.wait_archived()
        server.psql("DELETE FROM t")  # the copy is looked at, not the source
        place = new_directory("checks", mode=0o755)
        psql = tool("psql", 15)
        for name, line in (("counts", f"{psql} -XAtc 'select count(*) from t'"), ("refuses", "echo the reason >&2; exit 3"),
                           ("hangs", "sleep 60")):
            script = place / name
            script.write_text(f"#!/bin/sh\n{line}\n")
            script.chmod(0o755)
        config = place / "lifeboat.toml"

        def drill(*names):
            checks = "".join(f'{name} = ["{place}/{name}"]\n' for name in names)
            config.write_text(f"[cluster.main.drill]\ntimeout = \"2s\"\n{checks}")
            config.chmod(0o644)
            return self.drill(lb, "--config", config)
        passed = drill("counts").ok().json
        self.assertEqual(self.checks(passed)["counts"]["detail"], "5000")
        failed = drill("counts", "refuses", "hangs")
        self.assertEqual(failed.code, CHECK_FAILED, failed.out)
        checks = self.checks(failed.json)
        self.assertEqual([checks[name]["result"] for name in ("counts", "refuses", "hangs")], ["passed", "failed", "failed"])
        self.assertIn("the reason", checks["refuses"]["detail"])

    def test_what_this_host_lacks_says_nothing_of_the_backup(self):
        server, lb = self.source(15)
        made = lb("backup", live=True).ok().json["backup"]
        server.wait_archived()
        lb("verify").ok()
        good = lb("list").ok().json["lineages"][0]["backups"][0]
        self.assertTrue(good["good"], good)
        empty, other = new_directory("bin", mode=0o755), new_directory("bin", mode=0o755)
        (other / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 16.1'\n")
        # It is there, and cannot run a server.
        broken = new_directory("bin", mode=0o755)
        (broken / "postgres").write_text("#!/bin/sh\ncase $1 in -V|--version) echo 'postgres (PostgreSQL) 15.1';;"
                                         " *) echo 'FATAL:  could not map anonymous shared memory: Cannot allocate memory' >&2; exit 1; esac\n")
        for program in (other / "postgres", broken / "postgres"):
            program.chmod(0o755)
        for place in (empty, other, broken):
            failed = lb("drill", "--to", new_directory("drill") / "d", "--pg-bin", place, user=MOUNTER)
            self.assertNotEqual(failed.code, 0, failed.out)
            print(f"programs in {place}: {failed.err.strip()}", flush=True)
        self.assertEqual(self.history(lb)["drills"], [])
        self.assertEqual(lb("list").ok().json["lineages"][0]["backups"][0], good)
        self.assertEqual(lb("show", made).ok().json.get("good"), True)

    def test_settings_of_a_database_or_role_do_not_reach_the_checks(self):
        """T44: stored for a database they rank above the server's command line; and the source's own time-out."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                server.psql("CREATE DATABASE shop")
                server.psql("CREATE TABLE orders AS SELECT g AS n FROM generate_series(1, 200000) g; CREATE INDEX ON orders (n)", "shop")
                server.psql("ALTER DATABASE shop SET default_transaction_read_only = on; ALTER DATABASE shop SET statement_timeout = 1")
                server.configure(statement_timeout="1ms")  # in the files that are backed up; the source goes on without it
                lb("backup", live=True).ok()
                server.wait_archived()
                for options in ((), ("--full",), ("--rotation", "7d")):
                    done = self.drill(lb, *options).ok().json
                    self.assertEqual(self.checks(done)["amcheck"]["result"], "passed", self.checks(done)["amcheck"])

    def test_the_older_backup_that_is_drilled_is_told(self):
        server, lb = self.source(15)
        older = lb("backup", live=True).ok().json["backup"]
        packs = set(lb.repo_path.glob("clusters/*/*/packs/*/*.data"))
        server.psql("UPDATE t SET what = what || 'x'")
        newest = lb("backup", "--type", "full", live=True).ok().json["backup"]
        server.wait_archived()
        new = sorted(set(lb.repo_path.glob("clusters/*/*/packs/*/*.data")) - packs, key=lambda path: path.stat().st_size)
        flip_bit(new[-1], new[-1].stat().st_size // 2)
        self.assertNotEqual(lb("verify").code, 0)
        done = self.drill(lb).ok()
        self.assertEqual(done.json["backup"], older)
        notes = [note for note in done.json["notes"] if f"the older {older} is used" in note]
        self.assertEqual(len(notes), 1, done.json["notes"])
        self.assertIn(newest, notes[0])
        self.assertEqual(done.err.count("is used"), 1, done.err)
        compared = lb("diff", "latest", "live", "--scratch-dir", new_directory("diff"), "--pg-bin", server.bin, live=True, user=MOUNTER)
        self.assertIn(f"the older {older} is used", str(compared.ok().json["notes"]))

    def program(self, lines):
        """Options for a drill with a program of the operator's."""
        place = new_directory("checks", mode=0o755)
        script, config = place / "check", place / "lifeboat.toml"
        script.write_text(f"#!/bin/bash\n{lines}\n")
        script.chmod(0o755)
        config.write_text(f'[cluster.main.drill]\nasked = ["{script}"]\n')
        config.chmod(0o644)
        return "--config", config

    def test_a_mount_that_somebody_else_holds_is_left_and_told(self):
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        server.wait_archived()
        to, pid = new_directory("drill") / "d", new_directory("pid", mode=0o777) / "pid"
        # Whoever looked at the copy and stayed.
        asked = self.program(f"cd {to}/data && (setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $! >{pid})")
        result = lb("drill", "--to", to, "--pg-bin", server.bin, *asked, live=True, user=MOUNTER, timeout=120)
        holder = int(pid.read_text())
        try:
            if result.ok().json["medium"] != "mount":
                harness.skip("nothing can be mounted here")
            self.assertIn(f"{to}/data is still in use by process {holder} and is left mounted", result.err)
            self.assertLess(result.seconds, 90)
        finally:
            os.kill(holder, signal.SIGKILL)
            wait_until(lambda: run(["umount", to / "data"], user=MOUNTER, check=False).code == 0 or not os.path.ismount(to / "data"),
                       "the mount is gone")

    def test_the_server_ends_with_a_drill_that_is_killed(self):
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        server.wait_archived()
        for options in ((), ("--full",)):
            to, there = new_directory("drill") / "d", new_directory("there", mode=0o777) / "there"
            asked = self.program(f"head -1 {to}/data/postmaster.pid >{there}.new && mv {there}.new {there}; sleep 300")
            drill = harness.Background(lb.argv("drill", "--to", to, "--pg-bin", server.bin, *options, *asked, live=True), user=MOUNTER)
            wait_until(there.exists, "the drill's server is asked")
            postmaster = int(there.read_text())
            drill.kill()
            wait_until(lambda: not harness._alive(postmaster), "the drill's server has ended")
            run(["umount", to / "data"], user=MOUNTER, check=False)

    def test_an_extension_that_is_not_here_fails_the_drill(self):
        server, lb = self.source(15)
        server.psql("CREATE EXTENSION pgcrypto; SET allow_system_table_mods = on;"
                    "UPDATE pg_extension SET extname = 'somewhere_else' WHERE extname = 'pgcrypto'")
        lb("backup", live=True).ok()
        server.wait_archived()
        result = self.drill(lb)
        self.assertEqual(result.code, CHECK_FAILED, result.out)
        found = self.checks(result.json)["extensions"]
        self.assertEqual(found["result"], "failed")
        self.assertIn("somewhere_else", found["detail"])
        # It is this host that lacks it.
        plan = lb("restore", "--to", new_directory("to") / "data", "--dry-run").ok()
        self.assertNotIn("failed its last check", plan.err)

    def test_missing_wal_and_a_lost_key_fail_the_drill(self):
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        for n in range(4):
            server.psql(f"INSERT INTO t VALUES ({-10 - n}, 'x')")
            server.switch_wal()
        server.wait_archived()
        wal = sorted(lb.repo_path.glob("clusters/*/*/wal/00000001/*/*"))
        wal[-2].unlink()
        for options in ((), ("--random-target",)):
            result = self.drill(lb, *options)
            self.assertNotEqual(result.code, 0, result.out)
            self.assertIn("missing", result.out)
            self.assert_evidence(lb, wal[-2].name[:24])

        # Its name says nothing of what it is, so that the error does.
        lost_file = new_directory("custody") / "main.secret"
        encrypted = self.lifeboat(server, repo=new_directory("e") / "repo", options=("--key-file", lost_file))
        encrypted("init", "--yes", live=True).ok()
        server.archive_with(encrypted.archive_command())
        encrypted("backup", live=True).ok()
        server.wait_archived()
        self.drill(encrypted).ok()
        proven = self.history(encrypted)["drills"]
        config = new_directory("conf", mode=0o755) / "lifeboat.toml"
        config.write_text(f'[repo.near]\nurl = "{encrypted.repo}"\nkey-file = "{lost_file}"\n[cluster.main]\nrepo = "near"\n'
                          f'owner = "dba"\npg = "{server.conninfo()}"\npgdata = "{server.data}"\n')
        config.chmod(0o644)
        asked = [harness.binary(), "status", "--config", config, "--cluster", "main", "--output", "json"]
        self.assertEqual(self.signals(run(asked, check=False).json)["repository_down"]["verdict"], "ok")
        secret = lost_file.read_bytes()
        lost_file.unlink()
        for options in ((), ("--full",)):
            lost = self.drill(encrypted, *options)
            self.assertFails(lost, NOT_FOUND)
            error = lost.json["error"]
            self.assertEqual((error["kind"], error["object"], error["message"]),
                             ("not_found", str(lost_file), "cannot read the key file"), error)
        status = run(asked, check=False)
        self.assertEqual(status.code, CHECK_FAILED, status.out)
        down = self.signals(status.json)["repository_down"]
        self.assertEqual(down["verdict"], "critical", down)
        self.assertIn(f"{lost_file}: cannot read the key file", down["found"])
        # It says nothing of the backup: what was proven stays.
        lost_file.write_bytes(secret)
        lost_file.chmod(0o600)
        give(lost_file)
        self.assertEqual(self.history(encrypted)["drills"], proven)

    def test_a_flipped_bit_in_a_pack_fails_the_drill(self):
        server, lb = self.source(15)
        made = lb("backup", live=True).ok().json["backup"]
        server.wait_archived()
        self.drill(lb).ok()
        packs = sorted(lb.repo_path.glob("clusters/*/*/packs/*/*.data"), key=lambda path: path.stat().st_size)
        flip_bit(packs[-1], packs[-1].stat().st_size // 2)
        for options in ((), ("--full",)):
            result = self.drill(lb, *options)
            self.assertNotEqual(result.code, 0, result.out)
            problem = self.assert_evidence(lb, str(packs[-1].relative_to(lb.repo_path)))
            self.assertRegex(" ".join(problem), r"\.data: frame \d+ at \d+: its seal does not match its content")
        proofs = lb("show", made).json
        self.assertFalse(proofs.get("good", False), proofs)

    def test_missed_targets_and_failed_assertions_fail_the_drill(self):
        """The canaries: each check can fail."""
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        server.wait_archived()
        slow = self.drill(lb, "--rto", "1ms")
        self.assertEqual(slow.code, CHECK_FAILED)
        self.assertEqual(slow.json["verdict"], "failed")
        self.assertEqual(self.checks(slow.json)["rto"]["result"], "failed")
        listed = lb("list").ok().json["lineages"][0]["backups"][0]
        self.assertTrue(listed["good"], "the backup itself was recovered and checked")
        self.assertFails(lb("verify", "--gate", "rpo_rto_met", "--rto", "1ms", "--rpo", "1h"), CHECK_FAILED)
        wrong = self.drill(lb, "--sql", "select count(*) = 1 from t", "--sql", "select count(*) = 5000 from t")
        self.assertEqual(wrong.code, CHECK_FAILED)
        results = [check["result"] for check in wrong.json["checks"] if check["id"] == "assertion"]
        self.assertEqual(results, ["failed", "passed"])
        # It came back, so a restore goes on taking it; that its contents are not as expected is for people to see.
        lb("backup", live=True).ok()
        newest = self.drill(lb, "--sql", "select count(*) = 1 from t", "--sql", "select nothing from nowhere", "--rto", "1ms").json["backup"]
        plan = lb("restore", "--to", new_directory("to") / "data", "--dry-run").ok()
        self.assertEqual(plan.json["plan"]["backup"], newest)
        self.assertNotIn("failed its last check", plan.err)
        self.assertIn("an answer was not as expected", plan.out + plan.err)

    def test_a_question_that_is_none_is_no_failed_drill(self):
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        server.wait_archived()
        evidence = lambda: [name for name in lb.objects() if "/evidence/" in name]
        before = evidence()
        for sql, says in (("select 1", "expected true or false"), ("selec true", "syntax error")):
            self.assertFails(self.drill(lb, "--sql", sql), USAGE, says, "a condition")
        self.assertEqual(before, evidence())
        self.drill(lb, "--sql", "select 1 = 1").ok()
        self.assertEqual(len(before) + 1, len(evidence()))

    def test_a_database_that_was_mistyped_is_no_failed_drill(self):
        server, lb = self.source(15)
        server.psql("CREATE DATABASE shop")
        lb("backup", live=True).ok()
        server.wait_archived()
        asked = ("--sql", "select true", "--sql-database")
        missed = self.drill(lb, *asked, "shpo", "--progress", "on", json=False)
        self.assertFails(missed, NOT_FOUND, 'database "shpo": does not exist at the target; there are: postgres, shop', "did you mean shop?")
        self.assertNotIn("recovering", missed.err)
        self.assertNotIn("FATAL", missed.err)
        # It might have been made since the backup, so the copy is asked: a slip all the same.
        server.psql("CREATE DATABASE later")
        server.switch_wal()
        server.wait_archived()
        missed = self.drill(lb, *asked, "shpo", json=False)
        self.assertFails(missed, NOT_FOUND, 'database "shpo": does not exist at the target; there are: later, postgres, shop')
        self.assertEqual(self.history(lb)["drills"], [])
        self.drill(lb, *asked, "later").ok()
        self.assertFails(self.drill(lb, "--sql-database", "shop"), USAGE, "there is no --sql QUERY")
        # It was there when the backup was made: that is for somebody to explain.
        server.psql("DROP DATABASE shop")
        server.switch_wal()
        server.wait_archived()
        gone = self.drill(lb, *asked, "shop")
        self.assertEqual(gone.code, CHECK_FAILED)
        self.assertEqual(self.checks(gone.json)["assertion"]["result"], "failed")
        self.assert_evidence(lb, 'database "shop": does not exist at the target; there are: later, postgres; it was there when the backup')

    def test_the_history_compares_with_the_targets(self):
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        server.wait_archived()
        self.assertEqual(self.history(lb)["drills"], [])
        for options in ((), ("--rto", "1h"), ("--rto", "1ms"), ("--sql", "select false")):
            self.drill(lb, *options)
        history = self.history(lb)
        self.assertEqual([one["result"] for one in history["drills"]], ["failed", "target missed", "passed", "passed"])
        self.assertIn("assertion", history["drills"][0]["problems"][0])
        self.assertEqual(history["failed"], 1)
        self.assertGreater(history["drills"][1]["phases"]["recovery"], 0)
        rto = history["rto"]
        self.assertEqual((rto["measured"], rto["missed"], rto["target_seconds"]), (3, 3, 0.001))
        self.assertEqual(rto["newest_seconds"], history["drills"][1]["rto_seconds"])
        rto = self.history(lb, "--rto", "1h")["rto"]
        self.assertEqual((rto["missed"], rto["target_seconds"]), (0, 3600))
        self.assertEqual(history["rpo"]["newest_seconds"], 0)
        self.assertEqual(len(lb("drill", "--history", "2").ok().json["drills"]), 2)
        text = lb("drill", "--history", json=False).ok().out
        self.assertIn("target missed", text)
        self.assertEqual(lb("drill", "--history", "--full").code, 2)

    def test_broken_page_of_the_source_is_found(self):
        server, lb = self.source(15)
        path = server.value("SELECT pg_relation_filepath('still')")
        server.checkpoint().stop()
        flip_bit(server.data / path, 8000)
        server.start()
        damaged = lb("backup", live=True)
        self.assertEqual(damaged.json["state"], "damaged")
        self.assertEqual(damaged.json["broken_pages"], 1)
        server.wait_archived()
        drill = self.drill(lb, "--backup", damaged.json["backup"])
        self.assertNotEqual(drill.code, 0, "a drill over a broken page never passes")


if __name__ == "__main__":
    main()
