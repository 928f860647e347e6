#!/usr/bin/python3
"""./dev try: the main job on a throw-away PostgreSQL, step by step, with the commands that a user would type.

A server with real tables under pgbench load is backed up while its WAL is archived; a table is dropped; the backup is
restored beside the original to just before that; the rows are compared; a drill measures RTO and RPO. Everything happens
in one directory below /var/tmp, as user postgres on Unix sockets, and is removed at the end.
"""

import contextlib
import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent.parent
BINARY = SOURCE / "build/release/lifeboat"
PG_BIN = Path("/usr/lib/postgresql/15/bin")
USER = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
PORT = 5432  # names the sockets; nothing listens on TCP
RESTORED_PORT = 5433
SCALE = 25  # pgbench: about 380 MB with the table that is lost
ORDERS = 400_000
COLOUR = sys.stdout.isatty()


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


class Demo:
    def __init__(self, place):
        self.place = Path(place)
        self.data = self.place / "data"
        self.sockets = self.place / "run"
        self.repository = self.place / "repository"
        self.key = self.place / "lifeboat.key"
        self.restored = self.place / "restored"
        self.load = None
        self.common = ["--repo", self.repository, "--key-file", self.key]
        self.server = ["--pg", f"host={self.sockets} port={PORT}", "--pgdata", self.data]
        self.step_number = 0

    # --- running things
    def run(self, argv, check=True, **more):
        entry = pwd.getpwnam(USER)
        who = {} if entry.pw_uid == os.geteuid() else {
            "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(USER, entry.pw_gid)}
        env = {"PATH": f"{self.place}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.place), "TZ": "UTC"}
        done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self.place,
                              env=env, **who, **more)
        if check and done.returncode != 0:
            raise SystemExit(f"failed ({done.returncode}): {shlex.join(map(str, argv))}\n{done.stdout}{done.stderr}")
        return done

    def step(self, text):
        self.step_number += 1
        print(f"\n{paint('1', f'{self.step_number}. {text}')}", flush=True)

    def show(self, argv):
        print(paint("36", "   $ " + shlex.join(map(str, argv))), flush=True)

    def lifeboat(self, *argv, show_output=True):
        """Runs a lifeboat command as shown; returns its JSON document."""
        command = ["lifeboat", *argv]
        self.show(command)
        done = self.run([self.place / "lifeboat", *argv, "--output", "json"])
        document = json.loads(done.stdout)
        return document

    def say(self, text):
        print("   " + text, flush=True)

    def psql(self, sql, port=PORT, database="postgres"):
        host = self.sockets
        done = self.run([PG_BIN / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-d", database, "-c", sql])
        return done.stdout.strip()

    # --- the server
    def make_server(self):
        self.run([PG_BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--data-checksums", "-N", "--locale=C.UTF-8"])
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.sockets}'\nport = {PORT}\n"
                       "shared_buffers = 256MB\nmax_wal_size = 2GB\nlog_min_messages = warning\n")
        self.start_server()
        self.run([PG_BIN / "pgbench", "-h", self.sockets, "-p", PORT, "-i", "-q", "-s", SCALE, "postgres"])
        self.psql(f"""create table orders as select g as id, 'customer ' || (g % 5000) as customer,
                      (random() * 1000)::numeric(10, 2) as amount, md5(g::text) as reference,
                      now() - g * interval '1 second' as placed from generate_series(1, {ORDERS}) g;
                      alter table orders add primary key (id); create index on orders (customer); analyze orders""")

    def start_server(self):
        self.run([PG_BIN / "pg_ctl", "-D", self.data, "-l", self.place / "server.log", "-w", "start"], timeout=60)

    def restart_server(self):
        self.run([PG_BIN / "pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop"], timeout=60)
        self.start_server()

    def start_load(self):
        entry = pwd.getpwnam(USER)
        who = {} if entry.pw_uid == os.geteuid() else {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self.load = subprocess.Popen([PG_BIN / "pgbench", "-h", self.sockets, "-p", str(PORT), "-n", "-c", "4", "-R", "400", "-T", "600",
                                      "postgres"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)

    def stop_load(self):
        if self.load and self.load.poll() is None:
            self.load.terminate()
            self.load.wait()

    def stop_everything(self):
        self.stop_load()
        for data in (self.restored, self.data):
            if (data / "postmaster.pid").exists():
                self.run([PG_BIN / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], check=False, timeout=60)

    def wait_archived(self, wal):
        deadline = time.monotonic() + 60
        while self.psql(f"select coalesce(last_archived_wal >= '{wal}', false) from pg_stat_archiver") != "t":
            if time.monotonic() > deadline:
                raise SystemExit(f"WAL segment {wal} was not archived within 60 s; see {self.place}/server.log")
            time.sleep(0.1)

    # --- the story
    def tell(self):
        digest = "select count(*) || ' rows, ' || md5(string_agg(o::text, ',' order by id)) from orders o"
        total = time.monotonic()

        self.step(f"A PostgreSQL 15 with pgbench's tables (scale {SCALE}) and {ORDERS:,} orders")
        self.make_server()
        size = int(self.psql("select sum(pg_database_size(oid)) from pg_database"))
        self.say(f"{size / 1e6:.0f} MB in {self.data}")

        self.step("Make an encrypted repository, register the cluster, let init set up archiving")
        init = self.lifeboat("init", *self.common, *self.server, "--apply", "--yes")
        self.restart_server()  # archive_mode needs it; init says so
        self.say("archive_command = " + self.psql("show archive_command"))

        self.step("Back up under load (400 transactions a second)")
        self.start_load()
        backup = self.lifeboat("backup", *self.common, *self.server, "--jobs", "2")
        self.say(f"backup {backup['backup']}: {backup['read_bytes'] / 1e6:.0f} MB read, {backup['stored_bytes'] / 1e6:.0f} MB stored, "
                 f"{backup['pages_checked']:,} pages checked, {backup['seconds']:.1f} s")

        self.step("More work, and then somebody drops a table")
        time.sleep(4)
        before = self.psql(digest)
        history_before = int(self.psql("select count(*) from pgbench_history"))
        self.say(f"orders: {before}")
        moment = self.psql("select clock_timestamp()")
        self.show(["psql", "-c", "DROP TABLE orders"])
        self.psql("drop table orders")
        self.say(f"dropped just after {moment}")
        time.sleep(3)
        wal = self.psql("select pg_walfile_name(pg_current_wal_lsn())")
        self.psql("select pg_switch_wal()")
        self.wait_archived(wal)

        self.step("Restore to just before that, beside the original, which keeps running")
        started = time.monotonic()
        restore = self.lifeboat("restore", *self.common, "--to", self.restored, "--target-time", moment, "--jobs", "2", "--start",
                                "--port", RESTORED_PORT, "--socket-dir", self.sockets)
        restored_in = time.monotonic() - started

        self.step("Compare the rows")
        after = self.psql(digest, port=RESTORED_PORT)
        history_after = int(self.psql("select count(*) from pgbench_history", port=RESTORED_PORT))
        same = before == after
        self.say(f"orders: {after}: {'the same, to the byte' if same else 'DIFFERENT'}")
        self.say(f"pgbench_history: {history_before:,} rows seen before the drop, {history_after:,} restored")

        self.step("Drill: rehearse a full recovery of the newest backup, in isolation, while the source keeps working")
        drill_argv = ["drill", *self.common, *self.server, "--jobs", "2", "--rto", "5min", "--rpo", "5min",
                      "--sql", "select count(*) > 0 from pgbench_accounts"]
        drill = self.lifeboat(*drill_argv)
        for check in drill["checks"]:
            self.say(f"{check['result']:8} {check['id']:20} {check['detail'][:110]}")

        self.step("Verify every byte of the repository")
        verify = self.lifeboat("verify", *self.common)
        self.stop_load()

        self.verdict([
            ("table came back as it was", same),
            ("nothing from before the drop is missing", history_after >= history_before),
            (f"restore to a moment, with {size / 1e6:.0f} MB: {restored_in:.1f} s", True),
            (f"drill {drill['evidence']}", drill["verdict"] == "passed"),
            (f"measured RTO {drill['rto_seconds']:.1f} s (target 300 s)", drill["rto_seconds"] <= 300),
            (f"measured RPO {drill['rpo_seconds']:.1f} s (target 300 s), {drill['lost_commits']:,} commits not archived yet"
             if drill["rpo_seconds"] is not None else f"RPO {drill['rpo_how']}",
             drill["rpo_seconds"] is not None and drill["rpo_seconds"] <= 300),
            ("repository verified", True),
        ], time.monotonic() - total)

    def verdict(self, lines, seconds):
        print(f"\n{paint('1', 'Verdict')}")
        for text, good in lines:
            print(f"   {paint('32', 'yes') if good else paint('31', 'NO ')}  {text}")
        print(f"   all in {seconds:.0f} s", flush=True)
        if not all(good for _, good in lines):
            raise SystemExit(1)


def main():
    if not BINARY.exists():
        raise SystemExit("build/release/lifeboat is missing: run ./dev build")
    if not (PG_BIN / "initdb").exists():
        raise SystemExit(f"{PG_BIN} is missing: apt-get install postgresql-15")
    place = tempfile.mkdtemp(prefix="lifeboat-try-", dir="/var/tmp")
    entry = pwd.getpwnam(USER)
    if os.geteuid() == 0:
        os.chown(place, entry.pw_uid, entry.pw_gid)
    demo = Demo(place)
    try:
        shutil.copy(BINARY, demo.place / "lifeboat")  # a clone below /root cannot be read by postgres
        demo.sockets.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(demo.sockets, entry.pw_uid, entry.pw_gid)
        demo.tell()
    finally:
        with contextlib.suppress(Exception):
            demo.stop_everything()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
