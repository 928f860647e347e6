"""A random life of a server: everything that is known to break change tracking, in an order that a seed decides. For stories
that compare what the WAL says with what became of the data.

    history = History(server, rng("history 15"))
    names = history.step()          # one to five events
"""

import re

from harness import new_directory

INDEXES = [("btree", "a"), ("hash", "b"), ("gin", "c"), ("brin", "a"), ("gist", "int8range(a, a + 1)"), ("spgist", "b")]


class History:
    def __init__(self, server, dice):
        self.server, self.dice, self.serial = server, dice, 0
        self.counts = {}
        self.location = new_directory("ts")
        self.sql(f"CREATE TABLESPACE side LOCATION '{self.location}'")
        self.sql("CREATE EXTENSION pg_visibility")
        for _ in range(4):
            self.create_table()

    def step(self):
        """A few events; returns their names, so that a failure tells what led to it."""
        names = []
        for _ in range(self.dice.randint(1, 5)):
            event = self.dice.choice(self.EVENTS)
            names.append(event.__name__)
            event(self)
            self.counts[event.__name__] = self.counts.get(event.__name__, 0) + 1
        return names

    # --- what there is
    def sql(self, text, database="postgres"):
        self.server.psql(text, database)

    def tables(self):
        names = self.server.value("SELECT string_agg(relname, ' ') FROM pg_class WHERE relname ~ '^t[0-9]+$' AND relkind = 'r'")
        return names.split()

    def table(self):
        return self.dice.choice(self.tables() or [self.create_table()])

    def extra_databases(self):
        return [name for name in self.server.databases() if re.fullmatch(r"d\d+", name)]

    # --- what may happen
    def create_table(self):
        self.serial += 1
        name = f"t{self.serial}"
        kind = self.dice.choice(["", "", "", "UNLOGGED"])
        place = self.dice.choice(["", "", " TABLESPACE side"])
        self.sql(f"CREATE {kind} TABLE {name} (id serial, a int, b text, c int[]){place};"
                 f"INSERT INTO {name} (a, b, c) SELECT g, repeat(md5(g::text), 1 + g % 5), ARRAY[g, g % 7] "
                 f"FROM generate_series(1, {self.dice.randint(0, 8000)}) g")
        for access, column in self.dice.sample(INDEXES, 2):
            self.sql(f"CREATE INDEX ON {name} USING {access} ({column})")
        return name

    def drop_table(self):
        if len(self.tables()) > 2:
            self.sql(f"DROP TABLE {self.table()}")

    def insert(self):
        self.sql(f"INSERT INTO {self.table()} (a, b, c) SELECT g, md5(g::text), ARRAY[g] FROM generate_series(1, "
                 f"{self.dice.randint(1, 5000)}) g")

    def toast(self):
        self.sql(f"INSERT INTO {self.table()} (a, b) SELECT g, string_agg(md5(g::text || h::text), '') "
                 f"FROM generate_series(1, 20) g, generate_series(1, {self.dice.randint(50, 300)}) h GROUP BY g")

    def update(self):
        self.sql(f"UPDATE {self.table()} SET a = a + 1 WHERE a % {self.dice.randint(1, 50)} = 0")

    def delete(self):
        self.sql(f"DELETE FROM {self.table()} WHERE a % {self.dice.randint(1, 10)} = 0")

    def truncate(self):
        self.sql(f"TRUNCATE {self.table()}")

    def truncate_and_fill(self):
        name = self.table()
        self.sql(f"BEGIN; TRUNCATE {name}; INSERT INTO {name} (a, b) SELECT g, 'y' FROM generate_series(1, 3000) g; COMMIT")

    def cut_short(self):
        """VACUUM gives the end of a table back, and it grows again."""
        name = self.table()
        blocks = int(self.server.value(f"SELECT pg_relation_size('{name}') / 8192"))
        self.sql(f"DELETE FROM {name} WHERE ctid >= '({blocks * self.dice.randint(1, 9) // 10},0)'")
        self.sql(f"VACUUM {name}")
        self.sql(f"INSERT INTO {name} (a, b) SELECT g, 'z' FROM generate_series(1, 2000) g")

    def rewrite(self):
        name = self.table()
        self.serial += 1
        index = f"{name}_cluster_{self.serial}"
        self.sql(self.dice.choice([f"VACUUM FULL {name}",
                                   f"CREATE INDEX {index} ON {name} (a); CLUSTER {name} USING {index}; DROP INDEX {index}",
                                   f"ALTER TABLE {name} ALTER a TYPE bigint; ALTER TABLE {name} ALTER a TYPE int",
                                   f"REINDEX TABLE {name}"]))

    def index(self):
        access, column = self.dice.choice(INDEXES)
        self.sql(f"CREATE INDEX ON {self.table()} USING {access} ({column})")

    def vacuum(self):
        self.sql(f"VACUUM ({self.dice.choice(['FREEZE', 'ANALYZE'])}) {self.table()}")

    def stale_visibility(self):
        """All visible, and then not: the bits are cleared without a block reference (T15)."""
        name = self.table()
        self.sql(f"VACUUM {name}")
        self.sql(f"UPDATE {name} SET b = 'v' WHERE id = (SELECT min(id) FROM {name});"
                 f"DELETE FROM {name} WHERE id = (SELECT max(id) FROM {name})")

    def hint_bits_only(self):
        self.sql(f"SELECT count(*) FROM {self.table()}; CHECKPOINT")

    def move(self):
        self.sql(f"ALTER TABLE {self.table()} SET TABLESPACE {self.dice.choice(['side', 'pg_default'])}")

    def logged_unlogged(self):
        self.sql(f"ALTER TABLE {self.table()} SET {self.dice.choice(['LOGGED', 'UNLOGGED'])}")

    def large_object(self):
        self.sql(f"SELECT lo_from_bytea(0, decode(repeat('ab', {self.dice.randint(1, 100000)}), 'hex'));"
                 "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid::bigint % 5 = 0")

    def database(self):
        self.serial += 1
        names = self.extra_databases()
        if names and self.dice.random() < 0.5:
            self.sql(f"DROP DATABASE {self.dice.choice(names)}")
            return
        strategy = self.dice.choice([" STRATEGY wal_log", " STRATEGY file_copy"]) if self.server.major >= 15 else ""
        place = self.dice.choice(["", " TABLESPACE side"])
        template = self.dice.choice(["template0", *names])
        self.sql(f"CREATE DATABASE d{self.serial} TEMPLATE {template}{strategy}{place}")
        self.sql("CREATE TABLE IF NOT EXISTS here (n int); INSERT INTO here SELECT g FROM generate_series(1, 3000) g",
                 f"d{self.serial}")

    def move_database(self):
        names = self.extra_databases()
        if names:
            self.sql(f"ALTER DATABASE {self.dice.choice(names)} SET TABLESPACE {self.dice.choice(['side', 'pg_default'])}")

    def in_another_database(self):
        for name in self.extra_databases():
            self.sql("INSERT INTO here SELECT g FROM generate_series(1, 500) g", name)

    def subtransactions(self):
        name = self.table()
        self.sql(f"BEGIN; SAVEPOINT a; DELETE FROM {name}; ROLLBACK TO a; SAVEPOINT b; INSERT INTO {name} (a) VALUES (1); "
                 f"RELEASE b; CREATE TABLE gone AS SELECT * FROM {name}; ROLLBACK")

    def crash(self):
        self.server.kill9()
        self.server.start()
        self.server.wait_recovered()

    def immediate_stop(self):
        self.server.stop("immediate").start().wait_recovered()

    def restart(self):
        self.server.restart()

    def switch(self):
        self.server.switch_wal()

    def checkpoint(self):
        self.server.checkpoint()

    def promote(self):
        """A new timeline without a word lost: the server becomes a standby of its own WAL and is promoted."""
        self.server.stop()
        (self.server.data / "standby.signal").touch()
        self.server.start()
        self.server.promote()

    EVENTS = [create_table, drop_table, insert, insert, toast, update, update, delete, truncate, truncate_and_fill, cut_short,
              rewrite, index, vacuum, vacuum, stale_visibility, hint_bits_only, move, logged_unlogged, large_object, database,
              database, move_database, in_another_database, subtransactions, crash, immediate_stop, restart, switch, checkpoint]
