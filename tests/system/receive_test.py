#!/usr/bin/env python3
"""WAL streamed into the repository (wal receive), its tails, and what restores make of them.

T22 pushing and receiving the same never conflict; T23, T24 timelines are followed over promotions, history files first;
T25 only what is durable is acknowledged, standbys are refused; T26 foreign systems; T27 holes are recorded; T45 a tail is
used at the end of everything only. LIFEBOAT_SOAK=1 gives the random parts bigger numbers (W1).
"""

import os
import re
import shutil
import signal
import threading
import time

from decoder_test import DECODER, PYTHON
from harness import (WAL_SEGMENT_MB, Background, Cluster, SystemTest, dump_compare, give, main, new_directory, rng, run, tool,
                     wait_until)

FOREIGN, UNREACHABLE = 12, 13
SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))


class Ledger:
    """Commits one row after another on a connection of its own and remembers which were acknowledged, and when."""

    def __init__(self, server, pause=0):
        self._pause = pause  # seconds between two
        server.psql("CREATE TABLE IF NOT EXISTS ledger (id int PRIMARY KEY)")
        self.acknowledged = {}  # id -> time of the answer
        self._server, self._stop = server, False
        self._next = int(server.value("SELECT coalesce(max(id), 0) + 1 FROM ledger"))
        self._session = server.session()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self):
        while not self._stop:
            try:
                answer = self._session.execute(f"INSERT INTO ledger VALUES ({self._next}) RETURNING id")
            except (AssertionError, OSError, ValueError):
                return
            if answer != str(self._next):  # psql does not call a lost connection an error
                return
            self.acknowledged[self._next] = time.monotonic()
            self._next += 1
            time.sleep(self._pause)

    def end(self):
        self._stop = True
        self._thread.join(60)
        return self

    def missing(self, copy):
        """Acknowledged rows that a server does not have."""
        there = {int(row[0]) for row in copy.rows("SELECT id FROM ledger")}
        return sorted(set(self.acknowledged) - there)

    def loss_seconds(self, copy):
        """From the answer to the first commit that is lost to the answer to the last."""
        missing = self.missing(copy)
        if not missing:
            return 0.0
        return max(self.acknowledged.values()) - self.acknowledged[missing[0]]


class ReceiveCase(SystemTest):
    def registered(self, major=15, repo_options=(), **options):
        server = self.cluster(major, **options)
        lb = self.lifeboat(server, options=repo_options)
        lb("init", "--yes", live=True).ok()
        return server, lb

    def receiver(self, lb, *options, conninfo=None, wait=True):
        argv = lb.argv("wal", "receive", "--pg", conninfo or lb.server.conninfo(), *options)
        receiver = Background(argv)
        if wait:
            wait_until(lambda: not receiver.running or lb.server.value(
                "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'lifeboat' AND state = 'streaming'") == "1",
                "a receiver that streams")
            self.assertTrue(receiver.running, receiver.result().err)
        return receiver

    def ended(self, receiver):
        """Stops it in order; everything it received is stored then."""
        done = receiver.stop()
        self.assertEqual(done.code, 0, done.err)
        return done.json

    def durable(self, server, lsn=None, timeout=30):
        """Waits until the receiver has acknowledged a position (default: all there is)."""
        lsn = lsn or server.value("SELECT pg_current_wal_flush_lsn()")
        wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'lifeboat' AND"
                                        f" flush_lsn >= '{lsn}'") == "1", f"{lsn} acknowledged by the receiver", timeout)
        return lsn

    def tails(self, lb):
        """{segment: number of pieces}"""
        counts = {}
        for path in lb.objects():
            if found := re.search(r"/tails/.*/([0-9A-F]{24})-", path):
                counts[found[1]] = counts.get(found[1], 0) + 1
        return counts

    def segments(self, lb, timeline=1):
        return sorted(found[1] for path in lb.objects()
                      if (found := re.search(rf"/wal/.*/({timeline:08X}[0-9A-F]{{16}})-[0-9a-f]{{32}}$", path)))

    def assertNoHole(self, lb, segment_size):
        names = self.segments(lb)
        self.assertEqual(len(names), len(set(names)), "two contents of one segment")
        per_log = (1 << 32) // segment_size
        indexes = [int(name[8:16], 16) * per_log + int(name[16:], 16) for name in names]
        self.assertEqual(indexes, list(range(indexes[0], indexes[0] + len(indexes))), names)

    def restored(self, lb, major=15, *options):
        """A copy from the repository alone, open for writing."""
        to = new_directory("copy") / "data"
        lb("restore", "--to", to, *options).ok()
        return Cluster.attach(to, major).start().wait_recovered()

    def load(self, server, seconds=600):
        return server.pgbench("-n", "-c", "2", "-T", seconds, background=True)


class Loss(ReceiveCase):
    """The server dies under load; the repository alone brings it back."""

    def lose(self, major, *options, kill_receiver=False, wal_segsize=None, conf=None):
        server, lb = self.registered(major, wal_segsize=wal_segsize, conf=conf)
        server.pgbench("-i", "-q", "-s", "2")
        receiver = self.receiver(lb, *options)
        lb("backup", live=True).ok()
        if "--synchronous" in options:
            server.configure(synchronous_standby_names="lifeboat").reload()
        load = self.load(server)
        ledger = Ledger(server)
        time.sleep(rng(f"loss {major} {options} {wal_segsize}").uniform(2, 4))
        if kill_receiver:
            receiver.signal(signal.SIGSTOP)  # both at one moment
        server.kill9()
        if kill_receiver:
            receiver.kill()
        load.kill()
        ledger.end()
        self.assertGreater(len(ledger.acknowledged), 50)
        if not kill_receiver:
            self.ended(receiver)
        lb("verify").ok()
        copy = self.restored(lb, major)
        lost = ledger.loss_seconds(copy)
        print(f"{major} {' '.join(options) or 'asynchronous'}{' with the receiver' if kill_receiver else ''}: "
              f"{len(ledger.acknowledged)} commits, {len(ledger.missing(copy))} lost, {lost:.3f} s", flush=True)
        copy.stop()
        return lost, ledger, lb

    def test_asynchronous_loses_less_than_two_seconds(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                lost, _, lb = self.lose(major)
                self.assertLess(lost, 2)
                self.assertTrue(self.tails(lb))

    def test_asynchronous_with_the_receiver(self):
        lost, _, _ = self.lose(15, kill_receiver=True)
        self.assertLess(lost, 2)

    def test_synchronous_loses_nothing(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                lost, ledger, _ = self.lose(major, "--synchronous", kill_receiver=True)
                self.assertEqual(lost, 0)

    def test_small_and_large_segments(self):
        for size in (1, 64):
            with self.subTest(wal_segsize=size):
                lost, _, _ = self.lose(15, "--synchronous", wal_segsize=size, conf={"min_wal_size": f"{size * 2}MB"})
                self.assertEqual(lost, 0)

    def test_random_rounds(self):
        random = rng("receive rounds")
        deadline = time.monotonic() + (3600 if SOAK else 20)
        rounds = 0
        while rounds == 0 or time.monotonic() < deadline:
            synchronous = random.random() < 0.5
            lost, _, _ = self.lose(15, *(["--synchronous"] if synchronous else ["--interval", "500ms"]),
                                   kill_receiver=random.random() < 0.5, wal_segsize=random.choice([1, 16]))
            self.assertEqual(lost, 0) if synchronous else self.assertLess(lost, 2)
            rounds += 1
        print(f"{rounds} rounds", flush=True)


class KilledReceiver(ReceiveCase):
    def test_no_hole_and_no_conflict_beside_archive_command(self):
        """The receiver is killed at random moments while the archiver pushes the same segments."""
        random = rng("killed receiver")
        server, lb = self.registered(wal_segsize=1)
        server.archive_with(lb.archive_command())
        server.pgbench("-i", "-q", "-s", "2")
        receiver = self.receiver(lb)
        lb("backup", live=True).ok()
        load = self.load(server)
        ledger = Ledger(server)
        deadline = time.monotonic() + (600 if SOAK else 12)
        kills = 0
        while time.monotonic() < deadline:
            time.sleep(random.uniform(0.05, 1.0))
            if random.random() < 0.3:  # a lost connection; the receiver comes back by itself
                server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
                continue
            receiver.kill()
            kills += 1
            receiver = self.receiver(lb, *random.choice([[], ["--synchronous"]]), wait=False)
        wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'lifeboat'") == "1",
                   "a receiver")
        load.stop()
        ledger.end()
        self.durable(server)
        self.assertTrue(receiver.running, receiver.result().err)
        wait_until(lambda: len(self.tails(lb)) <= 1, "tails that killed receivers left are gone")
        server.kill9()
        self.ended(receiver)
        print(f"{kills} kills, {len(self.segments(lb))} segments, tails {self.tails(lb)}", flush=True)
        self.assertNoHole(lb, 1 << 20)
        lb("verify").ok()
        copy = self.restored(lb)
        self.assertEqual(ledger.missing(copy), [])

    def test_a_server_that_crashes_is_waited_for(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.registered(major)
                receiver = self.receiver(lb)
                lb("backup", live=True).ok()
                server.pgbench("-i", "-q", "-s", "1")
                ledgers = []
                for how in ("crash", "crash", "fast", "immediate"):
                    ledgers.append(Ledger(server))
                    time.sleep(0.7)
                    server.kill9() if how == "crash" else server.stop(how)
                    ledgers[-1].end()
                    server.start()
                server.switch_wal()
                wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1",
                           "a receiver that is back")
                self.durable(server)
                server.kill9()
                done = self.ended(receiver)
                self.assertGreaterEqual(done["connections"], 2)
                self.assertEqual(done["holes"], [])
                copy = self.restored(lb, major)
                for ledger in ledgers:
                    self.assertEqual(ledger.missing(copy), [])

    def test_clean_stop_stores_everything(self):
        server, lb = self.registered()
        receiver = self.receiver(lb, "--interval", "1h")
        lb("backup", live=True).ok()
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
        lsn = server.lsn()
        done = self.ended(receiver)
        self.assertGreaterEqual(int(done["durable_lsn"].split("/")[1], 16), int(lsn.split("/")[1], 16))
        server.kill9()
        self.assertEqual(self.restored(lb).value("SELECT count(*) FROM t"), "1000")


    def test_it_ends_at_a_position_that_was_asked_for(self):
        server, lb = self.registered()
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
        lsn = server.value("SELECT pg_current_wal_flush_lsn()")
        done = self.receiver(lb, "--until-lsn", lsn, "--interval", "1h", wait=False).wait()
        self.assertEqual(done.code, 0, done.err)
        self.assertTrue(self.tails(lb))


class Failover(ReceiveCase):
    def standby_of(self, primary):
        data = new_directory("standby") / "data"
        run([tool("pg_basebackup", primary.major), "-h", primary.place, "-p", primary.port, "-U", "postgres", "-D", data, "-R",
             "-X", "stream", "-c", "fast", "--no-sync"])
        return Cluster.attach(data, primary.major, start=True)

    def test_three_failovers_under_load(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                self.fail_over(major)

    def fail_over(self, major):
        primary, lb = self.registered(major, conf={"wal_keep_size": "256MB"})
        primary.pgbench("-i", "-q", "-s", "1")
        standby = self.standby_of(primary)
        receiver = None
        for turn in range(3):
            hosts = [primary, standby]
            if receiver is None:
                lb.server = primary
                conninfo = (f"host={','.join(str(host.place) for host in hosts)} port=5432,5432 user=postgres"
                            " connect_timeout=5")
                receiver = self.receiver(lb, conninfo=conninfo)
                if turn == 0:
                    lb("backup", live=True).ok()
            load = self.load(primary)
            time.sleep(1.5)
            primary.kill9()
            load.kill()
            standby.promote()
            load = self.load(standby)
            wait_until(lambda: standby.value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND"
                                             " application_name = 'lifeboat'") == "1", "the receiver at the new primary", 60)
            time.sleep(1)
            load.stop()
            # The next pair; the receiver is stopped because the hosts in its connection string change.
            self.durable(standby)
            self.ended(receiver)
            receiver = None
            primary, standby = standby, (self.standby_of(standby) if turn < 2 else None)
        self.assertTrue(primary.value("SELECT pg_walfile_name(pg_current_wal_lsn())").startswith("00000004"))
        lb("verify").ok()
        for timeline in (2, 3, 4):
            self.assertTrue(any(f"/{timeline:08X}.history-" in path for path in lb.objects()), timeline)
        copy = self.restored(lb, major)
        dump_compare(primary, copy)

    def test_a_standby_is_refused_unless_allowed(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                primary, lb = self.registered(major)
                standby = self.standby_of(primary)
                lb.server = standby
                refused = self.receiver(lb, wait=False)
                wait_until(lambda: "is a standby" in refused.result().err, "the reason")
                refused.stop()
                self.assertEqual(self.tails(lb), {})
                receiver = self.receiver(lb, "--allow-standby")
                primary.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
                wait_until(lambda: self.tails(lb), "a tail from a standby")
                self.ended(receiver)


class Refusals(ReceiveCase):
    def test_foreign_server(self):  # T26
        server, lb = self.registered()
        other = self.cluster()
        lb.server = other
        done = self.receiver(lb, wait=False).wait(check=False)
        self.assertFails(done, FOREIGN, "registered")
        self.assertEqual(self.tails(lb), {})

    def test_slot_names(self):
        server, lb = self.registered()
        done = self.receiver(lb, "--slot", "No Slot", wait=False).wait(check=False)
        self.assertFails(done, 2, "--slot")


class Tails(ReceiveCase):
    def test_few_while_it_is_filled_and_none_when_it_is_whole(self):
        server, lb = self.registered()
        receiver = self.receiver(lb, "--synchronous")
        server.configure(synchronous_standby_names="lifeboat").reload()
        segment = server.value("SELECT pg_walfile_name(pg_current_wal_lsn())")
        server.psql("CREATE TABLE t (i int)")
        session, most = server.session(), 0
        for i in range(400):
            session.execute(f"INSERT INTO t SELECT generate_series(1, {i % 7 + 1})")
            most = max(most, self.tails(lb).get(segment, 0))
        print(f"at most {most} pieces", flush=True)
        self.assertGreater(most, 1)
        self.assertLessEqual(most, 40)
        server.switch_wal()
        self.durable(server)
        wait_until(lambda: segment in self.segments(lb) and segment not in self.tails(lb), "a whole segment without tails")
        made = self.ended(receiver)
        self.assertGreater(made["merged_tails"], 0)

    def test_a_tail_is_used_at_the_end_of_everything_only(self):  # T45
        server, lb = self.registered()
        receiver = self.receiver(lb)
        lb("backup", live=True).ok()
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
        self.durable(server)
        in_tail = server.now()
        time.sleep(0.05)
        server.psql("INSERT INTO t SELECT generate_series(1, 1000)")
        self.durable(server)
        self.ended(receiver)
        [segment] = self.tails(lb)
        # The tail is what recovery gets, as long as it ends the archive.
        target = new_directory("got") / "RECOVERYXLOG"
        self.assertEqual(lb("wal", "get", segment, target).code, 0)
        self.assertEqual(target.stat().st_size, WAL_SEGMENT_MB << 20)
        self.assertEqual(self.restored(lb).value("SELECT count(*) FROM t"), "2000")
        early = self.restored(lb, 15, "--target-time", in_tail, "--action", "promote")
        self.assertEqual(early.value("SELECT count(*) FROM t"), "1000")
        # Later WAL comes, but not this segment: the tail must not end a recovery.
        server.switch_wal()
        later = server.switch_wal()
        self.assertGreater(later, segment)
        lb("wal", "push", f"pg_wal/{later}", cwd=server.data).ok()
        self.assertEqual(lb("wal", "get", segment, new_directory("got") / "RECOVERYXLOG").code, 1)
        refused = lb("restore", "--to", new_directory("copy") / "data")
        self.assertFails(refused, UNREACHABLE, segment)

    def test_an_encrypted_repository_and_the_second_implementation(self):
        key = new_directory("k") / "key"
        server, lb = self.registered(repo_options=["--key-file", str(key)], wal_segsize=1)
        receiver = self.receiver(lb, "--interval", "100ms")
        lb("backup", live=True).ok()
        for i in range(20):
            server.psql(f"CREATE TABLE t{i} AS SELECT generate_series(1, 1000) AS i")
            self.durable(server)
        server.kill9()
        self.ended(receiver)
        self.assertTrue(self.tails(lb))
        lb("verify").ok()
        decoder = give(shutil.copy(DECODER, new_directory("decoder", mode=0o755) / "decode_repository.py"))
        probe = run([PYTHON, "-c", "import xxhash, cryptography, lz4.block, zstandard"], check=False)
        if probe.code == 0:
            checked = run([PYTHON, decoder, lb.repo_path, "--check", "--key-file", key])
            self.assertRegex(checked.out, "[1-9][0-9]* pieces of tails")
        self.assertEqual(self.restored(lb).value("SELECT count(*) FROM t19"), "1000")

    def test_a_drill_goes_to_the_end_of_the_tail(self):
        server, lb = self.registered()
        receiver = self.receiver(lb, "--synchronous")
        lb("backup", live=True).ok()
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
        self.durable(server)
        drilled = lb("drill", live=True).ok().json
        self.assertEqual((drilled["lost_commits"], drilled["rpo_seconds"]), (0, 0), drilled["rpo_how"])
        self.ended(receiver)

    def test_what_postgresql_has_is_not_replaced_by_less(self):
        """A pg_wal that holds more of the segment than the tail does is left to PostgreSQL."""
        server, lb = self.registered()
        receiver = self.receiver(lb)
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
        self.durable(server)
        self.ended(receiver)
        [segment] = self.tails(lb)
        server.psql("INSERT INTO t SELECT generate_series(1, 1000)")
        self.assertEqual(lb("wal", "get", segment, "pg_wal/RECOVERYXLOG", cwd=server.data).code, 1)
        self.assertEqual(lb("wal", "get", segment, new_directory("got") / "RECOVERYXLOG").code, 0)


class Away(ReceiveCase):
    def test_nothing_is_acknowledged_while_the_repository_is_away(self):  # T25
        server, lb = self.registered()
        receiver = self.receiver(lb)
        lb("backup", live=True).ok()
        server.psql("CREATE TABLE t (i int)")
        self.durable(server)
        aside = lb.repo_path.with_name("aside")
        for bare in (False, True):  # gone, and as the mount point of a file system that is not mounted
            lb.repo_path.rename(aside)
            if bare:
                lb.repo_path.mkdir()
                give(lb.repo_path)
            lsn = server.value("INSERT INTO t SELECT generate_series(1, 100); SELECT pg_current_wal_flush_lsn()")
            time.sleep(3)
            behind = server.value("SELECT flush_lsn < " + f"'{lsn}' FROM pg_stat_replication")
            self.assertEqual(behind, "t")
            if bare:
                run(["rm", "-rf", lb.repo_path])
            aside.rename(lb.repo_path)
            self.durable(server)
        self.assertTrue(receiver.running)
        server.kill9()
        self.ended(receiver)
        lb("verify").ok()
        self.assertEqual(self.restored(lb).value("SELECT count(*) FROM t"), "200")

    def test_more_than_memory_holds_waits_at_the_server(self):
        server, lb = self.registered(wal_segsize=1)
        receiver = self.receiver(lb)
        lb("backup", live=True).ok()
        aside = lb.repo_path.with_name("aside")
        lb.repo_path.rename(aside)
        server.psql("CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 30000) AS i")
        time.sleep(2)
        aside.rename(lb.repo_path)
        self.durable(server)
        self.assertNoHole(lb, 1 << 20)
        server.kill9()
        self.ended(receiver)
        self.assertEqual(self.restored(lb).value("SELECT count(*) FROM t"), "30000")

    def test_a_hole_is_told_and_recorded(self):  # T27
        server, lb = self.registered(wal_segsize=1, conf={"max_wal_size": "4MB", "min_wal_size": "2MB",
                                                          "max_slot_wal_keep_size": "1MB", "wal_keep_size": "0"})
        receiver = self.receiver(lb)
        lb("backup", live=True).ok()
        self.ended(receiver)
        server.psql("SELECT pg_drop_replication_slot('lifeboat_main')")
        for _ in range(4):
            server.psql("CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 20000) AS i; DROP TABLE t")
            server.checkpoint()
        receiver = self.receiver(lb)
        server.switch_wal()
        self.durable(server)
        done = self.ended(receiver)
        self.assertEqual(len(done["holes"]), 1)
        self.assertTrue(any("/evidence/" in path for path in lb.objects()))
        refused = lb("restore", "--to", new_directory("copy") / "data")
        self.assertFails(refused, UNREACHABLE, "missing")
        holes = [hole for timeline in lb("wal", "status").json["lineages"][0]["timelines"] for hole in timeline["holes"]]
        self.assertTrue(any("recorded at" in hole["cause"] for hole in holes), holes)

    def test_a_slot_that_the_server_gave_up_is_made_again(self):  # T24, T27
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.registered(major, wal_segsize=1, conf={"max_wal_size": "4MB", "min_wal_size": "2MB",
                                                                         "max_slot_wal_keep_size": "1MB", "wal_keep_size": "0"})
                receiver = self.receiver(lb)
                lb("backup", live=True).ok()
                self.ended(receiver)
                for _ in range(4):
                    server.psql("CREATE TABLE t AS SELECT i, repeat('x', 500) FROM generate_series(1, 20000) AS i; DROP TABLE t")
                    server.checkpoint()
                self.assertEqual(server.value("SELECT wal_status FROM pg_replication_slots"), "lost")
                receiver = self.receiver(lb)
                server.switch_wal()
                self.durable(server)
                self.assertNotEqual(server.value("SELECT wal_status FROM pg_replication_slots"), "lost")
                self.assertEqual(len(self.ended(receiver)["holes"]), 1)
                # What comes next is kept for the next receiver.
                server.psql("CREATE TABLE after_it AS SELECT generate_series(1, 10) AS i")
                lsn = server.value("SELECT pg_current_wal_flush_lsn()")
                receiver = self.receiver(lb)
                self.durable(server, lsn)
                self.assertEqual(self.ended(receiver)["holes"], [])


if __name__ == "__main__":
    main()
