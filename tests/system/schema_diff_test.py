#!/usr/bin/env python3
"""What is different between two states of a schema: every kind of object counts, by its name (F1)."""

import re

from harness import MOUNTER, SOURCE, SystemTest, main, new_directory

# Each in a database of its own: what is done there, and what is told of it.
CHANGES = (
    ("DROP FUNCTION twice(int)", "removed", "FUNCTION", "public", "twice(integer)"),
    ("DROP VIEW dear", "removed", "VIEW", "public", "dear"),
    ("CREATE OR REPLACE VIEW dear AS SELECT * FROM goods WHERE price > 101", "changed", "VIEW", "public", "dear"),
    ("DROP TRIGGER stamp ON goods", "removed", "TRIGGER", "public", "goods stamp"),
    ("REVOKE SELECT ON goods FROM diff_reader", "removed", "ACL", "public", "TABLE goods"),
    ("ALTER TABLE goods ALTER price SET DEFAULT 2", "changed", "TABLE", "public", "goods"),
    ("COMMENT ON TABLE goods IS 'other words'", "changed", "COMMENT", "public", "TABLE goods"),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO diff_reader", "added", "DEFAULT ACL", "public",
     "DEFAULT PRIVILEGES FOR TABLES"),
    ("CREATE TYPE mood AS ENUM ('good')", "added", "TYPE", "public", "mood"),
    ("ALTER TABLE goods ENABLE ROW LEVEL SECURITY", "added", "ROW SECURITY", "public", "goods"),
    ("ALTER FUNCTION twice(int) OWNER TO diff_reader", "changed", "FUNCTION", "public", "twice(integer)"),
    ("ALTER SEQUENCE goods_id_seq INCREMENT 5", "changed", "SEQUENCE", "public", "goods_id_seq"),
    ("CREATE EXTENSION {extension}", "added", "EXTENSION", None, "{extension}"),
    ("COMMENT ON DATABASE {database} IS 'a shop'", "added", "COMMENT", None, "DATABASE {database}"),
)


class SchemaDifferences(SystemTest):
    def source(self, major, databases=1, **options):
        server = self.cluster(major, **options)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE ROLE diff_reader LOGIN")
        server.psql("CREATE DATABASE base")
        server.psql("CREATE TABLE goods (id serial PRIMARY KEY, name text, price numeric DEFAULT 1);"
                    "COMMENT ON TABLE goods IS 'what is sold'; GRANT SELECT ON goods TO diff_reader;"
                    "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';"
                    "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN new; END$$;"
                    "CREATE TRIGGER stamp BEFORE UPDATE ON goods FOR EACH ROW EXECUTE FUNCTION stamp();"
                    "CREATE VIEW dear AS SELECT * FROM goods WHERE price > 100;"
                    "INSERT INTO goods (name) SELECT 'thing ' || g FROM generate_series(1, 20) g", "base")
        for number in range(databases - 1):
            server.psql(f"CREATE DATABASE base{number} TEMPLATE base")
        return server, lb

    def diff(self, lb, a, b, *options, json=True, role="postgres"):
        return lb("diff", a, b, "--scratch-dir", new_directory("diff"), "--pg-bin", lb.server.bin, "--pg", lb.server.conninfo(user=role),
                  *options, user=MOUNTER, json=json)

    def test_one_difference_of_any_kind_is_named(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major, len(CHANGES) + 1)
                extension = server.value("SELECT name FROM pg_available_extensions WHERE name <> 'plpgsql' ORDER BY name = 'hstore' DESC,"
                                         " name LIMIT 1")
                made = lb("backup", live=True).ok().json["backup"]
                self.assertTrue(self.diff(lb, made, "live", "--database", "base").ok().json["equal"])
                for number, (statement, *expected) in enumerate(CHANGES):
                    database = f"base{number}"
                    names = {"extension": extension, "database": database}
                    if not extension and "{extension}" in statement:
                        continue
                    server.psql(statement.format(**names), database)
                    found = self.diff(lb, made, "live", "--database", database).ok().json
                    self.assertFalse(found["equal"], statement)
                    told = [(one["change"], one["type"], one["schema"], one["name"]) for one in found["schema_objects"]]
                    self.assertIn(tuple(part and part.format(**names) for part in expected), told)
                    self.assertTrue(found["schema_compared"])
                    self.assertEqual([one for one in found["tables"] if not one["equal"]], [])
                text = self.diff(lb, made, "live", "--database", "base0", json=False).ok().out
                self.assertRegex(text, r"removed +FUNCTION twice\(integer\) in schema public")

    def test_a_schema_with_everything_in_it_is_equal_to_itself(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major, conf={"wal_level": "logical"})
                server.psql("CREATE DATABASE everything")
                server.psql((SOURCE / "tests/support/every_object.sql").read_text(), "everything")
                made = lb("backup", live=True).ok().json["backup"]
                server.switch_wal()
                server.wait_archived()
                for sides in ((made, "live"), ("latest", "live"), ("live", "live")):
                    found = self.diff(lb, *sides, "--database", "everything").ok()
                    self.assertTrue(found.json["equal"], found.out)
                server.psql("COMMENT ON ROLE clerk IS 'no part of it'; ALTER SCHEMA kept RENAME TO held", "everything")
                found = self.diff(lb, made, "live", "--database", "everything").ok()
                self.assertIn({"change": "removed", "type": "SCHEMA", "schema": None, "name": "kept"}, found.json["schema_objects"])
                self.assertNotIn("secret", found.out + found.err)

    def test_with_chosen_tables_what_belongs_to_them_is_compared(self):
        server, lb = self.source(15)
        server.psql('CREATE TABLE "Odd. * Name" (id int PRIMARY KEY); CREATE TABLE parts (i int) PARTITION BY RANGE (i);'
                    "CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10)", "base")
        made = lb("backup", live=True).ok().json["backup"]
        server.psql("DROP FUNCTION twice(int); DROP VIEW dear; COMMENT ON TABLE \"Odd. * Name\" IS 'odd'; COMMENT ON TABLE parts IS 'p'", "base")

        def objects(table):
            found = self.diff(lb, made, "live", "--database", "base", "--table", table).ok().json
            self.assertEqual(found["equal"], not found["schema_objects"])
            return [(one["change"], one["type"], one["name"]) for one in found["schema_objects"]]

        self.assertEqual(objects("goods"), [])
        self.assertEqual(objects('"Odd. * Name"'), [("added", "COMMENT", 'TABLE "Odd. * Name"')])
        self.assertEqual(objects("parts"), [("added", "COMMENT", "TABLE parts")])
        server.psql("DROP TRIGGER stamp ON goods", "base")
        self.assertEqual(objects("goods"), [("removed", "TRIGGER", "goods stamp")])
        server.psql("DROP TABLE goods", "base")
        self.assertIn(("removed", "TABLE", "goods"), objects("goods"))

    def test_sequences_are_told_apart_from_the_schema(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                server.psql("CREATE SEQUENCE fresh; CREATE SEQUENCE down INCREMENT -7; SELECT nextval('down')", "base")
                made = lb("backup", live=True).ok().json["backup"]
                self.assertTrue(self.diff(lb, made, "live", "--database", "base").ok().json["equal"])
                # Ahead of the last value by as much as WAL is, as after a crash: no difference.
                server.psql("SELECT nextval('fresh'); SELECT nextval('down')", "base")
                server.switch_wal()
                server.wait_archived()
                self.assertTrue(self.diff(lb, "latest", "live", "--database", "base").ok().json["equal"])
                server.psql("SELECT setval('fresh', 700)", "base")
                found = self.diff(lb, made, "live", "--database", "base").ok()
                self.assertEqual((found.json["equal"], found.json["schema_objects"]), (False, []))
                self.assertEqual(found.json["sequences"], [{"sequence": '"public"."down"'}, {"sequence": '"public"."fresh"'}])
                shown = self.diff(lb, made, "live", "--database", "base", "--show-keys").ok().json["sequences"]
                self.assertEqual(shown[1], {"sequence": '"public"."fresh"', "before": {"last_value": 1, "is_called": False},
                                            "after": {"last_value": 700, "is_called": True}})
                text = self.diff(lb, made, "live", "--database", "base", json=False).ok().out
                self.assertRegex(text, '"public"."fresh" +stands elsewhere')

    def test_without_the_rights_nothing_is_called_equal(self):
        server, lb = self.source(15)
        server.psql("CREATE TABLE parts (i int) PARTITION BY RANGE (i);"
                    "CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10); GRANT SELECT ON low TO diff_reader", "base")
        made = lb("backup", live=True).ok().json["backup"]

        def as_reader(*options):
            return self.diff(lb, made, "live", "--database", "base", *options, role="diff_reader")

        found = as_reader().ok()
        document = found.json
        self.assertEqual((document["equal"], document["schema_compared"], document["sequences_compared"]), (False, False, False))
        notes = " ".join(document["notes"])
        for phrase in ("the schema was not compared beyond tables, so nobody can say that both are equal", "permission denied for table parts",
                       "not every sequence was compared", "goods_id_seq"):
            self.assertIn(phrase, notes)
        self.assertTrue(all(one["equal"] for one in document["tables"]))
        self.assertTrue(as_reader("--table", "low").ok().json["equal"])
        server.psql("GRANT pg_read_all_data TO diff_reader")
        self.assertTrue(as_reader().ok().json["equal"])

    def test_rows_are_compared_over_the_columns_that_both_have(self):
        server, lb = self.source(15)
        server.psql("CREATE TABLE grown (id int PRIMARY KEY, kept text, gone int, other int); INSERT INTO grown SELECT g, 'k' || g, g, g FROM"
                    " generate_series(1, 500) g; CREATE TABLE rekeyed (id int PRIMARY KEY, v int); INSERT INTO rekeyed VALUES (1, 1)", "base")
        made = lb("backup", live=True).ok().json["backup"]
        server.psql("ALTER TABLE grown DROP gone, ADD fresh int DEFAULT 1, ALTER other TYPE bigint; UPDATE grown SET kept = 'new' WHERE id = 7;"
                    "DELETE FROM grown WHERE id = 9; ALTER TABLE rekeyed ALTER id TYPE text", "base")
        found = self.diff(lb, made, "live", "--database", "base", "--show-data").ok().json
        grown = next(one for one in found["tables"] if "grown" in one["table"])
        self.assertEqual((grown["removed"], grown["added"], grown["changed"]), (1, 0, 1))
        self.assertEqual(sorted(grown["left_out_columns"]), ["fresh", "gone", "other"])
        self.assertEqual([(row["key"], row["before"], row["after"]) for row in grown["rows"]],
                         [("(7)", "(7,k7)", "(7,new)"), ("(9)", "(9,k9)", None)])
        self.assertEqual(found["uncompared"], ['"public"."rekeyed"'])
        text = self.diff(lb, made, "live", "--database", "base", json=False).ok().out
        self.assertTrue(re.search('"public"."grown" +rows compared without other, fresh, gone', text), text)


if __name__ == "__main__":
    main()
