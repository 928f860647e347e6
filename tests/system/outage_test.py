"""A repository that does not answer for a while, seen by the real program (X1): what passes is survived, what stays is told
once and soon, and nobody waits longer than allowed."""

import errno
import shutil

from harness import SOURCE, SystemTest, give, main, new_directory, run, scratch, skip


class Outage(SystemTest):
    def setUp(self):
        super().setUp()
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            skip("faults are injected by a small C library, and there is no C compiler")
        self.library = scratch() / "flaky.so"
        if not self.library.exists():
            # The tests' account may not be able to read the source tree.
            source = scratch() / "flaky.c"
            shutil.copyfile(SOURCE / "tests/support/flaky.c", source)
            give(source)
            run([compiler, "-O1", "-shared", "-fPIC", "-o", self.library, source])

    def faults(self, path, number, times, after=0):
        self.log = new_directory("log") / "failures"
        return {"LD_PRELOAD": self.library, "FLAKY_PATH": path, "FLAKY_ERRNO": number, "FLAKY_TIMES": times,
                "FLAKY_AFTER": after, "FLAKY_LOG": self.log}

    def failures(self):
        return self.log.stat().st_size if self.log.exists() else 0

    def repository(self):
        repo = new_directory("golden") / "r"
        shutil.copytree(SOURCE / "tests/golden/format-1-plain", repo)
        for path in [repo, *repo.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            give(path)
        return self.lifeboat(repo=repo)

    def test_what_passes_is_survived_and_told(self):
        lb = self.repository()
        for path in ("lifeboat.json", "cards/", "manifests/", "packs/"):
            done = lb("verify", "--depth", "hashed", env=self.faults(path, errno.EIO, 3), json=False).ok()
            self.assertEqual(3, self.failures(), path)
            self.assertEqual(1, done.err.count("the repository does not answer"), done.err)
            self.assertIn("Input/output error; trying again for 1 min", done.err)

    def test_what_stays_is_told_once_when_patience_ends(self):
        lb = self.repository()
        done = lb("list", "--retry-time", "2s", env=self.faults("lifeboat.json", errno.EIO, 1000), json=False)
        self.assertFails(done, 8, "Input/output error")
        self.assertEqual(1, done.err.count("lifeboat: error:"), done.err)
        self.assertIn("; tried ", done.err)
        self.assertGreater(done.seconds, 1.9)
        self.assertLess(done.seconds, 4)
        never = lb("list", "--retry-time", "0", env=self.faults("lifeboat.json", errno.EIO, 1000), json=False)
        self.assertFails(never, 8, "Input/output error")
        self.assertEqual(1, self.failures())
        self.assertLess(never.seconds, 1)

    def test_what_does_not_pass_by_itself_is_told_at_once(self):
        lb = self.repository()
        for number, code in ((errno.EACCES, 6), (errno.EMFILE, 1)):
            done = lb("list", env=self.faults("lifeboat.json", number, 1000), json=False)
            self.assertFails(done, code)
            self.assertEqual(1, self.failures())
            self.assertLess(done.seconds, 1)
        # Whoever is refused although owner and mode allow it is told where to look, and only then.
        refused = lb("list", env=self.faults("lifeboat.json", errno.EACCES, 1))
        self.assertIn("SELinux, AppArmor", refused.json["error"]["hint"])
        (lb.repo_path / "lifeboat.json").chmod(0)
        closed = lb("list")
        self.assertFails(closed, 6)
        self.assertNotIn("SELinux", closed.json["error"]["hint"])
        lb.repo = "file:///nonexistent/place"
        done = lb("list")
        self.assertFails(done, 8, "does not exist")
        self.assertLess(done.seconds, 1)

    def test_many_objects_are_not_waited_for_one_by_one(self):
        lb = self.repository()
        done = lb("verify", "--depth", "hashed", "--retry-time", "1s", env=self.faults(".data", errno.EIO, 1000))
        self.assertFails(done, 17)
        self.assertGreater(len(done.json["damage"]), 1)
        self.assertLess(done.seconds, 3)

    def test_a_push_survives_a_moment_and_never_waits_for_minutes(self):
        server = self.cluster()
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        path = f"pg_wal/{server.switch_wal()}"
        lb("wal", "push", path, cwd=server.data, env=self.faults("lifeboat.json", errno.EIO, 2)).ok()
        self.assertEqual(2, self.failures())
        lasting = lb("wal", "push", path, "--retry-time", "1h", cwd=server.data,
                     env=self.faults("lifeboat.json", errno.ESTALE, 100000))
        self.assertFails(lasting, 8)
        self.assertLess(lasting.seconds, 15)
        standby = lb("wal", "get", "00000002.history", "x", "--standby", "--retry-time", "1h", cwd=new_directory(),
                     env=self.faults("lifeboat.json", errno.EIO, 100000))
        self.assertFails(standby, 8)
        self.assertLess(standby.seconds, 15)


if __name__ == "__main__":
    main()
