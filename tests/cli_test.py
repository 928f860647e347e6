#!/usr/bin/env python3
"""The program from outside, without a server: what it loads, how fast it starts, what it prints on which exit code."""
import json
import os
import re
import subprocess
import tempfile
import unittest

from support import json_schema

BINARY = os.environ["LIFEBOAT_BINARY"]


def run(*arguments, environment=None, cwd=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LIFEBOAT_", "PG"))}
    clean.update(environment or {})
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, check=False, timeout=20, env=clean,
                          cwd=cwd, stdin=subprocess.DEVNULL)


def commands():
    return json.loads(run("help", "--output", "json").stdout)["commands"]


SCHEMAS = json.loads(run("internal", "schemas").stdout)


class StartTest(unittest.TestCase):
    def test_only_the_c_library_is_loaded(self):
        # `wal push` starts once per segment: libpq, curl and TLS would cost it milliseconds.
        listing = subprocess.run(["ldd", BINARY], capture_output=True, text=True, check=True).stdout
        names = re.findall(r"^\s*(\S+?)\.so", listing, re.MULTILINE)
        allowed = {"linux-vdso", "libc", "libm", "/lib64/ld-linux-x86-64", "/lib/ld-linux-aarch64", "ld-linux-x86-64"}
        sanitized = any("asan" in name or "tsan" in name or "ubsan" in name for name in names)
        if sanitized:
            self.skipTest("a sanitized build loads its run-time libraries")
        self.assertEqual(set(), set(names) - allowed, listing)


class OutputTest(unittest.TestCase):
    def document(self, result):
        document = json.loads(result.stdout)  # fails on anything but one document
        schema = SCHEMAS[document["schema"]]
        self.assertEqual([], json_schema.problems(document, schema, SCHEMAS))
        return document

    def test_success_is_one_document_with_a_known_schema(self):
        for arguments in (["version"], ["help"], ["help", "version"], ["internal", "man"], ["internal", "schemas"],
                          ["version", "--help"]):
            result = run(*arguments, "--output", "json")
            self.assertEqual(0, result.returncode, result.stderr)
            self.document(result)

    def test_failure_is_one_document_too(self):
        for arguments in ([], ["nonsense"], ["version", "--nonsense"], ["version", "extra"], ["internal", "nonsense"],
                          ["wal"], ["help", "nonsense"]):
            result = run(*arguments, "--output=json")
            self.assertEqual(2, result.returncode, arguments)
            document = self.document(result)
            self.assertEqual("usage", document["error"]["kind"], arguments)
            self.assertEqual(2, document["error"]["exit_code"])
            self.assertEqual("", result.stderr)

    def test_every_command_refuses_what_it_does_not_know_with_its_own_exit_code(self):
        for command in commands():
            words = command["command"].split()
            expected = 255 if words == ["wal", "get"] else 2
            for output in ("text", "json"):
                result = run(*words, "--no-such-option", "--output", output)
                self.assertEqual(expected, result.returncode, words)
                if output == "json":
                    document = self.document(result)
                    self.assertEqual(expected, document["error"]["exit_code"])
                else:
                    self.assertEqual("", result.stdout)
                    self.assertRegex(result.stderr, r"^lifeboat: error: --no-such-option: [^\n]+\nlifeboat: hint: ")

    def test_every_command_has_help(self):
        for command in commands():
            result = run(*command["command"].split(), "--help")
            self.assertEqual(0, result.returncode, result.stderr)
            self.assertIn(f"lifeboat {command['command']}", result.stdout)
            self.assertEqual(result.stdout, run("help", *command["command"].split()).stdout)

    def test_json_can_be_chosen_by_environment(self):
        self.document(run("version", environment={"LIFEBOAT_OUTPUT": "json"}))
        self.assertEqual("lifeboat ", run("version", "--output", "text", environment={"LIFEBOAT_OUTPUT": "json"}).stdout[:9])

    def test_a_result_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([BINARY, "version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        self.assertNotEqual(0, result.returncode)
        self.assertIn("standard output", result.stderr)


class SafetyTest(unittest.TestCase):
    def configured(self):
        for command in commands():
            if any(option["name"] == "pg" for option in command["options"]):
                yield command["command"].split()

    def test_a_password_is_refused_and_never_shown(self):
        for words in self.configured():
            for extra, environment in ((["--pg", "host=x password=hunter2"], {}),
                                       ([], {"LIFEBOAT_PG": "postgresql://u:hunter2@x/y"})):
                result = run(*words, *["x"] * 2 if words[0] == "wal" else [], *extra, environment=environment)
                self.assertNotEqual(0, result.returncode)
                self.assertNotIn("hunter2", result.stdout + result.stderr)

    def test_a_bad_configuration_file_is_named_with_its_line(self):
        values = {"backup": "latest"}  # of positionals; any word does for the others
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("[cluster.main]\njobs = 2\npgdaat = '/x'\n")
            file.flush()
            os.chmod(file.name, 0o644)
            for command in commands():
                if not any(option["name"] == "config" for option in command["options"]):
                    continue
                arguments = [values.get(positional["kind"], "x") for positional in command["positionals"]
                             if positional["required"]]
                result = run(*command["command"].split(), *arguments, "--config", file.name, "--output", "json")
                error = json.loads(result.stdout)["error"]
                self.assertEqual("config", error["kind"], command["command"])
                self.assertEqual(f"{file.name}:3", error["object"])


class GeneratedTest(unittest.TestCase):
    def test_completion_is_a_bash_function_that_completes(self):
        completion = run("internal", "completion").stdout
        script = completion + '\nCOMP_WORDS=(lifeboat ve) COMP_CWORD=1; _lifeboat; echo "${COMPREPLY[@]}"' \
            + '\nCOMP_WORDS=(lifeboat version --output "") COMP_CWORD=3; _lifeboat; echo "${COMPREPLY[@]}"' \
            + '\nCOMP_WORDS=(lifeboat version --ou) COMP_CWORD=2; _lifeboat; echo "${COMPREPLY[@]}"'
        result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        lines = result.stdout.splitlines()
        self.assertIn("version", lines[0].split())
        self.assertEqual(["text", "json"], lines[1].split())
        self.assertEqual(["--output"], lines[2].split())

    def test_man_pages_have_their_sections(self):
        for command in commands():
            page = run("internal", "man", *command["command"].split()).stdout
            for section in (".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS", ".SH EXIT STATUS"):
                self.assertIn(section, page, command["command"])


class CanaryTest(unittest.TestCase):
    def test_the_schema_checker_can_fail(self):
        schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"enum": ["x"]}}}
        self.assertEqual([], json_schema.problems({"a": 1, "b": "x"}, schema))
        for bad in ({}, {"a": "1"}, {"a": True}, {"a": 1, "b": "y"}, []):
            self.assertNotEqual([], json_schema.problems(bad, schema), bad)
        self.assertNotEqual([], json_schema.problems(1, {"pattern": "x"}))


if __name__ == "__main__":
    unittest.main(verbosity=2)
