"""lifeboat doctor on real servers: a sound one has nothing critical, and each way of breaking archiving is named with its
cause and mended by the fix that it prints (B3)."""

import contextlib
import os
import shutil
import subprocess
import time

import harness
from harness import Cluster, Lifeboat, SystemTest, binary, give, main, new_directory, run, tmpfs, wait_until

CHECK_FAILED = 17


class DoctorCase(SystemTest):
    def sound(self, major=15, repo=None, encrypted=True, **how):
        """A server that is set up, archives and has a backup."""
        conf = {"fsync": "on", **how.pop("conf", {})}
        server = self.cluster(major=major, conf=conf, **how)
        options = ["--key-file", new_directory("key") / "main.key"] if encrypted else []
        lb = self.lifeboat(server, repo=repo, options=options)
        lb("init", "--yes", "--apply", live=True).ok()
        server.restart().wait_archived()
        lb("backup", live=True).ok()
        return server, lb

    def findings(self, lb, code=None, cluster=None):
        result = lb("doctor", live=True)
        self.assertIn(result.code, (0, CHECK_FAILED), result.out + result.err)
        document = result.json
        critical = [one["id"] for one in document["checks"] if one["severity"] == "critical"]
        self.assertEqual(result.code, CHECK_FAILED if critical else 0)
        self.assertEqual(document["healthy"], not critical)
        if code is not None:
            self.assertEqual(result.code, code, critical)
        return {one["id"]: one for one in document["checks"]}, critical

    def assertSound(self, lb):
        _, critical = self.findings(lb)
        self.assertEqual(critical, [], lb("doctor", live=True, json=False).out)

    def assertNamed(self, lb, check, *phrases):
        """The check is critical and says all of this; every critical finding has cause and fix."""
        found, critical = self.findings(lb)
        self.assertIn(check, critical, lb("doctor", live=True, json=False).out)
        one = found[check]
        text = "\n".join([one["found"], one["cause"], *one["fix"]])
        for phrase in phrases:
            self.assertIn(phrase, text)
        for name in critical:
            self.assertTrue(found[name]["cause"] and found[name]["fix"], name)
        return found

    def let_archiving_fail(self, server):
        """Waits until the archiver has tried a segment and counted its failure."""
        before = int(server.value("SELECT failed_count FROM pg_stat_archiver"))
        server.switch_wal()
        wait_until(lambda: int(server.value("SELECT failed_count FROM pg_stat_archiver")) > before,
                   "a failure of the archiver", timeout=90, interval=0.1)

    def mend(self, server, lb):
        """The server archives again and doctor agrees."""
        server.reload()
        server.wait_archived(timeout=120)
        wait_until(lambda: not list((server.data / "pg_wal/archive_status").glob("*.ready")), "an empty backlog", 90)
        self.assertSound(lb)

    @contextlib.contextmanager
    def command(self, server, command):
        """archive_command changed for a while."""
        server.psql(f"ALTER SYSTEM SET archive_command = '{command.replace(chr(39), chr(39) * 2)}'")
        server.reload()
        wait_until(lambda: server.value("SHOW archive_command") == command, "the new command")
        yield

    def restore_command_setting(self, server, lb):
        for sql in (f"ALTER SYSTEM SET archive_command = '{lb.archive_command().replace(chr(39), chr(39) * 2)}'",
                    "SELECT pg_reload_conf()"):
            server.psql(sql)


class Sound(DoctorCase):
    def test_a_sound_server_has_nothing_critical(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.sound(major)
                self.assertSound(lb)
                found, _ = self.findings(lb, 0)
                # On one disk and with one key the only warnings are those.
                warned = {name for name, one in found.items() if one["severity"] == "warning"}
                self.assertLessEqual(warned, {"same_device", "key_slots", "version", "disk_data", "disk_repository",
                                              "disk_wal"})
                skipped = {name for name, one in found.items() if one["severity"] == "skipped"}
                self.assertEqual(skipped, set())
                # Text and document agree, and reading changes nothing.
                text = lb("doctor", live=True, json=False).ok().out
                for name in found:
                    self.assertIn(name, text)

    def test_doctor_without_the_data_directory_skips_files_and_nothing_else(self):
        server, lb = self.sound()
        result = run([binary(), "doctor", "--repo", lb.repo, *lb.options, "--pg", server.conninfo(), "--output", "json"],
                     check=False)
        self.assertEqual(result.code, 0, result.out)

    def test_a_stopped_server_is_critical(self):
        server, lb = self.sound()
        server.stop()
        found = self.assertNamed(lb, "server", "is the server running")
        self.assertEqual(found["newest_backup"]["severity"], "ok")
        self.assertEqual(found["archiver"]["severity"], "skipped")


class NotArchived(DoctorCase):
    """The classic: "WAL segment was not archived"."""

    def test_command_of_somebody_else(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.sound(major)
                with self.command(server, "false"):
                    self.let_archiving_fail(server)
                    found = self.assertNamed(lb, "archiver", "was not archived", "does not run lifeboat",
                                             lb.archive_command())
                    self.assertEqual(found["archive_command"]["severity"], "critical")
                # The fix that was printed mends it.
                for sql in found["archiver"]["fix"]:
                    server.psql(sql)
                self.mend(server, lb)

    def test_empty_command(self):
        server, lb = self.sound()
        with self.command(server, ""):
            server.switch_wal()
            found = self.assertNamed(lb, "archive_command", "piles up")
        for sql in found["archive_command"]["fix"]:
            server.psql(sql)
        self.mend(server, lb)

    def test_repository_that_the_server_may_not_write(self):
        if os.geteuid() != 0:
            harness.skip("giving a directory to another user needs root")
        server, lb = self.sound()
        places = [lb.repo_path, *[path for path in lb.repo_path.rglob("*") if path.is_dir()]]
        for path in places:
            os.chown(path, 0, 0)
            path.chmod(0o755)
        self.let_archiving_fail(server)
        self.assertNamed(lb, "archive_repository", "belongs to root", "chown -R postgres")
        self.assertNamed(lb, "archiver", "chown -R postgres")
        for path in places:
            give(path)
            path.chmod(0o700)
        self.mend(server, lb)

    def test_full_disk(self):
        place = tmpfs(96)
        server, lb = self.sound(repo=place / "repo", encrypted=False)
        filler = place / "filler"
        with open(filler, "wb") as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(os.urandom(1 << 16))
        self.let_archiving_fail(server)
        self.assertNamed(lb, "disk_repository", "0 B free")
        self.assertNamed(lb, "archiver", "filling up")
        filler.unlink()
        self.mend(server, lb)

    def test_key_that_is_gone_or_forbidden(self):
        server, lb = self.sound()
        key = lb.options[1]
        other = key.with_name("elsewhere")
        shutil.copy2(key, other)
        give(other)
        key.unlink()
        self.let_archiving_fail(server)
        lb.options = ["--key-file", other]
        self.assertNamed(lb, "archive_key", str(key), "does not exist")
        self.assertNamed(lb, "archiver", str(key))
        if os.geteuid() == 0:
            shutil.copy2(other, key)
            os.chown(key, 0, 0)
            self.assertNamed(lb, "archive_key", "cannot read it", "chown postgres")
        lb.options = ["--key-file", key]
        os.replace(other, key)
        give(key)
        self.mend(server, lb)

    def test_program_that_cannot_be_run(self):
        """T21: the shell's 126 and 127 are not counted as failures; only the program itself tells."""
        server, lb = self.sound()
        program = new_directory("bin", mode=0o755) / "lifeboat"
        shutil.copyfile(binary(), program)
        give(program)
        for mode, phrase in ((0o644, "chmod 755"), (None, "does not exist")):
            with self.subTest(mode=mode):
                if mode is None:
                    program.unlink()
                else:
                    program.chmod(mode)
                with self.command(server, lb.archive_command().replace(str(binary()), str(program))):
                    server.switch_wal()
                    self.assertNamed(lb, "archive_program", phrase, "does not count")
        # The backlog is the only witness of the archiver's side, once it has waited.
        for path in (server.data / "pg_wal/archive_status").glob("*.ready"):
            os.utime(path, (time.time() - 3600, time.time() - 3600))
        self.assertNamed(lb, "archive_backlog", "cannot run it")
        self.restore_command_setting(server, lb)
        self.mend(server, lb)

    def test_cluster_that_is_not_registered(self):
        server, lb = self.sound()
        other = self.cluster()
        shop = Lifeboat(other, repo=lb.repo_path, cluster="shop", options=lb.options)
        shop("init", "--yes", live=True).ok()
        with self.command(server, lb.archive_command().replace("--cluster main", "--cluster shop")):
            self.let_archiving_fail(server)
            self.assertNamed(lb, "archive_command", "cluster shop")
            # Seen from the name that it pushes for, the server is a stranger.
            stranger = Lifeboat(server, repo=lb.repo_path, cluster="shop", options=lb.options)
            self.assertNamed(stranger, "registration", server.system_identifier(), "--new-lineage")
            self.assertNamed(stranger, "archiver", "--new-lineage")
        self.restore_command_setting(server, lb)
        self.mend(server, lb)

    def test_a_misspelt_option_is_told_before_anything_fails(self):
        server, lb = self.sound()
        with self.command(server, lb.archive_command().replace("--cluster main", "--clustr main")):
            self.assertNamed(lb, "archive_command", "--clustr", "--cluster")
            # So says the program itself, when it is too late.
            self.let_archiving_fail(server)
            self.assertNamed(lb, "archiver", "--clustr")
        self.restore_command_setting(server, lb)
        self.mend(server, lb)

    def test_other_repository(self):
        server, lb = self.sound()
        with self.command(server, lb.archive_command().replace(lb.repo, "file:///nowhere/repo")):
            self.let_archiving_fail(server)
            self.assertNamed(lb, "archive_command", "file:///nowhere/repo", lb.repo)
            self.assertNamed(lb, "archiver", "file:///nowhere/repo")
        self.restore_command_setting(server, lb)
        self.mend(server, lb)

    def test_last_error_of_our_own_push_is_the_first_witness(self):
        server, lb = self.sound(encrypted=False)
        state = new_directory("state")
        own = lb.archive_command().replace(" wal push", f" wal push --state-dir {state}")
        with self.command(server, own):
            server.wait_archived()
            self.assertSound(lb)
            self.assertEqual(os.listdir(state), [])
            lineage = next(lb.repo_path.glob("clusters/main/*/lineage"))
            hidden = lineage.with_name("hidden")
            lineage.rename(hidden)
            self.let_archiving_fail(server)
            self.assertEqual(len(os.listdir(state)), 1)
            self.assertNamed(lb, "archiver", "lifeboat wal push said", "not registered", "lifeboat init")
            hidden.rename(lineage)
            self.mend(server, lb)
            self.assertEqual(os.listdir(state), [])

    def test_split_brain(self):
        """T46: a copy of the server that went on archiving under the same identity."""
        server, lb = self.sound()
        server.stop()
        copy = new_directory("copy") / "data"
        subprocess.run(["cp", "-a", server.data, copy], check=True)
        twin = Cluster.attach(copy, 15, start=True)
        twin.psql("CREATE TABLE only_there AS SELECT g FROM generate_series(1, 100) g")
        segment = twin.switch_wal()
        twin.wait_archived(segment)
        twin.stop()
        server.start()
        server.psql("CREATE TABLE only_here AS SELECT g FROM generate_series(1, 200) g")
        self.let_archiving_fail(server)
        self.assertNamed(lb, "archiver", segment, "two servers with one identity", "--type full")

    def test_library_in_the_way(self):
        server, lb = self.sound(self.majors((15, 17, 18))[-1])
        server.psql("ALTER SYSTEM SET archive_library = 'basic_archive'")
        server.reload()
        wait_until(lambda: server.value("SHOW archive_library") == "basic_archive", "the library")
        found = self.assertNamed(lb, "archive_library", "basic_archive")
        for sql in found["archive_library"]["fix"]:
            server.psql(sql)
        wait_until(lambda: server.value("SHOW archive_library") == "", "no library")
        self.mend(server, lb)

    def test_archiving_off(self):
        server, lb = self.sound()
        server.psql("ALTER SYSTEM SET archive_mode = off")
        server.restart()
        found = self.assertNamed(lb, "archive_mode", "nothing archives")
        # Setting it is half of it.
        for sql in [line for line in found["archive_mode"]["fix"] if line.endswith(";")]:
            server.psql(sql)
        server.reload()
        wait_until(lambda: server.value("SELECT pending_restart FROM pg_settings WHERE name = 'archive_mode'") == "t",
                   "the changed configuration")
        self.assertNamed(lb, "archive_mode", "restart")
        server.restart()
        self.mend(server, lb)


class Stored(DoctorCase):
    def test_hole_in_wal_since_the_newest_backup(self):
        server, lb = self.sound()
        segment = server.switch_wal()
        server.wait_archived(segment)
        server.wait_archived()
        self.assertSound(lb)
        path = next(lb.repo_path.glob(f"clusters/*/*/wal/*/*/{segment}-*"))
        path.unlink()
        self.assertNamed(lb, "wal_continuity", segment, "is missing", "backup")
        lb("backup", live=True).ok()
        self.assertSound(lb)

    def test_broken_repository_wrong_key_and_absent_repository(self):
        server, lb = self.sound()
        wrong = new_directory("key") / "wrong.key"
        Lifeboat(server, repo=new_directory("r") / "repo", options=["--key-file", wrong])("init", live=True).ok()
        self.assertNamed(Lifeboat(server, repo=lb.repo_path, options=["--key-file", wrong]), "repository",
                         "opens no key slot")
        self.assertNamed(Lifeboat(server, repo=new_directory("r") / "none"), "repository", "never made")
        card = next(lb.repo_path.glob("clusters/*/*/cards/*"))
        harness.flip_bit(card, os.path.getsize(card) // 2)
        self.assertNamed(lb, "repository", "lifeboat verify")

    def test_promoted_copy_that_does_not_archive(self):
        """R5 and "Restore" of the behaviour: a copy keeps its hands off the archive, and says that it does."""
        server, lb = self.sound()
        target = new_directory("restored") / "data"
        lb("restore", "--to", target, "--pg-bin", server.bin).ok()
        copy = Cluster.attach(target, 15, start=True)
        copy.wait_recovered()
        found = self.assertNamed(Lifeboat(copy, repo=lb.repo_path, options=lb.options), "archive_mode",
                                 "a restore turned it off", "ALTER SYSTEM SET archive_mode")
        self.assertNotEqual(found["restore_leftovers"]["severity"], "critical")
        self.assertSound(lb)

    def test_inactive_slot_that_holds_wal(self):
        server, lb = self.sound(encrypted=False)
        server.psql("SELECT pg_create_physical_replication_slot('forgotten', true)")
        found, _ = self.findings(lb, 0)
        self.assertEqual(found["slots"]["severity"], "ok")
        server.psql("SELECT pg_drop_replication_slot('forgotten')")

    def test_an_unfinished_restore_and_a_repository_inside_the_cluster(self):
        server, lb = self.sound(encrypted=False)
        inside = self.lifeboat(server, repo=server.data / "backup")
        self.assertFails(inside("init", "--yes", live=True), 14, "a data directory of PostgreSQL")
        self.assertFalse((server.data / "backup").exists())
        server.stop()
        (server.data / "global/pg_control").unlink()
        mark = server.data / "lifeboat.restore_incomplete"
        mark.write_text("as a restore --delta that was killed leaves it")
        give(mark)
        found, _ = self.findings(lb)
        self.assertIn("unfinished restore", found["restore_leftovers"]["found"])

    def test_leftover_target(self):
        server, lb = self.sound(encrypted=False)
        server.psql("ALTER SYSTEM SET recovery_target_name = 'before_the_change'")
        server.restart()
        found, _ = self.findings(lb, 0)
        self.assertEqual(found["restore_leftovers"]["severity"], "warning")
        self.assertIn("before_the_change", found["restore_leftovers"]["found"])


if __name__ == "__main__":
    main()
