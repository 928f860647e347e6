"""What stories of incremental backups share: a server with a repository, and what "restored and right" means. The copy has to
be the live server by pg_verifybackup, pg_dump, pg_amcheck with heapallindexed, pg_visibility and pg_checksums."""

import os
import re
import shutil
from pathlib import Path

from harness import Cluster, SystemTest, amcheck, checksums, dump_compare, new_directory, verify_backup

PRECONDITION = 14
BLOCK = 8192


class IncrementalCase(SystemTest):
    def source(self, major, **options):
        server = self.cluster(major, **options)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        return server, lb

    def backup(self, lb, *options):
        return lb("backup", *options, live=True).ok().json

    def incremental(self, lb, *options):
        """One that must not read everything."""
        made = self.backup(lb, *options)
        self.assertEqual((made["type"], made["reason"]), ("incr", ""), made)
        self.assertGreater(made["reference"], "")
        return made

    def restored(self, lb, made, *options):
        to = new_directory("restored") / "data"
        lb("restore", "--to", to, "--backup", made["backup"], "--target", "immediate", "--pg-bin", lb.server.bin,
           *options).ok()
        verify_backup(to, lb.server.major)
        return to

    dump_options = ()  # for pg_dump, beside those that every comparison has

    def assertIsTheServer(self, lb, made, *options):
        """The restored backup is the live server, which has not been written to since."""
        to = self.restored(lb, made, *options)
        copy = Cluster.attach(to, lb.server.major, start=True, conf={"archive_mode": "off"})
        copy.wait_paused() if not copy.recovered() else None
        copy.psql("SELECT pg_wal_replay_resume()", check=False)
        copy.wait_recovered()
        dump_compare(lb.server, copy, options=["--no-unlogged-table-data", *self.dump_options])
        self.compare_more(lb.server, copy)
        amcheck(copy)
        self.assertVisibilityMapsAreRight(copy)
        with_checksums = copy.value("SHOW data_checksums") == "on"
        copy.stop()
        if with_checksums:
            checksums(copy)
        shutil.rmtree(to.parent)

    def compare_more(self, server, copy):
        """What dump_options left out."""

    def assertVisibilityMapsAreRight(self, copy):
        for database in copy.databases():
            copy.psql("CREATE EXTENSION IF NOT EXISTS pg_visibility", database)
            wrong = copy.value(
                "SELECT count(*) FROM pg_class c, LATERAL (SELECT 1 FROM pg_check_visible(c.oid) UNION ALL "
                "SELECT 1 FROM pg_check_frozen(c.oid)) wrong WHERE relkind IN ('r', 'm', 't')", database)
            self.assertEqual(wrong, "0", f"visibility maps of {database}")

    def always_read(self, server):
        """Bytes of the files that no map decides about."""
        return sum(size for path, size in self.files(server).items() if not decided(path))

    def files(self, server):
        """{path: bytes} of the data directory and its tablespaces, but pg_wal."""
        found = {}
        for directory, names, files in os.walk(server.data, followlinks=True):
            if Path(directory) == Path(server.data):
                names.remove("pg_wal")
            for name in files:
                path = Path(directory) / name
                found[str(path.relative_to(server.data))] = path.stat().st_size
        return found

    def most_to_read(self, before, after, changed_blocks):
        """Bytes that an incremental backup may read: the files that no map decides about, new files, what grew, and
        changed blocks; of these some more, because runs that are in too many pieces are written again as a whole. before
        and after are files() at the reference and now; nothing may have been cut short in between."""
        total = 64 * BLOCK + 4 * changed_blocks * BLOCK  # the server writes by itself, too
        for path, size in after.items():
            total += size - min(size, before.get(path, 0)) if decided(path) else size
        return total


def decided(path):
    """Is it a main or init fork of a relation?"""
    return re.fullmatch(r"(base/\d+|global|pg_tblspc/.*/\d+)/\d+(_init)?(\.\d+)?", path) is not None
