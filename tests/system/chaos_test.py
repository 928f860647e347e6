#!/usr/bin/env python3
"""Everything dies at random moments under load: the server, the receiver, the daemon, the repository, the network.

T21, T25: what was acknowledged as durable is in the repository. In synchronous mode nothing is lost; in asynchronous mode less
than two seconds at the default interval while the repository and the network are there, printed as a distribution.
LIFEBOAT_SOAK=1 makes 100 rounds."""

import os
import shutil
import signal
import statistics
import time

from harness import Cluster, main, new_directory, rng, wait_until
from receive_test import Ledger
from serve_test import ServeCase
from tcp_proxy import TcpProxy

SOAK = bool(os.environ.get("LIFEBOAT_SOAK"))
ROUNDS = int(os.environ.get("LIFEBOAT_ROUNDS") or (100 if SOAK else 0))
BUDGET_SECONDS = 45
LEAST_LOAD_SECONDS, MOST_LOAD_SECONDS = 1.0, 4.0


class Chaos(ServeCase):
    def setUp(self):
        super().setUp()
        self.random = rng("chaos")
        self.proxy = TcpProxy(self.server.place / f".s.PGSQL.{self.server.port}")
        self.addCleanup(self.proxy.close)
        self.daemon = None
        self.losses = []
        self.counts = {}

    # --- what can happen
    def receiver_pid(self):
        status = self.status()
        processes = status["clusters"][0]["processes"] if status else []
        return next((one["pid"] for one in processes if one["process"] == "wal receive" and one["pid"]), None)

    def kill_receiver(self):
        if pid := self.receiver_pid():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def kill_daemon(self):
        self.daemon.kill()
        self.daemon = self.start()

    def crash_server(self):
        self.server.kill9()
        self.server.start()

    def repository_goes(self):
        aside = self.lb.repo_path.with_name("aside")
        self.lb.repo_path.rename(aside)
        time.sleep(self.random.uniform(0.2, 1.5))
        aside.rename(self.lb.repo_path)

    def network_is_cut(self):
        self.proxy.cut()
        time.sleep(self.random.uniform(0.1, 1.0))
        self.proxy.heal()

    def network_stalls(self):
        self.proxy.stall()
        time.sleep(self.random.uniform(0.1, 1.5))
        self.proxy.heal()

    DISTURBANCES = (kill_receiver, kill_daemon, crash_server, repository_goes, network_is_cut, network_stalls)

    # --- a round
    def streams(self):
        return self.server.value("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'lifeboat' AND"
                                 " state = 'streaming'") != "0"

    def caught_up(self):
        return self.server.value("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'lifeboat' AND"
                                 " flush_lsn >= pg_current_wal_flush_lsn() - 65536") != "0"

    def round(self, synchronous):
        load = self.server.pgbench("-n", "-c", "2", "-R", "300", "-T", "600", background=True)
        ledgers = [Ledger(self.server, pause=0.001)]
        disturbed = []
        for _ in range(self.random.choice([0, 1, 1, 2])):
            time.sleep(self.random.uniform(0, 1.5))
            disturbance = self.random.choice(self.DISTURBANCES)
            disturbed.append(disturbance.__name__)
            disturbance(self)
            if disturbance is Chaos.crash_server:
                ledgers[-1].end()
                load.kill()
                load = self.server.pgbench("-n", "-c", "2", "-R", "300", "-T", "600", background=True)
                ledgers.append(Ledger(self.server, pause=0.001))
        healed = not disturbed or self.random.random() < 0.7
        if healed:
            wait_until(self.caught_up, f"the receiver after {disturbed}", timeout=90)
        time.sleep(self.random.uniform(LEAST_LOAD_SECONDS, MOST_LOAD_SECONDS))
        with_all = self.random.random() < 0.5  # the whole host, receiver and daemon too
        if with_all:
            pid = self.receiver_pid()
            if pid:
                os.kill(pid, signal.SIGSTOP)  # at one moment
            self.server.kill9()
            if pid:
                os.kill(pid, signal.SIGKILL)
            self.daemon.kill()
        else:
            self.server.kill9()
            time.sleep(1.5)  # the receiver stores what it has
        load.kill()
        for ledger in ledgers:
            ledger.end()
        self.judge(ledgers, synchronous, disturbed, healed, with_all)
        if with_all:
            self.daemon = self.start()
        self.server.start()

    def judge(self, ledgers, synchronous, disturbed, healed, with_all):
        """From the repository alone."""
        to = new_directory("copy") / "data"
        self.lb("restore", "--to", to).ok()
        copy = Cluster.attach(to, self.server.major).start().wait_recovered()
        # What crash_server left behind was acknowledged too; in asynchronous mode the receiver has got it since.
        lost = max(ledger.loss_seconds(copy) for ledger in ledgers)
        missing = sum(len(ledger.missing(copy)) for ledger in ledgers)
        copy.stop("immediate")
        shutil.rmtree(to.parent)
        commits = sum(len(ledger.acknowledged) for ledger in ledgers)
        kind = "synchronous" if synchronous else "asynchronous" if healed else "asynchronous, disturbed"
        self.losses.append((kind, lost))
        what = f"{kind}, {' '.join(disturbed) or 'undisturbed'}{', with the receiver' if with_all else ''}: " \
               f"{commits} commits, {missing} lost, {lost:.3f} s"
        print(what, flush=True)
        if synchronous:
            self.assertEqual(missing, 0, what)
        elif healed:
            self.assertLess(lost, 2, what)

    def test_nothing_that_was_acknowledged_is_lost(self):
        self.server.archive_with(self.lb.archive_command() + f" --socket {self.socket} --retry-time 1s")
        self.server.pgbench("-i", "-q", "-s", "1")
        deadline = time.monotonic() + BUDGET_SECONDS
        done = 0
        while done < ROUNDS or (ROUNDS == 0 and (done == 0 or time.monotonic() < deadline)):
            synchronous = done % 2 == 1
            if done % 20 < 2:  # from time to time a new backup, so that recoveries stay short
                self.serve_with(synchronous)
                self.lb("backup", live=True).ok()
            self.serve_with(synchronous)
            self.round(synchronous)
            done += 1
        self.lb("verify").ok()
        for kind in sorted({kind for kind, _ in self.losses}):
            losses = sorted(loss for one, loss in self.losses if one == kind)
            print(f"{kind}: {len(losses)} rounds, loss median {statistics.median(losses):.3f} s, "
                  f"highest {losses[-1]:.3f} s", flush=True)
        print(f"{done} rounds on {self.server.major}", flush=True)

    def serve_with(self, synchronous):
        """The daemon, with a receiver of this kind that streams."""
        words = '["--synchronous"]' if synchronous else "true"
        path = self.config(serve=[f"receive = {words}"])
        text = path.read_text().replace(self.server.conninfo(), f"host=127.0.0.1 port={self.proxy.port} user=postgres dbname=postgres")
        if self.daemon is None or self.config_text != text or not self.daemon.running:
            if self.daemon is not None:
                self.daemon.stop()
            path.write_text(text)
            self.config_text = text
            self.server.configure(synchronous_standby_names="").reload()
            self.daemon = self.start()
        path.write_text(text)
        wait_until(self.streams, "the receiver", timeout=90)
        self.server.configure(synchronous_standby_names="lifeboat" if synchronous else "").reload()


if __name__ == "__main__":
    main()
