#!/usr/bin/env python3
"""Logical backups (L1 to L3): what pg_dump of the restored database says is what it says of the original."""

import re
import shutil
import signal
import subprocess

from harness import SOURCE, SystemTest, all_majors, flip_bit, give, main, new_directory, pg_bin, run, tmpfs, tool, wait_until

USAGE, NOT_FOUND, CONFLICT, PERMISSION, SPACE, DAMAGED, PRECONDITION = 2, 4, 5, 6, 7, 10, 14
CANCELLED, CHECK, SERVER, FAILED, TIMEOUT, BUSY, UNSUPPORTED = 16, 17, 19, 1, 9, 15, 18
EVERY_OBJECT = (SOURCE / "tests/support/every_object.sql").read_text()
# What the table of contents of a dump calls them.
KINDS = """ACCESS METHOD, ACL, AGGREGATE, CAST, CHECK CONSTRAINT, COLLATION, COMMENT, CONSTRAINT, CONVERSION, DEFAULT, DEFAULT ACL,
    DOMAIN, EVENT TRIGGER, EXTENSION, FK CONSTRAINT, FOREIGN DATA WRAPPER, FOREIGN TABLE, FUNCTION, INDEX, INDEX ATTACH,
    MATERIALIZED VIEW, MATERIALIZED VIEW DATA, OPERATOR, OPERATOR CLASS, OPERATOR FAMILY, POLICY, PROCEDURAL LANGUAGE, PROCEDURE,
    PUBLICATION, PUBLICATION TABLE, ROW SECURITY, RULE, SCHEMA, SEQUENCE, SEQUENCE OWNED BY, SEQUENCE SET, SERVER, SHELL TYPE,
    STATISTICS, SUBSCRIPTION, TABLE, TABLE ATTACH, TABLE DATA, TEXT SEARCH CONFIGURATION, TEXT SEARCH DICTIONARY,
    TEXT SEARCH PARSER, TEXT SEARCH TEMPLATE, TRANSFORM, TRIGGER, TYPE, USER MAPPING, VIEW, BLOBS"""


def described(server, database, *options):
    """pg_dump's text of a database, without what is different in each run and what its name is."""
    text = run([tool("pg_dump", server.major), *options, "--create", "-d", server.conninfo(database)]).out
    text = re.sub(r"(?m)^\\(un)?restrict .*$|^\\connect .*$|^-- Name: .*$", "", text)
    return text.replace(f"DATABASE {database}", "DATABASE it").replace(f'DATABASE "{database}"', "DATABASE it")


class Dumps(SystemTest):
    def started(self, major=15, **options):
        server = self.cluster(major, **options)
        lb = self.lifeboat(server, options=["--pg-bin", server.bin])
        lb("init", "--yes", live=True).ok()
        return server, lb

    def shop(self, major=15, **options):
        server, lb = self.started(major, **options)
        server.psql("CREATE DATABASE shop")
        server.psql("CREATE SCHEMA back; CREATE TABLE orders (id int PRIMARY KEY, what text);"
                    "CREATE TABLE back.customers (id int PRIMARY KEY, name text);"
                    "INSERT INTO orders SELECT g, md5(g::text) FROM generate_series(1, 3000) g;"
                    "INSERT INTO back.customers SELECT g, 'c' || g FROM generate_series(1, 200) g", "shop")
        return server, lb

    def every_object(self, server, database="every"):
        server.psql(f"CREATE DATABASE {database}")
        server.psql(EVERY_OBJECT, database)
        return database

    # --- what must be shown: every kind of object, on every major
    def test_every_kind_of_object_restores_equal(self):
        for major in all_majors():
            with self.subTest(major=major):
                server, lb = self.started(major, conf={"wal_level": "logical"})
                self.every_object(server)
                expected = described(server, "every")
                for format in ("custom", "directory", "plain"):
                    made = lb("dump", "create", "--database", "every", "--format", format, "--jobs", "2", live=True).ok().json
                    self.assertEqual(made["format"], format)
                    if format == "custom":
                        shown = lb("dump", "show", made["dump"], "--contents").ok().json
                        self.expect_kinds(major, shown["databases"][0]["contents"])
                    back = f"every_{format}"
                    done = lb("dump", "restore", made["dump"], "--database", f"every={back}", "--jobs", "2", live=True).ok().json
                    self.assertEqual(done["databases"][0]["rows"], made["databases"][0]["rows"])
                    self.assertIn("clerk", done["roles_there"])
                    self.assertEqual(described(server, back), expected)
                    server.psql(f"ALTER SUBSCRIPTION from_nowhere DISABLE; ALTER SUBSCRIPTION from_nowhere SET (slot_name = NONE);"
                                f"DROP SUBSCRIPTION from_nowhere", back)
                    server.psql(f"DROP DATABASE {back}")

    def expect_kinds(self, major, contents):
        lines = [line.split(" ", 3)[3] for line in contents.splitlines() if re.match(r"\d+;", line)]
        missing = [kind for kind in re.split(r",\s+", KINDS) if not any(line.startswith(kind + " ") for line in lines)]
        # 13 attaches partitions without an entry of their own.
        self.assertEqual(missing, ["TABLE ATTACH"] if major == 13 else [])

    def test_to_a_new_server_of_a_newer_major_with_roles_first(self):
        server, lb = self.started(15)
        self.every_object(server)
        made = lb("dump", "create", live=True).ok().json
        self.assertEqual([d["name"] for d in made["databases"]], ["every", "postgres"])
        other = self.cluster(17)
        there = self.lifeboat(other, repo=lb.repo_path, options=["--pg-bin", other.bin])
        done = there("dump", "restore", "latest", live=True).ok().json
        self.assertEqual(sorted(done["roles_made"]), ['Boss; of "all"', "clerk"])
        self.assertEqual(done["roles_there"], ["postgres"])
        self.assertTrue(any("postgres" in note for note in done["notes"]))
        password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'clerk'"
        self.assertEqual(other.value(password), server.value(password))
        rows = "SELECT count(*), sum(hashtext(c::text)) FROM customers c"
        self.assertEqual(other.rows(rows, "every"), server.rows(rows, "every"))
        # Again: nothing that is there is touched.
        other.psql("ALTER ROLE clerk PASSWORD 'another one'; ALTER ROLE clerk SET work_mem = '9MB'")
        changed = other.value(password)
        done = there("dump", "restore", "latest", "--database", "every=again", live=True).ok().json
        self.assertEqual(done["roles_made"], [])
        self.assertEqual(other.value(password), changed)
        self.assertIn("9MB", other.value("SELECT setconfig::text FROM pg_db_role_setting WHERE setrole = 'clerk'::regrole AND setdatabase = 0"))

    # --- L1
    def test_patterns_are_counted_and_one_that_matches_nothing_is_an_error(self):
        server, lb = self.shop()
        made = lb("dump", "create", "--database", "shop", "--table", "back.*", "--table", "orders", live=True).ok().json
        self.assertEqual([(p["pattern"], p["matched"]) for p in made["patterns"]], [("back.*", 1), ("orders", 1)])
        self.assertEqual(made["databases"][0]["rows"], 3200)
        done = lb("dump", "restore", made["dump"], "--database", "shop=some", live=True).ok().json
        self.assertEqual(done["databases"][0]["rows"], 3200)
        made = lb("dump", "create", "--database", "shop", "--exclude-table", "ord*", live=True).ok().json
        self.assertEqual(made["databases"][0]["rows"], 200)
        # Without a schema a pattern looks on the search path; pg_dump itself says nothing of an exclusion that matches nothing.
        for option in ("--table", "--exclude-table"):
            for pattern in ("customers", "odrers", "bakc.*"):
                self.assertFails(lb("dump", "create", "--database", "shop", option, pattern, live=True), NOT_FOUND, pattern)
        self.assertFails(lb("dump", "create", "--table", "orders", live=True), USAGE, "--database")
        self.assertFails(lb("dump", "create", "--database", "shpo", live=True), NOT_FOUND, "shop")
        self.assertEqual(len(lb("dump", "list").ok().json["dumps"]), 2)

    def test_schema_only_and_portable(self):
        server, lb = self.shop()
        server.psql("CREATE ROLE clerk; CREATE ROLE boss")
        server.psql("ALTER TABLE orders OWNER TO boss; GRANT SELECT ON back.customers TO clerk", "shop")
        server.psql("ALTER DATABASE shop OWNER TO boss; GRANT TEMP ON DATABASE shop TO clerk")
        lb("dump", "create", "--database", "shop", "--schema-only", live=True).ok()
        lb("dump", "restore", "latest", "--database", "shop=empty", live=True).ok()
        proven = lb("drill", "--dump", "latest").ok().json["checks"][0]
        self.assertEqual([one["result"] for one in lb("drill", "--history").ok().json["dump_drills"]], ["passed"])
        self.assertIn("definitions alone", proven["detail"])
        self.assertEqual(described(server, "empty", "--schema-only"), described(server, "shop", "--schema-only"))
        for format in ("custom", "plain"):
            lb("dump", "create", "--database", "shop", "--portable", "--format", format, live=True).ok()
            other = self.cluster(15)
            done = lb("dump", "restore", "latest", "--pg", other.conninfo()).ok().json
            self.assertEqual(done["databases"][0]["rows"], 3200)
            self.assertEqual(other.value("SELECT count(*) FROM pg_roles WHERE rolname IN ('boss', 'clerk')"), "0")
            self.assertEqual(other.value("SELECT tableowner FROM pg_tables WHERE tablename = 'orders'", "shop"), "postgres")

    def test_a_restored_database_has_statistics(self):
        """The planner knows its tables at once, and not when autovacuum has come round to them. The source never had any."""
        server, lb = self.shop(conf={"autovacuum": "off"})
        known = ("SELECT tablename, string_agg(attname, ',' ORDER BY attname) FROM pg_stats WHERE schemaname IN ('public', 'back')"
                 " GROUP BY 1 ORDER BY 1")
        self.assertEqual(server.rows(known, "shop"), [])
        for format in ("custom", "directory", "plain"):
            with self.subTest(format=format):
                made = lb("dump", "create", "--database", "shop", "--format", format, live=True).ok().json
                lb("dump", "restore", made["dump"], "--database", f"shop={format}", live=True).ok()
                self.assertEqual(server.rows(known, format), [["customers", "id,name"], ["orders", "id,what"]])
                counts = "SELECT relname, reltuples FROM pg_class WHERE relname IN ('customers', 'orders') ORDER BY 1"
                self.assertEqual(server.rows(counts, format), [["customers", "200"], ["orders", "3000"]])

    def test_connections_must_be_left(self):
        server, lb = self.shop(conf={"max_connections": "12", "max_wal_senders": "3"})
        server.psql("CREATE DATABASE closed ALLOW_CONNECTIONS false")
        refused = lb("dump", "create", "--format", "directory", "--jobs", "8", live=True)
        self.assertFails(refused, PRECONDITION, "connections", "--jobs")
        made = lb("dump", "create", "--format", "directory", "--jobs", "2", live=True).ok().json
        self.assertTrue(any("closed" in warning for warning in made["warnings"]), made["warnings"])

    def test_a_standby_can_be_dumped(self):
        server, lb = self.shop()
        server.psql("CREATE UNLOGGED TABLE fleeting AS SELECT 1", "shop")
        copy = new_directory("standby") / "data"
        run([tool("pg_basebackup", 15), "-D", copy, "-R", "-X", "stream", "-c", "fast", "-d", server.conninfo()])
        standby = type(server).attach(copy, 15, start=True)
        made = lb("dump", "create", "--database", "shop", "--format", "directory", "--jobs", "2", "--pg", standby.conninfo()).ok().json
        self.assertTrue(made["from_standby"])
        self.assertEqual(made["databases"][0]["rows"], 3200)

    # --- L2
    def test_what_is_counted_is_what_is_dumped_while_others_write(self):
        server, lb = self.shop(self.two_majors()[-1])
        writing = server.session("shop")
        for round in range(3):
            writing.execute("BEGIN; DELETE FROM orders WHERE id % 3 = 0; INSERT INTO orders SELECT max(id) + 1, 'new' FROM orders")
            made = lb("dump", "create", "--database", "shop", live=True).ok().json
            writing.execute("COMMIT")
            done = lb("dump", "restore", made["dump"], "--database", f"shop=shop{round}", live=True).ok().json
            self.assertEqual(done["databases"][0]["rows"], made["databases"][0]["rows"])

    def test_a_lock_that_somebody_waits_for_ends_the_dump_and_nothing_is_published(self):
        server, lb = self.shop()
        locker = server.session("shop")
        locker.execute("BEGIN; LOCK TABLE orders")
        self.assertFails(lb("dump", "create", "--database", "shop", "--lock-timeout", "1s", live=True), TIMEOUT, "lock")
        # One at a time; a backup is no dump and may run beside it.
        waiting = lb.background("dump", "create", "--database", "shop", live=True)
        wait_until(lambda: server.value("SELECT count(*) FROM pg_locks WHERE NOT granted") != "0", "the dump waits")
        self.assertFails(lb("dump", "create", "--database", "shop", live=True), BUSY, "running")
        locker.execute("ROLLBACK")
        waiting.wait()
        listed = lb("dump", "list", "--all").ok().json["dumps"]
        self.assertEqual([d["state"] for d in listed], ["aborted", "complete"])

    # Not: pg_dump | gzip and $?
    def test_a_dump_that_fails_half_way_is_not_published_and_lets_none_expire(self):
        server, lb = self.shop()
        good = lb("dump", "create", "--database", "shop", live=True).ok().json["dump"]
        # A page that cannot be read: pg_dump has written a part of its output by then.
        server.psql("CREATE TABLE zz_last AS SELECT g, repeat('x', 500) FROM generate_series(1, 3000) g; CHECKPOINT", "shop")
        path = server.data / server.value("SELECT pg_relation_filepath('zz_last')", "shop")
        server.stop()
        flip_bit(path, 100 * 8192 + 4000)
        server.start()
        for format in ("custom", "plain", "directory"):
            failed = lb("dump", "create", "--database", "shop", "--format", format, live=True)
            self.assertNotEqual(failed.code, 0)
            self.assertIn("invalid page", failed.out + failed.err)
        self.assertEqual([d["id"] for d in lb("dump", "list").ok().json["dumps"]], [good])
        lb("expire", "--dump-keep-count", "1", "--grace", "0", "--yes").ok()
        lb("verify").ok()
        lb("dump", "restore", good, "--database", "shop=shop_good", live=True).ok()

    def test_a_dump_that_is_stopped_leaves_nothing(self):
        server, lb = self.shop()
        server.psql("CREATE TABLE wide AS SELECT g, repeat(md5(g::text), 40) AS t FROM generate_series(1, 100000) g", "shop")
        spool = new_directory("spool")
        for format, number in (("custom", signal.SIGTERM), ("directory", signal.SIGINT)):
            running = lb.background("dump", "create", "--database", "shop", "--format", format, "--spool", spool, live=True)
            wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'"
                                            " AND query ~ '^COPY'") != "0", "pg_dump at work", interval=0.01)
            running.signal(number)
            self.assertEqual(running.wait(check=False).code, CANCELLED)
            wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('pg_dump', 'lifeboat')") == "0",
                       "the end of its connections")
        self.assertEqual(list(spool.iterdir()), [])
        self.assertEqual(lb("dump", "list").ok().json["dumps"], [])
        lb("expire", "--grace", "0", "--dump-keep-count", "1", "--yes").ok()
        self.assertEqual([o for o in lb.objects() if "/dumps/packs/" in o], [])

    def test_directory_format_leaves_no_second_copy_in_the_spool(self):
        server, lb = self.shop()
        server.psql("CREATE TABLE wide AS SELECT g, repeat(md5(g::text), 40) AS t FROM generate_series(1, 60000) g", "shop")
        spool = new_directory("spool")
        running = lb.background("dump", "create", "--database", "shop", "--format", "directory", "--jobs", "2", "--spool", spool, live=True)
        most = 0
        while running.running:
            used = subprocess.run(["du", "-sk", spool], capture_output=True, text=True).stdout.split()
            most = max(most, int(used[0]) if used else 0)
        made = running.wait().json
        self.assertGreater(made["plain_bytes"], 70 << 20)
        self.assertLess(most, made["plain_bytes"] // 2048)

    def test_encrypted_verified_and_damage_is_found(self):
        server = self.cluster(15)
        key = new_directory("key") / "key"
        lb = self.lifeboat(server, options=["--key-file", key])
        lb("init", "--yes", live=True).ok()
        server.psql("CREATE ROLE clerk PASSWORD 'secret'; CREATE TABLE t AS SELECT g, 'findme' || g FROM generate_series(1, 100) g")
        made = lb("dump", "create", "--format", "plain", "--compression", "none", live=True).ok().json
        for path in lb.repo_path.rglob("*"):
            self.assertFalse(path.is_file() and b"findme" in path.read_bytes(), path)
        self.assertEqual(lb("list").ok().json["dumps"], 1)
        checked = lb("verify").ok().json
        self.assertEqual([(b["id"], b["dump"], b["passed"]) for b in checked["backups"]], [(made["dump"], True, True)])
        self.assertTrue(lb("dump", "show", "latest").ok().json["verified"]["passed"])
        # By itself, at each depth; no WAL is asked for.
        for depth in ("present", "hashed", "wal"):
            checked = lb("verify", "--backup", made["dump"], "--depth", depth).ok().json
            self.assertEqual([(b["id"], b["dump"], b["passed"]) for b in checked["backups"]], [(made["dump"], True, True)])
            self.assertEqual(checked["wal"], [])
        self.assertFails(lb("verify", "--backup", "latest"), NOT_FOUND)
        self.assertFails(lb("verify", "--backup", "20200101T000000Z-ffffff"), NOT_FOUND)
        pack = next(path for path in lb.repo_path.rglob("*.data") if "/dumps/" in str(path))
        flip_bit(pack, 200)
        self.assertFails(lb("verify"), CHECK, made["dump"])
        self.assertFails(lb("verify", "--backup", made["dump"]), CHECK)
        self.assertFalse(lb("dump", "show", made["dump"]).ok().json["verified"]["passed"])
        self.assertFails(lb("dump", "restore", "latest", "--database", "postgres=back", live=True), DAMAGED)
        self.assertEqual(server.value("SELECT count(*) FROM pg_database WHERE datname = 'back'"), "0")
        self.assertFails(lb("show", made["dump"]), NOT_FOUND, "dump show")

    def test_retention_of_dumps_is_their_own(self):
        server, lb = self.shop()
        ids = [lb("dump", "create", "--database", "shop", "--schema-only", live=True).ok().json["dump"] for _ in range(4)]
        lb("expire", "--keep-count", "1", "--grace", "0", "--yes").ok()
        self.assertEqual(len(lb("dump", "list").ok().json["dumps"]), 4)
        planned = lb("expire", "--dump-keep-count", "2", "--grace", "0", "--dry-run").ok().json
        self.assertEqual([one["id"] for one in planned["dump_plan"]["expire"]], ids[:2])
        lb("expire", "--dump-keep-count", "2", "--grace", "0", "--yes").ok()
        self.assertEqual([d["id"] for d in lb("dump", "list").ok().json["dumps"]], ids[2:])
        lb("verify").ok()
        lb("dump", "restore", "latest", "--database", "shop=back", live=True).ok()

    def test_latest_is_the_newest_that_has_what_is_asked_for(self):
        server, lb = self.shop()
        server.psql("CREATE DATABASE hr; CREATE TABLE spare (i int)")
        server.psql("CREATE TABLE people AS SELECT g AS id FROM generate_series(1, 7) g", "hr")

        def create(*options):
            return lb("dump", "create", *options, live=True).ok().json["dump"]

        def latest(*options):
            """What was taken, and the one note that says why."""
            done = lb("dump", "restore", "latest", *options, live=True).ok()
            for one in done.json["databases"]:
                server.psql(f"DROP DATABASE {one['restored_as']}")
            notes = [note for note in done.json["notes"] if note.startswith("latest is")]
            self.assertEqual(sum("latest is dump" in line for line in done.err.splitlines()), len(notes), done.err)
            return done.json["dump"], "".join(notes)

        definitions = create("--database", "shop", "--schema-only")
        dump, note = latest("--database", "shop=back")
        self.assertEqual(dump, definitions)
        self.assertIn("no rows come back", note)
        whole = create()
        shop = create("--database", "shop")
        orders = create("--database", "shop", "--table", "orders")
        people = create("--database", "hr")
        definitions = create("--database", "shop", "--schema-only")
        self.assertEqual(latest("--database", "hr=back"), (people, f"latest is dump {people} of "
                         f"{self.started_at(lb, people)}; passed over, though newer: {definitions} (without database hr)"))
        dump, note = latest("--database", "shop=back")
        self.assertEqual(dump, shop)
        for passed in (f"{definitions} (schema only)", f"{orders} (of some tables only)", f"{people} (without database shop)"):
            self.assertIn(passed, note)
        dump, note = latest("--database", "shop=back", "--database", "hr=back_too")
        self.assertEqual(dump, whole)
        # Everything, also where nothing is said at all.
        shown = lb("dump", "show").ok()
        self.assertEqual(shown.json["id"], whole)
        self.assertIn(f"{people} (only hr)", shown.json["note"] + lb("dump", "show", "latest", json=False).ok().err)
        to = new_directory("out") / "files"
        self.assertEqual(lb("dump", "restore", "--to", to).ok().json["dump"], whole)
        self.assertTrue((to / "hr.dump").exists())
        self.assertEqual(lb("dump", "restore", "--globals", "only", live=True).ok().json["dump"], definitions)
        # An id is what was asked for.
        self.assertEqual(lb("dump", "show", definitions).ok().json["note"], None)
        # Of a table the newest that has its rows.
        done = lb("dump", "restore", "latest", "--table", "shop.public.orders", "--schema", "orders_back", live=True).ok().json
        self.assertEqual((done["dump"], done["tables"][0]["rows"]), (orders, 3000))
        done = lb("dump", "restore", "latest", "--database", "shop", "--table", "back.customers", "--schema", "customers_back", live=True).ok().json
        self.assertEqual((done["dump"], done["tables"][0]["rows"]), (shop, 200))
        self.assertFails(lb("dump", "restore", "latest", "--database", "shpo=back", live=True, json=False), NOT_FOUND,
                         'database "shpo": does not exist in any dump', "hr, postgres, shop", "did you mean shop?")
        self.assertFails(lb("dump", "restore", shop, "--database", "hr=back", live=True, json=False), NOT_FOUND,
                         f'database "hr": does not exist in dump {shop}; there are: shop')
        missed = lb("dump", "restore", "latest", "--database", "shop", "--table", "custmers", live=True)
        self.assertFails(missed, NOT_FOUND, "table custmers", "does not exist in database shop in dump", "did you mean back.customers?")
        # A drill proves a whole one, of whichever databases.
        self.assertEqual(lb("drill", "--dump", "latest").ok().json["backup"], people)
        # A database that is gone is missed by no later dump.
        server.psql("DROP DATABASE hr")
        newest = create()
        self.assertEqual((lb("dump", "show").ok().json["id"], lb("dump", "show").ok().json["note"]), (newest, None))

    def started_at(self, lb, dump):
        text = lb("dump", "show", dump, json=False).ok().out
        return re.search(r"(?m)^started\s+(.*)$", text)[1]

    def test_a_schema_only_dump_says_what_is_in_it(self):
        server, lb = self.shop()
        server.psql("CREATE TABLE parts (i int) PARTITION BY LIST (i); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)", "shop")
        made = lb("dump", "create", "--database", "shop", "--schema-only", live=True).ok().json
        self.assertEqual([(d["tables"], d["rows"], d["tables_defined"]) for d in made["databases"]], [(0, 0, 4)])
        listed = lb("dump", "list").ok().json["dumps"][0]
        self.assertEqual((listed["tables"], listed["rows"], listed["tables_defined"], listed["schema_only"]), (0, 0, 4, True))
        self.assertIn("schema only of 4 tables", lb("dump", "list", json=False).ok().out)
        shown = lb("dump", "show", json=False).ok().out
        self.assertIn("definitions of 4 tables, no rows were dumped", shown)
        self.assertEqual(lb("dump", "show").ok().json["databases"][0]["tables_defined"], 4)
        made = lb("dump", "create", "--database", "shop", "--schema-only", "--table", "parts*", live=True).ok().json
        self.assertEqual(made["databases"][0]["tables_defined"], 2)
        made = lb("dump", "create", "--database", "shop", live=True).ok().json
        self.assertEqual([(d["tables"], d["tables_defined"]) for d in made["databases"]], [(3, 4)])

    def test_who_may_not_read_is_told_so(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                server.psql("CREATE ROLE reader LOGIN; CREATE DATABASE closed; REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
                server.psql("CREATE SEQUENCE apart; GRANT USAGE ON SCHEMA back TO reader;"
                            "GRANT SELECT ON ALL TABLES IN SCHEMA public, back TO reader", "shop")
                pg = server.conninfo() + " user=reader"
                grant = "GRANT pg_read_all_data TO reader" if major >= 14 else "owner of everything"
                # What pg_dump says, and what we find before it.
                denied = lb("dump", "create", "--database", "shop", "--pg", pg, json=False)
                self.assertFails(denied, PERMISSION, 'database "shop": role reader may not dump it', "apart", grant)
                server.psql("REVOKE SELECT ON orders FROM reader", "shop")
                denied = lb("dump", "create", "--database", "shop", "--pg", pg, json=False)
                self.assertFails(denied, PERMISSION, 'database "shop": role reader may not dump it', "orders", grant)
                self.assertFails(lb("dump", "create", "--database", "closed", "--pg", pg, json=False), PERMISSION, 'database "closed"', "reader",
                                 "GRANT CONNECT ON DATABASE closed TO reader")
                if major >= 14:
                    server.psql("GRANT pg_read_all_data TO reader")
                    lb("dump", "create", "--database", "shop", "--pg", pg).ok()
                server.psql("GRANT SELECT ON orders TO reader; GRANT SELECT ON apart TO reader;"
                            "ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "shop")
                self.assertFails(lb("dump", "create", "--database", "shop", "--pg", pg, json=False), PERMISSION, 'database "shop"', "BYPASSRLS")

    def test_roles_that_are_missing_are_named_with_what_helps(self):
        server, lb = self.shop()
        server.psql("CREATE ROLE boss")
        server.psql("ALTER TABLE orders OWNER TO boss", "shop")
        lb("dump", "create", "--database", "shop", live=True).ok()
        other = self.cluster(15)
        pg = ("--pg", other.conninfo())
        failed = lb("dump", "restore", "latest", "--globals", "skip", *pg)
        self.assertFails(failed, FAILED, "boss", "without --globals skip", "CREATE ROLE boss", "--portable")
        self.assertEqual(other.value("SELECT count(*) FROM pg_database WHERE datname = 'shop'"), "0")
        other.psql("CREATE DATABASE shop")
        done = lb("dump", "restore", "latest", "--database", "shop", "--table", "orders", *pg).ok().json
        note = next(note for note in done["notes"] if "boss" in note)
        self.assertIn(f"CREATE ROLE boss makes it, or dump restore {done['dump']} --globals only", note)
        # What the note says helps.
        lb("dump", "restore", done["dump"], "--globals", "only", *pg).ok()
        lb("dump", "restore", "latest", "--database", "shop", "--table", "orders", "--schema", "owned", *pg).ok()
        self.assertEqual(other.value("SELECT tableowner FROM pg_tables WHERE schemaname = 'owned'", "shop"), "boss")
        # Who may not make roles is told who may.
        other.psql("DROP SCHEMA owned CASCADE", "shop")
        other.psql("DROP ROLE boss; CREATE ROLE plain LOGIN CREATEDB")
        plain = ("--pg", other.conninfo() + " user=plain")
        self.assertFails(lb("dump", "restore", "latest", "--database", "shop=again", *plain), PERMISSION, "boss", "superuser")
        other.psql("CREATE ROLE boss; ALTER ROLE plain NOCREATEDB")
        self.assertFails(lb("dump", "restore", "latest", "--database", "shop=again", *plain), PERMISSION, "making database again", "CREATEDB")

    def test_a_database_whose_owner_is_missing_is_not_left_behind(self):
        server, lb = self.shop()
        server.psql("CREATE ROLE boss; ALTER DATABASE shop OWNER TO boss")
        lb("dump", "create", "--database", "shop", live=True).ok()
        other = self.cluster(15)
        failed = lb("dump", "restore", "latest", "--globals", "skip", "--pg", other.conninfo())
        self.assertNotEqual(failed.code, 0)
        self.assertIn("boss", failed.err + failed.out)
        self.assertEqual(other.value("SELECT count(*) FROM pg_database WHERE datname = 'shop'"), "0")
        other.psql("CREATE ROLE boss")
        lb("dump", "restore", "latest", "--globals", "skip", "--pg", other.conninfo()).ok()

    def test_a_table_named_like_a_kind_of_entry_keeps_its_key(self):
        server, lb = self.shop()
        server.psql('CREATE TABLE "SUBSCRIPTIONS" (id int PRIMARY KEY); CREATE INDEX "PUBLICATION of it" ON "SUBSCRIPTIONS" (id)', "shop")
        lb("dump", "create", "--database", "shop", live=True).ok()
        lb("dump", "restore", "latest", "--database", "shop", "--table", '"SUBSCRIPTIONS"', "--schema", "apart", live=True).ok()
        self.assertEqual(server.value("SELECT count(*) FROM pg_indexes WHERE schemaname = 'apart'", "shop"), "2")

    def test_a_name_with_an_equals_sign(self):
        server, lb = self.shop()
        server.psql('ALTER DATABASE shop RENAME TO "a=b"')
        lb("dump", "create", live=True).ok()
        lb("dump", "restore", "latest", "--database", "a==b=c==d", live=True).ok()
        self.assertEqual(server.value("SELECT count(*) FROM orders", "'c=d'"), "3000")

    def test_a_table_in_the_schema_of_an_extension_is_counted(self):
        """It is dumped though the schema itself is the extension's (pg_dump.c, selectDumpableNamespace)."""
        server, lb = self.shop()
        server.psql("CREATE SCHEMA theirs; ALTER EXTENSION plpgsql ADD SCHEMA theirs; CREATE TABLE theirs.ours AS SELECT generate_series(1, 7)", "shop")
        made = lb("dump", "create", "--database", "shop", live=True).ok().json
        self.assertEqual(made["databases"][0]["rows"], 3207)

    # --- L3
    def test_nothing_that_is_there_is_touched(self):
        server, lb = self.shop()
        lb("dump", "create", live=True).ok()
        before = server.value("SELECT count(*) FROM orders", "shop")
        self.assertFails(lb("dump", "restore", "latest", live=True), CONFLICT, "shop", "--database")
        self.assertFails(lb("dump", "restore", "latest", "--database", "shop=postgres", live=True), CONFLICT, "postgres")
        self.assertFails(lb("dump", "restore", "latest", "--database", "shop=", live=True), USAGE, "OLD=NEW")
        self.assertFails(lb("dump", "restore", "latest", "--globals", "only", "--database", "shop", live=True), USAGE, "--globals")
        self.assertFails(lb("dump", "restore", "latest", "--database", "shpo", live=True), NOT_FOUND, "shop")
        self.assertFails(lb("dump", "restore", "20260101T000000Z-000000", live=True), NOT_FOUND)
        server.archive_with(lb.archive_command())
        backup = lb("backup", live=True).ok().json["backup"]
        self.assertFails(lb("dump", "restore", backup, live=True), NOT_FOUND, "physical backup", "lifeboat show and restore")
        self.assertEqual(server.value("SELECT count(*) FROM orders", "shop"), before)

    # Not: psql < file without ON_ERROR_STOP
    def test_the_first_error_ends_a_restore_and_the_half_is_dropped(self):
        server, lb = self.shop()
        server.psql("CREATE FUNCTION picky(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) >= 0 FROM public.later); END $$;"
                    "CREATE TABLE later (i int); CREATE TABLE earlier (i int CHECK (public.picky(i))); INSERT INTO earlier VALUES (1)", "shop")
        server.psql("ALTER TABLE later RENAME TO later_still; INSERT INTO orders VALUES (100000, 'x')", "shop")
        for format in ("custom", "plain", "directory"):
            lb("dump", "create", "--database", "shop", "--format", format, live=True).ok()
            self.assertFails(lb("dump", "restore", "latest", "--database", "shop=back", live=True), FAILED, "later")
            self.assertEqual(server.value("SELECT count(*) FROM pg_database WHERE datname = 'back'"), "0")

    def test_what_a_killed_restore_has_left_is_told_from_a_database(self):
        server, lb = self.shop()
        server.psql("CREATE TABLE slow AS SELECT g, repeat(md5(g::text), 8) AS what FROM generate_series(1, 200000) g;"
                    "CREATE INDEX ON slow (what); COMMENT ON DATABASE shop IS 'ours'", "shop")
        lb("dump", "create", "--database", "shop", live=True).ok()
        words = ["dump", "restore", "latest", "--database", "shop=back"]
        command = lb.background(*words, live=True)
        comment = "SELECT coalesce(max(shobj_description(oid, 'pg_database')), 'none') FROM pg_database WHERE datname = 'back'"
        wait_until(lambda: "not whole" in server.value(comment) or not command.running, "the load", interval=0.01)
        command.kill()
        self.assertFails(lb(*words, live=True), CONFLICT, "not whole", "DROP DATABASE back WITH (FORCE)")
        server.psql("DROP DATABASE back WITH (FORCE)")
        lb(*words, live=True).ok()
        self.assertEqual(server.value(comment), "ours")

    def test_a_drill_of_what_does_not_restore_fails_with_evidence(self):
        server, lb = self.shop()
        server.psql("CREATE FUNCTION picky(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) >= 0 FROM public.orders);"
                    " END $$; CREATE TABLE earlier (i int CHECK (public.picky(i))); INSERT INTO earlier VALUES (1);"
                    "ALTER TABLE orders RENAME TO orders_too", "shop")
        made = lb("dump", "create", live=True).ok().json["dump"]
        failed = lb("drill", "--dump", made)
        self.assertFails(failed, CHECK, "restore")
        self.assertIn("orders", failed.json["checks"][0]["detail"])
        self.assertFalse(lb("dump", "show", made).ok().json["drilled"]["passed"])

    def test_one_that_failed_its_drill_is_passed_over(self):
        server, lb = self.shop()
        older = lb("dump", "create", live=True).ok().json["dump"]
        newer = lb("dump", "create", live=True).ok().json["dump"]
        flip_bit(sorted(lb.repo_path.glob(f"clusters/*/*/dumps/packs/{newer}/*.data"))[-1], 80)
        self.assertFails(lb("verify"), CHECK)
        done = lb("dump", "restore", "latest", "--database", "shop=back", live=True).ok()
        self.assertEqual(done.json["dump"], older)
        self.assertIn("failed its last check", done.err)
        self.assertIn(newer, done.err)

    def test_a_server_that_is_older_than_the_dump_is_refused_before_anything_is_made(self):
        server, lb = self.shop(15)
        dump = lb("dump", "create", live=True).ok().json["dump"]
        other = self.cluster(13)
        before = other.rows("SELECT datname FROM pg_database ORDER BY 1"), other.rows("SELECT rolname FROM pg_roles ORDER BY 1")
        for options in ([], ["--portable"], ["--database", "shop", "--table", "orders"]):
            self.assertFails(lb("dump", "restore", "latest", *options, "--pg", other.conninfo()), UNSUPPORTED, dump, "is of PostgreSQL 15", "13")
        self.assertEqual((other.rows("SELECT datname FROM pg_database ORDER BY 1"), other.rows("SELECT rolname FROM pg_roles ORDER BY 1")), before)

    def test_other_counts_than_the_snapshots_are_an_error(self):
        server, lb = self.shop()
        # A row goes missing without any error: a constraint of a table that is loaded later deletes it.
        server.psql("CREATE FUNCTION eats(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
                    " IF current_database() <> 'shop' THEN DELETE FROM public.orders WHERE id = 7; END IF; RETURN true; END $$;"
                    "CREATE TABLE zz (i int CHECK (public.eats(i))); INSERT INTO zz VALUES (1)", "shop")
        lb("dump", "create", "--database", "shop", live=True).ok()
        self.assertFails(lb("dump", "restore", "latest", "--database", "shop=back", live=True), CHECK, "orders", "2999")
        self.assertEqual(server.value("SELECT count(*) FROM pg_database WHERE datname = 'back'"), "0")

    # Not: --data-only into a live table; not: pg_restore -t schema.table, which restores nothing and exits 0.
    def test_one_table_comes_beside_what_is_there_and_is_merged_on_request(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.started(major)
                self.every_object(server, "shop")
                server.psql("CREATE TABLE public.plain (id int PRIMARY KEY, t text); INSERT INTO plain SELECT g, 't' || g FROM generate_series(1, 100) g;"
                            "CREATE INDEX ON plain (t); GRANT SELECT ON plain TO clerk", "shop")
                for format in ("custom", "directory", "plain"):
                    lb("dump", "create", "--database", "shop", "--format", format, live=True).ok()
                    server.psql("DELETE FROM plain WHERE id % 2 = 0; UPDATE plain SET t = 'changed' WHERE id = 1", "shop")
                    done = lb("dump", "restore", "latest", "--database", "shop", "--table", "plain", "--table", "measured",
                              "--table", "public.orders", "--schema", f"back_{format}", "--spool", new_directory("spool"), live=True).ok().json
                    rows = {t["original"]: t["rows"] for t in done["tables"]}
                    self.assertEqual(rows['"public"."plain"'], 100)
                    self.assertEqual(rows['"public"."orders"'], 500)
                    self.assertEqual(sum(n for t, n in rows.items() if "measured" in t or "attached" in t), 400)
                    self.assertEqual(server.value(f"SELECT t FROM back_{format}.plain WHERE id = 1", "shop"), "t1")
                    self.assertEqual(server.value(f"SELECT count(*) FROM pg_indexes WHERE schemaname = 'back_{format}' AND tablename = 'plain'", "shop"), "2")
                    self.assertEqual(server.value(f"SELECT has_table_privilege('clerk', 'back_{format}.plain', 'SELECT')", "shop"), "t")
                    # The original has what it had, until a merge is asked for.
                    self.assertEqual(server.value("SELECT count(*) FROM plain", "shop"), "50")
                    merged = lb("dump", "restore", "latest", "--database", "shop", "--table", "plain", "--merge",
                                "--schema", f"merged_{format}", live=True).ok().json
                    self.assertEqual([t["merged_rows"] for t in merged["tables"]], [50])
                    self.assertEqual(server.value("SELECT t FROM plain WHERE id = 1", "shop"), "changed")
                    self.assertEqual(server.value("SELECT count(*) FROM pg_database WHERE datname LIKE 'lifeboat%'"), "0")
                    server.psql("UPDATE plain SET t = 't1' WHERE id = 1", "shop")
                self.assertFails(lb("dump", "restore", "latest", "--database", "shop", "--table", "plian", live=True), NOT_FOUND, "plian")
                self.assertFails(lb("dump", "restore", "latest", "--database", "shop", "--table", "plain", "--schema", "kept", live=True),
                                 CONFLICT, "kept")
                self.assertFails(lb("dump", "restore", "latest", "--table", "plain", live=True), USAGE, "--database")

    def test_a_drill_proves_a_dump(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.started(major)
                self.every_object(server)
                made = lb("dump", "create", live=True).ok().json["dump"]
                to = new_directory("drill") / "d"
                done = lb("drill", "--dump", "latest", "--to", to, "--jobs", "2", "--sql-database", "every",
                          "--sql", "SELECT count(*) = 303 FROM customers", "--rto", "5min").ok().json
                self.assertEqual((done["verdict"], done["backup"]), ("passed", made))
                self.assertFalse(to.exists())
                self.assertEqual({check["id"]: check["result"] for check in done["checks"]}["restore"], "passed")
                shown = lb("dump", "show", made).ok().json
                self.assertEqual((shown["drilled"]["level"], shown["drilled"]["passed"]), ("asserted", True))
                failed = lb("drill", "--dump", made, "--to", to, "--sql", "SELECT false")
                self.assertFails(failed, CHECK, "assertion")
                self.assertFalse(lb("dump", "show", made).ok().json["drilled"]["passed"])
                self.assertFails(lb("drill", "--dump", made, "--full"), USAGE, "--full")
                # A slip is no failed drill.
                before = lb("dump", "show", made).ok().json["drilled"]
                self.assertFails(lb("drill", "--dump", made, "--to", to, "--sql-database", "evry", "--sql", "SELECT true", json=False), NOT_FOUND,
                                 'database "evry": does not exist in dump', "did you mean every?")
                self.assertFalse(to.exists())
                self.assertEqual(lb("dump", "show", made).ok().json["drilled"], before)
                # Tables of the source's database postgres are asked for by that name.
                server.psql("CREATE TABLE here AS SELECT 1 AS i")
                lb("dump", "create", live=True).ok()
                lb("drill", "--dump", "latest", "--to", to, "--sql", "SELECT count(*) = 1 FROM here").ok()

    def test_a_spool_without_room_ends_a_restore_and_leaves_nothing(self):
        server, lb = self.shop()
        server.psql("CREATE TABLE wide AS SELECT g, repeat(md5(g::text), 40) AS t FROM generate_series(1, 10000) g", "shop")
        made = lb("dump", "create", "--database", "shop", live=True).ok().json
        self.assertFails(lb("dump", "restore", "latest", "--database", "shop=back", "--jobs", "2", "--spool", tmpfs(4), live=True),
                         SPACE, "--spool")
        self.assertEqual(server.value("SELECT count(*) FROM pg_database WHERE datname = 'back'"), "0")
        # One job needs none.
        done = lb("dump", "restore", "latest", "--database", "shop=back", "--jobs", "1", live=True).ok().json
        self.assertEqual(done["databases"][0]["rows"], made["databases"][0]["rows"])

    def test_files_can_be_taken_out(self):
        server, lb = self.shop()
        lb("dump", "create", "--database", "shop", live=True).ok()
        to = new_directory("out") / "files"
        lb("dump", "restore", "latest", "--to", to).ok()
        self.assertEqual(sorted(path.name for path in to.iterdir()), ["globals.sql", "shop.database.sql", "shop.dump"])
        server.psql("CREATE DATABASE by_hand TEMPLATE template0")
        run([tool("pg_restore", 15), "-e", "-d", server.conninfo("by_hand"), to / "shop.dump"])
        self.assertEqual(server.value("SELECT count(*) FROM orders", "by_hand"), "3000")

    def test_dumps_that_earlier_versions_wrote_are_restored(self):
        """tests/golden/README.md says how the repository was made."""
        repo = new_directory("golden") / "r"
        shutil.copytree(SOURCE / "tests/golden/format-1-dumps", repo)
        for path in [repo, *repo.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            give(path)
        server = self.cluster(15)
        lb = self.lifeboat(server, repo=repo, options=["--pg-bin", server.bin])
        listed = lb("dump", "list").ok().json["dumps"]
        self.assertEqual([one["format"] for one in listed], ["custom", "directory", "plain"])
        lb("verify").ok()
        for one in listed:
            lb("verify", "--backup", one["id"]).ok()
            done = lb("dump", "restore", one["id"], "--database", f"museum={one['format']}", live=True).ok().json
            self.assertIn("curator", done["roles_made"] + done["roles_there"])
            self.assertEqual(done["databases"][0]["rows"], 103)
            self.assertEqual(server.value("SELECT count(*), min(what), max(what), (SELECT string_agg(name, ',') FROM painters) FROM paintings",
                                          one["format"]), "100|painting 1|painting 99|Ana,Bea,Ćiro")
            self.assertEqual(server.value("SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = 'curator'"), "f")

    def test_versions(self):
        """Programs that are older than the server are refused; without --pg-bin the server's own are found."""
        server, lb = self.shop(17)
        old = self.lifeboat(server, repo=lb.repo_path, options=["--pg-bin", pg_bin(15)])
        self.assertFails(old("dump", "create", live=True), 12, "PostgreSQL 17")
        newer = self.lifeboat(server, repo=lb.repo_path, options=["--pg-bin", pg_bin(18)])
        self.assertIn("18", newer("dump", "create", "--database", "shop", live=True).ok().json["client"])


if __name__ == "__main__":
    main()
