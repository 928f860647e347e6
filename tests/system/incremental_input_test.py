#!/usr/bin/env python3
"""What an incremental backup is given may be damaged, missing, foreign or gone: one line says so, with a hint where there is
something to do, and what is stored is never silently wrong (T15, T16, T26, T37).

Auto reads everything when it must, and says why; who asks for an incremental backup by --type is refused instead.
"""

import re
import signal

from harness import flip_bit, main, rng, wait_until
from incremental_case import PRECONDITION, IncrementalCase

PERMISSION, FOREIGN = 6, 12


class InputCase(IncrementalCase):
    def changed(self, **options):
        """A server with a full backup, and after it WAL of several segments that pg_wal does not have any more."""
        server, lb = self.source(15, wal_segsize=1, conf={"max_wal_size": "4MB", "min_wal_size": "2MB"}, **options)
        server.psql("CREATE TABLE t AS SELECT g AS n, repeat('x', 100) AS a FROM generate_series(1, 20000) g;"
                    "CREATE INDEX ON t (n)")
        self.full = self.backup(lb)
        names = []
        for n in range(4):
            server.psql(f"UPDATE t SET a = 'round {n}' WHERE n % 97 = {n}")
            names.append(server.wait_archived())
        server.checkpoint()
        server.switch_wal()
        server.checkpoint()
        for name in names:
            (server.data / "pg_wal" / name).unlink(missing_ok=True)
        self.names = names
        return server, lb

    def stored(self, lb, kind, name=""):
        found = lb.repo_path.glob(f"clusters/*/*/{kind}/*/*/{name}*")
        return sorted(path for path in found if re.match("[0-9A-F]{24}-", path.name))

    def assertRefused(self, lb, code, *phrases, kind="incr"):
        """One error line and at most one hint; nothing is listed that was not there."""
        before = lb("list").ok().json
        refused = lb("backup", "--type", kind, "--quiet", live=True, json=False)
        self.assertFails(refused, code, *phrases)
        lines = refused.err.rstrip("\n").split("\n")
        self.assertTrue(lines[0].startswith("lifeboat: error: "), refused.err)
        self.assertTrue(len(lines) == 2 and lines[1].startswith("lifeboat: hint: "), refused.err)
        self.assertEqual(lb("list").ok().json["lineages"], before["lineages"])

    def assertReadsEverything(self, lb, phrase):
        made = self.backup(lb)
        self.assertIn(phrase, made["reason"])
        self.assertNotIn("\n", made["reason"])
        self.assertIn(phrase, lb("show", made["backup"], json=False).ok().out)
        self.assertIsTheServer(lb, made)
        return made


class Summaries(InputCase):
    def test_damaged_ones_are_not_believed(self):
        """A bit is flipped in every stored summary, each in another place: header, content, tag. Some look like another
        format version or key then."""
        server, lb = self.changed()
        self.incremental(lb)  # the first reader stores them
        summaries = self.stored(lb, "summaries")
        self.assertGreaterEqual(len(summaries), 4)
        dice = rng("damaged summaries")
        places = [9, 11, 20, 40, 66, 70]  # format, seal, name, salt, first frame
        for number, path in enumerate(summaries):
            size = path.stat().st_size
            place = places[number] if number < len(places) else dice.choice([size - 1, dice.randrange(size)])
            flip_bit(path, place, dice.randrange(8))
        server.psql("UPDATE t SET a = 'after the damage' WHERE n % 101 = 0")
        done = lb("backup", "--type", "diff", "--prove", live=True).ok()
        self.assertEqual((done.json["type"], done.json["reason"], done.json["reference"]), ("diff", "", self.full["backup"]))
        warnings = [line for line in done.err.split("\n") if "is of no use, so its segment is read" in line]
        self.assertEqual(len(warnings), len(summaries), done.err)
        self.assertIsTheServer(lb, done.json)

    def test_missing_ones_are_made_again(self):
        server, lb = self.changed()
        self.incremental(lb)
        names = [path.name for path in self.stored(lb, "summaries")]
        for path in self.stored(lb, "summaries"):
            path.unlink()
        server.psql("UPDATE t SET a = 'after the loss' WHERE n % 101 = 0")
        made = self.backup(lb, "--type", "diff", "--prove")
        self.assertEqual((made["type"], made["reason"], made["reference"]), ("diff", "", self.full["backup"]))
        again = [path.name for path in self.stored(lb, "summaries")]
        self.assertEqual(again[:len(names)], names)
        self.assertIsTheServer(lb, made)

    def test_damage_of_both_summary_and_segment_is_told(self):
        server, lb = self.changed()
        self.incremental(lb)
        for path in self.stored(lb, "summaries", self.names[1]) + self.stored(lb, "wal", self.names[1]):
            flip_bit(path, 90)
        of_full = self.backup(lb, "--type", "diff")
        self.assertIn(self.names[1], of_full["reason"])
        self.assertIsTheServer(lb, of_full)
        self.incremental(lb)  # since the last backup nothing is damaged


class Wal(InputCase):
    def test_a_hole_is_told(self):  # T16
        server, lb = self.changed()
        [segment] = self.stored(lb, "wal", self.names[1])
        segment.unlink()
        self.assertReadsEverything(lb, self.names[1])
        self.incremental(lb)

    def test_a_damaged_segment_is_told(self):
        server, lb = self.changed()
        [segment] = self.stored(lb, "wal", self.names[2])
        flip_bit(segment, 5000)
        self.assertReadsEverything(lb, self.names[2])
        self.incremental(lb)

    def test_an_empty_and_a_cut_segment_are_told(self):
        server, lb = self.changed()
        [segment] = self.stored(lb, "wal", self.names[2])
        segment.write_bytes(segment.read_bytes()[:-1])
        self.assertReadsEverything(lb, self.names[2])
        server.psql("UPDATE t SET a = 'more' WHERE n % 89 = 0")
        name = server.wait_archived()
        server.checkpoint()
        server.switch_wal()
        server.checkpoint()
        (server.data / "pg_wal" / name).unlink(missing_ok=True)
        [segment] = self.stored(lb, "wal", name)
        segment.write_bytes(b"")
        self.assertReadsEverything(lb, name)


class References(InputCase):
    def test_of_another_cluster_is_none(self):  # T26
        server, lb = self.changed()
        other = self.cluster(15)
        stranger = self.lifeboat(other, repo=lb.repo_path)
        self.assertRefused(stranger, FOREIGN, other.system_identifier())
        self.assertIsTheServer(lb, self.incremental(lb))

    def test_one_whose_manifest_is_gone_is_none(self):
        server, lb = self.changed()
        next(lb.repo_path.glob(f"clusters/*/*/manifests/{self.full['backup']}")).unlink()
        self.assertRefused(lb, PRECONDITION, self.full["backup"])
        made = self.assertReadsEverything(lb, self.full["backup"])
        self.assertEqual((made["type"], made["reference"]), ("full", None))

    def test_one_that_is_condemned_is_none(self):
        """T37: what expiry has condemned stays readable for a while, and nothing new stands on it."""
        server, lb = self.changed()
        newer = self.incremental(lb)
        lb("expire", "--keep-count", "1", "--grace", "1h", "--yes").ok()
        self.assertRefused(lb, PRECONDITION, "there is no earlier backup", kind="diff")
        made = self.incremental(lb)
        self.assertEqual(made["reference"], newer["backup"])
        self.assertIsTheServer(lb, made)

    def test_one_that_is_in_use_is_not_expired(self):
        """T37: the reference of a running backup outlives an expiry that would remove it."""
        server, lb = self.changed()
        newer = self.incremental(lb)
        server.psql("CREATE TABLE slow AS SELECT g AS n, repeat('y', 500) AS a FROM generate_series(1, 40000) g")
        before = set(lb.objects())
        running = lb.background("backup", "--type", "diff", "--rate", "8MB", live=True)
        wait_until(lambda: any("/leases/backup/" in name for name in set(lb.objects()) - before), "the backup's lease")
        running.signal(signal.SIGSTOP)
        lb("expire", "--keep-count", "1", "--grace", "0", "--yes").ok()
        self.assertTrue(running.running, f"the backup was over before the expiry: {running.result().out}{running.result().err}")
        running.signal(signal.SIGCONT)
        made = running.wait().json
        self.assertEqual((made["type"], made["reference"]), ("diff", self.full["backup"]))
        lb("verify").ok()
        self.assertIsTheServer(lb, made)
        # Once nobody needs it, it goes; what stood on it stays whole.
        lb("expire", "--keep-count", "1", "--grace", "0", "--yes").ok()
        listed = [one["id"] for one in lb("list").ok().json["lineages"][0]["backups"]]
        self.assertEqual(listed, [made["backup"]])
        self.assertNotIn(newer["backup"], listed)
        lb("verify").ok()
        self.assertIsTheServer(lb, made)


class Grants(InputCase):
    def test_a_role_that_may_not_take_backups_is_told(self):
        """Through connections: remote_test.py."""
        server, lb = self.changed()
        server.psql("CREATE ROLE nobody LOGIN")
        before = lb("list").ok().json["lineages"]
        refused = lb("backup", "--type", "incr", "--pg", server.conninfo(user="nobody"), "--pgdata", server.data, "--quiet",
                     json=False)
        self.assertFails(refused, PERMISSION, "nobody", "GRANT")
        self.assertEqual(len(refused.err.rstrip("\n").split("\n")), 2, refused.err)
        self.assertEqual(lb("list").ok().json["lineages"], before)


if __name__ == "__main__":
    main()
