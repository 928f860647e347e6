#!/usr/bin/env python3
"""Healing: each fault is caused on a real server, found, and mended when it is on the list; what is not, is left alone; the
cool-down holds; the trail has it; pg_wal is the server's alone; and what PostgreSQL says afterwards decides whether it is
well again (SH1, I3)."""

import fcntl
import json
import os
import signal
import socket
import threading

from harness import (OS_USER, Background, Cluster, SystemTest, binary, dump_compare, give, main, new_directory, pg_bin, tmpfs, wait_until)

USAGE, CONFIG, CHECK_FAILED, NOT_CONFIRMED, ATTENTION = 2, 3, 17, 21, 23
KEEP = {"wal_keep_size": "400MB"}  # so that only we could remove anything


class HealCase(SystemTest):
    """A registered server that archives, with a configuration that says what may be healed."""

    def begin(self, major=None, *, archive=True, repo=None, conf=None, backup=True):
        self.server = self.cluster(major or self.majors()[0], wal_segsize=1, conf={**KEEP, **(conf or {})})
        self.place = new_directory("h")
        self.state, self.socket = new_directory("state", within=self.place), self.place / "s.sock"
        self.lb = self.lifeboat(self.server, repo=repo or new_directory("r") / "repo")
        self.lb("init", "--yes", live=True).ok()
        self.heal_lines, self.more, self.cluster_lines = [], [], []
        if archive:
            self.server.archive_with(self.push_command())
            self.server.psql("CREATE TABLE t (n int PRIMARY KEY, what text); INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 2000) g")
            if backup:
                self.lb("backup", live=True).ok()

    def push_command(self):
        return (f"{binary()} --repo {self.lb.repo} --cluster main wal push --socket {self.socket} --state-dir {self.state} "
                "--retry-time 0 %p")

    def configure(self, allow=(), *lines):
        """Everything hangs after a second, and is not repeated within half an hour unless `lines` say otherwise."""
        text = ["[cluster.main]", f'repo = "{self.lb.repo}"', f'state-dir = "{self.state}"', f'socket = "{self.socket}"',
                'owner = "dba"', f'pg-bin = "{pg_bin(self.server.major)}"', *self.cluster_lines,
                "[cluster.main.heal]", f"allow = {json.dumps(list(allow))}", 'stuck-after = "1s"', *lines, *self.more]
        path = self.place / "lifeboat.toml"
        path.write_text("\n".join(text) + "\n")
        return give(path)

    def heal(self, *options, allow=(), lines=(), server=None, check=None):
        server = server or self.server
        done = self.lb("heal", *options, "--config", self.configure(allow, *lines), "--pg", server.conninfo(), "--pgdata", server.data)
        if check is not None:
            self.assertEqual(done.code, check, f"{done.out}\n{done.err}")
        return done

    def finding(self, done, name):
        found = [one for one in done.json["findings"] if one["id"] == name]
        self.assertEqual(len(found), 1, f"{name}: {done.out}")
        self.assertTrue(found[0]["cites"], found)
        return found[0]

    def finds(self, name, state="ready", **options):
        """Looks until it is found: some faults show after a moment."""
        def there():
            self.seen = self.heal(**options)
            return any(one["id"] == name for one in self.seen.json["findings"])
        wait_until(there, f"{name} is found", timeout=30, interval=0.3)
        self.assertEqual(self.seen.code, ATTENTION, self.seen.out)
        self.assertFalse(self.seen.json["applied"])
        found = self.finding(self.seen, name)
        self.assertEqual(found["state"], state, found)
        return found

    def pg_wal(self):
        """Every file with its inode: what a removal, a rename or a rewrite would change."""
        found = {}
        for entry in os.scandir(self.server.data / "pg_wal"):
            # Old .backup files go when PostgreSQL ends a backup.
            if entry.is_file() and not entry.name.endswith(".backup"):
                found[entry.name] = entry.stat().st_ino
        return found

    def assert_wal_is_there(self, before):
        after = self.pg_wal()
        self.assertEqual({name: after.get(name) for name in before}, before)

    def heals(self, name, action, **options):
        """Dry, not allowed, and done: the whole way of one fault. Returns the record of what was done."""
        files, objects = self.pg_wal(), self.lb.objects()
        self.finds(name, state="not_allowed", **options)
        refused = self.heal("--apply", "--yes", **options)
        self.assertEqual(refused.code, ATTENTION, refused.out)
        self.assertEqual(refused.json["actions"], [])
        self.assertEqual(self.finding(refused, name)["state"], "not_allowed")
        self.finds(name, allow=[action], **options)
        self.assertEqual(self.log(), [], "so far nothing was done")
        self.assertEqual(self.lb.objects(), objects)
        unasked = self.heal("--apply", allow=[action], **options)
        self.assertFails(unasked, NOT_CONFIRMED)
        done = self.heal("--apply", "--yes", allow=[action], **options)
        self.assertEqual([one["action"] for one in done.json["actions"]], [action], f"{done.out}\n{done.err}")
        record = done.json["actions"][0]
        self.assertEqual(record["outcome"], "done", done.out)
        self.assertTrue(record["did"], record)
        self.assertNotIn(name, [one["id"] for one in done.json["findings"]], done.out)
        self.assert_wal_is_there(files)
        self.assertEqual([(one["id"], one["user"], one["finding"]) for one in self.log()], [(record["id"], OS_USER, name)])
        return record

    def log(self):
        return self.lb("heal", "log", "--config", self.configure()).ok().json["records"]

    def remove_wal_object(self, segment):
        removed = [path for path in self.lb.objects() if segment in path and "/wal/" in path]
        self.assertTrue(removed, self.lb.objects())
        for path in removed:
            (self.lb.repo_path / path).unlink()

    def make_gap(self, keep_in_pg_wal=False):
        """A segment in the middle that the repository has lost; the server may have it still."""
        segment = self.server.wait_archived()
        self.server.wait_archived()
        self.remove_wal_object(segment)
        if not keep_in_pg_wal:
            (self.server.data / "pg_wal" / segment).unlink()
        return segment

    def restores(self, lb=None, to="copy"):
        """What the server has now, out of the repository."""
        self.server.wait_archived()
        target = new_directory(to) / "data"
        lb = lb or self.lb
        lb("restore", "--to", target, "--pg-bin", self.server.bin).ok()
        copy = type(self.server).attach(target, self.server.major, start=True)
        copy.wait_recovered()
        dump_compare(self.server, copy)
        copy.stop()


class HangingDaemon:
    """A socket where the first push waits for ever, and every later question is refused: then a push does its work itself."""

    def __init__(self, path):
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        give(path)
        self.listening.listen(16)
        self.held = None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            question = connection.recv(65536)
            if b'"push"' in question and self.held is None:
                self.held = connection
            else:
                connection.close()

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        if self.held:
            self.held.close()


class ArchiverTest(HealCase):
    def test_a_push_that_hangs_is_ended_and_the_archiver_goes_on(self):
        for major in self.majors():
            with self.subTest(major=major):
                self.begin(major)
                daemon = HangingDaemon(self.socket)
                try:
                    segment = self.server.switch_wal()
                    wait_until(lambda: daemon.held, "a push that hangs")
                    record = self.heals("archiver_stuck", "archiver")
                finally:
                    daemon.close()
                    self.socket.unlink()
                self.assertIn("wal push", " ".join(record["did"]))
                self.assertTrue(record["in_repository"])
                self.server.wait_archived(segment, timeout=5)
                self.assertEqual(self.server.value("SELECT failed_count FROM pg_stat_archiver WHERE last_failed_time > last_archived_time"), "")

    def test_a_daemon_that_hangs_is_ended(self):
        self.begin()
        daemon = Background([binary(), "serve", "--config", self.configure(), "--repo", self.lb.repo, "--cluster", "main",
                             "--socket", self.socket, "--state-dir", self.state])
        wait_until(self.socket.exists, "the daemon's socket")
        self.server.wait_archived()
        daemon.signal(signal.SIGSTOP)
        self.addCleanup(lambda: daemon.running and daemon.signal(signal.SIGCONT))
        segment = self.server.switch_wal()
        record = self.heals("daemon_stuck", "archiver")
        self.assertEqual(record["object"], f"process {daemon.process.pid}")
        self.assertFalse(daemon.running)
        self.server.wait_archived(segment, timeout=5)

    def test_what_fails_for_another_reason_is_for_a_person(self):
        self.begin()
        self.server.archive_with("/bin/false")
        self.server.switch_wal()
        everything = ["spool", "archiver", "slot", "receiver", "backup", "standby"]
        found = self.finds("archiver_fails", state="manual", allow=everything)
        self.assertTrue(found["proposal"])
        before = self.pg_wal()
        left = self.heal("--apply", "--yes", allow=everything, check=ATTENTION)
        self.assertEqual(left.json["actions"], [])
        self.assert_wal_is_there(before)


class SlotTest(HealCase):
    def receive(self):
        receiver = self.lb.background("wal", "receive", live=True)
        wait_until(lambda: self.server.value("SELECT state FROM pg_stat_replication") == "streaming", "the receiver streams")
        return receiver

    def caught_up(self):
        end = self.server.lsn()
        wait_until(lambda: self.server.value(f"SELECT flush_lsn >= '{end}' FROM pg_stat_replication") == "t", "the receiver is near")

    def lose_wal(self):
        """The server removes what nobody keeps."""
        for _ in range(4):
            self.server.switch_wal()
        self.server.checkpoint()

    def test_a_slot_that_was_dropped_or_given_up_is_made_again_and_the_hole_recorded(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                self.begin(major, archive=False, conf={"wal_keep_size": "0", "max_wal_size": "2MB", "min_wal_size": "2MB"})
                self.more = ["[cluster.main.serve]", "receive = true"]
                receiver = self.receive()
                self.server.psql("CREATE TABLE t (n int)")
                self.server.switch_wal()
                self.caught_up()
                receiver.stop()
                self.server.psql("SELECT pg_drop_replication_slot('lifeboat_main')")
                self.lose_wal()
                record = self.heals_slot("slot_missing")
                self.assertIn("was removed before it was received", " ".join(record["did"]))
                self.assertEqual(self.server.value("SELECT restart_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'lifeboat_main'"), "t")
                receiver = self.receive()
                self.caught_up()
                receiver.stop()
                # The server gives it up to save its disk.
                self.server.psql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
                self.server.reload()
                self.lose_wal()
                self.assertEqual(self.server.value("SELECT wal_status FROM pg_replication_slots"), "lost")
                done = self.heal("--apply", "--yes", allow=["slot"], lines=['cooldown = "0s"'])
                self.assertEqual([one["finding"] for one in done.json["actions"]], ["slot_lost"], done.out)
                self.assertNotEqual(self.server.value("SELECT wal_status FROM pg_replication_slots"), "lost")
                receiver = self.receive()
                self.server.switch_wal()
                self.caught_up()
                receiver.stop()
                gaps = [one for one in self.lb("wal", "status").json["lineages"][0]["timelines"][0]["holes"]]
                self.assertGreaterEqual(len(gaps), 1, "the holes are known")

    def test_what_was_acknowledged_before_a_hole_is_reached(self):
        self.begin(archive=False, conf={"wal_keep_size": "0", "max_wal_size": "2MB", "min_wal_size": "2MB"})
        self.more = ["[cluster.main.serve]", "receive = true"]
        receiver = self.receive()
        self.lb("backup", live=True).ok()
        self.server.psql("CREATE TABLE marker AS SELECT generate_series(1, 10) AS n")
        self.caught_up()
        acknowledged = self.server.value("SELECT flush_lsn FROM pg_stat_replication")
        receiver.stop()
        self.server.psql("SELECT pg_drop_replication_slot('lifeboat_main')")
        self.lose_wal()
        self.lose_wal()
        self.assertIn(f"WAL from {acknowledged} to ", " ".join(self.heals_slot("slot_missing")["did"]))
        receiver = self.receive()
        self.server.switch_wal()
        self.caught_up()
        receiver.stop()
        self.assertEqual(self.lb("wal", "status").json["lineages"][0]["timelines"][0]["windows"][0]["to_lsn"], acknowledged)
        copy = new_directory("copy") / "data"
        self.lb("restore", "--to", copy, "--target-lsn", acknowledged, "--pg-bin", self.server.bin).ok()
        server = Cluster.attach(copy, self.server.major, start=True).wait_paused()
        self.assertEqual(server.value("SELECT count(*) FROM marker"), "10")
        server.stop()

    def heals_slot(self, name):
        self.finds(name, state="not_allowed")
        self.assertEqual(self.heal("--apply", "--yes").json["actions"], [])
        self.assertEqual(self.server.value("SELECT count(*) FROM pg_replication_slots"), "0")
        done = self.heal("--apply", "--yes", allow=["slot"])
        self.assertEqual([(one["action"], one["outcome"]) for one in done.json["actions"]], [("slot", "done")], done.out)
        return done.json["actions"][0]

    def test_a_receiver_that_hangs_is_restarted_by_its_daemon(self):
        self.begin(conf={"wal_sender_timeout": "2s"})
        self.more = ["[cluster.main.serve]", "receive = true"]
        self.cluster_lines = [f'pg = "{self.server.conninfo()}"']
        daemon = Background([binary(), "serve", "--config", self.configure(), "--socket", self.socket, "--state-dir", self.state])
        active = lambda: self.server.value("SELECT active_pid FROM pg_replication_slots WHERE active")
        wait_until(active, "the receiver")
        with open(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children") as file:
            children = file.read().split()
        if not children:  # it was started by another thread
            children = [child for task in os.listdir(f"/proc/{daemon.process.pid}/task")
                        for child in open(f"/proc/{daemon.process.pid}/task/{task}/children").read().split()]
        receiver = next(int(child) for child in children
                        if b"receive" in open(f"/proc/{child}/cmdline", "rb").read())
        os.kill(receiver, signal.SIGSTOP)
        wait_until(lambda: not active(), "the server gives the connection up", timeout=20)
        record = self.heals("receiver_stuck", "receiver")
        self.assertTrue(record["did"])
        self.assertEqual(self.server.value("SELECT state FROM pg_stat_replication"), "streaming")
        self.assertNotIn(f"{receiver}", os.listdir("/proc"))
        daemon.stop()


class GapTest(HealCase):
    def test_a_gap_is_closed_from_pg_wal_or_left_behind_by_a_backup(self):
        for major in self.majors():
            with self.subTest(major=major):
                self.begin(major)
                segment = self.make_gap(keep_in_pg_wal=True)
                record = self.heals("wal_gap", "backup")
                self.assertEqual(record["did"], [f"stored {segment} from pg_wal"])
                self.restores()

                self.make_gap()
                before = self.pg_wal()
                done = self.heal("--apply", "--yes", allow=["backup"], lines=['cooldown = "0s"'], check=0)
                self.assertIn("took backup", done.json["actions"][0]["did"][-1])
                self.assert_wal_is_there(before)
                self.assertEqual(self.lb("wal", "status").json["lineages"][0]["timelines"][0]["windows"][-1]["hole"], None)
                self.restores()

    def test_the_cool_down_and_the_limit_hold_across_calls(self):
        self.begin()
        self.make_gap()
        self.heal("--apply", "--yes", allow=["backup"], check=0)
        self.make_gap()
        before = self.lb.objects()
        cooling = self.heal("--apply", "--yes", allow=["backup"], check=ATTENTION)
        found = self.finding(cooling, "wal_gap")
        self.assertEqual((found["state"], found["attempts"]), ("cooling_down", 1))
        self.assertTrue(found["not_before"])
        self.assertEqual(cooling.json["actions"], [])
        told = self.heal("--apply", "--yes", allow=["backup"], lines=['cooldown = "0s"', "attempts = 1"])
        self.assertFails(told, CHECK_FAILED, "was tried 1 time")
        self.assertEqual(self.finding(told, "wal_gap")["state"], "exhausted")
        self.assertEqual(self.lb.objects(), before, "nothing was done")
        self.heal("--apply", "--yes", "--only", "spool", allow=["backup"], lines=['cooldown = "0s"'], check=ATTENTION)
        self.assertEqual(self.lb.objects(), before, "another action was asked for")
        self.heal("--apply", "--yes", allow=["backup"], lines=['cooldown = "0s"'], check=0)
        self.assertEqual([one["outcome"] for one in self.log()], ["done", "done"])

    def test_an_attempt_that_was_cut_off_is_in_the_trail_and_counts(self):
        self.begin()
        self.make_gap()
        lines = self.configure(["backup"])
        running = Background([binary(), "heal", "--apply", "--yes", "--config", lines, "--pg", self.server.conninfo(), "--pgdata", self.server.data])
        journal = self.state / "heal-main.jsonl"
        wait_until(lambda: journal.exists() and journal.read_text().count("\n") == 1, "it begins")
        running.kill()
        self.assertEqual([one["outcome"] for one in self.log()], ["begun"])
        self.assertEqual(self.finding(self.heal(allow=["backup"]), "wal_gap")["state"], "cooling_down")

    def test_without_a_journal_nothing_is_done(self):
        self.begin()
        self.make_gap()
        self.state = self.place / "file"
        self.state.write_text("not a directory")
        before = self.lb.objects()
        refused = self.heal("--apply", "--yes", allow=["backup"])
        self.assertNotEqual(refused.code, 0)
        self.assertEqual(self.lb.objects(), before)

    def test_the_configuration_is_checked(self):
        self.begin(archive=False)
        self.assertFails(self.heal(allow=["delete_wal"]), CONFIG, "there is no action 'delete_wal'", "archiver")
        self.assertFails(self.heal(allow=["rotate"]), CONFIG, "rotate needs rotate-to")
        self.assertFails(self.heal(allow=["rotate"], lines=['rotate-to = "nowhere"']), CONFIG, "no section [repo.nowhere]")
        self.assertFails(self.heal("--apply", "--only", "everything"), USAGE, "there is no action 'everything'")
        self.more = ["[cluster.main.schedule]", 'heal = ["*/5 * * * *", "--apply"]']
        checked = self.lb("serve", "--check", "--config", self.configure(["backup"])).ok().json
        self.assertEqual([job["command"] for job in checked["jobs"]], ["heal --apply --yes"])


class SpoolTest(HealCase):
    def test_a_full_spool_is_freed_of_what_nobody_uses(self):
        self.begin()
        spool = tmpfs(8)
        self.cluster_lines = [f'spool = "{spool}"']
        def left(letter, bytes_each):
            path = spool / f"main-{self.server.system_identifier()}-{self.server.major}-{letter * 16}-{'b' * 16}"
            path.mkdir(mode=0o700)
            (path / "lock").touch()
            for number in (2, 3):
                (path / f"{1:08X}{0:08X}{number:08X}").write_bytes(bytes(bytes_each))
            for one in (path, *path.iterdir()):
                give(one)
            return path
        dead, living = left("a", 3 << 20), left("c", 256 << 10)
        strange = give_file(spool / "notes.txt")
        with open(living / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = self.heals("spool_full", "spool")
            self.assertEqual(record["did"], [f"removed {dead}"])
            self.assertFalse(dead.exists())
            self.assertEqual(len(list(living.iterdir())), 3, "somebody uses it")
            self.assertTrue(strange.exists(), "not ours")
        usage = os.statvfs(spool)
        self.assertGreater(usage.f_bavail / usage.f_blocks, 0.5)


def give_file(path):
    path.write_text("not ours\n")
    return give(path)


class RotateTest(HealCase):
    def rotates(self, break_it, mend_it, major):
        self.second = self.lifeboat(self.server, repo=new_directory("r") / "second")
        self.second("init", "--yes", live=True).ok()
        self.more = ["[repo.second]", f'url = "{self.second.repo}"']
        break_it()
        segment = self.server.switch_wal()
        wait_until(lambda: self.server.value("SELECT failed_count > 0 FROM pg_stat_archiver") == "t", "the archiver fails")
        rotate = ['rotate-to = "second"']
        self.finds("repository_refuses", state="manual")
        self.finds("repository_refuses", state="not_allowed", lines=rotate)
        before, setting = self.pg_wal(), self.server.value("SHOW archive_command")
        self.assertEqual(self.heal("--apply", "--yes", lines=rotate).json["actions"], [])
        self.finds("repository_refuses", allow=["rotate"], lines=rotate)
        self.assertEqual(self.server.value("SHOW archive_command"), setting, "so far nothing was done")
        self.rotates_without_a_backup(rotate)
        done = self.heal("--apply", "--yes", allow=["rotate"], lines=[*rotate, 'cooldown = "0s"'])
        self.assertEqual([(one["action"], one["outcome"]) for one in done.json["actions"]], [("rotate", "done")], f"{done.out}\n{done.err}")
        self.assertFalse(done.json["actions"][0]["in_repository"], "it is what is broken")
        self.assert_wal_is_there(before)
        self.assertIn(self.second.repo, self.server.value("SHOW archive_command"))
        self.server.wait_archived(segment, timeout=5)
        self.assertEqual(self.server.value("SELECT last_archived_time > last_failed_time FROM pg_stat_archiver"), "t")
        self.finds("repository_rotated", state="manual", allow=["rotate", "backup"], lines=rotate)
        self.restores(self.second)
        mend_it()
        self.assertEqual([one["in_repository"] for one in self.log()], [False, False])
        self.heal("--apply", "--yes", allow=["rotate"], lines=rotate)
        self.assertEqual([one["in_repository"] for one in self.log()], [True, True], "filed by the next run that can")

    def rotates_without_a_backup(self, rotate):
        """Somebody else's backup keeps that of the rotation from being taken; the next run takes it up again."""
        other = self.second.background("backup", "--rate", "100kB", live=True)
        wait_until(lambda: any("leases/" in name for name in self.second.objects()), "the other backup runs")
        done = self.heal("--apply", "--yes", allow=["rotate"], lines=rotate)
        self.assertEqual([(one["action"], one["outcome"]) for one in done.json["actions"]], [("rotate", "failed")], f"{done.out}\n{done.err}")
        self.assertIn(self.second.repo, self.server.value("SHOW archive_command"))
        other.stop()
        self.finds("repository_rotated", state="cooling_down", allow=["rotate"], lines=rotate)

    def test_a_repository_that_is_read_only_is_left_for_another(self):
        for major in self.majors():
            with self.subTest(major=major):
                self.begin(major)
                folders = [self.lb.repo_path, *(path for path in self.lb.repo_path.rglob("*") if path.is_dir())]
                self.rotates(lambda: [path.chmod(0o500) for path in folders], lambda: [path.chmod(0o750) for path in folders], major)

    def test_a_repository_that_is_full_is_left_for_another(self):
        disk = tmpfs(40)
        self.begin(repo=disk / "repo")
        filler = disk / "filler"
        def fill():
            with open(filler, "wb", buffering=0) as file:
                try:
                    while file.write(bytes(1 << 20)):
                        pass
                except OSError:
                    pass
            give(filler)
            # Of a segment that compresses well little is left: no byte is free.
            with open(filler, "ab", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
        self.rotates(fill, filler.unlink, self.server.major)


class StandbyTest(HealCase):
    def test_a_standby_beyond_repair_is_made_anew_and_the_old_one_kept(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                self.begin(major, conf={"wal_keep_size": "0", "max_wal_size": "2MB", "min_wal_size": "2MB"})
                standby = self.make_standby()
                self.finds_nothing_of(standby)
                standby.stop()
                # WAL that nobody has: the archiver lies for a while, and the server removes what it believes to be archived.
                self.server.archive_with("/bin/true")
                self.server.psql("INSERT INTO t SELECT g, 'lost' FROM generate_series(10001, 12000) g")
                for _ in range(4):
                    self.server.switch_wal()
                wait_until(lambda: self.server.value("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'") == "0", "all was taken")
                self.server.checkpoint().archive_with(self.push_command())
                self.server.wait_archived()
                standby.start()
                waiting = self.finds("standby_beyond_repair", state="manual", server=standby, allow=["standby"])
                self.assertIn("backup first", waiting["proposal"])
                self.lb("backup", live=True).ok()
                self.heals_standby(standby)

    def make_standby(self):
        data = new_directory("standby") / "data"
        sockets = new_directory("k")
        self.lb("standby", "create", "--to", data, "--primary", self.server.conninfo() + " application_name=db2", "--pg-bin", self.server.bin,
                "--socket-dir", sockets, "--start").ok()
        standby = type(self.server).attach(data, self.server.major)
        standby.stop()
        return standby.start()

    def streams(self):
        return self.server.value("SELECT state FROM pg_stat_replication WHERE application_name = 'db2'") == "streaming"

    def finds_nothing_of(self, standby):
        wait_until(self.streams, "the standby streams")
        done = self.heal(server=standby)
        self.assertEqual([one["id"] for one in done.json["findings"]], [], done.out)

    def heals_standby(self, standby):
        self.finds("standby_beyond_repair", state="not_allowed", server=standby)
        before, directory = standby.pid, standby.data.stat().st_ino
        self.assertEqual(self.heal("--apply", "--yes", server=standby).json["actions"], [])
        self.assertEqual(standby.pid, before, "nothing was stopped")
        done = self.heal("--apply", "--yes", allow=["standby"], server=standby)
        self.assertEqual([(one["action"], one["outcome"]) for one in done.json["actions"]], [("standby", "done")], f"{done.out}\n{done.err}")
        wait_until(self.streams, "the new standby streams")
        end = self.server.lsn()
        wait_until(lambda: standby.value(f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t", "it is near")
        self.assertEqual(standby.value("SELECT count(*) FROM t"), self.server.value("SELECT count(*) FROM t"))
        kept = [path for path in standby.data.parent.iterdir() if path.is_dir() and path.stat().st_ino == directory]
        self.assertEqual(len(kept), 1, list(standby.data.parent.iterdir()))
        self.assertTrue((kept[0] / "global/pg_control").exists())
        self.assertEqual([one["finding"] for one in self.log()], ["standby_beyond_repair"])
        self.finds_nothing_of(standby)


class DamageTest(HealCase):
    def test_damage_is_told_and_never_repaired_by_itself(self):
        self.begin()
        path = self.server.data / self.server.value("SELECT pg_relation_filepath('t')")
        self.server.checkpoint().stop()
        with open(path, "r+b") as file:
            file.seek(8192 + 200)
            byte = file.read(1)
            file.seek(8192 + 200)
            file.write(bytes([byte[0] ^ 1]))
        self.server.start()
        self.server.psql("SELECT sum(length(what)) FROM t", check=False)
        damaged = path.read_bytes()
        wait_until(lambda: self.server.value("SELECT sum(checksum_failures) > 0 FROM pg_stat_database") == "t", "PostgreSQL has seen it")
        everything = ["spool", "archiver", "slot", "receiver", "backup", "standby"]
        found = self.finds("corruption", state="manual", allow=everything)
        self.assertRegex(found["proposal"], "lifeboat heal blocks .*--repo .*--pgdata")
        self.heal("--apply", "--yes", allow=everything, check=ATTENTION)
        self.assertEqual(path.read_bytes(), damaged)


if __name__ == "__main__":
    main()
