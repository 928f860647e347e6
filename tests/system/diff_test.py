#!/usr/bin/env python3
"""What is different between two states of a database: backups, moments, the server; by key, values only on request (F1)."""

from harness import MOUNTER, SystemTest, main, new_directory

USAGE, NOT_FOUND = 2, 4


class Differences(SystemTest):
    def source(self, major):
        server = self.cluster(major)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE orders (id int, region text, price numeric, at timestamptz, PRIMARY KEY (id, region));"
                    "INSERT INTO orders SELECT g, CASE WHEN g % 2 = 0 THEN 'north' ELSE 'south' END, g * 1.5, '2026-01-01'"
                    " FROM generate_series(1, 20000) g;"
                    "CREATE TABLE still AS SELECT g AS n FROM generate_series(1, 5000) g;"
                    "CREATE TABLE keyless (a int, b text); INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (2, 'y');"
                    "CREATE TABLE dropped (n int); CREATE TABLE altered (n int)")
        return server, lb

    def diff(self, lb, a, b, *options, json=True):
        return lb("diff", a, b, "--scratch-dir", new_directory("diff"), "--pg-bin", lb.server.bin, *options, live=True, user=MOUNTER,
                  json=json)

    def test_a_backup_beside_the_server(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                made = lb("backup", live=True).ok().json["backup"]
                self.assertTrue(self.diff(lb, made, "live").ok().json["equal"])
                server.psql("UPDATE orders SET price = 0 WHERE id IN (17, 1700); DELETE FROM orders WHERE id = 5;"
                            "INSERT INTO orders VALUES (30000, 'east', 1, now()), (30001, 'east', 1, now()), (30002, 'east', 1, now());"
                            "DELETE FROM keyless WHERE ctid = '(0,1)'; DROP TABLE dropped; CREATE TABLE added (n int);"
                            "ALTER TABLE altered ADD COLUMN m int; CREATE INDEX still_n ON still (n)")
                found = self.diff(lb, made, "live", "--rows", "3").ok()
                document = found.json
                self.assertFalse(document["equal"])
                self.assertEqual(document["removed_tables"], ['"public"."dropped"'])
                self.assertEqual(document["added_tables"], ['"public"."added"'])
                self.assertEqual(document["uncompared"], ['"public"."altered"'])
                schema = {one["table"]: one for one in document["schema_changes"]}
                self.assertEqual(schema['"public"."altered"']["added"], ["column m integer"])
                self.assertIn("still_n", schema['"public"."still"']["added"][0])
                tables = {one["table"]: one for one in document["tables"]}
                orders = tables['"public"."orders"']
                self.assertEqual((orders["removed"], orders["added"], orders["changed"]), (1, 3, 2))
                self.assertEqual((orders["rows_before"], orders["rows_after"]), (20000, 20002))
                self.assertEqual([(row["change"], row["key"]) for row in orders["rows"]],
                                 [("removed", "(5,south)"), ("changed", "(17,south)"), ("changed", "(1700,north)")])
                self.assertTrue(all("before" not in row for row in orders["rows"]), "values are masked")
                self.assertTrue(tables['"public"."still"']["equal"])
                keyless = tables['"public"."keyless"']
                self.assertEqual((keyless["removed"], keyless["added"], keyless["by_key"], keyless["rows"]), (1, 0, False, []))
                shown = self.diff(lb, made, "live", "--table", "orders", "--show-data").ok().json
                self.assertEqual([one["table"] for one in shown["tables"]], ['"public"."orders"'])
                changed = next(row for row in shown["tables"][0]["rows"] if row["key"] == "(17,south)")
                self.assertIn("25.5", changed["before"])
                self.assertIn(",0,", changed["after"])

    def test_two_moments_and_the_end(self):
        server, lb = self.source(15)
        lb("backup", live=True).ok()
        server.psql("INSERT INTO still VALUES (-1)")
        first = server.now()
        server.psql("INSERT INTO still VALUES (-2)")
        second = server.now()
        server.psql("INSERT INTO still VALUES (-3)")
        server.switch_wal()
        server.wait_archived()
        found = self.diff(lb, first, second, "--table", "still", "--show-data").ok().json
        self.assertEqual([(row["change"], row["key"]) for row in found["tables"][0]["rows"]], [("added", "(-2)")])
        self.assertTrue(self.diff(lb, "latest", "live").ok().json["equal"])
        # The other way round.
        back = self.diff(lb, second, first, "--table", "still").ok().json
        self.assertEqual((back["tables"][0]["removed"], back["tables"][0]["added"]), (1, 0))

    def test_bad_input(self):
        server, lb = self.source(15)
        made = lb("backup", live=True).ok().json["backup"]
        self.assertFails(self.diff(lb, "yesterday", "live"), USAGE, "yesterday")
        self.assertFails(self.diff(lb, made, "live", "--table", "nothing"), NOT_FOUND, "nothing")
        # One that is there does not hide one that is not.
        self.assertFails(self.diff(lb, made, "live", "--table", "still", "--table", "odrers"), NOT_FOUND,
                         "table odrers", "neither side has it in database postgres", "did you mean public.orders?")
        self.assertFails(self.diff(lb, made, "live", "--table", "a..b"), USAGE, "a..b")
        for a, b, where in ((made, "live", "on the server"), ("latest", made, "at the target")):
            missed = self.diff(lb, a, b, "--database", "postgrse", "--progress", "on", json=False)
            self.assertFails(missed, NOT_FOUND, f'database "postgrse": does not exist {where}; there are: ', "did you mean postgres?")
            self.assertNotIn("recovering", missed.err)
            self.assertNotIn("FATAL", missed.err)

    def test_a_partitioned_table_is_its_partitions(self):
        server, lb = self.source(15)
        server.psql("CREATE TABLE parts (i int PRIMARY KEY) PARTITION BY RANGE (i);"
                    "CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (i);"
                    "CREATE TABLE lowest PARTITION OF low FOR VALUES FROM (0) TO (10);"
                    "CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (20); INSERT INTO parts SELECT generate_series(0, 19)")
        made = lb("backup", live=True).ok().json["backup"]
        server.psql("DELETE FROM parts WHERE i IN (1, 11)")
        for name in ("parts", "postgres.public.parts"):
            found = self.diff(lb, made, "live", "--table", name).ok().json
            self.assertEqual(sorted((one["table"], one["removed"]) for one in found["tables"]),
                             [('"public"."high"', 1), ('"public"."lowest"', 1)])


if __name__ == "__main__":
    main()
