"""What the system tests stand on: throw-away PostgreSQL clusters of several majors, the built lifeboat, and oracles that
are not ours. Standard library only.

    class BackupTest(SystemTest):
        def test_round_trip(self):
            for major in self.majors():                      # one loud subtest per major
                with self.subTest(major=major):
                    server = self.cluster(major=major)
                    lb = self.lifeboat(server)
                    ...
    if __name__ == "__main__":
        main()

Environment:
  LIFEBOAT_BINARY      the program under test (else LIFEBOAT_BINARY_DIR/lifeboat, else build/release/lifeboat)
  LIFEBOAT_MAJORS      "15" (default; some tests take one more, which the seed chooses), "13,15,17,18",
                       "all" (13 15 17 18), or "rotate": one of all, chosen by the seed
  LIFEBOAT_SEED        number that decides everything random (default: today's date), printed at the start
  LIFEBOAT_TEST_DIR    where clusters live (default /var/tmp)
  LIFEBOAT_WAL_SEGMENT_MB  of a cluster whose test does not care (default 4): each switch writes, hashes and stores as much
  LIFEBOAT_TEST_STORE  URL of a store below which store_test.py may write, such as s3://bucket/prefix; what the store needs
                       to know besides is taken from variables that begin with its own names (AWS_, AZURE_, GOOGLE_)
  LIFEBOAT_KEEP        set: leave everything there after a failure, and say where

Servers run as the account postgres when the tests run as root, on Unix sockets only, each in a directory of its own.
Everything is removed at the end; only processes that were started here are signalled. What cannot run is skipped with a
line "SKIP: …" on standard output.
"""

import atexit
import contextlib
import datetime
import functools
import hashlib
import itertools
import json
import os
import pwd
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from support import identity
from support.timed import TimedResult

SOURCE = Path(__file__).resolve().parent.parent.parent
ALL_MAJORS = (13, 15, 17, 18)
WAL_SEGMENT_MB = int(os.environ.get("LIFEBOAT_WAL_SEGMENT_MB") or 4)
SEED = int(os.environ.get("LIFEBOAT_SEED") or datetime.date.today().strftime("%Y%m%d"))
OS_USER = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
# Who mounts: root where the tests run as root. FUSE that does not work there is a failure, not a skip.
MOUNTER = "root" if os.geteuid() == 0 else OS_USER


# --- running things ---------------------------------------------------------------------------------------------------

class CommandFailed(AssertionError):
    """A command that had to succeed did not. Carries the Result."""

    def __init__(self, result):
        self.result = result
        super().__init__(f"exit code {result.code} of {' '.join(result.argv)}\n"
                         f"--- stdout\n{result.out[-4000:]}\n--- stderr\n{result.err[-4000:]}")


class Result:
    """A command's end: code is the exit code, or minus the signal's number."""

    def __init__(self, argv, code, out, err, seconds):
        self.argv, self.code, self.out, self.err, self.seconds = [str(a) for a in argv], code, out, err, seconds

    @property
    def json(self):
        """Standard output as the one JSON document that it must be."""
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"standard output is not one JSON document: {error}\n{' '.join(self.argv)}\n"
                                 f"--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}") from None

    def ok(self):
        if self.code != 0:
            raise CommandFailed(self)
        return self


def account(user=OS_USER):
    """Keyword arguments for subprocess that switch to an account with its groups; nothing when it is ours already."""
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return {}
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def environment(user=OS_USER, env=None):
    """A small environment: PATH, locale, the account's home; no PG* variables of the caller."""
    entry = pwd.getpwnam(user)
    base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC",
            "HOME": entry.pw_dir, "USER": user, "LOGNAME": user}
    for name, value in (env or {}).items():
        if value is None:
            base.pop(name, None)
        else:
            base[name] = str(value)
    return base


def run(argv, *, user=OS_USER, input=None, env=None, cwd="/", timeout=300, check=True):
    """Runs a command to its end as `user`. input and output are text."""
    argv = [str(a) for a in argv]
    started = time.monotonic()
    try:
        done = subprocess.run(argv, input=input, stdin=None if input is not None else subprocess.DEVNULL,
                              capture_output=True, text=True, errors="surrogateescape", timeout=timeout, cwd=cwd,
                              env=environment(user, env), **account(user))
    except subprocess.TimeoutExpired as late:
        def text(raw):
            return raw.decode(errors="replace") if isinstance(raw, bytes) else (raw or "")
        raise AssertionError(f"no end after {timeout} s: {' '.join(argv)}\n--- stdout\n{text(late.stdout)[-4000:]}\n"
                             f"--- stderr\n{text(late.stderr)[-4000:]}") from None
    result = Result(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - started)
    return result.ok() if check else result


# A forked child begins with its parent's peak, so a small process stands in between that has not held any data.
_METER = """import os, resource, subprocess, sys
uid, gid, groups = int(sys.argv[1]), int(sys.argv[2]), [int(g) for g in sys.argv[3].split(",") if g]
switch = {"user": uid, "group": gid, "extra_groups": groups} if os.geteuid() != uid else {}
code = subprocess.call(sys.argv[4:], **switch)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code if code >= 0 else 1)
"""


def run_metered(argv, *, user=OS_USER, **options):
    """Runs a command that must succeed; returns its Result and its peak resident memory in bytes (at least what a
    small Python has, about 10 MiB)."""
    entry = pwd.getpwnam(user)
    groups = ",".join(map(str, os.getgrouplist(user, entry.pw_gid)))
    done = run([sys.executable, "-I", "-S", "-c", _METER, entry.pw_uid, entry.pw_gid, groups, *argv],
               user=pwd.getpwuid(os.geteuid()).pw_name, **options)
    return done, int(done.err.strip().rsplit("\n", 1)[-1]) << 10


class Background:
    """A command that runs beside the test. End it with wait(), stop() or kill(); the test's end does so too."""

    def __init__(self, argv, *, user=OS_USER, env=None, cwd="/"):
        self.argv = [str(a) for a in argv]
        self._out = tempfile.TemporaryFile()
        self._err = tempfile.TemporaryFile()
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err,
                                        env=environment(user, env), cwd=cwd, **account(user))
        _at_end.callback(self.kill)

    @property
    def running(self):
        return self.process.poll() is None

    def result(self):
        def text(file):
            file.seek(0)
            return file.read().decode(errors="surrogateescape")
        return Result(self.argv, self.process.returncode, text(self._out), text(self._err),
                      time.monotonic() - self.started)

    def wait(self, timeout=300, check=True):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {timeout} s: {' '.join(self.argv)}\n{self.result().err[-4000:]}") from None
        return self.result().ok() if check else self.result()

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, timeout=30):
        if self.running:
            self.process.terminate()
        return self.wait(timeout, check=False)

    def kill(self):
        if self.running:
            self.process.kill()
            self.process.wait()


def wait_until(condition, what, timeout=60, interval=0.02):
    """Waits until condition() is true and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not so after {timeout} s")
        time.sleep(interval)


# --- places -----------------------------------------------------------------------------------------------------------

_at_end = contextlib.ExitStack()
_failed = False


@functools.lru_cache(maxsize=None)
def scratch():
    """One directory per test program, owned by the servers' account; removed at the end. Its path is short, because
    sockets live in it."""
    base = os.environ.get("LIFEBOAT_TEST_DIR") or "/var/tmp"
    path = Path(tempfile.mkdtemp(prefix="lb-", dir=base))
    give(path)
    path.chmod(0o755)
    _at_end.callback(_remove_scratch, path)
    return path


def _remove_scratch(path):
    if _failed and os.environ.get("LIFEBOAT_KEEP"):
        print(f"kept: {path}", flush=True)
        return
    shutil.rmtree(path, onerror=_make_removable)


def _make_removable(function, path, _error):
    if Path(path) == scratch():
        return  # gone already; what is above it is not ours
    # Tests take rights away on purpose.
    with contextlib.suppress(OSError):
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700, follow_symlinks=False)
    with contextlib.suppress(OSError):
        function(path)


def give(path, user=OS_USER):
    """Makes a file or directory the servers' account's."""
    entry = pwd.getpwnam(user)
    if os.geteuid() == 0:
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    return path


_counter = itertools.count(1)


def new_directory(name="d", mode=0o700, within=None):
    path = (within or scratch()) / f"{name}{next(_counter)}"
    path.mkdir()
    path.chmod(mode)
    return give(path)


def tmpfs(megabytes):
    """A small file system, for full disks. Skips the test where mounting is not allowed."""
    path = new_directory("full")
    if os.geteuid() != 0:
        skip("mounting a small file system needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", path],
                          capture_output=True, text=True)
    if done.returncode != 0:
        skip(f"tmpfs cannot be mounted: {done.stderr.strip()}")
    give(path)
    _at_end.callback(subprocess.run, ["umount", "--lazy", path], check=False)
    return path


def flip_bit(path, offset, bit=0):
    """Damages a file for certain: a flipped bit is never a no-op. An offset past the end wraps around."""
    offset %= os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def tree(path):
    """{relative path: (kind, mode, size or link target, sha256 of files)} of a directory, for "nothing was touched"."""
    found = {}
    for directory, names, files in os.walk(path):
        for name in names + files:
            full = os.path.join(directory, name)
            info = os.lstat(full)
            key = os.path.relpath(full, path)
            if stat.S_ISREG(info.st_mode):
                with open(full, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[key] = ("file", stat.S_IMODE(info.st_mode), info.st_size, digest)
            elif stat.S_ISLNK(info.st_mode):
                found[key] = ("link", 0, os.readlink(full), "")
            else:
                found[key] = ("directory", stat.S_IMODE(info.st_mode), 0, "")
    return found


# --- majors -----------------------------------------------------------------------------------------------------------

_skipped = []


def skip(reason):
    """Skips the running test, loudly."""
    _skipped.append(reason)
    print(f"SKIP: {reason}", flush=True)
    raise unittest.SkipTest(reason)


@functools.lru_cache(maxsize=None)
def _look_for(major):
    """(directory of programs, "") or ("", reason)."""
    done = subprocess.run([SOURCE / "tests/support/pg_majors.sh", "--list", str(major)], capture_output=True, text=True)
    fields = done.stdout.strip().split(" ", 2)
    if done.returncode != 0 or len(fields) < 3:
        return "", (done.stderr.strip() or "tests/support/pg_majors.sh failed")
    return ("", fields[2]) if fields[1] == "-" else (fields[1], "")


def pg_bin(major):
    """The directory of a major's programs; skips the test when it is not there."""
    directory, reason = _look_for(major)
    if not directory:
        skip(f"PostgreSQL {major}: {reason}")
    return Path(directory)


def tool(name, major):
    """A client program for servers of `major`: its own, or where that lacks it (server-only packages) a newer one."""
    for candidate in (major, 15, 17, 18):
        directory, _ = _look_for(candidate)
        if candidate >= major and directory and os.access(f"{directory}/{name}", os.X_OK):
            return Path(directory) / name
    return skip(f"{name} for PostgreSQL {major} is not there")


def majors(wanted=None):
    """The majors to test, those that are there; each that is not is named. wanted narrows what the environment says."""
    text = os.environ.get("LIFEBOAT_MAJORS") or "15"
    if text == "rotate":
        chosen = [random.Random(f"{SEED} major").choice(ALL_MAJORS)]
    elif text == "all":
        chosen = list(ALL_MAJORS)
    else:
        chosen = [int(major) for major in re.split(r"[,\s]+", text.strip())]
    if wanted is not None:
        chosen = [major for major in chosen if major in wanted] or [max(wanted)]
    return _those_there(chosen)


def two_majors(name, wanted=ALL_MAJORS):
    """15, and in every third test another, as the seed and the name choose; or what the environment says (./dev soak: all)."""
    if os.environ.get("LIFEBOAT_MAJORS"):
        return majors(wanted)
    chance = rng(f"major of {name}")
    return _those_there([15, *chance.sample([major for major in wanted if major != 15], 1 if chance.random() < 1 / 3 else 0)])


def all_majors(wanted=ALL_MAJORS):
    """For what must be shown on each: 15, or the oldest of wanted, and one that the seed chooses each day; ./dev soak: all."""
    first = 15 if 15 in wanted else wanted[0]
    other = rng("majors").choice([major for major in wanted if major != first])
    return majors(wanted) if os.environ.get("LIFEBOAT_MAJORS") else _those_there([first, other])


def _those_there(chosen):
    there = []
    for major in chosen:
        directory, reason = _look_for(major)
        if directory:
            there.append(major)
        else:
            _skipped.append(f"PostgreSQL {major}: {reason}")
            print(f"SKIP: PostgreSQL {major}: {reason}", flush=True)
    if not there:
        raise unittest.SkipTest(f"none of PostgreSQL {', '.join(map(str, chosen))} is there")
    return there


def rng(name):
    """Random numbers that the seed and a name decide."""
    return random.Random(f"{SEED} {name}")


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

# Fast and small, and without anything that would hide a fault: full_page_writes stays on.
BASE_CONF = {
    "listen_addresses": "", "shared_buffers": "32MB", "max_connections": "40", "fsync": "off", "wal_level": "replica",
    "max_wal_senders": "6", "max_replication_slots": "6", "max_wal_size": "512MB", "log_min_messages": "info",
    "log_line_prefix": "%m [%p] ", "lc_messages": "C", "timezone": "UTC", "log_timezone": "UTC",
    "jit": "off",  # a major of another suite would load LLVM with libraries of this one
}


@functools.lru_cache(maxsize=None)
def _made_by_initdb(major, options):
    made = new_directory("initdb-") / "data"
    run([pg_bin(major) / "initdb", "-D", made, *options])
    return made


class Cluster:
    """A PostgreSQL of its own. Cluster(...) makes it as initdb does; Cluster.attach(directory) takes one that was restored."""

    def __init__(self, major=15, *, checksums=True, wal_segsize=None, group_access=False, conf=None, initdb=(),
                 start=True, directory=None):
        self._take_place(major, directory or new_directory(f"pg{major}-") / "data")
        options = ["-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8", "-E", "UTF8"]
        # 18 has checksums unless told otherwise, before it is the other way round.
        if checksums:
            options.append("--data-checksums")
        elif major >= 18:
            options.append("--no-data-checksums")
        options += [f"--wal-segsize={wal_segsize or WAL_SEGMENT_MB}", *(["-g"] if group_access else [])]
        run(["cp", "-aT", "--reflink=auto", _made_by_initdb(major, (*options, *initdb)), self.data])
        identity.renew(self.data)
        self.configure(**{**BASE_CONF, **(conf or {})})
        if start:
            self.start()

    def _take_place(self, major, data):
        self.major, self.bin, self.data = major, pg_bin(major), Path(data)
        self.place = new_directory("s")  # sockets and log
        self.port = 5432
        self.log = self.place / "log"
        self._sessions = []
        _at_end.callback(self._end)

    @classmethod
    def attach(cls, data, major, *, start=False, conf=None):
        """A data directory that somebody else made, with a socket directory and log of its own. conf overrides
        everything in it for the lifetime of this object."""
        cluster = cls.__new__(cls)
        cluster._take_place(major, data)
        cluster.overrides = conf or {}
        if start:
            cluster.start()
        return cluster

    overrides = {}

    # --- life
    def start(self, timeout=120, wait=True):
        options = [f"-k {self.place}", f"-p {self.port}", "-c listen_addresses="]
        options += [f"-c {name}={_shell_quote(str(value))}" for name, value in self.overrides.items()]
        done = run([self.bin / "pg_ctl", "-D", self.data, "-l", self.log, "-o", " ".join(options), "-t", timeout,
                    "-w" if wait else "-W", "start"], timeout=timeout + 30, check=False)
        if done.code != 0:
            raise AssertionError(f"the server of {self.data} did not start: {done.err}\n{self.log_text()[-6000:]}")
        return self

    def stop(self, mode="fast", timeout=120):
        self._close_sessions()
        if self.pid:
            run([self.bin / "pg_ctl", "-D", self.data, "-m", mode, "-t", timeout, "-w", "stop"], timeout=timeout + 30)
        return self

    def restart(self):
        return self.stop().start()

    def kill9(self):
        """A crash: SIGKILL to the postmaster and to all its children."""
        pid = self.pid
        assert pid, "the server is not running"
        children = _children(pid)
        for process in [pid, *children]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in [pid, *children]:
            wait_until(lambda process=process: not _alive(process), f"the end of process {process}")
        self._close_sessions()
        # Where process 1 does not reap (containers), the dead postmaster stays a zombie, which the next start would take
        # for alive. It is certainly dead, so its locks go.
        for lock in (self.data / "postmaster.pid", self.place / f".s.PGSQL.{self.port}.lock"):
            with contextlib.suppress(FileNotFoundError):
                lock.unlink()
        return self

    @property
    def pid(self):
        """The postmaster's process number, or None when it does not run (its working directory proves that it is ours)."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            if os.path.samefile(f"/proc/{pid}/cwd", self.data):
                return pid
        except (OSError, ValueError):
            pass
        return None

    @property
    def running(self):
        return self.pid is not None

    def _end(self):
        self._close_sessions()
        pid = self.pid
        if pid:
            os.kill(pid, signal.SIGQUIT)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not _alive(pid), "the end of a server", timeout=20)
            if _alive(pid) and self.pid == pid:
                os.kill(pid, signal.SIGKILL)

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # --- configuration
    def configure(self, **settings):
        """Appends to postgresql.conf; takes effect at the next start or reload()."""
        with open(self.data / "postgresql.conf", "a") as file:
            for name, value in settings.items():
                file.write(f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n")
        return self

    def reload(self):
        self.value("SELECT pg_reload_conf()")
        return self

    def archive_with(self, command):
        """Turns archiving on, restarting when it has to."""
        if not self.running:
            return self.configure(archive_mode="on", archive_command=command)
        restart = self.value("SHOW archive_mode") != "on"
        self.configure(archive_mode="on", archive_command=command)
        return self.restart() if restart else self.reload()

    # --- SQL
    def conninfo(self, database=None, user="postgres"):
        return f"host={self.place} port={self.port} user={user}" + (f" dbname={database}" if database else "")

    def env(self):
        return {"PGHOST": self.place, "PGPORT": self.port, "PGUSER": "postgres"}

    def _psql(self, database, user, *options):
        return [tool("psql", self.major), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo(database, user), *options]

    def psql(self, sql, database="postgres", *, user="postgres", check=True, timeout=300):
        """Runs a script; returns its output without the last line feed (or the Result when check is off)."""
        done = run(self._psql(database, user), input=sql, timeout=timeout, check=check)
        return done.out.rstrip("\n") if check else done

    def rows(self, sql, database="postgres", **options):
        """The result as lists of strings."""
        out = run(self._psql(database, options.pop("user", "postgres"), "-F", "\x1f", "-R", "\x1e"), input=sql,
                  **options).out.rstrip("\n")
        return [row.split("\x1f") for row in out.split("\x1e")] if out else []

    def value(self, sql, database="postgres", **options):
        return self.psql(sql, database, **options)

    def session(self, database="postgres", user="postgres"):
        """A connection that stays open, for transactions and locks that outlive one call."""
        session = Session(self, database, user)
        self._sessions.append(session)
        return session

    def _close_sessions(self):
        while self._sessions:
            self._sessions.pop().close()

    def pgbench(self, *options, database="postgres", background=False):
        argv = [tool("pgbench", self.major), "-h", self.place, "-p", self.port, "-U", "postgres", *options, database]
        return Background(argv) if background else run(argv, timeout=600)

    def tablespace(self, name, *, in_place=False):
        """Creates one and returns its location, None when in place (15 and later)."""
        if in_place:
            self.psql(f"SET allow_in_place_tablespaces = on; CREATE TABLESPACE {name} LOCATION ''")
            return None
        location = new_directory("ts")
        self.psql(f"CREATE TABLESPACE {name} LOCATION '{location}'")
        return location

    def databases(self):
        return self.value("SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0' ORDER BY 1").split("\n")

    # --- facts
    def lsn(self):
        """The write position, or the replay position in recovery."""
        return self.value("SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END")

    def now(self):
        """The server's clock, as --target-time reads it."""
        return self.value("SELECT clock_timestamp()")

    def timeline(self):
        return int(self.value("SELECT timeline_id FROM pg_control_checkpoint()"))

    def system_identifier(self):
        return self.value("SELECT system_identifier FROM pg_control_system()")

    def checkpoint(self):
        self.psql("CHECKPOINT")
        return self

    def switch_wal(self):
        """Ends the current segment; returns its name. Something is written first, so that there is one to end."""
        return self.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn()) FROM pg_logical_emit_message(false, 'test', 'x');"
                          "SELECT pg_switch_wal()").split("\n")[0]

    def wait_archived(self, segment=None, timeout=60):
        """Waits until the archiver has handed over a segment (default: switches and waits for that one)."""
        segment = segment or self.switch_wal()
        def archived():
            last = self.value("SELECT last_archived_wal FROM pg_stat_archiver")
            return re.fullmatch("[0-9A-F]{24}", last[:24]) and last[:24] >= segment
        try:
            wait_until(archived, f"archiving of {segment}", timeout, interval=0.05)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.value('SELECT * FROM pg_stat_archiver')}\n"
                                 f"{self.log_text()[-4000:]}") from None
        return segment

    def recovered(self):
        return self.value("SELECT NOT pg_is_in_recovery()") == "t"

    def wait_recovered(self, timeout=120):
        wait_until(lambda: self.psql("SELECT pg_is_in_recovery()", check=False).out.strip() == "f",
                   "the end of recovery", timeout, interval=0.1)
        return self

    def wait_paused(self, timeout=120):
        question = ("SELECT pg_get_wal_replay_pause_state() = 'paused'" if self.major >= 14 else
                    "SELECT pg_is_wal_replay_paused()")
        wait_until(lambda: self.psql(question, check=False).out.strip() == "t", "a paused recovery", timeout, interval=0.1)
        return self

    def promote(self):
        self.psql("SELECT pg_promote()")
        return self.wait_recovered()


class Session:
    """One psql process that keeps its connection. Not for COPY."""

    def __init__(self, cluster, database, user):
        self._process = subprocess.Popen([str(a) for a in cluster._psql(database, user)][:-2] +
                                         ["-d", cluster.conninfo(database, user)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
                                         env=environment(), cwd="/", **account())
        self.execute("\\unset ON_ERROR_STOP\nSELECT 1")

    def send(self, sql):
        """Sends without waiting, for statements that block; take the answer with receive()."""
        self._mark = f"--end-{next(_counter)}--"
        self._process.stdin.write(f"{sql}\n;\n\\echo {self._mark}\n")
        self._process.stdin.flush()

    def receive(self):
        lines = []
        for line in self._process.stdout:
            if line.rstrip("\n") == self._mark:
                text = "\n".join(lines)
                if re.search(r"^ERROR: |^FATAL: ", text, re.M):
                    raise AssertionError(text)
                return text
            lines.append(line.rstrip("\n"))
        raise AssertionError("the session ended: " + "\n".join(lines))

    def execute(self, sql):
        self.send(sql)
        return self.receive()

    def close(self):
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()


def _shell_quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


# --- oracles that are not ours ----------------------------------------------------------------------------------------

def dump(cluster, database, *options):
    """pg_dump as text, without what differs from run to run."""
    text = run([tool("pg_dump", cluster.major), "-d", cluster.conninfo(database), *options], timeout=600).out
    # Since 2025 scripts are fenced with a random word.
    return "\n".join(line for line in text.split("\n") if not re.match(r"\\(un)?restrict ", line))


def dump_compare(a, b, databases=None, options=()):
    """Two servers hold the same: roles, databases, schema and every row. Raises with the first differences."""
    def roles(cluster):
        text = run([tool("pg_dumpall", cluster.major), "-d", cluster.conninfo("postgres"), "--roles-only"]).out
        return "\n".join(line for line in text.split("\n") if not re.match(r"\\(un)?restrict ", line))
    _same(roles(a), roles(b), "roles")
    names = databases or a.databases()
    if databases is None:
        _same("\n".join(names), "\n".join(b.databases()), "databases")
    for name in names:
        _same(dump(a, name, *options), dump(b, name, *options), f"database {name}")


def _same(left, right, what):
    if left == right:
        return
    left, right = left.split("\n"), right.split("\n")
    for number, (one, other) in enumerate(itertools.zip_longest(left, right), 1):
        if one != other:
            raise AssertionError(f"{what} differ from line {number} on ({len(left)} and {len(right)} lines):\n"
                                 f"  {(one or '<end>')[:300]}\n  {(other or '<end>')[:300]}")


def amcheck(cluster):
    """Every table and index is whole, and every row is found through every B-tree index. Raises with what is not."""
    if cluster.major >= 14:
        run([tool("pg_amcheck", cluster.major), "-h", cluster.place, "-p", cluster.port, "-U", "postgres", "--all",
             "--install-missing", "--heapallindexed"], timeout=900)
        return
    # 13 can check indexes only.
    for database in cluster.databases():
        cluster.psql("CREATE EXTENSION IF NOT EXISTS amcheck; SELECT bt_index_check(i.indexrelid, true) FROM pg_index i"
                     " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
                     " WHERE a.amname = 'btree' AND c.relpersistence <> 't' AND i.indisready AND i.indisvalid", database,
                     timeout=900)


def checksums(cluster):
    """Every page of a stopped cluster with data checksums is as it was written."""
    assert not cluster.running, "pg_checksums needs a stopped server"
    # 13 to 16 share one version of pg_control, which is all that the program asks for.
    run([tool("pg_checksums", 15 if cluster.major in (14, 16) else cluster.major), "--check", "-D", cluster.data],
        timeout=600)


def verify_backup(directory, major, *options):
    """pg_verifybackup accepts a directory with its backup_manifest; WAL is not parsed (-n)."""
    run([tool("pg_verifybackup", major), "-n", *options, directory], timeout=600)


def waldump(cluster, *options):
    """pg_waldump's lines over the cluster's own pg_wal. It reads WAL of its own major only."""
    if not os.access(cluster.bin / "pg_waldump", os.X_OK):
        skip(f"pg_waldump of PostgreSQL {cluster.major} is not there")
    return run([tool("pg_waldump", cluster.major), "-p", cluster.data / "pg_wal", *options], check=False).out.split("\n")


# --- lifeboat ---------------------------------------------------------------------------------------------------------

@functools.lru_cache(maxsize=None)
def binary():
    """The program under test, copied to where the servers' account can run it."""
    source = os.environ.get("LIFEBOAT_BINARY")
    if not source:
        build = os.environ.get("LIFEBOAT_BINARY_DIR") or SOURCE / "build/release"
        source = Path(build) / "lifeboat"
    directory = scratch() / "bin"
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    target = directory / "lifeboat"
    shutil.copyfile(source, target)
    target.chmod(0o755)
    return target


class Lifeboat:
    """The command line, with a repository and a cluster name; with a server, also how to reach it.

        lb = Lifeboat(server)
        lb("init", "--yes", live=True).ok()
        made = lb("backup", live=True).ok().json
    """

    def __init__(self, server=None, *, repo=None, url=None, cluster="main", env=None, options=()):
        self.server, self.cluster, self.env, self.options = server, cluster, dict(env or {}), list(options)
        self.repo_path = None if url else Path(repo) if repo else new_directory("repo-")
        self.repo = url or f"file://{self.repo_path}"

    def argv(self, *command, live=False, json=True):
        """command's words first ("wal", "push"), then its options. live adds --pg and --pgdata of the server."""
        argv = [binary(), *command, "--repo", self.repo, "--cluster", self.cluster, *self.options]
        if live:
            argv += ["--pg", self.server.conninfo(), "--pgdata", self.server.data]
        if json:
            argv += ["--output", "json"]
        return argv

    def __call__(self, *command, live=False, json=True, timeout=600, user=OS_USER, cwd="/", env=None, input=None):
        """Runs to the end; any exit code is a Result. Call .ok() where it must succeed."""
        return run(self.argv(*command, live=live, json=json), user=user, cwd=cwd, env={**self.env, **(env or {})},
                   timeout=timeout, check=False, input=input)

    def background(self, *command, live=False, json=True, env=None):
        return Background(self.argv(*command, live=live, json=json), env={**self.env, **(env or {})})

    def archive_command(self):
        """As `init` prints it: absolute paths, nothing from the environment."""
        words = [str(binary()), "--repo", self.repo, "--cluster", self.cluster, *map(str, self.options)]
        return " ".join(map(_shell_word, words)) + " wal push %p"

    def restore_command(self):
        words = [str(binary()), "--repo", self.repo, "--cluster", self.cluster, *map(str, self.options)]
        return " ".join(map(_shell_word, words)) + " wal get %f %p"

    def objects(self):
        """Relative paths of every object of the repository."""
        return sorted(str(path.relative_to(self.repo_path)) for path in self.repo_path.rglob("*") if path.is_file())


def _shell_word(text):
    return text if re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", text) else _shell_quote(text)


# --- test cases -------------------------------------------------------------------------------------------------------

class SystemTest(unittest.TestCase):
    """Ends its servers and background commands after each test."""

    maxDiff = None

    def setUp(self):
        # What a test starts is ended when it ends, not when the program does: memory and disk stay small.
        global _at_end
        scratch()
        binary_needed = getattr(self, "needs_lifeboat", True)
        if binary_needed:
            binary()
        outer, _at_end = _at_end, contextlib.ExitStack()
        inner = _at_end

        def end():
            global _at_end, _failed
            _failed = _failed or self._went_wrong()
            inner.close()
            _at_end = outer
        self.addCleanup(end)

    def _went_wrong(self):
        result = getattr(self._outcome, "result", None)
        return bool(result and (result.failures or result.errors))

    def majors(self, wanted=None):
        return majors(wanted)

    def two_majors(self, wanted=ALL_MAJORS):
        return two_majors(self.id().rpartition(".")[2], wanted)

    def cluster(self, major=None, **options):
        return Cluster(majors()[0] if major is None else major, **options)

    def lifeboat(self, server=None, **options):
        return Lifeboat(server, **options)

    def assertFails(self, result, code, *phrases):
        """The documented exit code, and one clear line that names what matters."""
        self.assertEqual(result.code, code, f"{' '.join(result.argv)}\n{result.out}\n{result.err}")
        for phrase in phrases:
            self.assertIn(phrase, result.err + result.out)


def main():
    """Runs the test program. Exit code 77 when everything was skipped."""
    print(f"seed {SEED}, majors {os.environ.get('LIFEBOAT_MAJORS') or '15'}", flush=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    result = unittest.main(module="__main__", exit=False, testRunner=unittest.TextTestRunner(
        resultclass=TimedResult, verbosity=2)).result
    print(f"seconds: {result.slowest(12)}", flush=True)
    if _skipped:
        print("skipped: " + "; ".join(dict.fromkeys(_skipped)), flush=True)
    sys.exit(1 if not result.wasSuccessful() else 77 if result.testsRun and len(result.skipped) >= result.testsRun else 0)


atexit.register(lambda: _at_end.close())
