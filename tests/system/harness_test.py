"""The harness itself: servers of every major start, crash and end, and each oracle has a canary that it must catch."""

import os
import unittest

import harness
from harness import Cluster, SystemTest, amcheck, checksums, dump_compare, flip_bit, main, run, tool, tree


class HarnessTest(SystemTest):
    needs_lifeboat = False

    def test_server_survives_a_crash_and_ends_with_its_sessions(self):
        for major in self.majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                self.assertEqual(int(server.value("SHOW server_version_num")) // 10000, major)
                server.psql("CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 1000) g")
                session = server.session()
                session.execute("BEGIN; INSERT INTO t VALUES (-1)")
                self.assertEqual(session.execute("SELECT count(*) FROM t"), "1001")
                server.kill9()
                self.assertFalse(server.running)
                server.start()
                self.assertEqual(server.rows("SELECT count(*), min(n) FROM t"), [["1000", "1"]])
                pid = server.pid
                server.stop()
                # It takes its pid file away first, and ends a moment later.
                harness.wait_until(lambda pid=pid: not harness._alive(pid), "the end of the server")
                checksums(server)

    def test_oracles_accept_a_good_copy_and_catch_a_bad_one(self):
        for major in self.majors():
            with self.subTest(major=major):
                server = self.cluster(major=major)
                server.psql("CREATE TABLE t (n int PRIMARY KEY, s text); INSERT INTO t SELECT g, repeat(md5(g::text), 4)"
                            " FROM generate_series(1, 3000) g; CREATE ROLE someone")
                copy = harness.new_directory("copy") / "data"
                run([tool("pg_basebackup", major), "-d", server.conninfo(), "-D", copy, "-c", "fast", "-X", "stream"])
                harness.verify_backup(copy, major)
                restored = Cluster.attach(copy, major, start=True)
                dump_compare(server, restored)
                amcheck(restored)
                restored.psql("UPDATE t SET s = 'changed' WHERE n = 1500")
                with self.assertRaises(AssertionError):
                    dump_compare(server, restored)
                path = copy / restored.value("SELECT pg_relation_filepath('t')")
                restored.stop()
                checksums(restored)
                flip_bit(path, 8192 + 4000)
                with self.assertRaises(AssertionError):
                    checksums(restored)

    def test_segment_size_group_access_and_checksums_are_as_asked(self):
        for major in self.majors():
            with self.subTest(major=major):
                server = self.cluster(major=major, wal_segsize=1, group_access=True, checksums=False)
                self.assertEqual(server.value("SHOW wal_segment_size"), "1MB")
                self.assertEqual(server.value("SHOW data_checksums"), "off")
                self.assertEqual(os.stat(server.data).st_mode & 0o777, 0o750)

    def test_archiving_is_waited_for(self):
        server = self.cluster()
        archive = harness.new_directory("archive")
        server.archive_with(f"cp %p {archive}/%f")
        segment = server.wait_archived()
        self.assertIn(segment, os.listdir(archive))

    def test_tree_sees_a_changed_byte(self):
        place = harness.new_directory("tree")
        (place / "file").write_bytes(b"abc")
        before = tree(place)
        flip_bit(place / "file", 1)
        self.assertNotEqual(tree(place), before)
        flip_bit(place / "file", 1)
        self.assertEqual(tree(place), before)


if __name__ == "__main__":
    main()
