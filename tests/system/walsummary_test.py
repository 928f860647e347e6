#!/usr/bin/env python3
"""Our change map against PostgreSQL's own WAL summaries, 17 on: the same relation forks, limits and blocks over exactly the
same records (T14, T15, T16).

A generated history is lived on a server with summarize_wal = on and archiving into a repository. Rounds begin and end at redo
points that are the first record of their segment, so that a map that begins with a segment and a summary that begins with a
redo point speak of the same records. Within a round the two are compared up to every redo point at which the server ended a
summary. LIFEBOAT_SOAK=1 makes more and longer rounds.

Differences that are wanted (docs/format.md, "Change summaries"), and no others:
- Free-space maps are in neither. Visibility maps are in PostgreSQL's, not in ours: both are always read whole.
- A block at or past the limit stays in our map. PostgreSQL forgets those that changed before the cut: either way it is read.
"""

import functools
import os
import shutil
import time
from collections import defaultdict

from harness import (SOURCE, SystemTest, all_majors, main, rng, run, scratch, tool, wait_until)
from history import History

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
ROUNDS = 30 if SOAK else 3
STEPS = 5 if SOAK else 2
SEGMENT = 1 << 20
LONG_PAGE_HEADER = 40  # of a segment's first page: where its first record begins
NO_LIMIT = 1 << 32


@functools.lru_cache(maxsize=None)
def change_map_program():
    """Copied to where the servers' account can run it."""
    source = os.environ.get("LIFEBOAT_CHANGE_MAP") or SOURCE / "build/release/tests/change_map"
    target = scratch() / "change_map"
    shutil.copyfile(source, target)
    target.chmod(0o755)
    return target


def number(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


def text(lsn):
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class Changes:
    """What a range of WAL changed."""

    def __init__(self):
        self.directories = set()           # (tablespace, database): made or dropped
        self.limits = {}                   # fork -> blocks
        self.blocks = defaultdict(set)     # fork -> numbers

    def cut(self, fork, blocks):
        self.limits[fork] = min(blocks, self.limits.get(fork, NO_LIMIT))

    def forks(self):
        return set(self.limits) | set(self.blocks)


def ours(lines):
    """The output of change_map."""
    changes = Changes()
    for line in lines:
        words = line.split()
        if words[-1] == "directory":
            changes.directories.add((int(words[0]), int(words[1])))
            continue
        fork = (int(words[0]), int(words[1]), int(words[2]), words[3])
        if words[4] == "limit":
            changes.cut(fork, int(words[5]))
        else:
            changes.blocks[fork].add(int(words[5]))
    return changes


def theirs(changes, lines):
    """Adds the output of pg_walsummary -i: "TS 1663, DB 5, REL 16384, FORK main: block 17"."""
    for line in lines:
        place, _, fact = line.partition(": ")
        tablespace, database, relation, fork = (part.split()[1] for part in place.split(", "))
        kind, value = fact.split()
        if fork == "vm":
            continue  # a wanted difference
        if relation == "0":
            # So PostgreSQL says that a database was made or dropped.
            assert (fork, kind, value) == ("main", "limit", "0"), line
            changes.directories.add((int(tablespace), int(database)))
            continue
        fork = (int(tablespace), int(database), int(relation), fork)
        if kind == "limit":
            changes.cut(fork, int(value))
        else:
            assert kind == "block", line
            changes.blocks[fork].add(int(value))


def differences(our, their):
    """Those that are not wanted, as lines."""
    for directory in sorted(our.directories ^ their.directories):
        yield f"database directory {directory}: only {'ours' if directory in our.directories else 'theirs'}"
    for fork in sorted(our.forks() | their.forks()):
        limit = our.limits.get(fork)
        if limit != their.limits.get(fork):
            yield f"{fork}: limit {limit}, PostgreSQL has {their.limits.get(fork)}"
        mine, others = our.blocks.get(fork, set()), their.blocks.get(fork, set())
        if others - mine:
            yield f"{fork}: blocks that only PostgreSQL has: {sorted(others - mine)[:20]}"
        below = sorted(block for block in mine - others if limit is None or block < limit)
        if below:
            yield f"{fork}: blocks below the limit ({limit}) that only we have: {below[:20]}"


class Comparison(SystemTest):
    needs_lifeboat = False

    def test_every_kind_of_difference_is_found(self):  # the canary
        fork = (1663, 5, 16384, "main")
        lines = ["1663 6 directory", "1663 5 16384 main limit 3", "1663 5 16384 main block 1", "1663 5 16384 main block 7"]
        same = ["TS 1663, DB 6, REL 0, FORK main: limit 0", "TS 1663, DB 5, REL 16384, FORK main: limit 3",
                "TS 1663, DB 5, REL 16384, FORK main: block 1", "TS 1663, DB 5, REL 16384, FORK vm: block 0"]

        def found(mine, others):
            their = Changes()
            theirs(their, others)
            return list(differences(ours(mine), their))
        self.assertEqual(found(lines, same), [])
        for missing in range(3):
            self.assertEqual(len(found(lines[:missing] + lines[missing + 1:], same)), 2 if missing == 1 else 1, missing)
            self.assertTrue(found(lines, same[:missing] + same[missing + 1:]), missing)
        self.assertTrue(found([*lines, "1663 5 16384 main block 2"], same))
        self.assertTrue(found(lines, [*same, "TS 1663, DB 5, REL 16384, FORK init: block 0"]))
        self.assertIn(fork, ours(lines).forks())


class Oracle(SystemTest):
    def test_the_change_map_is_what_pg_walsummary_says(self):
        for major in all_majors((17, 18)):
            with self.subTest(major=major):
                started = time.monotonic()
                self.live(major)
                kinds = {name: count for name, count in sorted(self.compared.items())}
                print(f"\nPostgreSQL {major}: {kinds}, {time.monotonic() - started:.0f} s", flush=True)
                # It was worth comparing.
                self.assertGreater(self.compared["ranges"], 2 * ROUNDS)
                self.assertGreater(self.compared["blocks"], 1000)
                for kind in ("dropped or made", "cut", "init forks", "kept past a limit"):
                    self.assertGreater(self.compared[kind], 0, kind)
                self.assertGreaterEqual(self.compared["database directories"], 2)

    def live(self, major):
        self.compared = defaultdict(int)
        server = self.cluster(major, wal_segsize=1, conf={"summarize_wal": "on", "wal_keep_size": "1GB"})
        self.server, self.lb = server, self.lifeboat(server)
        self.lb("init", "--yes", live=True).ok()
        server.archive_with(self.lb.archive_command())
        history = History(server, rng(f"walsummary {major}"))
        server.psql("CREATE TABLE certain AS SELECT g AS n, repeat('x', 500) AS a FROM generate_series(1, 3000) g")
        begin = self.boundary()
        for number_of_round in range(ROUNDS):
            if number_of_round == 0:
                # Nothing is left to chance: all that may happen, in some order.
                events = list(dict.fromkeys([*History.EVENTS, History.promote]))
                history.dice.shuffle(events)
                for event in events:
                    event(history)
                names = [event.__name__ for event in events]
                self.what_chance_may_leave_out()
            else:
                names = [name for _ in range(STEPS) for name in history.step()]
            end = self.boundary()
            server.wait_archived()
            with self.subTest(events=names):
                self.compare(begin, end)
            begin = end
        server.stop()

    def what_chance_may_leave_out(self):
        """A logged table that VACUUM cuts short after its end was changed, both ways to make a database, an init fork."""
        for sql in ("UPDATE certain SET a = 'z' WHERE n % 20 = 0", "DELETE FROM certain WHERE n > 1000", "VACUUM certain",
                    "INSERT INTO certain SELECT g, 'y' FROM generate_series(1, 3000) g",
                    "CREATE DATABASE copied STRATEGY file_copy", "CREATE DATABASE logged STRATEGY wal_log", "DROP DATABASE copied",
                    "CREATE UNLOGGED TABLE unlogged (n int PRIMARY KEY)",
                    "BEGIN; CREATE TABLE never (n int PRIMARY KEY); INSERT INTO never VALUES (1); ROLLBACK", "DROP TABLE unlogged"):
            self.server.psql(sql)

    def boundary(self):
        """A redo point that is the first record of its segment."""
        for _ in range(50):
            self.server.switch_wal()
            self.server.checkpoint()
            redo = number(self.server.value("SELECT redo_lsn FROM pg_control_checkpoint()"))
            if redo % SEGMENT == LONG_PAGE_HEADER:
                return redo
        raise AssertionError("something is always written between the switch and the checkpoint")

    def summaries(self, begin, end):
        """The server's summary files from begin on, one after the other, as (end, path); None: not written up to end yet."""
        files = {}
        for path in (self.server.data / "pg_wal/summaries").glob("*.summary"):
            name = path.name
            files[int(name[8:24], 16)] = (int(name[24:40], 16), path)
        chain, at = [], begin
        while at < end:
            if at not in files:
                return None
            chain.append(files[at])
            at = chain[-1][0]
        self.assertEqual(at, end, "a summary ends at every redo point")
        return chain

    def compare(self, begin, end):
        chain = wait_until(lambda: self.summaries(begin, end), f"WAL summaries up to {text(end)}", 90)
        timeline = self.server.timeline()
        their = Changes()
        for last, path in chain:
            theirs(their, run([tool("pg_walsummary", self.server.major), "-i", path]).out.splitlines())
            argv = [change_map_program(), self.lb.repo, self.lb.cluster, timeline, text(begin), text(last)]
            our = run(argv).out.splitlines()
            self.assertEqual(our, run(argv).out.splitlines(), "stored summaries say something else")
            our = ours(our)
            found = list(differences(our, their))
            self.assertEqual(found, [], f"{text(begin)} to {text(last)}:\n" + "\n".join(found[:30]))
            self.compared["ranges"] += 1
        self.compared["blocks"] += sum(map(len, their.blocks.values()))
        self.compared["dropped or made"] += sum(limit == 0 for limit in their.limits.values())
        self.compared["cut"] += sum(limit > 0 for limit in their.limits.values())
        self.compared["init forks"] += sum(fork[3] == "init" for fork in their.blocks)
        self.compared["database directories"] += len(their.directories)
        self.compared["kept past a limit"] += sum(len(our.blocks[fork] - their.blocks[fork]) for fork in our.forks())


if __name__ == "__main__":
    main()
