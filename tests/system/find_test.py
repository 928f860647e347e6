#!/usr/bin/env python3
"""When did it happen, and is the way back that is printed the right one? Each kind of loss is made on a server, found by
`wal find` with its time and its name, and the printed restore command, run as it is printed, brings back every row.
With it what belongs to finding: `restore --before-drop` and `--before-xid`, named restore points, `wal check`.
"""

import datetime
import os
import shlex

from harness import ALL_MAJORS, Background, Cluster, SystemTest, main, new_directory, run, tool, wait_until

ROWS = 1000


def when(text):
    """A time as PostgreSQL or JSON has it."""
    text = text.replace("T", " ").replace("Z", "+00:00").replace("+00:00", "").replace("+00", "")
    return datetime.datetime.fromisoformat((text if "." in text else text + ".").ljust(26, "0"))


class FindTest(SystemTest):
    def shop(self, major, conf=None):
        """A server with a database app, a backup, and tables that were made after it too."""
        server = self.cluster(major=major, conf={"autovacuum": "off", **(conf or {})})
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE DATABASE app")
        for table in ("orders", "sessions", "customers", "prices"):
            self.fill(server, table)
        server.psql("CREATE SCHEMA stock", "app")
        for table in ("stock.bins", "stock.items"):
            self.fill(server, table)
        lb("backup", live=True).ok()
        self.fill(server, "later")
        return server, lb

    def fill(self, server, table):
        server.psql(f"CREATE TABLE {table} (id int PRIMARY KEY, what text, many text);"
                    f"INSERT INTO {table} SELECT i, 'row ' || i, repeat('x', 50) FROM generate_series(1, {ROWS}) i", "app")

    def lose(self, server, sql, database="app"):
        """Runs it in one transaction; returns what there is to find: (xid, not before, not after)."""
        before = server.now()
        xid = server.psql(f"BEGIN; {sql}; SELECT pg_current_xact_id(); COMMIT", database).split("\n")[-1]
        return int(xid), before, server.now()

    def find(self, lb, *options):
        return lb("wal", "find", "--pgdata", lb.server.data, *options).ok().json["findings"]

    def one(self, lb, loss, *options):
        """The one finding, which is this loss."""
        findings = self.find(lb, *options)
        self.assertEqual(len(findings), 1, findings)
        xid, before, after = loss
        self.assertEqual(findings[0]["xid"], xid)
        self.assertTrue(when(before) <= when(findings[0]["time"]) <= when(after), (before, findings[0], after))
        return findings[0]

    def bring_back(self, major, finding):
        """Runs the printed command as it is printed, and starts what it made."""
        line = finding["restore_command"]
        run(["sh", "-c", line], env={"HOME": None})
        words = shlex.split(line)
        copy = Cluster.attach(words[words.index("--to") + 1], major, start=True)
        return copy.wait_recovered()

    def assertWhole(self, copy, table, database="app"):
        self.assertEqual(copy.value(f"SELECT count(*), count(DISTINCT what), sum(id) FROM {table}", database),
                         f"{ROWS}|{ROWS}|{ROWS * (ROWS + 1) // 2}", table)

    def names(self, tables):
        return [(one["database"], one["schema"], one["table"]) for one in tables]

    # --- each kind of loss

    def test_losses_are_found_and_the_printed_command_brings_every_row_back(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                self.lose_everything(major)

    def lose_everything(self, major):
        server, lb = self.shop(major)
        losses = {}
        losses["drop"] = self.lose(server, "DROP TABLE orders")
        losses["truncate"] = self.lose(server, "TRUNCATE sessions")
        losses["delete"] = self.lose(server, f"DELETE FROM customers WHERE id <= {ROWS * 9 // 10}")
        losses["update"] = self.lose(server, "UPDATE prices SET what = 'gone'")
        losses["schema"] = self.lose(server, "DROP SCHEMA stock CASCADE")
        losses["later"] = self.lose(server, "DROP TABLE later")
        # What looks like a loss and is none.
        self.fill(server, "innocent")
        server.psql("VACUUM FULL innocent", "app")
        server.psql("REINDEX TABLE innocent; ALTER TABLE innocent ADD COLUMN c timestamptz DEFAULT clock_timestamp()", "app")
        server.psql("BEGIN; DROP TABLE innocent; ROLLBACK", "app")
        server.psql("BEGIN; CREATE TABLE passing (i int); INSERT INTO passing VALUES (1); TRUNCATE passing; "
                    "DROP TABLE passing; COMMIT", "app")
        server.wait_archived()

        found = {
            "drop": self.one(lb, losses["drop"], "--dropped", "orders"),
            "truncate": self.one(lb, losses["truncate"], "--truncated"),
            "delete": self.one(lb, losses["delete"], "--deletes-over", "80%"),
            "update": self.one(lb, losses["update"], "--updates-over", str(ROWS)),
            "schema": self.one(lb, losses["schema"], "--dropped", "stock.bins"),
            "later": self.one(lb, losses["later"], "--dropped", "app.public.later"),
        }
        self.assertEqual(self.names(found["drop"]["dropped"]), [("app", "public", "orders")])
        self.assertEqual(self.names(found["truncate"]["truncated"]), [("app", "public", "sessions")])
        self.assertEqual(self.names(found["delete"]["changed"]), [("app", "public", "customers")])
        self.assertEqual(self.names(found["update"]["changed"]), [("app", "public", "prices")])
        self.assertEqual(found["schema"]["dropped_schemas"], ["stock"])
        self.assertEqual(self.names(found["later"]["dropped"]), [("app", "public", "later")])
        deleted = found["delete"]["changed"][0]
        self.assertTrue(ROWS * 9 // 10 - 16 <= deleted["deleted"] <= ROWS * 9 // 10, deleted)
        self.assertAlmostEqual(deleted["rows_before"], ROWS, delta=ROWS // 20)

        dropped = self.find(lb, "--dropped")
        self.assertEqual([one["xid"] for one in dropped], [losses[name][0] for name in ("drop", "schema", "later")])
        self.assertEqual(sorted(self.names(dropped[1]["dropped"])), [("app", "stock", "bins"), ("app", "stock", "items")])
        self.assertEqual(self.find(lb, "--dropped", "innocent"), [])

        for name, tables in {"drop": ["orders"], "truncate": ["sessions"], "delete": ["customers"], "update": ["prices"],
                             "schema": ["stock.bins", "stock.items"], "later": ["later"]}.items():
            copy = self.bring_back(major, found[name])
            for table in tables:
                self.assertWhole(copy, table)
            copy.stop("immediate")
        self.other_ways(lb, losses, found)

    def other_ways(self, lb, losses, found):
        """The same transactions by their id, their time and their size; without names; and as text."""
        by_xid = self.one(lb, losses["delete"], "--xid", str(losses["delete"][0]))
        self.assertEqual(by_xid["changed"][0]["deleted"], ROWS * 9 // 10)
        self.assertEqual(by_xid["commit_lsn"], found["delete"]["commit_lsn"])
        around = self.find(lb, "--around", found["truncate"]["time"], "--within", "1min", "--limit", "3")
        self.assertEqual(len(around), 3)
        self.assertIn(losses["truncate"][0], [one["xid"] for one in around])
        busiest = self.find(lb, "--busiest", "50")
        self.assertIn(losses["update"][0], [one["xid"] for one in busiest])
        self.assertEqual(self.find(lb, "--dropped", "--until", losses["drop"][1]), [])
        self.assertEqual([one["xid"] for one in self.find(lb, "--dropped", "--since", losses["later"][1])],
                         [losses["later"][0]])
        text = lb("wal", "find", "--dropped", "orders", json=False).ok().out
        self.assertIn("dropped table public.orders in database app", text)
        self.assertIn(f"--target-lsn {found['drop']['target_lsn']} --exclusive", text)

    def test_what_stands_in_a_tail_is_found(self):
        """The table was dropped a second ago, and its segment is not full yet."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                receiver = Background(lb.argv("wal", "receive", "--pg", server.conninfo()))
                self.addCleanup(receiver.kill)
                server.switch_wal()
                server.wait_archived()
                expected = server.rows("SELECT * FROM orders ORDER BY id", "app")
                loss = self.lose(server, "DROP TABLE orders")
                server.psql("INSERT INTO sessions VALUES (-1, 'after', '')", "app")
                lsn = server.value("SELECT pg_current_wal_flush_lsn()")
                wait_until(lambda: server.value(f"SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{lsn}'") == "1",
                           "the tail")
                found = self.one(lb, loss, "--dropped", "orders")
                to = new_directory("copy") / "data"
                lb("restore", "--to", to, "--before-drop", "orders", "--pg-bin", server.bin, "--action", "promote").ok()
                copy = Cluster.attach(to, major).start().wait_recovered()
                self.assertEqual(copy.rows("SELECT * FROM orders ORDER BY id", "app"), expected)
                copy.stop()
                receiver.stop()

    def test_small_tables_are_watched_too(self):
        server, lb = self.shop(self.majors()[0])
        server.psql("CREATE TABLE few AS SELECT i FROM generate_series(1, 20) i", "app")
        server.psql("CREATE TABLE counted AS SELECT i FROM generate_series(1, 20) i", "app")
        loss = self.lose(server, "DELETE FROM few WHERE i < 19")
        server.psql("DELETE FROM counted WHERE i < 3", "app")
        # A subtransaction's rows are its transaction's.
        within = self.lose(server, "DELETE FROM customers WHERE id < 300; SAVEPOINT s; DELETE FROM customers WHERE id < 600")
        server.wait_archived()
        self.one(lb, loss, "--deletes-over", "90%", "--table", "few")
        self.one(lb, within, "--deletes-over", "500")
        self.assertEqual(self.find(lb, "--deletes-over", "90%", "--table", "counted"), [])

    def test_names_come_from_page_images_too(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                kinds = ("off", "on") if major < 15 else ("off", "pglz", "lz4", "zstd")
                losses = {}
                for kind in kinds:
                    server.configure(wal_compression=kind).reload()
                    server.checkpoint()
                    self.fill(server, f"made_{kind}")
                    server.checkpoint().psql(f"ALTER TABLE made_{kind} RENAME TO called_{kind}", "app")
                    losses[kind] = self.lose(server.checkpoint(), f"DROP TABLE called_{kind}")
                server.psql("VACUUM FULL pg_class", "app")
                server.wait_archived()
                for kind in kinds:
                    self.one(lb, losses[kind], "--dropped", f"called_{kind}")
                self.assertEqual(self.find(lb, "--dropped", f"made_{kinds[0]}"), [])
                unseen = self.lose(server, "TRUNCATE sessions")
                server.wait_archived()
                told = lb("wal", "find", "--dropped").ok()
                self.assertEqual(told.json["findings"][-1]["xid"], unseen[0])
                self.assertIn("pg_class of database app was rewritten", told.err)

    def test_a_dropped_database_is_found_and_comes_back_usable(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                before = server.now()
                server.psql("DROP DATABASE app")
                server.wait_archived()
                findings = self.find(lb, "--dropped", "app")
                self.assertEqual(len(findings), 1, findings)
                self.assertEqual(findings[0]["dropped_database"], "app")
                self.assertTrue(when(before) <= when(findings[0]["time"]) <= when(server.now()))
                copy = self.bring_back(major, findings[0])
                self.assertWhole(copy, "orders")
                self.assertWhole(copy, "later")

    def test_a_history_that_forked_is_followed(self):
        server, lb = self.shop(self.majors()[0])
        server.wait_archived()
        data = new_directory("fork") / "data"
        lb("restore", "--to", data, "--target", "latest", "--archive-mode", "keep").ok()
        server.stop("immediate")
        copy = Cluster.attach(data, server.major, start=True).wait_recovered()
        copy.checkpoint()
        loss = self.lose(copy, "DROP TABLE later")
        copy.wait_archived()
        found = self.one(lb, loss, "--dropped")
        self.assertIn("--timeline 2", found["restore_command"])
        self.assertWhole(self.bring_back(server.major, found), "later")
        self.assertEqual(lb("wal", "find", "--dropped", "--timeline", "1").ok().json["findings"], [])
        self.assertFails(lb("wal", "find", "--dropped", "--timeline", "9"), 4, "timeline 9")

    # --- restore finds it by itself

    def test_restore_stops_before_what_it_is_told(self):
        server, lb = self.shop(self.majors()[0])
        first = self.lose(server, "DROP TABLE later")
        self.fill(server, "later")
        server.psql("INSERT INTO later VALUES (0, 'one more', '')", "app")
        second = self.lose(server, "DROP TABLE later")
        orders = self.lose(server, "DROP TABLE orders")
        server.wait_archived()

        place = new_directory("k")
        to = new_directory("to") / "data"
        done = lb("restore", "--to", to, "--before-drop", "orders", "--action", "promote", "--start", "--port", "6100",
                  "--socket-dir", place).ok().json
        self.assertEqual(done["found"]["xid"], orders[0])
        self.assertIn("dropped table public.orders", done["found"]["what"])
        copy = Cluster.attach(to, server.major)
        copy.place, copy.port = place, 6100
        self.assertWhole(copy, "orders")
        copy.stop("immediate")

        several = lb("restore", "--to", new_directory("to") / "data", "--before-drop", "later")
        self.assertFails(several, 14, f"--before-xid {first[0]}", f"--before-xid {second[0]}")
        to = new_directory("to") / "data"
        done = lb("restore", "--to", to, "--before-xid", first[0], "--action", "promote").ok().json
        self.assertEqual(done["found"]["xid"], first[0])
        self.assertWhole(Cluster.attach(to, server.major, start=True).wait_recovered(), "later")
        self.assertFails(lb("restore", "--to", new_directory("to") / "data", "--before-drop", "nobody"), 4, "nobody")
        self.assertFails(lb("restore", "--to", new_directory("to") / "data", "--before-drop", "latre"), 4, "nearly that name: public.later", "lifeboat wal check")
        self.assertFails(lb("restore", "--to", new_directory("to") / "data", "--before-xid", "4000000000"), 4)
        self.assertFails(lb("restore", "--to", new_directory("to") / "data", "--before-drop", "later", "--target-xid", "7"), 2)

    # --- marks and checks

    def test_a_mark_is_come_back_to(self):
        server, lb = self.shop(self.majors()[0])
        location = server.tablespace("aside")
        server.psql("CREATE TABLE far TABLESPACE aside AS SELECT 1 AS one", "app")
        lb("backup", live=True).ok()
        # A name that was used before: it goes back to this one, and its tablespaces beside it.
        lb("mark", "before release 4.2", live=True).ok()
        server.psql("CREATE TABLE between AS SELECT 2 AS two", "app")
        mark = lb("mark", "before release 4.2", live=True).ok().json
        server.psql("DROP TABLE orders", "app")
        server.wait_archived()
        self.assertIn(f"--tablespace {location}=", mark["restore_command"])
        copy = self.bring_back(server.major, mark)
        self.assertWhole(copy, "orders")
        self.assertEqual(copy.value("SELECT two + one FROM between, far", "app"), "3")
        found = lb("wal", "find", "--dropped", "orders").ok().json["findings"][0]
        self.assertIn(f"--tablespace {location}=", found["restore_command"])
        for name in ("x" * 64, "a\nb", ""):
            self.assertFails(lb("mark", name, live=True), 2, "NAME")
        self.assertEqual(lb("mark", "x" * 63, live=True).ok().json["name"], "x" * 63)

    def test_a_check_goes_the_whole_way_and_says_what_stops_it(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.shop(major)
                check = lb("wal", "check", live=True).ok().json
                self.assertTrue(check["arrived"])
                self.assertLess(check["seconds"], 60)
                server.configure(archive_command="/nowhere/lifeboat wal push %p").reload()
                broken = lb("wal", "check", "--timeout", "3s", live=True)
                self.assertFails(broken, 9, check["segment"][:16], "archive")
                self.assertFalse(broken.json["arrived"])
                self.assertTrue(broken.json["findings"])

    # --- how long it takes

    def test_many_transactions(self):
        server, lb = self.shop(self.majors()[0], {"synchronous_commit": "off", "max_wal_size": "2GB"})
        many = 1_000_000 if os.environ.get("LIFEBOAT_SOAK") else 200_000
        server.psql("CREATE TABLE busy (id int PRIMARY KEY, n int); INSERT INTO busy SELECT i, 0 FROM generate_series(1, 1000) i;"
                    f"DO $$ BEGIN FOR i IN 1..{many} LOOP UPDATE busy SET n = n + 1 WHERE id = 1 + i % 1000; COMMIT; END LOOP;"
                    " END $$", "app", timeout=900)
        loss = self.lose(server, "DROP TABLE orders")
        server.wait_archived(timeout=600)
        for attempt in ("summaries made on the way", "summaries stored"):
            done = lb("wal", "find", "--dropped", timeout=600).ok()
            print(f"wal find --dropped over {done.json['segments']} segments, {many} transactions, {attempt}: "
                  f"{done.seconds:.1f} s", flush=True)
            self.assertEqual([one["xid"] for one in done.json["findings"]], [loss[0]])
        done = lb("wal", "find", "--xid", str(loss[0] - 1000)).ok()
        print(f"wal find --xid: {done.seconds:.1f} s", flush=True)
        self.assertEqual(done.json["findings"][0]["changed"][0]["table"], "busy")


if __name__ == "__main__":
    main()
