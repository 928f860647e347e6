#!/usr/bin/env python3
"""What is different between two states of a database: backups, moments, the server; by key, values only on request (F1)."""

import signal
import time

from harness import MOUNTER, Background, SystemTest, main, new_directory, wait_until

USAGE, NOT_FOUND, CANCELLED = 2, 4, 16


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
                found = self.diff(lb, made, "live", "--rows", "3", "--show-keys").ok()
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
                masked = self.diff(lb, made, "live", "--rows", "3").ok()
                rows = next(one for one in masked.json["tables"] if "orders" in one["table"])["rows"]
                self.assertEqual(len({row["key_hash"] for row in rows}), 3)
                for row in rows:
                    self.assertEqual(set(row), {"change", "key_hash"})
                    self.assertRegex(row["key_hash"], "^#[0-9a-f]{12}$")
                text = self.diff(lb, made, "live", json=False).ok().out
                self.assertRegex(text, 'changed "public"."orders" #[0-9a-f]{12}\n')
                self.assertNotIn("south", masked.out + text)
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

    def test_equal_rows_without_a_key_are_counted_where_they_are(self):
        server, lb = self.source(15)
        server.psql("CREATE TABLE same AS SELECT 1 AS n, 'x' AS what FROM generate_series(1, 300000);"
                    "CREATE TABLE few (n int); INSERT INTO few SELECT g / 2 FROM generate_series(1, 100) g")
        made = lb("backup", live=True).ok().json["backup"]
        server.psql("DELETE FROM same WHERE ctid = (SELECT max(ctid) FROM same);"
                    "INSERT INTO few VALUES (7), (7), (-1); DELETE FROM few WHERE n = 30")
        began = time.monotonic()
        found = self.diff(lb, made, "live", "--show-data").ok().json
        self.assertLess(time.monotonic() - began, 60)
        tables = {one["table"]: one for one in found["tables"]}
        same = tables['"public"."same"']
        self.assertEqual((same["removed"], same["added"], same["changed"], same["by_key"]), (1, 0, 0, False))
        self.assertEqual((same["rows_before"], same["rows_after"]), (300000, 299999))
        self.assertEqual(same["rows"], [{"change": "removed", "key": "(1,x)", "before": "(1,x)", "after": None}])
        few = tables['"public"."few"']
        self.assertEqual((few["removed"], few["added"]), (2, 3))
        self.assertEqual([(row["change"], row["key"]) for row in few["rows"]],
                         [("added", "(7)"), ("added", "(-1)"), ("removed", "(30)")])

    def test_a_signal_is_heard_in_the_middle_of_a_table(self):
        server, lb = self.source(15)
        server.psql("CREATE TABLE same AS SELECT 1 AS n FROM generate_series(1, 200000);"
                    "CREATE TABLE wide AS SELECT g AS n FROM generate_series(1, 1000000) g")
        made = lb("backup", live=True).ok().json["backup"]
        server.psql("DELETE FROM same WHERE ctid = '(0,1)'; UPDATE wide SET n = -n")
        argv = lb.argv("diff", made, "live", "--scratch-dir", new_directory("diff"), "--pg-bin", server.bin, live=True)
        for activity in ("%bit(60)%", '%collate "C"%'):  # the first pass, and the hashes that differ
            running = Background(argv, user=MOUNTER)
            wait_until(lambda: not running.running or server.value(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%' AND state = 'active' AND "
                f"query LIKE '{activity}' AND pid <> pg_backend_pid()") != "0", "the rows are compared")
            self.assertTrue(running.running, running.result().err)
            asked = time.monotonic()
            running.signal(signal.SIGTERM)
            ended = running.wait(60, check=False)
            self.assertEqual(ended.code, CANCELLED, ended.err)
            self.assertLess(time.monotonic() - asked, 20)

    def test_columns_in_another_order_and_keys_on_one_side(self):
        server, lb = self.source(15)
        server.psql("CREATE TABLE moved (a int PRIMARY KEY, b text, c numeric);"
                    "INSERT INTO moved SELECT g, 'b' || g, g * 0.5 FROM generate_series(1, 1000) g;"
                    "CREATE TABLE keyed (n int, what text); INSERT INTO keyed SELECT g, 'x' FROM generate_series(1, 1000) g")
        made = lb("backup", live=True).ok().json["backup"]
        server.psql("ALTER TABLE moved RENAME TO old; CREATE TABLE moved (c numeric, a int PRIMARY KEY, b text);"
                    "INSERT INTO moved SELECT c, a, b FROM old; DROP TABLE old; UPDATE moved SET b = 'new' WHERE a = 17;"
                    "ALTER TABLE keyed ADD PRIMARY KEY (n); UPDATE keyed SET what = 'y' WHERE n = 5")
        tables = {one["table"]: one for one in self.diff(lb, made, "live", "--show-data").ok().json["tables"]}
        moved = tables['"public"."moved"']
        self.assertEqual((moved["removed"], moved["added"], moved["changed"]), (0, 0, 1))
        self.assertEqual(moved["rows"], [{"change": "changed", "key": "(17)", "before": "(8.5,17,b17)", "after": "(8.5,17,new)"}])
        keyed = tables['"public"."keyed"']
        self.assertEqual((keyed["removed"], keyed["added"], keyed["changed"], keyed["by_key"]), (0, 0, 1, True))

    def test_rows_of_unlogged_tables_are_not_compared(self):
        server, lb = self.source(15)
        server.psql("CREATE UNLOGGED TABLE cache (n int); INSERT INTO cache SELECT generate_series(1, 100)")
        made = lb("backup", live=True).ok().json["backup"]
        found = self.diff(lb, made, "live").ok().json
        self.assertTrue(found["equal"])
        self.assertEqual(found["unlogged"], ['"public"."cache"'])
        self.assertNotIn('"public"."cache"', [one["table"] for one in found["tables"]])
        self.assertIn("unlogged, not in backups", self.diff(lb, made, "live", json=False).ok().out)
        # A server beside itself has them.
        both = self.diff(lb, "live", "live").ok().json
        self.assertEqual(both["unlogged"], [])
        self.assertEqual(next(one for one in both["tables"] if "cache" in one["table"])["rows_before"], 100)
        server.psql("ALTER TABLE cache SET LOGGED")
        now = self.diff(lb, made, "live").ok().json
        self.assertEqual(now["schema_changes"], [{"table": '"public"."cache"', "removed": ["unlogged"], "added": []}])

    def test_everything_is_in_another_database(self):
        server = self.cluster(15)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE DATABASE shop")
        server.psql("CREATE TABLE orders (n int PRIMARY KEY)", database="shop")
        made = lb("backup", live=True).ok().json["backup"]
        self.assertFails(self.diff(lb, made, "live", json=False), NOT_FOUND, 'database "postgres"', "shop", "--database")
        # Whoever names it means it.
        self.assertTrue(self.diff(lb, made, "live", "--database", "postgres").ok().json["equal"])
        server.psql("INSERT INTO orders SELECT generate_series(1, 25)", database="shop")
        shown = self.diff(lb, made, "live", "--database", "shop", json=False).ok().out
        self.assertIn('and 15 more of "public"."orders"', shown)
        self.assertNotIn("more of", self.diff(lb, made, "live", "--database", "shop", "--rows", "25", json=False).ok().out)


if __name__ == "__main__":
    main()
