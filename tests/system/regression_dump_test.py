#!/usr/bin/env python3
"""A dump of the database of PostgreSQL's own regression tests restores equal by dump comparison (L1 to L3): what PostgreSQL
proves pg_dump and pg_upgrade with. ./dev soak does it in every format on every major."""

import difflib
import os
import re

import regression_database
from harness import SystemTest, main, majors

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
FORMATS = ("custom", "directory", "plain") if SOAK else ("directory",)
# Tables whose parents were given columns after them: anew, inherited columns come first (MergeAttributes in tablecmds.c).
# PostgreSQL's own comparison leaves the same ones out (src/test/perl/PostgreSQL/Test/AdjustDump.pm).
OTHER_ORDER = ("b_star c_star cc2 d_star e_star f_star renamecolumnanother renamecolumnchild test_type_diff2_c1 "
               "test_type_diff2_c2 test_type_diff_c").split()


def comparable(text):
    """The order of columns in children is their parents' after a restore; so it may differ there, and in their rows."""
    for table in OTHER_ORDER:
        text = re.sub(rf"(?sm)^COPY public\.{table} \(.+?^\\\.$", "", text)
    children = r"(?m)^(CREATE TABLE (?:generated_\w+\.gtestxx_4|public\.gtestxx_4|public\.test_type_diff2_c[12]) \(\n)((?:    .*\n)+)"
    text = re.sub(children, lambda m: m[1] + "".join(sorted(line.rstrip(",\n") + "\n" for line in m[2].splitlines(True))), text)
    return re.sub(r"\n\n+", "\n", text)


class RegressionDump(SystemTest):
    def test_the_regression_database_restores_equal(self):
        for major in majors():
            with self.subTest(major=major):
                server = self.cluster(major, conf=regression_database.CONF)
                lb = self.lifeboat(server, options=["--pg-bin", server.bin])
                lb("init", "--yes", live=True).ok()
                regression_database.make(server)
                # Fewer would mean that the tests did not run.
                self.assertGreater(int(server.value("SELECT count(*) FROM pg_class WHERE oid > 16384", "regression")), 1000)
                expected = comparable(regression_database.described(server, "regression"))
                for format in FORMATS:
                    made = lb("dump", "create", "--database", "regression", "--format", format, "--jobs", "2", live=True).ok().json
                    done = lb("dump", "restore", made["dump"], "--database", "regression=back", "--jobs", "2", live=True).ok().json
                    self.assertEqual(done["databases"][0]["rows"], made["databases"][0]["rows"])
                    self.assertSame(expected, comparable(regression_database.described(server, "back")))
                    server.psql("DROP DATABASE back")

    def assertSame(self, expected, found):
        if expected != found:
            lines = difflib.unified_diff(expected.split("\n"), found.split("\n"), "original", "restored", lineterm="", n=2)
            self.fail("\n".join(line for _, line in zip(range(200), lines)))

    def test_the_comparison_can_fail(self):
        text = "CREATE TABLE public.orders (\n    a integer,\n    b integer\n);\nCOPY public.orders (a, b) FROM stdin;\n1\t2\n\\.\n"
        for other in (text.replace("1\t2", "1\t3"), text.replace("    a integer,\n    b integer\n", "    b integer,\n    a integer\n")):
            self.assertNotEqual(comparable(text), comparable(other))


if __name__ == "__main__":
    main()
