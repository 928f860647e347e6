#!/usr/bin/env python3
"""Taste, checked by a program whose messages teach. Each check is a function from a tree to messages, and each has a
canary that shows that it can fail. Some checks need the built program (LIFEBOAT_BINARY)."""
import ast
import os
import re
import subprocess
import tempfile
import unittest

ROOT = os.environ.get("LIFEBOAT_SOURCE_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
BINARY = os.environ.get("LIFEBOAT_BINARY")
LONGEST = 900
# Files that stay whole for a reason.
WHOLE = {"tests/support/decode_repository.py": "carried away alone, as one file, when the program is lost"}
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]
HEAVY = ["nlohmann/json.hpp", "toml++/toml.h", "regex", "iostream", "postgresql/libpq-fe.h"]


def files(root, *endings, folders=("src", "tests", "bench", "docs", "packaging", ".ci", ".")):
    """Paths relative to root, of files with these endings in our folders; "" stands for scripts without one."""
    found = []
    for folder in folders:
        for directory, directories, names in os.walk(os.path.join(root, folder)):
            directories[:] = [] if folder == "." else [name for name in directories if name != "__pycache__"]
            for name in names:
                ending = os.path.splitext(name)[1]
                path = os.path.normpath(os.path.relpath(os.path.join(directory, name), root))
                if ending in endings and (ending != "" or shebang(root, path).startswith(b"#!")):
                    found.append(path)
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def shebang(root, path):
    with open(os.path.join(root, path), "rb") as file:
        return file.readline()


# --- the checks ------------------------------------------------------------------------------------------------------
def long_files(root):
    for path in files(root, ".cc", ".h", ".py", ".sh", ""):
        lines = read(root, path).count("\n")
        if path in WHOLE:
            continue
        if lines > LONGEST:
            yield f"{path}: {lines} lines. A file is read in one sitting: split it by step or by noun (limit {LONGEST})"


def headers(root):
    for path in files(root, ".h", folders=("src", "tests", "bench")):
        text = read(root, path)
        if not text.startswith("//"):
            yield f"{path}: a header is the manual: open it with a comment that says what it is for"
        if "#pragma once" not in text:
            yield f"{path}: lacks #pragma once"
        if path.startswith("src"):
            for heavy in HEAVY:
                if re.search(rf"^\s*#\s*include\s*[<\"]{re.escape(heavy)}[>\"]", text, re.MULTILINE):
                    yield f"{path}: includes <{heavy}>: vendors' types and slow headers stay in .cc files"


def types_defined(text):
    """Full names of the classes and structs that a file defines for others to link with."""
    spaces = []
    for line in text.splitlines():
        opened = re.match(r"namespace ?([\w:]*) ?\{", line)
        if opened:
            spaces.append(opened[1])
        elif re.match(r"\}  // namespace", line):
            spaces.pop()
        elif "" not in spaces:
            found = re.match(r"(?:class|struct)(?: \[\[\w+\]\])? (\w+)(?: final)?(?: : [^;]*)? \{", line)
            if found:
                yield "::".join([*spaces, found[1]])


def names_given_twice(root):
    first = {}
    for path in files(root, ".h", ".cc", folders=("src",)):
        for name in types_defined(read(root, path)):
            if first.setdefault(name, path) != path:
                yield (f"{path}: {name} is defined in {first[name]} too: the linker keeps one destructor for both, and the other"
                       " crashes. Give it a name of its own, or an unnamed namespace")


def unfinished(root):
    pattern = re.compile(r"\b(" + "|".join(UNFINISHED) + r")\b")
    for path in files(root, ".cc", ".h", ".py", ".sh", ".md", ".txt", ".toml", ""):
        for number, line in enumerate(read(root, path).splitlines(), 1):
            if pattern.search(line):
                yield f"{path}:{number}: finish it or open an issue; the tree holds no notes to ourselves"


def scripts(root):
    for path in files(root, ".sh", ""):
        first = shebang(root, path)
        if path.endswith(".sh") or re.match(rb"#!.*\b(ba)?sh\b", first):
            if os.access(os.path.join(root, path), os.X_OK) and not first.startswith(b"#!"):
                yield f"{path}: a shell script that is run begins with #! and its shell"
            check = subprocess.run(["bash", "-n", os.path.join(root, path)], capture_output=True, text=True, check=False)
            if check.returncode != 0:
                yield f"{path}: does not parse: {check.stderr.strip()}"
    for path in files(root, ".py", ""):
        if path.endswith(".py") or re.match(rb"#!.*python", shebang(root, path)):
            try:
                ast.parse(read(root, path), path)
            except SyntaxError as error:
                yield f"{path}: does not parse: {error}"


def folders_on_the_map(root):
    text = read(root, "docs/map.md")
    for directory, directories, names in os.walk(os.path.join(root, "src")):
        relative = os.path.relpath(directory, root)
        directories.sort()
        if any(name.endswith((".cc", ".h")) for name in names) and relative != "src" and f"`{relative}/`" not in text:
            yield f"docs/map.md: has no line for `{relative}/`: a newcomer finds the room from the map"


def commands_in(text):
    """Command lines of lifeboat in fenced or indented code and in backticks, as lists of words."""
    text = re.sub(r"\\\n\s*", " ", text)
    for block in re.findall(r"^```[a-z]*\n(.*?)^```|^((?:    .*\n)+)|`([^`\n]+)`", text, re.MULTILINE | re.DOTALL):
        for line in "".join(block).splitlines():
            line = re.sub(r"^\s*(\$ |sudo (-u \w+ )?|[A-Z_]+=\S+ )*", "", line.split(" #")[0])
            for part in re.split(r"\s(?:&&|\||;)\s", line):
                words = part.strip().strip("'\"").split()
                if len(words) > 1 and os.path.basename(words[0]) == "lifeboat":
                    yield words[1:]


def documented_commands(root, known, paths):
    """`known`: command -> set of its options, from the program itself."""
    for path in paths:
        for words in commands_in(read(root, path)):
            if words[0].startswith("-") or words[0].isupper() or words[0] in ("…", "..."):
                continue
            two = " ".join(words[:2])
            command = two if two in known else words[0]
            if command not in known:
                families = {name.split(" ")[0] for name in known if " " in name}
                if words[0] in families and (len(words) == 1 or words[1] in ("…", "...")):
                    continue
                yield f"{path}: `lifeboat {' '.join(words)}`: there is no command {two}"
                continue
            for option in re.findall(r"(?<!\S)\[?(--[a-z][a-z-]*)", " ".join(words)):
                if option not in known[command]:
                    yield f"{path}: `lifeboat {' '.join(words)}`: {command} has no option {option}"


# --- what the program itself says --------------------------------------------------------------------------------------
def ask(*arguments):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, check=True, timeout=20).stdout


def known_commands():
    known = {}
    for line in ask("internal", "options").splitlines():
        command, option = line.split("\t")
        known.setdefault(command, set()).add(option)
    return known


class TidyTest(unittest.TestCase):
    def assert_none(self, messages):
        messages = list(messages)
        self.assertEqual([], messages, "\n" + "\n".join(messages))

    def test_files_are_read_in_one_sitting(self):
        self.assert_none(long_files(ROOT))

    def test_headers_are_manuals(self):
        self.assert_none(headers(ROOT))

    def test_no_type_has_the_name_of_another(self):
        self.assert_none(names_given_twice(ROOT))

    def test_nothing_is_left_unfinished(self):
        self.assert_none(unfinished(ROOT))

    def test_scripts_parse(self):
        self.assert_none(scripts(ROOT))

    def test_every_folder_is_on_the_map(self):
        self.assert_none(folders_on_the_map(ROOT))


@unittest.skipUnless(BINARY, "LIFEBOAT_BINARY does not name the built program")
class DocumentationTest(unittest.TestCase):
    def test_errors_document_is_the_generated_one(self):
        self.assertEqual(
            ask("internal", "errors"), read(ROOT, "docs/errors.md"),
            "docs/errors.md differs from the table: build/release/lifeboat internal errors > docs/errors.md")

    def test_every_command_in_the_documentation_exists_with_its_options(self):
        # Decisions keep what was true when they were taken; the format speaks of byte strings that look like commands.
        paths = ["README.md"] + [path for path in files(ROOT, ".md", folders=("docs",))
                                 if "/decisions/" not in path and path != "docs/format.md"]
        messages = list(documented_commands(ROOT, known_commands(), paths))
        self.assertEqual([], messages, "\n" + "\n".join(messages))


class CanaryTest(unittest.TestCase):
    """Each check fails on a tree that breaks its rule, and only there."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = self.directory.name
        self.write("src/util/good.h", "// What it is for.\n#pragma once\n")
        self.write("docs/map.md", "`src/util/`\n")
        self.write("README.md", "```\nlifeboat backup --repo x\n```\n")

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def assert_caught(self, check, path, text, expected):
        self.assertEqual([], list(check(self.root)))
        self.write(path, text)
        messages = list(check(self.root))
        self.assertEqual(1, len(messages), messages)
        self.assertIn(expected, messages[0])

    def test_a_long_file_is_caught(self):
        self.assert_caught(long_files, "src/util/long.cc", "\n" * (LONGEST + 1), "read in one sitting")

    def test_a_header_without_comment_is_caught(self):
        self.assert_caught(headers, "src/util/bad.h", "#pragma once\n", "open it with a comment")

    def test_a_header_without_guard_is_caught(self):
        self.assert_caught(headers, "src/util/bad.h", "// Comment.\n", "lacks #pragma once")

    def test_a_heavy_header_is_caught(self):
        self.assert_caught(headers, "src/util/bad.h", "// C.\n#pragma once\n#include <nlohmann/json.hpp>\n", "stay in .cc")

    def test_a_type_with_the_name_of_another_is_caught(self):
        self.write("src/util/good.h", "// What it is for.\n#pragma once\nnamespace a::b {\nstruct Check {\n};\n}  // namespace a::b\n")
        self.write("src/util/own.cc", "namespace a::b {\nnamespace {\nstruct Check {\n};\n}  // namespace\n}  // namespace a::b\n")
        self.assert_caught(names_given_twice, "src/util/x.h", "namespace a {\nnamespace b {\nclass Check final : public X {\n",
                           "a::b::Check is defined in")

    def test_an_unfinished_note_is_caught(self):
        self.assert_caught(unfinished, "src/util/bad.cc", f"// {UNFINISHED[0]}: later\n", "src/util/bad.cc:1")

    def test_a_broken_shell_script_is_caught(self):
        self.assert_caught(scripts, "tests/bad.sh", "#!/bin/bash\nif true; then\n", "does not parse")

    def test_a_broken_python_script_is_caught(self):
        self.assert_caught(scripts, "tests/bad.py", "def x(:\n", "does not parse")

    def test_a_folder_off_the_map_is_caught(self):
        self.assert_caught(folders_on_the_map, "src/new/a.cc", "\n", "`src/new/`")

    def test_documentation_of_what_does_not_exist_is_caught(self):
        known = {"backup": {"--repo", "--jobs"}, "wal push": {"--repo"}}
        for text, expected in [
            ("```\nlifeboat frob --repo x\n```\n", "no command frob"),
            ("```\n$ lifeboat backup --repo x --speed 3\n```\n", "backup has no option --speed"),
            ("Type `lifeboat wal push --quick` now.\n", "wal push has no option --quick"),
            ("    lifeboat backup \\\n      --fast\n", "backup has no option --fast"),
            ("```\nsudo -u postgres lifeboat backup --what && true\n```\n", "backup has no option --what"),
        ]:
            self.assertEqual([], list(documented_commands(self.root, known, ["README.md"])))
            self.write("docs/x.md", text)
            messages = list(documented_commands(self.root, known, ["docs/x.md"]))
            self.assertEqual(1, len(messages), (text, messages))
            self.assertIn(expected, messages[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
