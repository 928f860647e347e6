"""A library that the restored server would preload and this host does not have is found before a server is stopped or
anything is written or replaced (PR1)."""

import shutil

from harness import SystemTest, give, main, new_directory, run, tree

PRECONDITION = 14


class Preload(SystemTest):
    def source(self, major, setting="shared_preload_libraries", outside=False):
        """A backup of a server that preloads a library of a directory of its own."""
        server = self.cluster(major)
        self.libraries = new_directory("libraries")
        self.library = self.libraries / "harmless.so"
        libdir = run([server.bin / "pg_config", "--pkglibdir"]).out.strip()
        shutil.copy(f"{libdir}/auto_explain.so", self.library)
        give(self.library)
        settings = {"dynamic_library_path": f"{self.libraries}:$libdir", setting: "harmless"}
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.configure(**settings, archive_mode="on", archive_command=lb.archive_command())
        if outside:
            self.outside = new_directory("etc") / "postgresql.conf"
            shutil.move(server.data / "postgresql.conf", self.outside)
            server.overrides = {"config_file": self.outside}
        server.restart()
        server.psql("CREATE TABLE t AS SELECT 'good' AS what")
        lb("backup", live=True).ok()
        server.psql("UPDATE t SET what = 'later'")
        server.moment = server.now()
        server.psql("UPDATE t SET what = 'mistake'")
        server.switch_wal()
        server.wait_archived()
        return server, lb

    def in_place(self, lb, command, *options):
        server = lb.server
        return lb(*command.split(), "--pgdata", server.data, "--pg-bin", server.bin, "--port", server.port, "--socket-dir", server.place,
                  *options)

    def assertRefused(self, refused):
        self.assertFails(refused, PRECONDITION, "library harmless", str(self.libraries), "shared_preload_libraries in", "postgresql.conf",
                         "install the package", "--pg-bin")

    def test_nothing_is_stopped_and_nothing_moved(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                kept = new_directory("kept") / "harmless.so"
                shutil.move(self.library, kept)
                pid = server.pid
                rollback = ("rollback", "--target-time", server.moment, "--stop", "--yes")
                self.assertRefused(self.in_place(lb, *rollback))
                self.assertRefused(self.in_place(lb, *rollback, "--delta"))
                recover = ("recover", "--failure", "data-changed", "--target-time", server.moment, "--stop", "--yes")
                record = new_directory("record") / "r"
                self.assertRefused(self.in_place(lb, *recover, "--record", record))
                self.assertFalse(record.exists(), "nothing was touched")
                self.assertEqual((server.pid, server.value("SELECT what FROM t")), (pid, "mistake"), "it runs on")

                server.stop()
                before = tree(server.data)
                beside = sorted(server.data.parent.iterdir())
                self.assertRefused(self.in_place(lb, "restore --replace --yes"))
                self.assertRefused(self.in_place(lb, "restore --replace --start --dry-run"))
                self.assertRefused(self.in_place(lb, "restore --delta --yes"))
                self.assertRefused(self.in_place(lb, *rollback))
                self.assertEqual(tree(server.data), before)
                self.assertEqual(sorted(server.data.parent.iterdir()), beside)

                copy = new_directory("copy") / "data"
                how = ["--to", copy, "--pg-bin", server.bin, "--socket-dir", new_directory("s"), "--port", 5555]
                self.assertRefused(lb("restore", *how, "--start"))
                self.assertRefused(lb("rollback", *how, "--target-time", server.moment))
                self.assertFalse(copy.exists())
                # What is only written can be mended before it is started.
                written = lb("restore", *how).ok()
                self.assertIn("library harmless is not in", " ".join(written.json["plan"]["warnings"]))

                shutil.move(kept, self.library)
                self.in_place(lb, *rollback).ok()
                self.assertEqual((server.value("SELECT what FROM t"), server.value("SHOW shared_preload_libraries")), ("later", "harmless"))

    def test_those_of_sessions_too(self):
        server, lb = self.source(self.majors()[0], "session_preload_libraries")
        self.library.unlink()
        refused = self.in_place(lb, "rollback", "--target-time", server.moment, "--stop", "--yes")
        self.assertFails(refused, PRECONDITION, "library harmless", "session_preload_libraries", "no session")
        self.assertTrue(server.running)

    def test_in_its_place_the_configuration_of_this_host_counts(self):
        """It stays as it is, and can be changed at once."""
        server, lb = self.source(self.majors()[0], outside=True)
        server.stop()
        self.library.unlink()
        refused = self.in_place(lb, "restore --replace --start --yes")
        self.assertRefused(refused)
        self.assertIn(f"take it out of shared_preload_libraries in {self.outside}", refused.err + refused.out)
        self.assertFalse(list(server.data.parent.glob("*.old-*")))
        with open(self.outside, "a") as file:
            file.write("shared_preload_libraries = ''\n")
        self.in_place(lb, "restore --replace --start --yes").ok()
        self.assertEqual(server.value("SELECT what FROM t"), "mistake")


if __name__ == "__main__":
    main()
