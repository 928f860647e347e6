#!/usr/bin/env python3
"""Metrics, rules and dashboard, judged by Prometheus' own promtool; and the daemon's HTTP server, which neither slow nor large nor
many clients can hurt (M2, M3)."""

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request

from harness import SOURCE, SystemTest, give, main, new_directory, run, skip, wait_until

CONFIG, BUSY = 3, 15


def promtool():
    done = subprocess.run([SOURCE / "tests/support/promtool.sh"], capture_output=True, text=True)
    if done.returncode != 0:
        skip(f"promtool: {done.stdout.strip()}")
    return done.stdout.strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def values(text):
    """{name{labels}: value} of the text format."""
    return {key: float(value) for key, value in re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, re.M)}


class MetricsCase(SystemTest):
    def setUp(self):
        super().setUp()
        self.server = self.cluster(self.two_majors()[-1])
        self.lb = self.lifeboat(self.server)
        self.lb("init", "--yes", live=True).ok()
        self.server.archive_with(self.lb.archive_command())
        self.lb("backup", live=True).ok()
        self.state = new_directory("state")
        self.port = free_port()

    def config(self, *lines, serve=()):
        path = new_directory("conf") / "lifeboat.toml"
        path.write_text("\n".join([*lines, "[cluster.main]", f'repo = "{self.lb.repo}"', f'pg = "{self.server.conninfo()}"',
                                   f'pgdata = "{self.server.data}"', f'state-dir = "{self.state}"', 'owner = "dba"',
                                   "[cluster.main.serve]", *serve]) + "\n")
        return give(path)

    def check_metrics(self, text):
        run([promtool(), "check", "metrics"], input=text)
        return values(text)


class Text(MetricsCase):
    def test_promtool_finds_nothing_to_say(self):
        self.server.psql('CREATE DATABASE "odd ""name\\with"')
        text = self.lb("metrics", "--owner", "dba", live=True, json=False).ok().out
        found = self.check_metrics(text)
        self.assertEqual(found['lifeboat_signal_status{cluster="main",signal="backup_age"}'], 0)
        self.assertEqual(found['lifeboat_signal_status{cluster="main",signal="drill_age"}'], 2)
        self.assertEqual(found['lifeboat_signal_threshold{cluster="main",signal="backup_age",severity="warning"}'], 26 * 3600)
        self.assertLess(found['lifeboat_backup_age_seconds{cluster="main"}'], 60)
        self.assertIn(r'lifeboat_xid_age_transactions{cluster="main",database="odd \"name\\with"}', found)
        # The canary: promtool does find fault.
        self.assertNotEqual(run([promtool(), "check", "metrics"], input="broken_total_x{ 1\n", check=False).code, 0)

    def test_the_file_for_node_exporter_is_whole_and_readable(self):
        path = new_directory("textfile", mode=0o755) / "lifeboat.prom"
        self.lb("metrics", "--owner", "dba", "--to", path, live=True).ok()
        self.check_metrics(path.read_text())
        self.assertEqual(path.stat().st_mode & 0o777, 0o644)
        self.assertEqual([one.name for one in path.parent.iterdir()], ["lifeboat.prom"])

    def test_unknown_is_told_and_has_no_value(self):
        self.server.stop()
        found = self.check_metrics(self.lb("metrics", "--owner", "dba", live=True, json=False).ok().out)
        self.assertEqual(found['lifeboat_signal_status{cluster="main",signal="connections"}'], 3)
        self.assertNotIn('lifeboat_connections_used_ratio{cluster="main"}', found)


class Rules(MetricsCase):
    def rules(self, *lines):
        path = new_directory("rules", mode=0o755) / "lifeboat.yml"
        self.lb("alert", "rules", "--to", path, "--config", self.config(serve=lines)).ok()
        return path

    def test_promtool_accepts_them(self):
        done = run([promtool(), "check", "rules", self.rules()])
        self.assertRegex(done.out + done.err, r"SUCCESS: \d{2,} rules found")

    def test_each_rule_fires_above_its_threshold_and_not_below(self):
        """promtool's own unit tests, for every signal: below its warning threshold, between the two, and above the critical one."""
        path = self.rules()
        signals = self.lb("status", "--owner", "dba", live=True).json["signals"]
        metric_of = {}
        for alert, metric in re.findall(r"alert: (Lifeboat\w+?)\n\s+expr: \"(\w+)", path.read_text()):
            metric_of.setdefault(alert, metric)
        cases = []

        def case(values, statuses, expected):
            """All signals at once; expected(signal) are the (kind of rule, severity) that fire."""
            series, wanted = [], []
            for one in signals:
                alert = "Lifeboat" + "".join(part.capitalize() for part in one["id"].split("_"))
                value = values(one)
                if value is not None:
                    series.append((f'{metric_of[alert]}{{cluster="main"}}', value))
                if statuses is not None:
                    series.append((f'lifeboat_signal_status{{cluster="main",signal="{one["id"]}"}}', statuses))
                for kind in ("", "Status", "Unknown"):
                    for severity in ("warning", "critical"):
                        wanted.append((alert + kind, severity, (kind, severity) in expected(one)))
            cases.append({"interval": "1m", "input_series": [{"series": name, "values": f"{value}x20"} for name, value in series],
                          "promql_expr_test": [
                              {"expr": f'count(ALERTS{{alertname="{alert}",severity="{severity}",alertstate="firing",owner="dba"}}) or vector(0)',
                               "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": 1 if fires else 0}]}
                              for alert, severity, fires in wanted]})

        def beyond(one, threshold, side):
            return one[threshold] + side * (1 if one["worse"] == "above" else -1) * max(abs(one[threshold]), 1) * 0.01

        def has_between(one):
            return one["warning"] != one["critical"]
        case(lambda one: beyond(one, "warning", -1), 0, lambda one: set())
        case(lambda one: beyond(one, "warning", 0.5) if has_between(one) else None, 1,
             lambda one: {("", "warning")} if has_between(one) else {("Status", "warning")})
        case(lambda one: beyond(one, "critical", 0.5), 2, lambda one: {("", "critical")})
        case(lambda one: None, 1, lambda one: {("Status", "warning")})
        case(lambda one: None, 2, lambda one: {("Status", "critical")})
        case(lambda one: None, 3, lambda one: {("Unknown", "warning")})
        # One cause, one alert.
        case(lambda one: 1 if one["id"] == "server_down" else None, 3, lambda one: {("", "critical")} if one["id"] == "server_down" else set())
        unit = path.with_name("test.yml")
        unit.write_text(json.dumps({"rule_files": [path.name], "evaluation_interval": "1m", "tests": cases}))
        run([promtool(), "test", "rules", unit.name], cwd=unit.parent)
        # The canary: what must not fire does not pass for what must.
        sample = cases[0]["promql_expr_test"][0]["exp_samples"][0]
        sample["value"] = 1 - sample["value"]
        unit.write_text(json.dumps({"rule_files": [path.name], "evaluation_interval": "1m", "tests": cases[:1]}))
        self.assertNotEqual(run([promtool(), "test", "rules", unit.name], cwd=unit.parent, check=False).code, 0)

    def metrics(self):
        return self.lb("metrics", "--owner", "dba", live=True, json=False).ok().out

    def test_silence_is_noticed(self):
        path = self.rules()
        unit = path.with_name("test.yml")
        def case(series):
            return {"interval": "1m", "input_series": series, "alert_rule_test": [], "promql_expr_test": [
                {"expr": 'count(ALERTS{alertname="LifeboatSignalsStale",alertstate="firing"})', "eval_time": "40m",
                 "exp_samples": [{"labels": "{}", "value": 1}]}]}
        unit.write_text(json.dumps({"rule_files": [path.name], "evaluation_interval": "1m", "tests": [
            case([]), case([{"series": 'lifeboat_signals_read_timestamp_seconds{cluster="main"}', "values": "0x60"}])]}))
        run([promtool(), "test", "rules", unit.name], cwd=unit.parent)

    def test_the_dashboard_asks_for_metrics_that_there_are(self):
        path = new_directory("dash", mode=0o755) / "dashboard.json"
        self.lb("alert", "dashboard", "--to", path, "--config", self.config()).ok()
        board = json.loads(path.read_text())
        expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        self.assertGreaterEqual(len(board["panels"]), 17)
        self.assertEqual(len({panel["id"] for panel in board["panels"]}), len(board["panels"]))
        rules = path.with_name("rules.yml")
        rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": [
            {"record": f"r:{i}", "expr": expression.replace("$cluster", "main")} for i, expression in enumerate(expressions)]}]}))
        run([promtool(), "check", "rules", rules])
        known = self.lb("internal", "schemas", json=False) and self.metrics()
        asked = {re.match(r"\w+", expression).group(0) for expression in expressions}
        made = {key.split("{")[0] for key in values(known)}
        # What this server has nothing of: jobs, standbys, drills, a second key, large relations.
        nothing_here = {"lifeboat_job_failures", "lifeboat_replication_lag_seconds", "lifeboat_drill_age_seconds", "lifeboat_drill_failed", "lifeboat_repository_keys"}
        self.assertLessEqual(asked - made, nothing_here)


class Endpoint(MetricsCase):
    def serve(self, *, serve=('signals = "1s"',), top=None):
        path = self.config("[serve]", f'metrics = "127.0.0.1:{self.port}"' if top is None else top, serve=serve)
        run_directory = new_directory("run")
        daemon = self.lb.background("serve", "--config", path, "--socket", run_directory / "s", "--state-dir", self.state)
        self.addCleanup(daemon.stop)
        wait_until(lambda: not daemon.running or self.get("/health")[0] is not None, "the daemon")
        self.daemon = daemon
        return daemon

    def get(self, path="/metrics", method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode(), dict(answer.headers)
        except OSError:
            return None, "", {}

    def test_signals_and_the_daemon_itself(self):
        self.serve(serve=('signals = "1s"', "receive = false", 'beacon = "1s"', "[cluster.main.schedule]", 'list = "0 0 1 1 *"'))
        wait_until(lambda: "lifeboat_backup_age_seconds" in self.get()[1], "the first reading")
        status, text, headers = self.get()
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        found = self.check_metrics(text)
        for name in ('lifeboat_job_runs_total{cluster="main",job="list"}', 'lifeboat_job_waiting{cluster="main",job="list"}',
                     'lifeboat_process_running{cluster="main",process="wal beacon"}', 'lifeboat_pushed_files_total{cluster="main"}',
                     'lifeboat_signal_checks_total{cluster="main"}', 'lifeboat_alerts_firing{cluster="main"}', "lifeboat_http_connections",
                     'lifeboat_http_requests_total{code="200"}', "lifeboat_http_request_seconds_total", "lifeboat_daemon_start_timestamp_seconds"):
            self.assertIn(name, found)
        self.assertEqual(self.get("/health")[:2], (200, "ok\n"))
        # A push through the daemon is counted with the time that it took.
        socket_path = self.daemon.argv[self.daemon.argv.index("--socket") + 1]
        self.server.configure(archive_command=self.lb.archive_command() + f" --socket {socket_path}").reload()
        self.server.wait_archived()
        found = values(self.get()[1])
        self.assertGreaterEqual(found['lifeboat_socket_requests_total{op="push"}'], 1)
        self.assertGreater(found['lifeboat_socket_request_seconds_total{op="push"}'], 0)
        self.assertEqual(found['lifeboat_socket_requests_waiting{op="push"}'], 0)

    def test_what_cannot_be_read_any_more_is_unknown(self):
        self.serve()
        wait_until(lambda: "lifeboat_backup_age_seconds" in self.get()[1], "the first reading")
        self.server.stop()
        wait_until(lambda: values(self.get()[1]).get('lifeboat_signal_status{cluster="main",signal="connections"}') == 3, "unknown")
        self.assertNotIn('lifeboat_connections_used_ratio{cluster="main"}', self.get()[1])

    def test_other_questions(self):
        self.serve()
        self.assertEqual(self.get("/")[0], 404)
        self.assertEqual(self.get("/metrics?x=1")[0], 200)
        self.assertEqual(self.get(method="POST")[0], 405)
        head = self.get(method="HEAD")
        self.assertEqual((head[0], head[1]), (200, ""))
        for raw, answer in ((b"nonsense\r\n\r\n", b"400"), (b"GET http://x/ HTTP/1.1\r\n\r\n", b"400"), (b"GET /" + b"x" * 9000, b"431")):
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(raw)
                self.assertIn(answer, connection.recv(4096).split(b"\r\n")[0])

    def test_slow_and_many_clients_keep_nobody_from_reading(self):
        self.serve()
        slow = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            slow.append(connection)
        self.assertEqual(self.get()[0], 200)
        # More than it takes: the rest waits until the first are dropped for being slow.
        for _ in range(30):
            slow.append(socket.create_connection(("127.0.0.1", self.port), timeout=5))
        wait_until(lambda: self.get()[0] == 200, "an answer", timeout=30)
        self.assertTrue(self.daemon.running)
        for connection in slow:
            connection.close()
        wait_until(lambda: values(self.get()[1])["lifeboat_http_dropped_total"] >= 20, "the count", timeout=30)

    def test_only_this_host_unless_told_and_only_addresses(self):
        self.serve()
        listening = run(["ss", "-ltn"], check=False).out if False else open("/proc/net/tcp").read()
        lines = [line.split() for line in listening.splitlines() if f":{self.port:04X} " in line and " 0A " in line]
        self.assertEqual([line[1].split(":")[0] for line in lines], ["0100007F"])
        second = self.lb("serve", "--config", self.config("[serve]", f'metrics = "127.0.0.1:{self.port}"'), "--socket",
                         new_directory("run") / "s", "--state-dir", new_directory("other"))
        self.assertFails(second, BUSY, "listens there already")
        bad = self.lb("serve", "--check", "--config", self.config("[serve]", 'metrics = "everywhere"'))
        self.assertFails(bad, CONFIG, "127.0.0.1:9187")
        self.assertFails(self.lb("serve", "--check", "--config", self.config("[serve]", "metricks = 1")), CONFIG, "did you mean metrics")


if __name__ == "__main__":
    main()
