#!/usr/bin/env python3
"""Randomised histories (T13 to T20): at every step a server does a few of the things that break change tracking, an
incremental backup is taken, most of them proven against everything (--prove), and restored; the copy has to be the live
server (incremental_case.py says how that is known).

Where nothing unsafe happened, reading everything is a failure, and so is reading more than what changed. Unsafe are
wal_level = minimal and a switch of data checksums: then everything must be read, with its reason. A promotion and a recovery
to an earlier moment are safe.

LIFEBOAT_STEPS says how many steps a history has; LIFEBOAT_SOAK=1 makes 50 for each major, LIFEBOAT_SOAK_SECONDS more histories
until the time is over.
"""

import os
import shutil
import time

from harness import SEED, main, new_directory, rng, run, tool
from history import History
from incremental_case import IncrementalCase

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
STEPS = int(os.environ.get("LIFEBOAT_STEPS") or (50 if SOAK else 5))
SECONDS = float(os.environ.get("LIFEBOAT_SOAK_SECONDS") or 0) if SOAK else 0
BUDGET_SECONDS = None if SOAK or "LIFEBOAT_STEPS" in os.environ else 30  # of a history; one step is always done

# These cut files short in place or make them again under the same name: how much of them is read is not said by sizes.
RESHAPING = {"vacuum", "stale_visibility", "cut_short", "rewrite", "move_database", "database", "recover_to_a_point"}


class Histories(IncrementalCase):
    def test_random_histories(self):
        started, done, number = time.monotonic(), 0, 0
        majors = self.two_majors()
        while number == 0 or time.monotonic() - started < SECONDS:
            for major in majors:
                with self.subTest(major=major, history=number):
                    done += self.history(major, number)
            number += 1
        print(f"\n{done} steps, seed {SEED}", flush=True)
        self.assertGreaterEqual(done, STEPS * len(majors) if BUDGET_SECONDS is None else 2 * len(majors))

    def history(self, major, number):
        dice = rng(f"history {major} {number}")
        # What happens is what the seed says, so nothing is vacuumed in between.
        server, lb = self.source(major, checksums=dice.random() < 0.7, conf={"autovacuum": "off"})
        life = History(server, dice)
        self.backup(lb)
        turn_at = dice.randrange(min(STEPS, 3))  # early enough for the budget
        turns = list(self.TURNS)
        dice.shuffle(turns)
        started, done, bounded = time.monotonic(), 0, 0
        for step in range(STEPS):
            if BUDGET_SECONDS and done and step > turn_at and time.monotonic() - started > BUDGET_SECONDS:
                break
            before = self.files(server)
            names, expected = life.step(), ""
            if step == turn_at or (SOAK and dice.random() < 0.2):
                turn = turns[(step + number) % len(turns)]
                names.append(turn.__name__)
                expected = turn(self, life, lb)
                names += life.step()
            with self.subTest(major=major, history=number, step=step, events=names):
                proven = dice.random() < 0.5
                made = self.taken(lb, expected, *(["--prove"] if proven else []))
                if not (proven or expected or RESHAPING & set(names)):
                    self.assertLess(made["read_bytes"], self.most_to_read(before, self.files(server), made["changed_blocks"]))
                    bounded += 1
                self.assertIsRestored(lb, made, life)
                done += 1
        # Little changes: little is read, whatever happened before.
        before = self.files(server)
        life.sql(f"UPDATE {life.create_table()} SET b = 'last' WHERE a % 100 = 1")
        made = self.taken(lb, "")
        self.assertLess(made["read_bytes"], self.most_to_read(before, self.files(server), made["changed_blocks"]))
        self.assertIsRestored(lb, made, life)
        print(f"\nPostgreSQL {major}: {done + 1} steps, bytes read bounded in {bounded + 1}, {dict(sorted(life.counts.items()))}",
              flush=True)
        server.stop()
        return done + 1

    def taken(self, lb, expected, *options):
        """An incremental backup that reads everything exactly when there is a reason."""
        if not expected:
            return self.incremental(lb, *options)
        made = self.backup(lb, *options)
        self.assertRegex(made["reason"], expected)
        return made

    def assertIsRestored(self, lb, made, life):
        elsewhere = new_directory("side") / "ts"
        self.assertIsTheServer(lb, made, "--tablespace", f"{life.location}={elsewhere}")
        shutil.rmtree(elsewhere.parent)

    # --- what turns a history: each returns the reason why everything has to be read, as a pattern, or nothing
    def promote(self, life, lb):
        life.promote()
        return ""

    def recover_to_a_point(self, life, lb):
        """What was done last is undone, on a new timeline (T16)."""
        server = life.server
        life.serial += 1
        point = f"point{life.serial}"
        server.value(f"SELECT pg_create_restore_point('{point}')")
        life.insert()
        life.update()
        server.wait_archived()
        server.stop()
        lb("restore", "--replace", "--pgdata", server.data, "--target-name", point, "--action", "promote", "--pg-bin",
           server.bin, "--yes").ok()
        server.start()
        server.wait_recovered()
        # Else they would be the target of the next time that this server is a standby.
        for setting in ("recovery_target_name", "recovery_target_timeline", "recovery_target_action"):
            server.psql(f"ALTER SYSTEM RESET {setting}")
        server.archive_with(lb.archive_command())
        return ""

    def minimal_wal(self, life, lb):
        """T18"""
        server = life.server
        server.stop()
        server.configure(wal_level="minimal", max_wal_senders=0, archive_mode="off")
        server.start()
        life.truncate_and_fill()
        life.create_table()
        server.stop()
        server.configure(wal_level="replica", max_wal_senders=6, archive_mode="on")
        server.start()
        return "wal_level was minimal|neither in the server's pg_wal nor stored"

    def switch_checksums(self, life, lb):
        """T19"""
        server = life.server
        switch = "--disable" if server.value("SHOW data_checksums") == "on" else "--enable"
        server.stop()
        run([tool("pg_checksums", server.major), switch, "-D", server.data])
        server.start()
        return "data checksums were turned"

    TURNS = [promote, recover_to_a_point, minimal_wal, switch_checksums]


if __name__ == "__main__":
    main()
