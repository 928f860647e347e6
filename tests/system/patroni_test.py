#!/usr/bin/env python3
"""A real Patroni with the configuration that docs/patroni.md shows, word for word: a cluster bootstrapped from the repository
to a moment, a member made from the repository, a switchover after which the new leader archives, and a member whose repository
cannot be reached, which Patroni makes by its next method (H1, T29, T43)."""

import re
import shutil
import socket
import time

from harness import (SOURCE, Background, Cluster, SystemTest, amcheck, binary, give, main, new_directory, run, skip, wait_until)

MAJOR = 15
# Nothing but what is about this machine: names, ports, sockets. What matters comes from the document.
MEMBER = """\
scope: shop
name: {name}
restapi: {{listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}"}}
raft: {{data_dir: "{raft_dir}", self_addr: "127.0.0.1:{raft}", partner_addrs: [{partners}]}}
"""
POSTGRESQL = """\
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  use_unix_socket: true
  data_dir: {data}
  bin_dir: {bin}
  pgpass: {place}/pgpass
  authentication:
    superuser: {{username: postgres}}
    replication: {{username: replicator}}
  pg_hba: [local all all trust, host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
"""
DCS = """\
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    postgresql: {use_slots: true, parameters: {fsync: "off", wal_keep_size: 0}}
"""


def free_ports(count):
    """They may be taken again until they are used; the kernel gives others out first."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def documented(section):
    """The YAML of docs/patroni.md that begins with a section."""
    blocks = re.findall(r"```yaml\n(.*?)```", (SOURCE / "docs/patroni.md").read_text(), re.S)
    return next(block for block in blocks if block.startswith(f"{section}:"))


class Member:
    """One Patroni and its server, which `server` talks to."""

    def __init__(self, case, name):
        self.case, self.name = case, name
        self.server = Cluster.attach(new_directory(name) / "data", MAJOR)
        self.server.port, self.rest, self.raft = free_ports(3)
        self.config, self.raft_dir = new_directory("patroni") / f"{name}.yml", new_directory("raft")

    def start(self, repo=None):
        case, server = self.case, self.server
        place = {"name": self.name, "rest": self.rest, "raft": self.raft, "raft_dir": self.raft_dir, "port": server.port,
                 "partners": case.partners(self.raft), "data": server.data, "bin": server.bin, "place": server.place}
        parameters = f"  parameters:\n    unix_socket_directories: {server.place}\n"
        postgresql = documented("postgresql").replace("  parameters:\n", parameters)
        text = MEMBER.format(**place) + documented("bootstrap") + DCS + postgresql + POSTGRESQL.format(**place)
        for word, ours in (("/usr/bin/lifeboat", binary()), ("/var/lib/postgresql/15/main", server.data),
                           ("/srv/backup", repo or case.lb.repo_path), ("/etc/lifeboat/main.key", case.key),
                           ("2026-11-20 10:56:25+00", case.moment)):
            case.assertIn(word, text)
            text = text.replace(word, str(ours))
        self.config.write_text(text)
        give(self.config)
        self.patroni = Background(["/usr/bin/patroni", self.config])
        return self

    def stop(self):
        self.patroni.stop(60)
        self.case.assertFalse(self.server.running, self.log()[-4000:])

    def log(self):
        return self.patroni.result().err

    def wait(self, condition, what, timeout=60):
        try:
            wait_until(lambda: condition() or not self.patroni.running, what, timeout, interval=0.1)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.log()[-6000:]}") from None
        self.case.assertTrue(self.patroni.running, self.log()[-6000:])

    def wait_logged(self, line):
        self.wait(lambda: line in self.log(), f"\"{line}\" of {self.name}")

    def answers(self, sql, expected):
        return self.server.psql(sql, check=False).out.strip() == expected

    def wait_answer(self, sql, expected):
        self.wait(lambda: self.answers(sql, expected), f"{expected} from {sql}")

    def is_leader(self):
        listed = run(["/usr/bin/patronictl", "-c", self.config, "list", "-f", "tsv"], check=False).out
        return re.search(rf"\t{self.name}\t.*\tLeader\trunning", listed) is not None


class PatroniTest(SystemTest):
    ROWS = "SELECT string_agg(what, ',' ORDER BY n) FROM ledger"

    def test_a_cluster_from_the_repository_and_its_members_too(self):
        for program in ("patroni", "patroni_raft_controller"):
            if not shutil.which(program):
                skip(f"{program} is not installed (Debian's packages patroni and python3-pysyncobj)")
        self.source()
        one, two = Member(self, "one"), Member(self, "two")
        witness, = free_ports(1)
        self.raft_ports = [witness, one.raft, two.raft]
        self.start_witness(witness)
        self.bootstrapped(one.start())
        self.made_by_the_next_method(one, two.start(repo=new_directory("nothing")))
        self.made_from_the_repository(one, two.start())
        self.switched_over(one, two)
        for member in (one, two):
            member.stop()

    def partners(self, own):
        return ", ".join(f'"127.0.0.1:{port}"' for port in self.raft_ports if port != own)

    def start_witness(self, port):
        """The third voice, with which one member alone can begin."""
        config, place = new_directory("witness") / "raft.yml", new_directory("raft")
        config.write_text(f"raft: {{data_dir: \"{place}\", self_addr: \"127.0.0.1:{port}\", partner_addrs: [{self.partners(port)}]}}\n")
        give(config)
        Background(["/usr/bin/patroni_raft_controller", config])

    def source(self):
        """What is lost: a server with a mistake after the moment."""
        self.key = new_directory("key") / "main.key"
        server = self.cluster(major=MAJOR)
        self.lb = self.lifeboat(server, options=["--key-file", self.key])
        self.lb("init", "--yes", live=True).ok()
        server.archive_with(self.lb.archive_command())
        server.psql("CREATE TABLE ledger (n serial, what text); INSERT INTO ledger (what) VALUES ('backed up')")
        self.lb("backup", live=True).ok()
        server.psql("INSERT INTO ledger (what) VALUES ('archived')")
        self.moment = server.now()
        server.psql("INSERT INTO ledger (what) VALUES ('mistake')")
        server.wait_archived()
        server.stop()

    def bootstrapped(self, one):
        one.wait(one.is_leader, "a leader")
        server = one.server
        self.assertEqual("backed up,archived", server.value(self.ROWS))
        self.assertEqual("on", server.value("SHOW archive_mode"))
        self.assertEqual("on", server.value("SHOW hot_standby"))
        self.assertEqual(2, server.timeline())
        # Nothing of the recovery stays behind to be found by the next one.
        self.assertNotRegex((server.data / "postgresql.auto.conf").read_text(), "(?m)^(recovery_target|restore_command)")
        server.psql("INSERT INTO ledger (what) VALUES ('on the new leader')")
        server.wait_archived()
        server.psql("INSERT INTO ledger (what) VALUES ('not archived')")

    def made_by_the_next_method(self, one, two):
        """A failure of ours is one that Patroni understands."""
        two.wait_logged("replica has been created using basebackup")
        self.assertIn("Error creating replica using method lifeboat", two.log())
        two.wait_answer("SELECT pg_is_in_recovery()", "t")
        two.stop()
        shutil.rmtree(two.server.data)

    def made_from_the_repository(self, one, two):
        two.wait_logged("replica has been created using lifeboat")
        two.wait_answer(self.ROWS, "backed up,archived,on the new leader,not archived")
        one.wait_answer("SELECT application_name || ' ' || state FROM pg_stat_replication", "two streaming")
        one.wait_answer("SELECT slot_name || ' ' || active FROM pg_replication_slots", "two true")
        self.assertIn("wal get %f %p --standby", two.server.value("SHOW restore_command"))
        self.assertEqual("latest", two.server.value("SHOW recovery_target_timeline"))
        # What a restore wrote stands above what Patroni sets, until it is taken back as the document says.
        self.assertEqual("", one.server.value("SHOW synchronous_standby_names"))
        one.server.psql("ALTER SYSTEM RESET synchronous_standby_names")
        one.server.reload()
        one.wait_answer("SELECT sync_state FROM pg_stat_replication", "sync")
        one.server.psql("INSERT INTO ledger (what) VALUES ('in both')", timeout=30)

    def switched_over(self, one, two):
        # Patroni refuses, with exit code 0, for as long as it does not know the candidate as synchronous.
        deadline = time.monotonic() + 90
        while not two.is_leader():
            said = run(["/usr/bin/patronictl", "-c", two.config, "switchover", "--master", "one", "--candidate", "two", "--force"],
                       check=False)
            end = time.monotonic() + 15
            while time.monotonic() < min(end, deadline) and not two.is_leader():
                time.sleep(0.2)
            self.assertLess(time.monotonic(), deadline, f"no switchover: {said.out} {said.err}")
        two.wait_answer("SELECT state FROM pg_stat_replication", "streaming")
        two.server.psql("INSERT INTO ledger (what) VALUES ('after the switchover')", timeout=30)
        rows = "backed up,archived,on the new leader,not archived,in both,after the switchover"
        one.wait_answer(self.ROWS, rows)
        self.assertEqual(rows, two.server.value(self.ROWS))
        segment = two.server.wait_archived()
        self.assertTrue(segment.startswith("00000003"), segment)
        self.assertTrue([name for name in self.lb.objects() if "00000003.history" in name])
        amcheck(two.server)


if __name__ == "__main__":
    main()
