#!/usr/bin/env python3
"""The folders of src/ are the architecture, and includes only go down. This test reads every #include and fails on one
that goes up or sideways, with the rule in its message. docs/map.md draws the same picture."""
import os
import re
import tempfile
import unittest

# folder -> folders that it may include, beside itself
ALLOWED = {
    "util": set(),
    "model": {"util"},
    "codec": {"util", "model"},
    "storage": {"util", "model", "codec"},
    "pg": {"util", "model", "codec"},
    "repo": {"util", "model", "codec", "storage"},
    "ops": {"util", "model", "codec", "storage", "pg", "repo"},
    "ready": {"util", "model", "codec", "storage", "pg", "repo", "ops"},
    "app": {"util", "model", "codec", "storage", "pg", "repo", "ops", "ready"},
}
WHY = {
    ("repo", "pg"): "the repository stores bytes and knows nothing of PostgreSQL's files; what joins the two is in ops",
    ("pg", "repo"): "reading PostgreSQL must not depend on where backups are kept; what joins the two is in ops",
    ("pg", "storage"): "reading PostgreSQL must not depend on where backups are kept; what joins the two is in ops",
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def rule(folder):
    below = sorted(ALLOWED[folder])
    return f"{folder} may include only itself and: {', '.join(below) if below else 'nothing else'}"


def violations(src):
    """Every include below `src` that the rule forbids, as messages."""
    found = []
    for directory, _, names in os.walk(src):
        for name in sorted(names):
            if not name.endswith((".cc", ".h")) or name.endswith("_test.cc"):
                continue  # unit tests may include anything
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, src)
            folder = relative.split(os.sep)[0] if os.sep in relative else None
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    match = INCLUDE.match(line)
                    if match:
                        message = judge(src, folder, match.group(1))
                        if message:
                            found.append(f"src/{relative}:{number}: #include \"{match.group(1)}\": {message}")
    return found


def judge(src, folder, included):
    target = included.split("/")[0]
    if "/" not in included or target in (".", ".."):
        return 'includes are written from src/ on: "folder/file.h"'
    if not os.path.isfile(os.path.join(src, included)):
        return "there is no such file below src/"
    if target not in ALLOWED:
        return f"the folder {target} has no place in the order yet: give it one in tests/edges_test.py and docs/map.md"
    if folder is None:
        return None if target == "app" else "main.cc only starts src/app"
    if folder not in ALLOWED:
        return f"the folder {folder} has no place in the order yet: give it one in tests/edges_test.py and docs/map.md"
    if target == folder or target in ALLOWED[folder]:
        return None
    why = WHY.get((folder, target))
    return f"{rule(folder)}" + (f" ({why})" if why else "; move what is shared down, or the caller up")


class EdgesTest(unittest.TestCase):
    def test_includes_only_go_down(self):
        src = os.path.join(os.environ.get("LIFEBOAT_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..")), "src")
        found = violations(src)
        self.assertEqual([], found, "\n" + "\n".join(found))

    def test_order_has_no_cycle(self):
        for folder, below in ALLOWED.items():
            for other in below:
                self.assertNotIn(folder, ALLOWED[other], f"{folder} and {other} may include each other")
                self.assertLessEqual(ALLOWED[other], below, f"{folder} may include {other} but not all below it")


class CanaryTest(unittest.TestCase):
    """The checker itself must be able to fail."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        for path, text in {
            "util/a.h": "#pragma once\n",
            "codec/c.h": '#include "util/a.h"\n#include <vector>\n',
            "pg/p.h": '#include "codec/c.h"\n',
            "repo/r.cc": '#include "codec/c.h"\n',
            "app/run.h": "\n",
            "main.cc": '#include "app/run.h"\n',
        }.items():
            self.write(path, text)

    def write(self, path, text):
        full = os.path.join(self.directory.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def assert_caught(self, path, line, expected):
        self.assertEqual([], violations(self.directory.name))
        self.write(path, f"// first line\n{line}\n")
        found = violations(self.directory.name)
        self.assertEqual(1, len(found), found)
        self.assertIn(f"src/{path}:2", found[0])
        self.assertIn(expected, found[0])

    def test_upward_include_is_caught(self):
        self.assert_caught("util/b.cc", '#include "codec/c.h"', "util may include only itself and: nothing else")

    def test_sideways_include_is_caught(self):
        self.assert_caught("repo/s.cc", '  #  include "pg/p.h"', "what joins the two is in ops")

    def test_relative_include_is_caught(self):
        self.assert_caught("codec/d.cc", '#include "../util/a.h"', "written from src/ on")

    def test_missing_file_is_caught(self):
        self.assert_caught("codec/d.cc", '#include "util/gone.h"', "no such file")

    def test_unknown_folder_is_caught(self):
        self.write("extra/e.h", "\n")
        self.assert_caught("app/d.cc", '#include "extra/e.h"', "no place in the order yet")

    def test_main_reaching_past_app_is_caught(self):
        self.assert_caught("main.cc", '#include "util/a.h"', "main.cc only starts src/app")

    def test_unit_tests_may_include_anything(self):
        self.write("util/b_test.cc", '#include "app/run.h"\n')
        self.assertEqual([], violations(self.directory.name))


if __name__ == "__main__":
    unittest.main(verbosity=2)
