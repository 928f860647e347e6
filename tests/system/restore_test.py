"""Restores of real servers: what comes back is what was there (R2 to R6), and what could go wrong is refused in one
line before anything is touched."""

import os
import re
import shlex
import shutil
import subprocess

import harness
from harness import (Cluster, SystemTest, amcheck, checksums, dump_compare, flip_bit, give, main, new_directory, run, tmpfs,
                     tree, verify_backup)

# Exit codes of docs/errors.md.
USAGE, NOT_FOUND, SPACE, DAMAGED, FOREIGN = 2, 4, 7, 10, 12
UNREACHABLE, PRECONDITION, NOT_CONFIRMED = 13, 14, 21


class RestoreCase(SystemTest):
    """A server with archiving, a registered repository and some data."""

    def source(self, major, options=(), **how):
        server = self.cluster(major=major, **how)
        lb = self.lifeboat(server, options=options)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE ledger (n int PRIMARY KEY, what text, at timestamptz DEFAULT clock_timestamp());"
                    "INSERT INTO ledger SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 20000) g;"
                    "CREATE INDEX ON ledger (what); CREATE UNLOGGED TABLE scratch AS SELECT 1 AS n;"
                    "CREATE DATABASE second")
        server.psql("CREATE TABLE other AS SELECT g AS n FROM generate_series(1, 1000) g", "second")
        return server, lb

    def backup(self, lb):
        return lb("backup", live=True).ok().json["backup"]

    def restore(self, lb, *options, **how):
        if "--pg-bin" not in options:
            options += ("--pg-bin", lb.server.bin)
        return lb("restore", *options, **how)

    def target_directory(self, name="restored"):
        return new_directory(name) / "data"

    def say(self, server, what):
        server.psql(f"INSERT INTO ledger (n, what) SELECT coalesce(max(n), 0) + 1, '{what}' FROM ledger")

    def said(self, server):
        return server.value("SELECT string_agg(what, ',' ORDER BY n) FROM ledger WHERE length(what) < 100")

    def follow(self, command):
        """Carries out the next command that a restore printed, as the user who would read it."""
        words = shlex.split(command)
        if words[0] == "runuser":
            words = words[words.index("--") + 1:]
        return run(words)


class RoundTrip(RestoreCase):
    def test_restored_copy_is_whole_and_archives_nothing(self):
        """T04, T33, T34, R5."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                backup = self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                to = self.target_directory()
                before = lb.objects()
                plan = self.restore(lb, "--to", to, "--dry-run").ok().json
                self.assertTrue(plan["dry_run"])
                self.assertEqual(plan["plan"]["backup"], backup)
                self.assertFalse(to.exists(), "a dry run makes nothing")
                self.assertEqual(lb.objects(), before)
                done = self.restore(lb, "--to", to).ok().json
                self.assertGreater(done["files"], 900)
                self.assertEqual(done["plan"]["stop_lsn"], plan["plan"]["stop_lsn"])
                self.assertIn("pg_ctl", done["next_command"])
                verify_backup(to, major)
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.assertEqual(self.said(copy), "after")
                # The content of unlogged tables is not kept by anybody.
                self.assertEqual(copy.value("SELECT count(*) FROM scratch"), "0")
                server.psql("TRUNCATE scratch")
                dump_compare(server, copy)
                amcheck(copy)
                self.assertEqual(copy.value("SHOW archive_mode"), "off")
                copy.switch_wal()
                copy.checkpoint().stop()
                self.assertEqual([name for name in lb.objects() if "/wal/00000002/" in name], [])
                checksums(copy)

    def test_small_segments_group_access_no_checksums_and_encryption(self):
        for major in self.majors():
            with self.subTest(major=major):
                key = new_directory("key") / "key"
                server, lb = self.source(major, options=["--key-file", key], wal_segsize=1, group_access=True,
                                         checksums=False)
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                to = self.target_directory()
                self.restore(lb, "--to", to).ok()
                verify_backup(to, major)
                self.assertEqual(os.stat(to).st_mode & 0o777, 0o750)
                self.assertEqual(os.stat(to / "PG_VERSION").st_mode & 0o777, 0o640)
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.assertEqual(self.said(copy), "after")

    def test_read_only_repository_is_enough(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                server.stop()
                copy_of_repo = new_directory("ro-") / "repo"
                shutil.copytree(lb.repo_path, copy_of_repo)
                for directory, names, files in os.walk(copy_of_repo):
                    for name in files:
                        os.chmod(os.path.join(directory, name), 0o444)
                    os.chmod(directory, 0o555)
                lb.repo, lb.repo_path = f"file://{copy_of_repo}", copy_of_repo
                before = tree(copy_of_repo)
                to = self.target_directory()
                self.restore(lb, "--to", to).ok()
                self.assertEqual(tree(copy_of_repo), before)
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.assertEqual(self.said(copy), "after")

    def test_tablespaces_go_where_they_are_told_and_never_over_live_ones(self):
        """T11."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                location = server.tablespace("fast")
                server.psql("CREATE TABLE in_fast TABLESPACE fast AS SELECT g AS n FROM generate_series(1, 50000) g;"
                            "CREATE INDEX ON in_fast (n) TABLESPACE fast; DROP TABLE scratch")
                if major >= 15:
                    server.tablespace("inside", in_place=True)
                    server.psql("CREATE TABLE in_inside TABLESPACE inside AS SELECT g AS n FROM generate_series(1, 500) g")
                self.backup(lb)
                server.psql("INSERT INTO in_fast SELECT 1 FROM generate_series(1, 777)")
                server.wait_archived()
                to = self.target_directory()
                live = tree(location)
                refused = self.restore(lb, "--to", to)
                self.assertFails(refused, PRECONDITION, "fast", f"--tablespace {location}=")
                self.assertFalse(to.exists())
                self.assertFails(self.restore(lb, "--to", to, "--tablespace", f"/nowhere={to}_x"), USAGE, str(location))
                self.assertFails(self.restore(lb, "--to", to, "--tablespace", f"{location}={to}/x"), USAGE, "lies in")
                elsewhere = new_directory("elsewhere") / "fast"
                self.restore(lb, "--to", to, "--tablespace", f"{location}={elsewhere}").ok()
                self.assertEqual(tree(location), live)
                verify_backup(to, major)
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.assertEqual(copy.value("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'"),
                                 str(elsewhere))
                dump_compare(server, copy, ["postgres", "second"])
                amcheck(copy)
                # With the original gone its location is free, and nothing needs to be said.
                copy.stop()
                server.stop()
                shutil.rmtree(location)
                again = self.target_directory("again")
                self.restore(lb, "--to", again).ok()
                copy = Cluster.attach(again, major, start=True).wait_recovered()
                self.assertEqual(copy.value("SELECT count(*) FROM in_fast"), "50777")

    def test_configuration_outside_the_data_directory_comes_along(self):
        """T10: Debian's layout, which a copy must not follow back to the original."""
        for major in self.majors():
            with self.subTest(major=major):
                server = self.cluster(major=major, start=False)
                etc = new_directory("etc")
                (etc / "conf.d").mkdir()
                give(etc / "conf.d")
                for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
                    shutil.move(server.data / name, etc / name)
                with open(etc / "postgresql.conf", "a") as file:
                    file.write(f"data_directory = '{server.data}'\nhba_file = '{etc}/pg_hba.conf'\n"
                               f"ident_file = '{etc}/pg_ident.conf'\nexternal_pid_file = '{etc}/15-main.pid'\n"
                               "include_dir = 'conf.d'\ncluster_name = 'from main file'\n")
                (etc / "conf.d" / "more.conf").write_text("work_mem = '7MB'\n")
                for path in etc.rglob("*"):
                    give(path)
                server.overrides = {"config_file": str(etc / "postgresql.conf")}
                server.start()
                lb = self.lifeboat(server)
                lb("init", "--yes", live=True).ok()
                with open(etc / "postgresql.conf", "a") as file:
                    file.write(f"archive_mode = on\narchive_command = '{lb.archive_command()}'\n")
                server.restart()
                server.psql("CREATE TABLE ledger (n int, what text)")
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                to = self.target_directory()
                done = self.restore(lb, "--to", to).ok().json
                self.assertTrue(any("data_directory" in note for note in done["notes"]), done["notes"])
                verify_backup(to, major)
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.assertEqual(copy.value("SHOW data_directory"), str(to))
                self.assertEqual(copy.value("SHOW hba_file"), str(to / "pg_hba.conf"))
                self.assertEqual(copy.value("SHOW work_mem"), "7MB")
                self.assertEqual(copy.value("SHOW cluster_name"), "from main file")
                self.assertEqual(copy.value("SHOW external_pid_file"), "")
                self.assertEqual(self.said(copy), "after")

    def test_leftover_settings_do_not_decide_the_recovery(self):
        """T43: the source was itself restored, has a synchronous standby and stale targets in its files."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                server.psql("ALTER SYSTEM SET recovery_target_name = 'long gone'")
                server.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                server.psql("ALTER SYSTEM SET recovery_end_command = 'touch /tmp/must-not-run; false'")
                server.psql("ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
                self.backup(lb)
                server.wait_archived()
                to = self.target_directory()
                self.restore(lb, "--to", to).ok()
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                copy.psql("INSERT INTO ledger (n, what) VALUES (-1, 'commits do not hang')", timeout=30)


    def test_settings_are_raised_to_what_the_wal_was_written_under(self):
        """T32: the primary was restarted with more connections after the backup."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                server.configure(max_connections=90, max_prepared_transactions=7).restart()
                self.say(server, "after")
                server.wait_archived()
                to = self.target_directory()
                self.restore(lb, "--to", to).ok()
                copy = Cluster.attach(to, major, start=True).wait_recovered(timeout=30)
                self.assertEqual(self.said(copy), "after")
                self.assertEqual(copy.value("SHOW max_connections"), "90")
                self.assertEqual(copy.value("SHOW max_prepared_transactions"), "7")

    def test_started_by_root_it_becomes_the_owner(self):
        if os.geteuid() != 0:
            harness.skip("not started by root")
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                sockets = new_directory("k")
                to = self.target_directory()
                done = self.restore(lb, "--to", to, "--port", "6003", "--socket-dir", sockets, user="root").ok().json
                owner = os.stat(server.data)
                for path in (to, to / "PG_VERSION", to / "postgresql.auto.conf", to / "pg_wal", to / "backup_manifest"):
                    self.assertEqual((os.stat(path).st_uid, os.stat(path).st_gid), (owner.st_uid, owner.st_gid), path)
                # What root reads is what root can type.
                self.assertTrue(done["next_command"].startswith("runuser -u postgres -- "), done["next_command"])
                run(shlex.split(done["next_command"]), user="root")
                copy = Cluster.attach(to, major)
                copy.place, copy.port = sockets, 6003
                self.assertEqual(self.said(copy.wait_recovered()), "after")


class Start(RestoreCase):
    def test_start_watches_promotes_and_prints_what_comes_next(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                self.say(server, "one")
                moment = server.now()
                self.say(server, "two")
                server.wait_archived()
                sockets = new_directory("k")
                for action, phase, said in (("pause", "paused", "one"), ("promote", "ready", "one")):
                    to = self.target_directory(action)
                    done = self.restore(lb, "--to", to, "--target-time", moment, "--action", action, "--start",
                                        "--port", "6001", "--socket-dir", sockets).ok().json
                    copy = Cluster.attach(to, major)
                    copy.place, copy.port = sockets, 6001
                    self.assertTrue(copy.running, "the server keeps running")
                    self.assertEqual(done["recovery"]["phase"], phase)
                    self.assertEqual(self.said(copy), said)
                    if action == "pause":
                        self.assertIn("pg_promote", done["next_command"])
                        self.follow(done["next_command"])
                        copy.wait_recovered()
                    self.assertEqual(copy.value("SHOW archive_mode"), "off")
                    copy.stop()
                to = self.target_directory("latest")
                done = self.restore(lb, "--to", to, "--start", "--port", "6001", "--socket-dir", sockets).ok().json
                copy = Cluster.attach(to, major)
                copy.place, copy.port = sockets, 6001
                self.assertEqual((done["recovery"]["phase"], done["recovery"]["timeline"]), ("ready", 2))
                self.assertEqual(self.said(copy), "one,two")
                # pg_ctl repeats the command line that it finds; what only the watching needed is not on it.
                self.assertTrue([note for note in done["notes"] if "pg_ctl restart" in note], done["notes"])
                run([copy.bin / "pg_ctl", "-D", to, "-w", "-l", to / "startup.log", "restart"])
                self.assertEqual("port unix_socket_directories", copy.value(
                    "SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings WHERE source = 'command line'"
                    " AND name NOT IN ('config_file', 'data_directory')"))
                copy.stop()
                to = self.target_directory("shutdown")
                done = self.restore(lb, "--to", to, "--target-time", moment, "--action", "shutdown", "--start",
                                    "--port", "6001", "--socket-dir", sockets).ok().json
                self.assertEqual(done["recovery"]["phase"], "ended")
                self.assertFalse(Cluster.attach(to, major).running)

    def test_printed_command_alone_reaches_the_target(self):
        """No PATH, HOME, daemon or configuration file is assumed."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                server.stop()
                sockets = new_directory("k")
                to = self.target_directory()
                text = self.restore(lb, "--to", to, "--port", "6002", "--socket-dir", sockets, json=False).ok().out
                last = text.rstrip("\n").split("\n")[-1]
                self.assertIn("pg_ctl", last)
                self.follow(last)
                copy = Cluster.attach(to, major)
                copy.place, copy.port = sockets, 6002
                copy.wait_recovered()
                self.assertEqual(self.said(copy), "after")

    def test_missing_wal_is_noticed_before_and_an_outage_never_promotes(self):
        """R4, T29."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                for number in range(4):
                    self.say(server, f"n{number}")
                    server.wait_archived()
                to = self.target_directory()
                self.restore(lb, "--to", to).ok()
                # The repository goes away between restore and start.
                hidden = lb.repo_path.with_name("hidden")
                os.rename(lb.repo_path, hidden)
                copy = Cluster.attach(to, major)
                with self.assertRaises(AssertionError):
                    copy.start(timeout=20)
                self.assertFalse(copy.running)
                self.assertNotIn("new timeline", copy.log_text())
                os.rename(hidden, lb.repo_path)
                copy.start().wait_recovered()
                self.assertEqual(self.said(copy), "n0,n1,n2,n3")
                # A hole: everything past it counts as gone, and saying nothing about it would be a lie.
                segments = sorted(name for name in lb.objects() if re.search(r"/wal/\w+/\w+/[0-9A-F]{24}-", name))
                (lb.repo_path / segments[-2]).unlink()
                refused = self.restore(lb, "--to", self.target_directory("hole"))
                self.assertFails(refused, UNREACHABLE, "missing")


class Replace(RestoreCase):
    def lost_server(self, major, **how):
        """A server that died with transactions that nobody archived."""
        server, lb = self.source(major, **how)
        self.backup(lb)
        self.say(server, "archived")
        server.wait_archived()
        server.psql("ALTER SYSTEM SET archive_command = 'false'")
        server.reload()
        self.say(server, "in a whole segment")
        server.switch_wal()
        self.say(server, "in the last segment")
        server.kill9()
        return server, lb

    def test_replace_rescues_wal_and_loses_nothing(self):
        """R3: whole segments and the unfinished last one."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.lost_server(major)
                old = tree(server.data)
                refused = self.restore(lb, "--replace", "--pgdata", server.data)
                self.assertFails(refused, NOT_CONFIRMED, "--yes")
                self.assertEqual(tree(server.data), old)
                plan = self.restore(lb, "--replace", "--pgdata", server.data, "--dry-run").ok().json["plan"]
                self.assertEqual(len(plan["rescue"]), 2, plan["rescue"])
                self.assertTrue(plan["rescue"][-1].endswith(".partial"))
                done = self.restore(lb, "--replace", "--pgdata", server.data, "--yes").ok().json
                self.assertEqual(done["rescued"], plan["rescue"])
                [kept] = done["kept"]
                # Nothing of the old one was touched.
                self.assertEqual(tree(kept), old)
                verify_backup(server.data, major)
                server.start().wait_recovered()
                self.assertEqual(self.said(server), "archived,in a whole segment,in the last segment")
                self.assertEqual(server.value("SHOW archive_mode"), "on")
                server.psql("ALTER SYSTEM RESET archive_command")
                server.reload()
                server.wait_archived()
                self.assertTrue([name for name in lb.objects() if "00000002.history" in name])
                amcheck(server)
                # What is kept is a whole cluster: going back is a rename.
                server.stop()
                os.rename(server.data, f"{server.data}.new")
                os.rename(kept, server.data)
                server.overrides = {"archive_mode": "off"}
                server.start()
                self.assertEqual(self.said(server), "archived,in a whole segment,in the last segment")

    def test_target_that_only_the_unfinished_segment_holds(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                server.wait_archived()
                server.psql("ALTER SYSTEM SET archive_command = 'false'")
                server.reload()
                self.say(server, "wanted")
                moment = server.now()
                self.say(server, "mistake")
                self.say(server, "later")
                server.kill9()
                done = self.restore(lb, "--replace", "--pgdata", server.data, "--yes", "--target-time", moment,
                                    "--start", "--port", server.port, "--socket-dir", server.place).ok().json
                self.assertEqual(done["recovery"]["phase"], "paused")
                self.assertEqual(self.said(server), "wanted")
                server.promote()
                server.stop()

    def test_tablespaces_and_mount_points_keep_what_was_there(self):
        for major in self.majors():
            with self.subTest(major=major):
                mounted = tmpfs(700)
                server = Cluster(major, directory=mounted)
                lb = self.lifeboat(server)
                lb("init", "--yes", live=True).ok()
                server.archive_with(lb.archive_command())
                location = server.tablespace("fast")
                server.psql("CREATE TABLE ledger (n int, what text) TABLESPACE fast")
                self.say(server, "before")
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                server.stop()
                done = self.restore(lb, "--replace", "--pgdata", server.data, "--yes").ok().json
                self.assertEqual(len(done["kept"]), 2)
                self.assertTrue(all(os.path.dirname(kept) in (str(mounted), str(location)) for kept in done["kept"]))
                [oid] = os.listdir(server.data / "pg_tblspc")
                aside = os.path.basename(done["kept"][0])
                verify_backup(server.data, major, "-i", aside, "-i", f"pg_tblspc/{oid}/{aside}")
                server.start().wait_recovered()
                self.assertEqual(self.said(server), "before,after")
                server.stop()
                # The kept directory has its own tablespace still.
                old = Cluster.attach(done["kept"][0], major, conf={"archive_mode": "off"}, start=True)
                self.assertEqual(self.said(old), "before,after")
                self.assertEqual(old.value("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'"),
                                 done["kept"][1])

    def test_wreck_without_control_file_is_replaced(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.lost_server(major)
                os.unlink(server.data / "global" / "pg_control")
                shutil.rmtree(server.data / "base")
                self.restore(lb, "--replace", "--pgdata", server.data, "--yes").ok()
                server.start().wait_recovered()
                self.assertEqual(self.said(server), "archived,in a whole segment,in the last segment")

    def test_what_must_not_be_replaced(self):
        """T35, T26; Patroni."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                server.wait_archived()
                self.assertFails(self.restore(lb, "--replace", "--pgdata", server.data, "--yes"), PRECONDITION,
                                 "running", str(server.pid))
                self.assertFails(self.restore(lb, "--to", server.data), PRECONDITION, "running")
                stranger = self.cluster(major=major, start=False)
                strange = tree(stranger.data)
                self.assertFails(self.restore(lb, "--replace", "--pgdata", stranger.data, "--yes"), FOREIGN)
                self.assertEqual(tree(stranger.data), strange)
                photos = new_directory("photos")
                (photos / "cat.jpg").write_text("meow")
                self.assertFails(self.restore(lb, "--replace", "--pgdata", photos, "--yes"), PRECONDITION, "cat.jpg")
                self.assertEqual(os.listdir(photos), ["cat.jpg"])
                server.stop()
                (server.data / "patroni.dynamic.json").write_text("{}")
                self.assertFails(self.restore(lb, "--replace", "--pgdata", server.data, "--yes"), PRECONDITION, "Patroni",
                                 "patronictl")


class Refusals(RestoreCase):
    """Every bad input: one clear line, the documented exit code, nothing touched."""

    def test_bad_inputs(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                early = server.now()
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                objects = lb.objects()
                to = self.target_directory()

                def refused(code, *phrases, options=(), where=("--to", to)):
                    result = self.restore(lb, *where, *options, json=False)
                    self.assertFails(result, code, *phrases)
                    errors = [line for line in result.err.split("\n") if line.startswith("lifeboat: error: ")]
                    self.assertEqual(len(errors), 1, result.err)
                    self.assertFalse(to.exists())
                    self.assertEqual(lb.objects(), objects)

                refused(USAGE, "--to", where=())
                refused(USAGE, "--pgdata", where=("--replace",))
                refused(USAGE, "zone", options=("--target-time", "2026-11-20 10:56:25"))
                refused(USAGE, "target-lsn", options=("--target-lsn", "nonsense"))
                refused(UNREACHABLE, "oldest backup", options=("--target-time", early))
                refused(UNREACHABLE, "oldest backup", options=("--target-lsn", "0/100"))
                refused(UNREACHABLE, "latest reachable", options=("--target-time", "2099-01-01 00:00:00+00"))
                refused(UNREACHABLE, "latest reachable", options=("--target-lsn", "FF/0"))
                refused(UNREACHABLE, "restore point", options=("--target-name", "nobody made this"))
                refused(UNREACHABLE, options=("--target-xid", "4000000000"))
                refused(UNREACHABLE, "timeline 7", options=("--timeline", "7"))
                refused(NOT_FOUND, options=("--backup", "20200101T000000Z-abcdef"))
                full = new_directory("full")
                (full / "something").write_text("x")
                refused(PRECONDITION, "not empty", "something", where=("--to", full))
                self.assertEqual(os.listdir(full), ["something"])
                refused(PRECONDITION, "a data directory of PostgreSQL", where=("--to", server.data / "base/copy"))
                refused(PRECONDITION, "a repository", where=("--to", lb.repo_path / "clusters/copy"))
                plain_file = new_directory("file") / "file"
                plain_file.write_text("x")
                refused(PRECONDITION, "not a directory", where=("--to", plain_file))
                refused(NOT_FOUND, options=("--pg-bin", "/nonexistent"))

    def test_full_disk_is_seen_before_and_survived_during(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                server.wait_archived()
                small = tmpfs(20)
                refused = self.restore(lb, "--to", small)
                self.assertFails(refused, SPACE, str(small), "free")
                self.assertEqual(os.listdir(small), [])
                # It gets full while the restore writes: the file system shrinks after the preflight.
                middle = tmpfs(250)
                job = lb.background("restore", "--pg-bin", server.bin, "--to", middle / "data", "--jobs", "1")
                harness.wait_until(lambda: (middle / "data" / "lifeboat.restore_incomplete").exists() or not job.running,
                                   "the beginning of the copy", interval=0.001)
                shrunk = subprocess.run(["mount", "-o", "remount,size=25m", middle], check=False)
                result = job.wait(check=False)
                if shrunk.returncode != 0:
                    harness.skip("the file system could not be shrunk in time")
                self.assertFails(result, SPACE, "unfinished", str(middle / "data"))
                self.assertFalse((middle / "data" / "global" / "pg_control").exists())
                with self.assertRaises(AssertionError):
                    Cluster.attach(middle / "data", major).start(timeout=10)
                subprocess.run(["mount", "-o", "remount,size=250m", middle], check=True)
                self.restore(lb, "--to", middle / "data").ok()
                verify_backup(middle / "data", major)

    def test_damage_is_found_and_never_restored(self):
        """T36 and every byte checked: flipped bits in packs, manifest and card."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                server.wait_archived()
                server.stop()
                chance = harness.rng("restore damage")
                names = [name for name in lb.objects() if re.search(r"/(packs|manifests|cards)/", name)]
                for round_number in range(12):
                    name = chance.choice(names) if round_number >= 3 else next(
                        n for n in names if n.endswith((".data", ".nodes", "manifests/" + n.split("/")[-1])[round_number]))
                    path = lb.repo_path / name
                    content = path.read_bytes()
                    offset = chance.randrange(len(content))
                    if name.endswith((".data", ".nodes")):
                        # The footer is not read by restores; verify reads it.
                        footer = int.from_bytes(content[-8:-4], "little") + 4 + 8
                        offset = chance.randrange(len(content) - footer)
                        if 16 <= offset < 64 and not lb.options:
                            offset = 64
                    flip_bit(path, offset, chance.randrange(8))
                    to = self.target_directory("damaged")
                    result = self.restore(lb, "--to", to)
                    self.assertNotEqual(result.code, 0, f"{name} at {offset}")
                    self.assertFalse((to / "global" / "pg_control").exists(), f"{name} at {offset}")
                    path.write_bytes(content)
                    shutil.rmtree(to, ignore_errors=True)
                self.restore(lb, "--to", self.target_directory("good")).ok()

    def test_damage_that_nobody_knew_of_names_a_backup_that_is_left(self):
        server, lb = self.source(self.majors()[0])
        older = self.backup(lb)
        before = set(lb.objects())
        self.say(server, "between")
        lb("backup", "--type", "full", live=True).ok()
        self.say(server, "after")
        server.wait_archived()
        server.stop()
        data = [name for name in set(lb.objects()) - before if name.endswith(".data")]
        self.assertTrue(data, "a full backup has data of its own")
        for name in data:
            flip_bit(lb.repo_path / name, 100)
        to = self.target_directory("copy")
        self.assertFails(self.restore(lb, "--to", to), DAMAGED, f"another backup may lead there: --backup {older}")
        # The same command with it, over what the failed one has left, and through the WAL of both.
        self.restore(lb, "--to", to, "--backup", older).ok()
        copy = Cluster.attach(to, server.major, start=True).wait_recovered()
        self.assertEqual(self.said(copy), "between,after")
        copy.stop()


class Crash(RestoreCase):
    def test_killed_restore_cannot_start_and_starts_over(self):
        """T04: at every durable step."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                location = server.tablespace("fast")
                server.psql("CREATE TABLE in_fast TABLESPACE fast AS SELECT 1 AS n")
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                server.stop()
                counts = new_directory("counts") / "points"
                elsewhere = new_directory("ts") / "fast"
                options = ["--tablespace", f"{location}={elsewhere}"]
                to = self.target_directory()
                self.restore(lb, "--to", to, *options, env={"LIFEBOAT_FAULT_COUNT": counts}).ok()
                points = int(counts.read_text().split()[-1])
                self.assertGreaterEqual(points, 7)
                print(f"restore passes {points} crash points", flush=True)
                shutil.rmtree(to)
                shutil.rmtree(elsewhere)
                started_over = 0
                for point in range(1, points + 1):
                    killed = self.restore(lb, "--to", to, *options, env={"LIFEBOAT_FAULT": str(point)})
                    if killed.code == 0 and point > points - 4:
                        # A directory that was there already takes fewer steps: this one was finished.
                        shutil.rmtree(to)
                        shutil.rmtree(elsewhere)
                        break
                    self.assertEqual(killed.code, -9, f"point {point}: {killed.err}")
                    if (to / "global" / "pg_control").exists():
                        # Complete but for its marker: it starts, and it is not overwritten.
                        self.assertFails(self.restore(lb, "--to", to, *options), PRECONDITION)
                        Cluster.attach(to, major, start=True).wait_recovered().stop()
                        shutil.rmtree(to)
                        shutil.rmtree(elsewhere)
                        continue
                    if to.exists():
                        if started_over in (0, 5):
                            with self.assertRaises(AssertionError):
                                Cluster.attach(to, major).start(timeout=10)
                        started_over += 1
                self.assertGreater(started_over, 2)
                self.restore(lb, "--to", to, *options).ok()
                verify_backup(to, major)
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.assertEqual(self.said(copy), "after")
                self.assertFalse((to / "lifeboat.restore_incomplete").exists())

    def test_replace_killed_anywhere_leaves_one_whole_cluster(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                self.say(server, "after")
                server.wait_archived()
                server.stop()
                spare = new_directory("spare") / "data"
                shutil.copytree(server.data, spare, symlinks=True)
                run(["chown", "-R", "--reference", server.data, spare.parent], user="root") if os.geteuid() == 0 else None
                counts = new_directory("counts") / "points"
                self.restore(lb, "--replace", "--pgdata", spare, "--yes", env={"LIFEBOAT_FAULT_COUNT": counts}).ok()
                points = int(counts.read_text().split()[-1])
                for point in range(1, points + 1):
                    for name in os.listdir(spare.parent):
                        shutil.rmtree(spare.parent / name)
                    subprocess.run(["cp", "-a", server.data, spare], check=True)
                    killed = self.restore(lb, "--replace", "--pgdata", spare, "--yes", env={"LIFEBOAT_FAULT": str(point)})
                    if killed.code == 0 and point > points // 2:
                        break  # what was rescued once is not rescued again
                    self.assertEqual(killed.code, -9, f"point {point}: {killed.err}")
                    whole = [spare.parent / name for name in os.listdir(spare.parent)
                             if (spare.parent / name / "global" / "pg_control").exists()]
                    self.assertTrue(any(not (path / "backup_manifest").exists() for path in whole), f"point {point}")


if __name__ == "__main__":
    main()
