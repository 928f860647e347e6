#!/usr/bin/env python3
"""T04, T34, T35: the power is cut while a restore writes, and after it said that it was done; plain, over what is there by
block, and in the place of what is kept aside, with a tablespace each. Done, it is whole after a cut at any later moment. Before
that nothing starts there, or what starts is whole, old or new; the same command makes it new; and what is kept aside is whole.

It takes less than a minute; LIFEBOAT_SOAK=1 cuts more often, on every file system."""
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import Cluster, amcheck, checksums, main  # noqa: E402
from system.power_cut_test import FAR, SOAK, PowerCase  # noqa: E402
from system.power_disk import PowerDisk, start_writing  # noqa: E402

MORE = 20 if SOAK else 2
# Its lines come as the files were written; and the note that a restore has begun, which PostgreSQL does not look at.
IGNORED = {"backup_manifest", "lifeboat.restore_incomplete"}


class PowerCutRestoreTest(PowerCase):
    def on_file_systems(self, name, story):
        for self.major in self.majors():
            self.backup(self.major)
            for file_system in self.file_systems(name, most=1):
                with self.subTest(major=self.major, file_system=file_system):
                    self.chance = harness.rng(f"{name} {self.major} {file_system}")
                    self.disk = PowerDisk(file_system)
                    self.data = self.disk.path / "data"
                    story()

    # --- what is there
    def trees(self, data=None):
        """Of the data directory and its tablespace; None for what is not there."""
        return [harness.tree(path) if path.exists() else None for path in (data or self.data, self.disk.path / FAR)]

    def differences(self, one, other):
        """Names; not of what is kept in a tablespace, which has the time of its restore."""
        found = []
        for left, right in zip(one, other):
            if left is None or right is None:
                found += [] if left is right else ["everything"]
                continue
            found += [name for name in sorted({*left, *right} - IGNORED)
                      if left.get(name) != right.get(name) and not name.startswith("lifeboat.old-")]
        return found

    def assert_one_of(self, new, old):
        now = self.trees()
        # What was being made beside it carries its marker, or had no name yet, and the next restore clears it.
        differences = [[name for name in self.differences(tree, now) if not name.startswith(("lifeboat.new-", ".tmp-"))]
                       for tree in (new, old)]
        self.assertIn([], differences, "a server would start on what is neither new nor old")

    def starts(self):
        return (self.data / "global/pg_control").exists()

    # --- a restore on a disk that is logged
    def restored(self, *words):
        """Runs it to its end on the disk; (position when it was done, position of the log's end, what is there)."""
        self.disk.switch_on()
        try:
            self.restore(*words)
            done, whole = self.disk.position, self.trees()
            for top in (self.data, self.disk.path / FAR):
                for directory, _, names in os.walk(top):
                    for name in names:
                        start_writing(os.path.join(directory, name))
            time.sleep(1.5)  # the file system's own commit
            return done, self.disk.end_log(), whole
        finally:
            self.disk.switch_off()

    def restore(self, *words):
        self.lb("restore", *words, "--pg-bin", harness.pg_bin(self.major)).ok()

    def cuts(self, done, end):
        """Positions: at the end, later, and before."""
        return [done, *(self.chance.randint(done, end) for _ in range(MORE)), *(self.chance.randint(0, done - 1) for _ in range(2 * MORE))]

    def cut(self, at, done, end):
        image = self.disk.place / "cut"
        how = self.disk.cut(at, image, self.chance)
        print(f"  {self.disk.kind}: done at {done} of {end}; cut at {how}", flush=True)
        return self.disk.looked_at(image)

    def works(self):
        """A server comes up on what the last cut left, and everything in it is whole."""
        copy = Cluster.attach(self.data, self.major, start=True, conf={"fsync": "off", "archive_mode": "off"}).wait_recovered()
        self.assertEqual("40000", copy.value("SELECT count(*) FROM account"))
        amcheck(copy)
        copy.stop()
        checksums(copy)

    # --- the three of them
    def test_into_an_empty_place(self):
        self.on_file_systems("restore", self.anew)

    def anew(self):
        words = ["--to", self.data, *self.mapping(self.data)]
        done, end, whole = self.restored(*words)
        for at in self.cuts(done, end):
            with self.cut(at, done, end):
                if at < done and not self.starts():
                    self.restore(*words)
                self.assertEqual([], self.differences(whole, self.trees()))

    def older(self):
        """A state that is there already: restored, worked on, stopped; with what only it has."""
        self.disk.switch_on()
        self.restore("--to", self.data, *self.mapping(self.data))
        copy = Cluster.attach(self.data, self.major, start=True, conf={"fsync": "off"}).wait_recovered()
        copy.psql("UPDATE account SET pad = repeat('w', 150) WHERE id % 3 = 0; DROP TABLE emptied; DELETE FROM shrink WHERE id > 900;"
                  "CREATE TABLE own TABLESPACE far AS SELECT * FROM still WHERE id < 30000; VACUUM shrink; CHECKPOINT")
        copy.stop()
        old = self.trees()
        self.disk.switch_off()
        # What is on the disk when the restore begins.
        self.disk.keep()
        return old

    def test_over_what_is_there_by_block(self):
        self.on_file_systems("delta", self.by_block)

    def by_block(self):
        old = self.older()
        words = ["--delta", "--to", self.data, "--yes"]
        done, end, whole = self.restored(*words)
        self.assertNotEqual([], self.differences(old, whole))
        states = {"old": 0, "new": 0, "unfinished": 0}
        cuts, before, after = self.cuts(done, end), 0, done
        while cuts:
            at = cuts.pop(0)
            with self.cut(at, done, end):
                if self.starts():
                    self.assert_one_of(whole, old if at < done else whole)
                state = "unfinished" if not self.starts() else "new" if not self.differences(whole, self.trees()) else "old"
                states[state] += 1
                if at < done:
                    before, after = (max(before, at), after) if state == "old" else (before, min(after, at))
                if at >= done:
                    self.assertEqual([], self.differences(whole, self.trees()))
                else:
                    self.restore(*words)
                    self.assertEqual([], self.differences(whole, self.trees()))
                if at == done:
                    self.works()
            if not cuts and not states["unfinished"] and before + 1 < after:
                cuts.append((before + after) // 2)  # chance missed it: it lies between them
        print(f"  {self.disk.kind}: {states}", flush=True)
        self.assertGreater(states["unfinished"], 0)

    def test_in_the_place_of_what_is_kept(self):
        self.on_file_systems("replace", self.replaced)

    def replaced(self):
        old = self.older()
        words = ["--replace", "--pgdata", self.data, *self.mapping(self.data), "--yes"]
        done, end, whole = self.restored(*words)
        for at in self.cuts(done, end):
            with self.cut(at, done, end):
                if self.starts():
                    self.assert_one_of(whole, old if at < done else whole)
                if at < done and self.differences(whole, self.trees()):
                    self.restore(*words)
                self.assertEqual([], self.differences(whole, self.trees()))
                self.assert_kept(old)
                if at == done:
                    self.works()

    def assert_kept(self, old):
        """What was there is somewhere beside it, as it was."""
        kept = [path for path in self.disk.path.iterdir() if path.name.startswith("data.")]
        self.assertTrue(kept, os.listdir(self.disk.path))
        found = []
        for path in kept:
            # Its link leads to the tablespace that is kept with it.
            link = next((path / "pg_tblspc").iterdir())
            far = harness.tree(link.resolve()) if link.exists() else {}
            now = [harness.tree(path), {name: what for name, what in far.items() if not name.startswith("lifeboat.")}]
            found.append([name for name in self.differences(old, now) if not name.startswith("pg_tblspc/")])
        self.assertIn([], found)


if __name__ == "__main__":
    main()
