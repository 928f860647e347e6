"""recover: from a broken cluster to one that answers, with a plan before and a record after whose verdicts are computed (R8)."""

import json
import os
import pty
import select
import shlex
import shutil
import subprocess
import time

from harness import (Background, Cluster, MOUNTER, SystemTest, account, amcheck, binary, environment, give, main, new_directory, run, tool, tree, wait_until)

USAGE, NOT_FOUND, SPACE, PRECONDITION, NOT_CONFIRMED = 2, 4, 7, 14, 21


class Recover(SystemTest):
    def source(self, major=None):
        server = self.cluster(major)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE ledger (n int PRIMARY KEY, what text); CREATE TABLE orders AS SELECT generate_series(1, 100) AS n")
        lb("backup", live=True).ok()
        self.say(server, "good")
        server.wait_archived()
        return server, lb

    def say(self, server, what):
        server.psql(f"INSERT INTO ledger (n, what) SELECT coalesce(max(n), 0) + 1, '{what}' FROM ledger")

    def said(self, server):
        return server.value("SELECT string_agg(what, ',' ORDER BY n) FROM ledger")

    def recover(self, lb, *options, **how):
        server = lb.server
        return lb("recover", "--pg", server.conninfo(), "--pgdata", server.data, "--pg-bin", server.bin, "--port", server.port,
                  "--socket-dir", server.place, *options, **how)

    def verdicts(self, record):
        return {one["id"]: one["verdict"] for one in record["verdicts"]}

    def test_a_crashed_server_with_broken_files_loses_nothing(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                self.say(server, "not archived")
                server.kill9()
                shutil.rmtree(server.data / "pg_xact")
                before = tree(server.data)
                plan = self.recover(lb, "--failure", "primary-lost", "--dry-run").ok().json
                self.assertEqual(tree(server.data), before, "a dry run touches nothing")
                self.assertIn("nothing that was committed", plan["expected_loss"])
                self.assertIsNone(plan["post_mortem"])
                self.assertIn("Next message", plan["stakeholder_text"])
                self.assertTrue(any("does not answer" in fact for fact in plan["found_before"]), plan["found_before"])
                self.assertFails(self.recover(lb, "--failure", "primary-lost"), NOT_CONFIRMED, "--yes")
                self.assertEqual(tree(server.data), before)
                where = new_directory("rec") / "r"
                done = self.recover(lb, "--failure", "primary-lost", "--yes", "--record", where, "--rpo", "5min", "--rto", "15min").ok().json
                record = done["post_mortem"]
                self.assertEqual(self.said(server), "good,not archived")
                self.assertEqual(self.verdicts(record),
                                 {"target_reached": "pass", "server_open": "pass", "indexes_valid": "pass", "archiving_on": "pass",
                                  "rpo_met": "pass", "rto_met": "pass", "estimate_held": record_of(record, "estimate_held")})
                self.assertEqual(record["loss_seconds"], 0)
                amcheck(server)
                markdown, document = (open(path).read() for path in done["files"])
                self.assertIn("**RECOVERED**", markdown)
                self.assertEqual(json.loads(document)["evidence"], record["evidence"])
                # The record is evidence: the report knows that a recovery was real, and proofs are not disturbed.
                report = lb("report", live=True).json
                self.assertEqual(report["rehearsals"][0]["evidence"], record["evidence"])
                self.assertEqual(report["rehearsals"][0]["kind"], "recovery")
                lb("list").ok()
                # What is said to come next holds.
                ours = [line for line in done["next_commands"] if shlex.split(line)[0].endswith("/lifeboat")]
                self.assertGreaterEqual(len(ours), 2)
                for line in ours:
                    self.assertIn(run(shlex.split(line), check=False).code, (0, 17), line)
                server.stop()

    def test_a_directory_whose_wal_is_gone_has_lost_what_was_not_archived(self):
        for what in ("all of it", "the segment that was written"):
            with self.subTest(what=what):
                server, lb = self.source(self.majors()[0])
                self.say(server, "not archived")
                written = server.value("SELECT pg_walfile_name(pg_current_wal_lsn())")
                server.kill9()
                # What a killed postmaster leaves of its socket is nobody's.
                ended = subprocess.run(["/bin/sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
                lock = server.place / f".s.PGSQL.{server.port}.lock"
                lock.write_text(f"{ended}\n{server.data}\n")
                give(lock)
                if what == "all of it":
                    shutil.rmtree(server.data / "pg_wal")
                else:
                    (server.data / "pg_wal" / written).unlink()
                plan = self.recover(lb, "--failure", "primary-lost", "--dry-run").ok().json
                self.assertNotIn("nothing that was committed", plan["expected_loss"])
                self.assertNotIn("nothing that was committed", plan["stakeholder_text"])
                done = self.recover(lb, "--failure", "primary-lost", "--yes", "--record", new_directory("rec"), "--rpo", "1ms").ok().json
                self.assertEqual(self.said(server), "good")
                self.assertEqual(self.verdicts(done["post_mortem"])["rpo_met"], "fail")

    def test_in_place_of_a_standby_nobody_knows_what_its_primary_had(self):
        server, lb = self.source(self.majors()[0])
        directory = new_directory("standby") / "data"
        run([tool("pg_basebackup", server.major), "-D", directory, "-R", "-X", "stream", "-c", "fast", "-d", server.conninfo()], timeout=120)
        standby = Cluster.attach(directory, server.major, start=True)
        self.say(server, "both")
        wait_until(lambda: standby.value("SELECT count(*) FROM ledger WHERE what = 'both'") == "1", "the standby")
        standby.stop()
        self.say(server, "the primary alone")
        server.kill9()
        plan = lb("recover", "--failure", "primary-lost", "--dry-run", "--pg", server.conninfo(), "--pgdata", standby.data, "--pg-bin", server.bin,
                  "--port", standby.port, "--socket-dir", standby.place).ok().json
        self.assertNotIn("nothing that was committed", plan["expected_loss"])

    def test_a_dropped_table_beside_the_cluster_that_goes_on(self):
        server, lb = self.source()
        server.psql("DROP TABLE orders")
        self.say(server, "later")
        server.wait_archived()
        copy = new_directory("c") / "copy"
        sockets = new_directory("s")
        options = ["--failure", "data-changed", "--before-drop", "orders", "--to", copy, "--socket-dir", sockets, "--port", 5555]
        how = ["recover", "--pg", server.conninfo(), "--pg-bin", server.bin]
        # It answers: whoever believes it lost is told, before there are two.
        told = lb(*how, "--failure", "primary-lost", *options[options.index("--to"):], "--dry-run").ok()
        self.assertIn("split brain", told.json["warning"])
        self.assertIn("split brain", told.err)
        self.assertFails(lb(*how, "--failure", "data-changed", "--to", copy), USAGE, "moment", "wal find")
        self.assertFails(lb(*how, "--failure", "data-changed", "--before-drop", "nothing", "--to", copy), NOT_FOUND, "nothing")
        done = lb(*how, *options).ok().json
        self.assertFalse(done["in_place"])
        self.assertIn("on purpose", done["expected_loss"])
        verdicts = self.verdicts(done["post_mortem"])
        self.assertEqual((verdicts["target_reached"], verdicts["server_open"], verdicts["archiving_on"]), ("pass", "pass", "not_applicable"))
        other = Cluster.attach(copy, server.major)
        other.place, other.port = sockets, 5555
        self.assertEqual(other.value("SELECT count(*) FROM orders"), "100")
        self.assertEqual(self.said(server), "good,later")
        other.stop()

    def test_in_place_back_to_a_moment_and_the_state_before_is_kept(self):
        server, lb = self.source()
        moment = server.now()
        self.say(server, "mistake")
        server.wait_archived()
        options = ["--failure", "data-changed", "--target-time", moment, "--yes"]
        self.assertFails(self.recover(lb, *options), PRECONDITION, "running", "--stop")
        done = self.recover(lb, *options, "--stop").ok().json
        self.assertEqual(self.said(server), "good")
        self.assertEqual(len(done["post_mortem"]["kept"]), 1)
        self.assertIn("pg_ctl", done["preserved_command"])
        self.assertGreater(done["post_mortem"]["phases"]["stop"], 0)

    def test_what_an_older_rollback_has_kept_is_not_the_state_before(self):
        server, lb = self.source(15)
        moment = server.now()
        self.say(server, "mistake")
        server.wait_archived()
        lb("rollback", "--target-time", moment, "--pgdata", server.data, "--port", server.port, "--socket-dir", server.place,
           "--pg-bin", server.bin, "--stop", "--yes").ok()
        lb("backup", live=True).ok()
        server.wait_archived()
        server.stop("immediate")
        shutil.rmtree(server.data)
        kept = list(server.data.parent.glob("data.old-*"))
        self.assertEqual(len(kept), 1)
        done = self.recover(lb, "--failure", "primary-lost", "--yes").ok()
        self.assertEqual(done.json["post_mortem"]["kept"], [])
        self.assertNotIn(str(kept[0]), done.out + done.err)
        self.assertEqual(self.said(server), "good")

    def test_a_lost_host_is_recovered_into_nothing(self):
        server, lb = self.source()
        noticed = server.now()
        server.stop("immediate")
        shutil.rmtree(server.data)
        self.assertFails(self.recover(lb), USAGE, "--failure")
        done = self.recover(lb, "--failure", "region-lost", "--noticed", noticed, "--yes", "--rpo", "5min").ok().json
        self.assertIn("own WAL is not at hand", done["expected_loss"])
        self.assertIsNotNone(done["post_mortem"]["loss_seconds"])
        self.assertEqual(self.verdicts(done["post_mortem"])["rpo_met"], "pass")
        self.assertEqual(self.said(server), "good")

    def test_an_archiver_that_fails_is_told_and_the_data_is_back(self):
        server, lb = self.source()
        off = new_directory("flag") / "off"
        server.configure(archive_command=f"test ! -e {off} && {lb.archive_command()}").reload()
        lb("backup", live=True).ok()
        off.touch()
        server.kill9()
        failed = self.recover(lb, "--failure", "corruption", "--yes", json=False)
        self.assertEqual(failed.code, 17, failed.out + failed.err)
        self.assertIn("RECOVERED, AND NOT ARCHIVED", failed.out)
        self.assertNotIn("NOT RECOVERED", failed.out)
        self.assertEqual(self.said(server), "good")

    def test_a_mistyped_directory_is_doubted(self):
        server, lb = self.source()
        typo = server.data.with_name("dtaa")
        plan = lb("recover", "--pg", server.conninfo(), "--pgdata", typo, "--pg-bin", server.bin, "--failure", "primary-lost", "--dry-run")
        self.assertIn("Is it mistyped?", plan.err)
        self.assertTrue(any("mistyped" in fact for fact in plan.ok().json["found_before"]))
        taken = lb("recover", "--pg", server.conninfo(), "--failure", "data-changed", "--target-time", server.now(), "--to", server.data)
        self.assertNotEqual(taken.code, 0)
        self.assertNotIn("--replace", taken.err)

    def test_a_recovery_that_cannot_begin_touches_nothing_and_leaves_no_record(self):
        server, lb = self.source()
        server.kill9()
        before = tree(server.data)
        # The port is taken by somebody else's socket: the server could not be started.
        other = self.cluster()
        where = new_directory("rec") / "r"
        failed = lb("recover", "--pgdata", server.data, "--pg-bin", server.bin, "--port", other.port, "--socket-dir", other.place,
                    "--failure", "corruption", "--yes", "--record", where)
        self.assertFails(failed, PRECONDITION, "another server uses this port")
        self.assertEqual(tree(server.data), before, "the old state is there")
        self.assertFalse(where.exists())

    def assertRecordOfFailure(self, lb, failed, where, *says):
        record = failed.json["post_mortem"]
        self.assertFalse(record["recovered"])
        markdown, = where.glob("recovery-*.md")
        document, = where.glob("recovery-*.json")
        self.assertIn("**NOT RECOVERED**", markdown.read_text())
        for words in says:
            self.assertIn(words, markdown.read_text())
        kept = json.loads(document.read_text())
        self.assertEqual((kept["recovered"], kept["evidence"]), (False, record["evidence"]))
        self.assertEqual(self.verdicts(kept)["server_open"], "fail")
        rehearsals = lb("report", live=True).json["rehearsals"]
        self.assertIn((record["evidence"], "recovery"), [(one["evidence"], one["kind"]) for one in rehearsals])

    def test_a_recovery_that_fails_leaves_a_record_that_says_so(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb = self.source(major)
                server.kill9()
                where = new_directory("rec") / "r"
                words = lb.argv("recover", "--pgdata", server.data, "--pg-bin", server.bin, "--port", server.port, "--socket-dir", server.place,
                                "--failure", "corruption", "--yes", "--record", where)
                # No file may be as large as what is copied.
                failed = run(["bash", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "-", *words], check=False)
                self.assertEqual(failed.code, SPACE, failed.err)
                self.assertRecordOfFailure(lb, failed, where, "ulimit -f")
                self.recover(lb, "--failure", "corruption", "--yes").ok()
                self.assertEqual(self.said(server), "good")

    def test_so_does_one_that_cannot_start_what_it_put_in_place(self):
        """The port was free when it was looked at."""
        server, lb = self.source()
        other = self.cluster()
        server.kill9()
        where, sockets = new_directory("rec") / "r", new_directory("s")
        command = Background(lb.argv("recover", "--pgdata", server.data, "--pg-bin", server.bin, "--port", "5557", "--socket-dir", sockets,
                                     "--failure", "corruption", "--yes", "--record", where))
        wait_until(lambda: list(server.data.parent.glob("*.new-*")) or not command.running, "the copy", interval=0.001)
        lock = sockets / ".s.PGSQL.5557.lock"
        lock.write_text(f"{other.pid}\n{other.data}\n")
        give(lock)
        failed = command.wait(120, check=False)
        self.assertFails(failed, PRECONDITION, "another server uses this port")
        self.assertTrue(list(server.data.parent.glob("*.old-*")), "it was replaced")
        self.assertRecordOfFailure(lb, failed, where, "another server uses this port")

    def test_at_a_terminal_it_asks_for_what_is_open(self):
        server, lb = self.source()
        server.psql("DROP TABLE orders")
        server.wait_archived()
        copy, sockets = new_directory("c") / "copy", new_directory("s")
        argv = [*lb.argv("recover", json=False), "--pg", server.conninfo(), "--pg-bin", server.bin, "--port", 5556, "--socket-dir", sockets]
        code, screen = self.converse(argv, [("takes: ", "data-changed"), ("go back in place)", str(copy)), ("wal find searches", "dropped orders")])
        self.assertEqual(code, 0, screen)
        for word in ("step 1 of 8: assess", "to tell people", "RECOVERED", "step 8 of 8: hand over"):
            self.assertIn(word, screen)
        other = Cluster.attach(copy, server.major)
        other.place, other.port = sockets, 5556
        self.assertEqual(other.value("SELECT count(*) FROM orders"), "100")
        other.stop()

    def converse(self, argv, answers, timeout=120):
        """Runs a program at a terminal of its own and answers its questions; returns exit code and what was on the screen."""
        pid, terminal = pty.fork()
        if pid == 0:
            who = account()
            if who:
                os.setgroups(who["extra_groups"])
                os.setgid(who["group"])
                os.setuid(who["user"])
            os.chdir("/")
            os.execve(str(argv[0]), [str(word) for word in argv], environment())
        screen, asked, deadline = "", 0, time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            screen += piece.decode(errors="replace")
            if answers and answers[0][0] in screen[asked:]:
                asked = len(screen)
                os.write(terminal, answers.pop(0)[1].encode() + b"\n")
        else:
            os.kill(pid, 9)
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), screen


def record_of(record, name):
    """The verdict that a small test server may give either way."""
    found = next(one["verdict"] for one in record["verdicts"] if one["id"] == name)
    assert found in ("pass", "unknown"), record
    return found


if __name__ == "__main__":
    main()
