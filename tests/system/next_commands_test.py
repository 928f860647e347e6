"""What is printed to be pasted works when it is pasted: by root, and in a shell of the data's owner."""

import os
import re
import shlex

import harness
from harness import OS_USER, Cluster, SystemTest, binary, give, main, new_directory, run, wait_until


class Pasting(SystemTest):
    """People: "root" types as root, "owner" in a shell that belongs to the servers' account."""

    def people(self):
        return ["root", "owner"] if os.geteuid() == 0 else ["owner"]

    def type(self, person, line, check=True, env=None):
        """Types a line into a shell; the shell is the parent of what runs, as it is for a person."""
        user = "root" if person == "root" else OS_USER
        place = new_directory("typed")
        # To files: a server that is started keeps the descriptors.
        done = run(["bash", "-c", f"({line}\n) >{place}/out 2>{place}/err; exit $?"], user=user, cwd=place, env=env,
                   check=False)
        done.out, done.err = (place / "out").read_text(), (place / "err").read_text()
        return done.ok() if check else done

    def lines(self, text):
        """The command lines of ours and of PostgreSQL in a text, as they would be copied."""
        return [line.strip() for line in text.split("\n") if re.match(r"\s*(/|sudo |runuser |systemctl |pg_ctl)", line)]

    def statements(self, text):
        return [line.strip() for line in text.split("\n") if re.match(r"\s*(ALTER SYSTEM|SELECT) .*;", line)]

    def test_from_init_to_a_promoted_copy(self):
        for person in self.people():
            with self.subTest(person=person):
                server = self.cluster(conf={"fsync": "on"})
                repo, key = new_directory("place") / "it's a repo", new_directory("key") / "main.key"
                ours = (f"{binary()} init --repo {shlex.quote(str(repo))} --key-file {key} --pgdata {server.data} --pg "
                        f"{shlex.quote(server.conninfo())} --yes")
                said = self.type(person, ours).out
                self.assertNotIn("runuser" if person == "owner" else "sudo", said)
                for statement in self.statements(said):
                    server.psql(statement)
                restart = next(line for line in self.lines(said) if "restart" in line)
                self.type(person, restart)
                wait_until(lambda: server.psql("SELECT 1", check=False).code == 0, "the restarted server")
                doctor = self.lines(said)[-1]
                self.assertIn(" doctor ", doctor)
                self.type(person, doctor, check=False)

                said = self.type(person, ours).out
                self.assertIn("Ready. Next:", said)
                backup, doctor = self.lines(said.partition("Ready. Next:")[2])
                self.type(person, backup)
                self.type(person, doctor)

                server.psql("CREATE TABLE t AS SELECT 1 AS n")
                server.wait_archived()
                restore = f"{binary()} restore --repo {shlex.quote(str(repo))} --key-file {key}"
                # Beside the original on its port it could not start, which is said before anything is written.
                to, sockets = new_directory("to") / "data", new_directory("k")
                dry = self.type(person, f"{restore} --to {to} --socket-dir {server.place} --port {server.port} --dry-run")
                self.assertIn(f"port {server.port} is in use here", dry.out)
                late = self.type(person, f"{restore} --to {to} --socket-dir {server.place} --port {server.port} --start",
                                 check=False)
                self.assertFails(late, 14, "another server uses this port")
                self.assertFalse(to.exists())
                said = self.type(person, f"{restore} --to {to} --socket-dir {sockets} --port 6010").out
                start = said.strip().split("\n")[-1]
                self.type(person, start)
                copy = Cluster.attach(to, server.major)
                copy.place, copy.port = sockets, 6010
                self.assertEqual(copy.wait_recovered().value("SELECT n FROM t"), "1")
                copy.stop()

    def test_a_table_locked_at_the_target_is_named_and_copied_out(self):
        for person in self.people():
            for major in self.majors():
                with self.subTest(person=person, major=major):
                    self.drop_and_bring_back(person, major)

    def drop_and_bring_back(self, person, major):
        server = self.cluster(major=major)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE DATABASE shop")
        server.psql('CREATE TABLE "Orders; x" AS SELECT g AS n FROM generate_series(1, 1000) g; CREATE TABLE kept (n int)',
                    "shop")
        lb("backup", live=True).ok()
        # The target lies between the DROP and its commit.
        session = server.session("shop")
        session.execute("BEGIN")
        session.execute('DROP TABLE "Orders; x"')
        server.psql("INSERT INTO kept VALUES (1)", "shop")
        moment = server.now()
        server.psql("INSERT INTO kept VALUES (2)", "shop")
        session.execute("COMMIT")
        server.wait_archived()
        to, sockets = new_directory("to") / "data", new_directory("k")
        restore = (f"{binary()} restore --repo {lb.repo} --pg-bin {server.bin} --to {to} --target-time '{moment}' --start "
                   f"--port 6011 --socket-dir {sockets}")
        said = self.type(person, restore).out
        copy = Cluster.attach(to, major)
        copy.place, copy.port = sockets, 6011
        try:
            self.assertIn('public."Orders; x" in database shop', said)
            self.assertNotIn("kept in database", said)
            blocked = copy.psql("SET lock_timeout = '200ms'; SELECT count(*) FROM \"Orders; x\"", "shop", check=False)
            self.assertIn("lock timeout", blocked.err, "else there is nothing to tell")
            *_, copy_out, _next, promote = said.strip().split("\n")
            self.assertIn("pg_promote()", promote)
            self.type(person, promote)
            copy.wait_recovered()
            self.assertEqual(copy.value("SELECT count(*) FROM \"Orders; x\"", "shop"), "1000")
            if harness.os.access(server.bin / "pg_dump", os.X_OK):
                place = new_directory("out")
                os.chmod(place, 0o777)
                self.type(person, f"cd {place} && {copy_out}")
                self.assertIn("COPY public.\"Orders; x\"", (place / "public.Orders; x.sql").read_text())
        finally:
            copy.stop("immediate")

    def test_doctors_fixes_are_for_the_person_who_asked(self):
        server = self.cluster(conf={"fsync": "on"})
        lb = self.lifeboat(server)
        lb("init", "--yes", "--apply", live=True).ok()
        server.restart()
        for person in self.people():
            with self.subTest(person=person):
                server.psql("ALTER SYSTEM SET archive_command = 'false'")
                server.reload()
                wait_until(lambda: server.value("SHOW archive_command") == "false", "the broken command")
                doctor = " ".join(map(shlex.quote, map(str, lb.argv("doctor", live=True, json=False))))
                said = self.type(person, doctor, check=False).out
                for statement in dict.fromkeys(self.statements(said)):
                    server.psql(statement)
                server.wait_archived(timeout=120)
                # There is no backup yet: the command that makes one.
                backup = next(line for line in self.lines(said) if " backup " in line)
                self.type(person, backup)
                for card in lb.repo_path.rglob("cards/*"):
                    card.unlink()

    def test_sudo_is_what_a_sudoer_pastes(self):
        """Only the words are looked at: sudo may not be here."""
        if os.geteuid() != 0:
            harness.skip("nobody but root can play the part of sudo")
        server = self.cluster(conf={"fsync": "on"})
        lb = self.lifeboat(server)
        said = lb("init", "--yes", live=True, env={"SUDO_USER": "somebody"}).ok().json
        for command in [*said["next_commands"], said["restart_command"]]:
            self.assertTrue(command.startswith(f"sudo -u {OS_USER} /"), command)


if __name__ == "__main__":
    main()
