"""runbook: what is printed holds. Every command of ours parses in the real program, every look at the server and every harmless
command runs, and the sheets can be written when the server is gone (RK1)."""

import shlex
import shutil

from harness import Cluster, Lifeboat, SystemTest, main, new_directory, run

USAGE, CONFLICT, UNAVAILABLE = 2, 5, 8
PLACE_HOLDER = "YYYY-MM-DD HH:MM:SS+00"
NAMES = ["primary-loss", "archive-failure", "backup-failure", "wraparound", "bloat", "storage", "connections", "data-changed",
         "region-lost"]


class RunbookCase(SystemTest):
    def source(self, major=None):
        server = self.cluster(major)
        server.configure(unix_socket_directories=server.place)  # where a restored one is to be found too
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a")
        lb("backup", live=True).ok()
        server.wait_archived()
        return server, lb

    def runbooks(self, lb, *options):
        result = lb("runbook", *options, "--state-dir", self.state(), "--owner", "dba", "--pg-bin", lb.server.bin, live=True).ok()
        return {book["id"]: book for book in result.json["runbooks"]}, result

    def state(self):
        if not hasattr(self, "_state"):
            self._state = new_directory("state")
        return self._state

    def commands(self, book):
        return [command for part in ("diagnostic", "action", "afterwards") for step in book[part] for command in step["commands"]]

    def words(self, line):
        """As the servers' account would type it."""
        words = shlex.split(line, comments=True)
        return words[words.index("--") + 1:] if words[0] == "runuser" else words


class Runbook(RunbookCase):
    def test_every_command_holds(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                books, result = self.runbooks(lb)
                self.assertEqual(list(books), NAMES)
                self.assertEqual(result.json["facts_from"], "the running server")
                ran = {"lifeboat": 0, "psql": 0, "other": 0}
                for name, book in books.items():
                    for part in ("symptoms", "diagnostic", "action", "afterwards", "never", "minutes"):
                        self.assertTrue(book[part], f"{name} has no {part}")
                    for command in self.commands(book):
                        self.assertNotIn("\n", command["line"])
                        ran[self.hold(server, name, command)] += 1
                self.assertGreater(min(ran.values()), 5, ran)
                server.stop()

    def hold(self, server, name, command):
        words = self.words(command["line"])
        program = words[0].rpartition("/")[2]
        if PLACE_HOLDER in words:
            # Who pastes it without reading is refused; the moment is put in by who looked for it.
            self.assertEqual(run(words, check=False).code, USAGE, command["line"])
            words = [server.now() if word == PLACE_HOLDER else word for word in words]
        if program == "lifeboat":
            self.assertTrue(words[0].startswith("/"), "stands on its own")
            run([*words, "--help"])
            # A canary: --help alone would let anything pass.
            self.assertNotEqual(run([*words, "--no-such-option", "--help"], check=False).code, 0)
            if not command["changes"]:
                # Of this moment no later commit is stored yet; the lost site is still here.
                young, here = [13] * ("--target-time" in words), [14] * (name == "region-lost")
                done = run(words, check=False)
                self.assertIn(done.code, [0, 17, 23, *young, *here], f"{name}: {command['line']}\n{done.out}\n{done.err}")
            return "lifeboat"
        if program == "psql":
            run(words)
            return "psql"
        if not command["changes"]:
            run(words)
        elif program not in ("pg_ctlcluster",):
            run([words[0], "--help"])
        return "other"

    def test_the_lost_primary_is_brought_back_by_its_sheet(self):
        server, lb = self.source()
        server.psql("INSERT INTO t VALUES (0)")
        book = self.runbooks(lb, "primary-loss")[0]["primary-loss"]
        server.kill9()
        shutil.rmtree(server.data / "global")
        for step in book["diagnostic"]:
            for command in step["commands"]:
                done = run(self.words(command["line"]), check=False)
                self.assertNotEqual(done.code, 2, f"{command['line']}\n{done.err}")
        by_verb = {words[1]: words for words in map(self.words, (command["line"] for command in self.commands(book))) if "/lifeboat" in words[0]}
        self.assertFalse([*by_verb["recover"]].count("--dry-run"), "the last one is for real")
        run([*by_verb["recover"], "--yes"])
        self.assertEqual(server.value("SELECT count(*) FROM t"), "1001")
        run(by_verb["backup"])
        self.assertIn(run(by_verb["doctor"], check=False).code, (0, 17))

    def test_dropped_data_is_brought_back_by_its_sheet(self):
        server, lb = self.source()
        moment = server.now()
        server.psql("DROP TABLE t")
        server.wait_archived()
        book = self.runbooks(lb, "data-changed")[0]["data-changed"]
        lines = [command["line"] for command in self.commands(book)]
        found = run(self.words(next(line for line in lines if line.endswith("--dropped"))))
        self.assertIn("dropped table public.t", found.out)
        line = next(line for line in lines if " recover " in line and "--dry-run" not in line)
        words = self.words(line)
        words[words.index("--target-time") + 1] = moment
        run([*words, "--yes"])
        copy = Cluster.attach(words[words.index("--to") + 1], server.major)
        copy.place, copy.port = server.place, server.port + 1
        self.assertEqual(copy.value("SELECT count(*) FROM t"), "1000")
        self.assertEqual(server.value("SELECT to_regclass('t') IS NULL"), "t")
        copy.stop()

    def test_written_reviewed_and_readable_on_paper(self):
        server, lb = self.source()
        where = new_directory("w") / "books"
        books, result = self.runbooks(lb, "--to", where)
        self.assertIn("is on the disk of", result.err)
        self.assertEqual(sorted(path.stem for path in where.iterdir()), sorted(NAMES))
        text = (where / "primary-loss.md").read_text()
        for fact in (str(server.data), str(server.port), lb.repo, "never measured", "Call: dba", server.system_identifier(),
                     "Reviewed: by nobody yet"):
            self.assertIn(str(fact), text)
        for path in where.iterdir():
            text = path.read_text()
            self.assertTrue(text.isascii(), path)
            self.assertLess(text.count("\n"), 120, "a printout")
            for line in text.splitlines():
                if not line.startswith("       ") and not line.startswith("- "):
                    self.assertLessEqual(len(line), 100, line)
        self.runbooks(lb, "storage", "--to", where, "--reviewed-by", "Ada Lovelace")
        self.assertRegex((where / "storage.md").read_text(), r"Reviewed: \d{4}-\d\d-\d\d .* by Ada Lovelace")
        self.assertIn("by nobody", (where / "bloat.md").read_text())
        self.assertFails(lb("runbook", "--reviewed-by", "Ada", live=True), USAGE, "--to")
        self.assertFails(lb("runbook", "fire", live=True), USAGE, "primary-loss")

    def test_nothing_takes_the_place_of_a_sheet_that_knows_more(self):
        server, lb = self.source()
        where = new_directory("w") / "books"
        self.runbooks(lb, "--to", where, "--reviewed-by", "Ada Lovelace")
        before = {path.name: path.read_text() for path in where.iterdir()}
        away = lb.repo_path.with_name("away")
        lb.repo_path.rename(away)
        self.assertFails(lb("runbook", "--to", where, "--state-dir", self.state(), "--owner", "dba", live=True), UNAVAILABLE, "could not be read")
        self.assertEqual({path.name: path.read_text() for path in where.iterdir()}, before)
        printed = lb("runbook", "primary-loss", "--state-dir", self.state(), "--owner", "dba", live=True, json=False).ok()
        self.assertIn("not known when this was written", " ".join(printed.out.split()))
        self.assertNotIn("never measured", printed.out)
        away.rename(lb.repo_path)
        # Another cluster's are not written over, and a reviewed one is kept when it is written anew.
        other = Lifeboat(self.cluster(), repo=lb.repo_path, cluster="bee", options=lb.options)
        other("init", "--yes", live=True).ok()
        self.assertFails(other("runbook", "--to", where, "--state-dir", self.state(), "--owner", "dba", live=True), CONFLICT, "cluster main", "bee")
        _, result = self.runbooks(lb, "storage", "--to", where)
        self.assertIn("storage.md.reviewed", result.err)
        self.assertEqual((where / "storage.md.reviewed").read_text(), before["storage.md"])

    def test_a_server_that_is_gone_is_described_by_its_backup(self):
        server, lb = self.source()
        port, data = server.port, server.data
        server.stop()
        server.data.rename(server.data.with_name("gone"))
        result = lb("runbook", "primary-loss", "--owner", "dba", "--state-dir", self.state()).ok()
        self.assertIn("the newest backup", result.json["facts_from"])
        text = lb("runbook", "primary-loss", "--owner", "dba", "--state-dir", self.state(), json=False).ok().out
        for fact in (str(data), f"port {port}", f"PostgreSQL {server.major}"):
            self.assertIn(fact, text)


if __name__ == "__main__":
    main()
