"""lifeboat expire on a real repository: what it says is what goes, what is kept still restores, and nothing goes without
a policy, without consent or before its grace (RT1, RT2)."""

import harness
from harness import SystemTest, dump_compare, main, new_directory

NOT_CONFIRMED, NOT_FOUND, CONFIG = 21, 4, 3


class ExpireCase(SystemTest):
    def source(self, backups=3, **how):
        server = self.cluster(**how)
        lb = self.lifeboat(server)
        lb("init", "--yes", "--apply", live=True).ok()
        server.restart()
        server.psql("CREATE TABLE t (n int PRIMARY KEY, s text)")
        made = [self.back_up(server, lb) for _ in range(backups)]
        # The last backup's .backup file is archived behind it.
        harness.wait_until(lambda: not list((server.data / "pg_wal/archive_status").glob("*.ready")), "an empty backlog")
        return server, lb, made

    def back_up(self, server, lb):
        server.psql("INSERT INTO t SELECT coalesce(max(n), 0) + 1, repeat('x', 200) FROM t")
        server.wait_archived()
        return lb("backup", "--type", "full", live=True).ok().json["backup"]

    def ids(self, lb):
        return [one["id"] for lineage in lb("list").ok().json["lineages"] for one in lineage["backups"]]

    def decided(self, result):
        plan = result.json["plan"]
        return [one["id"] for one in plan["expire"]], [one["id"] for one in plan["keep"]]

    def wal_files(self, lb):
        return [name for name in lb.objects() if "/wal/" in name]


class Deciding(ExpireCase):
    def test_without_a_policy_nothing_expires(self):
        server, lb, made = self.source(2)
        before = lb.objects()
        result = lb("expire").ok()
        self.assertEqual(self.decided(result), ([], made))
        self.assertFalse(result.json["carried_out"])
        self.assertIn("no policy", lb("expire", json=False).ok().out)
        lb("expire", "--yes", "--grace", "0").ok()
        self.assertEqual(self.ids(lb), made)
        self.assertEqual(before, lb.objects())

    def test_without_consent_the_plan_is_printed_and_nothing_goes(self):
        server, lb, made = self.source(3)
        before = lb.objects()
        result = lb("expire", "--keep-count", "1")
        self.assertFails(result, NOT_CONFIRMED, "--yes")
        self.assertEqual(self.decided(result), (made[:2], made[2:]))
        self.assertFails(lb("expire", "--keep-count", "1", json=False), NOT_CONFIRMED, made[0], made[2])
        dry = lb("expire", "--keep-count", "1", "--dry-run", "--yes").ok()
        self.assertEqual(self.decided(dry), (made[:2], made[2:]))
        self.assertEqual(before, lb.objects())

    def test_newest_verified_backup_stays(self):
        """T41: the newest one may turn out to be damaged; the last that was proven is kept until a newer one is."""
        server, lb, made = self.source(1)
        lb("verify").ok()
        made += [self.back_up(server, lb) for _ in range(2)]
        result = lb("expire", "--keep-count", "1", "--yes", "--grace", "0").ok()
        self.assertEqual(self.decided(result), ([made[1]], [made[0], made[2]]))
        self.assertEqual(self.ids(lb), [made[0], made[2]])
        lb("verify").ok()
        lb("expire", "--keep-count", "1", "--yes", "--grace", "0").ok()
        self.assertEqual(self.ids(lb), [made[2]])

    def test_a_backup_that_failed_its_verification_takes_no_place(self):
        server, lb, made = self.source(3)
        lb("verify").ok()
        harness.flip_bit(next(lb.repo_path.glob(f"clusters/*/*/packs/{made[2]}/*.data")), 80)
        self.assertFails(lb("verify"), 17)
        self.assertEqual(self.decided(lb("expire", "--keep-count", "2", "--dry-run").ok()), ([], made))
        self.assertEqual(self.decided(lb("expire", "--keep-count", "1", "--dry-run").ok()), (made[:1], made[1:]))

    def test_policy_of_the_configuration_file_is_used(self):
        server, lb, made = self.source(3)
        config = new_directory("etc") / "lifeboat.toml"
        config.write_text(f"[cluster.main]\nrepo = \"{lb.repo}\"\nkeep-count = 2\n")
        config.chmod(0o644)
        result = harness.run([harness.binary(), "expire", "--config", config, "--dry-run", "--output", "json"])
        self.assertEqual(self.decided(result), (made[:1], made[1:]))

    def test_a_legal_hold_and_what_is_prescribed_stop_it(self):
        """RT1: whoever asks, and with whatever consent."""
        server, lb, made = self.source(3)
        before = lb.objects()
        config = new_directory("etc") / "lifeboat.toml"
        def expire(line, *options):
            config.write_text(f"[cluster.main]\nrepo = \"{lb.repo}\"\n{line}\n")
            config.chmod(0o644)
            return harness.run([harness.binary(), "expire", "--config", config, "--yes", "--grace", "0", *options, "--output", "json"], check=False)
        held = expire("legal-hold = true", "--keep-count", "1").ok()
        self.assertEqual(self.decided(held), (made[:2], made[2:]))
        self.assertTrue(held.json["legal_hold"])
        lifted = harness.run(["env", "LIFEBOAT_LEGAL_HOLD=false", harness.binary(), "expire", "--config", config, "--yes", "--grace", "0", "--keep-count",
                              "1", "--output", "json"])
        self.assertFalse(lifted.json["carried_out"], "the environment lifts no hold")
        self.assertFalse(held.json["carried_out"])
        self.assertFails(expire("compliance-days = 365\nkeep-days = 90"), CONFIG, "90 days", "365 days", "keep-days = 365")
        self.assertFails(expire("compliance-days = 365", "--keep-count", "1"), CONFIG, "365 days")
        self.assertEqual(before, lb.objects())
        expire("compliance-days = 365\nkeep-days = 400\npitr-days = 30").ok()
        self.assertEqual(self.ids(lb), made)

    def test_each_lineage_by_itself(self):
        server, lb, made = self.source(2)
        upgraded = self.cluster()
        new = harness.Lifeboat(upgraded, repo=lb.repo_path)
        new("init", "--yes", "--new-lineage", "--apply", live=True).ok()
        upgraded.restart()
        upgraded.psql("CREATE TABLE t (n int PRIMARY KEY, s text)")
        newer = self.back_up(upgraded, new)
        # The newest lineage is acted in, and the old one's backups stay.
        self.assertEqual(self.decided(lb("expire", "--keep-count", "1", "--dry-run").ok()), ([], [newer]))
        self.assertIn("--lineage", lb("expire", "--keep-count", "1", "--dry-run", json=False).ok().out)
        old = lb("list").ok().json["lineages"][0]["lineage"]
        result = lb("expire", "--keep-count", "1", "--dry-run", "--lineage", old).ok()
        self.assertEqual(self.decided(result), (made[:1], made[1:]))
        self.assertFails(lb("expire", "--lineage", "nonsense"), 2)


class Doing(ExpireCase):
    def test_what_is_kept_restores_and_what_went_is_gone(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb, made = self.source(4, major=major)
                wal_before = self.wal_files(lb)
                result = lb("expire", "--keep-count", "2", "--yes", "--grace", "0").ok().json
                self.assertTrue(result["carried_out"])
                self.assertGreater(result["done"]["bytes"], 0)
                self.assertEqual(self.ids(lb), made[2:])
                for gone in made[:2]:
                    self.assertFalse([name for name in lb.objects() if gone in name and "/evidence/" not in name
                                      and "/leases/" not in name])
                    self.assertFails(lb("show", gone), NOT_FOUND)
                # RT2: WAL lives exactly as long as the oldest kept backup that needs it.
                self.assertLess(len(self.wal_files(lb)), len(wal_before))
                verified = lb("verify").ok().json
                self.assertEqual(sorted(one["id"] for one in verified["backups"]), sorted(made[2:]))
                self.assertEqual(verified["unreferenced_objects"], [])
                self.assertEqual(verified["unknown_objects"], [])
                server.wait_archived()
                target = new_directory("restored") / "data"
                lb("restore", "--to", target, "--backup", made[2], "--pg-bin", server.bin).ok()
                copy = harness.Cluster.attach(target, major, start=True).wait_recovered()
                dump_compare(server, copy)

    def test_grace_lets_readers_finish(self):
        """T37: condemned is not deleted."""
        server, lb, made = self.source(3)
        before = set(lb.objects())
        lb("expire", "--keep-count", "1", "--yes").ok()
        self.assertEqual(self.ids(lb), made[2:], "condemned backups are not listed")
        self.assertLessEqual({name for name in before if "/packs/" in name or "/wal/" in name}, set(lb.objects()))
        waiting = lb("expire", "--keep-count", "1", "--yes").ok().json["plan"]
        self.assertEqual(len(waiting["waiting_for_grace"]), 1)
        self.assertEqual(waiting["deletions"], 0)
        # Shorter than a lease would rob somebody who is reading.
        short = lb("expire", "--keep-count", "1", "--yes", "--grace", "1min", json=False)
        self.assertFails(short, 3, "grace")
        self.assertEqual(short.out, "", "no plan is printed that could not be carried out")
        # A grace of 0 is for what this run condemns; the promise of the earlier run holds.
        now = lb("expire", "--keep-count", "1", "--yes", "--grace", "0", json=False).ok()
        self.assertIn("it keeps the grace of the run that condemned it", now.out)
        self.assertLessEqual({name for name in before if "/packs/" in name}, set(lb.objects()))
        lb("verify").ok()

    def test_remains_of_a_killed_backup_go(self):
        server, lb, made = self.source(1)
        server.psql("CREATE TABLE big AS SELECT g, repeat(md5(g::text), 20) AS s FROM generate_series(1, 60000) g")
        running = lb.background("backup", "--type", "full", "--rate", "4MB", live=True)
        harness.wait_until(lambda: any("/leases/backup/00000002." in name for name in lb.objects()), "a running backup", 60)
        running.kill()
        self.assertEqual(self.ids(lb), made)
        lb("verify").ok()
        lb("expire", "--keep-count", "5", "--yes", "--grace", "0").ok()
        # Temporary files of writers that died are no objects; the store clears them when they are old.
        left = [name for name in lb.objects() if "/packs/" in name and made[0] not in name and "/.tmp-" not in name]
        self.assertEqual(left, [])
        lb("verify").ok()
        self.assertEqual(len([one for lineage in lb("list", "--all").ok().json["lineages"]
                              for one in lineage["backups"] if one["state"] == "aborted"]), 1)


if __name__ == "__main__":
    main()
