"""T11 and T26: a tablespace that is made during or after a backup never leads a copy into live files, and only the directory
of the server that was asked is backed up."""

import time

from harness import Cluster, SystemTest, main, new_directory, run, tree

FOREIGN, PRECONDITION = 12, 14


class Traps(SystemTest):
    def source(self):
        server = self.cluster(major=15)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE t AS SELECT g AS n, md5(g::text) AS what FROM generate_series(1, 20000) g")
        return server, lb

    def test_tablespace_made_after_the_backup_keeps_its_live_files(self):
        server, lb = self.source()
        lb("backup", live=True).ok()
        where = server.tablespace("later")
        server.psql("CREATE TABLE far TABLESPACE later AS SELECT g AS n FROM generate_series(1, 1000) g")
        server.wait_archived()
        server.checkpoint()
        before = tree(where)
        for command in (("drill", "--to", new_directory("d") / "x"), ("restore", "--to", new_directory("r") / "x", "--start")):
            refused = lb(*command)
            self.assertEqual(refused.code, PRECONDITION, refused.out)
            self.assertIn(str(where), refused.json["error"]["object"])
            self.assertEqual(tree(where), before)
        # A new backup knows it.
        lb("backup", live=True).ok()
        server.wait_archived()
        lb("drill", "--to", new_directory("d") / "x").ok()

    def test_tablespace_that_reaches_the_archive_after_the_preflight_is_not_replayed(self):
        server, lb = self.source()
        lb("backup", live=True).ok()
        server.psql("INSERT INTO t VALUES (0, 'before the preflight')")
        server.wait_archived()
        to = new_directory("r") / "x"
        lb("restore", "--to", to).ok()
        where = server.tablespace("later")
        server.psql("CREATE TABLE far TABLESPACE later AS SELECT g AS n FROM generate_series(1, 1000) g")
        server.wait_archived()
        server.checkpoint()
        before = tree(where)
        copy = Cluster.attach(to, 15, start=True).wait_recovered()
        self.assertEqual(copy.value("SELECT count(*) FROM pg_tablespace WHERE spcname = 'later'"), "0")
        self.assertEqual(copy.value("SELECT count(*) FROM t WHERE what = 'before the preflight'"), "1")
        self.assertEqual(tree(where), before)

    def test_tablespace_made_during_the_backup_is_left_to_the_wal(self):
        server, lb = self.source()
        slow = lb.background("backup", "--rate", "8MB", live=True)
        time.sleep(1.5)  # at this rate the copy takes several seconds
        where = server.tablespace("meanwhile")
        server.psql("CREATE TABLE far TABLESPACE meanwhile AS SELECT g AS n FROM generate_series(1, 1000) g")
        slow.wait()
        server.wait_archived()
        server.stop()
        moved = where.parent / (where.name + ".away")
        where.rename(moved)
        run(["mkdir", "-m", "700", where])
        to = new_directory("r") / "x"
        lb("restore", "--to", to).ok()
        copy = Cluster.attach(to, 15, start=True).wait_recovered()
        self.assertEqual(copy.value("SELECT count(*) FROM far"), "1000")

    def test_copy_of_the_data_directory_is_not_backed_up_for_the_server(self):
        server, lb = self.source()
        copy = new_directory("copy") / "data"
        run(["cp", "-r", server.data, copy])
        (copy / "postmaster.pid").unlink()
        refused = lb("backup", "--pg", server.conninfo(), "--pgdata", copy)
        self.assertEqual(refused.code, FOREIGN, refused.out)
        self.assertEqual(lb("list").ok().json["lineages"][0]["backups"], [])
        lb("backup", live=True).ok()


if __name__ == "__main__":
    main()
