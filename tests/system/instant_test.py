#!/usr/bin/env python3
"""`lifeboat restore --instant`: queries are answered within seconds from a mount, everything else comes behind that, and in the
end a server runs on a plain directory in which nothing of ours is left. Killed at any point the same command goes on."""
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import Background, Cluster, amcheck, checksums, main, new_directory, run, wait_until  # noqa: E402
from system.mount_test import MOUNTER, MountCase, end_server, is_mounted, unmount  # noqa: E402

PORT = 5432
ADDRESS = "127.0.0.9"  # nobody else's


class InstantCase(MountCase):
    def argv(self, lb, data, sockets, *words, json=True):
        return lb.argv("restore", "--instant", "--to", data, "--port", PORT, "--socket-dir", sockets, *words, json=json)

    def instant(self, lb, data, sockets, *words, json=True):
        return Background(self.argv(lb, data, sockets, *words, json=json), user=MOUNTER)

    def attach(self, data, sockets, major=15):
        copy = Cluster.attach(data, major)
        copy.place = sockets
        return copy

    def accepting(self, command):
        def said():
            command._err.seek(0)
            return b"accepting queries" in command._err.read() or not command.running
        wait_until(said, "the first answer", timeout=60, interval=0.005)
        if not command.running:
            raise harness.CommandFailed(command.result())

    def assert_plain(self, data):
        self.assertFalse(is_mounted(data))
        for directory, _, names in os.walk(data):
            for name in names:
                path = os.path.join(directory, name)
                self.assertEqual([], os.listxattr(path, follow_symlinks=False), path)
                self.assertFalse(name.startswith("lifeboat.") or name.endswith(".lifeboat_restore"), path)
        self.assertNotIn("lifeboat.mount", os.listdir(data))
        self.assertNotIn("recovery_prefetch", (data / "postgresql.auto.conf").read_text())


    def assert_as_configured(self, copy):
        """Nothing of how it was watched stays on its command line, which pg_ctl restart repeats."""
        line = copy.value("SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings WHERE source = 'command line'"
                          " AND name NOT IN ('unix_socket_directories', 'port', 'config_file', 'data_directory')")
        self.assertEqual("listen_addresses", line)
        self.assertEqual(ADDRESS, copy.value("SHOW listen_addresses"))


class InstantTest(InstantCase):
    def test_queries_at_once_and_a_plain_directory_in_the_end(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb, _ = self.source(major, tablespace=True, conf={"listen_addresses": ADDRESS})
                data, sockets = self.place(), new_directory("s")
                far = data.parent / "far"
                harness._at_end.callback(unmount, far)
                location = server.value("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE oid > 16000")
                copy = self.attach(data, sockets, major)
                command = self.instant(lb, data, sockets, "--tablespace", f"{location}={far}", "--pg-bin", copy.bin)
                self.accepting(command)
                self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
                ended = command.wait(120).json
                print(major, ended["instant"])
                self.assertTrue(ended["instant"]["running"])
                self.assertLess(ended["instant"]["switch_seconds"], 2)
                self.assert_plain(data)
                self.assert_as_configured(copy)
                self.assertFalse(is_mounted(far))
                self.assertEqual("f", copy.value("SELECT pg_is_in_recovery()"))
                self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
                sums = "SELECT count(*), sum(g) FROM far"
                self.assertEqual(server.value(sums), copy.value(sums))
                copy.psql("UPDATE small SET g = g + 1; CREATE TABLE more (x int)")
                amcheck(copy)
                copy.stop()
                checksums(copy)

    def test_paused_at_a_target_it_is_paused_again(self):
        server, lb, _ = self.source(15)
        target = server.now()
        server.psql("DELETE FROM ledger")
        server.wait_archived(server.switch_wal())
        data, sockets = self.place(), new_directory("s")
        ended = run(self.argv(lb, data, sockets, "--target-time", target), user=MOUNTER).json
        self.assert_plain(data)
        copy = self.attach(data, sockets)
        wait_until(lambda: copy.value("SELECT pg_get_wal_replay_pause_state()") == "paused", "the pause")
        self.assertEqual("305000", copy.value("SELECT count(*) FROM ledger"))
        self.assertIn("pg_promote", ended["next_command"])
        copy.promote()
        copy.wait_recovered()
        copy.stop()

    def test_detached_it_returns_at_the_first_query(self):
        server, lb, _ = self.source(15)
        data, sockets = self.place(), new_directory("s")
        done = run(self.argv(lb, data, sockets, "--detach"), user=MOUNTER).json
        copy = self.attach(data, sockets)
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        wait_until(lambda: harness._alive(done["pid"]) is False, "the end in the background", timeout=120)
        wait_until(lambda: not is_mounted(data), "the plain directory")
        self.assert_plain(data)
        wait_until(lambda: copy.running, "the server")
        copy.wait_recovered()
        self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
        copy.stop()

    def kill_and_go_on(self, when, what):
        server, lb, _ = self.source(15)
        data, sockets = self.place(), new_directory("s")
        copy = self.attach(data, sockets)
        command = self.instant(lb, data, sockets, "--hydrate-rate", "20MB")
        self.accepting(command)
        if when == "recovered":
            copy.wait_recovered()
        postmaster = copy.pid
        serving = int((data / "lifeboat.mount.status").read_text().split()[1])
        for victim in what:
            if victim == "command":
                command.kill()
            elif victim == "mount":
                os.kill(serving, signal.SIGKILL)
            elif victim == "server":
                end_server(postmaster)
        if command.running:
            command.wait(120, check=False)
        done = run(self.argv(lb, data, sockets), user=MOUNTER, timeout=200)
        self.assertTrue(done.json["instant"]["running"])
        self.assert_plain(data)
        copy.wait_recovered()
        self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
        amcheck(copy)
        copy.stop()
        checksums(copy)

    def test_the_command_is_killed(self):
        self.kill_and_go_on("accepting", ["command"])

    def test_the_mount_is_killed(self):
        self.kill_and_go_on("recovered", ["command", "mount"])

    def test_the_server_is_killed(self):
        self.kill_and_go_on("recovered", ["command", "server"])

    def test_everything_is_killed(self):
        self.kill_and_go_on("accepting", ["command", "mount", "server"])

    def test_another_target_does_not_go_on_with_it(self):
        server, lb, _ = self.source(15)
        data, sockets = self.place(), new_directory("s")
        command = self.instant(lb, data, sockets, "--hydrate-rate", "20MB")
        self.accepting(command)
        command.kill()
        refused = run(self.argv(lb, data, sockets, "--target", "immediate"), user=MOUNTER, check=False)
        self.assertFails(refused, 14, "holds an instant restore to")
        # Behind a dead mount its state is seen late.
        os.kill(int((data / "lifeboat.mount.status").read_text().split()[1]), signal.SIGKILL)
        refused = run(self.argv(lb, data, sockets, "--target", "immediate"), user=MOUNTER, check=False)
        self.assertFails(refused, 14, "holds an instant restore to")
        other = lb("backup", live=True).ok().json["backup"]
        refused = run(self.argv(lb, data, sockets, "--backup", other), user=MOUNTER, check=False)
        self.assertFails(refused, 14, "holds an instant restore of backup")
        self.assertTrue(run(self.argv(lb, data, sockets), user=MOUNTER).json["instant"]["running"])
        self.attach(data, sockets).stop()

    def test_what_cannot_be_brought_for_a_while_comes_later(self):
        server, lb, _ = self.source(15)
        data, sockets = self.place(), new_directory("s")
        command = self.instant(lb, data, sockets, "--hydrate-rate", "4MB", "--retry-time", "1s")
        self.accepting(command)
        copy = self.attach(data, sockets)
        copy.wait_recovered()
        packs = next(lb.repo_path.rglob("packs"))
        away = packs.with_name("packs.away")
        packs.rename(away)
        wait_until(lambda: "cannot be brought now" in command.result().err, "the trouble", timeout=60)
        away.rename(packs)
        done = command.wait(120).json
        self.assertTrue(done["instant"]["running"])
        self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
        copy.stop()

    def test_gone_on_with_it_listens_where_it_is_asked_to_now(self):
        """An earlier call may have ended because that place was taken."""
        server, lb, _ = self.source(15)
        data, sockets, others = self.place(), new_directory("s"), new_directory("o")
        command = self.instant(lb, data, sockets, "--hydrate-rate", "20MB")
        self.accepting(command)
        self.assertIn("read only until it is promoted", command.result().err)
        copy = self.attach(data, sockets)
        copy.wait_recovered()
        command.kill()
        elsewhere = lb.argv("restore", "--instant", "--to", data, "--port", PORT + 1, "--socket-dir", others, json=True)
        done = run(elsewhere, user=MOUNTER)
        self.assertIn("listens where it did until the switch", done.err)
        self.assertEqual(PORT + 1, done.json["recovery"]["port"])
        self.assertIsNone(done.json["recovery"]["replayed_lsn"])
        copy.place, copy.port = others, PORT + 1
        self.assertEqual(str(PORT + 1), copy.value("SHOW port"))
        in_files = "SELECT setting FROM pg_file_settings WHERE name = 'port' ORDER BY seqno DESC LIMIT 1"
        self.assertEqual(str(PORT + 1), copy.value(in_files))
        self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
        copy.stop()


if __name__ == "__main__":
    main()
