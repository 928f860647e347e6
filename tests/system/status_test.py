#!/usr/bin/env python3
"""`lifeboat status` on real servers: primaries and standbys of every major, with no more rights than pg_monitor; its exit code is
that of the worst signal; what cannot be read is unknown, never ok; trends come from what was seen before and decide nothing (M1)."""

import contextlib
import json
import time

from harness import Cluster, SystemTest, give, main, new_directory, pg_bin, run, tmpfs, tool, wait_until

OK, CONFIG, CHECK_FAILED, ATTENTION = 0, 3, 17, 23
# The ids that people and scripts rely on.
IDS = {"backup_age", "backup_failures", "wal_archive_lag", "wal_gaps", "drill_age", "drill_result", "replication_lag", "storage_used",
       "repository_used", "table_bloat", "index_bloat", "xid_wraparound", "multixact_wraparound", "connections", "archive_off",
       "key_custody", "server_down", "repository_down", "checksum_failures"}


class StatusCase(SystemTest):
    def registered(self, major=None, **options):
        server = self.cluster(major, **options)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        return server, lb

    def status(self, lb, *options, **more):
        """{id: signal}, and the result."""
        result = lb("status", "--owner", "dba", "--state-dir", self.state(), *options, live=True, **more)
        return {one["id"]: one for one in result.json["signals"]}, result

    def state(self):
        if not hasattr(self, "_state"):
            self._state = new_directory("state")
        return self._state

    def config(self, lb, *lines, owner="dba"):
        path = new_directory("conf") / "lifeboat.toml"
        path.write_text("\n".join(["[cluster.main]", f'repo = "{lb.repo}"', f'pg = "{lb.server.conninfo()}"', f'pgdata = "{lb.server.data}"',
                                   *([f'owner = "{owner}"'] if owner else []), *lines]) + "\n")
        return give(path)


class EveryMajor(StatusCase):
    def test_primary_and_standby_with_pg_monitor_alone(self):
        for major in self.all_majors():
            with self.subTest(major=major):
                server, lb = self.registered(major)
                server.archive_with(lb.archive_command())
                lb("backup", live=True).ok()
                server.psql("CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE TABLE t AS SELECT generate_series(1, 1000) AS a")
                standby = self.standby(server)
                wait_until(lambda: server.value("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication") == "t", "the standby")
                for where, role in ((server, "primary"), (standby, "standby")):
                    result = run([*lb.argv("status"), "--owner", "dba", "--pg", where.conninfo(user="watcher"), "--pgdata", where.data],
                                 check=False)
                    document = result.json
                    signals = {one["id"]: one for one in document["signals"]}
                    self.assertEqual((result.code, document["role"]), (CHECK_FAILED, role))
                    self.assertLessEqual(IDS, set(signals))
                    bad = {name: one["found"] for name, one in signals.items() if one["verdict"] in ("unknown", "warning", "critical")}
                    expected = {"drill_age"} | ({"archive_off"} if signals["archive_off"]["verdict"] != "ok" else set())
                    self.assertLessEqual(set(bad), expected, bad)
                    for one in document["signals"]:
                        self.assertTrue(one["owner"] and one["action"] and one["source"], one)
                        self.assertIsNotNone(one["critical"], one)
                        self.assertIsNotNone(one["warning"], one)
                    self.assertLess(signals["replication_lag"]["value"], 5)
                    self.assertEqual(signals["replication_lag"]["critical_bytes"], 10e6)
                    self.assertLess(signals["xid_wraparound"]["value"], 100_000)
                    self.assertIn("autovacuum_freeze_max_age", signals["xid_wraparound"]["found"])
                    self.assertLess(result.seconds, 5)
                # Its primary is gone.
                server.stop()
                lag = self.replication(lb, standby)
                self.assertEqual(lag["verdict"] in ("warning", "critical", "unknown"), True, lag)
                self.assertIn("no WAL receiver", lag["found"])
                standby.stop()

    def all_majors(self):
        from harness import all_majors
        return all_majors()

    def replication(self, lb, standby):
        def ask():
            document = run([*lb.argv("status"), "--owner", "dba", "--pg", standby.conninfo(), "--pgdata", standby.data], check=False).json
            found = next(one for one in document["signals"] if one["id"] == "replication_lag")
            return found if "no WAL receiver" in found["found"] else None
        return wait_until(ask, "the standby to notice")

    def standby(self, server):
        directory = new_directory("standby") / "data"
        run([tool("pg_basebackup", server.major), "-D", directory, "-R", "-X", "stream", "-c", "fast", "-d",
             server.conninfo() + " application_name=one"], timeout=120)
        return Cluster.attach(directory, server.major, start=True)


class Verdicts(StatusCase):
    def test_the_exit_code_is_that_of_the_worst(self):
        server, lb = self.registered(self.two_majors()[-1])
        self.assertFails(self.status(lb)[1], CHECK_FAILED, "archive_off")
        server.archive_with(lb.archive_command())
        lb("backup", live=True).ok()
        lb("drill", "--full", "--to", new_directory("d") / "d", "--pg-bin", pg_bin(server.major)).ok()
        signals, result = self.status(lb)
        self.assertEqual(result.code, OK, result.out)
        self.assertEqual(result.json["verdict"], "ok")
        self.assertIn("RTO", signals["drill_result"]["found"])
        text = lb("status", "--owner", "dba", live=True, json=False).ok()
        self.assertIn("backup_age", text.out)
        path = self.config(lb, "[cluster.main.signals.connections]", 'warning = "0%"')
        result = lb("status", "--config", path)
        self.assertFails(result, ATTENTION, "connections")
        self.assertEqual((result.json["verdict"], result.json["warnings"], result.json["critical"]), ("warning", 1, 0))

    def test_a_server_or_repository_that_is_away_makes_unknown_and_never_ok(self):
        server, lb = self.registered()
        server.archive_with(lb.archive_command())
        lb("backup", live=True).ok()
        server.stop()
        signals, result = self.status(lb)
        self.assertEqual(result.code, CHECK_FAILED)
        self.assertEqual(signals["server_down"]["verdict"], "critical")
        for name in ("connections", "xid_wraparound", "table_bloat", "replication_lag", "archive_off", "wal_archive_lag"):
            self.assertEqual(signals[name]["verdict"], "unknown", signals[name])
            self.assertIsNone(signals[name]["value"])
            self.assertIn("cannot connect", signals[name]["found"])
        self.assertEqual(signals["backup_age"]["verdict"], "ok", "the repository is there")
        server.start()
        aside = lb.repo_path.rename(lb.repo_path.with_name("aside"))
        signals, result = self.status(lb)
        for name in ("backup_age", "drill_age", "wal_gaps", "key_custody", "repository_used"):
            self.assertEqual(signals[name]["verdict"], "unknown", signals[name])
        self.assertEqual(signals["connections"]["verdict"], "ok")
        aside.rename(lb.repo_path)
        self.assertEqual(self.status(lb)[0]["backup_age"]["verdict"], "ok")

    def test_a_segment_that_vanishes_from_the_middle_is_missed_at_once(self):
        server, lb, stored = self.archived(self.two_majors()[-1])
        lb("drill", "--full", "--to", new_directory("d") / "d", "--pg-bin", pg_bin(server.major)).ok()
        self.assertEqual(self.status(lb)[1].code, OK)
        middle = stored[-3]
        aside = middle.rename(new_directory("aside") / middle.name)
        signals, result = self.status(lb)
        self.assertEqual((result.code, signals["wal_gaps"]["verdict"]), (CHECK_FAILED, "critical"), signals["wal_gaps"])
        self.assertIn(middle.name[:24], signals["wal_gaps"]["found"])
        aside.rename(middle)
        self.assertEqual(self.status(lb)[1].code, OK)

    def archived(self, major, segments=4):
        """A server with a backup and some segments behind it; the stored ones, oldest first."""
        server, lb = self.registered(major)
        server.archive_with(lb.archive_command())
        lb("backup", live=True).ok()
        for _ in range(segments):
            server.psql("SELECT pg_logical_emit_message(true, 'test', 'x')")
            server.wait_archived()
        return server, lb, sorted(lb.repo_path.glob("clusters/*/*/wal/00000001/*/*"))

    def test_a_trivial_drill_does_not_clear_a_failed_one(self):
        server, lb, stored = self.archived(self.two_majors()[-1])
        middle = stored[-3]
        aside = middle.rename(new_directory("aside") / middle.name)

        def drill(*options):
            return lb("drill", "--full", "--to", new_directory("d") / "d", "--pg-bin", pg_bin(server.major), *options)
        self.assertNotEqual(drill().code, 0)
        drill("--target", "immediate").ok()
        result = self.status(lb)[0]["drill_result"]
        self.assertEqual(result["verdict"], "critical", result)
        self.assertIn("none that reaches as far has passed since", result["found"])
        aside.rename(middle)
        drill().ok()
        self.assertEqual(self.status(lb)[0]["drill_result"]["verdict"], "ok")

    def test_a_drill_that_missed_its_target_is_no_good_one(self):
        server, lb, _ = self.archived(15)

        def drill(*options):
            return lb("drill", "--to", new_directory("d") / "d", "--pg-bin", pg_bin(server.major), *options)
        self.assertEqual(drill("--rto", "1ms").code, 17)
        result = self.status(lb)[0]["drill_result"]
        self.assertEqual(result["verdict"], "critical", result)
        self.assertIn("target was missed: RTO", result["found"])
        drill("--rto", "1h").ok()
        self.assertEqual(self.status(lb)[0]["drill_result"]["verdict"], "ok")

    def test_a_verification_that_ends_broken_is_seen_at_once(self):
        server, lb, stored = self.archived(self.two_majors()[-1])
        lb("drill", "--full", "--to", new_directory("d") / "d", "--pg-bin", pg_bin(server.major)).ok()
        self.assertEqual(self.status(lb)[1].code, OK)
        sound = stored[-3].read_bytes()
        stored[-3].chmod(0o600)
        broken = bytearray(sound)
        broken[len(broken) // 2] ^= 0xff
        stored[-3].write_bytes(broken)
        self.assertNotEqual(lb("verify").code, 0)
        gaps = self.status(lb)[0]["wal_gaps"]
        self.assertEqual(gaps["verdict"], "critical", gaps)
        self.assertIn("verify of", gaps["found"])
        stored[-3].write_bytes(sound)
        lb("verify").ok()
        self.assertEqual(self.status(lb)[0]["wal_gaps"]["verdict"], "ok")

    def test_a_daemon_that_is_configured_and_not_there_is_told(self):
        server, lb = self.registered()
        path = self.config(lb, "[cluster.main.schedule]", 'backup = "15 1 * * *"', "[serve]", 'metrics = "127.0.0.1:1"')
        jobs = {one["id"]: one for one in lb("status", "--config", path, "--state-dir", self.state()).json["signals"]}["job_failures"]
        self.assertEqual(jobs["verdict"], "warning", jobs)
        self.assertIn("seems not to run", jobs["found"])

    def test_a_role_that_may_not_see_says_so(self):
        server, lb = self.registered()
        server.archive_with(lb.archive_command())
        lb("backup", live=True).ok()
        server.psql("CREATE ROLE nobody_much LOGIN")
        document = run([*lb.argv("status"), "--owner", "dba", "--pg", server.conninfo(user="nobody_much")], check=False).json
        signals = {one["id"]: one for one in document["signals"]}
        for name in ("wal_archive_lag", "storage_used"):
            self.assertEqual(signals[name]["verdict"], "unknown", signals[name])
        self.assertEqual(signals["connections"]["verdict"], "ok")
        self.assertEqual(signals["xid_wraparound"]["verdict"], "ok")

    def test_a_statement_that_hangs_is_given_up(self):
        server, lb = self.registered()
        server.archive_with(lb.archive_command())
        session = server.session()
        session.execute("BEGIN; LOCK TABLE pg_catalog.pg_statistic IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        signals, _ = self.status(lb)
        self.assertLess(time.monotonic() - began, 8)
        self.assertEqual(signals["table_bloat"]["verdict"], "unknown", signals["table_bloat"])
        self.assertIn("lock timeout", signals["table_bloat"]["found"])
        session.execute("ROLLBACK")
        self.assertEqual(self.status(lb)[0]["table_bloat"]["verdict"], "ok")

    def test_a_custody_of_one_key_is_a_warning(self):
        server = self.cluster()
        key = new_directory("key") / "main.key"
        lb = self.lifeboat(server, options=["--key-file", key])
        lb("init", "--yes", live=True).ok()
        self.assertEqual(self.status(lb)[0]["key_custody"]["verdict"], "warning")
        lb("key", "add", "--new-key-file", key.with_name("escrow.key")).ok()
        self.assertEqual(self.status(lb)[0]["key_custody"]["verdict"], "ok")

    def test_bloat_is_estimated_and_goes_away(self):
        server, lb = self.registered(self.two_majors()[-1])
        server.psql("CREATE DATABASE other")
        server.psql("CREATE TABLE wide (id int PRIMARY KEY, a text) WITH (autovacuum_enabled = off);"
                    "INSERT INTO wide SELECT g, repeat('x', 200) FROM generate_series(1, 150000) g; VACUUM ANALYZE wide;"
                    "CREATE TABLE full_one AS SELECT g AS id, repeat('y', 200) AS a FROM generate_series(1, 100000) g; ANALYZE full_one", "other")
        signals, _ = self.status(lb)
        self.assertEqual(signals["table_bloat"]["verdict"], "ok", signals["table_bloat"])
        self.assertIn("none of 2 large tables", signals["table_bloat"]["found"])
        # The first row of each page stays, so that no page can be given back.
        server.psql("DELETE FROM wide WHERE id % 35 <> 0; VACUUM ANALYZE wide;"
                    "UPDATE wide SET id = id + 10000000; UPDATE wide SET id = id - 10000000", "other")
        bloat = self.status(lb)[0]["table_bloat"]
        self.assertEqual((bloat["verdict"], bloat["objects"][0]["object"]), ("critical", "other/public.wide"), bloat)
        self.assertGreater(bloat["objects"][0]["bytes"], 20e6)
        server.psql("VACUUM FULL wide; ANALYZE wide", "other")
        self.assertEqual(self.status(lb)[0]["table_bloat"]["verdict"], "ok")
        server.psql("CREATE TABLE keys (a text) WITH (autovacuum_enabled = off);"
                    "INSERT INTO keys SELECT md5(g::text) FROM generate_series(1, 400000) g;"
                    "CREATE INDEX by_key ON keys (a); CREATE INDEX by_expression ON keys (lower(a)); VACUUM ANALYZE keys", "other")
        index = self.status(lb)[0]["index_bloat"]
        self.assertEqual(index["verdict"], "ok", index)
        server.psql("DELETE FROM keys WHERE a > '1'; VACUUM ANALYZE keys; INSERT INTO keys SELECT md5(g::text) FROM generate_series(1, 10) g;"
                    "ANALYZE keys", "other")
        index = self.status(lb)[0]["index_bloat"]
        self.assertIn(index["verdict"], ("warning", "critical"), index)
        self.assertEqual({one["object"] for one in index["objects"]}, {"other/public.by_key", "other/public.by_expression"})
        server.psql("REINDEX TABLE keys; ANALYZE keys", "other")
        self.assertEqual(self.status(lb)[0]["index_bloat"]["verdict"], "ok")


class Receiver(StatusCase):
    def test_one_that_is_connected_and_stores_nothing_is_behind(self):
        server = self.cluster()
        place = tmpfs(64)
        lb = self.lifeboat(server, repo=place / "repo")
        lb("init", "--yes", live=True).ok()
        path = self.config(lb, "[cluster.main.signals.wal_archive_lag]", 'warning = "2s"', 'critical = "4s"')
        receiver = lb.background("wal", "receive", live=True)
        wait_until(lambda: server.value("SELECT state FROM pg_stat_replication") == "streaming", "the receiver streams")
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a")
        end = server.value("SELECT pg_current_wal_lsn()")
        wait_until(lambda: server.value(f"SELECT flush_lsn >= '{end}' FROM pg_stat_replication") == "t", "the receiver is near")

        def lag():
            found = lb("status", "--config", path, "--state-dir", self.state()).json["signals"]
            return next(one for one in found if one["id"] == "wal_archive_lag")
        self.assertEqual(lag()["verdict"], "ok")
        with contextlib.suppress(OSError), open(place / "filler", "wb", buffering=0) as file:
            while file.write(b"x" * 65536):
                pass
        server.psql("INSERT INTO t SELECT generate_series(1, 200000)")
        found = wait_until(lambda: (one := lag())["verdict"] == "critical" and one, "the lag of the receiver", 120)
        self.assertIn("confirmed nothing newer", found["found"])
        self.assertEqual(server.value("SELECT count(*) FROM pg_stat_replication"), "1", "it is connected")
        (place / "filler").unlink()
        wait_until(lambda: lag()["verdict"] == "ok", "the receiver to catch up", 120)
        receiver.stop()


class Settings(StatusCase):
    def test_owners_and_thresholds(self):
        server, lb = self.registered()
        path = self.config(lb, "[cluster.main.signals.backup_age]", 'warning = "1h"', 'critical = 7200', 'owner = "storage team"',
                           "[cluster.main.signals.xid_wraparound]", "enabled = false",
                           "[cluster.main.signals.replication_lag]", 'critical-bytes = "1GB"', "standbys = 0")
        document = lb("status", "--config", path).json
        signals = {one["id"]: one for one in document["signals"]}
        age = signals["backup_age"]
        self.assertEqual((age["warning"], age["critical"], age["owner"]), (3600, 7200, "storage team"))
        self.assertEqual(signals["connections"]["owner"], "dba")
        self.assertNotIn("xid_wraparound", signals)
        self.assertEqual(signals["replication_lag"]["critical_bytes"], 1 << 30)
        self.assertEqual(signals["replication_lag"]["critical"], 10)
        bare = self.config(lb, owner=None)
        self.assertFails(lb("status", "--config", bare), CONFIG, "no owner", "--owner")
        partly = self.config(lb, "[cluster.main.signals.backup_age]", 'owner = "somebody"', owner=None)
        self.assertFails(lb("status", "--config", partly), CONFIG, "backup_failures")
        # Without a configuration file it is said, and looked all the same.
        result = lb("status", live=True)
        self.assertEqual(result.code, CHECK_FAILED)
        self.assertIn("no owner", result.err)

    def test_thresholds_that_the_registry_promises(self):
        server, lb = self.registered()
        signals = self.status(lb)[0]
        promised = {"backup_age": (26 * 3600, None), "xid_wraparound": (500e6, 1e9), "multixact_wraparound": (500e6, 1e9),
                    "connections": (0.8, 0.9), "storage_used": (0.8, 0.9), "replication_lag": (5, 10), "backup_success_rate": (0.999, None)}
        for name, (warning, critical) in promised.items():
            self.assertEqual(signals[name]["warning"], warning, name)
            if critical is not None:
                self.assertEqual(signals[name]["critical"], critical, name)

    def test_trends_come_from_what_was_seen_before(self):
        server, lb = self.registered()
        state = self.state()
        signals, _ = self.status(lb)
        self.assertIsNone(signals["storage_used"]["trend"]["per_day"])
        history = state / "signals-main.json"
        kept = json.loads(history.read_text())
        now = time.time()
        used = signals["storage_used"]["value"]
        path = next(one["object"] for one in signals["storage_used"]["objects"])
        # It filled by a hundredth an hour, so that what is free will be gone.
        past = [[int(now - hours * 3600), used - hours * (1 - used) / 10] for hours in (5, 4, 3, 2, 1)]
        kept["samples"]["storage_used"] = past
        kept["samples"][f"storage_used:{path}"] = past
        history.write_text(json.dumps(kept))
        signals, _ = self.status(lb)
        storage = signals["storage_used"]
        self.assertAlmostEqual(storage["trend"]["per_day"], 24 * (1 - used) / 10, delta=0.1)
        self.assertAlmostEqual(storage["objects"][0]["full_in_seconds"], 10 * 3600, delta=1200)
        self.assertEqual(storage["verdict"], "warning", "it will be full within a day")
        self.assertIn("will be full in", storage["found"])
        # Old samples alone decide nothing, and a file that is no history is begun anew.
        history.write_text("not json")
        signals, _ = self.status(lb)
        self.assertEqual(signals["storage_used"]["verdict"], "ok")
        self.assertIn("storage_used", json.loads(history.read_text())["samples"])

    def test_where_no_history_can_be_kept_there_is_no_trend(self):
        server, lb = self.registered()
        result = lb("status", "--owner", "dba", "--state-dir", "/proc/nowhere", live=True)
        self.assertEqual(result.code, CHECK_FAILED)
        self.assertEqual(len(result.json["signals"]) >= len(IDS), True)


if __name__ == "__main__":
    main()
