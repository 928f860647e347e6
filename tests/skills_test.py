#!/usr/bin/env python3
"""The agent skills follow the Agent Skills specification (https://agentskills.io/specification) and our own rules. Each rule
is a function from a folder to messages, and has a canary that shows that it can fail. tests/system/skills_test.py runs
what the skills teach."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import skill_files

ROOT = Path(os.environ.get("LIFEBOAT_SOURCE_DIR", Path(__file__).resolve().parent.parent))
BINARY = os.environ.get("LIFEBOAT_BINARY")
ALLOWED = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
# What is being built beside the skills; a block that needs one of these runs as soon as it is there.
COMING = {"dump create", "dump list", "dump show", "dump restore", "status", "metrics", "alert check", "alert test", "alert rules",
          "alert dashboard", "plan", "report", "runbook", "recover", "heal", "schedule systemd", "schedule cron"}
REQUIRED = {
    "postgresql-backup-recovery": [
        "Strategy selection", "Logical backups", "Physical backups", "WAL archiving and PITR", "Point-in-time recovery",
        "Verification and data checksums", "Disaster recovery", "Storage and retention", "Monitoring",
        "The same with pgBackRest and Barman"],
    "postgres-backup-and-operational-readiness": [
        "When to use", "When not to use", "Required inputs", "Optional inputs", "Operating rules", "Output contract", "Process",
        "Outputs", "Quality checks", "References"],
}
FILES = {"postgresql-backup-recovery": ["SKILL.md", "references/backup-commands.md", "references/pitr-setup.md",
                                        "references/recovery-scenarios.md", "examples/examples.md", "scripts"]}
# A reader, or an agent, runs what it sees. What only makes the accident that a block is about is staged.
ACCIDENT = re.compile(r"\b(DROP (TABLE|COLUMN|DATABASE)|DELETE FROM|TRUNCATE TABLE|rm -rf)\b|of=\"?\$PGDATA")
AGENT_COMMANDS = ["state-checkpoint", "state-restore", "state-diff", "rollback", "self-healing", "monitoring-configure",
                  "alert-configure", "deployment"]


# --- the rules ----------------------------------------------------------------------------------------------------------

def front_matter(path, expected_name):
    """The specification's rules for the fields, and ours: who made it, which version, for what platform."""
    try:
        fields, _ = skill_files.front_matter(path)
    except skill_files.SkillError as error:
        yield str(error)
        return
    for key in sorted(set(fields) - ALLOWED):
        yield f"{path}: the specification has no field {key}"
    name, description = fields.get("name", ""), fields.get("description", "")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > 64:
        yield f"{path}: name: 1 to 64 lower-case letters, digits and single hyphens: {name!r}"
    if name != expected_name:
        yield f"{path}: name is {name!r}, the folder or file is {expected_name!r}"
    if not 1 <= len(description) <= 1024:
        yield f"{path}: description: 1 to 1024 characters, not {len(description)}"
    if not re.search(r"\bUse (when|for)\b", description):
        yield f"{path}: description: what it does, and when to use it (\"Use when …\")"
    if "compatibility" in fields and not 1 <= len(fields["compatibility"]) <= 500:
        yield f"{path}: compatibility: 1 to 500 characters, not {len(fields['compatibility'])}"
    metadata = fields.get("metadata", {})
    if not isinstance(metadata, dict) or set(metadata) != {"author", "version", "platform"} or metadata["version"] != "1.0":
        yield f"{path}: metadata: author, version \"1.0\" and platform, each a text: {metadata}"


def length(skill):
    lines = (skill / "SKILL.md").read_text(encoding="utf-8").count("\n")
    if lines >= 500:
        yield f"{skill}/SKILL.md: {lines} lines; below 500: what is needed only sometimes goes to references/"


def references(skill):
    """Links lead to files of the skill, every file is reached from SKILL.md itself, none lies deeper than one folder."""
    linked = {str(target) for _, target in skill_files.links(skill / "SKILL.md")}
    for path in sorted(path for path in skill.rglob("*") if path.is_file()):
        name = str(path.relative_to(skill))
        if name.count("/") > 1:
            yield f"{path}: files lie one folder deep"
        if name != "SKILL.md" and name not in linked:
            yield f"{path}: SKILL.md does not link it, so nobody finds it"
        if path.suffix == ".md":
            for line, target in skill_files.links(path):
                resolved = (path.parent / target.split("#")[0]).resolve()
                if "://" not in target and (not resolved.is_file() or not resolved.is_relative_to(skill.resolve())):
                    yield f"{path}:{line}: {target} leads to nothing in this skill"


def blocks(path):
    """Every fenced block has a language, none destroys, and one that is not run says why."""
    try:
        for block in skill_files.blocks(path):
            if block.language not in skill_files.LANGUAGES:
                yield f"{block.where}: a block of one of {', '.join(skill_files.LANGUAGES)}, not {block.language!r}"
            if len(block.directives.get("not run", "long enough")) < 8:
                yield f"{block.where}: not run, but why?"
            found = ACCIDENT.search(block.text)
            if found and block.language in skill_files.RUN_LANGUAGES:
                yield f"{block.where}: {found.group(0)} stands where a reader runs it; <!-- staged: … --> is for the test"
    except skill_files.SkillError as error:
        yield str(error)


def machine_paths(path):
    """Nothing of the machine where it was written."""
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if re.search(r"(?<![\w.])/(home|root|work|Users|tmp|dev/shm|var/tmp/lifeboat)/", line):
            yield f"{path}:{number}: a path of one machine: {line.strip()}"


def scripts(skill):
    """Run as they are, explain themselves, and pass shellcheck where it is installed."""
    for path in sorted((skill / "scripts").glob("*")):
        lines = path.read_text(encoding="utf-8").split("\n")
        if not os.access(path, os.X_OK) or not re.fullmatch(r"#!/bin/(ba)?sh", lines[0]):
            yield f"{path}: executable, and begins with its shell"
        if len(lines) < 3 or not lines[1].startswith("# ") or lines[2] != "#":
            yield f"{path}: its first lines are its manual: `# usage`, `#`, what it does"
        if shutil.which("shellcheck"):
            done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
            if done.returncode:
                yield f"{path}: {done.stdout}"


def commands(path, known):
    """Each `lifeboat COMMAND --option` is one that the program has, or is being built and then named without options."""
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    for found in re.finditer(r"(?<![\w/.-])lifeboat ((?:[a-z]+ ?){1,2})([^\n`|>]*)", text):
        words, rest = found.group(1).split(), found.group(2)
        name = next((candidate for candidate in (" ".join(words[:2]), words[0]) if candidate in known or candidate in COMING), None)
        if name is None:
            if any(candidate.startswith(words[0] + " ") for candidate in known):
                continue  # a family, in prose
            yield f"{path}: there is no command `lifeboat {' '.join(words)}`"
        elif name in known:
            for option in re.findall(r"(?<!\S)(--[a-z][a-z-]*)", rest.split(" #")[0]):
                if option not in known[name]:
                    yield f"{path}: `lifeboat {name}` has no option {option}"


# --- the tests ----------------------------------------------------------------------------------------------------------

def skills(root=ROOT):
    return sorted(path.parent for path in (root / "skills").glob("*/SKILL.md"))


def agents():
    return sorted((ROOT / "skills/agents").glob("*.md"))


def known_commands():
    known = {}
    done = subprocess.run([BINARY, "internal", "options"], capture_output=True, text=True, check=True, timeout=20)
    for line in done.stdout.splitlines():
        command, option = line.split("\t")
        known.setdefault(command, set()).add(option)
    return known


class SkillsTest(unittest.TestCase):
    def assert_none(self, messages):
        messages = list(messages)
        self.assertEqual([], messages, "\n" + "\n".join(messages))

    def test_the_specification_is_followed(self):
        self.assertEqual(sorted(REQUIRED), [skill.name for skill in skills()])
        for skill in skills():
            self.assert_none(front_matter(skill / "SKILL.md", skill.name))
            self.assert_none(length(skill))
            self.assert_none(references(skill))

    def test_the_agent_has_valid_front_matter_and_every_command(self):
        self.assertEqual(["database-backup-recovery-agent"], [path.stem for path in agents()])
        for path in agents():
            self.assert_none(front_matter(path, path.stem))
            titles = skill_files.sections(path)
            for command in AGENT_COMMANDS:
                self.assertIn(command, titles, f"{path}: the command {command} has no equivalent")
                self.assertRegex(titles[command].text, r"lifeboat [a-z]+", f"{path}: {command}")
            for line, target in skill_files.links(path):
                self.assertTrue((path.parent / target).resolve().is_file(), f"{path}:{line}: {target}")

    def test_every_section_and_file_is_there(self):
        for skill in skills():
            titles = skill_files.sections(skill / "SKILL.md")
            self.assertEqual([], [title for title in REQUIRED[skill.name] if title not in titles], skill)
            for name in FILES.get(skill.name, ()):
                self.assertTrue((skill / name).exists(), f"{skill}/{name}")

    def test_process_and_quality_checks_are_complete(self):
        titles = skill_files.sections(ROOT / "skills/postgres-backup-and-operational-readiness/SKILL.md")
        for title, count in (("Process", 12), ("Quality checks", 11)):
            numbers = re.findall(r"^(\d+)\. ", titles[title].text, re.MULTILINE)
            self.assertEqual([str(number) for number in range(1, count + 1)], numbers, title)

    def test_blocks_say_what_they_are(self):
        for path in sorted((ROOT / "skills").rglob("*.md")):
            self.assert_none(blocks(path))

    def test_nothing_of_a_machine_is_in_them(self):
        for path in sorted((ROOT / "skills").rglob("*")):
            if path.is_file():
                self.assert_none(machine_paths(path))

    def test_scripts_are_clean(self):
        for skill in skills():
            self.assert_none(scripts(skill))

    @unittest.skipUnless(BINARY, "LIFEBOAT_BINARY does not name the built program")
    def test_the_products_commands_exist(self):
        known = known_commands()
        for path in sorted((ROOT / "skills").rglob("*.md")):
            self.assert_none(commands(path, known))

    def test_they_are_installed_with_the_program(self):
        if not BINARY:
            self.skipTest("LIFEBOAT_BINARY does not name the built program")
        with tempfile.TemporaryDirectory() as place:
            subprocess.run([ROOT / "packaging/install.sh", "--destdir", place, BINARY], check=True, capture_output=True)
            installed = Path(place) / "usr/local/share/lifeboat/skills"
            for path in sorted((ROOT / "skills").rglob("*")):
                if path.is_file():
                    copy = installed / path.relative_to(ROOT / "skills")
                    self.assertEqual(path.read_bytes(), copy.read_bytes())
                    self.assertEqual(os.access(path, os.X_OK), os.access(copy, os.X_OK), copy)


class CanaryTest(unittest.TestCase):
    """Each rule fails on a skill that breaks it, and only there."""

    GOOD = ('---\nname: a-skill\ndescription: "Does it. Use when asked."\nmetadata:\n  author: us\n  version: "1.0"\n'
            "  platform: Linux\n---\n\n# A skill\n\n[more](references/more.md)\n")

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.skill = Path(directory.name) / "skills" / "a-skill"
        self.write("SKILL.md", self.GOOD)
        self.write("references/more.md", "# More\n\n```sh\ntrue\n```\n")

    def write(self, name, text):
        path = self.skill / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def messages(self):
        yield from front_matter(self.skill / "SKILL.md", "a-skill")
        yield from length(self.skill)
        yield from references(self.skill)
        for path in self.skill.rglob("*.md"):
            yield from blocks(path)
            yield from machine_paths(path)
            yield from commands(path, {"backup": {"--repo"}, "wal push": {"--repo"}})
        yield from scripts(self.skill)

    def assert_caught(self, name, text, expected):
        self.assertEqual([], list(self.messages()))
        self.write(name, text)
        found = list(self.messages())
        self.assertTrue(any(expected in message for message in found), (expected, found))

    def test_fields(self):
        for old, new, expected in [
            ("name: a-skill", "name: A--Skill", "single hyphens"),
            ("name: a-skill", "name: other", "the folder"),
            ("name: a-skill", "name: a-skill\nname: a-skill", "twice"),
            ("name: a-skill", "name: a-skill\ntools: Bash", "no field tools"),
            ('"Does it. Use when asked."', "Does it: use", "quote it"),
            ("Use when asked.", "Helps.", "when to use it"),
            ("Does it.", "x" * 1024, "1 to 1024"),
            ('version: "1.0"', "version: 1.0", "quote it"),
            ("  author: us\n", "", "metadata"),
            ("metadata:\n", "metadata:\n\tauthor: tab\n", "neither"),
        ]:
            with self.subTest(new=new):
                self.write("SKILL.md", self.GOOD)
                self.assert_caught("SKILL.md", self.GOOD.replace(old, new, 1), expected)

    def test_a_long_skill(self):
        self.assert_caught("SKILL.md", self.GOOD + "\n" * 500, "below 500")

    def test_a_link_to_nothing(self):
        self.assert_caught("SKILL.md", self.GOOD + "[x](references/none.md)\n", "leads to nothing")

    def test_a_file_that_nobody_finds(self):
        self.assert_caught("references/lost.md", "# Lost\n", "does not link it")

    def test_a_block_without_language(self):
        self.assert_caught("references/more.md", "```\nls\n```\n", "a block of one of")

    def test_a_block_that_is_not_run_without_reason(self):
        self.assert_caught("references/more.md", "<!-- not run: no -->\n```sh\nls\n```\n", "but why")

    def test_a_block_that_destroys(self):
        self.assert_caught("references/more.md", "```sql\nDROP TABLE orders;\n```\n", "stands where a reader runs it")

    def test_an_accident_that_is_staged_is_none(self):
        self.write("references/more.md", "<!-- staged: psql -c 'DROP TABLE orders' -->\n```sh\ntrue\n```\n")
        self.assertEqual([], list(self.messages()))

    def test_a_directive_that_does_not_exist(self):
        self.assert_caught("references/more.md", "<!-- skip: me -->\n```sh\nls\n```\n", "not a directive")

    def test_a_path_of_a_machine(self):
        self.assert_caught("references/more.md", "See /home/me/x.\n", "of one machine")

    def test_a_command_that_does_not_exist(self):
        self.assert_caught("references/more.md", "`lifeboat frob now`\n", "no command")

    def test_an_option_that_does_not_exist(self):
        self.assert_caught("references/more.md", "`lifeboat wal push --quick`\n", "no option --quick")

    def test_a_script_without_manual(self):
        self.write("SKILL.md", self.GOOD + "[s](scripts/s.sh)\n")
        path = self.write("scripts/s.sh", "#!/bin/sh\n# s.sh\n#\n# Does it.\n")
        path.chmod(0o755)
        self.assert_caught("scripts/s.sh", "#!/bin/sh\nls\n", "its manual")

    def test_output_is_compared(self):
        self.assertTrue(skill_files.output_matches("a … c\n…\nz\n", "a bb c\n1\n2\nz\n"))
        self.assertTrue(skill_files.output_matches("…\nz\n", "z\n"))
        for printed in ("a bb d\nz\n", "a bb c\nx\n", ""):
            self.assertFalse(skill_files.output_matches("a … c\n…\nz\n", printed), printed)


if __name__ == "__main__":
    unittest.main(verbosity=2)
