#!/usr/bin/env python3
"""Backups that go on with an attempt that was killed (T07, T16, T37): what the attempt stored is not read again unless WAL says that it
changed, and a restore is the server bit for bit."""

import os
from pathlib import Path

from harness import Cluster, amcheck, dump_compare, flip_bit, main, new_directory, run, tool, wait_until
from incremental_case import BLOCK, IncrementalCase

BACKUP_DAMAGED = 20

BIG = 20_000  # rows of 7 kB that do not compress: about 160 MB, some packs of 64 MB


class Resume(IncrementalCase):
    dump_options = ("--exclude-table-data=big",)

    def compare_more(self, server, copy):
        sums = [one.value("SELECT md5(string_agg(md5(a), '' ORDER BY id)), count(*) FROM big") for one in (server, copy)]
        self.assertEqual(*sums)

    def big_source(self, major=15):
        server, lb = self.source(major)
        server.psql("CREATE EXTENSION pgcrypto; CREATE TABLE big (id int PRIMARY KEY, a bytea) WITH (autovacuum_enabled = false);"
                    "ALTER TABLE big ALTER a SET STORAGE PLAIN;"
                    "INSERT INTO big SELECT g, (SELECT string_agg(gen_random_bytes(1000), '' ORDER BY i) FROM"
                    f" generate_series(1, 7) i WHERE g > 0) FROM generate_series(1, {BIG}) g;"
                    "CREATE TABLE other AS SELECT g AS id, md5(g::text) AS a FROM generate_series(1, 20000) g;"
                    "VACUUM FREEZE; CHECKPOINT")
        return server, lb

    def packs(self, lb, attempt=None):
        found = lb.repo_path.glob("clusters/*/*/packs/*/*.data")
        return [path for path in found if attempt is None or path.parent.name == attempt]

    def killed_backup(self, lb, *options, packs=1, meanwhile=lambda attempt: None):
        """Kills a backup once it has finished some packs; returns the attempt's id and the bytes that it stored."""
        before = set(self.packs(lb))
        attempt = lb.background("backup", "--jobs", "1", "--rate", "30MB", *options, live=True)
        meanwhile(attempt)
        wait_until(lambda: len(set(self.packs(lb)) - before) >= packs or not attempt.running, "packs of the attempt")
        self.assertTrue(attempt.running, attempt.result().err)
        attempt.kill()
        new = set(self.packs(lb)) - before
        names = {path.parent.name for path in new}
        self.assertEqual(len(names), 1)
        return names.pop(), sum(path.stat().st_size for path in new)

    def resumed(self, lb, attempts, *options):
        made = self.backup(lb, *options)
        self.assertEqual(made["continued"], attempts)
        return made

    def test_what_a_killed_backup_stored_is_not_read_again(self):
        server, lb = self.big_source()
        attempt, stored = self.killed_backup(lb)
        self.assertEqual(lb("list").ok().json["lineages"][0]["backups"], [], "nothing that could be taken for a backup")
        # What changed since is read again, wherever it was stored.
        server.psql("UPDATE big SET a = a || 'x' WHERE id % 400 = 0; DELETE FROM other WHERE id > 10000; VACUUM other;"
                    "CREATE TABLE later AS SELECT * FROM other")
        made = self.resumed(lb, [attempt])
        self.assertEqual((made["type"], made["reference"]), ("full", None))
        self.assertLess(made["read_bytes"], made["plain_bytes"] - stored * 0.8)
        self.assertGreater(made["proven_blocks"], 0)
        self.assertIsTheServer(lb, made)
        lb("verify").ok()
        # The attempt goes, what was taken over stays; nothing more is to be done in a second run.
        policy = ("--keep-count", "1", "--grace", "0s", "--yes")
        lb("expire", *policy).ok()
        lb("expire", *policy).ok()
        self.assertTrue(self.packs(lb, attempt), "packs that the backup refers to")
        self.assertFalse(list(lb.repo_path.glob(f"clusters/*/*/attempts/{attempt}")))
        again = lb("expire", "--keep-count", "1", "--grace", "0s", "--dry-run").ok().json
        self.assertEqual((again["plan"]["dead_attempts"], again["plan"]["expire"]), ([], []))
        lb("verify").ok()
        self.assertIsTheServer(lb, made)
        # The next one stands on it and on nothing else.
        self.assertEqual(self.incremental(lb)["continued"], [])

    def test_killed_twice_and_an_incremental(self):
        server, lb = self.big_source()
        first, _ = self.killed_backup(lb)
        server.psql("UPDATE big SET a = a || 'y' WHERE id % 1000 = 1")
        second, _ = self.killed_backup(lb)
        server.psql("UPDATE big SET a = a || 'z' WHERE id % 1000 = 2")
        made = self.resumed(lb, [second, first])
        self.assertLess(made["read_bytes"], made["plain_bytes"] * 0.6)
        self.assertIsTheServer(lb, made)
        # An incremental that was killed: half of the table changes.
        server.psql("UPDATE big SET a = substr(a, 8) || 'changed' WHERE id % 2 = 0")
        third, stored = self.killed_backup(lb)
        # By the index: a scan of the whole table would prune its pages, which changes them.
        server.psql("SET enable_seqscan = off; UPDATE big SET a = substr(a, 8) || 'CHANGED'"
                    " WHERE id = ANY (ARRAY(SELECT 600 * g FROM generate_series(1, 30) g))")
        more = self.resumed(lb, [third], "--prove")
        self.assertEqual((more["type"], more["reference"], more["reason"]), ("incr", made["backup"], ""))
        changed = more["changed_blocks"] * BLOCK
        self.assertLess(more["stored_bytes"], changed - stored * 0.8)
        self.assertIsTheServer(lb, more)

    def test_a_full_backup_reads_everything_and_stores_only_the_rest(self):
        server, lb = self.big_source()
        attempt, stored = self.killed_backup(lb)
        made = self.resumed(lb, [attempt], "--type", "full")
        self.assertGreaterEqual(made["read_bytes"], made["plain_bytes"])
        self.assertLess(made["stored_bytes"], made["plain_bytes"] - stored * 0.8)
        self.assertIsTheServer(lb, made)

    def test_an_attempt_of_another_timeline_is_left_alone(self):  # T16
        server, lb = self.big_source()
        self.killed_backup(lb)
        server.stop()
        Path(server.data, "standby.signal").touch()
        os.chown(Path(server.data, "standby.signal"), *[getattr(os.stat(server.data), a) for a in ("st_uid", "st_gid")])
        server.start()
        server.promote()
        made = self.resumed(lb, [])
        self.assertEqual((made["type"], made["timeline"]), ("full", 2))
        self.assertIsTheServer(lb, made)

    def test_without_wal_since_the_attempt_everything_is_read(self):  # T18
        server, lb = self.big_source()
        attempt, stored = self.killed_backup(lb)
        server.configure(wal_level="minimal", max_wal_senders=0, archive_mode="off")
        server.restart()
        server.psql("UPDATE big SET a = a || 'm' WHERE id % 500 = 0")
        server.configure(wal_level="replica", max_wal_senders=10, archive_mode="on")
        server.restart()
        made = self.resumed(lb, [attempt])
        self.assertGreaterEqual(made["read_bytes"], made["plain_bytes"])
        self.assertLess(made["stored_bytes"], made["plain_bytes"] - stored * 0.5)
        self.assertIsTheServer(lb, made)

    def test_an_attempt_that_expired_is_not_gone_on_with(self):  # T37
        server, lb = self.big_source()
        attempt, _ = self.killed_backup(lb)
        lb("expire", "--keep-count", "1", "--yes").ok()  # condemned; its grace has begun
        made = self.resumed(lb, [])
        self.assertEqual(made["read_bytes"] >= made["plain_bytes"], True)
        lb("expire", "--keep-count", "1", "--grace", "0s", "--yes").ok()
        self.assertIsTheServer(lb, made)

    def test_a_broken_page_of_the_attempt_is_not_taken_over_unseen(self):  # T06
        server, lb = self.big_source()
        [path] = server.value("SELECT pg_relation_filepath('big')").split()
        server.stop()
        flip_bit(Path(server.data, path), 40 * BLOCK + 5000)
        server.start()
        attempt, _ = self.killed_backup(lb)
        result = lb("backup", live=True)
        self.assertEqual(result.code, BACKUP_DAMAGED, result.err)
        made = result.json
        self.assertEqual((made["continued"], made["state"], made["broken_pages"]), ([attempt], "damaged", 1))
        self.assertLess(made["read_bytes"], made["plain_bytes"] * 0.8, "the rest of it is taken over")

    def test_a_lagging_standby_does_not_take_over_what_the_primary_was_ahead_with(self):  # T16
        primary, lb = self.big_source()
        data = new_directory("standby") / "data"
        run([tool("pg_basebackup", primary.major), "-h", primary.place, "-p", primary.port, "-U", "postgres", "-D", data, "-R",
             "-X", "stream", "-c", "fast", "--no-sync"])
        standby = Cluster.attach(data, primary.major, start=True)

        def run_ahead(attempt):
            started = lambda: list(lb.repo_path.glob("clusters/*/*/attempts/*")) or not attempt.running
            wait_until(started, "the start of the attempt")
            lsn = primary.lsn()
            wait_until(lambda: standby.value(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "a standby that caught up")
            standby.psql("CHECKPOINT; SELECT pg_wal_replay_pause()")
            primary.psql("UPDATE big SET a = a || 'ahead' WHERE id % 50 = 0; CHECKPOINT")

        attempt, _ = self.killed_backup(lb, meanwhile=run_ahead)
        made = lb("backup", "--pg", standby.conninfo(), "--pgdata", data, "--primary", primary.conninfo()).ok().json
        self.assertEqual((made["continued"], made["standby"], made["broken_pages"]), ([attempt], True, 0))
        self.assertLess(made["read_bytes"], made["plain_bytes"], "what it can be sure of is not read")
        to = new_directory("restored") / "data"
        lb("restore", "--to", to, "--backup", made["backup"], "--target", "immediate", "--action", "promote", "--pg-bin",
           primary.bin).ok()
        copy = Cluster.attach(to, primary.major, start=True).wait_recovered()
        dump_compare(standby, copy, options=self.dump_options)
        # A row that a transaction of the future had deleted would go with the first one that takes its number.
        copy.psql("CREATE TABLE mine (); DROP TABLE mine")
        self.compare_more(standby, copy)
        amcheck(copy)


if __name__ == "__main__":
    main()
