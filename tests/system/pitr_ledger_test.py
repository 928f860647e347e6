#!/usr/bin/env python3
"""Randomised point-in-time recovery against a ledger (R1, T31).

At least eight sessions write a ledger at once, in short, long, prepared and sub-transactions, some of which are rolled
back. Every row carries the transaction id that wrote it. What was committed, in which order and when, is read by
pg_waldump from a plain copy of the archived WAL, never from a clock and never from lifeboat. Then random targets are
restored, and each copy must hold exactly the rows whose commit records come before the place where PostgreSQL has to
stop (recoveryStopsBefore and recoveryStopsAfter in src/backend/access/transam/xlogrecovery.c, xlog.c before 15):

  time       before the first commit or abort record later than the target; exclusive: not earlier than it
  LSN        after the first record that starts at or past the target; exclusive: before it
  xid        after the record that ends that transaction; exclusive: before it
  name       after the restore point's record

LIFEBOAT_SOAK=1 makes the workload longer and restores 50 targets for each major instead of a few.
"""

import bisect
import collections
import datetime
import os
import re
import threading
import time

from harness import SEED, Cluster, SystemTest, main, new_directory, rng, run, tool, wait_until

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
SESSIONS = 8
TRANSACTIONS = 250 if SOAK else 60  # of each session
TARGETS = 50 if SOAK else 6
# Further targets are left out, and said so, once this much time has gone by. No limit in soak.
BUDGET_SECONDS = None if SOAK else 120

RECORD = re.compile(r"rmgr: (\S+)\s.*? tx:\s*(\d+), lsn: ([0-9A-F]+)/([0-9A-F]+), prev \S+, desc: (.*)")
TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC"
# The name of a prepared transaction stands behind "COMMIT_PREPARED"; a plain one has its id in the record's header.
END = re.compile(rf"(COMMIT|ABORT)(?:_PREPARED (\d+):)? {TIME}")
MICROSECOND = datetime.timedelta(microseconds=1)


def lsn_text(lsn):
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def parse_time(text):
    return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S")


End = collections.namedtuple("End", "lsn xid time committed")  # the record that ends a transaction


class History:
    """What the WAL says: every record's position, the ends of transactions in order, restore points, prepared ones."""

    def __init__(self, lines):
        self.positions, self.ends, self.points, self.prepared = [], [], {}, []
        for line in lines:
            record = RECORD.match(line)
            if not record:
                continue
            manager, header_xid, high, low, text = record.groups()
            lsn = int(high, 16) << 32 | int(low, 16)
            self.positions.append(lsn)
            if manager == "Transaction":
                end = END.match(text)
                if end:
                    what, prepared_xid, stamp = end.groups()
                    self.ends.append(End(lsn, int(prepared_xid or header_xid), parse_time(stamp), what == "COMMIT"))
                elif text.startswith("PREPARE"):
                    self.prepared.append((lsn, int(header_xid)))
            elif manager == "XLOG" and text.startswith("RESTORE_POINT"):
                self.points[text.split(" ", 1)[1].strip()] = lsn

    # Each returns the position before which every record is replayed and from which on none is.
    def stop_for_time(self, when, exclusive):
        for end in self.ends:
            if end.time > when or (exclusive and end.time == when):
                return end.lsn
        raise AssertionError(f"no transaction ended after {when}")

    def stop_for_lsn(self, lsn, exclusive):
        at = bisect.bisect_left(self.positions, lsn)
        return self.positions[at if exclusive else at + 1]

    def stop_for_xid(self, xid, exclusive):
        [lsn] = [end.lsn for end in self.ends if end.xid == xid]
        return lsn if exclusive else lsn + 1

    def stop_for_name(self, name):
        return self.points[name] + 1

    # What a copy that stopped there holds.
    def committed(self, stop):
        return {end.xid for end in self.ends if end.committed and end.lsn < stop}

    def left_prepared(self, stop):
        ended = {end.xid for end in self.ends if end.lsn < stop}
        return sorted(xid for lsn, xid in self.prepared if lsn < stop and xid not in ended)


class Writer(threading.Thread):
    """One session's share of the workload."""

    KINDS = ("short", "short", "long", "nested", "nested", "prepared", "prepared", "rolled back")

    def __init__(self, server, number, count, random):
        super().__init__(daemon=True)
        self.server, self.number, self.count, self.random = server, number, count, random
        self.session = server.session()
        self.counts = collections.Counter()
        self.waiting = []  # names of transactions that are prepared and not yet ended
        self.failure = None

    def run(self):
        try:
            for index in range(self.count):
                kind = self.random.choice(self.KINDS)
                self.counts[kind] += 1
                self.one(f"{self.number}-{index}", kind)
                time.sleep(self.random.choice((0, 0, 0.002, 0.01)))
            # Some stay prepared for ever: a restored copy must have those too.
            while len(self.waiting) > 1:
                self.end_prepared()
        except Exception as failure:  # Told by the test's own thread.
            self.failure = failure

    def entry(self, name, part):
        return f"INSERT INTO ledger (id, part) VALUES ('{name}', '{part}');"

    def tally(self):
        return f"UPDATE tally SET n = n + 1 WHERE session = {self.number};"

    def one(self, name, kind):
        if kind == "short":
            self.session.execute(f"BEGIN; {self.entry(name, 'only')} {self.tally()} COMMIT")
        elif kind == "rolled back":
            self.session.execute(f"BEGIN; {self.entry(name, 'never')} {self.tally()} ROLLBACK")
        elif kind == "long":
            # Holds its id while others begin and end: the order of ids is not that of commits.
            self.session.execute(f"BEGIN; {self.entry(name, 'first')}")
            time.sleep(self.random.uniform(0.01, 0.25))
            self.session.execute(f"{self.entry(name, 'last')} {self.tally()} COMMIT")
        elif kind == "nested":
            parts = [f"BEGIN; {self.entry(name, 'top')}"]
            for number in range(self.random.randint(1, 5)):
                end = self.random.choice(("RELEASE", "ROLLBACK TO"))
                part = "released" if end == "RELEASE" else "taken back"
                parts.append(f"SAVEPOINT a; {self.entry(name, f'{part} {number}')} SAVEPOINT b;"
                             f"{self.entry(name, f'{part} inner {number}')} RELEASE b; {end} a;")
            end = "ROLLBACK" if self.random.random() < 0.2 else f"{self.tally()} COMMIT"
            self.session.execute(" ".join(parts) + end)
        else:
            # Without the tally: a prepared transaction would lock that row.
            self.session.execute(f"BEGIN; {self.entry(name, 'prepared')} SAVEPOINT a; {self.entry(name, 'prepared sub')}"
                                 f"RELEASE a; PREPARE TRANSACTION '{name}'")
            self.waiting.append(name)
            while len(self.waiting) > self.random.randint(0, 3):
                self.end_prepared()

    def end_prepared(self):
        name = self.waiting.pop(self.random.randrange(len(self.waiting)))
        verb = self.random.choice(("COMMIT", "COMMIT", "ROLLBACK"))
        self.counts[f"{verb.lower()} prepared"] += 1
        self.session.execute(f"{verb} PREPARED '{name}'")


class Ledger:
    """What the source holds at the end, keyed by the transaction that wrote it, and the check of a copy against it."""

    def __init__(self, server, history):
        self.history = history
        self.rows = collections.defaultdict(set)
        for xid, name, part in server.rows("SELECT xid, id, part FROM ledger"):
            self.rows[int(xid)].add((name, part))
        committed = history.committed(history.positions[-1] + 1)
        unknown = set(self.rows) - committed
        if unknown:
            raise AssertionError(f"the server holds rows of {unknown}, for which the WAL has no commit")

    def check(self, copy, stop, what):
        """Exactly the rows of the transactions that committed before `stop`, and what hangs on them."""
        committed = self.history.committed(stop)
        wanted = {(xid, *row) for xid in committed for row in self.rows.get(xid, ())}
        found = [(int(xid), name, part) for xid, name, part in copy.rows("SELECT xid, id, part FROM ledger")]
        missing, extra = sorted(wanted - set(found)), sorted(set(found) - wanted)
        if missing or extra or len(found) != len(set(found)):
            raise AssertionError(f"{what}: of {len(wanted)} rows {len(missing)} are missing and {len(extra)} too many: "
                                 f"missing {missing[:5]}, too many {extra[:5]}")
        tally = {}
        for xid in committed:
            for name in {name for name, part in self.rows.get(xid, ()) if not part.startswith("prepared")}:
                number = int(name.split("-")[0])
                tally[number] = tally.get(number, 0) + 1
        found_tally = {int(s): int(n) for s, n in copy.rows("SELECT session, n FROM tally WHERE n > 0")}
        if tally != found_tally:
            raise AssertionError(f"{what}: the tally of updates is {found_tally}, not {tally}")
        # The same rows are found through the index.
        by_index = copy.value("SET enable_seqscan = off; SET enable_bitmapscan = off;"
                              "SELECT count(*) FROM (SELECT id, part FROM ledger ORDER BY id, part) x")
        if int(by_index) != len(wanted):
            raise AssertionError(f"{what}: the index knows {by_index} rows of {len(wanted)}")
        return len(wanted)


class PitrLedger(SystemTest):
    def source(self, major):
        """A server with a small ledger, which archives to lifeboat and, for pg_waldump, to a plain directory."""
        server = self.cluster(major=major, conf={"max_prepared_transactions": "100", "autovacuum_naptime": "1s"})
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        self.archived = new_directory("archived")
        server.archive_with(f"{lb.archive_command()} && cp %p {self.archived}/%f")
        server.psql("CREATE TABLE ledger (id text NOT NULL, part text NOT NULL, xid xid8 NOT NULL DEFAULT"
                    " pg_current_xact_id(), filler text DEFAULT repeat('x', 40), PRIMARY KEY (id, part));"
                    "CREATE TABLE tally (session int PRIMARY KEY, n int NOT NULL DEFAULT 0);"
                    f"INSERT INTO tally SELECT g FROM generate_series(1, {SESSIONS}) g")
        return server, lb

    def work(self, server, lb, random):
        """The workload, with a backup near its start and one in its middle. Returns the backups' documents."""
        writers = [Writer(server, number, TRANSACTIONS, random_of(random)) for number in range(1, SESSIONS + 1)]
        total = SESSIONS * TRANSACTIONS
        def begun():
            return sum(sum(w.counts[kind] for kind in set(Writer.KINDS)) for w in writers)
        def reached(share):
            wait_until(lambda: begun() >= total * share or not any(w.is_alive() for w in writers), "the workload", 300)
        for writer in writers:
            writer.start()
        backups = []
        for share in (0.05, 0.45):
            reached(share)
            backups.append(lb("backup", live=True).ok().json)
            self.assertEqual(backups[-1]["state"], "complete")
        for number, share in enumerate((0.5, 0.65, 0.8)):
            reached(share)
            server.psql(f"SELECT pg_create_restore_point('point {number}'), pg_switch_wal()")
        for writer in writers:
            writer.join(300)
            if writer.failure:
                raise writer.failure
            self.assertFalse(writer.is_alive(), "a writer did not end")
        counts = sum((writer.counts for writer in writers), collections.Counter())
        print(f"seed {SEED}: {len(writers)} sessions, " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())),
              flush=True)
        # An end that lies after everything, so that every target has something behind it.
        time.sleep(0.02)
        server.psql("CREATE TABLE the_end ()")
        server.wait_archived()
        return backups

    def read_history(self, server):
        segments = sorted(name for name in os.listdir(self.archived) if re.fullmatch("[0-9A-F]{24}", name))
        done = run([tool("pg_waldump", server.major), "-p", self.archived, segments[0], segments[-1]], check=False)
        history = History(done.out.split("\n"))
        self.assertGreater(len(history.ends), SESSIONS * TRANSACTIONS // 2, done.err[-2000:])
        return history

    def targets(self, history, after, random):
        """Endless random targets behind `after`: (options, position where replay has to stop)."""
        # Targets lie past the backup's end in every sense: in WAL and in time.
        early = max((end.time for end in history.ends if end.lsn < after), default=datetime.datetime.min)
        ends = [end for end in history.ends if end.lsn > after and end.time > early][:-1]
        last = min(end.time for end in history.ends[-1:])
        times = [end for end in ends if end.time < last]
        kinds = ["time", "lsn", "xid", "time", "lsn", "xid", "name"]
        while True:
            for kind in random.sample(kinds, len(kinds)):
                exclusive = kind != "name" and random.random() < 0.5
                if kind == "time":
                    # At a commit to the microsecond, beside it, or anywhere between two.
                    when = random.choice(times).time
                    other = random.choice(times).time
                    when = random.choice((when, when + MICROSECOND, when - MICROSECOND, when + (other - when) / 2))
                    stop = history.stop_for_time(when, exclusive)
                    options = ["--target-time", f"{when:%Y-%m-%d %H:%M:%S.%f}+00"]
                elif kind == "lsn":
                    at = bisect.bisect(history.positions, ends[0].lsn)
                    end = bisect.bisect(history.positions, ends[-1].lsn)
                    lsn = random.choice((random.choice(ends).lsn, random.choice(ends).lsn + 1,
                                         random.choice(history.positions[at:end]), random.randint(ends[0].lsn, ends[-1].lsn)))
                    stop = history.stop_for_lsn(lsn, exclusive)
                    options = ["--target-lsn", lsn_text(lsn)]
                elif kind == "xid":
                    end = random.choice(ends)
                    stop = history.stop_for_xid(end.xid, exclusive)
                    options = ["--target-xid", str(end.xid)]
                else:
                    name = random.choice(sorted(name for name, lsn in history.points.items() if lsn > after))
                    stop = history.stop_for_name(name)
                    options = ["--target-name", name]
                yield options + (["--exclusive"] if exclusive else []), stop

    def restore(self, lb, major, options, promote):
        to = new_directory("r") / "data"
        plan = lb("restore", "--to", to, *options, *(["--action", "promote"] if promote else [])).ok().json["plan"]
        copy = Cluster.attach(to, major, start=True)
        return (copy.wait_recovered() if promote else copy.wait_paused()), plan

    def test_restores_hold_what_the_ledger_says(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                self.check_major(major)

    def check_major(self, major):
        random = rng(f"pitr ledger {major}")
        server, lb = self.source(major)
        backups = self.work(server, lb, random)
        history = self.read_history(server)
        ledger = Ledger(server, history)
        ledger.check(server, history.positions[-1] + 1, "the source itself")
        # The workload was what it claims to be: the order of ids is not that of commits.
        order = [end.xid for end in history.ends if end.committed and end.xid in ledger.rows]
        self.assertNotEqual(order, sorted(order))
        self.assertTrue(history.prepared)
        server.stop()

        stops = [parse_lsn(backup["stop_lsn"]) for backup in backups]
        targets = self.targets(history, stops[0], random)
        used, began, done = collections.Counter(), time.monotonic(), 0
        while done < TARGETS:
            if BUDGET_SECONDS and time.monotonic() - began > BUDGET_SECONDS:
                print(f"SKIP: {TARGETS - done} of {TARGETS} targets: {BUDGET_SECONDS} s are over", flush=True)
                break
            options, stop = next(targets)
            promote = done == 0 or random.random() < 0.5
            what = f"PostgreSQL {major}, {' '.join(options)}, {'promoted' if promote else 'paused'} (seed {SEED})"
            copy, plan = self.restore(lb, major, options, promote)
            used[plan["backup"]] += 1
            # A target behind the newer backup's end needs no older one.
            behind = [b["backup"] for b, end in zip(backups, stops) if end < stop]
            self.assertIn(plan["backup"], behind, what)
            rows = ledger.check(copy, stop, what)
            if promote:
                prepared = [int(xid) for [xid] in copy.rows("SELECT transaction FROM pg_prepared_xacts")]
                self.assertEqual(sorted(prepared), history.left_prepared(stop), what)
            done += 1
            print(f"  {what}: {rows} rows, from {plan['backup']}", flush=True)
            if done == 1:
                self.canary(ledger, copy, stop)
            copy.stop("immediate")
        backwards = sum(a.time > b.time for a, b in zip(history.ends, history.ends[1:]))
        print(f"PostgreSQL {major}: {len(history.positions)} WAL records, {len(history.ends)} ends of transactions,"
              f" {backwards} of them earlier than the one before, {len(order)} in the ledger; {done} targets hold what the ledger says; backups used: {dict(used)}", flush=True)

    def canary(self, ledger, copy, stop):
        """The check fails when one row is missing, one is too many, or one update is lost."""
        take = "(SELECT ctid FROM ledger ORDER BY md5(id || part) LIMIT 1)"
        for damage, words in ((f"DELETE FROM ledger WHERE ctid = {take}", "1 are missing"),
                              ("INSERT INTO ledger VALUES ('1-x', 'x')", "1 too many"),
                              ("UPDATE tally SET n = n - 1 WHERE session = (SELECT session FROM tally WHERE n > 0 LIMIT 1)",
                               "tally")):
            ledger.check(copy, stop, "before the canary")
            copy.psql("DROP TABLE IF EXISTS kept, kept_tally; CREATE TABLE kept AS TABLE ledger;"
                      "CREATE TABLE kept_tally AS TABLE tally;" + damage)
            with self.assertRaisesRegex(AssertionError, words):
                ledger.check(copy, stop, "canary")
            copy.psql("DELETE FROM ledger; DELETE FROM tally; INSERT INTO ledger TABLE kept; INSERT INTO tally TABLE kept_tally")


def random_of(random):
    """Random numbers of its own for a thread, decided by the ones given."""
    return type(random)(random.getrandbits(64))


if __name__ == "__main__":
    main()
