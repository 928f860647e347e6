#!/usr/bin/env python3
"""Backups of a server that is reached through connections only: TLS over TCP, and a role with exactly the grants that
`init --print-grants` prints. What comes back is the live server, and what is not allowed fails in one line."""

import os
import re
import time

import tls
from harness import (Cluster, SystemTest, amcheck, checksums, dump_compare, give, main, new_directory, run, tool,
                     verify_backup, wait_until)

USAGE, PERMISSION, UNAVAILABLE = 2, 6, 8
ROLE = "remote one"
STRANGER = "nobody"  # of the operating system: may read nothing of the server's

CHURN = """\\set n random(1, 1000000)
INSERT INTO grows SELECT g, repeat('g', 500) FROM generate_series(1, 50) g;
BEGIN; INSERT INTO emptied SELECT g, repeat('e', 500) FROM generate_series(1, 50) g; COMMIT;
TRUNCATE emptied;
CREATE TABLE gone_:n AS SELECT g, repeat('v', 900) AS t FROM generate_series(1, 300) g;
DROP TABLE gone_:n;
DELETE FROM shrinks; VACUUM shrinks; INSERT INTO shrinks SELECT g, repeat('s', 500) FROM generate_series(1, 300) g;
"""


class RemoteCase(SystemTest):
    def source(self, major, *, archive=True, grants=True, **options):
        """A server with TLS, a role made by the printed SQL, and a lifeboat that knows nothing but the connection."""
        server = self.cluster(major, **options)
        tls.serve(server)
        lb = self.lifeboat(server)
        sql = lb("init", "--print-grants", "--pg", server.conninfo(), "--role", ROLE, json=False).ok().out
        self.assertNotIn("SUPERUSER", sql)
        self.assertNotRegex(sql, r"(?m)^GRANT .*pg_(read_server_files|write|execute)")
        server.psql(f"CREATE ROLE \"{ROLE}\" LOGIN PASSWORD 'x'")
        if grants:
            server.psql(sql)
        self.pg = tls.conninfo(server, ROLE, "x")
        if archive:
            lb("init", "--yes", "--pg", server.conninfo()).ok()
            server.archive_with(lb.archive_command())
        return server, lb

    def backup(self, lb, *options, remote=True):
        made = lb("backup", "--pg", self.pg, *(["--remote"] if remote else []), *options).ok().json
        self.assertEqual((made["remote"], made["state"], made["broken_pages"]), (True, "complete", 0), made)
        return made

    def assertNothingListed(self, lb):
        [lineage] = lb("list").ok().json["lineages"]
        self.assertEqual([b["id"] for b in lineage["backups"]], [])

    def assertIsTheServer(self, server, lb, made, *options):
        to = new_directory("copy") / "data"
        lb("restore", "--to", to, "--backup", made["backup"], "--pg-bin", server.bin, *options).ok()
        verify_backup(to, server.major)
        copy = Cluster.attach(to, server.major, start=True, conf={"archive_mode": "off", "ssl": "off"}).wait_recovered()
        dump_compare(server, copy, options=["--no-unlogged-table-data"])
        amcheck(copy)
        copy.stop()
        checksums(copy)
        return copy


class RoundTrip(RemoteCase):
    def test_full_and_incremental_under_load(self):  # T06, T07, T08, T09
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                location = server.tablespace("side")
                if major >= 15:
                    server.tablespace("inside", in_place=True)
                    server.psql("CREATE TABLE within TABLESPACE inside AS SELECT generate_series(1, 3000) AS i")
                server.pgbench("-i", "-q", "-s", "3")
                server.psql("CREATE TABLE grows (i int, t text); CREATE TABLE shrinks (i int, t text); CREATE TABLE emptied (i int, t text);"
                            "CREATE UNLOGGED TABLE unlogged AS SELECT g FROM generate_series(1, 5000) g; CREATE TABLE empty (i int);"
                            "CREATE TABLE there TABLESPACE side AS SELECT g, repeat('x', 200) FROM generate_series(1, 5000) g;"
                            "CREATE DATABASE other; CHECKPOINT")
                temporary = server.session()
                temporary.execute("CREATE TEMPORARY TABLE tmp AS SELECT g FROM generate_series(1, 9000) g")
                script = new_directory("sql") / "churn.sql"
                script.write_text(CHURN)
                loads = [server.pgbench("-n", "-c", "2", "-T", "600", background=True),
                         server.pgbench("-n", "-c", "1", "-T", "600", "-f", script, background=True)]
                wait_until(lambda: server.value("SELECT count(*) > 100 FROM pgbench_history") == "t", "load")
                full = self.backup(lb, "--rate", "25MB")
                self.assertEqual(full["type"], "full")
                first = self.backup(lb)
                self.assertEqual((first["type"], first["reason"], first["reference"]), ("incr", "", full["backup"]))
                second = self.backup(lb, "--prove")
                self.assertEqual((second["type"], second["reason"]), ("incr", ""))
                for load in loads:
                    self.assertTrue(load.running, load.result().err)
                    load.stop()
                server.wait_archived()
                for made in (full, second):
                    copy = self.assertIsTheServer(server, lb, made, "--tablespace", f"{location}={new_directory('ts') / 'moved'}")
                    self.assertEqual([p.name for p in copy.data.glob("base/*/t*_*") if re.fullmatch(r"t\d+_\d+.*", p.name)], [])
                lb("verify").ok()

    def test_from_a_host_that_has_nothing_of_the_server(self):
        """Another account, no archive: all that is read and all WAL comes through the connection."""
        server, lb = self.source(15, archive=False, conf={"wal_keep_size": "512MB"})
        run(["true"], user=STRANGER)
        give(lb.repo_path, STRANGER)
        give(tls.pass_file(server), STRANGER)
        server.psql("CREATE TABLE t AS SELECT g, repeat('x', 100) AS a FROM generate_series(1, 50000) g; CREATE INDEX ON t (g)")
        lb("init", "--yes", "--pg", self.pg, user=STRANGER).ok()
        made = lb("backup", "--pg", self.pg, user=STRANGER).ok()
        full = made.json
        self.assertTrue(full["remote"])
        self.assertIn("through connections", full["source"])
        self.assertEqual(full["wal_segments_stored_here"], full["wal_segments"])
        server.psql("UPDATE t SET a = 'y' WHERE g % 500 = 0")
        incr = lb("backup", "--pg", self.pg, user=STRANGER).ok().json
        self.assertEqual((incr["type"], incr["reason"]), ("incr", ""))
        self.assertLess(incr["read_bytes"], full["read_bytes"] // 2)
        to = new_directory("copy") / "data"
        give(to.parent, STRANGER)
        lb("restore", "--to", to, "--backup", incr["backup"], "--target", "immediate", "--pg-bin", server.bin, user=STRANGER).ok()
        # The same files belong to the account that runs servers here.
        for directory, names, files in os.walk(to.parent):
            for name in [".", *names, *files]:
                give(os.path.join(directory, name))
        for directory, _, files in os.walk(lb.repo_path):
            os.chmod(directory, 0o755)
            for name in files:
                os.chmod(os.path.join(directory, name), 0o644)
        verify_backup(to, 15)
        copy = Cluster.attach(to, 15, start=True, conf={"archive_mode": "off", "ssl": "off"})
        copy.psql("SELECT pg_wal_replay_resume()", check=False)
        copy.wait_recovered()
        dump_compare(server, copy)
        amcheck(copy)


class Choice(RemoteCase):
    def test_here_or_through_the_connection(self):
        server, lb = self.source(15)
        here = lb("backup", "--pg", server.conninfo(), json=False).ok()
        self.assertRegex(here.out, rf"(?m)^source +{server.data}$")
        self.assertFails(lb("backup", "--pg", server.conninfo(), "--remote", "--pgdata", server.data), USAGE, "--remote")
        # The directory is on this host and its server works in it, however that is reached.
        self.assertFalse(lb("backup", "--pg", self.pg).ok().json["remote"])
        through = lb("backup", "--pg", self.pg, "--remote", json=False).ok()
        self.assertRegex(through.out, r"(?m)^source +host localhost.*through connections$")
        self.assertEqual(through.err.count("through connections"), 1, through.err)

    def test_configuration_outside_takes_a_grant_of_its_own(self):  # T10
        server, lb = self.source(15)
        outside = new_directory("etc")
        (outside / "pg_hba.conf").write_text((server.data / "pg_hba.conf").read_text())
        (outside / "more.conf").write_text("work_mem = '7MB'\n")
        for name in ("pg_hba.conf", "more.conf"):
            give(outside / name)
        server.configure(hba_file=outside / "pg_hba.conf")
        with open(server.data / "postgresql.conf", "a") as conf:
            conf.write(f"include '{outside}/more.conf'\n")
        server.restart()
        made = self.backup(lb)
        [warning] = made["warnings"]
        for text in (f"{outside}/pg_hba.conf", f"{outside}/more.conf", "GRANT pg_read_server_files"):
            self.assertIn(text, warning)
        server.psql('GRANT pg_read_server_files TO "%s"' % ROLE)
        made = self.backup(lb)
        self.assertEqual(made["warnings"], [])
        shown = lb("show", made["backup"]).ok().json
        self.assertIn(f"{outside}/more.conf", str(shown))
        self.assertIn(f"{outside}/pg_hba.conf", str(shown))


class Refusals(RemoteCase):
    def test_each_missing_grant_is_named_with_its_statement(self):
        server, lb = self.source(15, grants=False)
        role = f'"{ROLE}"'
        steps = [
            (["pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"], "may not take backups"),
            (None, "data_directory"),
            (["pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)"], "may not read the server's files"),
            (["pg_read_binary_file(text, bigint, bigint, boolean)"], "may not read the server's files"),
        ]
        for functions, complaint in steps:
            failed = lb("backup", "--pg", self.pg, "--remote", json=False)
            self.assertFails(failed, PERMISSION, complaint)
            self.assertEqual(len(failed.err.strip().split("\n")), 2, failed.err)  # the error and its hint
            if functions is None:
                self.assertIn("GRANT pg_read_all_settings TO", failed.err)
                server.psql(f"GRANT pg_read_all_settings TO {role}")
                continue
            for function in functions:
                self.assertIn(function, failed.err)
            grant = re.search(r"GRANT EXECUTE ON FUNCTION [^;]*;", failed.err)[0]
            if len(functions) == 2 and "pg_ls_dir" in functions[0]:
                grant = f"GRANT EXECUTE ON FUNCTION {', '.join(functions)} TO {role}"
            server.psql(grant)
        self.assertNothingListed(lb)
        self.assertTrue(lb("backup", "--pg", self.pg, "--remote").ok().json["remote"])

    def test_lost_connections_end_the_backup(self):
        server, lb = self.source(15)
        server.psql("CREATE TABLE t AS SELECT g, repeat('x', 1000) AS a FROM generate_series(1, 60000) g")
        for victim in ("query LIKE '%pg_read_binary_file%unnest%'", "query LIKE '%pg_backup_start%' OR query LIKE '%pg_tablespace_location%'"):
            with self.subTest(victim=victim):
                running = lb.background("backup", "--pg", self.pg, "--remote", "--rate", "10MB", json=False)
                def kill():
                    return server.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
                                        f"application_name = 'lifeboat backup' AND pid <> pg_backend_pid() AND ({victim})") != "0"
                wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_read_binary_file%unnest%'"
                                                " AND application_name = 'lifeboat backup'") != "0", "reading")
                time.sleep(0.5)
                wait_until(kill, "a connection to end")
                done = running.wait(60, check=False)
                self.assertEqual(done.code, UNAVAILABLE, done.err)
                errors = [line for line in done.err.split("\n") if "error:" in line]
                self.assertEqual(len(errors), 1, done.err)
                self.assertRegex(errors[0], "57P01|lost the connection|closed")
                self.assertNothingListed(lb)
        self.backup(lb)


if __name__ == "__main__":
    main()
