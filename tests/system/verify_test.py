"""lifeboat verify on real repositories: whole ones pass, and whatever is flipped, cut, removed or exchanged is found.

LIFEBOAT_SOAK=1 flips 1,000 bits instead of 60 (V1)."""

import time
import contextlib
import os
import shutil
from pathlib import Path

import harness
from harness import SystemTest, flip_bit, give, main, new_directory, rng, run

CHECK_FAILED, WRONG_KEY, DAMAGED, NOT_FOUND, USAGE, PRECONDITION = 17, 11, 10, 4, 2, 14
FLIPS = 1000 if os.environ.get("LIFEBOAT_SOAK") else 60


class VerifyCase(SystemTest):
    def source(self, encrypted=True, backups=2, **how):
        server = self.cluster(**how)
        options = ["--key-file", new_directory("key") / "main.key"] if encrypted else []
        lb = self.lifeboat(server, options=options)
        lb("init", "--yes", "--apply", live=True).ok()
        server.restart()
        made = []
        for number in range(backups):
            server.psql(f"CREATE TABLE t{number} AS SELECT g, md5(g::text) AS s FROM generate_series(1, 2000) g")
            server.wait_archived()
            made.append(lb("backup", live=True).ok().json["backup"])
        server.wait_archived()
        return server, lb, made

    def verify(self, lb, *options):
        """verify of the whole repository: no cluster is named."""
        return run([harness.binary(), "verify", "--repo", lb.repo, *lb.options, "--output", "json", *options], check=False)

    def verdict(self, lb, *options):
        """The document of a run that must come to a verdict."""
        result = self.verify(lb, *options)
        self.assertIn(result.code, (0, CHECK_FAILED), result.out + result.err)
        self.assertEqual(result.json["ok"], result.code == 0)
        return result.json

    def passed(self, document):
        return {one["id"]: one["passed"] for one in document["backups"]}


class Whole(VerifyCase):
    def test_everything_is_read_and_the_verdict_is_kept(self):
        for major in self.majors():
            for encrypted in (True, False):
                with self.subTest(major=major, encrypted=encrypted):
                    server, lb, made = self.source(encrypted, major=major)
                    self.assertFails(lb("verify", "--gate", "backup_verified"), CHECK_FAILED, "never verified")
                    stored = sum(os.path.getsize(lb.repo_path / name) for name in lb.objects())
                    found = self.verdict(lb)
                    self.assertTrue(found["ok"])
                    self.assertEqual(self.passed(found), {one: True for one in made})
                    self.assertGreaterEqual(found["bytes"], stored)
                    self.assertEqual((found["damage"], found["unknown_objects"], found["unreferenced_objects"]), ([], [], []))
                    self.assertEqual(found["wal"][0]["problems"], [])
                    listed = lb("list").ok().json["lineages"][0]["backups"]
                    self.assertTrue(all(one["good"] and one["verified"]["level"] == "wal" for one in listed))
                    self.assertTrue(lb("verify", "--gate", "backup_verified").ok().json["ok"])
                    self.assertFails(lb("verify", "--gate", "recovery_tested"), CHECK_FAILED)

    def test_repository_alone_is_enough(self):
        """`verify --repo URL` means every cluster, and another cluster's damage is not overlooked."""
        server, lb, made = self.source(False, backups=1)
        other = self.cluster()
        shop = harness.Lifeboat(other, repo=lb.repo_path, cluster="shop")
        shop("init", "--yes", "--apply", live=True).ok()
        other.restart().wait_archived()
        theirs = shop("backup", live=True).ok().json["backup"]
        self.assertEqual(self.passed(self.verdict(lb)), {made[0]: True, theirs: True})
        pack = next(lb.repo_path.glob("clusters/shop/*/packs/*/*.data"))
        flip_bit(pack, os.path.getsize(pack) // 2)
        self.assertEqual(self.passed(self.verdict(lb)), {made[0]: True, theirs: False})
        self.assertTrue(self.verdict(lb, "--cluster", "main")["ok"])

    def test_one_backup_by_itself(self):
        server, lb, made = self.source()
        found = self.verdict(lb, "--backup", "latest")
        self.assertEqual(self.passed(found), {made[1]: True})
        pack = next(lb.repo_path.glob(f"clusters/*/*/packs/{made[0]}/*.data"))
        flip_bit(pack, os.path.getsize(pack) // 3)
        self.assertTrue(self.verdict(lb, "--backup", made[1])["ok"])
        self.assertFalse(self.verdict(lb, "--backup", made[0])["ok"])
        self.assertFails(lb("verify", "--backup", "20200101T000000Z-000000"), NOT_FOUND, made[1])

    def test_read_only_repository_is_verified_without_a_record(self):
        server, lb, made = self.source(False, backups=1)
        for path in [lb.repo_path, *lb.repo_path.rglob("*")]:
            path.chmod(0o500 if path.is_dir() else 0o400)
        result = lb("verify")
        self.assertEqual(result.code, 0, result.out + result.err)
        self.assertIn("not kept", result.err)
        self.assertFalse(lb("list").ok().json["lineages"][0]["backups"][0]["good"])

    def test_stop_leaves_no_verdict(self):
        server, lb, made = self.source(False, backups=1)
        running = lb.background("verify")
        running.signal(2)
        result = running.wait(60, check=False)
        # Very early the signal ends the process itself.
        self.assertIn(result.code, (0, 16, -2))
        self.assertTrue(self.verdict(lb)["ok"])


class Damaged(VerifyCase):
    def flip_and_look(self, lb, name, offset, bit):
        """What verify says with one bit flipped; the bit is flipped back."""
        path = lb.repo_path / name
        flip_bit(path, offset, bit)
        try:
            return self.verify(lb, "--jobs", "1")
        finally:
            flip_bit(path, offset, bit)

    def test_flipped_bits_at_random_places_are_all_found(self):
        for encrypted in (True, False):
            with self.subTest(encrypted=encrypted):
                server, lb, made = self.source(encrypted)
                server.stop()
                lb("verify").ok()
                # Objects that verify itself writes while it runs (leases, evidence) come on top of these.
                names = lb.objects()
                sizes = {name: os.path.getsize(lb.repo_path / name) for name in names}
                kinds = {}
                for name in names:
                    kinds.setdefault("/".join(name.split("/")[3:4]) or name.split("/")[0], []).append(name)
                random = rng(f"flips {encrypted}")
                missed = []
                for number in range(FLIPS // 2):
                    # In turn by bytes, so that large objects get their share, and by kind, so that small ones do.
                    if number % 2:
                        name = random.choice(kinds[random.choice(sorted(kinds))])
                    else:
                        name = random.choices(names, [sizes[one] for one in names])[0]
                    if sizes[name] == 0:
                        continue
                    offset, bit = random.randrange(sizes[name]), random.randrange(8)
                    result = self.flip_and_look(lb, name, offset, bit)
                    found = result.code == CHECK_FAILED and not result.json["ok"]
                    # What has to be read before anything else ends the run by itself.
                    first = name == "lifeboat.json" or name.startswith("keys/")
                    if not found and not (first and result.code in (DAMAGED, WRONG_KEY, 18)):
                        missed.append((name, offset, bit, result.code))
                self.assertEqual(missed, [])
                # The canary: what nobody vouches for is missed, so this test can fail.
                stray = lb.repo_path / "stray"
                stray.write_text("not ours")
                give(stray)
                self.assertEqual(self.flip_and_look(lb, "stray", 3, 1).code, 0)

    def test_flipped_wal_is_never_given_back(self):
        server, lb, made = self.source(backups=1)
        random = rng("wal get")
        names = [name for name in lb.objects() if "/wal/" in name]
        for _ in range(max(10, FLIPS // 20)):
            name = random.choice(names)
            path = lb.repo_path / name
            offset = random.randrange(os.path.getsize(path))
            flip_bit(path, offset)
            target = new_directory("get") / "file"
            wal = Path(name).name.rsplit("-", 1)[0]
            result = lb("wal", "get", wal, target)
            flip_bit(path, offset)
            self.assertEqual(result.code, 255, (name, offset, result.err))
            self.assertFalse(target.exists())

    def test_cut_removed_and_exchanged_objects(self):
        server, lb, made = self.source()
        lb("verify").ok()
        packs = sorted(lb.repo_path.glob(f"clusters/*/*/packs/{made[0]}/*"))
        wal = sorted(path for path in lb.repo_path.glob("clusters/*/*/wal/*/*/*"))
        manifest = next(lb.repo_path.glob(f"clusters/*/*/manifests/{made[0]}"))
        card = next(lb.repo_path.glob(f"clusters/*/*/cards/{made[0]}"))
        keep = new_directory("keep") / "copy"

        @contextlib.contextmanager
        def damaged(path):
            shutil.copy2(path, keep)
            yield path
            shutil.copy2(keep, path)
            give(path)

        for path in [*packs, manifest, card]:
            for cut in (1, 20, os.path.getsize(path)):
                with self.subTest(path=path.name, cut=cut), damaged(path):
                    os.truncate(path, max(0, os.path.getsize(path) - cut))
                    self.assertFalse(self.verdict(lb)["ok"])
            with self.subTest(path=path.name, longer=True), damaged(path):
                with open(path, "ab") as file:
                    file.write(b"x")
                self.assertFalse(self.verdict(lb)["ok"], "every byte is vouched for")
        for path in [packs[0], packs[-1], manifest]:
            with self.subTest(removed=path.name), damaged(path):
                path.unlink()
                found = self.verdict(lb)
                self.assertEqual(self.passed(found)[made[0]], False)
        with self.subTest("a pack of the other backup"), damaged(packs[0]):
            other = next(lb.repo_path.glob(f"clusters/*/*/packs/{made[1]}/{packs[0].name}"))
            shutil.copyfile(other, packs[0])
            self.assertFalse(self.verdict(lb)["ok"], "an object stands under its own name only")
        needed = [path for path in wal if path.name.startswith(lb("show", made[0]).ok().json["first_wal"] + "-")]
        self.assertEqual(len(needed), 1)
        with self.subTest("WAL that is gone"), damaged(needed[0]):
            needed[0].unlink()
            found = self.verdict(lb)
            self.assertFalse(self.passed(found)[made[0]])
        stray = lb.repo_path / "clusters" / "stray"
        stray.write_text("not ours")
        give(stray)
        found = self.verdict(lb)
        self.assertTrue(found["ok"], "a stranger's file is reported and is no damage")
        self.assertEqual(len(found["unknown_objects"]), 1)
        stray.unlink()
        self.assertTrue(self.verdict(lb)["ok"])

    def test_moments_lost_between_two_backups_are_told_until_nothing_leads_there(self):
        """Nothing can bring them back, so verify passes; but it says so, and so do doctor and status from then on."""
        server, lb, made = self.source(False)
        self.assertEqual(self.verdict(lb)["wal"][0]["lost_moments"], [])
        shown = [lb("show", one).ok().json for one in made]
        between = sorted(path for path in lb.repo_path.glob("clusters/*/*/wal/*/*/*")
                         if shown[0]["last_wal"] < path.name[:24] < shown[1]["first_wal"])
        self.assertTrue(between, "there is WAL that only recovery to a moment between them needs")
        kept = between[0].read_bytes()
        between[0].unlink()
        found = self.verdict(lb)
        self.assertTrue(found["ok"])
        lost, = found["wal"][0]["lost_moments"]
        self.assertEqual(lost["segment"], between[0].name[:24])
        self.assertLess(lost["after"], lost["until"])
        self.assertIn(f"segment {lost['segment']} is in the way", lb("verify", json=False).ok().out)
        gaps = {one["id"]: one for one in lb("status", "--owner", "dba", live=True).json["signals"]}["wal_gaps"]
        self.assertEqual(gaps["verdict"], "warning")
        self.assertIn(lost["segment"], gaps["found"])
        checks = {one["id"]: one for one in lb("doctor", live=True).json["checks"]}
        self.assertEqual(checks["wal_continuity"]["severity"], "warning", checks["wal_continuity"])
        # What is stored again is lost no longer, before anybody verifies.
        between[0].write_bytes(kept)
        give(between[0])
        gaps = {one["id"]: one for one in lb("status", "--owner", "dba", live=True).json["signals"]}["wal_gaps"]
        self.assertEqual(gaps["verdict"], "ok", gaps)
        between[0].unlink()
        lb("expire", "--keep-count", "1", "--yes", "--grace", "0s").ok()
        gaps = {one["id"]: one for one in lb("status", "--owner", "dba", live=True).json["signals"]}["wal_gaps"]
        self.assertEqual(gaps["verdict"], "ok", gaps)

    def test_verdict_is_taken_back_when_damage_is_found(self):
        server, lb, made = self.source(False)
        lb("verify").ok()
        pack = next(lb.repo_path.glob(f"clusters/*/*/packs/{made[1]}/*.data"))
        flip_bit(pack, 80)  # in its first frame: a broken footer would leave the backup whole
        self.assertFalse(self.verdict(lb)["ok"])
        good = {one["id"]: one["good"] for one in lb("list").ok().json["lineages"][0]["backups"]}
        self.assertEqual(good, {made[0]: True, made[1]: False})
        self.assertFails(lb("verify", "--gate", "backup_verified"), CHECK_FAILED, "failed")
        # T41: expiry keeps the one that is still good.
        kept = [one["id"] for one in lb("expire", "--keep-count", "1", "--dry-run").ok().json["plan"]["keep"]]
        self.assertEqual(kept, made)

    def test_a_backup_takes_nothing_over_from_a_damaged_one(self):
        """What follows a verification that failed is whole: another base, or a full backup, and it says why."""
        server, lb, made = self.source(False)
        newest = next(lb.repo_path.glob(f"clusters/*/*/packs/{made[1]}/*.data"))
        flip_bit(newest, 80)
        for options in (["--backup", "latest"], []):
            self.assertFails(lb("verify", *options), CHECK_FAILED)
        after = lb("backup", live=True).ok()
        self.assertEqual((after.json["type"], after.json["reference"]), ("incr", made[0]))
        self.assertIn(made[1], "".join(after.json["warnings"]))
        self.assertTrue(lb("verify", "--backup", "latest").ok().json["ok"])
        # The first pack is in all of them: one check of one backup says it of each.
        flip_bit(max(lb.repo_path.glob(f"clusters/*/*/packs/{made[0]}/*.data"), key=os.path.getsize), 80)
        self.assertFails(lb("verify", "--backup", made[0]), CHECK_FAILED)
        listed = lb("list").ok().json["lineages"][0]["backups"]
        self.assertEqual([one["good"] for one in listed], [False] * 3)
        self.assertFails(lb("backup", "--type", "incr", live=True), PRECONDITION, "failed its last check")
        after = lb("backup", "--prove", live=True).ok()
        self.assertEqual((after.json["type"], after.json["reference"]), ("full", None))
        self.assertIn("is a full one", "".join(after.json["warnings"]))
        self.assertTrue(lb("verify", "--backup", "latest").ok().json["ok"])
        self.assertTrue(lb("verify", "--gate", "backup_verified").ok().json["ok"])
        self.assertEqual(lb("backup", live=True).ok().json["reference"], after.json["backup"])
        target = new_directory("restored") / "data"
        self.assertEqual(lb("restore", "--to", target).ok().json["plan"]["backup"], lb("list").ok().json["lineages"][0]["backups"][-1]["id"])

    def test_key_that_does_not_open(self):
        server, lb, made = self.source(backups=1)
        other = self.lifeboat(server, repo=new_directory("r") / "repo", options=["--key-file", new_directory("key") / "k"])
        other("init", live=True).ok()
        stranger = harness.Lifeboat(server, repo=lb.repo_path, options=other.options)
        self.assertFails(stranger("verify"), WRONG_KEY)
        self.assertFails(harness.Lifeboat(server, repo=lb.repo_path)("verify"), WRONG_KEY, "no key was given")


class Gates(VerifyCase):
    def test_drill_opens_the_other_gates(self):
        server, lb, made = self.source(False, backups=1)
        drilled = lb("drill", "--pg-bin", server.bin, live=True)
        self.assertEqual(drilled.code, 0, drilled.out + drilled.err)
        self.assertTrue(lb("verify", "--gate", "recovery_tested").ok().json["ok"])
        met = lb("verify", "--gate", "rpo_rto_met", "--rto", "1h", "--rpo", "1h").ok().json
        self.assertGreater(met["rto_seconds"], 0)
        self.assertFails(lb("verify", "--gate", "rpo_rto_met", "--rto", "1ms"), CHECK_FAILED, "RTO")
        self.assertFails(lb("verify", "--gate", "recovery_tested", "--max-age", "1ms"), CHECK_FAILED, "old")
        self.assertFails(lb("verify", "--gate", "nonsense"), USAGE)
        # What the drill did not touch is damaged, and verify finds it.
        flip_bit(next(lb.repo_path.glob(f"clusters/*/*/packs/{made[0]}/*.data")), 80)
        self.assertFails(lb("verify", "--backup", made[0]), CHECK_FAILED)
        for gate in ("recovery_tested", "backup_verified"):
            self.assertFails(lb("verify", "--gate", gate), CHECK_FAILED, "failed its newest verification")


if __name__ == "__main__":
    main()
