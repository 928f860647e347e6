#!/usr/bin/env python3
"""The program is killed at every durable step (src/util/fault.h): whatever is left, nothing false is listed, nothing that
was acknowledged is lost, and the same command succeeds the next time.

T03 a killed backup is none; T04 a killed restore cannot start; T21 an acknowledged WAL file is there; T30 WAL arrives
whole; T37 a killed expire deletes nothing that is referred to. LIFEBOAT_SOAK=1 kills at every point of every command;
else backup and restore take the points that the seed chooses, for as long as BUDGET says. Each checker has a canary.
"""

import os
import shutil
import time

from harness import (SystemTest, Cluster, flip_bit, give, main, new_directory, rng, run, scratch, tree, verify_backup)

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
BUDGET = 20.0  # seconds for each command of which a sample is killed

# How many durable steps each command has at least, with --jobs 1. Fewer means that a step is not announced any more (or
# not made any more): then this matrix would be blind there.
MINIMUM = {"backup --type full": 45, "backup --type incr": 35, "wal push": 5, "wal get": 2, "restore": 16, "restore --replace": 18, "expire (condemn)": 14,
           "expire (delete)": 30}

KILLED = -9
MARKER = "lifeboat.restore_incomplete"


class Matrix(SystemTest):
    """One server for all; each test has a repository of its own."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Cluster(wal_segsize=1, conf={"archive_mode": "on", "archive_command": ""})
        cls.server.psql("CREATE TABLE ledger (n int PRIMARY KEY, what text);"
                        "INSERT INTO ledger SELECT g, md5(g::text) FROM generate_series(1, 2000) g")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop("immediate")
        super().tearDownClass()

    def registered(self, archive=True):
        lb = self.lifeboat(self.server)
        lb("init", "--yes", live=True).ok()
        self.archive_with(lb if archive else None)
        return lb

    def archive_with(self, lb):
        """Only the named repository gets WAL from here on."""
        self.server.configure(archive_command=lb.archive_command() if lb else "").reload()

    def backup(self, lb):
        return lb("backup", "--jobs", "1", live=True).ok().json["backup"]

    def points(self, name, command):
        """Runs command(env) to its end and returns how many points it has; prints it."""
        file = scratch() / f"count{time.monotonic_ns()}"
        command({"LIFEBOAT_FAULT_COUNT": file}).ok()
        self.assertTrue(file.exists(), f"{name} announces no durable step")
        lines = file.read_text().split()
        self.assertEqual(len(lines), 1, lines)
        count = int(lines[0])
        print(f"\n{name}: {count} durable steps", flush=True)
        self.assertGreaterEqual(count, MINIMUM[name], f"{name} announces fewer durable steps than it did")
        return count

    def kill_at(self, name, count, body, *, sample=False, first=()):
        """Calls body(value of LIFEBOAT_FAULT) for every point, before and after; with sample as often as there is time,
        the points of `first` before the others. Prints how many it was."""
        chosen = [(number, when) for number in range(1, count + 1) for when in ("before", "after")]
        if sample and not SOAK:
            rng(name).shuffle(chosen)
            chosen.sort(key=lambda one: one[0] not in first)
        started, done = time.monotonic(), 0
        for number, when in chosen:
            if sample and not SOAK and done >= 8 and time.monotonic() - started > BUDGET:
                break
            done += 1
            try:
                body(f"{number}:{when}")
            except Exception as error:
                error.add_note(f"{name} was killed {when} step {number} of {count}")
                raise
        print(f"{name}: killed {done} of {len(chosen)} times in {time.monotonic() - started:.0f} s", flush=True)

    def kill(self, command, fault):
        """Runs command(env) to its death."""
        done = command({"LIFEBOAT_FAULT": fault})
        self.assertEqual(done.code, KILLED, f"{done.out}\n{done.err}")

    # --- checkers
    def listed(self, lb):
        """The backups that list calls complete."""
        answer = lb("list").ok().json
        for lineage in answer["lineages"]:
            self.assertEqual(lineage["problems"], [])
        return {backup["id"] for lineage in answer["lineages"] for backup in lineage["backups"]
                if backup["state"] == "complete"}

    def assertSound(self, lb):
        """Everything listed is whole by verify; leftovers may lie about, damage may not. Returns verify's document."""
        listed = self.listed(lb)
        done = lb("verify", "--jobs", "1")
        self.assertEqual(done.code, 0, f"verify: {done.out}\n{done.err}")
        answer = done.json
        self.assertTrue(answer["ok"])
        self.assertEqual((answer["damage"], answer["unknown_objects"]), ([], []))
        self.assertEqual({backup["id"] for backup in answer["backups"] if backup["passed"]}, listed)
        return answer

    def assertWalThere(self, lb, files):
        """files is {name: content}, each acknowledged."""
        target = new_directory("got") / "file"
        for name, content in files.items():
            lb("wal", "get", name, target).ok()
            self.assertEqual(target.read_bytes(), content, name)
        shutil.rmtree(target.parent)

    def assertRestores(self, lb, backup):
        """A backup can be brought back, and PostgreSQL's own manifest check accepts it."""
        to = new_directory("check") / "data"
        lb("restore", "--to", to, "--backup", backup, "--target", "immediate", "--jobs", "1").ok()
        verify_backup(to, self.server.major)
        shutil.rmtree(to.parent)

    def assertCannotStart(self, directory):
        """A single-user server recovers what there is, finds no input and ends; or it says why it cannot."""
        done = run([self.server.bin / "postgres", "--single", "-D", directory, "postgres"], check=False, timeout=60)
        self.assertNotEqual(done.code, 0)


class Backup(Matrix):
    def test_killed_backup_is_none(self):  # T03
        self.kill_backups("full")

    def test_killed_incremental_backup_is_none(self):
        self.kill_backups("incr")

    def kill_backups(self, kind):
        lb = self.registered(archive=False)  # the backup stores its WAL itself, always the same number of files
        backup = lambda env=None: lb("backup", "--type", kind, "--jobs", "1", live=True, env=env)
        acknowledged = [self.backup(lb)]

        def counted(env):
            done = backup(env).ok()
            acknowledged.append(done.json["backup"])
            return done
        count = self.points(f"backup --type {kind}", counted)
        # How many directories and WAL files there are to make differs a little from run to run.
        late = range(count - 7, count + 1)

        def killed(fault):
            number = int(fault.split(":")[0])
            done = backup({"LIFEBOAT_FAULT": fault})
            if done.code == 0:
                self.assertIn(number, late, "the backup did not come to this step")
                acknowledged.append(done.json["backup"])
            else:
                self.assertEqual(done.code, KILLED, done.err)
            listed = self.listed(lb)
            self.assertLessEqual(set(acknowledged), listed)
            unacknowledged = listed - set(acknowledged)
            if unacknowledged:  # it died when it was committed and could not say so any more
                self.assertIn(number, late, "committed long before its end")
                self.assertEqual(len(unacknowledged), 1)
                self.assertRestores(lb, *unacknowledged)
                acknowledged.extend(unacknowledged)
            acknowledged.append(self.backup(lb))
            self.assertEqual(self.listed(lb), set(acknowledged))
            self.assertSound(lb)
            if len(acknowledged) > 8:
                prune()

        def prune():
            lb("expire", "--keep-count", "1", "--grace", "0", "--yes").ok()
            del acknowledged[:-1]
            self.assertEqual(self.listed(lb), set(acknowledged))
            self.assertSound(lb)
        self.kill_at(f"backup --type {kind}", count, killed, sample=True, first=late)
        prune()
        self.assertRestores(lb, *acknowledged)

    def test_canary_a_referenced_pack_is_gone(self):
        lb = self.registered()
        self.backup(lb)
        self.assertSound(lb)
        packs = [path for path in lb.objects() if path.endswith(".data")]
        self.assertTrue(packs)
        (lb.repo_path / packs[0]).unlink()
        with self.assertRaises(AssertionError):
            self.assertSound(lb)
        with self.assertRaises(AssertionError):
            self.assertRestores(lb, "latest")


class Push(Matrix):
    def finished(self):
        name = self.server.switch_wal()
        return name, (self.server.data / "pg_wal" / name).read_bytes()

    def push(self, lb, name, env=None):
        return lb("wal", "push", f"pg_wal/{name}", "--state-dir", self.state, cwd=self.server.data, env=env)

    def setUp(self):
        super().setUp()
        self.state = new_directory("state")

    def test_killed_push_acknowledged_nothing_and_can_be_repeated(self):  # T21
        lb = self.registered(archive=False)
        stored = {}

        def first(env):
            name, content = self.finished()
            done = self.push(lb, name, env)
            stored[name] = content
            return done
        first({}).ok()  # makes directories
        count = self.points("wal push", first)

        def killed(fault):
            name, content = self.finished()
            self.kill(lambda env: self.push(lb, name, env), fault)
            self.assertWalThere(lb, stored)
            target = new_directory("got") / "file"
            got = lb("wal", "get", name, target)
            self.assertIn(got.code, (0, 1), got.err)
            if got.code == 0:
                self.assertEqual(target.read_bytes(), content)
            self.assertSound(lb)
            self.push(lb, name).ok()
            stored[name] = content
            self.assertWalThere(lb, stored)
        self.kill_at("wal push", count, killed)

        # The first file of a repository makes directories too.
        lb = self.registered(archive=False)
        name, content = self.finished()
        empty = new_directory("whole-")
        renew(lb.repo_path, empty)
        count = self.points("wal push", lambda env: self.push(lb, name, env))

        def killed_first(fault):
            renew(empty, lb.repo_path)
            self.kill(lambda env: self.push(lb, name, env), fault)
            self.push(lb, name).ok()
            self.assertWalThere(lb, {name: content})
        self.kill_at("wal push", count, killed_first)

    def test_canary_an_acknowledged_file_is_gone(self):
        lb = self.registered(archive=False)
        name, content = self.finished()
        self.push(lb, name).ok()
        self.assertWalThere(lb, {name: content})
        [path] = [path for path in lb.objects() if f"/{name}-" in path]
        (lb.repo_path / path).unlink()
        with self.assertRaises(AssertionError):
            self.assertWalThere(lb, {name: content})

    def test_killed_get_leaves_nothing_half(self):  # T30
        lb = self.registered(archive=False)
        name, content = self.finished()
        self.push(lb, name).ok()
        target = new_directory("got") / "RECOVERYXLOG"
        get = lambda env=None: lb("wal", "get", name, target, env=env)
        for before in (None, b"what an earlier recovery left"):
            def prepare():
                for path in target.parent.iterdir():
                    path.unlink()
                if before is not None:
                    target.write_bytes(before)
                    give(target)
            prepare()
            count = self.points("wal get", get)

            def killed(fault):
                prepare()
                self.kill(get, fault)
                there = target.read_bytes() if target.exists() else None
                self.assertIn(there, (before, content))
                get().ok()
                self.assertEqual(target.read_bytes(), content)
            self.kill_at("wal get", count, killed)
        self.assertSound(lb)


class Restore(Matrix):
    def ready(self):
        lb = self.registered()
        self.backup(lb)
        self.server.psql("UPDATE ledger SET what = what")
        self.server.wait_archived()
        return lb

    def assertSameTree(self, directory, wanted, but=""):
        """Apart from backup_manifest, which says when it was written."""
        found = tree(directory)
        self.assertEqual({path: (found.get(path), wanted.get(path)) for path in found.keys() | wanted.keys()
                          if found.get(path) != wanted.get(path) and path not in (but, "backup_manifest")}, {})

    def test_killed_restore_cannot_start_and_starts_over(self):  # T04
        lb = self.ready()
        to = new_directory("restored") / "data"
        restore = lambda env=None: lb("restore", "--to", to, "--jobs", "1", env=env)
        restore().ok()  # makes directories in the repository
        shutil.rmtree(to)
        count = self.points("restore", restore)
        wanted = tree(to)
        verify_backup(to, self.server.major)
        shutil.rmtree(to)
        came_to_its_end = []

        def killed(fault):
            self.kill(restore, fault)
            if (to / "global" / "pg_control").exists():
                # Only when everything else is durable; the marker may be left.
                self.assertSameTree(to, wanted, but=MARKER)
                came_to_its_end.append(fault)
            elif to.exists():
                self.assertCannotStart(to)
            again = restore()
            if again.code == 14 and came_to_its_end[-1:] == [fault]:  # finished, and so not overwritten
                self.assertIn("not empty", again.out)
                self.assertSameTree(to, wanted, but=MARKER)
                (to / MARKER).unlink(missing_ok=True)
            else:
                again.ok()
                self.assertSameTree(to, wanted)
            verify_backup(to, self.server.major)
            self.assertSound(lb)
            shutil.rmtree(to)
        self.kill_at("restore", count, killed, sample=True, first=range(count - 8, count + 1))
        self.assertTrue(came_to_its_end, "no kill came after the end of the copy")

    def test_canaries_of_the_tree_checks(self):
        lb = self.ready()
        to = new_directory("restored") / "data"
        lb("restore", "--to", to, "--jobs", "1").ok()
        wanted = tree(to)
        flip_bit(to / "base" / "1" / "PG_VERSION", 0)
        with self.assertRaises(AssertionError):
            self.assertSameTree(to, wanted)
        flip_bit(to / "base" / "1" / "PG_VERSION", 0)
        self.assertSameTree(to, wanted)
        with self.assertRaises(AssertionError):
            self.assertCannotStart(to)

    def test_killed_replace_keeps_the_old_cluster_whole(self):  # T35
        lb = self.ready()
        self.server.stop()
        try:
            self._replace(lb)
        finally:
            self.server.start()

    def _replace(self, lb):
        place = new_directory("place")
        data = place / "data"
        old = tree(self.server.data)

        def prepare():
            for path in place.iterdir():
                shutil.rmtree(path)
            run(["cp", "-a", self.server.data, data])
        replace = lambda env=None: lb("restore", "--replace", "--pgdata", data, "--yes", "--jobs", "1", env=env)
        prepare()
        replace().ok()  # rescues WAL into the repository, which is done once
        prepare()
        count = self.points("restore --replace", replace)
        verify_backup(data, self.server.major)

        def killed(fault):
            prepare()
            self.kill(replace, fault)
            self.assertTrue(self.holds(place, old), os.listdir(place))
            replace().ok()
            verify_backup(data, self.server.major)
            self.assertTrue(self.holds(place, old), os.listdir(place))
            self.assertEqual([path.name for path in place.iterdir() if ".new-" in path.name], [])
            self.assertSound(lb)
        self.kill_at("restore --replace", count, killed, sample=True, first=range(count - 7, count + 1))
        (next(path for path in place.iterdir() if tree(path) == old) / "PG_VERSION").unlink()
        self.assertFalse(self.holds(place, old), "canary")

    def holds(self, place, wanted):
        """Some directory of a place is exactly what it was."""
        return any(tree(path) == wanted for path in place.iterdir())


class Expire(Matrix):
    def test_killed_expire_deletes_nothing_that_is_kept(self):  # T37
        lb = self.registered()
        gone = {self.backup(lb), self.backup(lb)}
        self.server.psql("UPDATE ledger SET what = what || 'x'")
        kept = {self.backup(lb)}
        self.server.wait_archived()
        self.archive_with(None)
        full = new_directory("whole-")
        renew(lb.repo_path, full)
        expire = lambda env=None, grace="0": lb("expire", "--keep-count", "1", "--grace", grace, "--yes", env=env)
        expire().ok()
        self.assertEqual(self.listed(lb), kept)
        self.assertSound(lb)
        final = self.lasting(lb)
        self.assertLess(len(final), len(self.lasting_of(full)))

        # First phase: what expires is condemned, and readable still.
        renew(full, lb.repo_path)
        everything = self.lasting_of(full)
        count = self.points("expire (condemn)", lambda env: expire(env, "1h"))
        self.assertEqual(self.lasting(lb), self.lasting_of(full))

        def killed_condemning(fault):
            renew(full, lb.repo_path)
            self.kill(lambda env: expire(env, "1h"), fault)
            self.assertEqual(self.lasting(lb), self.lasting_of(full))
            self.assertBetween(lb, kept, gone)
            expire(grace="1h").ok()
            # What was condemned with a grace keeps it, whatever a later run says.
            expire().ok()
            self.assertEnd(lb, kept, everything)
        self.kill_at("expire (condemn)", count, killed_condemning)

        # Both phases in one run, with the deletions.
        renew(full, lb.repo_path)
        count = self.points("expire (delete)", expire)

        def killed_deleting(fault):
            renew(full, lb.repo_path)
            self.kill(expire, fault)
            self.assertBetween(lb, kept, gone)
            expire().ok()
            self.assertEnd(lb, kept, final)
        self.kill_at("expire (delete)", count, killed_deleting)
        self.assertRestores(lb, *kept)
        # Canary: a kept backup that lost its manifest is noticed by the same check.
        [manifest] = [path for path in lb.objects() if "/manifests/" in path]
        (lb.repo_path / manifest).unlink()
        with self.assertRaises(AssertionError):
            self.assertBetween(lb, kept, gone)

    def assertBetween(self, lb, kept, gone):
        """Kept backups are listed and whole; of the others those that are listed are whole."""
        listed = self.listed(lb)
        self.assertLessEqual(kept, listed)
        self.assertLessEqual(listed, kept | gone)
        self.assertSound(lb)

    def assertEnd(self, lb, kept, final):
        """What is kept is listed, and the same objects are left as without a kill."""
        self.assertEqual(self.listed(lb), kept)
        self.assertEqual(self.lasting(lb), final)

    def lasting(self, lb):
        return self.lasting_of(lb.repo_path)

    def lasting_of(self, directory):
        """Objects but those that say who works here and what was proven."""
        return sorted(path for path, what in tree(directory).items() if what[0] == "file" and
                      not any(f"/{kind}/" in f"/{path}" for kind in ("leases", "tombstones", "evidence")))


def renew(source, target):
    """Puts a copy of source in the place of target's content."""
    for path in target.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(["cp", "-a", f"{source}/.", target])


if __name__ == "__main__":
    main()
