"""Hooks of the configuration file: what runs before and after a command, what it is told, and what its failure means
(I2, docs/hooks.md)."""

import json
import shutil
import signal

from harness import SOURCE, SystemTest, give, main, new_directory, run, wait_until

# Keeps what it was told: its arguments, environment and standard input, as one JSON document per call.
RECORDER = """#!/usr/bin/python3
import json, os, sys
told = {"argv": sys.argv[1:], "env": {k: v for k, v in os.environ.items() if k.startswith("LIFEBOAT_")},
        "uid": os.geteuid(), "in": json.load(sys.stdin)}
with open(os.path.join(os.path.dirname(sys.argv[0]), "told"), "a") as file:
    file.write(json.dumps(told) + "\\n")
print("a line from the hook")
"""


class Hooks(SystemTest):
    def setUp(self):
        super().setUp()
        self.place = new_directory("hooks", mode=0o755)
        self.recorder = self.script("recorder", RECORDER)
        self.config = self.place / "lifeboat.toml"

    def script(self, name, text):
        path = self.place / name
        path.write_text(text)
        path.chmod(0o755)
        return give(path)

    def hooks(self, cluster="main", timeout="60s", **hooks):
        lines = [f"[cluster.{cluster}.hooks]", f'timeout = "{timeout}"']
        for name, argv in hooks.items():
            lines.append(f"{name.replace('_', '-')} = {json.dumps([str(word) for word in argv])}")
        self.config.write_text("\n".join(lines) + "\n")
        self.config.chmod(0o644)

    def told(self):
        path = self.place / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def old_repository(self):
        """A repository without a server."""
        repo = new_directory("golden") / "r"
        shutil.copytree(SOURCE / "tests/golden/format-1-plain", repo)
        for path in [repo, *repo.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            give(path)
        return self.lifeboat(repo=repo, options=["--config", self.config])

    def test_a_backup_tells_its_hooks_what_it_does_and_how_it_ended(self):
        server = self.cluster()
        lb = self.lifeboat(server, options=["--config", self.config])
        self.hooks()
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        awkward = "two words; touch $(echo no)"
        self.hooks(before_backup=[self.recorder, awkward], after_backup=[self.recorder])
        done = lb("backup", "--label", "x", live=True).ok()
        before, after = self.told()
        self.assertEqual([awkward], before["argv"], "no shell splits or expands it")
        self.assertEqual("before-backup", before["env"]["LIFEBOAT_HOOK"])
        self.assertNotIn("LIFEBOAT_HOOK_RESULT", before["env"])
        self.assertNotIn("result", before["in"])
        self.assertEqual("lifeboat/hook/1", before["in"]["schema"])
        for told in (before, after):
            self.assertEqual((told["in"]["command"], told["in"]["cluster"], told["in"]["repository"]),
                             ("backup", "main", lb.repo))
            self.assertEqual(told["env"]["LIFEBOAT_REPO"], lb.repo)
            self.assertEqual(told["env"]["LIFEBOAT_PGDATA"], str(server.data))
            self.assertEqual(told["env"]["LIFEBOAT_CONFIG"], str(self.config))
            self.assertEqual(told["uid"], server.data.stat().st_uid)
        self.assertEqual("after-backup", after["in"]["hook"])
        self.assertEqual(("succeeded", "0"), (after["env"]["LIFEBOAT_HOOK_RESULT"], after["env"]["LIFEBOAT_HOOK_EXIT_CODE"]))
        self.assertEqual((0, None), (after["in"]["exit_code"], after["in"]["error"]))
        self.assertEqual(done.json["backup"], after["in"]["result"]["backup"])
        self.assertIn("hook after-backup: a line from the hook", done.err)

        # A failed command tells that too, and keeps its own exit code.
        failed = lb("backup", "--pg", "host=/nonexistent", "--pgdata", server.data)
        after = self.told()[-1]
        self.assertNotEqual(0, failed.code)
        self.assertEqual(failed.code, after["in"]["exit_code"])
        self.assertEqual(failed.json["error"], after["in"]["error"])
        self.assertIsNone(after["in"]["result"])
        self.assertEqual("failed", after["env"]["LIFEBOAT_HOOK_RESULT"])

        # restore and drill go through the same place.
        self.hooks(after_restore=[self.recorder], before_drill=[self.recorder])
        lb("restore", "--to", new_directory("to") / "d", "--target", "immediate").ok()
        self.assertEqual("restore", self.told()[-1]["in"]["command"])
        lb("drill", "--target", "immediate", timeout=300).ok()
        self.assertEqual("before-drill", self.told()[-1]["in"]["hook"])

    def test_dumps_and_recoveries_have_hooks_too(self):
        server = self.cluster()
        lb = self.lifeboat(server, options=["--config", self.config])
        self.hooks()
        lb("init", "--yes", live=True).ok()
        refuse = self.script("refuse", "#!/bin/sh\nexit 3\n")
        self.hooks(before_dump_create=[refuse], before_dump_restore=[refuse], before_recover=[refuse])
        self.assertFails(lb("dump", "create", live=True), 22, "before-dump-create", "was not begun")
        self.assertEqual([], lb("dump", "list").ok().json["dumps"])
        self.hooks(**{f"{when}_{what}": [self.recorder] for when in ("before", "after")
                      for what in ("dump_create", "dump_restore", "recover")})
        made = lb("dump", "create", "--database", "postgres", live=True).ok().json
        before, after = self.told()
        self.assertEqual(("before-dump-create", "dump create"), (before["env"]["LIFEBOAT_HOOK"], before["in"]["command"]))
        self.assertEqual(made["dump"], after["in"]["result"]["dump"])
        back = lb("dump", "restore", "latest", "--database", "postgres=back", live=True).ok().json
        self.assertEqual(("after-dump-restore", back["databases"]),
                         (self.told()[-1]["in"]["hook"], self.told()[-1]["in"]["result"]["databases"]))
        lb("dump", "restore", "latest", "--database", "postgres=back", live=True)
        self.assertEqual(("failed", "5"), (self.told()[-1]["env"]["LIFEBOAT_HOOK_RESULT"], self.told()[-1]["env"]["LIFEBOAT_HOOK_EXIT_CODE"]))
        # A recovery's plan is only shown with --dry-run.
        server.archive_with(lb.archive_command())
        lb("backup", live=True).ok()
        calls = len(self.told())
        recover = ["recover", "--failure", "primary-lost", "--to", new_directory("to") / "d", "--socket-dir", new_directory("s"), "--yes"]
        lb(*recover, "--dry-run").ok()
        self.assertEqual(calls, len(self.told()))
        done = lb(*recover).ok().json
        self.assertEqual(["before-recover", "after-recover"], [told["in"]["hook"] for told in self.told()[calls:]])
        self.assertEqual(done["post_mortem"]["evidence"], self.told()[-1]["in"]["result"]["post_mortem"]["evidence"])

    def test_a_failing_before_hook_keeps_the_command_from_beginning(self):
        lb = self.old_repository()
        objects = lb.objects()
        refuse = self.script("refuse", "#!/bin/sh\necho not today >&2\nexit 3\n")
        self.hooks(before_expire=[refuse], after_expire=[self.recorder])
        done = lb("expire", "--keep-count", "1", "--grace", "0", "--yes")
        self.assertFails(done, 22, "before-expire", "exit code 3", "was not begun", "not today")
        self.assertEqual("hook_failed", done.json["error"]["kind"])
        self.assertIn(f"{self.config}, line 3", done.json["error"]["hint"])
        self.assertEqual(objects, lb.objects())
        self.assertEqual([], self.told(), "what did not begin does not end")
        self.hooks(before_expire=[self.place / "missing"])
        self.assertFails(lb("expire", "--yes"), 22, "could not be started", "no such program")

    def test_a_failing_after_hook_is_reported_beside_the_result(self):
        lb = self.old_repository()
        self.hooks(after_verify=["/bin/false"])
        done = lb("verify", "--depth", "hashed")
        self.assertFails(done, 22, "after-verify", "exit code 1", "the verify itself succeeded")
        self.assertTrue(done.json["ok"])
        gone = lb("verify", "--backup", "20200101T000000Z-ffffff")
        self.assertFails(gone, 4, "hook after-verify")
        self.assertEqual("not_found", gone.json["error"]["kind"])

    def test_calls_that_only_ask_run_no_hooks_and_hooks_run_none(self):
        lb = self.old_repository()
        self.hooks(before_expire=["/bin/false"], before_verify=["/bin/false"])
        lb("expire", "--keep-count", "1", "--dry-run").ok()
        self.assertNotEqual(22, lb("verify", "--gate", "backup_verified").code)
        # It finds the repository by its environment and does not call itself without end.
        nested = self.script("nested", f"#!/bin/sh\nexec {lb.argv()[0]} verify --depth hashed --output json >{self.place}/nested.json\n")
        self.hooks(before_verify=[nested])
        lb("verify", "--depth", "hashed").ok()
        self.assertTrue(json.loads((self.place / "nested.json").read_text())["ok"])
        self.hooks(cluster="other", before_verify=["/bin/false"])
        lb("verify", "--depth", "hashed").ok()

    def test_a_hook_that_hangs_is_ended_with_what_it_started(self):
        lb = self.old_repository()
        hang = self.script("hang", f"#!/bin/sh\nsleep 1000 &\necho $! >{self.place}/pid\nwait\n")
        self.hooks(timeout="500ms", before_verify=[hang])
        done = lb("verify", "--depth", "hashed")
        self.assertFails(done, 22, "took longer than")
        self.assertLess(done.seconds, 5)
        pid = (self.place / "pid").read_text().strip()
        wait_until(lambda: run(["/bin/sh", "-c", f"kill -0 {pid} && ! grep -q '^State:.Z' /proc/{pid}/status"],
                               check=False).code != 0, "the end of the hook's child", timeout=10)

    def test_a_signal_ends_the_before_hook_and_the_command(self):
        lb = self.old_repository()
        hang = self.script("hang", f"#!/bin/sh\ntouch {self.place}/begun\nexec sleep 1000\n")
        self.hooks(before_verify=[hang], after_verify=[self.recorder])
        verify = lb.background("verify")
        wait_until((self.place / "begun").exists, "the hook's beginning")
        verify.signal(signal.SIGINT)
        done = verify.wait(timeout=20, check=False)
        self.assertFails(done, 16)
        self.assertEqual([], self.told())


if __name__ == "__main__":
    main()
