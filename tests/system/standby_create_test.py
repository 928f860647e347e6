"""standby create: a standby from the repository streams from the primary, has its rows, and takes over from it (H1)."""

from harness import (Cluster, SystemTest, amcheck, dump_compare, main, new_directory, wait_until)

USAGE, CONFIG, FOREIGN = 2, 3, 12


class StandbyCreate(SystemTest):
    def source(self, major, options=()):
        server = self.cluster(major=major)
        lb = self.lifeboat(server, options=options)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE ledger (n int, what text);"
                    "CREATE TABLE big AS SELECT g AS n, md5(g::text) AS what FROM generate_series(1, 20000) g")
        lb("backup", live=True).ok()
        return server, lb

    def say(self, server, what):
        server.psql(f"INSERT INTO ledger (n, what) SELECT coalesce(max(n), 0) + 1, '{what}' FROM ledger")

    def said(self, server):
        return server.value("SELECT string_agg(what, ',' ORDER BY n) FROM ledger")

    def create(self, lb, to, *options, **how):
        return lb("standby", "create", "--to", to, "--pg-bin", lb.server.bin, *options, **how)

    def attach(self, to, major, done):
        standby = Cluster.attach(to, major)
        standby.place, standby.port = done["recovery"]["socket_directory"], done["recovery"]["port"]
        return standby

    def caught_up(self, primary, standby):
        lsn = primary.lsn()
        wait_until(lambda: standby.value(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "a standby that caught up")

    def conninfo(self, server):
        return f"host={server.place} port={server.port} user=postgres application_name=second"

    def test_it_streams_has_the_same_rows_and_takes_over(self):
        """T43, T29, H1; the repository ends before the primary's newest transactions."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                server.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                server.wait_archived()
                lb("backup", live=True).ok()
                server.psql("ALTER SYSTEM SET synchronous_standby_names = ''")
                server.reload()
                # From here on only the primary's pg_wal has it.
                server.psql("ALTER SYSTEM SET archive_command = 'false'")
                server.reload()
                self.say(server, "not archived")
                server.switch_wal()
                self.say(server, "nor this")
                to, sockets = new_directory("standby") / "data", new_directory("k")
                options = ["--primary", self.conninfo(server), "--primary-slot", "second", "--port", 6100 + major, "--socket-dir", sockets]
                self.create(lb, to, *options, "--dry-run").ok()
                self.assertEqual(server.value("SELECT count(*) FROM pg_replication_slots"), "0")
                self.assertFalse(to.exists())
                done = self.create(lb, to, *options, "--start").ok().json
                self.assertTrue(done["slot_created"])
                self.assertEqual(done["streaming"]["slot"], "second")
                self.assertEqual(done["recovery"]["phase"], "read_only")
                standby = self.attach(to, major, done)
                self.caught_up(server, standby)
                self.assertEqual(self.said(standby), "not archived,nor this")
                self.assertEqual(server.value("SELECT slot_type || ' ' || active FROM pg_replication_slots"), "physical true")
                self.assertEqual(server.value("SELECT application_name FROM pg_stat_replication"), "second")
                for name, value in (("recovery_target_timeline", "latest"), ("synchronous_standby_names", ""),
                                    ("archive_mode", "on"), ("primary_slot_name", "second")):
                    self.assertEqual(standby.value(f"SHOW {name}"), value)
                self.assertIn("wal get %f %p --standby", standby.value("SHOW restore_command").replace('"', ""))
                self.assertTrue((to / "standby.signal").exists())
                self.assertFalse((to / "recovery.signal").exists())
                self.say(server, "streamed")
                self.caught_up(server, standby)
                dump_compare(server, standby)
                # The failover: it archives from then on, and its commits wait for nobody.
                server.psql("ALTER SYSTEM RESET archive_command")
                server.reload()
                server.wait_archived()
                server.stop()
                standby.promote()
                standby.psql("INSERT INTO ledger (n, what) VALUES (100, 'on the new primary')", timeout=30)
                standby.wait_archived()
                self.assertTrue([name for name in lb.objects() if "00000002.history" in name])
                self.assertEqual(self.said(standby), "not archived,nor this,streamed,on the new primary")
                amcheck(standby)
                standby.stop()

    def test_without_a_primary_it_follows_the_repository(self):
        for major in self.majors():
            with self.subTest(major=major):
                key = new_directory("key") / "key"
                server, lb = self.source(major, options=["--key-file", key])
                to, sockets = new_directory("standby") / "data", new_directory("k")
                done = self.create(lb, to, "--managed").ok().json
                self.assertIsNone(done["streaming"])
                self.assertIn("pg_ctl", done["next_command"])
                self.assertNotIn("synchronous_standby_names", (to / "postgresql.auto.conf").read_text())
                standby = Cluster.attach(to, major, start=True)
                self.say(server, "later")
                server.wait_archived()
                wait_until(lambda: standby.psql("SELECT what FROM ledger", check=False).out.strip() == "later",
                           "what was archived later", 60)
                self.assertEqual(standby.value("SELECT pg_is_in_recovery()"), "t")
                standby.stop()
                del sockets

    def test_refusals_and_no_slot_left_behind(self):
        """T26; a password in --primary; a slot that nobody uses holds the primary's WAL for ever."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                to = new_directory("standby") / "data"
                secret = "host=/x password=geheim"
                refused = self.create(lb, to, "--primary", secret)
                self.assertNotEqual(refused.code, 0)
                self.assertNotIn("geheim", refused.out + refused.err)
                stranger = self.cluster(major=major)
                self.assertFails(self.create(lb, to, "--primary", self.conninfo(stranger), "--primary-slot", "second"), FOREIGN,
                                 "--primary")
                self.assertFails(self.create(lb, to, "--primary-slot", "second"), USAGE, "--primary")
                self.assertFails(self.create(lb, to, "--primary", self.conninfo(server), "--primary-slot", "No Slot"), USAGE)
                self.assertFalse(to.exists())
                # The restore fails after the slot was made.
                pack = next(lb.repo_path / name for name in lb.objects() if name.endswith(".data"))
                content = pack.read_bytes()
                with open(pack, "r+b") as file:
                    file.seek(len(content) // 2)
                    file.write(bytes(byte ^ 1 for byte in content[len(content) // 2:len(content) // 2 + 4096]))
                failed = self.create(lb, to, "--primary", self.conninfo(server), "--primary-slot", "second")
                self.assertNotEqual(failed.code, 0)
                self.assertEqual(server.value("SELECT count(*) FROM pg_replication_slots"), "0")
                pack.write_bytes(content)
                self.create(lb, to, "--primary", self.conninfo(server), "--primary-slot", "second").ok()
                self.assertEqual(server.value("SELECT count(*) FROM pg_replication_slots"), "1")
                # One that is there is used.
                other = new_directory("other") / "data"
                done = self.create(lb, other, "--primary", self.conninfo(server), "--primary-slot", "second").ok().json
                self.assertFalse(done["slot_created"])
                for code in (refused.code, failed.code):
                    self.assertLess(code, 126)


if __name__ == "__main__":
    main()
