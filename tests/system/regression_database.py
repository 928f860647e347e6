"""The database that PostgreSQL's own regression tests leave behind, which PostgreSQL tries pg_dump and pg_upgrade on too."""

import concurrent.futures
import re
import subprocess

from harness import SOURCE, environment, account, give, new_directory, run, skip, tool

LEAVES_NOTHING = {"select_parallel", "join_hash", "regex", "tuplesort", "stats", "sysviews", "advisory_lock", "random", "write_parallel"}
PARALLEL = 6  # psql at a time; a line of the schedule has up to 20
CONF = {"max_prepared_transactions": "8", "max_connections": "60", "shared_buffers": "128MB", "autovacuum": "off"}


def suite(major):
    """(directory, version) of the tests; skips when they cannot be had."""
    done = subprocess.run([SOURCE / "tests/support/regression_suite.sh", str(major)], capture_output=True, text=True)
    if done.returncode != 0:
        skip(f"PostgreSQL's regression tests for {major}: {(done.stdout or done.stderr).strip().removeprefix('- ')}")
    directory, version = done.stdout.split()
    return directory, version


def make(server, name="regression"):
    """Runs the tests in their order, each to its end: not what they print counts here, but what they leave. Returns the
    version of the tests."""
    source, version = suite(server.major)
    place = new_directory("regress")
    libraries = give_new(place / "lib")
    give_new(place / "results")
    own = server.bin.parent / "lib"
    for library, at in (("regress.so", source), ("autoinc.so", own), ("refint.so", own)):
        (libraries / library).symlink_to(f"{at}/{library}")
    server.psql(f"CREATE DATABASE {name} TEMPLATE template0; ALTER DATABASE {name} SET lc_messages = 'C';"
                f"ALTER DATABASE {name} SET bytea_output = 'hex'; ALTER DATABASE {name} SET timezone_abbreviations = 'Default'")
    env = {**server.env(), "PGDATABASE": name, "PGTZ": "America/Los_Angeles", "PGDATESTYLE": "Postgres, MDY",
           "PGOPTIONS": "-c intervalstyle=postgres_verbose", "PG_ABS_SRCDIR": source, "PG_ABS_BUILDDIR": place,
           "PG_LIBDIR": libraries, "PG_DLSUFFIX": ".so"}
    argv = [tool("psql", server.major), "-X", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]

    def one(test):
        script = script_of(source, test, {"@abs_srcdir@": source, "@abs_builddir@": place, "@libdir@": libraries,
                                          "@DLSUFFIX@": ".so", "@testtablespace@": give_new(place / f"ts_{test}")})
        with open(place / f"{test}.out", "wb") as out:
            done = subprocess.run([str(a) for a in argv], input=script, stdout=out, stderr=subprocess.STDOUT,
                                  env=environment(env=env), cwd=place, timeout=300, **account())
        # 3 is a script's own \quit in the middle of an error; what counts is that the server was there to the end.
        assert done.returncode in (0, 3), f"{test}: psql ended with {done.returncode}"

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        for line in open(f"{source}/parallel_schedule"):
            if found := re.match(r"test:\s*(.*)", line):
                list(pool.map(one, [test for test in found[1].split() if test not in LEAVES_NOTHING]))
    return version


def give_new(path):
    path.mkdir()
    return give(path)


def script_of(source, test, places):
    """Until 14 some scripts are templates."""
    try:
        with open(f"{source}/sql/{test}.sql", "rb") as file:
            return file.read()
    except FileNotFoundError:
        with open(f"{source}/input/{test}.source", "rb") as file:
            script = file.read()
        for mark, place in places.items():
            script = script.replace(mark.encode(), str(place).encode())
        return script


def described(server, database, *options):
    """pg_dump's text, without what is different from run to run."""
    text = run([tool("pg_dump", server.major), "-d", server.conninfo(database), *options], timeout=600).out
    return re.sub(r"(?m)^\\(un)?restrict .*\n|^-- Dumped .*\n", "", text)
