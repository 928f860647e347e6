#!/usr/bin/env python3
"""Which test shows which requirement: docs/requirements.md, made from tests/requirements.txt and from the ids that tests name.

    python3 tests/requirements_test.py --write     makes the table anew
"""
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(ROOT, "docs", "requirements.md")
# Nothing of these areas goes without a test.
AREAS = ("P", "L", "M", "RK", "SH", "SC")
HEAD = """# Which test shows which requirement

Made by `python3 tests/requirements_test.py --write` from the ids that tests name; not edited by hand.

| id | what | shown by |
|---|---|---|
"""


def requirements(path):
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(" ", 1) for line in file if line.strip() and not line.startswith("#"))


def named_ids(text, known):
    """The ids in comments and docstrings; "L1 to L3" are three."""
    found = set()
    for words in re.findall(r"(?:#|//)(.*)", text) + re.findall(r'"""(.*?)"""', text, re.DOTALL):
        found.update(re.findall(r"\b[A-Z]{1,2}[0-9]\b", words))
        for area, first, last in re.findall(r"\b([A-Z]{1,2})([0-9]) to \1([0-9])\b", words):
            found.update(f"{area}{number}" for number in range(int(first), int(last) + 1))
    return found & set(known)


def tests_of(root, known):
    """id -> sorted paths of the tests that name it."""
    shown = {}
    for top in ("tests", "src"):
        for directory, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                if not name.endswith(("_test.py", "_test.cc")) or name == os.path.basename(__file__):
                    continue
                path = os.path.join(directory, name)
                with open(path, encoding="utf-8") as file:
                    for one in named_ids(file.read(), known):
                        shown.setdefault(one, set()).add(os.path.relpath(path, root))
    return {one: sorted(paths) for one, paths in shown.items()}


def table(known, shown):
    rows = [f"| {one} | {what} | {', '.join(shown.get(one, [])) or '—'} |" for one, what in known.items()]
    return HEAD + "\n".join(rows) + "\n"


class RequirementsTest(unittest.TestCase):
    def setUp(self):
        self.known = requirements(os.path.join(ROOT, "tests", "requirements.txt"))
        self.shown = tests_of(ROOT, self.known)

    def test_the_table_is_what_the_tests_say(self):
        with open(TABLE, encoding="utf-8") as file:
            self.assertEqual(file.read(), table(self.known, self.shown), "make it anew: python3 tests/requirements_test.py --write")

    def test_nothing_goes_without_a_test(self):
        missing = [one for one in self.known if re.sub(r"[0-9]", "", one) in AREAS and one not in self.shown]
        self.assertEqual([], missing)

    def test_ids_count_in_comments_only(self):
        self.assertEqual({"M1"}, named_ids('x = "L1"\ny = 1  # M1, and M9\n', {"M1", "L1"}))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        wanted = requirements(os.path.join(ROOT, "tests", "requirements.txt"))
        with open(TABLE, "w", encoding="utf-8") as out:
            out.write(table(wanted, tests_of(ROOT, wanted)))
    else:
        unittest.main(verbosity=2)
