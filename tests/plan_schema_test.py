#!/usr/bin/env python3
"""The schemas of docs/schema describe what `lifeboat plan` reads and writes: every golden plan is valid, and what is wrong is
not."""
import json
import os
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

    def plan(self, *options):
        binary = os.environ.get("LIFEBOAT_BINARY") or ROOT / "build/release/lifeboat"
        if not Path(binary).exists():
            self.skipTest(f"{binary} is not built")
        return subprocess.run([binary, "plan", *options, "--output", "json", "--log-level", "error"],
                              capture_output=True, text=True, timeout=60, check=False)

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
