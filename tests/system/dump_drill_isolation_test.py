#!/usr/bin/env python3
"""A drill of a dump reaches nobody (D1, T33), whatever the dump holds: foreign tables, dblink, subscriptions. Whoever they
name listens here, and must stay alone."""

import socket
import threading

from harness import SystemTest, main, new_directory, give


class Listener:
    """Counts who comes, by TCP and by a Unix socket where a PostgreSQL would be."""

    def __init__(self):
        self.directory = new_directory("listener", mode=0o755)
        self.callers = 0
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(f"{self.directory}/.s.PGSQL.5432")
        give(self.directory / ".s.PGSQL.5432")
        self.unix.listen()
        self.port = self.tcp.getsockname()[1]
        for listening in (self.tcp, self.unix):
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def _accept(self, listening):
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            self.callers += 1
            caller.close()

    def close(self):
        for listening in (self.tcp, self.unix):
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()


class DumpDrillIsolation(SystemTest):
    def setUp(self):
        super().setUp()
        self.listener = Listener()
        self.addCleanup(self.listener.close)

    def trap(self, server):
        """A database whose views were filled from the server itself, and whose wrappers now name the listener."""
        own = f"host '{server.place}', port '{server.port}', dbname 'far'"
        server.psql("CREATE DATABASE far; CREATE DATABASE shop")
        server.psql("CREATE TABLE goods AS SELECT g AS id FROM generate_series(1, 10) g", "far")
        server.psql(f"""
            CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink;
            CREATE SERVER tcp FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({own});
            CREATE SERVER local FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({own});
            CREATE USER MAPPING FOR postgres SERVER tcp OPTIONS (user 'postgres', password_required 'false');
            CREATE USER MAPPING FOR postgres SERVER local OPTIONS (user 'postgres', password_required 'false');
            CREATE FOREIGN TABLE goods_tcp (id int) SERVER tcp OPTIONS (table_name 'goods');
            CREATE FOREIGN TABLE goods_local (id int) SERVER local OPTIONS (table_name 'goods');
            CREATE TABLE here AS SELECT g AS id FROM generate_series(1, 5) g;
            CREATE TABLE target (conninfo text); INSERT INTO target VALUES ('{server.conninfo("far")}');
            CREATE TABLE parts (id int) PARTITION BY RANGE (id);
            CREATE TABLE parts_here PARTITION OF parts FOR VALUES FROM (0) TO (100);
            INSERT INTO parts SELECT g FROM generate_series(1, 50) g;
            CREATE FOREIGN TABLE parts_far PARTITION OF parts FOR VALUES FROM (100) TO (200) SERVER tcp OPTIONS (table_name 'goods');
            CREATE MATERIALIZED VIEW from_tcp AS SELECT * FROM goods_tcp;
            CREATE MATERIALIZED VIEW from_local AS SELECT * FROM goods_local;
            CREATE MATERIALIZED VIEW from_dblink AS
                SELECT d.id FROM public.target, LATERAL public.dblink(conninfo, 'select id from public.goods') d(id int);
            CREATE UNIQUE INDEX ON from_dblink (id);
            CREATE MATERIALIZED VIEW from_view AS SELECT count(*) FROM from_tcp;
            CREATE MATERIALIZED VIEW from_here AS SELECT count(*) AS n FROM here;
            CREATE SUBSCRIPTION news CONNECTION 'host=127.0.0.1 port={self.listener.port} dbname=far' PUBLICATION p WITH (connect = false);
            ALTER SERVER tcp OPTIONS (SET host '127.0.0.1', SET port '{self.listener.port}');
            ALTER SERVER local OPTIONS (SET host '{self.listener.directory}', SET port '5432');
            UPDATE target SET conninfo = 'host=127.0.0.1 port={self.listener.port} user=postgres dbname=far'""", "shop")

    def test_nobody_is_called_and_what_needs_others_is_noted(self):
        server = self.cluster(conf={"wal_level": "logical"})
        lb = self.lifeboat(server, options=["--pg-bin", server.bin])
        lb("init", "--yes", live=True).ok()
        self.trap(server)
        for format, jobs in (("custom", 1), ("directory", 2), ("plain", 1)):
            with self.subTest(format=format):
                made = lb("dump", "create", "--database", "shop", "--format", format, live=True).ok().json
                self.listener.callers = 0
                done = lb("drill", "--dump", made["dump"], "--jobs", str(jobs), "--sql-database", "shop",
                          "--sql", "SELECT n = 5 FROM from_here", "--sql", "SELECT count(*) = 50 FROM parts_here").ok().json
                self.assertEqual("passed", done["verdict"])
                self.assertEqual(0, self.listener.callers)
                notes = "\n".join(done["notes"])
                for view in ("from_tcp", "from_local", "from_dblink", "from_view"):
                    self.assertIn(f"REFRESH MATERIALIZED VIEW public.{view}", notes)
                self.assertNotIn("from_here", notes)
                # Whatever the operator asks of it reaches nobody either.
                asked = lb("drill", "--dump", made["dump"], "--sql-database", "shop", "--sql", "SELECT count(*) = 10 FROM goods_tcp")
                self.assertFails(asked, 17, "assertion")
                self.assertEqual(0, self.listener.callers)
        # The canary: a restore into a server that is not cut off does call.
        restored = lb("dump", "restore", "latest", "--database", "shop=back", live=True)
        self.assertNotEqual(0, restored.code)
        self.assertGreater(self.listener.callers, 0)


if __name__ == "__main__":
    main()
