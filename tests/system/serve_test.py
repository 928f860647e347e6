#!/usr/bin/env python3
"""The daemon: its configuration is checked by line, jobs that were missed are made up for once, `wal push` hands its files over and
does without when nobody is there, and a stop or a kill at any moment loses nothing (SC1)."""

import json
import os
import subprocess
import time
from pathlib import Path

from harness import SystemTest, binary, give, main, new_directory, pg_bin, run, wait_until

CONFIG, UNAVAILABLE, WRONG_KEY, BUSY, CANCELLED = 3, 8, 11, 15, 16
YEARLY = "0 0 1 1 *"
LONG_AGO_US = 1_700_000_000_000_000


class ServeCase(SystemTest):
    def setUp(self):
        super().setUp()
        self.server = self.cluster(self.two_majors()[-1])
        self.lb = self.lifeboat(self.server)
        self.lb("init", "--yes", live=True).ok()
        self.place = new_directory("serve")
        self.socket = new_directory("run", mode=0o755) / "serve.sock"
        self.state = self.place / "state"

    def config(self, schedule=(), serve=(), name="main"):
        """Writes the configuration file; lines of TOML for the two sections."""
        path = self.place / "lifeboat.toml"
        lines = [f"[cluster.{name}]", f'repo = "file://{self.lb.repo_path}"', f'pg = "{self.server.conninfo()}"',
                 f'pgdata = "{self.server.data}"', f'socket = "{self.socket}"', f'state-dir = "{self.state}"',
                 f"[cluster.{name}.serve]", *serve, f"[cluster.{name}.schedule]", *schedule]
        path.write_text("\n".join(lines) + "\n")
        give(path)
        self.path = path
        return path

    def serve(self, *options):
        return self.lb("serve", *options, "--config", self.path, "--socket", self.socket, "--state-dir", self.state)

    def start(self):
        daemon = self.lb.background("serve", "--config", self.path, "--socket", self.socket, "--state-dir", self.state)
        self.addCleanup(daemon.stop)
        wait_until(lambda: self.status() is not None or not daemon.running, "the daemon's answer")
        self.assertTrue(daemon.running, daemon.running or daemon.result().err)
        return daemon

    def status(self):
        result = self.serve("--status")
        return result.json if result.code == 0 else None

    def job(self, name):
        return next(job for job in self.status()["jobs"] if job["job"] == name)

    def missed(self, *names):
        """As if the daemon had been down since long ago, with these jobs known."""
        records = {f"main/{name}": {"due_us": LONG_AGO_US, "due_before_us": 0, "started_us": 0, "ended_us": 0, "exit_code": 0,
                                    "error": "", "retry_us": 0, "runs": 0, "failures": 0} for name in names}
        self.state.mkdir(exist_ok=True)
        (self.state / "serve.json").write_text(json.dumps({"version": 1, "jobs": records}))
        give(self.state)
        give(self.state / "serve.json")

    def below(self, folder):
        return list(self.lb.repo_path.glob(f"clusters/*/*/{folder}/*"))

    def backups(self):
        return [backup["id"] for backup in self.lb("list").ok().json["lineages"][0]["backups"]]


class Configuration(ServeCase):
    def test_what_would_run_when(self):
        self.config([f'backup = "{YEARLY}"', 'weekly = ["0 4 * * sun", "verify", "--jobs", "1"]',
                     'expire = ["@daily", "--keep-count", "2"]'], ['jitter = "5min"'])
        checked = self.serve("--check").ok().json
        self.assertEqual([(job["job"], job["command"]) for job in checked["jobs"]],
                         [("backup", "backup"), ("expire", "expire --keep-count 2 --yes"), ("weekly", "verify --jobs 1")])
        self.assertTrue(checked["jobs"][0]["next"].endswith("-01-01T00:00:00Z"), checked["jobs"][0])
        self.assertFalse(self.state.exists(), "a check changes nothing")

    def test_a_check_opens_what_the_jobs_will_need(self):
        path = self.config([f'backup = "{YEARLY}"'])
        text = path.read_text()
        path.write_text(text.replace("[cluster.main.serve]", 'owner = "dba"\n[cluster.main.serve]') +
                        '[alert.team]\ntype = "command"\ncommand = ["/bin/true"]\n')
        checked = self.serve("--check").ok().json
        self.assertEqual([(one["receiver"], one["type"]) for one in checked["receivers"]], [("team", "command")])
        self.assertIn("team", self.lb("serve", "--check", "--config", path, json=False).ok().out)
        path.write_text(text)
        self.assertIn("nobody is told", self.serve("--check").ok().err)
        url = f"file://{self.lb.repo_path}"
        keyed = text.replace(f'repo = "{url}"', 'repo = "near"') + f'[repo.near]\nurl = "{url}"\nkey-file = "/nowhere/key"\n'
        for broken, code, phrase in [(text.replace(url, "file:///nowhere/repo"), UNAVAILABLE, "/nowhere/repo"),
                                     (keyed, WRONG_KEY, "not encrypted")]:
            path.write_text(broken)
            with self.subTest(phrase=phrase):
                self.assertFails(self.serve("--check"), code, phrase)
                # The daemon itself waits for it, and says so.
                said = self.start().stop().err
                self.assertIn("NOT protected", said)
                self.assertIn(phrase, said)

    def test_each_mistake_is_told_with_its_line(self):
        for schedule, serve, phrase in [
                (['backup = "61 * * * *"'], [], "minute"),
                (['backup = "* * * *"'], [], "five fields"),
                (['backup = 5'], [], "cron expression"),
                (['nightly = "@daily"'], [], "nightly"),
                (['n = ["@daily", "bakcup"]'], [], "backup"),
                (['n = ["@daily", "backup", "--type", "most"]'], [], "type"),
                (['n = ["@daily", "restore", "--to", "/x"]'], [], "is no job"),
                (['n = ["@daily", "serve"]'], [], "is no job"),
                ([], ['recieve = true'], "receive"),
                ([], ['jitter = "soon"'], "jitter"),
                ([], ['archive = "perhaps"'], "archive")]:
            with self.subTest(schedule=schedule, serve=serve):
                path = self.config(schedule, serve)
                result = self.serve("--check")
                self.assertFails(result, CONFIG, phrase)
                self.assertIn(f"{path}:", result.out)


class Jobs(ServeCase):
    def test_what_was_missed_is_made_up_for_once_and_remembered(self):
        self.server.archive_with(self.lb.archive_command())
        self.config([f'backup = "{YEARLY}"', f'check = ["{YEARLY}", "verify"]',
                     f'fails = ["{YEARLY}", "verify", "--backup", "20200101T000000Z-000000"]'])
        self.missed("backup", "check", "fails")
        daemon = self.start()
        wait_until(lambda: all(job["runs"] == 1 and not job["running"] for job in self.status()["jobs"]), "the jobs", timeout=120)
        self.assertEqual(len(self.backups()), 1)
        jobs = {job["job"]: job for job in self.status()["jobs"]}
        self.assertEqual((jobs["backup"]["exit_code"], jobs["check"]["exit_code"]), (0, 0))
        self.assertNotEqual(jobs["fails"]["exit_code"], 0)
        self.assertIn("20200101T000000Z-000000", jobs["fails"]["error"])
        self.assertEqual(jobs["fails"]["failures_in_a_row"], 1)
        # One at a time.
        times = sorted((job["last_started"], job["last_ended"]) for job in jobs.values())
        for (_, ended), (started, _) in zip(times, times[1:]):
            self.assertLessEqual(ended, started)
        daemon.stop()
        daemon = self.start()
        time.sleep(1)
        self.assertEqual({job["job"]: job["runs"] for job in self.status()["jobs"]}, {"backup": 1, "check": 1, "fails": 1})
        self.assertEqual(len(self.backups()), 1)

    def test_a_backup_that_was_cut_off_is_made_up_for(self):
        self.server.archive_with(self.lb.archive_command())
        self.config([f'backup = ["{YEARLY}", "--rate", "5MB"]'])
        for kill in (False, True):
            with self.subTest(kill=kill):
                done = len(self.backups())
                self.missed("backup")
                attempts = len(self.below("attempts"))
                daemon = self.start()
                wait_until(lambda: len(self.below("attempts")) > attempts, "the backup")
                self.assertTrue(self.job("backup")["running"])
                aborted = len(self.below("cards"))
                daemon.kill() if kill else daemon.stop()
                # The backup ends with its daemon, and says so.
                wait_until(lambda: len(self.below("cards")) > aborted, "the end of the backup")
                self.assertEqual(len(self.backups()), done)
                self.config([f'backup = "{YEARLY}"'])
                daemon = self.start()
                wait_until(lambda: self.job("backup")["exit_code"] == 0, "the backup that was made up for", timeout=120)
                self.assertEqual(len(self.backups()), done + 1)
                daemon.stop()
                self.config([f'backup = ["{YEARLY}", "--rate", "5MB"]'])
        self.lb("verify").ok()


class HandOver(ServeCase):
    def archive(self):
        self.server.archive_with(self.lb.archive_command() + f" --socket {self.socket}")

    def pushed(self):
        return self.status()["clusters"][0]["pushed_files"]

    def fill(self, segments=3):
        for i in range(segments):
            self.server.psql(f"CREATE TABLE IF NOT EXISTS t (a text); INSERT INTO t SELECT md5(g::text) FROM generate_series(1, 1000) g")
            self.server.switch_wal()
        self.server.wait_archived()

    def test_the_daemon_stores_what_push_gives_it_and_push_does_without(self):
        self.config()
        self.archive()
        daemon = self.start()
        self.fill()
        before = self.pushed()
        self.assertGreaterEqual(before, 3)
        # Killed in between: push does the work itself, and the next daemon takes the socket over.
        daemon.kill()
        self.assertTrue(self.socket.exists())
        self.fill()
        daemon = self.start()
        self.fill()
        self.assertGreaterEqual(self.pushed(), 3)
        self.lb("backup", live=True).ok()
        self.lb("verify").ok()
        second = self.serve()
        self.assertFails(second, BUSY, "another daemon")
        daemon.stop()
        self.assertFalse(self.socket.exists())
        self.assertFails(self.serve("--status"), UNAVAILABLE, "no daemon")

    def test_an_error_of_the_daemon_is_the_error_of_the_push(self):
        self.config()
        self.archive()
        self.start()
        self.fill(1)
        segment = sorted((self.server.data / "pg_wal").glob("0000*0*"))[0]
        broken = self.server.data / "pg_wal" / "00000001000000AA00000001"
        broken.write_bytes(segment.read_bytes())
        give(broken)
        result = run([binary(), "--repo", f"file://{self.lb.repo_path}", "wal", "push", f"pg_wal/{broken.name}", "--socket",
                      self.socket], cwd=self.server.data, check=False)
        self.assertEqual(result.code, 10, result.err)
        self.assertIn(broken.name, result.err)

    def test_another_repository_is_not_the_daemons(self):
        self.config()
        self.start()
        other = self.lifeboat(self.server, repo=new_directory("other") / "repo")
        other("init", "--yes", live=True).ok()
        self.server.archive_with(other.archive_command() + f" --socket {self.socket}")
        self.fill()
        self.assertEqual(self.pushed(), 0)
        self.assertTrue([name for name in other.objects() if "/wal/" in name])

    def test_a_socket_of_somebody_else_is_not_believed(self):
        """It says that everything is stored. Nobody may be told so by another user."""
        self.config()
        script = ("import socket, sys, os\n"
                  f"s = socket.socket(socket.AF_UNIX); s.bind({str(self.socket)!r}); os.chmod({str(self.socket)!r}, 0o777); s.listen(8)\n"
                  "while True:\n"
                  "    c, _ = s.accept(); q = c.recv(65536)\n"
                  "    c.sendall(b'{\"stored\": {\"file\": \"000000010000000000000001\", \"lineage\": \"1-15\", \"already_stored\": false}}\\n')\n"
                  "    c.close()\n")
        os.chmod(self.socket.parent, 0o777)
        liar = subprocess.Popen(["python3", "-c", script], user="nobody", group="nogroup", extra_groups=[])
        self.addCleanup(lambda: (liar.kill(), liar.wait()))
        wait_until(self.socket.exists, "the liar")
        self.archive()
        self.fill()
        self.assertTrue([name for name in self.lb.objects() if "/wal/" in name])
        self.lb("backup", live=True).ok()


class Beacons(ServeCase):
    def test_the_daemon_writes_them_and_a_drill_measures_by_them(self):
        self.server.archive_with(self.lb.archive_command())
        self.lb("backup", live=True).ok()
        self.config(serve=['beacon = "200ms"'])
        self.assertEqual(self.serve("--check").ok().json["clusters"][0]["processes"], ["wal beacon --every 200ms"])
        daemon = self.start()
        process = lambda: self.status()["clusters"][0]["processes"][0]  # noqa: E731
        wait_until(lambda: process()["state"] == "running", "the beacons")
        time.sleep(1)
        # Killed: another goes on.
        os.kill(process()["pid"], 9)
        wait_until(lambda: process()["starts"] == 2 and process()["state"] == "running", "the next", timeout=30)
        time.sleep(1)
        daemon.stop()
        self.server.switch_wal()
        self.server.wait_archived()
        time.sleep(2)
        drill = self.lb("drill", "--to", new_directory("drill") / "d", "--pg-bin", pg_bin(self.server.major)).ok().json
        check = next(check for check in drill["checks"] if check["id"] == "beacon")
        self.assertEqual(check["result"], "passed", check)
        self.assertEqual(drill["rpo_bound"], "at_most")
        self.assertEqual(drill["rpo_seconds"], drill["beacon_age_seconds"])
        self.assertGreater(drill["rpo_seconds"], 2)
        self.assertLess(drill["rpo_seconds"], 60)
        # Another cluster's are not ours, and none is none.
        late = self.lb("backup", live=True).ok().json
        again = self.lb("drill", "--backup", late["backup"], "--to", new_directory("drill") / "d", "--pg-bin",
                        pg_bin(self.server.major)).ok().json
        self.assertIsNone(again["rpo_seconds"])
        self.assertEqual(next(check for check in again["checks"] if check["id"] == "beacon")["result"], "skipped")

    def test_a_standby_is_waited_for(self):
        self.lb("wal", "beacon", live=True).ok()
        self.server.configure(primary_conninfo="host=/nowhere", recovery_target_timeline="latest")
        self.server.stop()
        (self.server.data / "standby.signal").touch()
        give(self.server.data / "standby.signal")
        self.server.start()
        self.assertFails(self.lb("wal", "beacon", live=True), 14, "standby")
        waiting = self.lb.background("wal", "beacon", "--every", "100ms", live=True)
        self.addCleanup(waiting.stop)
        time.sleep(1)
        self.assertTrue(waiting.running)
        self.server.promote()
        time.sleep(1)
        waiting.signal(15)
        self.assertGreater(waiting.wait(check=False).json["written"], 0)


class Queue(ServeCase):
    """T27: what happens to WAL that waits while the repository is away is decided by whoever runs the server."""

    def away(self):
        path = self.lb.repo_path
        moved = path.with_name(path.name + "-aside")
        path.rename(moved)
        return lambda: moved.rename(path)

    def fill(self, segments):
        for _ in range(segments):
            self.server.psql("CREATE TABLE IF NOT EXISTS t (a text); INSERT INTO t SELECT md5(g::text) FROM generate_series(1, 1000) g")
            self.server.switch_wal()

    def test_without_a_limit_it_waits(self):
        self.state.mkdir()
        give(self.state)
        self.server.archive_with(self.lb.archive_command() + f" --state-dir {self.state} --retry-time 1s")
        self.lb("backup", live=True).ok()
        back = self.away()
        self.fill(4)
        time.sleep(3)
        back()
        self.server.restart()  # the archiver sleeps for a minute after three failures
        self.server.wait_archived()
        window = self.lb("wal", "status").ok().json["lineages"][0]
        self.assertEqual([hole for timeline in window["timelines"] for hole in timeline["holes"]], [])

    def test_nothing_is_dropped_that_cannot_be_noted(self):
        """A hole that nobody was told of is worse than a full disk."""
        self.server.configure(archive_mode="on", archive_command="false").restart()
        self.fill(4)
        waiting = sorted(path.stem for path in (self.server.data / "pg_wal/archive_status").glob("*.ready"))
        self.away()
        result = run([binary(), "--repo", f"file://{self.lb.repo_path}", "wal", "push", f"pg_wal/{waiting[0]}", "--state-dir",
                      self.place / "absent", "--retry-time", "100ms", "--queue-max", "1MB"], cwd=self.server.data, check=False)
        self.assertEqual(result.code, UNAVAILABLE, result.err)
        self.assertIn("cannot be noted", result.err)

    def test_dropped_wal_is_told_recorded_and_begins_a_new_window(self):
        for daemon in (False, True):
            with self.subTest(daemon=daemon):
                self.setUp()
                self.state.mkdir()
                give(self.state)
                command = self.lb.archive_command() + f" --state-dir {self.state} --retry-time 100ms --queue-max 8MB"
                if daemon:
                    self.config()
                    self.start()
                    command += f" --socket {self.socket}"
                self.server.archive_with(command)
                self.lb("backup", live=True).ok()
                self.server.wait_archived()
                back = self.away()
                self.fill(5)
                wait_until(lambda: "was NOT stored: dropped because" in self.server.log_text(), "the drop", timeout=90)
                doctor = self.lb("doctor", live=True).json
                archiver = next(finding for finding in doctor["checks"] if finding["id"] == "archiver")
                self.assertEqual(archiver["severity"], "critical")
                self.assertIn("was dropped", archiver["found"])
                back()
                self.server.restart()
                self.fill(2)
                self.server.wait_archived(timeout=90)
                self.assertEqual(list(self.state.glob("wal-dropped-*")), [], "reported")
                status = self.lb("wal", "status").json["lineages"][0]
                holes = [hole for timeline in status["timelines"] for hole in timeline["holes"]]
                self.assertTrue(any("recorded at" in hole["cause"] and "--queue-max" in hole["cause"] for hole in holes), holes)
                made = self.lb("backup", live=True).ok().json
                self.assertIn("neither in the server's pg_wal nor stored", made["reason"])
                self.assertEqual(made["read_bytes"], made["plain_bytes"])
                self.assertFails(self.lb("restore", "--to", new_directory("r") / "d", "--backup", status["timelines"][0]["windows"][0]["backup"],
                                         "--target-lsn", self.server.lsn()), 13, "missing")


class Library(ServeCase):
    """archive_library of 15 and later: nothing is archived without the daemon, everything with it."""

    def library(self):
        source = Path(os.environ["LIFEBOAT_SOURCE_DIR"])
        found = subprocess.run([source / "tests/support/server_headers.sh", str(self.server.major)], capture_output=True, text=True)
        if found.returncode != 0:
            self.skipTest(f"archive_library of {self.server.major}: {found.stdout.strip()}")
        to = new_directory("library", mode=0o755)
        made = subprocess.run([source / "packaging/archive_library/build", to, found.stdout.strip()], capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        return Path(made.stdout.strip()).with_suffix("")

    def test_files_wait_for_the_daemon_and_are_stored_by_it(self):
        if self.server.major < 15:
            self.server = self.cluster(15)
            self.lb = self.lifeboat(self.server)
            self.lb("init", "--yes", live=True).ok()
        self.config()
        self.server.configure(**{"archive_mode": "on", "archive_library": str(self.library()), "lifeboat_archive.repo": self.lb.repo,
                                 "lifeboat_archive.socket": str(self.socket)})
        self.server.restart()
        self.server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a")
        self.server.switch_wal()
        wait_until(lambda: "no daemon of this user answers" in self.server.log_text(), "the archiver's warning")
        self.assertEqual([name for name in self.lb.objects() if "/wal/" in name], [])
        daemon = self.start()
        self.server.restart()  # the archiver sleeps for a minute after three failures
        self.server.wait_archived(timeout=90)
        self.assertGreaterEqual(self.status()["clusters"][0]["pushed_files"], 1)
        self.lb("backup", live=True).ok()
        self.lb("verify").ok()
        # Another repository than the daemon's: told, and not archived.
        self.server.configure(**{"lifeboat_archive.repo": "file:///elsewhere"})
        self.server.reload()
        self.server.psql("INSERT INTO t SELECT generate_series(1, 1000)")
        self.server.switch_wal()
        wait_until(lambda: "lifeboat did not store" in self.server.log_text(), "the warning")
        daemon.stop()


if __name__ == "__main__":
    main()
