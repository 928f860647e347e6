#!/usr/bin/env python3
"""What failed, in few lines, from the log of a ctest run: the whole output of hundreds of tests hides it."""
import re
import sys

MOST = 26  # lines of one program: what keeps only the end of a log keeps some programs whole


def failed_programs(log):
    """(name, output) of each; ctest ends a program's part with how it ended."""
    for part in re.split(r"^(?=\d+/\d+ Testing: )", log, flags=re.M)[1:]:
        head, _, rest = part.partition("\nOutput:")
        output, _, ending = rest.partition("\n<end of output>")
        if re.search(r"^Test Passed\.$|^Test Skipped|^Test not run|Required regular expression", ending, re.M):
            continue
        yield re.match(r"\d+/\d+ Testing: (\S+)", head).group(1), output.splitlines()[2:]


def what_failed(lines):
    """Each of GoogleTest's failures with what it says, and unittest's from the first on; else how the output ends."""
    kept = []
    for at, line in enumerate(lines):
        if re.search(r":\d+: Failure$", line):
            end = next((i for i in range(at + 1, min(at + 15, len(lines))) if lines[i].startswith("[")), at + 15)
            kept += lines[at:end]
        elif re.match(r"\[  FAILED  \] \S+ \(\d", line):
            kept.append(line)
        elif re.match(r"(FAIL|ERROR): ", line):
            return kept + lines[at:]
    return kept or lines[-MOST:]


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as file:
        log = file.read()
    for name, lines in failed_programs(log):
        found = what_failed(lines)
        print(f"FAILED: {name}")
        for line in found if len(found) <= MOST else [*found[:10], "…", *found[-16:]]:
            print(f"  {line[:240]}")


if __name__ == "__main__":
    main()
