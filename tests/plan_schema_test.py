#!/usr/bin/env python3
"""The schemas of docs/schema describe what `lifeboat plan` reads and writes: every golden plan is valid, and what is wrong is
not."""
import json
import os
import shutil
import subprocess
import unittest
from pathlib import Path

from support.json_schema import problems

ROOT = Path(os.environ.get("LIFEBOAT_SOURCE_DIR") or Path(__file__).resolve().parent.parent)
PLANS = sorted(path for path in (ROOT / "tests/golden/plans").iterdir() if path.is_dir())
REQUIREMENTS = json.loads((ROOT / "docs/schema/backup_requirements.schema.json").read_text())
PLAN = json.loads((ROOT / "docs/schema/backup_plan.schema.json").read_text())


class SchemaTest(unittest.TestCase):
    def test_golden_files_are_valid(self):
        self.assertGreaterEqual(len(PLANS), 30)
        for place in PLANS:
            with self.subTest(plan=place.name):
                self.assertEqual([], problems(json.loads((place / "requirements.json").read_text()), REQUIREMENTS))
                self.assertEqual([], problems(json.loads((place / "backup_plan.json").read_text()), PLAN))

    def test_what_is_wrong_is_seen(self):
        good = json.loads((PLANS[0] / "requirements.json").read_text())
        for name, value in [("rpo_seconds", None), ("rto_seconds", 0), ("substrate", "cloud"), ("storage", 5),
                            ("legal_hold", "yes"), ("recovery_level", ["row"]), ("rpo_second", 300),
                            ("storage", {"capacity_byte": 1}), ("provider", {"window": 1})]:
            with self.subTest(name=name):
                self.assertNotEqual([], problems({**good, name: value}, REQUIREMENTS))
        plan = json.loads((PLANS[0] / "backup_plan.json").read_text())
        self.assertNotEqual([], problems({**plan, "status": "fine"}, PLAN))

    def test_numbers_add_up_in_the_files(self):
        for place in PLANS:
            plan = json.loads((place / "backup_plan.json").read_text())
            for target in ("rpo", "rto"):
                one = plan[target]
                if one["delivered_seconds"] is not None:
                    total = sum(term["seconds"] for term in one["terms"])
                    self.assertAlmostEqual(total, one["delivered_seconds"], delta=0.5, msg=f"{place.name} {target}")


class CommandTest(unittest.TestCase):
    """The program gives the same as the golden files, from facts in a file: it needs no server."""

    def plan(self, *options, output="json", level="error", env=None):
        binary = os.environ.get("LIFEBOAT_BINARY") or ROOT / "build/release/lifeboat"
        if not Path(binary).exists():
            self.skipTest(f"{binary} is not built")
        return subprocess.run([binary, "plan", *options, "--output", output, "--log-level", level],
                              capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(env or {})})

    def test_blocked_has_its_own_code_and_its_files(self):
        import tempfile
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            to = Path(place) / "new" / "plan"
            golden = ROOT / "tests/golden/plans/retention-below-compliance"
            done = self.plan("--requirements", golden / "requirements.json", "--facts", golden / "facts.json", "--to", to)
            self.assertEqual(24, done.returncode, done.stderr)
            self.assertEqual("blocked", json.loads(done.stdout)["status"])
            self.assertEqual("blocked", json.loads((to / "backup_plan.json").read_text())["status"])
            self.assertIn("compliance minimum", (to / "backup_plan.md").read_text())

    def test_a_blocked_plan_applies_nothing_and_says_so(self):
        import tempfile
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            config = Path(place) / "new.toml"
            golden = ROOT / "tests/golden/plans/retention-below-compliance"
            done = self.plan("--requirements", golden / "requirements.json", "--facts", golden / "facts.json",
                             "--config", config, "--apply", "--yes", level="warning")
            self.assertEqual(24, done.returncode, done.stderr)
            self.assertFalse(json.loads(done.stdout)["applied"])
            self.assertIn(f"nothing was applied, because the plan is blocked: {config} is not made", done.stderr)
            self.assertFalse(config.exists())

    def test_apply_makes_a_configuration_that_is_not_there(self):
        import tempfile
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            config = Path(place) / "new.toml"
            key = Path(place) / "key"
            key.write_text("x")
            golden = ROOT / "tests/golden/plans/small-production"
            options = ["--requirements", golden / "requirements.json", "--facts", golden / "facts.json", "--repo",
                       "file:///srv/repo", "--key-file", key, "--pg", "host=/run/pg port=5433"]
            env = {"PGDATA": "/srv/pg"}  # which the daemon will not have
            missing = self.plan(*options, "--config", config)
            self.assertEqual("config", json.loads(missing.stdout)["error"]["kind"], "without --apply it has to be there")
            nowhere = self.plan(*options, "--config", Path(place) / "no" / "new.toml", "--apply", "--yes")
            self.assertIn(f"there is no directory {place}/no", json.loads(nowhere.stdout)["error"]["message"])
            refused = self.plan(*options, "--config", config, "--apply")
            self.assertEqual(21, refused.returncode, refused.stderr)
            self.assertFalse(config.exists())
            to = Path(place) / "plan"
            shown = self.plan(*options, "--config", config, "--apply", "--yes", "--to", to, output="text", env=env)
            self.assertEqual(0, shown.returncode, shown.stderr)
            text = config.read_text()
            self.assertEqual(0o644, config.stat().st_mode & 0o777)
            self.assertIn(f"{config}, which is not there yet:\n", shown.stdout)
            self.assertIn("".join(f"+{line}\n" for line in text.splitlines()), shown.stdout)
            # What is printed is what is written: the repository, its key and how the server is reached too.
            self.assertIn(f"```toml\n{text}```\n", (to / "backup_plan.md").read_text())
            self.assertEqual(text, (to / "lifeboat.toml").read_text())
            for line in [f'key-file = "{key}"', 'pg = "host=/run/pg port=5433"', 'pgdata = "/srv/pg"', '[repo.main]']:
                self.assertIn(line, text)
            again = self.plan("--requirements", golden / "requirements.json", "--facts", golden / "facts.json",
                              "--config", config, "--apply", "--to", to, output="text")
            self.assertIn("already as planned", again.stdout)
            self.assertIn(f"```toml\n{text}```\n", (to / "backup_plan.md").read_text(), "what the file has is printed too")

    def test_a_key_of_the_command_line_goes_to_the_repository_that_the_file_has(self):
        import tempfile
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            config, key = Path(place) / "lifeboat.toml", Path(place) / "key"
            key.write_text("x")
            golden = ROOT / "tests/golden/plans/small-production"
            for before, section in [('[cluster.main]\nrepo = "near"\n[repo.near]\nurl = "file:///srv/repo"\n', "[repo.near]"),
                                    ('[cluster.main]\nrepo = "file:///srv/repo"\n', "[repo.main]")]:
                with self.subTest(section=section):
                    config.write_text(before)
                    config.chmod(0o640)
                    if os.geteuid() == 0:
                        shutil.chown(config, "postgres")  # whom root becomes
                    to = Path(place) / "plan"
                    done = self.plan("--requirements", golden / "requirements.json", "--facts", golden / "facts.json",
                                     "--config", config, "--key-file", key, "--apply", "--yes", "--to", to)
                    self.assertEqual(0, done.returncode, done.stdout)
                    text = config.read_text()
                    self.assertIn(f'key-file = "{key}"', text.split(section)[1].split("[")[0])
                    self.assertIn(f'key-file = "{key}"', (to / "backup_plan.md").read_text())
                    self.assertEqual(0o640, (to / "lifeboat.toml").stat().st_mode & 0o777, "no more readable than the file")

    def test_a_misspelt_member_is_an_error_that_names_it(self):
        import tempfile
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            demands = Path(place) / "r.json"
            demands.write_text('{"rpo_second": 300, "rto_seconds": 900, "substrate": "self-managed", "owner": "x",'
                               ' "storage": {"ur": "file:///b"}}')
            done = self.plan("--requirements", demands, "--calibration", "off")
            error = json.loads(done.stdout)["error"]
            self.assertEqual("config", error["kind"])
            self.assertIn("unknown member 'rpo_second' (did you mean rpo_seconds?)", error["message"])
            self.assertIn("unknown member 'storage.ur' (did you mean storage.url?)", error["message"])

    def test_without_targets_there_is_no_plan(self):
        import tempfile
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            demands = Path(place) / "r.json"
            demands.write_text('{"rto_seconds": 900, "substrate": "self-managed", "owner": "x"}')
            done = self.plan("--requirements", demands, "--calibration", "off", "--to", Path(place) / "out")
            self.assertEqual(25, done.returncode, done.stdout)
            self.assertEqual("undecided", json.loads(done.stdout)["error"]["kind"])
            self.assertFalse((Path(place) / "out" / "backup_plan.json").exists())


if __name__ == "__main__":
    unittest.main()
