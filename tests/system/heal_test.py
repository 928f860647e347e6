#!/usr/bin/env python3
"""Damaged blocks are found, and rebuilt from a backup and WAL byte for byte; what cannot be shown to be right is not
written (SH1)."""

import struct

from harness import MOUNTER, SystemTest, amcheck, checksums, flip_bit, main, new_directory

PRECONDITION, CHECK_FAILED = 14, 17
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
