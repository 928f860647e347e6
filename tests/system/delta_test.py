"""restore --delta: a directory that is there is brought back by block. What comes back is what a plain restore gives,
whatever was there, and what is fetched is what differed (R3)."""

import os
import random
import shutil
import signal
import subprocess
import time

import harness
from harness import (Cluster, SystemTest, amcheck, checksums, dump_compare, flip_bit, main, new_directory, rng, run, tree,
                     verify_backup)

USAGE, DAMAGED, FOREIGN, PRECONDITION, NOT_CONFIRMED = 2, 10, 12, 14, 21
MB = 1 << 20
SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
BUDGET = 30.0  # seconds for a sample of the points at which it is killed


class DeltaCase(SystemTest):
    def source(self, major, options=(), tablespace=False, **how):
        server = self.cluster(major=major, **how)
        lb = self.lifeboat(server, options=options)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.location = server.tablespace("fast") if tablespace else None
        where = "TABLESPACE fast" if tablespace else ""
        server.psql(f"CREATE TABLE ledger (n int, what text) {where};"
                    "CREATE TABLE big AS SELECT g AS n, repeat(md5(g::text), 20) AS what FROM generate_series(1, 60000) g;"
                    "CREATE INDEX ON big (n); CREATE TABLE gone AS SELECT g AS n FROM generate_series(1, 5000) g")
        return server, lb

    def backup(self, lb, *options):
        return lb("backup", *options, live=True).ok().json["backup"]

    def restore(self, lb, *options, **how):
        return lb("restore", *options, "--pg-bin", lb.server.bin, **how)

    def delta(self, lb, *options, **how):
        return self.restore(lb, "--delta", "--pgdata", lb.server.data, "--yes", *options, **how)

    def say(self, server, what):
        server.psql(f"INSERT INTO ledger (n, what) SELECT coalesce(max(n), 0) + 1, '{what}' FROM ledger")

    def said(self, server):
        return server.value("SELECT string_agg(what, ',' ORDER BY n) FROM ledger")

    def plain(self, lb, *options):
        """What a plain restore gives."""
        to = new_directory("plain") / "data"
        self.restore(lb, "--to", to, *options).ok()
        return to

    def assertSame(self, ours, plain):
        """File by file, but for what carries the time or says where the directory is."""
        own = {"backup_manifest", "postgresql.auto.conf", "postgresql.conf"}
        one, other = ({name: what for name, what in tree(path).items() if name not in own and
                       not name.startswith("lifeboat.conf.d")} for path in (ours, plain))
        self.assertEqual(sorted(one), sorted(other))
        self.assertEqual([name for name in one if one[name] != other[name]], [])


class InPlace(DeltaCase):
    def test_only_what_differs_is_fetched_and_the_result_is_a_plain_restore(self):
        for major in self.two_majors():
            for options in ([], ["--key-file", new_directory("key") / "key"]):
                with self.subTest(major=major, encrypted=bool(options)):
                    server, lb = self.source(major, options=options)
                    self.say(server, "before")
                    backup = self.backup(lb)
                    server.psql("UPDATE big SET what = 'x' WHERE n % 10000 = 0; DROP TABLE gone;"
                                "CREATE TABLE fresh AS SELECT 1 AS n")
                    self.say(server, "after")
                    server.wait_archived()
                    server.stop()
                    immediate = ["--target", "immediate", "--backup", backup]
                    refused = self.restore(lb, "--delta", "--pgdata", server.data)
                    self.assertFails(refused, NOT_CONFIRMED, "--yes")
                    plan = self.delta(lb, *immediate, "--dry-run").ok().json["plan"]
                    self.assertTrue(plan["delta"])
                    self.assertEqual(plan["placements"][0]["path"], str(server.data))
                    done = self.delta(lb, *immediate).ok().json
                    compared = done["compared"]
                    print(f"PostgreSQL {major}: {done['bytes']} bytes, {compared}", flush=True)
                    self.assertGreater(done["bytes"], 60 * MB)
                    # A dozen changed pages of big, what the table that is gone took, WAL-logged catalogues.
                    self.assertLess(compared["fetched_bytes"], done["bytes"] // 6)
                    self.assertGreater(compared["unchanged_bytes"], done["bytes"] * 5 // 6)
                    self.assertGreater(compared["removed"], 0)
                    self.assertEqual(done["kept"], [])
                    verify_backup(server.data, major)
                    plain = self.plain(lb, *immediate)
                    self.assertSame(server.data, plain)
                    # Once more: nothing differs any more but what recovery is told.
                    again = self.delta(lb, *immediate).ok().json["compared"]
                    self.assertLess(again["fetched_bytes"], MB)
                    self.assertEqual(again["written_bytes"], again["fetched_bytes"])
                    # To the end of WAL, with archiving as it was.
                    self.delta(lb).ok()
                    server.start().wait_recovered()
                    self.assertEqual(self.said(server), "before,after")
                    self.assertEqual(server.value("SHOW archive_mode"), "on")
                    amcheck(server)
                    server.checkpoint().stop()
                    checksums(server)

    def test_damaged_directory_other_timeline_and_older_state(self):
        """Flipped bits under an unchanged size and time, lost and foreign files, links, names of two files."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major, tablespace=True)
                self.say(server, "before")
                older = self.backup(lb)
                self.say(server, "between")
                server.psql("UPDATE big SET what = 'y' WHERE n % 7 = 0")
                server.wait_archived()
                newer = self.backup(lb, "--type", "incr")
                server.wait_archived()
                server.stop()
                random_source = rng("delta damage")
                paths = [path for path in sorted((server.data / "base").rglob("*")) if path.is_file() and path.stat().st_size]
                for path in random_source.sample(paths, 20):
                    info = path.stat()
                    flip_bit(path, random_source.randrange(1 << 30))
                    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
                lost, linked, longer, twice, directory = random_source.sample(paths, 5)
                lost.unlink()
                elsewhere = new_directory("elsewhere") / "file"
                os.rename(linked, elsewhere)
                os.symlink(elsewhere, linked)
                with open(longer, "ab") as file:
                    file.write(b"x" * 100000)
                second_name = elsewhere.parent / "second"
                shutil.copyfile(twice, second_name)
                twice.unlink()
                flip_bit(second_name, 0)
                os.link(second_name, twice)
                directory.unlink()
                (directory / "below").mkdir(parents=True)
                outside = {path: path.read_bytes() for path in (elsewhere, second_name)}
                (server.data / "base" / "99999").mkdir()
                (server.data / "standby.signal").touch()
                run(["chown", "-R", "--reference", server.data, server.data / "base", second_name,
                     server.data / "standby.signal"], user="root") if os.geteuid() == 0 else None
                for backup, said in ((newer, "before,between"), (older, "before")):
                    options = ["--backup", backup, "--target", "immediate"]
                    done = self.delta(lb, *options).ok().json
                    self.assertLess(done["compared"]["written_bytes"], done["bytes"])
                    verify_backup(server.data, major)
                    plain = self.plain(lb, *options, "--tablespace", f"{server.location}={new_directory('ts')}/x")
                    ours = tree(server.data)
                    theirs = tree(plain)
                    for path in ("tablespace_map", "backup_manifest", "postgresql.auto.conf", "postgresql.conf"):
                        ours.pop(path, None)
                        theirs.pop(path, None)
                    differ = [name for name in set(ours) | set(theirs) if ours.get(name) != theirs.get(name) and
                              not os.path.dirname(name) == "pg_tblspc"]
                    self.assertEqual(differ, [])
                    server.start().wait_paused()
                    self.assertEqual(self.said(server), said)
                    # Promoted, it is on another timeline, from where it comes back just so.
                    server.promote()
                    self.say(server, "on another timeline")
                    server.wait_archived()
                    amcheck(server)
                    server.stop()
                    checksums(server)
                self.assertEqual({path: path.read_bytes() for path in outside}, outside)
                self.delta(lb, "--timeline", "1").ok()
                server.start().wait_recovered()
                self.assertEqual(self.said(server), "before,between")

    def test_unarchived_wal_is_stored_before_anything_is_touched(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.backup(lb)
                server.wait_archived()
                server.psql("ALTER SYSTEM SET archive_command = 'false'")
                server.reload()
                self.say(server, "whole")
                server.switch_wal()
                self.say(server, "unfinished")
                server.kill9()
                done = self.delta(lb).ok().json
                self.assertEqual(len(done["rescued"]), 2, done["rescued"])
                server.start().wait_recovered()
                self.assertEqual(self.said(server), "whole,unfinished")
                # What nobody can store is not overwritten.
                server.psql("ALTER SYSTEM SET archive_command = 'false'")
                server.reload()
                server.stop()
                other = new_directory("other") / "data"
                subprocess.run(["cp", "-a", server.data, other], check=True)
                twin = Cluster.attach(other, major, conf={"archive_command": "false"}, start=True)
                self.say(twin, "theirs")
                twin.switch_wal()
                twin.stop()
                server.start()
                self.say(server, "mine")
                server.switch_wal()
                server.stop()
                self.delta(lb).ok()
                before = tree(other)
                refused = self.restore(lb, "--delta", "--pgdata", other, "--yes")
                self.assertFails(refused, PRECONDITION, "--replace")
                self.assertEqual(tree(other), before)


class Fetched(DeltaCase):
    def test_of_what_incremental_backups_left_in_parts_only_the_parts_are_fetched(self):
        """An unchanged directory. A whole run is compared by its hash; of a part the repository has none (docs/format.md)."""
        server, lb = self.source(15)
        server.psql("CREATE TABLE parts AS SELECT * FROM big")
        server.psql("VACUUM")  # or hint bits change every page later on
        size = int(server.value("SELECT pg_relation_size('parts')"))
        full = self.backup(lb)
        # One row in each run of 32 blocks.
        server.psql("UPDATE parts SET n = -n WHERE (ctid::text::point)[0]::int % 32 = 5 AND (ctid::text::point)[1] = 1")
        incremental = self.backup(lb, "--type", "incr")
        server.wait_archived()
        server.stop()

        def compared(backup):
            done = self.delta(lb, "--backup", backup, "--target", "immediate").ok().json
            print(f"{backup}: {done['bytes']} bytes, {done['compared']}", flush=True)
            return done["compared"]

        compared(incremental)
        unchanged = compared(incremental)
        self.assertLess(unchanged["written_bytes"], MB)
        self.assertGreater(unchanged["fetched_bytes"], size // 2)
        self.assertLess(unchanged["fetched_bytes"], size + 8 * MB)
        compared(full)
        unchanged = compared(full)
        self.assertLess(unchanged["written_bytes"], MB)
        self.assertLess(unchanged["fetched_bytes"], MB)


class GoesOn(DeltaCase):
    """A restore that stored the unfinished segment was given up, and its server ran on in the same one."""

    def given_up(self):
        server, lb = self.source(15)
        self.backup(lb)
        server.wait_archived()
        server.psql("ALTER SYSTEM SET archive_command = 'false'")
        server.reload()
        self.say(server, "first")
        server.kill9()
        other = new_directory("other") / "data"
        subprocess.run(["cp", "-a", server.data, other], check=True)
        self.assertEqual(len(self.delta(lb).ok().json["rescued"]), 1)
        return lb, Cluster.attach(other, 15, conf={"archive_command": "false"}, start=True)

    def test_the_way_out_is_told(self):
        lb, server = self.given_up()
        self.say(server, "second")
        server.kill9()
        before = tree(server.data)
        again = ["--delta", "--pgdata", server.data, "--yes"]
        refused = self.restore(lb, *again, json=False)
        self.assertFails(refused, PRECONDITION, "only what was there earlier", "SELECT pg_switch_wal()", "--replace")
        self.assertEqual(tree(server.data), before)
        server.start()
        server.stop()
        server.overrides = {"archive_command": lb.archive_command()}
        server.start()
        server.switch_wal()
        server.wait_archived()
        server.stop()
        self.restore(lb, *again).ok()
        server.start().wait_recovered()
        self.assertEqual(self.said(server), "first,second")

    def test_what_a_receiver_has_is_stored(self):
        lb, server = self.given_up()
        receiver = harness.Background(lb.argv("wal", "receive", "--pg", server.conninfo()))
        self.say(server, "second")
        lsn = server.value("SELECT pg_current_wal_insert_lsn()")
        harness.wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_replication WHERE "
                                                f"flush_lsn >= '{lsn}'") == "1", f"{lsn} acknowledged by the receiver")
        server.kill9()
        receiver.stop()
        self.restore(lb, "--delta", "--pgdata", server.data, "--yes").ok()
        server.start().wait_recovered()
        self.assertEqual(self.said(server), "first,second")


class Refusals(DeltaCase):
    def test_what_must_not_be_overwritten(self):
        """T35, T26, T11, R5."""
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major, tablespace=True)
                self.backup(lb)
                server.wait_archived()
                self.assertFails(self.delta(lb), PRECONDITION, "running", str(server.pid))
                stranger = self.cluster(major=major, start=False)
                before = tree(stranger.data)
                self.assertFails(self.restore(lb, "--delta", "--pgdata", stranger.data, "--yes"), FOREIGN)
                self.assertEqual(tree(stranger.data), before)
                photos = new_directory("photos")
                (photos / "cat.jpg").write_text("meow")
                for where in ("--pgdata", "--to"):
                    self.assertFails(self.restore(lb, "--delta", where, photos, "--yes"), PRECONDITION, "cat.jpg")
                self.assertEqual(os.listdir(photos), ["cat.jpg"])
                self.assertFails(self.restore(lb, "--delta", "--replace", "--pgdata", server.data, "--yes"), USAGE)
                server.stop()
                # A copy by other means, whose links lead to the original's tablespace.
                twin = new_directory("twin") / "data"
                subprocess.run(["cp", "-a", server.data, twin], check=True)
                self.assertFails(self.restore(lb, "--delta", "--to", twin, "--yes"), PRECONDITION, "--delta --pgdata")
                with open(twin / "postgresql.auto.conf", "a") as file:
                    file.write("archive_mode = 'off'\n")
                live = tree(server.location)
                self.assertFails(self.restore(lb, "--delta", "--to", twin, "--yes"), PRECONDITION, "--tablespace")
                self.assertEqual(tree(server.location), live)
                (server.data / "patroni.dynamic.json").write_text("{}")
                self.assertFails(self.delta(lb), PRECONDITION, "Patroni")


class Copies(DeltaCase):
    def test_a_copy_follows_its_original(self):
        """--to: archives nothing, before and after."""
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major, tablespace=True)
                self.say(server, "one")
                self.backup(lb)
                server.wait_archived()
                to = new_directory("copy") / "data"
                place = ["--to", to, "--tablespace", f"{server.location}={new_directory('ts')}/fast"]
                self.restore(lb, *place).ok()
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.say(copy, "in the copy only")
                copy.switch_wal()
                copy.checkpoint().stop()
                self.say(server, "two")
                server.psql("UPDATE big SET what = 'z' WHERE n = 77")
                self.backup(lb, "--type", "incr")
                server.wait_archived()
                stored = [name for name in lb.objects() if "/wal/" in name]
                self.assertFails(self.restore(lb, "--delta", *place), NOT_CONFIRMED)
                done = self.restore(lb, "--delta", "--to", to, "--yes").ok().json
                self.assertEqual([name for name in lb.objects() if "/wal/" in name], stored)
                self.assertLess(done["compared"]["written_bytes"], done["bytes"] // 6)
                verify_backup(to, major)
                copy = Cluster.attach(to, major, start=True).wait_recovered()
                self.assertEqual(self.said(copy), "one,two")
                self.assertEqual(copy.value("SHOW archive_mode"), "off")
                dump_compare(server, copy)
                amcheck(copy)


class Crash(DeltaCase):
    def test_killed_anywhere_it_cannot_start_and_the_same_command_goes_on(self):
        for major in self.majors():
            with self.subTest(major=major):
                server, lb = self.source(major, tablespace=True)
                self.backup(lb)
                self.say(server, "after")
                server.psql("UPDATE big SET what = 'x' WHERE n % 3 = 0; DROP TABLE gone")
                server.wait_archived()
                server.stop()
                spare = new_directory("spare")

                def put_back():
                    for path, name in ((server.data, "data"), (server.location, "ts")):
                        for below in os.listdir(path):
                            harness.run(["rm", "-rf", path / below], user="root" if os.geteuid() == 0 else harness.OS_USER)
                        subprocess.run(["cp", "-a", f"{spare}/{name}/.", path], check=True)

                for path, name in ((server.data, "data"), (server.location, "ts")):
                    subprocess.run(["cp", "-a", path, spare / name], check=True)
                counts = new_directory("counts") / "points"
                self.delta(lb, env={"LIFEBOAT_FAULT_COUNT": counts}).ok()
                points = int(counts.read_text().split()[-1])
                self.assertGreaterEqual(points, 7)
                print(f"restore --delta passes {points} crash points", flush=True)
                unstartable = tried = 0
                chosen = [f"{n}{when}" for n in range(1, points + 1) for when in ("", ":after")]
                harness.rng("delta points").shuffle(chosen)
                began = time.monotonic()
                for point in chosen:
                    if not SOAK and unstartable > 3 and time.monotonic() - began > BUDGET:
                        break
                    tried += 1
                    put_back()
                    killed = self.delta(lb, env={"LIFEBOAT_FAULT": point})
                    if killed.code == 0:
                        continue  # a step without an afterwards
                    self.assertEqual(killed.code, -signal.SIGKILL, f"point {point}: {killed.err}")
                    if not (server.data / "global" / "pg_control").exists():
                        unstartable += 1
                        if unstartable == 1:
                            with self.assertRaises(AssertionError):
                                Cluster.attach(server.data, major).start(timeout=10)
                            # Neither does a plain restore clear it: half of it is somebody's only copy.
                            self.assertFails(self.restore(lb, "--to", server.data), PRECONDITION, "--delta")
                    self.delta(lb).ok()
                    self.assertFalse((server.data / "lifeboat.restore_incomplete").exists(), point)
                    verify_backup(server.data, major)
                print(f"killed at {tried} of {len(chosen)}", flush=True)
                self.assertGreater(unstartable, 3)
                # And at random, in the middle of the copy.
                random_source = random.Random(f"{harness.SEED} delta kills")
                put_back()
                for _ in range(8):
                    background = lb.background("restore", "--delta", "--pgdata", server.data, "--yes", "--pg-bin", server.bin)
                    time.sleep(random_source.uniform(0.02, 0.4))
                    background.kill()
                self.delta(lb).ok()
                verify_backup(server.data, major)
                server.start().wait_recovered()
                self.assertEqual(self.said(server), "after")
                amcheck(server)


if __name__ == "__main__":
    main()
