"""rollback: a cluster goes back to a moment, in its place or side by side; what came later stays at hand (R7)."""

import re
import shlex

from harness import (SOURCE, Background, Cluster, SystemTest, amcheck, main, new_directory, run, scratch, tool, tree,
                     wait_until)

USAGE, NOT_FOUND, SPACE, UNREACHABLE, PRECONDITION, CHECK_FAILED, NOT_CONFIRMED = 2, 4, 7, 13, 14, 17, 21


class Rollback(SystemTest):
    def source(self, major, options=()):
        server = self.cluster(major=major)
        lb = self.lifeboat(server, options=options)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE ledger (n int, what text);"
                    "CREATE TABLE big AS SELECT g AS n, md5(g::text) AS what FROM generate_series(1, 50000) g")
        lb("backup", live=True).ok()
        self.say(server, "good")
        server.moment = server.now()
        self.say(server, "mistake")
        self.say(server, "later")
        return server, lb

    def say(self, server, what):
        server.psql(f"INSERT INTO ledger (n, what) SELECT coalesce(max(n), 0) + 1, '{what}' FROM ledger")

    def said(self, server):
        return server.value("SELECT string_agg(what, ',' ORDER BY n) FROM ledger")

    def rollback(self, lb, *options, **how):
        server = lb.server
        return lb("rollback", "--target-time", server.moment, "--pg-bin", server.bin, *options, **how)

    def in_place(self, lb, *options, **how):
        server = lb.server
        return self.rollback(lb, "--pgdata", server.data, "--port", server.port, "--socket-dir", server.place, *options, **how)

    def test_what_came_after_a_rollback_is_the_latest_and_not_what_was_left(self):
        """The newest backup lies on the branch that was left."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                first = lb("list").ok().json["lineages"][0]["backups"][0]["id"]
                left = lb("backup", live=True).ok().json["backup"]
                self.say(server, "left")
                self.in_place(lb, "--stop", "--yes").ok()
                self.say(server, "new")
                server.switch_wal()
                server.wait_archived()
                wal_gaps = next(one for one in lb("status", "--owner", "x", live=True).json["signals"] if one["id"] == "wal_gaps")
                self.assertEqual((wal_gaps["verdict"], left in wal_gaps["found"]), ("warning", True), wal_gaps)
                to = new_directory("to") / "data"
                done = lb("restore", "--to", to, "--pg-bin", server.bin, "--action", "promote").ok().json
                self.assertEqual(done["plan"]["backup"], first)
                self.assertIn(f"backup {left} is passed over", " ".join(done["plan"]["warnings"]))
                copy = Cluster.attach(to, server.major, start=True)
                copy.wait_recovered()
                self.assertEqual(self.said(copy), "good,new")
                copy.stop()
                # Who means the branch that was left says so.
                refused = lb("restore", "--to", new_directory("to") / "data", "--backup", left, "--pg-bin", server.bin)
                self.assertFails(refused, UNREACHABLE, "left by a rollback", "--timeline 1")
                to = new_directory("to") / "data"
                lb("restore", "--to", to, "--backup", left, "--timeline", "1", "--pg-bin", server.bin, "--action", "promote").ok()
                copy = Cluster.attach(to, server.major, start=True)
                copy.wait_recovered()
                self.assertIn("left", self.said(copy))
                copy.stop()
                # A backup of the new timeline ends that.
                lb("backup", live=True).ok()
                gaps = next(one for one in lb("status", "--owner", "x", live=True).json["signals"] if one["id"] == "wal_gaps")
                self.assertEqual(gaps["verdict"], "ok", gaps)
                server.stop()

    def test_of_the_new_timeline_a_tail_that_a_receiver_stored_is_enough(self):
        server, lb = self.source(15)
        left = lb("backup", live=True).ok().json["backup"]
        self.in_place(lb, "--stop", "--yes").ok()
        receiver = lb.background("wal", "receive", live=True)
        wait_until(lambda: server.value("SELECT state FROM pg_stat_replication") == "streaming", "the receiver streams")
        self.say(server, "new")
        end = server.lsn()
        wait_until(lambda: server.value(f"SELECT flush_lsn >= '{end}' FROM pg_stat_replication") == "t", "it is stored")
        server.stop("immediate")
        receiver.stop()
        to = new_directory("to") / "data"
        done = lb("restore", "--to", to, "--pg-bin", server.bin, "--action", "promote").ok().json
        self.assertNotEqual(done["plan"]["backup"], left)
        copy = Cluster.attach(to, server.major, start=True)
        copy.wait_recovered()
        self.assertEqual(self.said(copy), "good,new")
        copy.stop()

    def paste(self, command):
        words = shlex.split(command)
        if words[0] == "runuser":
            words = words[words.index("--") + 1:]
        return run(words)

    def test_in_place_with_the_state_before_beside_it(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                # The target is in the segment that nobody has archived.
                plan = self.in_place(lb, "--dry-run", "--preserve").ok().json
                what = " / ".join(step["what"] for step in plan["steps"])
                for word in ("-m fast stop", "store", "copy", "keep", "replay", "paused", "promote"):
                    self.assertIn(word, what)
                self.assertTrue(any(step["seconds"] is not None for step in plan["steps"]))
                self.assertIn("left out on purpose", plan["expected_loss"])
                self.assertEqual(self.said(server), "good,mistake,later")
                refused = self.in_place(lb, "--yes")
                self.assertFails(refused, PRECONDITION, "running", f"-D {server.data} -m fast stop", "--stop")
                self.assertFails(self.in_place(lb, "--stop"), NOT_CONFIRMED, "--yes")
                self.assertEqual(self.said(server), "good,mistake,later")
                server.psql("ALTER SYSTEM SET archive_command = 'false'")
                server.reload()
                done = self.in_place(lb, "--stop", "--preserve", "--yes").ok().json
                self.assertGreater(done["stop_seconds"], 0)
                self.assertEqual(done["recovery"]["phase"], "ready")
                self.assertEqual(done["recovery"]["timeline"], 2)
                self.assertEqual(self.said(server), "good")
                self.assertEqual(server.value("SHOW archive_mode"), "on")
                # A copy of it that is recovered some day has a target of its own.
                conf = (server.data / "postgresql.auto.conf").read_text()
                self.assertEqual(re.findall(r"^recovery_target(?:_time|_lsn|_xid|_name)? = '[^']+'", conf, re.M), [])
                self.assertIn("recovery_target_time = ''", conf)
                doctor = {one["id"]: one for one in lb("doctor", live=True).json["checks"]}
                self.assertEqual(doctor["restore_leftovers"]["severity"], "ok", doctor["restore_leftovers"])
                self.say(server, "on timeline 2")
                amcheck(server)
                # The state before, queried beside it.
                self.paste(done["preserved_command"])
                before = Cluster.attach(done["preserved"], major)
                before.place, before.port = server.place, server.port + 1
                self.assertEqual(self.said(before), "good,mistake,later")
                self.assertEqual(before.value("SHOW archive_mode"), "off")
                self.assertNotEqual(before.psql("CREATE TABLE x ()", check=False).code, 0)
                before.stop()
                server.stop()

    def test_by_block_and_once_more(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major, options=["--key-file", new_directory("key") / "key"])
                for _ in range(2):
                    done = self.in_place(lb, "--stop", "--delta", "--yes").ok().json
                    self.assertEqual(self.said(server), "good")
                    self.assertEqual(done["kept"], [])
                    self.assertIsNone(done["preserved"])
                    self.assertLess(done["compared"]["written_bytes"], done["bytes"] // 4)
                    self.say(server, "again")
                self.assertEqual(done["recovery"]["timeline"], 3)
                amcheck(server)
                server.stop()

    def test_side_by_side(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                server.wait_archived()
                to, sockets = new_directory("copy") / "data", new_directory("k")
                before = [name for name in lb.objects() if "/wal/" in name]
                # Nothing is brought for a question that cannot be asked.
                slip = self.rollback(lb, "--to", to, "--port", "6200", "--socket-dir", sockets, "--sql", "select true",
                                     "--sql-database", "postgrse", json=False)
                self.assertFails(slip, NOT_FOUND, 'database "postgrse": does not exist at the target', "did you mean postgres?")
                self.assertFalse(to.exists())
                done = self.rollback(lb, "--to", to, "--port", "6200", "--socket-dir", sockets).ok().json
                copy = Cluster.attach(to, major)
                copy.place, copy.port = sockets, 6200
                self.assertEqual(self.said(copy), "good")
                self.assertEqual(done["recovery"]["phase"], "ready")
                self.assertEqual(copy.value("SHOW archive_mode"), "off")
                self.assertEqual(self.said(server), "good,mistake,later")
                self.assertEqual([name for name in lb.objects() if "/wal/" in name], before)
                copy.stop()

    def test_to_before_a_drop(self):
        server, lb = self.source(self.majors()[0])
        server.psql("DROP TABLE big")
        self.say(server, "after the drop")
        server.wait_archived(server.switch_wal())
        planned = lb("rollback", "--before-drop", "big", "--pgdata", server.data, "--pg-bin", server.bin, "--dry-run").ok().json
        self.assertGreaterEqual(planned["expected_loss_seconds"], 0)
        self.assertIn("stored WAL has commits for", planned["expected_loss"])
        to, sockets = new_directory("copy") / "data", new_directory("k")
        lb("rollback", "--before-drop", "big", "--to", to, "--port", "6200", "--socket-dir", sockets, "--pg-bin", server.bin).ok()
        copy = Cluster.attach(to, server.major)
        copy.place, copy.port = sockets, 6200
        self.assertEqual(copy.value("SELECT count(*) FROM big"), "50000")
        self.assertEqual(self.said(copy), "good,mistake,later")
        copy.stop()

    def test_questions_do_not_keep_wal_from_being_stored_first(self):
        """The server is down, the target lies in WAL that only its directory has, and something is asked of what comes back."""
        server, lb = self.source(self.majors()[0])
        server.configure(archive_command="false").reload()
        self.say(server, "not archived")
        server.moment = server.now()
        self.say(server, "mistake")
        server.kill9()
        done = self.in_place(lb, "--yes", "--sql", "SELECT count(*) = 4 FROM ledger").ok().json
        self.assertTrue(done["rescued"])
        self.assertEqual(self.said(server), "good,mistake,later,not archived")
        # A name that is no database there is told with what to do now, because the directory is replaced already.
        server.psql("CREATE DATABASE late")
        server.moment = server.now()
        self.say(server, "more")
        server.stop()
        refused = self.in_place(lb, "--yes", "--sql", "SELECT true", "--sql-database", "laet")
        self.assertFails(refused, CHECK_FAILED, "laet", "pg_promote")

    def test_what_came_back_is_looked_at_before_it_is_promoted(self):
        """As a drill looks at its copy: assertions, programs, amcheck. Each of them can say no."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                lb = self.lifeboat(server)
                lb("init", "--yes", live=True).ok()
                server.archive_with(lb.archive_command())
                server.psql("CREATE EXTENSION amcheck; CREATE TABLE ledger (n int PRIMARY KEY, what text);"
                            "INSERT INTO ledger SELECT g, 'good' FROM generate_series(1, 1000) g; CREATE TABLE locked (n int)")
                lb("backup", live=True).ok()
                server.moment = server.now()
                # At that moment the index lacks a row, from there on it does so silently.
                system = ("BEGIN; SET LOCAL allow_system_table_mods = on; UPDATE pg_index SET indisready = %s, indisvalid = %s"
                          " WHERE indexrelid = 'ledger_pkey'::regclass; COMMIT")
                server.psql(system % ("false", "false"))
                server.psql("INSERT INTO ledger VALUES (5000, 'not indexed')")
                server.psql(system % ("true", "true"))
                server.psql("INSERT INTO ledger VALUES (6000, 'more')")
                wrong = server.now()
                server.psql("BEGIN; DROP TABLE locked; INSERT INTO ledger VALUES (6001, 'mistake'); COMMIT")
                server.wait_archived()
                program = new_directory("checks", mode=0o755) / "count"
                program.write_text(f"#!/bin/sh\n[ $({tool('psql', major)} -XAtc 'select count(*) from ledger') = 1000 ]\n")
                program.chmod(0o755)
                config = program.parent / "lifeboat.toml"
                config.write_text(f'[cluster.main.drill]\ncounted = ["{program}"]\n')
                config.chmod(0o644)

                def beside(port, *options):
                    to, sockets = new_directory("copy") / "data", new_directory("k")
                    done = self.rollback(lb, "--to", to, "--port", port, "--socket-dir", sockets, *options)
                    copy = Cluster.attach(to, major)
                    copy.place, copy.port = sockets, port
                    return done, copy
                good = "SELECT count(*) = 1000 FROM ledger"
                done, copy = beside(6200, "--config", config, "--sql", good)
                checks = {check["id"]: check for check in done.ok().json["checks"]}
                for name in ("amcheck", "extensions", "assertion", "counted"):
                    self.assertEqual(checks[name]["result"], "passed", checks[name])
                self.assertGreater(done.json["phases"]["validate"], 0)
                copy.stop()
                done, copy = beside(6201, "--sql", "SELECT count(*) = 7 FROM ledger")
                self.assertFails(done, CHECK_FAILED, "count(*) = 7", "not promoted")
                self.assertEqual(copy.value("SELECT pg_is_in_recovery()"), "t")
                copy.promote()
                copy.stop()
                # A paused recovery holds what the transaction has locked that it stopped before.
                server.moment = wrong
                done, copy = beside(6204, "--sql", "SELECT count(*) = 0 FROM locked")
                self.assertFails(done, CHECK_FAILED, "lock timeout", "until the server is promoted")
                copy.stop()
                done, copy = beside(6202, "--config", config)
                self.assertFails(done, CHECK_FAILED, "ledger_pkey", "counted")
                self.assertEqual(copy.value("SELECT pg_is_in_recovery()"), "t")
                copy.stop()
                done, copy = beside(6203, "--config", config, "--no-checks")
                self.assertEqual(done.ok().json["checks"], [])
                self.assertEqual(copy.value("SELECT pg_is_in_recovery()"), "f")
                copy.stop()

    def test_given_again_the_state_before_is_what_was_there_at_first(self):
        """And not the copy of the call that failed, which was never promoted."""
        server, lb = self.source(15)
        failed = self.in_place(lb, "--stop", "--preserve", "--yes", "--sql", "SELECT false")
        self.assertFails(failed, CHECK_FAILED, "SELECT pg_promote()", f"-D {server.data} -m fast stop && mv")
        done = self.in_place(lb, "--stop", "--preserve", "--yes").ok()
        self.assertIn("which was not promoted; the state before is", done.err)
        self.assertEqual(self.said(server), "good")
        self.assertIn("external_pid_file=", done.json["preserved_command"])
        self.paste(done.json["preserved_command"])
        before = Cluster.attach(done.json["preserved"], 15)
        before.place, before.port = server.place, server.port + 1
        self.assertEqual(self.said(before), "good,mistake,later")
        before.stop()

    def test_a_directory_without_a_cluster_is_a_mistyped_one(self):
        server, lb = self.source(15)
        typo = new_directory("typo")
        self.assertFails(self.rollback(lb, "--pgdata", typo, "--yes"), PRECONDITION, "holds no cluster", "--to")
        self.assertEqual([], list(typo.iterdir()))
        self.assertEqual(self.said(server), "good,mistake,later")

    def test_a_server_that_is_started_meanwhile_keeps_its_directory(self):
        server, lb = self.source(15)
        server.stop()
        library = scratch() / "slow.so"
        run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE / "tests/support/slow.c"])
        library.chmod(0o755)
        words = ["rollback", "--target-time", server.moment, "--pg-bin", server.bin, "--pgdata", server.data, "--port",
                 server.port, "--socket-dir", server.place, "--yes"]
        command = Background(lb.argv(*words), env={"LD_PRELOAD": library, "SLOW_PATH": ".data", "SLOW_MS": "40"})
        wait_until(lambda: list(server.data.parent.glob("*.new-*")) or not command.running, "the copy", interval=0.01)
        server.start()
        self.assertFails(command.wait(120, check=False), PRECONDITION, "a server is running there", "nothing was moved")
        self.assertEqual(self.said(server), "good,mistake,later")

    def test_what_fails_after_the_stop_says_that_no_server_runs(self):
        for options, says in (([], "its directory is as it was"), (["--delta"], "the same command goes on")):
            with self.subTest(options=options):
                server, lb = self.source(15)
                server.psql("UPDATE big SET n = n + 1; CHECKPOINT")
                words = lb.argv("rollback", "--target-time", server.moment, "--pg-bin", server.bin, "--pgdata", server.data,
                                "--port", server.port, "--socket-dir", server.place, "--stop", "--yes", *options)
                # No file may be as large as what is copied.
                failed = run(["bash", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "-", *words], check=False)
                self.assertEqual(failed.code, SPACE)
                error = failed.json["error"]
                self.assertIn("ulimit -f", error["hint"])
                self.assertIn("the server was stopped", error["hint"])
                self.assertIn(says, error["hint"])
                self.assertFalse(server.running)
                if not options:
                    server.start()
                    self.assertEqual(self.said(server), "good,mistake,later")
                self.in_place(lb, "--stop", "--yes", *options).ok()
                self.assertEqual(self.said(server), "good")

    def test_what_cannot_be_reached_stops_nothing(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                refused = lb("rollback", "--target-time", "2001-01-01 00:00:00+00", "--pgdata", server.data, "--stop", "--yes")
                self.assertFails(refused, UNREACHABLE)
                self.assertFails(lb("rollback", "--pgdata", server.data, "--yes"), USAGE, "--target-time")
                self.assertFails(self.in_place(lb, "--delta", "--preserve", "--yes"), USAGE)
                self.assertEqual(self.said(server), "good,mistake,later")
                server.stop()
                before = tree(server.data)
                self.assertFails(lb("rollback", "--target-time", "2001-01-01 00:00:00+00", "--pgdata", server.data, "--yes"),
                                 UNREACHABLE)
                self.assertEqual(tree(server.data), before)


if __name__ == "__main__":
    main()
