#!/usr/bin/env python3
"""One table, or one database, back from a backup without restoring the rest (R7): every row is compared, and the original is not
touched unless that was asked for (T1)."""

from harness import MOUNTER, SystemTest, all_majors, dump, main, new_directory

CONFLICT, NOT_FOUND, USAGE, PRECONDITION, PERMISSION, SERVER, CHECK_FAILED = 5, 4, 2, 14, 6, 19, 17


class Tables(SystemTest):
    def shop(self, major):
        """A database with a large table that nobody wants back, and some that they do."""
        server = self.cluster(major)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE ROLE clerk; CREATE DATABASE shop")
        server.psql("CREATE TABLE large AS SELECT g AS id, repeat(md5(g::text), 30) AS filler FROM generate_series(1, 40000) g;"
                    "CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);"
                    "CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, what jsonb, at timestamptz,"
                    " price numeric(10, 2) CHECK (price > 0), twice numeric GENERATED ALWAYS AS (price * 2) STORED);"
                    "CREATE INDEX ON orders (at); COMMENT ON TABLE orders IS 'what people want'; GRANT SELECT ON orders TO clerk;"
                    "INSERT INTO customers (name) SELECT 'customer ' || g FROM generate_series(1, 500) g;"
                    "INSERT INTO orders (customer, what, at, price) SELECT 1 + g % 500, jsonb_build_object('n', g),"
                    " '2026-01-01'::timestamptz + g * interval '1 hour', g FROM generate_series(1, 5000) g;"
                    "CREATE TABLE parts (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);"
                    "CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north');"
                    "CREATE TABLE parts_rest PARTITION OF parts DEFAULT;"
                    "INSERT INTO parts SELECT g, CASE WHEN g % 3 = 0 THEN 'north' ELSE 'south' END FROM generate_series(1, 300) g",
                    "shop")
        return server, lb

    def bring(self, lb, *options, user=MOUNTER):
        to = new_directory("t") / "d"
        result = lb("restore", "--to", to, "--pg-bin", lb.server.bin, *options, live=True, user=user)
        self.assertFalse(to.exists() and any(to.iterdir()), "nothing is left")
        return result

    def archived(self, server):
        server.switch_wal()
        server.wait_archived()

    def test_a_dropped_table_comes_back_beside_what_is_there(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                lb("backup", live=True).ok()
                server.psql("UPDATE orders SET price = price + 1 WHERE id <= 10; INSERT INTO orders (customer, what, at, price)"
                            " VALUES (1, '{}', now(), 5)", "shop")
                expected = server.rows("SELECT * FROM orders ORDER BY id", "shop")
                server.psql("DROP TABLE orders", "shop")
                self.archived(server)
                done = self.bring(lb, "--table", "orders", "--database", "shop", "--before-drop", "orders", "--schema", "back").ok()
                self.assertEqual(done.json["medium"], "mount", done.err)
                self.assertEqual([(t["original"], t["brought"], t["rows"]) for t in done.json["tables"]],
                                 [('"public"."orders"', '"back"."orders"', 5001)])
                self.assertEqual(server.rows("SELECT * FROM back.orders ORDER BY id", "shop"), expected)
                # With everything that belongs to it.
                self.assertEqual(server.value("SELECT count(*) FROM pg_indexes WHERE schemaname = 'back'", "shop"), "2")
                self.assertEqual(server.value("SELECT obj_description('back.orders'::regclass)", "shop"), "what people want")
                self.assertEqual(server.value("SELECT has_table_privilege('clerk', 'back.orders', 'SELECT')", "shop"), "t")
                self.assertEqual(server.value("SELECT count(*) FROM pg_constraint WHERE conrelid = 'back.orders'::regclass AND"
                                              " contype IN ('c', 'p')", "shop"), "2")
                # Recovery brings a sequence back up to 32 values ahead, as after a crash.
                self.assertIn(int(server.value("SELECT nextval('back.orders_id_seq')", "shop")), range(5002, 5036))
                # What nobody wanted was hardly touched.
                self.assertLess(done.json["fetched_bytes"], 0.5 * done.json["backup_bytes"])

    def test_no_tie_to_a_live_table_is_brought(self):
        """T1: the copy holds back no row of a live table, and is no part of one."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                server.psql("CREATE TABLE notes (id int PRIMARY KEY, on_order int REFERENCES orders, about int REFERENCES notes,"
                            " part int, region text, FOREIGN KEY (part, region) REFERENCES parts);"
                            "INSERT INTO notes VALUES (1, 1, 1, 3, 'north');"
                            "CREATE TABLE base (id int); CREATE TABLE heir (more int) INHERITS (base); INSERT INTO heir VALUES (1, 2);"
                            "ALTER TABLE parts ADD buyer int REFERENCES customers", "shop")
                lb("backup", live=True).ok()
                self.archived(server)

                def keys(schema):
                    return server.value("SELECT string_agg(conrelid::regclass || ' ' || confrelid::regclass, ', ' ORDER BY 1) FROM (SELECT"
                                        " DISTINCT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND connamespace ="
                                        f" '{schema}'::regnamespace) k", "shop")

                def bring(schema, *tables):
                    names = [word for table in tables for word in ("--table", table)]
                    done = self.bring(lb, *names, "--database", "shop", "--schema", schema).ok().json
                    for left_out in done["left_out"]:
                        self.assertTrue(any(left_out["statement"] in note for note in done["notes"]), done["notes"])
                    return [(one["what"], one["table"], one["other"]) for one in done["left_out"]], done

                left_out, done = bring("back", "orders")
                self.assertEqual(left_out, [("foreign_key", "back.orders", "public.customers")])
                self.assertEqual(keys("back"), "")
                server.psql("DELETE FROM notes; DELETE FROM orders; DELETE FROM customers WHERE id = 7", "shop")
                refused = server.psql(done["left_out"][0]["statement"], "shop", check=False)
                self.assertIn("is not present in table \"customers\"", refused.err)
                server.psql("INSERT INTO customers OVERRIDING SYSTEM VALUE VALUES (7, 'again')", "shop")
                server.psql(done["left_out"][0]["statement"], "shop")
                # Among those that were asked for they stay.
                left_out, _ = bring("pair", "orders", "notes")
                self.assertEqual(left_out, [("foreign_key", "pair.notes", "public.parts"),
                                            ("foreign_key", "pair.orders", "public.customers")])
                self.assertEqual(keys("pair"), "pair.notes pair.notes, pair.notes pair.orders")
                left_out, _ = bring("heirs", "heir")
                self.assertEqual(left_out, [("inheritance", "heirs.heir", "public.base")])
                self.assertEqual(server.value("SELECT count(*) FROM base", "shop"), "1")
                # One that is no longer there would have taken its place.
                server.psql("ALTER TABLE parts DETACH PARTITION parts_north", "shop")
                left_out, done = bring("one", "parts_north")
                self.assertEqual(left_out, [("partition", "one.parts_north", "public.parts"),
                                            ("foreign_key", "one.parts_north", "public.customers")])
                self.assertEqual(server.value("SELECT count(*) FROM parts", "shop"), "200")
                server.psql(done["left_out"][0]["statement"], "shop")
                self.assertEqual(server.value("SELECT count(*) FROM parts", "shop"), "300")

    def test_deleted_rows_are_merged_and_others_stay(self):
        server, lb = self.shop(15)
        lb("backup", live=True).ok()
        self.archived(server)
        before = server.now()
        server.psql("DELETE FROM orders WHERE id % 10 <> 0; DELETE FROM customers WHERE id % 10 <> 1;", "shop")
        server.psql("UPDATE orders SET price = 77 WHERE id = 10; INSERT INTO orders (customer, what, at, price)"
                    " VALUES (1, '{}', now(), 5)", "shop", check=False)
        self.archived(server)
        done = self.bring(lb, "--table", "orders", "--table", "public.customers", "--database", "shop", "--target-time", before,
                          "--merge").ok().json
        merged = {t["original"]: t["merged_rows"] for t in done["tables"]}
        self.assertEqual(merged['"public"."orders"'], 4500)
        self.assertEqual(server.value("SELECT count(*) FROM orders", "shop"), "5001")
        self.assertEqual(server.value("SELECT price FROM orders WHERE id = 10", "shop"), "77.00")
        self.assertEqual(server.value("SELECT count(*) FROM customers", "shop"), "500")

    def test_partitions_come_with_their_table_and_a_database_comes_whole(self):
        server, lb = self.shop(self.two_majors()[-1])
        lb("backup", live=True).ok()
        self.archived(server)
        done = self.bring(lb, "--table", "parts", "--database", "shop", "--schema", "back").ok().json
        self.assertEqual(sorted(t["rows"] for t in done["tables"]), [100, 200])
        self.assertEqual(server.value("SELECT count(*) FROM back.parts", "shop"), "300")
        whole = self.bring(lb, "--database", "shop").ok().json
        self.assertEqual(whole["database"], "shop_restored")
        for table in ("large", "orders", "customers", "parts"):
            self.assertEqual(server.value(f"SELECT count(*), sum(hashtext(t::text)) FROM {table} t", "shop_restored"),
                             server.value(f"SELECT count(*), sum(hashtext(t::text)) FROM {table} t", "shop"))

    def test_what_nobody_wants_is_not_replayed(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                server.psql("CREATE TABLE draft (id int PRIMARY KEY, words text); INSERT INTO draft SELECT g, 'w' || g FROM"
                            " generate_series(1, 3000) g; CREATE TABLE loose (day int, what text); CREATE INDEX ON loose (day);"
                            "INSERT INTO loose SELECT g, 'x' FROM generate_series(1, 2000) g;"
                            "CREATE TABLE logs (day int, what text) PARTITION BY RANGE (day);"
                            # The file of its transient table is that of a catalogue now.
                            "VACUUM FULL pg_inherits; CREATE TABLE thick (id int PRIMARY KEY, body text); ALTER TABLE thick ALTER body SET STORAGE EXTERNAL", "shop")
                server.psql("CREATE TABLE other AS SELECT g AS id, repeat('o', 500) AS filler FROM generate_series(1, 5000) g")
                lb("backup", live=True).ok()
                server.psql("UPDATE other SET id = id + 1; VACUUM other")
                server.psql("UPDATE large SET id = -id; CREATE INDEX ON large (id); DELETE FROM large WHERE id % 3 = 0; VACUUM large;"
                            "UPDATE orders SET price = price + 1; DELETE FROM orders WHERE id % 7 = 0; VACUUM FULL orders;"
                            "UPDATE orders SET what = '{}' WHERE id % 5 = 0;"
                            "UPDATE draft SET words = words || '!'; ALTER TABLE draft RENAME TO final;"
                            "UPDATE loose SET what = 'y' WHERE day % 2 = 0; VACUUM loose;"
                            "ALTER TABLE logs ATTACH PARTITION loose FOR VALUES FROM (0) TO (10000); INSERT INTO logs VALUES (9000, 'z');"
                            "INSERT INTO thick SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 200) g;"
                            "BEGIN; TRUNCATE parts; INSERT INTO parts SELECT g, 'north' FROM generate_series(1, 50) g; COMMIT;"
                            "CREATE TABLE fresh AS SELECT * FROM orders", "shop")
                self.archived(server)

                def bring(table, schema):
                    done = self.bring(lb, "--table", table, "--database", "shop", "--schema", schema).ok()
                    name = table.split(".")[-1]
                    self.assertEqual(server.rows(f"SELECT * FROM {schema}.{name} t ORDER BY t::text", "shop"),
                                     server.rows(f"SELECT * FROM {table} t ORDER BY t::text", "shop"), table)
                    left_out = done.json["wal_records_left_out"]
                    self.assertEqual((left_out > 10000, left_out == 0), ("once more" not in done.err, "not all known" in done.err), done.err)
                    return left_out

                for table in ("public.orders", "customers", "thick", "parts", "fresh"):
                    bring(table, f"back_{table[-5:]}")
                # Their names at the target say what the backup's did not.
                self.assertEqual(bring("final", "renamed"), 0)
                self.assertEqual(bring("logs", "attached"), 0)
                whole = self.bring(lb, "--database", "shop").ok().json
                self.assertGreater(whole["wal_records_left_out"], 1000)
                for table in ("large", "orders", "final", "logs", "thick", "parts"):
                    query = f"SELECT count(*), sum(hashtext(t::text)) FROM {table} t"
                    self.assertEqual(server.value(query, "shop_restored"), server.value(query, "shop"), table)

    def test_copies_of_files_take_what_was_left_out_along(self):
        """A database that was made from another after the backup, and one that was moved: nothing of it is old."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                server.tablespace("elsewhere")
                server.psql("CREATE DATABASE staging TEMPLATE shop")
                server.psql("CREATE DATABASE moved TEMPLATE shop")
                lb("backup", live=True).ok()
                server.psql("UPDATE orders SET price = price + 1", "staging")
                server.psql("UPDATE orders SET price = price + 2; ALTER TABLE orders RENAME TO ordered", "moved")
                server.psql("DROP DATABASE shop")
                server.psql("CREATE DATABASE shop TEMPLATE staging" + (" STRATEGY file_copy" if major >= 15 else ""))
                server.psql("ALTER DATABASE moved SET TABLESPACE elsewhere")
                self.archived(server)
                for database, table in (("shop", "orders"), ("moved", "ordered")):
                    self.bring(lb, "--table", table, "--database", database, "--schema", "back").ok()
                    query = "SELECT count(*), sum(price) FROM {}"
                    self.assertEqual(server.value(query.format(f"back.{table}"), database), server.value(query.format(table), database))

    def test_another_server_that_lacks_the_roles(self):
        server, lb = self.shop(15)
        lb("backup", live=True).ok()
        self.archived(server)
        other = self.cluster(15)
        other.psql("CREATE DATABASE elsewhere")
        to = new_directory("t") / "d"
        done = lb("restore", "--to", to, "--table", "orders", "--database", "shop", "--into-database", "elsewhere", "--schema",
                  "back", "--pg", other.conninfo(), user=MOUNTER).ok().json
        self.assertTrue(any("clerk" in note for note in done["notes"]), done["notes"])
        self.assertTrue(any("foreign key" in note for note in done["notes"]), done["notes"])
        self.assertEqual(other.value("SELECT count(*) FROM back.orders", "elsewhere"), "5000")

    def test_a_database_comes_with_what_belongs_to_itself(self):
        """Owner, privileges, settings, comment, locale provider: as pg_dump -C has them before and after."""
        for major in all_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                made = {13: "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'", 15: "LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C'",
                        17: "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C' ENCODING 'UTF8'",
                        18: "LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&V << w <<< W' LOCALE 'C'"}[major]
                server.psql("CREATE ROLE \"Chief\"")
                server.psql(f"CREATE DATABASE \"Own\" TEMPLATE template0 {made} OWNER \"Chief\" CONNECTION LIMIT 7")
                server.psql("REVOKE CONNECT ON DATABASE \"Own\" FROM PUBLIC; GRANT CONNECT ON DATABASE \"Own\" TO clerk;"
                            "COMMENT ON DATABASE \"Own\" IS 'belongs to the database \"Own\"';"
                            "ALTER DATABASE \"Own\" SET default_transaction_read_only = on; ALTER DATABASE \"Own\" SET search_path = app, public;"
                            "ALTER ROLE clerk IN DATABASE \"Own\" SET work_mem = '5MB'")
                server.psql("SET default_transaction_read_only = off; CREATE SCHEMA app; CREATE TABLE app.things AS SELECT 1 AS n", "Own")
                if major >= 15:
                    server.psql("SET default_transaction_read_only = off; ALTER SCHEMA public OWNER TO clerk", "Own")
                lb("backup", live=True).ok()
                self.archived(server)
                done = self.bring(lb, "--database", "Own", "--into-database", "again").ok().json
                self.assertEqual(done["notes"], [])
                before = dump(server, "Own", "--create", "--schema-only")
                after = dump(server, "again", "--create", "--schema-only")
                self.assertIn("work_mem", before)
                self.assertEqual(before, after.replace("DATABASE again", 'DATABASE "Own"').replace("\\connect again", '\\connect "Own"')
                                 .replace("Name: again", "Name: Own").replace("DATABASE PROPERTIES again", 'DATABASE PROPERTIES "Own"'))

    def test_roles_that_the_server_lacks_are_found_wherever_they_are_named(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                server.psql("CREATE ROLE a; CREATE ROLE b; CREATE ROLE c; CREATE ROLE d; CREATE ROLE e; CREATE ROLE f")
                server.psql("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION f() OWNER TO a;"
                            "CREATE TYPE colour AS ENUM ('red'); ALTER TYPE colour OWNER TO b; GRANT SELECT (name) ON customers TO c;"
                            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO d; CREATE POLICY own ON customers TO e, clerk USING (true);"
                            "CREATE POLICY everyone ON customers USING (true); ALTER TABLE customers ENABLE ROW LEVEL SECURITY;"
                            "REVOKE CONNECT ON DATABASE shop FROM PUBLIC; ALTER ROLE f IN DATABASE shop SET work_mem = '1MB'", "shop")
                lb("backup", live=True).ok()
                self.archived(server)
                other = self.cluster(major)

                def bring(*options):
                    return lb("restore", "--to", new_directory("t") / "d", "--pg-bin", server.bin, *options, "--pg", other.conninfo(),
                              user=MOUNTER).ok().json

                done = bring("--database", "shop")
                self.assertTrue(any("lacks roles a, b, c, clerk, d, e:" in note for note in done["notes"]), done["notes"])
                self.assertTrue(any("policy own of public.customers was left out" in note for note in done["notes"]), done["notes"])
                self.assertTrue(any("ALTER ROLE f IN DATABASE" in note and "lacks role f" in note for note in done["notes"]), done["notes"])
                self.assertEqual(other.value("SELECT count(*) FROM orders", "shop_restored"), "5000")
                self.assertEqual(other.value("SELECT polname FROM pg_policy", "shop_restored"), "everyone")
                self.assertEqual(other.value("SELECT has_database_privilege('pg_monitor', 'shop_restored', 'CONNECT')"), "f")
                other.psql("CREATE DATABASE elsewhere")
                done = bring("--table", "customers", "--database", "shop", "--into-database", "elsewhere", "--schema", "back")
                self.assertTrue(any("lacks roles c, clerk, e:" in note for note in done["notes"]), done["notes"])
                self.assertEqual(other.value("SELECT count(*) FROM back.customers", "elsewhere"), "500")

    def test_who_may_not_is_told_before_anything_is_recovered(self):
        server, lb = self.shop(15)
        server.psql("CREATE ROLE guest LOGIN; CREATE ROLE maker LOGIN CREATEDB")
        server.psql("CREATE FUNCTION low() RETURNS int LANGUAGE internal AS 'pg_backend_pid'", "shop")
        lb("backup", live=True).ok()
        self.archived(server)

        def bring(user, *options):
            return lb("restore", "--to", new_directory("t") / "d", "--pg-bin", server.bin, "--progress", "on", *options, "--pg",
                      server.conninfo(user=user), user=MOUNTER)

        refused = bring("guest", "--table", "orders", "--database", "shop")
        self.assertFails(refused, PERMISSION, 'database \\"shop\\"', "role guest may not make a schema in it", "GRANT CREATE ON DATABASE shop TO guest")
        self.assertNotIn("recovering", refused.err)
        refused = bring("guest", "--database", "shop")
        self.assertFails(refused, PERMISSION, "role guest may not make a database", "CREATEDB")
        self.assertNotIn("recovering", refused.err)
        server.psql("GRANT CREATE ON DATABASE shop TO guest", "shop")
        refused = bring("guest", "--table", "orders", "--database", "shop", "--merge")
        self.assertFails(refused, PERMISSION, "table orders", "GRANT SELECT, INSERT ON orders TO guest")
        self.assertNotIn("recovering", refused.err)
        # Who may, gets what the owner of the original had.
        done = bring("guest", "--table", "orders", "--database", "shop", "--schema", "mine").ok().json
        self.assertEqual(server.value("SELECT count(*) FROM mine.orders", "shop"), "5000")
        self.assertEqual(server.value("SELECT relowner::regrole FROM pg_class WHERE oid = 'mine.orders'::regclass", "shop"), "guest")
        self.assertTrue(any("is no member of" in note for note in done["notes"]), done["notes"])
        # What came to half is taken away again, and does not stand in the way.
        failed = bring("maker", "--database", "shop")
        self.assertNotEqual(failed.code, 0)
        self.assertIn("permission denied for language internal", failed.err + failed.out)
        self.assertEqual(server.value("SELECT count(*) FROM pg_database WHERE datname = 'shop_restored'"), "0")
        bring("postgres", "--database", "shop").ok()

    def test_a_merge_is_refused_early_or_leaves_word_of_what_is_there(self):
        server, lb = self.shop(15)
        server.psql("CREATE TABLE audit (what text); CREATE SCHEMA app; CREATE TABLE app.log (what text);"
                    "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO audit VALUES ('row'); RETURN new; END$$;"
                    "CREATE TRIGGER audit_row BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION audit();"
                    "CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE); INSERT INTO people VALUES (1, 'a'), (2, 'b');"
                    "CREATE VIEW v_orders AS SELECT o.id, name FROM orders o JOIN customers c ON c.id = customer", "shop")
        lb("backup", live=True).ok()
        self.archived(server)
        before = server.now()
        server.psql("DELETE FROM orders WHERE id <= 100; DELETE FROM people WHERE id = 1; INSERT INTO people VALUES (3, 'a')", "shop")
        self.archived(server)

        def bring(*options):
            return self.bring(lb, "--database", "shop", "--target-time", before, "--progress", "on", *options)

        early = bring("--table", "large", "--schema", "s1", "--merge")
        self.assertFails(early, PRECONDITION, "large", "has no primary key to merge by")
        self.assertNotIn("recovering", early.err)
        early = bring("--table", "v_orders", "--schema", "s1", "--merge")
        self.assertFails(early, USAGE, "table v_orders", "is a view", "it reads customers, orders")
        self.assertNotIn("recovering", early.err)
        view = bring("--table", "v_orders", "--schema", "s1")
        self.assertFails(view, USAGE, "table v_orders", "is a view", "orders")
        self.assertNotIn("did you mean", view.err)
        self.assertNotIn("once more", view.err)
        done = bring("--table", "orders", "--merge").ok().json
        self.assertEqual(done["tables"][0]["merged_rows"], 100)
        self.assertEqual(server.value("SELECT count(*) FROM audit", "shop"), "100")
        late = bring("--table", "people", "--schema", "s2", "--merge")
        self.assertFails(late, SERVER, 'merging into', 'people', "under another primary key", "schema s2 of database shop holds",
                         "DROP SCHEMA s2 CASCADE")
        self.assertEqual(server.value("SELECT count(*) FROM s2.people", "shop"), "2")
        server.psql("DELETE FROM orders WHERE id > 4990; DROP TABLE audit", "shop")
        late = bring("--table", "orders", "--schema", "s3", "--merge")
        self.assertFails(late, SERVER, "merging into", "orders", 'relation \\"audit\\" does not exist', "one of them may be the cause: audit_row",
                         "schema s3")

    def test_merged_rows_are_looked_for_before_they_stay(self):
        """R7: what triggers and rules make of rows is noticed, and then nothing is merged."""
        server, lb = self.shop(self.two_majors()[-1])
        server.psql("CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.id % 50 = 0 THEN RETURN NULL; END IF; RETURN new;"
                    " END$$; CREATE FUNCTION raise_price() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.price = new.price + 1;"
                    " RETURN new; END$$; CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN DELETE FROM orders WHERE"
                    " id = 4000; RETURN NULL; END$$; CREATE TABLE papers (id int PRIMARY KEY, doc json, tags text[], cost numeric(8, 2),"
                    " body xml, at timestamptz, spot point);"
                    "INSERT INTO papers SELECT g, '{\"a\": 1}', '{x,y}', g, '<a/>', now(), '(1,2)' FROM generate_series(1, 100) g", "shop")
        lb("backup", live=True).ok()
        before = server.now()
        server.psql("DELETE FROM orders WHERE id <= 100; DELETE FROM papers WHERE id <= 50;"
                    "ALTER TABLE papers ALTER cost TYPE numeric(12, 4), ADD note text DEFAULT 'new'", "shop")
        self.archived(server)

        def merge(schema, table="orders"):
            return self.bring(lb, "--database", "shop", "--target-time", before, "--table", table, "--schema", schema, "--merge")

        def state():
            return server.value("SELECT count(*), sum(hashtext(o::text)) FROM orders o", "shop")

        def refused(schema, make, drop, *phrases):
            server.psql(make, "shop")
            was = state()
            self.assertFails(merge(schema), CHECK_FAILED, "orders", *phrases, f"DROP SCHEMA {schema} CASCADE")
            self.assertEqual(state(), was)
            server.psql(drop, "shop")

        refused("m1", "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION skip()", "DROP TRIGGER t ON orders",
                "of 100 rows that it lacked", "2 are still not there", "triggers: t", "nothing was merged")
        refused("m2", "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION raise_price()", "DROP TRIGGER t ON orders",
                "100 have other values, in \\\"price\\\"", "triggers: t")
        refused("m3", "CREATE RULE r AS ON INSERT TO orders DO INSTEAD NOTHING", "DROP RULE r ON orders", "100 are still not there")
        refused("m4", "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION forget()",
                "DROP TRIGGER t ON orders", "lacks 1 rows that it had")
        # Nothing of it is left where it works, and types without an operator that says equal are no hindrance.
        self.assertEqual(merge("m5").ok().json["tables"][0]["merged_rows"], 100)
        self.assertEqual(server.value("SELECT string_agg(relname, ' ' ORDER BY 1) FROM pg_class WHERE relnamespace = 'm5'::regnamespace"
                                      " AND relkind = 'r'", "shop"), "orders")
        self.assertEqual(merge("m6", "papers").ok().json["tables"][0]["merged_rows"], 50)
        self.assertEqual(server.value("SELECT count(*), count(note) FROM papers", "shop"), "100|100")

    def test_a_table_that_does_not_come_back_as_it_was_is_told(self):
        """R7: the comparison can fail: something on the server takes a row of what was brought."""
        server, lb = self.shop(15)
        lb("backup", live=True).ok()
        self.archived(server)
        server.psql("CREATE FUNCTION thief() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN IF EXISTS (SELECT FROM"
                    " pg_event_trigger_ddl_commands() WHERE schema_name = 'back') THEN EXECUTE %s; END IF; END$$;"
                    "CREATE EVENT TRIGGER thief ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION thief()"
                    % "'DELETE FROM back.orders WHERE id = 17'", "shop")
        bring = ("--table", "orders", "--database", "shop", "--schema", "back")
        self.assertFails(self.bring(lb, *bring), CHECK_FAILED, "is not what the backup has: 4999 rows, expected 5000")
        server.psql("DROP SCHEMA back CASCADE; CREATE OR REPLACE FUNCTION thief() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN IF EXISTS"
                    " (SELECT FROM pg_event_trigger_ddl_commands() WHERE schema_name = 'back') THEN UPDATE back.orders SET price ="
                    " price + 0.01 WHERE id = 17; END IF; END$$", "shop")
        self.assertFails(self.bring(lb, *bring), CHECK_FAILED, "is not what the backup has: 5000 rows, expected 5000; some differ")

    def test_nothing_is_recovered_twice_without_need(self):
        server, lb = self.shop(15)
        server.psql("CREATE SCHEMA \"Weird Sch\"; CREATE TABLE \"Weird Sch\".\"Tab \"\"q\"\" é\" (id int PRIMARY KEY, \"a.b\" text);"
                    "CREATE TABLE \"Weird Sch\".\"a.b\" (id int PRIMARY KEY);"
                    "INSERT INTO \"Weird Sch\".\"Tab \"\"q\"\" é\" SELECT g, 'x' FROM generate_series(1, 1000) g", "shop")
        lb("backup", live=True).ok()
        server.psql("UPDATE \"Weird Sch\".\"Tab \"\"q\"\" é\" SET \"a.b\" = 'y'; INSERT INTO \"Weird Sch\".\"a.b\" SELECT generate_series(1, 50);"
                    "UPDATE large SET id = -id", "shop")
        self.archived(server)
        for table in ('"Weird Sch"."Tab ""q"" é"', '"Weird Sch"."a.b"'):
            done = self.bring(lb, "--table", table, "--database", "shop", "--schema", f"back{len(table)}").ok()
            self.assertNotIn("once more", done.err)
            self.assertGreater(done.json["wal_records_left_out"], 1000)
        for moment in ("2099-01-01 00:00:00+00", "2001-01-01 00:00:00+00"):
            refused = self.bring(lb, "--table", "orders", "--database", "shop", "--target-time", moment)
            self.assertNotEqual(refused.code, 0)
            self.assertNotIn("once more", refused.err)
        elsewhere = self.bring(lb, "--table", "orders")
        self.assertFails(elsewhere, NOT_FOUND, "does not exist in database postgres", "It may be in another database (--database): shop.")

    def test_a_database_that_does_not_exist_is_told_before_anything_is_recovered(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                server.psql("CREATE DATABASE elsewhere")
                lb("backup", live=True).ok()
                # What names no database keeps nobody from telling early.
                server.psql("UPDATE orders SET price = price + 1; VACUUM (FREEZE) orders; ANALYZE", "shop")
                server.psql("VACUUM (FREEZE) pg_database")
                self.archived(server)

                def missed(*options, early):
                    result = lb("restore", "--to", new_directory("t") / "d", "--pg-bin", server.bin, "--into-database", "elsewhere",
                                "--progress", "on", *options, live=True, user=MOUNTER, json=False)
                    self.assertFails(result, NOT_FOUND, 'database "shpo": does not exist at the target; there are: ', "did you mean shop?")
                    self.assertNotIn("FATAL", result.err)
                    self.assertEqual("recovering" not in result.err, early, result.err)
                    self.assertEqual("looked for after recovery" not in result.err, early, result.err)

                missed("--table", "orders", "--database", "shpo", early=True)
                missed("--table", "shpo.public.orders", early=True)
                # It might have been made since.
                server.psql("CREATE DATABASE fresh TEMPLATE shop")
                self.archived(server)
                missed("--table", "orders", "--database", "shpo", early=False)
                done = self.bring(lb, "--table", "fresh.public.orders", "--schema", "back").ok().json
                self.assertEqual((done["database"], done["tables"][0]["rows"]), ("fresh", 5000))
                # The server that gets the tables has none of that name: nothing is looked for elsewhere.
                nowhere = lb("restore", "--table", "orders", "--database", "shpo", live=True, user=MOUNTER, json=False)
                self.assertFails(nowhere, NOT_FOUND, 'database "shpo": does not exist on the server that gets it', "did you mean shop?")
                # There once, and dropped since.
                server.psql("DROP DATABASE fresh WITH (FORCE); DROP DATABASE shop WITH (FORCE)")
                self.archived(server)
                gone = lb("restore", "--to", new_directory("t") / "d", "--pg-bin", server.bin, "--database", "shop", live=True,
                          user=MOUNTER, json=False)
                self.assertFails(gone, NOT_FOUND, 'database "shop": does not exist at the target', "wal find --dropped")

    def test_bad_input_changes_nothing(self):
        server, lb = self.shop(15)
        lb("backup", live=True).ok()
        self.archived(server)
        server.psql("CREATE SCHEMA taken", "shop")
        self.assertFails(self.bring(lb, "--table", "orders", "--database", "shop", "--schema", "taken"), CONFLICT, "taken")
        self.assertFails(self.bring(lb, "--table", "odrers", "--database", "shop"), NOT_FOUND, "odrers")
        self.assertFails(self.bring(lb, "--table", "pulbic.orders", "--database", "shop"), NOT_FOUND, "did you mean public.orders?")
        for wrong in ("a.b.c.d", "orders.", '"open'):
            self.assertFails(self.bring(lb, "--table", wrong, "--database", "shop"), USAGE)
        self.assertFails(self.bring(lb, "--table", "shop.public.orders", "--database", "hr"), USAGE, "shop.public.orders", "hr")
        self.assertFails(self.bring(lb, "--database", "shop", "--merge"), USAGE, "--table")
        server.psql("CREATE TABLE gone AS SELECT 1 AS n", "shop")
        self.archived(server)
        server.psql("DROP TABLE gone", "shop")
        self.archived(server)
        merge = self.bring(lb, "--table", "gone", "--database", "shop", "--before-drop", "gone", "--merge")
        self.assertFails(merge, NOT_FOUND, "nothing to merge into")
        schemas = server.value("SELECT string_agg(nspname::text, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'", "shop")
        self.assertEqual(schemas, "information_schema public taken")
        self.assertEqual(server.value("SELECT count(*) FROM large", "shop"), "40000")


if __name__ == "__main__":
    main()
