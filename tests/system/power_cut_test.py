#!/usr/bin/env python3
"""T48: after a power cut a hole in a sparse file is not the truth about what was written. A mounted backup lives on a real
file system on a disk whose writes and flushes are logged; a server on it commits, checkpoints, cuts and grows tables; the
power is cut at a random write, and what had not been flushed is lost, kept, or torn, as the seed says. Then the same
directory is mounted again, and:

- every commit that was acknowledged before the cut is there, and nothing that was never sent;
- what nobody wrote is what the backup holds, never zeros, and every page, table and index is whole;
- a directory that is not whole cannot be started.

What a cut leaves is the next round's disk, so that damage has time to show: cut, recovered, worked on and cut again.
A part of the tables lies in a tablespace. Restores without a mount are in power_cut_restore_test.py.

It takes less than a minute; LIFEBOAT_SOAK=1 goes on for LIFEBOAT_SOAK_SECONDS for each major, on every file system."""
import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import Cluster, amcheck, checksums, give, main, run, wait_until  # noqa: E402
from system.mount_test import MountCase, end_server, forget_server, is_mounted, unmount  # noqa: E402
from system.power_disk import PowerDisk, missing_for, start_writing  # noqa: E402

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
SECONDS = float(os.environ.get("LIFEBOAT_SOAK_SECONDS") or 300) if SOAK else 15
FILE_SYSTEMS = ["ext4", "xfs", "btrfs"] + (["ext4-1k"] if SOAK else [])
ACCOUNTS, STILL, WRITERS = 40_000, 120_000, 3
BLOCK = 8192
# What the server on the mount is started with. Small buffers: it writes while it works.
WORKING = {"fsync": "on", "full_page_writes": "on", "autovacuum": "off", "shared_buffers": "4MB", "max_wal_size": "64MB"}
# Appended to and cut in the middle of a block by what is not PostgreSQL; large enough to come from the backup.
GROWS, SHRINKS = "grows.txt", "shrinks.txt"
FAR = "far"  # the tablespace's directory, beside the data directory


class Ledger:
    """Which numbers must be in the table `acknowledged`, and which may be, after a cut at a position."""

    def __init__(self):
        self.durable = set()  # on the disk when it was switched on
        self.sent = []        # (number, position when it was sent, position when it was acknowledged or None)
        self._lock = threading.Lock()
        self._number = 0

    def next_number(self):
        with self._lock:
            self._number += 1
            return self._number

    def note(self, number, sent, acknowledged):
        with self._lock:
            self.sent.append((number, sent, acknowledged))

    def required(self, at):
        return self.durable | {number for number, _, done in self.sent if done is not None and done <= at}

    def allowed(self, at):
        return self.durable | {number for number, sent, _ in self.sent if sent <= at}

    def begin_again(self, there):
        self.durable, self.sent = set(there), []


class Workload:
    """Commits, table changes, and a kernel that writes back, each in threads of its own, until the server is gone."""

    def __init__(self, copy, disk, data, ledger, chance):
        self.copy, self.disk, self.data, self.ledger = copy, disk, data, ledger
        self.over = threading.Event()
        jobs = [self.write] * WRITERS + [self.read, self.churn, self.write_back, self.sync_elsewhere]
        # Each has numbers of its own, so that a seed means the same whichever is faster.
        seeds = [chance.random() for _ in jobs]
        self.threads = [threading.Thread(target=self.guarded, args=(job, random.Random(seed)), daemon=True)
                        for job, seed in zip(jobs, seeds)]
        for thread in self.threads:
            thread.start()

    def guarded(self, job, chance):
        # The server dies under them at the end.
        with contextlib.suppress(AssertionError, OSError, ValueError):
            job(chance)

    def write(self, chance):
        session = self.copy.session()
        while not self.over.is_set():
            number, sent = self.ledger.next_number(), self.disk.position
            first, second = sorted(chance.sample(range(1, ACCOUNTS), 2))
            amount, done = chance.randint(1, 100), None
            try:
                session.execute(f"BEGIN; INSERT INTO acknowledged VALUES ({number});"
                                f"UPDATE account SET balance = balance - {amount} WHERE id = {first};"
                                f"UPDATE account SET balance = balance + {amount} WHERE id = {second}; COMMIT")
                done = self.disk.position
            finally:
                self.ledger.note(number, sent, done)
            time.sleep(chance.choice([0, 0, 0.002, 0.02]))

    def read(self, chance):
        """What nobody writes comes from the backup, bit by bit."""
        session = self.copy.session()
        while not self.over.is_set():
            session.execute(f"SELECT t FROM still WHERE id = {chance.randint(1, STILL)}")
            time.sleep(chance.uniform(0, 0.06))

    def churn(self, chance):
        session = self.copy.session()
        while not self.over.is_set():
            last = chance.randint(1000, 19000)
            what = chance.choice([
                ["CHECKPOINT"],
                [f"DELETE FROM shrink WHERE id > {last}", "VACUUM shrink",
                 f"INSERT INTO shrink SELECT g, repeat('n', 100) FROM generate_series({last + 1}, {last + 3000}) g"],
                ["TRUNCATE emptied", "INSERT INTO emptied SELECT g, md5(g::text) FROM generate_series(1, 5000) g"],
                [f"CREATE TABLE made{time.monotonic_ns()} AS SELECT * FROM account WHERE id < 2000"],
                [f"UPDATE account SET pad = repeat('u', 150) WHERE id BETWEEN {last} AND {last + 300}"],
                ["VACUUM account"], ["REINDEX TABLE shrink"],
                self.grow, self.shorten,
            ])
            if callable(what):
                what(chance)
            else:
                for sql in what:
                    session.execute(sql)
            time.sleep(chance.choice([0, 0.01, 0.1]))

    def grow(self, chance):
        with open(self.data / GROWS, "ab") as file:
            file.write(b"appended" * chance.randint(1, 3000))

    def shorten(self, chance):
        size = (self.data / SHRINKS).stat().st_size
        if size > 100_000:
            os.truncate(self.data / SHRINKS, size - chance.randint(1, 30_000))

    def write_back(self, chance):
        """The kernel writes back when it likes."""
        below = [self.disk.below / name for name in ("data", FAR)]
        while not self.over.is_set():
            names = [os.path.join(directory, name) for top in below for directory, _, files in os.walk(top) for name in files]
            with contextlib.suppress(FileNotFoundError):
                names.sort(key=os.path.getsize)
            for path in [*chance.sample(names, min(20, len(names))), *names[-10:]]:
                start_writing(path)
                time.sleep(chance.choice([0, 0, 0.001]))
            time.sleep(chance.uniform(0, 0.03))

    def sync_elsewhere(self, chance):
        """Somebody else on the same file system syncs what is his; all goes into one journal."""
        while not self.over.is_set():
            with open(self.disk.below / "neighbour", "wb") as file:
                file.write(b"n" * chance.randint(1, 20_000))
                file.flush()
                os.fsync(file.fileno())
            time.sleep(chance.uniform(0, 0.03))


class PowerCase(MountCase):
    def backup(self, major):
        """A server's backup with everything the workload wants, and a plain copy of it to compare with."""
        server = self.cluster(major=major, wal_segsize=4, conf=WORKING)
        self.lb = self.lifeboat(server)
        self.lb("init", "--yes", live=True).ok()
        server.archive_with(self.lb.archive_command())
        self.location = server.tablespace("far")
        server.psql(f"CREATE TABLE account (id int PRIMARY KEY, balance bigint, pad text) TABLESPACE far;"
                    f"INSERT INTO account SELECT g, 0, repeat('a', 150) FROM generate_series(1, {ACCOUNTS}) g;"
                    f"CREATE TABLE still AS SELECT g id, md5(g::text) || repeat('s', 100) t FROM generate_series(1, {STILL}) g;"
                    "CREATE INDEX still_id ON still (id) TABLESPACE far;"
                    "CREATE TABLE shrink (id int PRIMARY KEY, t text);"
                    "INSERT INTO shrink SELECT g, repeat('o', 100) FROM generate_series(1, 20000) g;"
                    "CREATE TABLE emptied AS SELECT g id, md5(g::text) t FROM generate_series(1, 5000) g;"
                    "CREATE TABLE acknowledged (n bigint PRIMARY KEY)")
        server.psql("VACUUM (FREEZE, ANALYZE)")
        chance = harness.rng("files")
        for name in (GROWS, SHRINKS):
            (server.data / name).write_bytes(chance.randbytes(400_001))
            give(server.data / name)
        server.checkpoint()
        self.lb("backup", live=True).ok()
        server.psql("UPDATE account SET pad = repeat('b', 150) WHERE id % 50 = 0;"
                    "INSERT INTO shrink SELECT g, repeat('l', 100) FROM generate_series(20001, 21000) g")
        server.wait_archived(server.switch_wal())
        self.still = [server.value(f"SELECT pg_relation_filepath('{name}')") for name in ("still", "still_id")]
        self.cut_short = {server.value(f"SELECT pg_relation_filepath('{name}')") for name in ("shrink", "shrink_pkey", "emptied")}
        server.stop()
        self.plain = harness.new_directory("plain") / "data"
        self.lb("restore", "--to", self.plain, "--target", "immediate", *self.mapping(self.plain)).ok()

    def mapping(self, data):
        """Options that put the tablespace beside a data directory."""
        return ["--tablespace", f"{self.location}={data.parent / FAR}"]

    # --- what is there
    def state_of(self, data):
        """Of a directory that is not mounted."""
        if (data / "lifeboat.mount/state").exists():
            return "mount"
        if (data / "global/pg_control").exists():
            return "plain"
        return "unfinished" if data.exists() else "absent"

    def serve(self, data):
        """Mounts what a cut left; None when it is a plain directory, now or since the last time."""
        if self.state_of(data) == "plain":
            return None
        if self.state_of(data) != "mount":
            return self.mount(self.lb, "latest", data, "--target", "latest", "--action", "promote", *self.mapping(data),
                              *self.bring)
        try:
            return self.mount(self.lb, data, *self.bring)
        except harness.CommandFailed as ended:
            if ended.result.code == 0 and self.state_of(data) == "plain":
                return None
            raise

    bring = ()

    def attach(self, data, conf):
        copy = Cluster.attach(data, self.major, conf=conf)
        forget_server(copy)
        copy.start()
        return copy.wait_recovered()

    def end(self, data, copy, command):
        """Whatever still lives on the disk is gone, as if the power were."""
        postmaster = copy.pid if copy else None
        if postmaster:
            end_server(postmaster)
        if command:
            command.kill()
        unmount(data)
        unmount(data.parent / FAR)

    # --- what must hold
    def bring_up(self, data):
        """Mounts what a cut left, and starts a server on it; (server, command or None)."""
        command = self.serve(data)
        return self.attach(data, {**WORKING, "fsync": "off"}), command

    def verify(self, disk, data, image, required, allowed, bring_up):
        """Recovers what is on the image, and looks at everything. Returns the numbers that are there."""
        with disk.looked_at(image):
            command = copy = None
            try:
                # Somebody looks into it, as a backup of the machine does: what was read must not count as written.
                for path in [*data.rglob("*"), *(data.parent / FAR).rglob("*")]:
                    if path.is_file():
                        path.read_bytes()
                copy, command = bring_up(data)
                there = {int(row[0]) for row in copy.rows("SELECT n FROM acknowledged")}
                self.assertEqual(set(), required - there,
                                 f"committed, acknowledged and lost; {len(there)} are there, up to {max(there, default=0)}")
                self.assertEqual(set(), there - allowed, "there, although nobody sent it")
                if command:
                    # Once more: what has been read and read ahead by now must not count either.
                    copy.stop("immediate")
                    command.stop()
                    copy, command = bring_up(data)
                self.assertEqual("0", copy.value("SELECT sum(balance) FROM account"))
                self.assertEqual("t", copy.value("SELECT count(*) = count(DISTINCT id) FROM shrink"))
                amcheck(copy)
                copy.stop()
                checksums(copy)
                self.compare(data)
                if command:
                    command.stop()
            finally:
                self.end(data, copy, command)
        return there

    def compare(self, data):
        """With the backup, byte by byte: what nobody wrote; and elsewhere no zeros where it has data."""
        for name in self.still:
            original, now = (self.plain / name).read_bytes(), (data / name).read_bytes()
            wrong = [at // BLOCK for at in range(0, len(original), BLOCK) if original[at:at + BLOCK] != now[at:at + BLOCK]]
            self.assertEqual([], wrong, f"blocks of {name} that nobody wrote")
        original = (self.plain / GROWS).read_bytes()
        self.assertEqual(original, (data / GROWS).read_bytes()[:len(original)], "what was there before it grew")
        left = (data / SHRINKS).read_bytes()
        self.assertGreater(len(left), 60_000)
        self.assertEqual((self.plain / SHRINKS).read_bytes()[:len(left)], left, "what was left after cutting")
        tablespaces = (self.plain / "pg_tblspc").glob("*/*/*/*")
        for path in sorted([*(self.plain / "base").rglob("*"), *(self.plain / "global").rglob("*"), *tablespaces]):
            name = str(path.relative_to(self.plain))
            # Free space maps are not in WAL; what was cut short may have grown by zeros.
            if not path.is_file() or "_fsm" in name or name.split("_")[0] in self.cut_short or not (data / name).exists():
                continue
            original, now = path.read_bytes(), (data / name).read_bytes()
            zeros = [at // BLOCK for at in range(0, min(len(original), len(now)), BLOCK)
                     if any(original[at:at + BLOCK]) and not any(now[at:at + BLOCK])]
            self.assertEqual([], zeros, f"blocks of {name} that are zeros")

    def file_systems(self, name, most):
        """Those of this machine; outside of a soak as many as `most`, ext4 first where there are two."""
        possible = []
        for file_system in FILE_SYSTEMS:
            reason = missing_for(file_system)
            if reason and file_system == "ext4":
                harness.skip(f"power cuts: {reason}")
            if reason:
                harness._skipped.append(f"power cuts on {file_system}: {reason}")
                print(f"SKIP: power cuts on {file_system}: {reason}", flush=True)
            else:
                possible.append(file_system)
        if SOAK or len(possible) <= most:
            return possible
        others = harness.rng(f"file system of {name}").sample(possible, len(possible))
        return others[:1] if most == 1 else ["ext4", *[other for other in others if other != "ext4"][:most - 1]]


class Chain:
    """The rounds on one file system: each goes on with what the cut of the one before left."""

    def __init__(self, case, file_system, chance):
        self.case, self.file_system, self.chance = case, file_system, chance
        self.begin()

    def begin(self):
        self.disk, self.ledger = PowerDisk(self.file_system), Ledger()
        self.data = self.disk.path / "data"
        harness._at_end.callback(unmount, self.data)
        harness._at_end.callback(unmount, self.disk.path / FAR)

    def round(self):
        case, disk, data, chance = self.case, self.disk, self.data, self.chance
        case.bring = chance.choice([(), (), ("--hydrate", "--hydrate-rate", "2MB")])
        disk.switch_on()
        command = copy = None
        try:
            was = case.state_of(data)
            command = case.serve(data)
            mounted = disk.position
            conf = {**WORKING, "wal_sync_method": chance.choice(["fdatasync", "fsync", "open_datasync", "open_sync"])}
            copy = case.attach(data, conf)
            workload = Workload(copy, disk, data, self.ledger, chance)
            time.sleep(chance.uniform(0.5, 3))
            if command and chance.random() < 0.5:
                # Mounted again in between, as it would be found after a longer life.
                workload.over.set()
                for thread in workload.threads:
                    thread.join()
                copy.stop("immediate")
                command.stop()
                command = case.serve(data)
                copy = case.attach(data, conf)
                workload = Workload(copy, disk, data, self.ledger, chance)
                time.sleep(chance.uniform(0.5, 2))
            end = disk.end_log()
            workload.over.set()
        finally:
            case.end(data, copy, command)
            disk.switch_off()
        # What was acknowledged when the log was over already seems to be acknowledged at its end.
        at = chance.randint(0 if chance.random() < 0.2 else mounted, end - 1)
        cut, looked_at = disk.place / "cut", disk.place / "looked_at"
        how = disk.cut(at, cut, chance)
        print(f"  {disk.kind}: {was}, {' '.join(case.bring) or 'as read'}, {conf['wal_sync_method']}, {end} records, mounted at "
              f"{mounted}; cut at {how}; {len(self.ledger.required(at))} acknowledged", flush=True)
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", cut, looked_at], check=True)
        there = case.verify(disk, data, looked_at, self.ledger.required(at), self.ledger.allowed(at), case.bring_up)
        disk.forget(looked_at)
        if was == "plain":
            # Nothing of a mount is left to go wrong.
            disk.forget(cut, disk.image)
            self.begin()
        else:
            os.replace(cut, disk.image)
            self.ledger.begin_again(there)


class PowerCutTest(PowerCase):
    def test_mounted_backups(self):
        for self.major in self.majors():
            with self.subTest(major=self.major):
                self.backup(self.major)
                chance = harness.rng(f"power {self.major}")
                chains = [Chain(self, file_system, chance) for file_system in self.file_systems("mount", most=2)]
                began, rounds = time.monotonic(), 0
                while rounds < len(chains) or time.monotonic() - began < SECONDS:
                    chains[rounds % len(chains)].round()
                    rounds += 1
                print(f"{rounds} power cuts on {', '.join(chain.file_system for chain in chains)}, seed {harness.SEED}", flush=True)

    def test_a_mount_that_does_not_sync_is_caught(self):
        """These tests can fail."""
        self.major = 15
        self.backup(self.major)
        library = harness.scratch() / "no_sync.so"
        run(["cc", "-O2", "-shared", "-fPIC", "-o", library, harness.SOURCE / "tests/support/no_sync.c"], user=harness.MOUNTER)
        library.chmod(0o755)
        self.mount_env = {"LD_PRELOAD": library}
        chain = Chain(self, *self.file_systems("caught", most=1)[:1], harness.rng("caught"))
        with self.assertRaises(AssertionError) as caught:
            for _ in range(8):
                chain.round()
        print(f"caught: {str(caught.exception)[:200]}", flush=True)

    mount_env = None

    def mount(self, lb, *words, **options):
        return super().mount(lb, *words, env=self.mount_env, **options)

    def test_an_instant_restore(self):
        """The same around the switch to a plain directory; the same command goes on, or a server starts on what is whole."""
        for self.major in self.majors():
            for file_system in self.file_systems("instant", most=1):
                with self.subTest(major=self.major, file_system=file_system):
                    self.backup(self.major)
                    chance = harness.rng(f"instant {self.major} {file_system}")
                    disk, ledger = PowerDisk(file_system), Ledger()
                    data, self.sockets = disk.path / "data", harness.new_directory("s")
                    harness._at_end.callback(unmount, data)
                    harness._at_end.callback(unmount, disk.path / FAR)
                    command, copy = None, Cluster.attach(data, self.major)
                    copy.place = self.sockets
                    disk.switch_on()
                    try:
                        command = harness.Background(self.instant(data), user=harness.MOUNTER)
                        wait_until(lambda: self.answers(copy) or not command.running, "promotion")
                        promoted = disk.position
                        Workload(copy, disk, data, ledger, chance)  # until the server is stopped for the switch
                        command.wait(120)
                        done = disk.position
                        load = Workload(copy, disk, data, ledger, chance)
                        time.sleep(0.5)
                        end = disk.end_log()
                        load.over.set()
                    finally:
                        self.end(data, copy, command)
                        disk.switch_off()
                    for at in [done, *(chance.randint(promoted, end - 1) for _ in range(20 if SOAK else 3))]:
                        how = disk.cut(at, disk.place / "cut", chance)
                        print(f"  {file_system}: promoted at {promoted}, done at {done} of {end}; cut at {how}", flush=True)
                        self.must_be_plain = at >= done
                        self.verify(disk, data, disk.place / "cut", ledger.required(at), ledger.allowed(at), self.go_on)

    def instant(self, data):
        return self.lb.argv("restore", "--instant", "--to", data, "--port", 5432, "--socket-dir", self.sockets,
                            "--pg-bin", Path(harness.tool("postgres", self.major)).parent, *self.mapping(data))

    def answers(self, copy):
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            return copy.psql("SELECT pg_is_in_recovery()", check=False, timeout=20).out.strip() == "f"
        return False

    def go_on(self, data):
        state = self.state_of(data)
        if state == "plain":
            return self.attach(data, {}), None
        self.assertFalse(self.must_be_plain, f"the command had said that it is done, but it is {state}")
        with contextlib.suppress(FileNotFoundError):
            (self.sockets / ".s.PGSQL.5432.lock").unlink()
        run(self.instant(data), user=harness.MOUNTER, timeout=120)
        self.assertEqual("plain", self.state_of(data))
        copy = Cluster.attach(data, self.major)
        copy.place = self.sockets
        return copy, None


if __name__ == "__main__":
    main()
