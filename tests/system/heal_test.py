#!/usr/bin/env python3
"""Damaged blocks are found, and rebuilt from a backup and WAL byte for byte; what cannot be shown to be right is not
written (SH1)."""

import struct

from harness import MOUNTER, SystemTest, amcheck, checksums, flip_bit, main, new_directory

NOT_FOUND, PRECONDITION, CHECK_FAILED = 4, 14, 17
PAGE = 8192


def meant(data):
    """A relation's bytes without those that mean nothing: the hole in the middle of each page, where replay has zeros and a
    server what was there before, and the checksum over it."""
    pages = bytearray(data)
    for start in range(0, len(pages), PAGE):
        lower, upper = struct.unpack_from("<HH", pages, start + 12)
        pages[start + 8:start + 10] = bytes(2)
        pages[start + lower:start + upper] = bytes(upper - lower)
    return bytes(pages)


class HealTest(SystemTest):
    def source(self, major, **how):
        server = self.cluster(major, **how)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE t (n int PRIMARY KEY, what text); INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 20000) g")
        lb("backup", live=True).ok()
        # Changed after the backup, so that WAL is needed. Hint bits are set without WAL; after the last two every page is in WAL as it is.
        server.psql("UPDATE t SET what = 'new' WHERE n % 7 = 0; INSERT INTO t SELECT g, 'late' FROM generate_series(20001, 25000) g;"
                    "SELECT count(what) FROM t; CHECKPOINT; VACUUM FREEZE t")
        return server, lb

    def path_of(self, server, relation):
        return server.psql(f"SELECT pg_relation_filepath('{relation}')").strip()

    def heal(self, lb, *options, user=MOUNTER):
        return lb("heal", "blocks", "--pgdata", lb.server.data, "--pg-bin", lb.server.bin, *options, user=user)

    def damage(self, server, *places):
        for path, block in places:
            for byte in (200, 4100, 8000):
                flip_bit(server.data / path, block * PAGE + byte)

    def test_heap_and_index_blocks_come_back_byte_for_byte(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                table, index = self.path_of(server, "t"), self.path_of(server, "t_pkey")
                digest = server.psql("SELECT count(*), sum(hashtext(t::text)) FROM t")
                server.stop()
                whole = {path: (server.data / path).read_bytes() for path in (table, index)}
                clean = self.heal(lb).ok().json
                self.assertEqual(clean["damaged"], [])
                self.assertGreater(clean["blocks"], 500)
                self.damage(server, (table, 3), (table, 4), (index, 2))
                places = sorted([(table, 3), (table, 4), (index, 2)])

                found = self.heal(lb)
                self.assertFails(found, CHECK_FAILED, "3 damaged blocks")
                self.assertEqual(sorted((block["file"], block["block"]) for block in found.json["damaged"]), places)

                beside = new_directory("healed") / "beside"
                made = self.heal(lb, "--to", beside).ok().json["rebuilt"]
                for path in (table, index):
                    self.assertTrue(meant((beside / path).read_bytes()) == meant(whole[path]), path)
                    self.assertTrue(meant((server.data / path).read_bytes()) != meant(whole[path]), "the data directory is not touched")
                self.assertTrue(all(block["different_bytes"] >= 3 for block in made["blocks"]), made)

                kept = new_directory("healed") / "kept"
                damaged = (server.data / table).read_bytes()
                self.heal(lb, "--to", kept, "--in-place", "--yes").ok()
                for path in (table, index):
                    self.assertTrue(meant((server.data / path).read_bytes()) == meant(whole[path]), path)
                self.assertEqual((kept / "damaged" / f"{table}.block-3").read_bytes(), damaged[3 * PAGE:4 * PAGE])
                again = self.heal(lb, "--block", f"{table}:3", "--to", kept)
                self.assertFails(again, PRECONDITION, "is not empty")
                trail = [one for one in lb("heal", "log", "--state-dir", new_directory("state")).ok().json["records"]]
                self.assertEqual([(one["action"], one["outcome"]) for one in trail], [("blocks", "done"), ("blocks", "done"), ("blocks", "failed")])
                self.assertIn("3 of 3 blocks rebuilt", trail[1]["says"])
                self.assertIn("in place", trail[1]["says"])
                checksums(server)
                server.start()
                amcheck(server)
                self.assertEqual(server.psql("SELECT count(*), sum(hashtext(t::text)) FROM t"), digest)

    def test_a_running_server_is_looked_at_but_not_touched(self):
        server, lb = self.source(self.majors()[0])
        table = self.path_of(server, "t")
        server.psql("CHECKPOINT")
        self.damage(server, (table, 5))
        found = self.heal(lb)
        self.assertFails(found, CHECK_FAILED, "damaged block")
        self.assertEqual([(block["file"], block["block"]) for block in found.json["damaged"]], [(table, 5)])
        self.assertTrue(found.json["running"])
        refused = self.heal(lb, "--to", new_directory("healed") / "x", "--in-place", "--yes")
        self.assertFails(refused, PRECONDITION, "a server runs there")

    def test_without_checksums_a_named_block_is_rebuilt(self):
        server, lb = self.source(self.majors()[0], checksums=False)
        table = self.path_of(server, "t")
        server.stop()
        whole = (server.data / table).read_bytes()
        self.damage(server, (table, 3))
        self.assertEqual(self.heal(lb).ok().json["damaged"], [], "the header is whole")
        self.heal(lb, "--block", f"{table}:3", "--to", new_directory("healed") / "x", "--in-place", "--yes").ok()
        healed = (server.data / table).read_bytes()
        different = [n for n in range(3 * PAGE, 4 * PAGE) if healed[n] != whole[n]]
        # Without checksums hint bits are set without WAL, so the copy may lack some.
        self.assertNotIn(3 * PAGE + 8000, different)
        server.start()
        amcheck(server)

    def amcheck(self, lb, *options):
        return lb("heal", "blocks", "--amcheck", "--pg", lb.server.conninfo(), "--pgdata", lb.server.data, *options)

    def item(self, path, block, number):
        """Where item `number` of a page begins in the file, by its line pointer (ItemIdData: offset 15 bits, flags 2, length 15)."""
        with open(path, "rb") as file:
            file.seek(block * PAGE + 24 + 4 * (number - 1))
            pointer = struct.unpack("<I", file.read(4))[0]
            self.assertEqual(pointer >> 15 & 3, 1, "a row is there")
            return block * PAGE + (pointer & 0x7FFF)

    def flip(self, path, place, bits):
        with open(path, "r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ bits]))

    def test_wrong_content_is_found_by_amcheck_and_rebuilt(self):
        """No checksum tells, and the page's header is whole: a row's header and a key of an index are wrong."""
        for major in self.two_majors((14, 15, 16, 17, 18)):
            with self.subTest(major=major):
                server, lb = self.source(major, checksums=False)
                table, index = self.path_of(server, "t"), self.path_of(server, "t_pkey")
                refused = self.amcheck(lb)
                self.assertFails(refused, PRECONDITION, "no database has the extension", "CREATE EXTENSION amcheck")
                self.assertEqual(server.value("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'"), "0")
                server.psql("CREATE EXTENSION amcheck; CREATE TABLE held (n int); CREATE DATABASE other")
                clean = self.amcheck(lb).ok()
                self.assertEqual((clean.json["damaged"], clean.json["amcheck"]["findings"], clean.json["next_commands"]), ([], [], []))
                self.assertEqual(clean.json["amcheck"]["without_extension"], ["other"])
                self.assertGreater(clean.json["amcheck"]["tables"], 50)
                self.assertIn("CREATE EXTENSION amcheck", clean.err)

                server.stop()
                whole = {path: (server.data / path).read_bytes() for path in (table, index)}
                # t_hoff of a row, where its data begins; the key of an entry.
                self.flip(server.data / table, self.item(server.data / table, 3, 5) + 22, 1)
                self.flip(server.data / index, self.item(server.data / index, 2, 9) + 8 + 2, 0x10)
                server.start()
                session = server.session()
                session.execute("BEGIN")
                session.execute("LOCK TABLE held")
                found = self.amcheck(lb)
                self.assertFails(found, CHECK_FAILED, "1 damaged block")
                self.assertEqual([(one["file"], one["block"], one["state"]) for one in found.json["damaged"]], [(table, 3, "ok")])
                findings = {one["kind"]: one for one in found.json["amcheck"]["findings"]}
                self.assertEqual(sorted(findings), ["index", "table"], found.json["amcheck"])
                self.assertEqual((findings["table"]["relation"], findings["table"]["blocks"], findings["table"]["database"]),
                                 ("public.t", [3], "postgres"))
                self.assertEqual((findings["index"]["relation"], findings["index"]["file"], findings["index"]["repair"]),
                                 ("public.t_pkey", index, "REINDEX INDEX CONCURRENTLY public.t_pkey"))
                self.assertEqual(findings["index"]["blocks"], [2])
                self.assertEqual([(one["relation"], "lock timeout" in one["why"]) for one in found.json["amcheck"]["not_checked"]],
                                 [("public.held", True)], "the others are checked all the same")
                self.assertIn("REINDEX INDEX CONCURRENTLY public.t_pkey", found.json["next_commands"][0])
                self.assertIn(f"--block {table}:3 --to DIR", found.json["next_commands"][1])
                self.assertFails(self.amcheck(lb, "--relation", "held"), CHECK_FAILED, "could not be checked", "lock timeout")
                session.close()
                text = lb("heal", "blocks", "--amcheck", "--pg", server.conninfo(), "--pgdata", server.data, "--relation", "t", json=False)
                self.assertFails(text, CHECK_FAILED, "postgres.public.t_pkey", "REINDEX INDEX", f"{table}:3", "content")
                self.amcheck(lb, "--relation", "postgres.public.held").ok()
                self.assertFails(self.amcheck(lb, "--relation", "nothing"), NOT_FOUND, "nothing")
                alone = self.amcheck(lb, "--relation", "t_pkey")
                self.assertEqual([one["kind"] for one in alone.json["amcheck"]["findings"]], ["index"])

                server.stop()
                # The block that the index's message names comes back the same way.
                self.heal(lb, "--block", f"{table}:3", "--block", f"{index}:2", "--to", new_directory("healed") / "x", "--in-place", "--yes").ok()
                for path in (table, index):
                    self.assertTrue(meant((server.data / path).read_bytes()) == meant(whole[path]), path)
                server.start()
                self.assertEqual(self.amcheck(lb).ok().json["amcheck"]["findings"], [])

    def test_amcheck_and_checksums_name_the_same_block_once(self):
        server, lb = self.source(max(self.majors((14, 15, 16, 17, 18))))
        table = self.path_of(server, "t")
        server.psql("CREATE EXTENSION amcheck; CHECKPOINT")
        server.stop()
        self.damage(server, (table, 3), (table, 7))
        server.start()
        found = self.amcheck(lb)
        self.assertFails(found, CHECK_FAILED, "2 damaged blocks")
        self.assertEqual([(one["file"], one["block"]) for one in found.json["damaged"]], [(table, 3), (table, 7)])
        blocks = [(one["relation"], one["blocks"]) for one in found.json["amcheck"]["findings"] if one["kind"] == "table"]
        self.assertEqual(sorted(blocks), [("public.t", [3]), ("public.t", [7])], "the server stops at the first")
        other = self.cluster(server.major)
        asked = lb("heal", "blocks", "--amcheck", "--pg", other.conninfo(), "--pgdata", server.data)
        self.assertFails(asked, PRECONDITION, "another server works there")

    def test_13_can_check_indexes_only_and_says_so(self):
        server, lb = self.source(max(self.majors((13,))))
        server.psql("CREATE EXTENSION amcheck")
        found = self.amcheck(lb).ok()
        self.assertIn("13 has no verify_heapam", found.err)
        self.assertEqual(found.json["amcheck"]["tables"], 0)
        self.assertGreater(found.json["amcheck"]["indexes"], 50)

    def test_a_copy_of_another_state_is_not_believed(self):
        """A page beside the damaged one that WAL does not explain: the two are not one state, and nothing is written."""
        server, lb = self.source(self.majors()[0])
        table = self.path_of(server, "t")
        server.stop()
        with open(server.data / table, "r+b") as file:
            file.seek(4 * PAGE)
            lsn = file.read(8)
            file.seek(4 * PAGE)
            file.write(lsn[:4] + bytes([lsn[4] ^ 8]) + lsn[5:])
        self.damage(server, (table, 3))
        before = (server.data / table).read_bytes()
        refused = self.heal(lb, "--block", f"{table}:3", "--to", new_directory("healed") / "x", "--in-place", "--yes")
        self.assertFails(refused, CHECK_FAILED, "could not be rebuilt", "not the same state")
        self.assertEqual((server.data / table).read_bytes(), before)


if __name__ == "__main__":
    main()
