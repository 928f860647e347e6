#!/usr/bin/env python3
"""Incremental backups of a relation of more than one segment file (1 GB): blocks are numbered over all of its files, a cut
below the boundary empties the second one, and what grows past it again is new (T12, T15)."""

import shutil

from harness import Cluster, main, verify_backup
from incremental_case import BLOCK, IncrementalCase

BOUNDARY = 131072  # blocks of a segment file
ROWS = BOUNDARY + 3000  # one to a block

# Never compressed, never moved out: a row fills its block.
TABLE = """
CREATE TABLE wide (n int NOT NULL, a text);
ALTER TABLE wide ALTER a SET STORAGE PLAIN;
"""
CONTENT = "rpad(md5(g::text), 7600, md5((g * 7)::text))"


class LargeRelation(IncrementalCase):
    def test_both_sides_of_the_boundary_and_a_cut_below_it(self):
        # The first gigabyte is written without WAL, before there is anything to back up.
        server = self.cluster(15, conf={"wal_level": "minimal", "max_wal_senders": 0, "shared_buffers": "256MB"})
        server.psql(f"BEGIN; {TABLE} INSERT INTO wide SELECT g, {CONTENT} FROM generate_series(1, {ROWS}) g; COMMIT;"
                    "VACUUM (FREEZE) wide; CREATE INDEX ON wide (n)", timeout=600)
        self.assertGreaterEqual(self.blocks(server), ROWS)
        server.configure(wal_level="replica", max_wal_senders=6)
        server.restart()
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        full = self.backup(lb)
        self.assertGreater(full["read_bytes"], ROWS * BLOCK)

        # On both sides; the table has as many blocks as before.
        server.psql(f"DELETE FROM wide WHERE n IN (1, {BOUNDARY - 1}, {BOUNDARY}, {BOUNDARY + 1}, {BOUNDARY + 2});"
                    f"UPDATE wide SET n = -n WHERE n IN (2, {BOUNDARY - 100}, {BOUNDARY + 100})")
        little = self.incremental(lb)
        self.assertLess(little["read_bytes"], 60_000_000)
        self.assertIsTheSame(server, lb, little)

        # VACUUM gives the second file back, and some of the first.
        server.psql(f"DELETE FROM wide WHERE ctid >= '({BOUNDARY - 500},0)'; VACUUM wide")
        self.assertLess(self.blocks(server), BOUNDARY)
        cut = self.incremental(lb)
        self.assertLess(cut["read_bytes"], 60_000_000)
        self.assertIsTheSame(server, lb, cut)

        # It grows past the boundary again, with other content in the same blocks.
        server.psql(f"INSERT INTO wide SELECT g, {CONTENT} FROM generate_series(200000, 201500) g")
        self.assertGreater(self.blocks(server), BOUNDARY)
        grown = self.incremental(lb)
        self.assertLess(grown["read_bytes"], 100_000_000)
        self.assertIsTheSame(server, lb, grown)

    def blocks(self, server):
        return int(server.value("SELECT pg_relation_size('wide') / 8192"))

    def facts(self, server):
        return server.value("SELECT count(*), sum(n), sum(hashtext(a)::bigint), sum(hashtext(a || ctid::text)::bigint),"
                            " pg_relation_size('wide') FROM wide", timeout=600)

    def assertIsTheSame(self, server, lb, made):
        """A dump of a gigabyte would be compared in memory: sums say the same here."""
        to = self.restored(lb, made)
        verify_backup(to, 15)
        copy = Cluster.attach(to, 15, start=True, conf={"archive_mode": "off"})
        copy.wait_paused() if not copy.recovered() else None
        self.assertEqual(self.facts(copy), self.facts(server))
        copy.psql("SELECT pg_wal_replay_resume()", check=False)
        copy.wait_recovered()
        copy.psql("CREATE EXTENSION amcheck; SELECT bt_index_check('wide_n_idx', true)", timeout=600)
        self.assertVisibilityMapsAreRight(copy)
        copy.stop()
        shutil.rmtree(to.parent)


if __name__ == "__main__":
    main()
