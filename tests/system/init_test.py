"""lifeboat init on real servers: what it makes, what it says, what it refuses and leaves untouched."""

import os
import shutil
import stat
import time

import harness
from harness import Lifeboat, SystemTest, binary, give, main, new_directory, run, tree

CONFIG, PERMISSION, UNAVAILABLE, WRONG_KEY, FOREIGN, NOT_CONFIRMED = 3, 6, 8, 11, 12, 21
NEEDED = ["archive_mode", "archive_command", "archive_timeout"]


def names(changes):
    return [change["name"] for change in changes]


def check(document, name):
    return next(finding for finding in document["checks"] if finding["id"] == name)


class InitCase(SystemTest):
    def fresh(self, **how):
        server = self.cluster(**how)
        return server, self.lifeboat(server, repo=new_directory("place") / "repo")


class Registering(InitCase):
    def test_fresh_server_is_registered_and_told_what_to_set(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.fresh(major=major, wal_segsize=16, conf={"fsync": "on"})
                first = lb("init", live=True).ok()
                said = first.json
                self.assertIn("not encrypted", first.err)
                self.assertEqual(first.err.count("warning"), 1, first.err)
                self.assertTrue(said["repository_created"] and said["registered"])
                self.assertEqual(said["system_id"], server.system_identifier())
                self.assertEqual((said["major"], said["wal_segment_size"]), (major, 16 << 20))
                self.assertEqual(names(said["settings_needed"]), NEEDED)
                self.assertFalse(said["ready"])
                self.assertEqual(said["archive_command"], lb.archive_command())
                # Nothing was set.
                self.assertEqual(server.value("SELECT setting FROM pg_settings WHERE name = 'archive_mode'"), "off")

                # What is printed for people is what a superuser pastes.
                text = lb("init", live=True, json=False).ok().out
                sql = [line.strip() for line in text.split("\n") if line.strip().startswith("ALTER SYSTEM")]
                self.assertEqual(len(sql), len(NEEDED))
                for statement in sql:
                    server.psql(statement)
                server.restart()
                self.assertEqual(lb("init", live=True).ok().json["settings_needed"], [])

    def test_second_init_changes_nothing_and_says_so(self):
        server, lb = self.fresh()
        lb("init", "--yes", live=True).ok()
        before = tree(lb.repo_path)
        again = lb("init", "--yes", live=True).ok()
        self.assertFalse(again.json["repository_created"] or again.json["registered"])
        self.assertNotIn("not encrypted: whoever", again.err)
        self.assertEqual(before, tree(lb.repo_path))
        self.assertIn("was there already", lb("init", "--yes", live=True, json=False).out)

    def test_another_cluster_under_the_name_is_foreign_until_it_is_a_new_lineage(self):
        server, lb = self.fresh()
        lb("init", "--yes", live=True).ok()
        other = self.cluster()
        wrong = Lifeboat(other, repo=lb.repo_path)
        before = tree(lb.repo_path)
        self.assertFails(wrong("init", "--yes", live=True), FOREIGN, server.system_identifier(), "--new-lineage")
        self.assertEqual(before, tree(lb.repo_path))
        said = wrong("init", "--yes", "--new-lineage", live=True).ok().json
        self.assertEqual((said["registered"], said["other_lineages"]), (True, 1))
        self.assertEqual(len(lb("list").ok().json["lineages"]), 2)
        # The flag is no reason to fail when there is nothing new.
        self.assertFalse(wrong("init", "--yes", "--new-lineage", live=True).ok().json["registered"])
        # A name of its own needs no flag.
        self.assertTrue(Lifeboat(other, repo=lb.repo_path, cluster="other")("init", "--yes", live=True).ok()
                        .json["registered"])

    def test_directory_and_server_of_two_clusters_are_refused_before_anything_is_made(self):
        server, lb = self.fresh()
        other = self.cluster()
        result = lb("init", "--yes", "--pg", server.conninfo(), "--pgdata", other.data)
        self.assertFails(result, FOREIGN, "two clusters", other.place.name)
        self.assertFalse(lb.repo_path.exists())

    def test_a_stopped_server_is_registered_from_its_files(self):
        server, lb = self.fresh(wal_segsize=1)
        server.stop()
        said = lb("init", "--yes", live=True).ok().json
        self.assertTrue(said["registered"])
        self.assertEqual(said["wal_segment_size"], 1 << 20)
        self.assertEqual(check(said, "server")["severity"], "critical")
        self.assertFalse(said["ready"])

    def test_neither_server_nor_directory_makes_nothing(self):
        server, lb = self.fresh()
        server.stop()
        self.assertFails(lb("init", "--yes", "--pg", server.conninfo()), UNAVAILABLE)
        self.assertFalse(lb.repo_path.exists())

    def test_a_failed_init_leaves_no_empty_directory(self):
        """It would look like a repository that is not mounted."""
        server, lb = self.fresh()
        result = lb("init", "--key-file", "/nonexistent/place/key", live=True)
        self.assertNotEqual(result.code, 0)
        self.assertIn("make the key file", result.err + result.out)
        self.assertFalse(lb.repo_path.exists())
        # Root makes the directory where its owner could not, and takes it away again.
        if os.geteuid() != 0:
            return
        place = new_directory("of-root")
        os.chown(place, 0, 0)
        place.chmod(0o755)
        lb = Lifeboat(server, repo=place / "repo")
        self.assertFails(lb("init", "--yes", "--pg", "host=/nonexistent", user="root"), UNAVAILABLE)
        self.assertEqual(os.listdir(place), [])
        lb("init", "--yes", live=True, user="root").ok()
        self.assertEqual(os.stat(lb.repo_path).st_uid, os.stat(server.data).st_uid)
        target = Lifeboat(server, repo=lb.repo_path)
        self.assertNotEqual(target("restore", "--to", place / "copy", user="root").code, 0, "there is no backup")
        self.assertEqual(os.listdir(place), ["repo"])

    def test_wrong_urls_and_forbidden_places(self):
        server, lb = self.fresh()
        locked = new_directory("locked", mode=0o500)
        for url, code in (("ftp://host/x", CONFIG), (f"file://{locked}/repo", PERMISSION)):
            with self.subTest(url=url):
                result = run([binary(), "init", "--yes", "--repo", url, "--pg", server.conninfo(), "--pgdata", server.data,
                              "--output", "json"], check=False)
                self.assertEqual(result.code, code, result.out + result.err)
                self.assertIn("error", result.json)
        self.assertEqual(os.listdir(locked), [])

    def test_what_a_killed_init_left_is_no_obstacle(self):
        """T38: a key slot without a marker belongs to no repository, and must not become a second key 1."""
        server, lb = self.fresh()
        key = new_directory("key") / "main.key"
        lb.options = ["--key-file", key]
        lb("init", live=True).ok()
        (lb.repo_path / "lifeboat.json").unlink()
        shutil.rmtree(lb.repo_path / "clusters")
        lb("init", live=True).ok()
        self.assertEqual(len(list((lb.repo_path / "keys/00000001").iterdir())), 1)
        lb("key", "check").ok()
        # Clusters without a marker are the rest of a repository that somebody may still need.
        (lb.repo_path / "lifeboat.json").unlink()
        self.assertFails(lb("init", live=True), 10, "lifeboat.json")

    def test_several_at_once_make_one_repository_that_opens(self):
        """Whoever is second adopts it, or is told that its key is another one; nobody's key is taken away."""
        server = self.cluster()
        random = harness.rng("init at once")
        for round in range(25):
            place, keys = new_directory("place"), new_directory("key")
            same_key = round % 2 == 0
            callers = [Lifeboat(server, repo=place / "repo", options=["--key-file", keys / (f"{0 if same_key else i}.key")])
                       for i in range(3)]
            running = [lb.background("init", live=True) for lb in callers if not time.sleep(random.random() / 100)]
            done = [process.wait(check=False) for process in running]
            codes = sorted(result.code for result in done)
            self.assertEqual(codes, [0, 0, 0] if same_key else [0, WRONG_KEY, WRONG_KEY], [result.out for result in done])
            self.assertEqual(sum(result.code == 0 and result.json["repository_created"] for result in done), 1)
            [winner] = [lb for lb, result in zip(callers, done) if result.code == 0 and result.json["repository_created"]]
            winner("key", "check").ok()
            self.assertEqual(len(winner("key", "list").ok().json["slots"]), 1)

    def test_started_by_root_everything_belongs_to_the_servers_user(self):
        if os.geteuid() != 0:
            harness.skip("becoming another user needs root")
        server = self.cluster()
        lb = self.lifeboat(server, repo=new_directory("place") / "repo", options=["--key-file", new_directory("key") / "k"])
        lb("init", live=True, user="root").ok()
        owner = os.stat(server.data).st_uid
        paths = [lb.repo_path, *lb.repo_path.rglob("*"), lb.options[1]]
        self.assertEqual({os.stat(path).st_uid for path in paths}, {owner})


class Encrypting(InitCase):
    def test_key_file_is_generated_and_stands_in_the_command(self):
        server, lb = self.fresh()
        key = new_directory("key") / "main.key"
        lb.options = ["--key-file", key]
        said = lb("init", live=True).ok().json
        self.assertTrue(said["encrypted"] and said["key_file_created"])
        self.assertEqual(stat.S_IMODE(os.stat(key).st_mode), 0o600)
        self.assertIn(f"--key-file {key}", said["archive_command"])
        content = key.read_text()
        again = lb("init", live=True).ok().json
        self.assertFalse(again["key_file_created"])
        self.assertEqual(content, key.read_text())
        self.assertEqual(check(said, "key_slots")["severity"], "warning")

    def test_wrong_missing_and_superfluous_keys_are_told_apart(self):
        server, lb = self.fresh()
        keys = new_directory("key")
        lb.options = ["--key-file", keys / "main.key"]
        lb("init", live=True).ok()
        before = tree(lb.repo_path)

        def with_options(*options):
            return Lifeboat(server, repo=lb.repo_path, options=options)("init", "--yes", live=True)
        # The first init made this one for another repository.
        other = self.lifeboat(server, repo=new_directory("place") / "repo", options=["--key-file", keys / "other.key"])
        other("init", live=True).ok()
        self.assertFails(with_options("--key-file", keys / "other.key"), WRONG_KEY, "opens no key slot")
        self.assertFails(with_options("--key-file", keys / "absent.key"), WRONG_KEY, "does not exist")
        self.assertFalse((keys / "absent.key").exists())
        self.assertFails(with_options(), WRONG_KEY, "no key was given")
        give(keys / "other.key")
        passphrase = keys / "passphrase"
        passphrase.write_text("wrong\n")
        passphrase.chmod(0o600)
        give(passphrase)
        self.assertFails(with_options("--passphrase-file", passphrase), WRONG_KEY)
        self.assertEqual(before, tree(lb.repo_path))

        plain = self.lifeboat(server, repo=new_directory("place") / "repo")
        plain("init", "--yes", live=True).ok()
        plain.options = ["--key-file", keys / "main.key"]
        self.assertFails(plain("init", "--yes", live=True), WRONG_KEY, "not encrypted")

    def test_a_passphrase_serves_for_escrow(self):
        server, lb = self.fresh()
        keys = new_directory("key")
        passphrase = keys / "passphrase"
        passphrase.write_text("correct horse battery staple\n")
        passphrase.chmod(0o600)
        give(passphrase)
        lb.options = ["--key-file", keys / "main.key"]
        lb("init", live=True).ok()
        added = lb("key", "add", "--new-passphrase-file", passphrase).ok().json
        self.assertEqual(added["kind"], "passphrase")
        escrow = Lifeboat(server, repo=lb.repo_path, options=["--passphrase-file", passphrase])
        slots = escrow("key", "check").ok().json["slots"]
        self.assertEqual(sorted(slot["opens"] for slot in slots), [False, True])
        self.assertEqual(len(lb("key", "list").ok().json["slots"]), 2)
        self.assertEqual(check(lb("init", live=True).ok().json, "key_slots")["severity"], "ok")


class Applying(InitCase):
    def test_apply_sets_and_says_that_a_restart_is_needed(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.fresh(major=major, conf={"fsync": "on"})
                said = lb("init", "--yes", "--apply", live=True).ok().json
                self.assertEqual(names(said["settings_applied"]), NEEDED)
                self.assertEqual(said["settings_needed"], [])
                self.assertTrue(said["restart_needed"])
                self.assertFalse(said["ready"])
                self.assertIn(str(server.data), said["restart_command"])
                # Before the restart a second run has nothing more to set.
                self.assertEqual(names(lb("init", "--yes", "--apply", live=True).ok().json["settings_applied"]), [])
                server.restart()
                said = lb("init", "--yes", live=True).ok().json
                self.assertTrue(said["ready"], said["checks"])
                self.assertFalse(said["restart_needed"])
                server.wait_archived()
                self.assertTrue(any("/wal/" in name for name in lb.objects()))

    def test_minimal_wal_without_senders_is_raised(self):
        server, lb = self.fresh(conf={"wal_level": "minimal", "max_wal_senders": "0"})
        said = lb("init", "--yes", "--apply", live=True).ok().json
        self.assertEqual(sorted(names(said["settings_applied"])),
                         sorted(["wal_level", "max_wal_senders", *NEEDED]))
        server.restart()
        self.assertEqual(server.value("SHOW wal_level"), "replica")
        server.wait_archived()

    def test_what_a_reload_brings_into_force_needs_no_restart(self):
        server, lb = self.fresh(conf={"archive_mode": "on", "archive_timeout": "30"})
        said = lb("init", "--yes", "--apply", live=True).ok().json
        self.assertEqual(names(said["settings_applied"]), ["archive_command"])
        self.assertFalse(said["restart_needed"])
        server.wait_archived()

    def test_another_tools_command_is_replaced_only_with_consent(self):
        server, lb = self.fresh(conf={"archive_mode": "on", "archive_command": "pgbackrest archive-push %p"})
        result = lb("init", "--apply", live=True)
        self.assertFails(result, NOT_CONFIRMED)
        self.assertEqual(names(result.json["settings_needed"]), ["archive_command"])
        self.assertEqual(server.value("SHOW archive_command"), "pgbackrest archive-push %p")
        said = lb("init", "--apply", "--yes", live=True).ok().json
        self.assertIn("archive_command", names(said["settings_applied"]))
        harness.wait_until(lambda: server.value("SHOW archive_command") == lb.archive_command(), "the new command")

    def test_apply_without_the_right_says_who_can(self):
        server, lb = self.fresh()
        server.psql("CREATE ROLE weak LOGIN")
        result = lb("init", "--yes", "--apply", "--pg", server.conninfo(user="weak"), "--pgdata", server.data)
        self.assertFails(result, PERMISSION, "superuser", "is registered")
        self.assertEqual(names(result.json["settings_needed"]), NEEDED)

    def test_the_server_of_the_data_directory_is_asked_where_none_was_named(self):
        server, lb = self.fresh()
        as_superuser = {"PGUSER": "postgres"}
        said = lb("init", "--yes", "--apply", "--pgdata", server.data, env=as_superuser).ok().json
        self.assertIn("archive_command", names(said["settings_applied"]))
        self.assertIn("wal push", (server.data / "postgresql.auto.conf").read_text())
        # What names a server itself goes before it, and nothing is applied in silence.
        elsewhere = lb("init", "--yes", "--apply", "--pgdata", server.data, env={**as_superuser, "PGPORT": "1"})
        self.assertFails(elsewhere, UNAVAILABLE, "is registered")
        server.stop()
        stopped = lb("init", "--yes", "--apply", "--pgdata", server.data, env=as_superuser)
        self.assertFails(stopped, UNAVAILABLE, "is registered")
        lb("init", "--yes", "--pgdata", server.data, env=as_superuser).ok()

    def test_patroni_is_told_and_not_worked_around(self):
        server, lb = self.fresh()
        (server.data / "patroni.dynamic.json").write_text("{}")
        give(server.data / "patroni.dynamic.json")
        said = lb("init", "--yes", "--apply", live=True).ok().json
        self.assertIn("patronictl edit-config", said["patroni_command"])
        self.assertIn("archive_mode=on", said["patroni_command"])
        self.assertEqual(said["settings_applied"], [])
        self.assertNotIn("archive_mode", (server.data / "postgresql.auto.conf").read_text())


class Roles(InitCase):
    def test_printed_grants_are_enough_and_needed(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.fresh(major=major)
                lb("init", "--yes", "--apply", live=True).ok()
                server.restart().wait_archived()
                server.psql("CREATE ROLE bare LOGIN")
                bare = ["--pg", server.conninfo(user="bare"), "--pgdata", server.data]
                said = lb("doctor", *bare).json
                self.assertEqual(check(said, "role")["severity"], "critical")
                sql = lb("init", "--print-grants", "--role", "keeper", live=True, json=False).ok().out
                server.psql(sql)
                server.psql(sql)  # running it again is no error
                self.assertEqual(server.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'keeper'"), "f")
                keeper = ["--pg", server.conninfo(user="keeper"), "--pgdata", server.data]
                said = lb("doctor", *keeper).json
                self.assertEqual(check(said, "role")["severity"], "ok", check(said, "role"))
                made = lb("backup", *keeper).ok().json
                self.assertEqual(made["state"], "complete")
                self.assertEqual(made["warnings"], [])


if __name__ == "__main__":
    main()
