#!/usr/bin/env python3
"""Every bad input: one clear line, the documented exit code, nothing touched.

T10, T26, T29, T31, T34, T35, T36: what is wrong, foreign, out of reach, in the way, full, damaged, unreadable or gone in
the middle is refused; damage is found wherever it lies, and no restore is ever wrong. LIFEBOAT_SOAK=1 flips 1,000 bits.
"""

import os
import re
import shutil
import stat
import time
from pathlib import Path

from harness import (SOURCE, SystemTest, Cluster, Lifeboat, binary, flip_bit, give, main, new_directory, rng, run, tmpfs,
                     tree, wait_until)

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
FLIPS, BUDGET = (1000, 3600.0) if SOAK else (40, 60.0)

# kind: exit code, from the table that scripts rely on.
CODES = {kind: int(code) for code, kind in
         re.findall(r"^\| (\d+) \| `(\w+)`", (SOURCE / "docs/errors.md").read_text(), re.M)}
DAMAGE = {"damaged", "check_failed"}


class BadInput(SystemTest):
    """One server, a repository with a backup and WAL after it, and an encrypted one."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = server = Cluster(wal_segsize=1, conf={"archive_mode": "on", "archive_command": ""})
        cls.key = new_directory("key") / "main.key"
        cls.phrase = new_directory("key") / "phrase"
        cls.phrase.write_text("correct horse battery staple\n")
        cls.phrase.chmod(0o600)
        give(cls.phrase)
        cls.plain = Lifeboat(server)
        cls.sealed = Lifeboat(server, options=["--key-file", cls.key])
        cls.early = server.now()
        server.psql("CREATE TABLE ledger (n int PRIMARY KEY, what text);"
                    "INSERT INTO ledger SELECT g, md5(g::text) FROM generate_series(1, 500) g")
        for lb in (cls.plain, cls.sealed):
            lb("init", "--yes", live=True).ok()
            server.configure(archive_command=lb.archive_command()).reload()
            lb.backup = lb("backup", "--jobs", "1", live=True).ok().json["backup"]
            for _ in range(3):
                server.psql("UPDATE ledger SET what = what")
                lb.segment = server.wait_archived()
        server.configure(archive_command="").reload()
        cls.secrets = ["correct horse battery staple", cls.key.read_text().split()[1], "hunter2"]

    @classmethod
    def tearDownClass(cls):
        cls.server.stop("immediate")
        super().tearDownClass()

    # --- helpers
    def refused(self, lb, kind, *command, phrases=(), code=None, untouched=(), **how):
        """Runs a command in text and in JSON: one error line and at most one hint, the code of docs/errors.md, one
        document; what is named in untouched is as before. kind may be several."""
        kinds = {kind} if isinstance(kind, str) else set(kind)
        before = [tree(path) if Path(path).exists() else None for path in untouched]
        text = lb(*command, "--quiet", json=False, **how)
        lines = text.err.rstrip("\n").split("\n")
        self.assertTrue(lines[0].startswith("lifeboat: error: "), f"{text.argv}\n{text.err}\n{text.out}")
        self.assertTrue(all(line.startswith("lifeboat: hint: ") for line in lines[1:]) and len(lines) <= 2, text.err)
        self.assertLess(len(lines[0]), 600)
        in_json = lb(*command, "--quiet", **how)
        error = in_json.json["error"]
        self.assertIn(error["kind"], kinds, in_json.out)
        wanted = {code} if code else {CODES[error["kind"]]}
        self.assertIn(text.code, wanted, text.err)
        self.assertIn(in_json.code, wanted, in_json.out)
        self.assertEqual(error["exit_code"], in_json.code)
        for phrase in phrases:
            self.assertIn(str(phrase), text.err)
        for secret in self.secrets:
            self.assertNotIn(secret, text.err + text.out + in_json.err + in_json.out)
        self.assertEqual([tree(path) if Path(path).exists() else None for path in untouched], before)
        return in_json

    def complete(self, lb):
        answer = lb("list").ok().json
        return [backup["id"] for lineage in answer["lineages"] for backup in lineage["backups"]]

    def copy_of(self, lb):
        """Another repository with the same content."""
        copy = Lifeboat(self.server, options=lb.options)
        run(["cp", "-a", f"{lb.repo_path}/.", copy.repo_path])
        copy.backup, copy.segment = lb.backup, lb.segment
        return copy

    def file(self, content, mode=0o600):
        path = new_directory("file") / "file"
        path.write_text(content)
        path.chmod(mode)
        return give(path)

    def target(self):
        return new_directory("to") / "data"

    def with_repo(self, url, options=()):
        lb = Lifeboat(self.server, repo="/nonexistent", options=options)
        lb.repo = url
        return lb

    COMMANDS = (("list",), ("verify",), ("show", "latest"), ("expire", "--keep-count", "1", "--yes"))


class CommandLine(BadInput):
    def test_unknown_command_option_and_value(self):
        done = run([binary(), "bakcup"], check=False)
        self.assertFails(done, CODES["usage"], "bakcup", "hint")
        self.assertEqual(len([line for line in done.err.split("\n") if "error: " in line]), 1)
        for command in (("backup", "--nonsense"), ("backup", "--type", "half"), ("verify", "--level"),
                        ("list", "too", "much"), ("expire", "--keep-count", "many"), ("expire", "--grace", "soon")):
            with self.subTest(command=command):
                self.refused(self.plain, "usage", *command, untouched=[self.plain.repo_path])

    def test_what_must_be_said(self):
        done = run([binary(), "list"], check=False)
        self.assertFails(done, CODES["usage"], "--repo")
        for command in (("restore",), ("restore", "--replace"), ("wal", "push"), ("show",),
                        ("restore", "--to", "/nonexistent/a", "--replace")):
            with self.subTest(command=command):
                self.refused(self.plain, "usage", *command, untouched=[self.plain.repo_path])

    def test_a_password_in_the_connection_string(self):
        for conninfo in (f"{self.server.conninfo()} password=hunter2", "postgresql://postgres:hunter2@localhost/postgres",
                         "postgresql://localhost/?password=hunter2"):
            with self.subTest(conninfo=conninfo):
                self.refused(self.plain, "usage", "backup", "--pg", conninfo, "--pgdata", self.server.data,
                             phrases=["password", "hint"], untouched=[self.plain.repo_path])

    def test_targets_that_make_no_sense(self):
        to = self.target()
        for options in (("--target-time", "2026-11-20 10:56:25"), ("--target-time", "2026-10-25 02:30 Europe/Zurich"),
                        ("--target-time", "2026-03-29 02:30 Europe/Zurich"), ("--target-time", "yesterday"),
                        ("--target-lsn", "xyz"), ("--target-xid", "-1"), ("--target", "sometime"), ("--timeline", "0x"),
                        ("--target-name", "a", "--exclusive"), ("--target", "immediate", "--exclusive"),
                        ("--target-xid", "800", "--target-lsn", "0/5000000"), ("--action", "explode"),
                        ("--target-time", "2026-11-20 10:56:25 Europe/Nowhere")):
            with self.subTest(options=options):
                self.refused(self.plain, "usage", "restore", "--to", to, *options, untouched=[self.plain.repo_path, to])


class Repositories(BadInput):
    def test_wrong_urls(self):
        file = self.file("x")
        # A directory that is away may be a file system that is not mounted: worth trying again (T29).
        for url, kind in (("ftp://host/x", "config"), ("gopher://x", "config"), ("file:///nonexistent/repo", "unavailable"),
                          (f"file://{file}", "config"), (f"file://{new_directory('empty')}", "not_found")):
            for command in self.COMMANDS:
                with self.subTest(url=url, command=command):
                    self.refused(self.with_repo(url), kind, *command, untouched=[file.parent])
        self.assertFalse(Path("/nonexistent").exists())

    def test_unknown_cluster_and_backup(self):
        other = Lifeboat(self.server, repo=self.plain.repo_path, cluster="other")
        for command in (("backup",), ("restore", "--to", self.target()), ("expire", "--keep-count", "1", "--yes")):
            with self.subTest(command=command):
                self.refused(other, "not_found", *command, live=command == ("backup",), phrases=["other"], untouched=[other.repo_path])
        for command in (("show", "20200101T000000Z-abcdef"), ("verify", "--backup", "20200101T000000Z-abcdef"),
                        ("restore", "--to", self.target(), "--backup", "20200101T000000Z-abcdef")):
            with self.subTest(command=command):
                self.refused(self.plain, "not_found", *command, phrases=["20200101T000000Z-abcdef"])

    def test_keys_that_do_not_open(self):
        other_key = self.file("lifeboat-key-1 " + "ab" * 32 + "\n")
        wide = self.file(self.key.read_text(), 0o640)
        cases = ((["--key-file", "/nonexistent/key"], {"not_found"}), (["--key-file", wide], {"permission", "wrong_key"}),
                 (["--key-file", other_key], {"wrong_key"}), ([], {"wrong_key"}),
                 (["--key-file", self.file("rubbish\n")], {"wrong_key", "damaged", "config"}),
                 (["--passphrase-file", self.phrase], {"wrong_key"}))
        for options, kinds in cases:
            lb = Lifeboat(self.server, repo=self.sealed.repo_path, options=options)
            for command in (("list",), ("restore", "--to", self.target()), ("verify",)):
                with self.subTest(options=options, command=command):
                    self.refused(lb, kinds, *command, untouched=[lb.repo_path])
            with self.subTest(options=options, command="wal get"):
                self.refused(lb, kinds | {"unavailable"}, "wal", "get", self.sealed.segment, self.target(), code=255)
        # A key where there is nothing to open is a mistake too.
        lb = Lifeboat(self.server, repo=self.plain.repo_path, options=["--key-file", self.key])
        self.refused(lb, {"wrong_key", "usage", "precondition", "config"}, "list", untouched=[lb.repo_path])

    def test_wrong_passphrase(self):
        lb = Lifeboat(self.server, options=["--passphrase-file", self.phrase])
        lb("init", "--yes", live=True).ok()
        wrong = Lifeboat(self.server, repo=lb.repo_path, options=["--passphrase-file", self.file("wrong horse\n")])
        self.refused(wrong, "wrong_key", "list", untouched=[lb.repo_path])
        wide = Lifeboat(self.server, repo=lb.repo_path, options=["--passphrase-file", self.file(self.phrase.read_text(), 0o644)])
        self.refused(wide, {"permission", "wrong_key"}, "list", untouched=[lb.repo_path])
        lb("list").ok()

    def test_another_cluster(self):  # T26
        other = Cluster(wal_segsize=1)
        name = other.switch_wal()
        lb = Lifeboat(other, repo=self.plain.repo_path)
        self.refused(lb, "foreign", "backup", live=True, phrases=[other.system_identifier()], untouched=[lb.repo_path])
        self.refused(lb, "foreign", "wal", "push", f"pg_wal/{name}", cwd=other.data, phrases=[other.system_identifier()],
                     untouched=[lb.repo_path])
        self.refused(lb, "foreign", "init", "--yes", live=True, phrases=["--new-lineage"], untouched=[lb.repo_path])
        # The connection leads to one server, --pgdata to another.
        self.refused(self.plain, {"foreign", "precondition"}, "backup", "--pg", self.server.conninfo(), "--pgdata", other.data,
                     untouched=[lb.repo_path])


class Restores(BadInput):
    def test_targets_out_of_reach(self):  # T31
        to = self.target()
        for options in (("--target-time", self.early), ("--target-time", "2099-01-01 00:00:00+00"), ("--target-lsn", "0/100"),
                        ("--target-lsn", "FF/0"), ("--target-xid", "4000000000"), ("--target-name", "nobody made it"),
                        ("--timeline", "7")):
            with self.subTest(options=options):
                self.refused(self.plain, "unreachable", "restore", "--to", to, *options, untouched=[to])

    def test_a_target_in_a_hole(self):
        lb = self.copy_of(self.plain)
        end = [path for path in lb.objects() if f"/{lb.segment}-" in path]
        earlier = sorted(path for path in lb.objects() if re.search(r"/[0-9A-F]{24}-", path))
        self.assertEqual(len(end), 1)
        victim = earlier[earlier.index(end[0]) - 1]
        (lb.repo_path / victim).unlink()
        to = self.target()
        lsn = f"0/{int(lb.segment[16:], 16):X}00028"
        self.refused(lb, "unreachable", "restore", "--to", to, "--target-lsn", lsn, phrases=["missing"], untouched=[to])
        self.refused(lb, "unreachable", "restore", "--to", to, phrases=["missing"], untouched=[to])
        self.refused(lb, "check_failed", "verify")
        lb("restore", "--to", to, "--target", "immediate", "--jobs", "1").ok()

    def test_what_is_in_the_way(self):  # T35
        running = f"{self.server.pid}"
        stable = {path: what for path, what in tree(self.server.data).items() if path.startswith("base/1/")}
        for options in (("--replace", "--pgdata", self.server.data, "--yes"), ("--to", self.server.data)):
            self.refused(self.plain, "precondition", "restore", *options, phrases=[running])
        self.assertEqual({path: what for path, what in tree(self.server.data).items() if path.startswith("base/1/")}, stable)
        self.assertEqual(self.server.value("SELECT count(*) FROM ledger"), "500")
        full = new_directory("photos")
        (full / "cat.jpg").write_text("meow")
        self.refused(self.plain, "precondition", "restore", "--to", full, phrases=["cat.jpg"], untouched=[full])
        self.refused(self.plain, "precondition", "restore", "--replace", "--pgdata", full, "--yes", untouched=[full])
        self.refused(self.plain, "precondition", "restore", "--to", full / "cat.jpg", untouched=[full])
        self.refused(self.plain, {"precondition", "usage"}, "restore", "--to", self.plain.repo_path, untouched=[self.plain.repo_path])


class Disks(BadInput):
    def fill(self, place):
        with open(place / "hog", "wb", buffering=0) as hog:
            try:
                while True:
                    hog.write(bytes(1 << 16))
            except OSError:
                pass

    def test_a_full_repository(self):
        small = tmpfs(5)
        lb = Lifeboat(self.server, repo=small / "repo")
        lb("init", "--yes", live=True).ok()
        segment = self.server.switch_wal()
        self.fill(small)
        before = lb.objects()
        self.refused(lb, "space", "wal", "push", f"pg_wal/{segment}", cwd=self.server.data)
        self.assertEqual(lb.objects(), before)
        self.refused(lb, "space", "backup", "--jobs", "1", live=True)
        self.assertEqual(self.complete(lb), [])
        (small / "hog").unlink()
        lb("wal", "push", f"pg_wal/{segment}", cwd=self.server.data).ok()
        got = self.target()
        lb("wal", "get", segment, got).ok()
        self.assertEqual(got.read_bytes(), (self.server.data / "pg_wal" / segment).read_bytes())
        # With a little room: it fills up in the middle of the copy.
        with open(small / "part", "wb") as part:
            room = os.statvfs(small)
            part.write(bytes(max(0, room.f_bavail * room.f_frsize - (1 << 20))))
        self.refused(lb, "space", "backup", "--jobs", "1", live=True)
        self.assertEqual(self.complete(lb), [])
        (small / "part").unlink()
        done = lb("verify")
        self.assertEqual(done.json["damage"], [], done.out)

    def test_a_full_target(self):
        small = tmpfs(3)
        self.refused(self.plain, "space", "restore", "--to", small / "data", untouched=[small])
        self.refused(self.plain, "space", "restore", "--to", small, untouched=[small])
        self.fill(small)
        self.refused(self.plain, "space", "wal", "get", self.plain.segment, small / "RECOVERYXLOG", code=255, untouched=[small])


class Sources(BadInput):
    def test_an_unreadable_file(self):
        path = self.server.data / self.server.value("SELECT pg_relation_filepath('ledger')")
        before = self.complete(self.plain)
        path.chmod(0)
        try:
            self.refused(self.plain, "permission", "backup", "--jobs", "1", live=True,
                         phrases=[path.relative_to(self.server.data)])
        finally:
            path.chmod(0o600)
        self.assertEqual(self.complete(self.plain), before)
        self.plain("verify").ok()

    def test_a_connection_that_is_lost(self):  # T01, T03
        lb = self.copy_of(self.plain)
        job = lb.background("backup", "--jobs", "1", "--rate", "4MB", live=True)
        wait_until(lambda: '"copying"' in job.result().err or not job.running, "a backup that copies")
        self.assertTrue(job.running, job.result().err)
        ours = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        self.assertEqual(self.server.value(f"SELECT string_agg(pg_terminate_backend(pid)::text, '') {ours}"), "true")
        done = job.wait(timeout=120, check=False)
        self.assertIn(done.json["error"]["kind"], {"unavailable", "server"}, done.out)
        self.assertEqual(done.code, CODES[done.json["error"]["kind"]])
        self.assertEqual(self.complete(lb), self.complete(self.plain))
        attempts = [backup["state"] for lineage in lb("list", "--all").ok().json["lineages"]
                    for backup in lineage["backups"] + lineage.get("attempts", [])]
        self.assertIn("aborted", attempts)
        lb("verify").ok()
        lb("backup", "--jobs", "1", live=True).ok()

    def test_no_server(self):
        lb = self.copy_of(self.plain)
        self.refused(lb, {"unavailable", "server"}, "backup", "--pg", f"host={new_directory('nobody')} port=6543 user=postgres",
                     "--pgdata", self.server.data, untouched=[lb.repo_path])
        self.refused(lb, {"permission", "server"}, "backup", "--pg", self.server.conninfo(user="nobody_here"),
                     "--pgdata", self.server.data, untouched=[lb.repo_path])


class Damage(BadInput):
    """One flipped bit anywhere: verify finds it and names the object; a restore or get refuses or is right all the same."""

    def kinds_of(self, lb):
        """{kind: paths}; a kind is chosen first, else nearly every flip would hit data."""
        kinds = {}
        for path in lb.objects():
            name = next((kind for kind in ("keys", "cards", "manifests", "leases", "wal", "evidence") if f"/{kind}/" in f"/{path}"),
                        path.rpartition(".")[2] if "/packs/" in path else path.rpartition("/")[2])
            kinds.setdefault(name, []).append(path)
        return kinds

    def test_flipped_bits(self):
        dice = rng("flips")
        started, done, refusals = time.monotonic(), 0, 0
        places = []
        for original in (self.plain, self.sealed):
            lb = self.copy_of(original)
            lb("verify").ok()
            to = self.target()
            restore = lambda lb=lb, to=to: lb("restore", "--to", to, "--backup", lb.backup, "--target", "immediate", "--jobs", "1")
            restore().ok()
            good = self.content(to)
            shutil.rmtree(to)
            places.append((lb, to, restore, good, self.kinds_of(lb)))
        while done < FLIPS and time.monotonic() - started < BUDGET:
            lb, to, restore, good, kinds = places[done % 2]
            kind = sorted(kinds)[(done // 2) % len(kinds)]
            path = dice.choice(kinds[kind])
            # Headers are small and decide much.
            size = (lb.repo_path / path).stat().st_size
            offset, bit = dice.randrange(min(size, dice.choice((64, 1 << 40)))), dice.randrange(8)
            with self.subTest(repository="encrypted" if lb.options else "plain", object=path, offset=offset, bit=bit):
                flip_bit(lb.repo_path / path, offset, bit)
                try:
                    refusals += self.try_everything(lb, path, to, restore, good)
                finally:
                    flip_bit(lb.repo_path / path, offset, bit)
                    shutil.rmtree(to, ignore_errors=True)
            done += 1
        print(f"\n{done} bits flipped in {time.monotonic() - started:.0f} s, {refusals} restores and gets refused", flush=True)
        self.assertGreaterEqual(done, 8)
        self.assertGreater(refusals, 0, "canary: no flip hit what a restore reads")
        for lb, *_ in places:
            lb("verify").ok()

    def try_everything(self, lb, path, to, restore, good):
        objects = set(lb.objects())
        verified = lb("verify", "--jobs", "1")
        for left in set(lb.objects()) - objects:
            (lb.repo_path / left).unlink()
        # A flipped format version is a later program's object as far as anyone can tell.
        self.assertIn(verified.code, {CODES[kind] for kind in DAMAGE | {"wrong_key", "unsupported"}}, verified.out[-3000:])
        self.assertIn(path, verified.out)
        if "/wal/" in path:
            name = path.rpartition("/")[2].rpartition("-")[0]
            got = to.with_name("got")
            done = lb("wal", "get", name, got)
            self.assertIn(done.code, (0, 255))
            if done.code == 0:
                self.assertEqual(got.read_bytes(), (self.server.data / "pg_wal" / name).read_bytes())
                got.unlink()
            self.assertFalse(got.exists())
            return done.code != 0
        done = restore()
        if done.code == 0:
            found = self.content(to)
            self.assertEqual({key for key in good.keys() | found.keys() if good.get(key) != found.get(key)}, set())
        else:
            self.assertEqual(done.code, CODES[done.json["error"]["kind"]])
            self.assertFalse((to / "global" / "pg_control").exists())
        return done.code != 0

    def content(self, directory):
        """Apart from backup_manifest, which says when it was written."""
        found = tree(directory)
        found.pop("backup_manifest")
        return found


if __name__ == "__main__":
    main()
