"""Reads the agent skills below skills/: front matter, links, headings and fenced blocks. Standard library only.

Front matter is the small part of YAML that every reader understands alike: `key: value` on one line, and under
`metadata:` pairs indented by two spaces. Anything else is an error here, so that no reader has to guess.

A fenced block of one of RUN_LANGUAGES is run by tests/system/skills_test.py. Directives stand directly before the fence,
as HTML comments, which people see in the source and agents read:

    <!-- not run: REASON -->      why this block cannot run in the test
    <!-- needs: PROGRAM -->       runs where PROGRAM is installed ("pgbackrest"), where the server is new enough
                                  ("PostgreSQL 17"), or where the product has the command ("lifeboat dump create")
    <!-- staged: COMMAND -->      what the test does before the block, to have the accident that it is about; may be repeated.
                                  Never part of what a reader is to run
    <!-- exits: N -->             the mistake shown: the last command must end with N ("nonzero": with any failure)
    <!-- file: NAME -->           conf, toml and json: written to this file; shell variables are expanded in NAME

A ```text block directly after a block that ran is the output that it must print: "…" stands for anything within a line,
and for any number of lines when it stands alone.
"""
import re
from dataclasses import dataclass, field
from pathlib import Path

SHELL = ("sh", "bash")
FILES = ("conf", "toml", "json")
RUN_LANGUAGES = SHELL + ("sql",) + FILES
LANGUAGES = RUN_LANGUAGES + ("text",)
DIRECTIVES = ("not run", "needs", "exits", "file", "staged")


class SkillError(Exception):
    """A file that does not follow the rules; the message names file and line."""


# --- front matter -------------------------------------------------------------------------------------------------------

def front_matter(path):
    """(fields, body): fields is {key: text or {key: text}}."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    if lines[0] != "---" or "---" not in lines[1:]:
        raise SkillError(f"{path}:1: a file begins with front matter between lines of ---")
    end = lines.index("---", 1)
    fields, parent = {}, None
    for number, line in enumerate(lines[1:end], 2):
        nested = re.fullmatch(r"  ([a-z][a-z-]*): (\S.*)", line)
        plain = re.fullmatch(r"([a-z][a-z-]*): (\S.*)", line)
        opening = re.fullmatch(r"([a-z][a-z-]*):", line)
        if nested and parent is not None:
            target, (key, value) = fields[parent], nested.groups()
        elif plain:
            target, parent, (key, value) = fields, None, plain.groups()
        elif opening:
            target, parent, key, value = fields, opening.group(1), opening.group(1), {}
        else:
            raise SkillError(f"{path}:{number}: neither `key: value` nor a pair indented below `metadata:`: {line!r}")
        if key in target:
            raise SkillError(f"{path}:{number}: {key} stands there twice")
        target[key] = value if value == {} else _scalar(value, f"{path}:{number}")
    return fields, "\n".join(lines[end + 1:])


def _scalar(text, where):
    """A value as YAML would read it; what YAML reads as something other than text must be quoted."""
    if text[0] == '"':
        inner = text[1:-1]
        if len(text) < 2 or text[-1] != '"' or '"' in inner or "\\" in inner:
            raise SkillError(f"{where}: a quoted value is closed and holds neither quotes nor backslashes: {text}")
        return inner
    if text != text.strip():
        raise SkillError(f"{where}: blanks at the end")
    if text[0] in "'[]{}&*!|>%@`#,?-:" or ": " in text or " #" in text or text.endswith(":"):
        raise SkillError(f"{where}: quote it, YAML reads this as something other than text: {text}")
    if re.fullmatch(r"[-+]?[0-9.]+|true|false|yes|no|on|off|null|~", text, re.I):
        raise SkillError(f"{where}: quote it, YAML reads a number or a word of its own: {text}")
    return text


# --- Markdown -----------------------------------------------------------------------------------------------------------

@dataclass
class Block:
    """One fenced block. where is "file:line" of its fence, section the headings above it."""

    document: str
    line: int
    language: str
    text: str
    section: tuple
    directives: dict = field(default_factory=dict)
    expected: str = None

    @property
    def where(self):
        return f"{self.document}:{self.line}"


@dataclass
class Section:
    """What stands below one heading, its subsections included."""

    title: str
    level: int
    text: str


def blocks(path, name=None):
    """Every fenced block of a document, in order. Output blocks are attached to the block that prints them."""
    document = name or str(path)
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    found, headings, directives, number = [], {}, {}, 0
    follows = None  # the block that ended just before, with nothing but blank lines since
    while number < len(lines):
        line = lines[number]
        fence = re.fullmatch(r"(\s*)(```+)([a-z]*)", line)
        heading = re.fullmatch(r"(#+) (.+)", line)
        comment = re.fullmatch(r"\s*<!-- ([a-z ]+)(?:: (.+))? -->", line)
        if fence:
            end = number + 1
            while end < len(lines) and lines[end].strip() != fence.group(2):
                end += 1
            if end == len(lines):
                raise SkillError(f"{document}:{number + 1}: this block is never closed")
            indent = len(fence.group(1))
            text = "\n".join(row[indent:] for row in lines[number + 1:end]) + "\n"
            section = tuple(headings[level] for level in sorted(headings))
            block = Block(document, number + 1, fence.group(3), text, section, directives)
            if block.language == "text" and follows is not None and not directives:
                follows.expected = text
                follows = None
            else:
                found.append(block)
                follows = block if block.language in SHELL + ("sql",) else None
            directives, number = {}, end
        elif comment:
            if comment.group(1) not in DIRECTIVES or not comment.group(2):
                raise SkillError(f"{document}:{number + 1}: not a directive ({', '.join(DIRECTIVES)}: …): {line.strip()}")
            key, value = comment.groups()
            if key in directives and key != "staged":
                raise SkillError(f"{document}:{number + 1}: {key} stands there twice")
            directives[key] = f"{directives[key]}\n{value}" if key in directives else value
            follows = None
        elif directives:
            raise SkillError(f"{document}:{number + 1}: a directive stands directly before a fence")
        elif heading:
            level = len(heading.group(1))
            headings = {key: value for key, value in headings.items() if key < level}
            headings[level] = heading.group(2)
            follows = None
        elif line.strip():
            follows = None
        number += 1
    return found


def sections(path):
    """{title: Section} of a document. Fenced lines are no headings."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    headings, fenced = [], False
    for number, line in enumerate(lines):
        fenced = fenced != bool(re.match(r"\s*```", line))
        heading = None if fenced else re.fullmatch(r"(#+) (.+)", line)
        if heading:
            headings.append((number, len(heading.group(1)), heading.group(2)))
    result = {}
    for number, level, title in headings:
        if title in result:
            raise SkillError(f"{path}:{number + 1}: the heading {title!r} stands there twice")
        end = next((other for other, its_level, _ in headings if other > number and its_level <= level), len(lines))
        result[title] = Section(title, level, "\n".join(lines[number:end]))
    return result


def links(path):
    """(line, target) of every Markdown link outside of fenced blocks."""
    fenced = False
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
        fenced = fenced != bool(re.match(r"\s*```", line))
        if not fenced:
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                yield number, target


def output_matches(expected, printed):
    """Does what was printed look like the expected text, in which … stands for anything?"""
    pattern = ""
    for line in expected.rstrip("\n").split("\n"):
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ \t]*\n"
    return re.fullmatch(pattern, printed.rstrip("\n") + "\n") is not None
