"""lifeboat list and show say what there is, and every document that the commands of the catalogue print is as its schema
says (I4)."""

import json

import harness
from harness import SystemTest, main, new_directory, run
from support import json_schema

NOT_FOUND, USAGE, CHECK_FAILED, NOT_CONFIRMED = 4, 2, 17, 21


class CatalogueTest(SystemTest):
    def source(self, major):
        server = self.cluster(major=major)
        lb = self.lifeboat(server, options=["--key-file", new_directory("key") / "main.key"])
        lb("init", "--yes", "--apply", live=True).ok()
        server.restart()
        location = server.tablespace("elsewhere")
        server.psql("CREATE DATABASE shop")
        server.psql("CREATE TABLE orders AS SELECT g, repeat(md5(g::text), 4) AS s FROM generate_series(1, 20000) g;"
                    "CREATE TABLE moved (n int) TABLESPACE elsewhere; INSERT INTO moved VALUES (1); ANALYZE", "shop")
        server.wait_archived()
        made = lb("backup", "--label", "before the release", live=True).ok().json["backup"]
        return server, lb, made, location

    def test_list_and_show_tell_what_is_there(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb, made, location = self.source(major)
                listed = lb("list").ok().json["lineages"]
                self.assertEqual([one["id"] for one in listed[0]["backups"]], [made])
                one = listed[0]["backups"][0]
                self.assertEqual((one["type"], one["state"], one["good"], one["verified"]), ("full", "complete", False, None))
                self.assertTrue(one["encrypted"] and one["key_id"] == 1)
                self.assertGreater(one["plain_bytes"], one["stored_bytes"])
                text = lb("list", json=False).ok().out
                self.assertIn(made, text)
                # The time is one that --target-time reads.
                self.assertIn(f" {one['started'][:10]} {one['started'][11:19]}+00 ", text)

                shown = lb("show", "latest").ok().json
                self.assertEqual((shown["id"], shown["label"]), (made, "before the release"))
                self.assertEqual(shown["tablespaces"][0]["location"], str(location))
                self.assertEqual(shown["tablespaces"][0]["bytes"], 8192, "one table with one page")
                self.assertIn("shop", [database["name"] for database in shown["databases"]])
                largest = shown["largest_tables"][0]
                self.assertEqual((largest["database"], largest["table"], largest["estimated_rows"]),
                                 ("shop", "orders", 20000))
                path = server.value("SELECT pg_relation_filepath('orders')", "shop")
                self.assertEqual(shown["largest_relations"][0]["path"], path)
                self.assertEqual(shown["largest_relations"][0]["bytes"],
                                 int(server.value("SELECT pg_relation_size('orders')", "shop")))
                start = server.value(f"SELECT pg_walfile_name('{shown['start_lsn']}')")
                self.assertEqual(shown["first_wal"], start)
                text = lb("show", made, json=False).ok().out
                for word in ("shop.public.orders", str(location), "before the release", start, lb.repo):
                    self.assertIn(word, text)
                self.assertFails(lb("show", "20200101T000000Z-000000"), NOT_FOUND, made)
                self.assertFails(lb("show", "nonsense"), USAGE)

                lb("verify").ok()
                one = lb("list").ok().json["lineages"][0]["backups"][0]
                self.assertTrue(one["good"] and one["verified"]["passed"])
                self.assertIn("level wal", lb("show", "latest", json=False).ok().out)

    def test_every_document_is_as_its_schema_says(self):
        schemas = json.loads(run([harness.binary(), "internal", "schemas"]).out)
        server, lb, made, _ = self.source(self.majors()[0])

        def check(result, *codes):
            self.assertIn(result.code, codes or (0,), result.out + result.err)
            document = result.json
            self.assertEqual(json_schema.problems(document, schemas[document["schema"]], schemas), [])
            return document
        check(lb("init", "--yes", live=True))
        check(lb("init", "--print-grants", live=True))
        check(lb("doctor", live=True), 0, CHECK_FAILED)
        check(lb("list", "--all"))
        check(lb("show", "latest"))
        for depth in ("present", "hashed", "wal"):
            check(lb("verify", "--depth", depth))
        check(lb("verify", "--backup", "latest"))
        for gate, code in (("backup_verified", 0), ("recovery_tested", CHECK_FAILED), ("rpo_rto_met", CHECK_FAILED)):
            check(lb("verify", "--gate", gate), code)
        check(lb("backup", live=True))
        check(lb("expire", "--keep-count", "1", "--dry-run"))
        check(lb("expire", "--keep-count", "1"), NOT_CONFIRMED)
        check(lb("expire", "--keep-count", "1", "--yes"))
        check(lb("key", "list"))
        check(lb("key", "check"))
        check(lb("key", "add", "--new-key-file", new_directory("key") / "second.key"))
        # Damage has a document too.
        pack = max(lb.repo_path.glob("clusters/*/*/packs/*/*.data"), key=lambda path: path.stat().st_size)
        harness.flip_bit(pack, 4000)
        check(lb("verify"), CHECK_FAILED)
        card = next(lb.repo_path.glob("clusters/*/*/cards/*"))
        harness.flip_bit(card, 100)
        check(lb("list"), 10)


if __name__ == "__main__":
    main()
