#!/usr/bin/env python3
"""Jobs without the daemon: systemd accepts the units and scores them well, and a line of the crontab, run by /bin/sh as cron
does, takes a backup; two lines of one cluster wait for each other."""

import fcntl
import re
import shutil
import subprocess

from harness import SystemTest, environment, account, give, main, new_directory, run, skip

CONFIG = 3


class ScheduleTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.server = self.cluster()
        self.lb = self.lifeboat(self.server)
        self.lb("init", "--yes", live=True).ok()
        self.place = new_directory("schedule")
        self.state = self.place / "state"

    def config(self, *schedule, serve=(), pg=True):
        path = self.place / "lifeboat.toml"
        path.write_text("\n".join([
            "[cluster.main]", f'repo = "file://{self.lb.repo_path}"', *[f'pg = "{self.server.conninfo()}"'] * pg,
            f'pgdata = "{self.server.data}"', f'state-dir = "{self.state}"', "[cluster.main.serve]", *serve,
            "[cluster.main.schedule]", *schedule]) + "\n")
        give(path)
        return path

    def test_systemd_accepts_the_units_and_scores_them_well(self):
        if not shutil.which("systemd-analyze"):
            skip("systemd-analyze is not installed")
        path = self.config('backup = "15 1 * * *"', 'expire = ["45 1 13 * fri", "--keep-count", "2"]',
                           'odd = ["@hourly", "backup", "--label", "100% of $HOME"]', serve=["receive = true", 'jitter = "5min"'])
        units = self.place / "units"
        made = self.lb("schedule", "systemd", "--config", path, "--to", units).ok().json
        names = [file["name"] for file in made["files"]]
        self.assertEqual(names, ["lifeboat-main-backup.service", "lifeboat-main-backup.timer", "lifeboat-main-expire.service",
                                 "lifeboat-main-expire.timer", "lifeboat-main-odd.service", "lifeboat-main-odd.timer",
                                 "lifeboat-main-wal-receive.service"])
        paths = [units / name for name in names]
        verified = run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths], check=False)
        self.assertEqual((verified.code, verified.err.strip()), (0, ""), verified.out)
        for service in [p for p in paths if p.suffix == ".service"]:
            # 0 is best, 10 worst; the threshold is in tenths.
            run(["systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", service])
        timer = (units / "lifeboat-main-expire.timer").read_text()
        for line in re.findall("^OnCalendar=(.*)$", timer, re.MULTILINE):
            run(["systemd-analyze", "calendar", line])
        # A canary: it does find what is wrong.
        (units / "lifeboat-main-backup.timer").write_text(timer.replace("OnCalendar=*", "OnCalendar=never"))
        broken = run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", units / "lifeboat-main-backup.timer"], check=False)
        self.assertNotEqual(broken.err.strip(), "")

    def test_lines_of_the_crontab_do_their_jobs_one_at_a_time(self):
        self.server.archive_with(self.lb.archive_command())
        path = self.config('backup = ["15 1 * * *", "--label", "100% done"]', 'twin = ["16 1 * * *", "backup", "--type", "full"]',
                           pg=False)
        # How the server is reached is only in the environment now, and cron has none of it.
        known = {**self.server.env(), "PGPASSWORD": "not to be written"}
        made = self.lb("schedule", "cron", "--config", path, json=False, env=known).ok()
        self.assertNotIn("not to be written", made.out)
        self.assertIn("pass file", made.err)
        lines = made.out.splitlines()
        self.assertIn("CRON_TZ=UTC", lines)
        commands = [line.split(" ", 5)[5] for line in lines if line.startswith(("15 ", "16 "))]
        self.assertEqual(len(commands), 2)
        self.state.mkdir()
        give(self.state)
        # cron(8): an unescaped % ends the command; \% is %.
        commands = [command.replace("\\%", "%") for command in commands]
        running = [subprocess.Popen(["/bin/sh", "-c", command], env=environment(), cwd="/", stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **account())
                   for command in [*commands, commands[0]]]
        ended = [(child.communicate(timeout=300), child.returncode) for child in running]
        self.assertEqual(ended, [(("", ""), 0)] * 3)
        backups = self.lb("list").ok().json["lineages"][0]["backups"]
        self.assertEqual(len(backups), 2, "the third began while the first of its kind was there")
        self.assertIn("100% done", [backup.get("label") for backup in backups])

    def test_alerts_are_checked_where_somebody_is_to_be_told_and_wait_for_no_job(self):
        told = self.place / "told"
        path = self.config('backup = "15 1 * * *"', serve=['signals = "5min"'])
        path.write_text('[alert.team]\ntype = "command"\ncommand = ["/bin/sh", "-c", "cat >> %s"]\n' % told +
                        path.read_text().replace("[cluster.main.serve]", 'owner = "dba"\n[cluster.main.serve]'))
        self.state.mkdir()
        give(self.state)
        made = self.lb("schedule", "cron", "--config", path, json=False).ok()
        line, = (line for line in made.out.splitlines() if "alert check" in line)
        self.assertTrue(line.startswith("*/5 * * * * "), line)
        # A backup that runs for hours holds the cluster's lock.
        with open(self.state / "main.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            run(["timeout", "60", "/bin/sh", "-c", line.split(" ", 5)[5]])
        self.assertIn("archive_off", told.read_text())
        # What jobs may write is what they are told to write.
        other = self.place / "other"
        moved = self.lb("schedule", "systemd", "--config", path, "--state-dir", other).ok().json
        service = next(file["text"] for file in moved["files"] if file["name"] == "lifeboat-main-alerts.service")
        self.assertIn(f"ReadWritePaths=-{other}\n", service)
        self.assertRegex(service, f"ExecStart=.* --state-dir {other} .*alert check|ExecStart=.*alert check --state-dir {other} ")
        cron = self.lb("schedule", "cron", "--config", path, "--state-dir", other, json=False).ok().out
        self.assertIn(f"alert check --state-dir {other} ", cron)
        units = self.lb("schedule", "systemd", "--config", path, "--to", self.place / "units").ok().json
        service = next(file["text"] for file in units["files"] if file["name"] == "lifeboat-main-alerts.service")
        self.assertNotIn("flock", service)
        self.assertNotIn("--state-dir", service, "the configuration says it")

    def test_a_drill_by_schedule_goes_to_a_random_moment_unless_told(self):
        path = self.config('drill = "0 5 * * 0"', 'newest = ["0 6 * * 0", "drill", "--target", "latest"]',
                           'logical = ["0 7 * * 0", "drill", "--dump", "latest"]')
        lines = self.lb("schedule", "cron", "--config", path, json=False).ok().out.splitlines()
        chosen = {line[2]: "--random-target" in line for line in lines if re.match("0 [567] ", line)}
        self.assertEqual(chosen, {"5": True, "6": False, "7": False})

    def test_a_configuration_without_jobs_is_an_error_that_says_how(self):
        path = self.config()
        for kind in ("systemd", "cron"):
            self.assertFails(self.lb("schedule", kind, "--config", path), CONFIG, "has no jobs", "[cluster.main.schedule]")


if __name__ == "__main__":
    main()
