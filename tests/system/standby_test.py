#!/usr/bin/env python3
"""Backups of a standby, its files read here or through connections: the primary is asked for nothing but a WAL switch, what
a restore brings back is consistent, and a promotion in between voids the backup."""

import os
import re
import struct
import time

from harness import (Cluster, SystemTest, amcheck, checksums, dump_compare, main, new_directory, run, tool, verify_backup,
                     wait_until)

TIMEOUT, FOREIGN, PRECONDITION, SERVER = 9, 12, 14, 19


class StandbyCase(SystemTest):
    def pair(self, major, **options):
        primary = self.cluster(major, **options)
        lb = self.lifeboat(primary)
        lb("init", "--yes", live=True).ok()
        primary.archive_with(lb.archive_command())
        return primary, self.standby_of(primary), lb

    def standby_of(self, primary):
        data = new_directory("standby") / "data"
        run([tool("pg_basebackup", primary.major), "-h", primary.place, "-p", primary.port, "-U", "postgres", "-D", data, "-R",
             "-X", "stream", "-c", "fast", "--no-sync"])
        return Cluster.attach(data, primary.major, start=True)

    def caught_up(self, primary, standby):
        lsn = primary.lsn()
        wait_until(lambda: standby.value(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "a standby that caught up")

    def back_up(self, lb, standby, *options, primary=None):
        """Of the standby's files on this host; --remote and the primary's connection string by option."""
        where = ["--pg", standby.conninfo()] + ([] if "--remote" in options else ["--pgdata", standby.data])
        return lb("backup", *where, *(["--primary", primary.conninfo()] if primary else []), *options)

    def made(self, *arguments, **options):
        made = self.back_up(*arguments, **options).ok().json
        self.assertEqual((made["standby"], made["state"], made["broken_pages"]), (True, "complete", 0), made)
        return made

    def restored(self, lb, made, major, *options):
        to = new_directory("copy") / "data"
        lb("restore", "--to", to, "--backup", made["backup"], *options).ok()
        verify_backup(to, major)
        return Cluster.attach(to, major)

    def assertIsTheServer(self, lb, made, server):
        copy = self.restored(lb, made, server.major).start().wait_recovered()
        dump_compare(server, copy)
        amcheck(copy)
        copy.stop()
        checksums(copy)

    def listed(self, lb):
        [lineage] = lb("list").ok().json["lineages"]
        return [backup["id"] for backup in lineage["backups"]]


class RoundTrip(StandbyCase):
    def test_full_and_incremental_here_and_through_connections(self):  # T03, T04, T07
        for major in self.two_majors():
            with self.subTest(major=major):
                primary, standby, lb = self.pair(major)
                primary.pgbench("-i", "-q", "-s", "3")
                load = primary.pgbench("-n", "-c", "2", "-T", "600", background=True)
                wait_until(lambda: primary.value("SELECT count(*) > 200 FROM pgbench_history") == "t", "load")
                backups = []
                for options in ([], ["--remote"]):
                    for kind in ("full", "incr"):
                        primary.checkpoint()
                        self.caught_up(primary, standby)
                        made = self.made(lb, standby, "--type", kind, *options, primary=primary)
                        self.assertEqual((made["remote"], made["type"], made["reason"]), (bool(options), kind, ""))
                        backups.append(made)
                self.assertTrue(load.running, load.result().err)
                load.stop()
                primary.wait_archived()
                for made in backups:
                    self.assertIsTheServer(lb, made, primary)
                # One of the primary stands on one of the standby, and the other way round.
                primary.psql("DELETE FROM pgbench_accounts WHERE aid % 1000 = 0")
                of_primary = lb("backup", "--prove", live=True).ok().json
                self.assertEqual((of_primary["type"], of_primary["reference"]), ("incr", backups[-1]["backup"]))
                primary.psql("UPDATE pgbench_accounts SET abalance = 0 WHERE aid % 1000 = 1; CHECKPOINT")
                self.caught_up(primary, standby)
                of_standby = self.made(lb, standby, "--prove", primary=primary)
                self.assertEqual((of_standby["type"], of_standby["reference"]), ("incr", of_primary["backup"]))
                primary.wait_archived()
                self.assertIsTheServer(lb, of_standby, primary)
                lb("verify").ok()

    def test_pg_control_is_read_last(self):
        """T04: no page of the copy is newer than the position that recovery has to reach."""
        primary, standby, lb = self.pair(15, conf={"shared_buffers": "1MB"})
        standby.stop()
        standby.overrides = {"shared_buffers": "1MB"}
        standby.start()
        primary.pgbench("-i", "-q", "-s", "5")
        load = primary.pgbench("-n", "-c", "2", "-T", "600", background=True)
        wait_until(lambda: primary.value("SELECT count(*) > 200 FROM pgbench_history") == "t", "load")
        for options in ([], ["--remote"]):
            made = self.made(lb, standby, "--type", "full", "--rate", "30MB", *options, primary=primary)
            copy = self.restored(lb, made, 15, "--target", "immediate")
            control = run([tool("pg_controldata", 15), copy.data]).out
            ends = int("".join(part.zfill(8) for part in re.search(r"Minimum recovery ending location: +(\S+)", control)[1].split("/")), 16)
            self.assertRegex(control, "Database cluster state: +in archive recovery")
            newest = max(self.page_lsns(copy.data))
            started = int("".join(part.zfill(8) for part in made["start_lsn"].split("/")), 16)
            self.assertGreater(newest, started, "nothing changed meanwhile: this proves nothing")
            self.assertLessEqual(newest, ends)
        load.stop()

    @staticmethod
    def page_lsns(data):
        for directory, _, files in os.walk(data / "base"):
            for name in files:
                if re.fullmatch(r"\d+(\.\d+)?", name):
                    with open(os.path.join(directory, name), "rb") as file:
                        while len(page := file.read(8192)) == 8192:
                            high, low = struct.unpack_from("<II", page)
                            yield high << 32 | low

    def test_after_a_switch_of_timeline(self):  # T16
        primary, standby, lb = self.pair(15)
        primary.psql("CREATE TABLE t AS SELECT g, repeat('x', 100) AS a FROM generate_series(1, 20000) g; CHECKPOINT")
        self.caught_up(primary, standby)
        before = self.made(lb, standby, primary=primary)
        primary.psql("UPDATE t SET a = 'before' WHERE g % 100 = 0")
        primary.wait_archived()
        self.caught_up(primary, standby)
        primary.stop()
        standby.promote()
        standby.archive_with(lb.archive_command())
        standby.psql("UPDATE t SET a = 'after' WHERE g % 100 = 1; CHECKPOINT")
        after = lb("backup", "--pg", standby.conninfo(), "--pgdata", standby.data, "--prove").ok().json
        self.assertEqual((after["type"], after["timeline"], after["reference"], after["standby"]), ("incr", 2, before["backup"], False))
        standby.wait_archived()
        self.assertIsTheServer(lb, after, standby)
        self.assertIsTheServer(lb, before, standby)
        # A standby of the new primary, on the new timeline.
        third = self.standby_of(standby)
        standby.psql("UPDATE t SET a = 'third' WHERE g % 100 = 2; CHECKPOINT")
        self.caught_up(standby, third)
        of_third = self.made(lb, third, "--remote", primary=standby)
        self.assertEqual((of_third["type"], of_third["timeline"], of_third["reference"]), ("incr", 2, after["backup"]))
        standby.wait_archived()
        self.assertIsTheServer(lb, of_third, standby)


class Refusals(StandbyCase):
    def test_without_the_primary_the_wal_is_waited_for(self):  # T03
        primary, standby, lb = self.pair(15)
        primary.psql("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g")
        self.caught_up(primary, standby)
        late = self.back_up(lb, standby, "--wal-timeout", "2s")
        self.assertFails(late, TIMEOUT, "--primary")
        self.assertEqual(self.listed(lb), [])
        # Somebody else ends the segment.
        running = lb.background("backup", "--pg", standby.conninfo(), "--pgdata", standby.data)
        time.sleep(2)
        self.assertTrue(running.running, running.result().err)
        primary.wait_archived()
        self.assertEqual(running.wait().json["state"], "complete")
        self.assertIsTheServer(lb, running.result().json, primary)

    def test_promotion_in_between_voids_the_backup(self):  # T05
        for options in ([], ["--remote"]):
            with self.subTest(options=options):
                primary, standby, lb = self.pair(15)
                primary.psql("CREATE TABLE t AS SELECT g, repeat('x', 1000) AS a FROM generate_series(1, 30000) g; CHECKPOINT")
                self.caught_up(primary, standby)
                where = options or ["--pgdata", standby.data]
                running = lb.background("backup", "--pg", standby.conninfo(), *where, "--rate", "10MB", "--primary", primary.conninfo())
                wait_until(lambda: standby.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lifeboat backup'"
                                                 " AND state = 'idle'") != "0", "a backup")
                time.sleep(1)
                standby.promote()
                done = running.wait(check=False)
                self.assertFails(done, PRECONDITION, "promoted during the backup")
                self.assertEqual(self.listed(lb), [])

    def test_the_primary_must_be_the_primary(self):
        primary, standby, lb = self.pair(15)
        stranger = self.cluster(15)
        self.assertFails(self.back_up(lb, standby, primary=stranger), FOREIGN, "--primary")
        self.assertFails(self.back_up(lb, standby, primary=standby), PRECONDITION, "--primary")
        self.assertEqual(self.listed(lb), [])

    def test_full_page_writes_off_is_told(self):
        primary, standby, lb = self.pair(15)
        primary.configure(full_page_writes="off").reload()
        primary.psql("CREATE TABLE t AS SELECT 1; CHECKPOINT")
        self.caught_up(primary, standby)
        standby.checkpoint()
        self.assertFails(self.back_up(lb, standby, primary=primary), SERVER, "full_page_writes")
        self.assertEqual(self.listed(lb), [])


if __name__ == "__main__":
    main()
