#!/usr/bin/env python3
"""PR1: after a restore, indexes that are invalid or sorted by another version of a collation are listed, of every access method,
and rebuilt on request while the server works, each with its time."""

import harness  # noqa: E402
from harness import Cluster, SystemTest, amcheck, binary, main, new_directory, run, skip

CHECK_FAILED, USAGE = 17, 2


def heal(server, *options, json=True):
    return run([binary(), "heal", "indexes", "--pg", server.conninfo(), *options, *(["--output", "json"] if json else [])], check=False)


class Indexes(SystemTest):
    def source(self, major):
        server = self.cluster(major=major)
        if server.value("SELECT count(*) FROM pg_collation WHERE collname = 'en-x-icu' AND collversion IS NOT NULL") != "1":
            skip(f"PostgreSQL {major} here is built without ICU")
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql('CREATE DATABASE shop')
        server.psql('CREATE TABLE words (id int PRIMARY KEY, word text COLLATE "en-x-icu", area box, tags int[]);'
                    "INSERT INTO words SELECT g, md5(g::text), box(point(g, g), point(g + 1, g + 1)), ARRAY[g] FROM generate_series(1, 2000) g;"
                    "CREATE INDEX words_word ON words (word); CREATE INDEX words_hash ON words USING hash (word);"
                    "CREATE INDEX words_plain ON words (id) WHERE word > 'a' COLLATE \"en-x-icu\";"
                    'CREATE INDEX words_fine ON words (word COLLATE "C"); CREATE INDEX words_area ON words USING gist (area);'
                    "CREATE INDEX words_tags ON words USING gin (tags); CREATE TABLE other (n int); CREATE INDEX other_ccnew ON other (n)",
                    "shop")
        # As on another host: what was recorded is of another version; what was being built is not done.
        server.psql("SET allow_system_table_mods = on; UPDATE pg_collation SET collversion = '0.0' WHERE collname = 'en-x-icu';"
                    "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ('words_area'::regclass, 'words_tags'::regclass,"
                    " 'other_ccnew'::regclass)", "shop")
        return server, lb

    EXPECTED = {"public.other_ccnew": "leftover", "public.words_area": "invalid", "public.words_tags": "invalid",
                "public.words_hash": "collation", "public.words_plain": "collation", "public.words_word": "collation"}

    def found(self, document):
        return {one["index"]: one["doubt"] for one in document["indexes"] if one["database"] == "shop"}

    def assert_rebuilt(self, document, server):
        for one in document["indexes"]:
            self.assertTrue(one["rebuilt"], one)
            self.assertGreater(one["seconds"], 0)
        self.assertEqual({one["method"] for one in document["indexes"]}, {"btree", "gist", "gin", "hash"})
        self.assertEqual(server.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid", "shop"), "0")
        self.assertEqual(server.value("SELECT count(*) FROM pg_class WHERE relname = 'other_ccnew'", "shop"), "0")
        self.assertEqual(server.value("SELECT collversion = pg_collation_actual_version(oid) FROM pg_collation WHERE collname ="
                                      " 'en-x-icu'", "shop"), "t")

    def test_they_are_listed_and_rebuilt(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                lb("backup", live=True).ok()
                server.wait_archived()
                # A restore lists them, and says how they are rebuilt.
                to, sockets = new_directory("r") / "data", new_directory("k")
                place = ["--to", to, "--port", 6300, "--socket-dir", sockets, "--pg-bin", server.bin]
                done = lb("restore", *place, "--start").ok().json
                self.assertEqual(self.found(done), self.EXPECTED)
                self.assertFalse(any(one["rebuilt"] for one in done["indexes"]))
                copy = Cluster.attach(to, major)
                copy.place, copy.port = sockets, 6300

                listed = heal(copy)
                self.assertEqual((listed.code, self.found(listed.json)), (CHECK_FAILED, self.EXPECTED))
                held = copy.session("shop")
                held.execute("SELECT count(*) FROM words")  # somebody reads meanwhile
                self.assert_rebuilt(heal(copy, "--rebuild").ok().json, copy)
                self.assertEqual(heal(copy).ok().json["indexes"], [])
                self.assertIn("no index", heal(copy, json=False).ok().out)
                amcheck(copy)
                copy.stop()
                # And one does it by itself.
                to, sockets = new_directory("r") / "data", new_directory("k")
                place = ["--to", to, "--port", 6301, "--socket-dir", sockets, "--pg-bin", server.bin]
                self.assertEqual(lb("restore", *place, "--rebuild-indexes").code, USAGE)
                done = lb("restore", *place, "--start", "--rebuild-indexes").ok().json
                copy = Cluster.attach(to, major)
                copy.place, copy.port = sockets, 6301
                self.assertEqual(self.found(done), self.EXPECTED)
                self.assert_rebuilt(done, copy)
                self.assertGreater(done["phases"]["follow_up"], 0)
                copy.stop()

    def test_one_that_cannot_be_rebuilt_is_told(self):
        server, _ = self.source(15)
        server.psql("CREATE TABLE twice (n int); CREATE UNIQUE INDEX twice_n ON twice (n);"
                    "SET allow_system_table_mods = on; UPDATE pg_index SET indisready = false, indisvalid = false, indislive = true"
                    " WHERE indexrelid = 'twice_n'::regclass", "shop")
        server.psql("INSERT INTO twice VALUES (1), (1)", "shop")
        failed = heal(server, "--rebuild")
        self.assertEqual(failed.code, CHECK_FAILED)
        problems = {one["index"]: one["problem"] for one in failed.json["indexes"]}
        self.assertIn("could not create unique index", problems["public.twice_n"])
        self.assertIsNone(problems["public.words_word"])

    def test_vector_indexes(self):
        """pgvector's, on the first major that has it."""
        for major in (17, 18, 15):
            if not harness._look_for(major)[0]:
                continue
            server = self.cluster(major=major)
            if server.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") == "1":
                return self.rebuild_vector_index(server)
        return skip("no PostgreSQL here has the extension vector (pgvector)")

    def rebuild_vector_index(self, server):
        server.psql("CREATE EXTENSION vector; CREATE TABLE items (v vector(3)); INSERT INTO items SELECT ARRAY[g, g, g]::vector(3)"
                    " FROM generate_series(1, 1000) g; CREATE INDEX items_v ON items USING ivfflat (v vector_l2_ops);"
                    "SET allow_system_table_mods = on; UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'items_v'::regclass")
        done = heal(server, "--rebuild").ok().json
        self.assertEqual([(one["index"], one["method"], one["rebuilt"]) for one in done["indexes"]], [("public.items_v", "ivfflat", True)])


if __name__ == "__main__":
    main()
