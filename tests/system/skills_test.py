#!/usr/bin/env python3
"""Every fenced command of the agent skills, run on real servers, and ten scenario questions with the answers that the
skills must give.

Each document gets a server of its own with the database `shop` (tests/skills/shop.sql), and its blocks run in order, each in
a shell of its own under `set -eu` that takes over what the block before it exported or set. What a block needs that is not
here is skipped by name; tests/support/skill_files.py says how blocks say so (K1, K2, K3, K4, K5)."""
import collections
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import time
import tomllib
from pathlib import Path

import harness
from harness import SOURCE, Cluster, SystemTest, binary, give, main, new_directory, run, wait_until
from support import skill_files

SKILLS = SOURCE / "skills"
SCENARIOS = SOURCE / "tests/skills/scenarios"
# Versions of PostgreSQL that the packaged programs of a Debian 12 know.
NEWEST = {"pgbackrest": 15, "barman": 15}
# More than this share of blocks that say "not run", and the skills have stopped being proven.
NOT_RUN_AT_MOST = 0.15
LONGEST = 60  # seconds that one block may take

Outcome = collections.namedtuple("Outcome", "block state detail")  # state: ran, not run, lacking


def documents():
    """All of them, or those whose path holds LIFEBOAT_SKILL, for whoever writes one."""
    names = sorted(str(path.relative_to(SKILLS)) for path in SKILLS.rglob("*.md"))
    return [name for name in names if os.environ.get("LIFEBOAT_SKILL", "") in name]


@functools.lru_cache(maxsize=None)
def commands():
    """The product's commands, from the product."""
    return {line.split("\t")[0] for line in run([binary(), "internal", "options"]).out.splitlines()}


def lacking(need, major):
    """Why a block with this need cannot run here, or None."""
    if need.startswith("lifeboat "):
        return None if need.removeprefix("lifeboat ") in commands() else f"`{need}` is not in this build"
    if need.startswith("PostgreSQL "):
        least = int(need.split()[1])
        return None if major >= least else f"needs PostgreSQL {least} or later"
    if not shutil.which(need):
        return f"{need} is not installed"
    if major > NEWEST.get(need, 99):
        return f"the packaged {need} does not know PostgreSQL {major}"
    return None


class Document:
    """One document on one server: runs its blocks in order."""

    def __init__(self, name, major):
        self.name, self.major = name, major
        self.place = new_directory("skill-")
        self.server = Cluster(major=major, directory=self.place / "data")
        self.server.psql("CREATE DATABASE shop")
        self.server.psql((SOURCE / "tests/skills/shop.sql").read_text(), "shop")
        self.skill = self._copy_of_skills() / Path(name).parts[0]
        self.state = self.place / "state"
        self.state.write_text(self._first_state())
        give(self.state)

    def _copy_of_skills(self):
        """Where the servers' account can read and run them."""
        copy = harness.scratch() / "skills"
        if not copy.exists():
            shutil.copytree(SKILLS, copy)
        return copy

    def _first_state(self):
        """What the documents tell their readers to set."""
        programs = f"{self.server.bin}:{binary().parent}:{harness.environment()['PATH']}"
        values = {
            "PATH": programs, "PGDATA": self.server.data, "PGHOST": self.server.place, "PGPORT": self.server.port,
            "PGUSER": "postgres", "PGDATABASE": "shop", "LOG": self.server.log, "WORK": self._directory("work"),
            "BACKUPS": self._directory("backups"), "ARCHIVE": self._directory("archive"),
            "LIFEBOAT_REPO": f"file://{self.place}/repo", "LIFEBOAT_KEY_FILE": self.place / "lifeboat.key",
            "LIFEBOAT_SPOOL": self.place / "spool", "LIFEBOAT_STATE_DIR": self._directory("lifeboat-state"),
            "LIFEBOAT_SCRATCH_DIR": self._directory("scratch"), "PGBACKREST_CONFIG": self.place / "pgbackrest.conf",
            "PGBACKREST_LOCK_PATH": self.place / "lock", "BARMAN_CONFIG": self.place / "barman.conf", "PAGER": "cat",
        }
        return "".join(f"export {name}={harness._shell_quote(str(value))}\n" for name, value in values.items())

    def _directory(self, name):
        (self.place / name).mkdir()
        return give(self.place / name)

    def outcomes(self, blocks=None):
        for block in blocks or skill_files.blocks(SKILLS / self.name, self.name):
            if block.language not in skill_files.RUN_LANGUAGES:
                continue
            if "not run" in block.directives:
                yield Outcome(block, "not run", block.directives["not run"])
                continue
            needs = [lacking(need.strip(), self.major) for need in block.directives.get("needs", "").split(",") if need]
            if any(needs):
                yield Outcome(block, "lacking", next(filter(None, needs)))
                continue
            self._run(block)
            yield Outcome(block, "ran", "")

    def _run(self, block):
        if block.language in skill_files.FILES:
            self._write(block)
            return
        body = block.text
        if block.language == "sql":
            (self.place / "block.sql").write_text(body)
            give(self.place / "block.sql")
            body = f"psql -X -q -v ON_ERROR_STOP=1 -f {self.place}/block.sql\n"
        if "staged" in block.directives:
            body = block.directives["staged"] + "\n" + body
        code, out, err = self._shell(body)
        wanted = block.directives.get("exits", "0")
        right = code != 0 if wanted == "nonzero" else code == int(wanted)
        if not right:
            raise AssertionError(f"{block.where}: exit code {code}, expected {wanted}\n{block.text}--- stdout\n{out}"
                                 f"--- stderr\n{err}--- server\n{self.server.log_text()[-2500:]}")
        if block.expected is not None and not skill_files.output_matches(block.expected, out):
            raise AssertionError(f"{block.where}: printed something else than it says\n{block.text}--- says\n"
                                 f"{block.expected}--- stdout\n{out}--- stderr\n{err}")

    def _shell(self, body):
        """One block in a bash of its own. Output goes to files: a server that the block starts may keep them open."""
        script = self.place / "block.sh"
        # No errtrace, no pipefail: readers paste into a plain shell, and a block that needs more sets it visibly.
        script.write_text(f"set -a\n. {self.state}\nset -eu\ntrap 'export -p > {self.state}' EXIT\n{body}")
        give(script)
        with open(self.place / "out", "w+b") as out, open(self.place / "err", "w+b") as err:
            shell = subprocess.Popen(["bash", script], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.skill,
                                     env=harness.environment(), start_new_session=True, **harness.account())
            try:
                code = shell.wait(LONGEST)
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
                code = f"none after {LONGEST} s"
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return code, *texts

    def _write(self, block):
        """Writes a block to the file that it is for, and has it read by what reads it."""
        if block.language == "json":
            json.loads(block.text)
        if block.language == "toml":
            tomllib.loads(block.text)
        if "file" not in block.directives:
            raise AssertionError(f"{block.where}: which file is this? <!-- file: NAME --> before the fence")
        code, out, err = self._shell(f'printf "%s" "{block.directives["file"]}"\n')
        if code or not out.startswith(str(self.place)):
            raise AssertionError(f"{block.where}: the file lies outside of the test's directory: {out}{err}")
        # Variables stand in configuration files where readers put paths of theirs.
        code, text, err = self._shell(f"cat <<EOF\n{block.text}EOF\n")
        target = Path(out)
        with open(target, "a" if target.parent == self.server.data else "w") as file:
            file.write(text)
        give(target)
        if target.parent == self.server.data:
            wrong = self.server.value("SELECT string_agg(name || ': ' || error, '; ') FROM pg_file_settings"
                                      " WHERE error IS NOT NULL AND error NOT LIKE 'setting could not be applied%'")
            if wrong:
                raise AssertionError(f"{block.where}: {wrong}")

    def end(self):
        """Ends the servers that blocks started and left there."""
        for pid_file in self.place.rglob("postmaster.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(pid_file.read_text().split("\n")[0])
                if os.path.samefile(f"/proc/{pid}/cwd", pid_file.parent):
                    os.kill(pid, signal.SIGQUIT)
                    wait_until(lambda pid=pid: not harness._alive(pid), "the end of a server", timeout=20)


_ran = {}  # (document, major) -> outcomes


def tell(what, outcomes):
    counts = collections.Counter(outcome.state for outcome in outcomes)
    print(f"{what}: {counts['ran']} blocks ran, {counts['not run']} say why not, {counts['lacking']} lack something here",
          flush=True)


class SkillsTest(SystemTest):
    def test_every_block_runs_on_a_real_server(self):
        tried = []
        for name, major in self._chosen():
            with self.subTest(document=name, major=major):
                started = time.monotonic()
                document = Document(name, major)
                outcomes = _ran[name, major] = []
                try:
                    for outcome in document.outcomes():
                        outcomes.append(outcome)
                finally:
                    document.end()
                    tell(f"{name} on {major} ({time.monotonic() - started:.0f} s)", outcomes)
                tried += outcomes
        tell("all", tried)
        for reason in sorted({outcome.detail for outcome in tried if outcome.state == "lacking"}):
            print(f"SKIP: {reason}", flush=True)
            harness._skipped.append(reason)  # the closing line names it
        self._bound_what_does_not_run(tried)

    def _chosen(self):
        """Every document on the first major; on the second, which the seed chooses, two that the seed chooses too. All of
        them on all that LIFEBOAT_MAJORS names."""
        first, *others = self.two_majors()
        yield from ((name, first) for name in documents())
        for major in others:
            few = documents() if os.environ.get("LIFEBOAT_MAJORS") else harness.rng("documents").sample(documents(), 2)
            yield from ((name, major) for name in few)

    def _bound_what_does_not_run(self, tried):
        unwilling = sum(outcome.state == "not run" for outcome in tried)
        self.assertLessEqual(unwilling, NOT_RUN_AT_MOST * len(tried), f"{unwilling} of {len(tried)} blocks say `not run`")

    def test_a_block_that_is_wrong_is_caught(self):
        """Canaries: the runner fails on each of these, and runs the right one."""
        document = Document("postgresql-backup-recovery/SKILL.md", harness.majors()[0])
        self.addCleanup(document.end)
        path = new_directory() / "x.md"

        def outcomes(text):
            path.write_text(text)
            return [outcome.state for outcome in document.outcomes(skill_files.blocks(path))]
        right = ("```sh\nkept=1\npsql -AXtc 'SELECT 42'\n```\n\n```text\n42\n```\n\n"
                 "```sql\nSELECT 1;\n```\n\n```sh\ntest \"$kept\" = 1\n```\n\n"
                 "<!-- not run: needs two hosts -->\n```sh\nfalse\n```\n\n"
                 "<!-- needs: no-such-program -->\n```sh\nfalse\n```\n\n"
                 "<!-- needs: lifeboat no such command -->\n```sh\nfalse\n```\n\n"
                 "<!-- exits: 1 -->\n```sh\nfalse\n```\n\n"
                 "<!-- file: $WORK/a.conf -->\n```conf\ndir = $WORK\n```\n\n"
                 '```sh\ngrep -q "dir = $WORK" "$WORK/a.conf"\n```\n')
        self.assertEqual(["ran", "ran", "ran", "not run", "lacking", "lacking", "ran", "ran", "ran"], outcomes(right))
        for text, expected in [
            ("```sh\nfalse\ntrue\n```\n", "exit code 1, expected 0"),
            ("```sh\necho $never_set\n```\n", "exit code 1, expected 0"),
            ("```sql\nSELECT no_such_column;\n```\n", "exit code 3, expected 0"),
            ("```sh\necho 41\n```\n\n```text\n42\n```\n", "something else than it says"),
            ("<!-- exits: 1 -->\n```sh\ntrue\n```\n", "exit code 0, expected 1"),
            ("```conf\nshared_buffers = 1GB\n```\n", "which file"),
            ("<!-- file: /etc/passwd -->\n```conf\nx\n```\n", "outside"),
            ("<!-- file: $PGDATA/postgresql.conf -->\n```conf\nno_such_setting = on\n```\n", "no_such_setting"),
        ]:
            with self.assertRaisesRegex(AssertionError, expected, msg=text):
                outcomes(text)

    def test_scenarios_are_answered(self):
        """Needs the test above, whose blocks it counts on; runs after it, by name."""
        files = sorted(SCENARIOS.glob("*.json"))
        self.assertEqual(10, len(files), "ten scenario questions")
        for path in files:
            with self.subTest(scenario=path.stem):
                scenario = json.loads(path.read_text())
                self.assertEqual({"question", "rubric"}, set(scenario), path)
                self.assertGreaterEqual(len(scenario["rubric"]), 3, "an answer has several parts")
                for item in scenario["rubric"]:
                    self._answered(item)

    def _answered(self, item):
        name = item["document"]
        found = skill_files.sections(SKILLS / name).get(item["section"])
        self.assertIsNotNone(found, f"{name} has no section {item['section']!r}")
        text = " ".join(found.text.split())
        for term in item["says"]:
            self.assertTrue(term in text, f"{name}, {item['section']}: does not say {term!r} ({item['fact']})")
        for command in item.get("runs", ()):
            self._was_run(name, item["section"], command)

    def _was_run(self, name, section, command):
        holding = [block for block in skill_files.blocks(SKILLS / name, name)
                   if section in block.section and command in " ".join(block.text.split())]
        self.assertTrue(holding, f"{name}, {section}: no block holds {command!r}")
        self.assertTrue([block for block in holding if "not run" not in block.directives],
                        f"{name}, {section}: {command!r} stands only in blocks that are not run")
        states = {outcome.state for (document, _), outcomes in _ran.items() if document == name
                  for outcome in outcomes if outcome.block.line in {block.line for block in holding}}
        # What is lacking on this machine has been named above: it is neither proven nor wrong here.
        self.assertTrue(not _ran or states & {"ran", "lacking"}, f"{name}, {section}: {command!r} was not reached")


if __name__ == "__main__":
    main()
