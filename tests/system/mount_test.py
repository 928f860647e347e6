#!/usr/bin/env python3
"""`lifeboat mount`: a backup is a data directory at once. A server recovers on it, reads and writes, checkpoints and starts
again; what it was told is durable stays when the serving process is killed; what the repository cannot give is an error and
never zeros (T48); a directory that is not mounted cannot be started (T04)."""
import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import (Background, Cluster, SystemTest, amcheck, checksums, flip_bit, give, main, new_directory, run,  # noqa: E402
                            skip, wait_until)

ROOT = os.geteuid() == 0
MOUNTER = harness.MOUNTER
ROWS = 300_000
# What the serving process may hold, however large the tables are (T42): 32 MiB that readers just went through
# (FreshPieces::kMost), for each of 16 threads that fetch and 2 that bring the rest one read of the store, 4 MiB, and its
# frame (kFetchThreads in mount.cc, kReadBytes in block_reader.cc), and the program itself.
MEMORY_LIMIT = (32 + 18 * 4.25 + 19.5) * (1 << 20)


def is_mounted(path):
    path = str(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split(" ")[4] == path for line in table)


def unmount(path):
    """For the test's end: whatever happened, nothing of it stays mounted."""
    while is_mounted(path):
        argv = ["umount", "--lazy", path] if ROOT else ["fusermount3", "-u", "-z", path]
        if subprocess.run(argv, capture_output=True, check=False).returncode != 0:
            return


class MountCase(SystemTest):
    """Mounts are made as root where the tests run as root: FUSE that does not work there is a failure, not a skip."""

    def place(self, name="m"):
        path = new_directory(name) / "data"
        harness._at_end.callback(unmount, path)
        return path

    def slow(self, milliseconds):
        """Environment in which each read of a pack of blocks takes that much longer."""
        library = harness.scratch() / "slow.so"
        if not library.exists():
            run(["cc", "-O2", "-shared", "-fPIC", "-o", library, harness.SOURCE / "tests/support/slow.c"], user=MOUNTER)
            library.chmod(0o755)
        return {"LD_PRELOAD": library, "SLOW_PATH": ".data", "SLOW_MS": milliseconds}

    def mount(self, lb, *words, json=False, env=None):
        """Starts the command and waits until it has mounted; returns it as a Background."""
        data = next(word for word in words if str(word).startswith("/"))
        command = Background(lb.argv("mount", *words, json=json), user=MOUNTER, env=env)

        def ready():
            command._out.seek(0)
            return (json and is_mounted(data)) or b"mounted " in command._out.read() or not command.running
        wait_until(ready, "the mount", timeout=60)
        if not command.running:
            raise harness.CommandFailed(command.result())
        return command

    def source(self, major, *, options=(), tablespace=False, conf=None):
        """A server with tables of some size, archived, and a repository with its backup."""
        server = self.cluster(major=major, conf=conf or {})
        lb = self.lifeboat(server, options=options)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        server.psql("CREATE TABLE ledger (id bigint PRIMARY KEY, amount int, note text)")
        server.psql(f"INSERT INTO ledger SELECT g, g % 1000, md5(g::text) || repeat('x', g % 200) FROM generate_series(1, {ROWS}) g")
        server.psql("CREATE INDEX ON ledger (amount); CREATE TABLE small AS SELECT g FROM generate_series(1, 1000) g")
        if tablespace:
            server.tablespace("elsewhere")
            server.psql("CREATE TABLE far TABLESPACE elsewhere AS SELECT g, md5(g::text) m FROM generate_series(1, 20000) g;"
                        "CREATE INDEX far_g ON far (g) TABLESPACE elsewhere")
            server.psql("CREATE DATABASE d TABLESPACE elsewhere")
        server.psql("VACUUM ANALYZE")
        server.checkpoint()
        made = lb("backup", live=True).ok().json
        server.psql("INSERT INTO ledger SELECT -g, g, 'later' FROM generate_series(1, 5000) g; UPDATE small SET g = -g")
        server.wait_archived(server.switch_wal())
        return server, lb, made

    SUMS = "SELECT count(*), sum(id), sum(amount), sum(hashtext(note)::bigint) FROM ledger"


class MountTest(MountCase):
    def test_a_server_lives_on_a_mount(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                server, lb, _ = self.source(major)
                data = self.place()
                command = self.mount(lb, "latest", data, "--target", "latest", "--action", "promote")
                copy = Cluster.attach(data, major, start=True)
                copy.wait_recovered()
                self.assertEqual(server.value(self.SUMS), copy.value(self.SUMS))
                copy.psql("UPDATE ledger SET amount = amount + 1 WHERE id % 7 = 0; CREATE TABLE more AS SELECT * FROM ledger;"
                          "DROP TABLE small; VACUUM ledger; CHECKPOINT")
                sums = copy.value(self.SUMS)
                copy.restart()
                self.assertEqual(sums, copy.value(self.SUMS))
                self.assertEqual(sums.split("|")[0], copy.value("SELECT count(*) FROM more"))
                amcheck(copy)
                copy.stop()
                checksums(copy)
                command.signal(signal.SIGTERM)
                ended = command.wait(60)
                self.assertIn("unmounted", ended.out)
                self.assertFalse(is_mounted(data))
                self.assert_does_not_start(data, major)
                # What its making leaves when it is cut off between its last two steps; the next restore there would clear it.
                marker = data / "lifeboat.restore_incomplete"
                marker.write_text("")
                again = self.mount(lb, data)
                self.assertFalse(marker.exists())
                copy.start()
                self.assertEqual(sums, copy.value(self.SUMS))
                copy.stop()
                run(["umount" if ROOT else "fusermount3", *([] if ROOT else ["-u"]), data], user=MOUNTER)
                self.assertIn("unmounted", again.wait(60).out)

    def assert_does_not_start(self, data, major):
        """T04: what is not mounted is full of holes."""
        with self.assertRaises(AssertionError) as refused:
            Cluster.attach(data, major, start=True)
        self.assertIn("pg_control", str(refused.exception))

    def test_the_first_query_fetches_little(self):
        server, lb, _ = self.source(15)
        data = self.place()
        began = time.monotonic()
        command = self.mount(lb, "latest", data, json=True)
        copy = Cluster.attach(data, 15, start=True)
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        seconds = time.monotonic() - began
        copy.stop()
        command.signal(signal.SIGTERM)
        ended = command.wait(60).json
        share = ended["fetched_bytes"] / ended["bytes"]
        print(f"first query after {seconds:.2f} s, fetched {ended['fetched_bytes']} of {ended['bytes']} bytes ({share:.2%})")
        self.assertLess(share, 0.05)
        self.assertEqual("unmounted", ended["end"])

    def test_a_store_that_is_far_away(self):
        """20 ms for each read: the first query within two seconds, and reading on hides the rest."""
        _, lb, _ = self.source(15)
        data = self.place()
        began = time.monotonic()
        command = self.mount(lb, "latest", data, json=True, env=self.slow(20))
        copy = Cluster.attach(data, 15, start=True)
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        first = time.monotonic() - began
        began = time.monotonic()
        copy.psql("SET max_parallel_workers_per_gather = 0; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;"
                  "SET enable_indexscan = off; SELECT sum(length(note)) FROM ledger")
        scan = time.monotonic() - began
        size = (data / copy.value("SELECT pg_relation_filepath('ledger')")).stat().st_size
        copy.stop()
        ended = command.stop(60).json
        frames = size / (256 << 10)
        print(f"first query after {first:.2f} s, {size >> 20} MB scanned in {scan:.2f} s, one by one {frames * 0.02:.2f} s; "
              f"{ended['fetches']} fetches")
        self.assertLess(first, 3)  # two, on a machine that does nothing else
        self.assertLess(scan, frames * 0.02 / 2)

    def test_a_dump_of_a_store_that_is_far_away(self):
        """20 ms for each read: those of one table, which pg_dump asks for one after the other, are under way together."""
        _, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data, env=self.slow(20))
        copy = Cluster.attach(data, 15, start=True)

        def dump(*options):
            return run([harness.tool("pg_dump", 15), "-d", copy.conninfo("postgres"), "-f", "/dev/null", *options]).seconds
        dump("--schema-only")  # brings the catalogue, which is no part of it
        far = dump("--data-only", "--table", "ledger")
        near = dump("--data-only", "--table", "ledger")
        frames = (data / copy.value("SELECT pg_relation_filepath('ledger')")).stat().st_size / (256 << 10)
        print(f"a dump of {frames:.0f} frames took {far:.2f} s, once they are there {near:.2f} s; one by one {frames * 0.02:.2f} s more")
        self.assertGreater(frames, 64)
        self.assertLess(far - near, frames * 0.02 / 2)
        copy.stop()
        command.stop(60)

    def test_memory_is_bounded_however_large_the_tables_are(self):
        """T42: read from front to back, and then brought whole."""
        server = self.cluster(15)
        # Random enough that what is read from the store at once is as large as it may be; short enough to stay in its row.
        server.psql("CREATE TABLE large AS SELECT (SELECT string_agg(md5(g || '.' || i), '') FROM generate_series(1, 50) i) AS filler"
                    " FROM generate_series(1, 160000) g")
        self.assertGreater(int(server.value("SELECT pg_relation_size('large')")), 2 * MEMORY_LIMIT)
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        lb("backup", live=True).ok()
        data = self.place()
        command = self.mount(lb, "latest", data)
        copy = Cluster.attach(data, 15, start=True)
        copy.psql("SET max_parallel_workers_per_gather = 0; SELECT sum(length(filler)) FROM large")
        read = self.peak_memory(command)
        copy.stop()
        command.stop(60)
        command = self.mount(lb, "latest", self.place(), "--hydrate")
        self.wait_complete(command)
        brought = self.peak_memory(command)
        print(f"peak memory of the serving process: {read >> 20} MiB after a scan, {brought >> 20} MiB when all was brought")
        self.assertLess(max(read, brought), MEMORY_LIMIT)
        command.stop(60)

    def peak_memory(self, command):
        """In bytes, of whichever of its processes had most."""
        def peak(process):
            return next(int(line.split()[1]) << 10 for line in Path(f"/proc/{process}/status").read_text().splitlines()
                        if line.startswith("VmHWM:"))
        return max(peak(process) for process in [command.process.pid, *harness._children(command.process.pid)])

    def wait_complete(self, command):
        def complete():
            command._err.seek(0)
            return b"every block is in the directory" in command._err.read()
        wait_until(complete, "everything brought", timeout=120)

    def test_tablespaces_and_encryption(self):
        for major in self.two_majors():
            with self.subTest(major=major):
                self.tablespaces_and_encryption(major)

    def tablespaces_and_encryption(self, major):
        key = new_directory("key") / "main.key"
        server, lb, _ = self.source(major, options=["--key-file", key], tablespace=True)
        data = self.place()
        far = self.tablespace_place(server, data)
        command = self.mount(lb, "latest", data, "--target", "latest", "--action", "promote", *far.mapping)
        self.assertTrue(is_mounted(far.path))
        copy = Cluster.attach(data, major, start=True)
        copy.wait_recovered()
        sums = "SELECT count(*), sum(g), sum(hashtext(m)::bigint) FROM far"
        self.assertEqual(server.value(sums), copy.value(sums))
        copy.psql("UPDATE far SET g = g + 1; VACUUM far; CREATE TABLE far2 TABLESPACE elsewhere AS SELECT * FROM far; CHECKPOINT")
        copy.psql("CREATE TABLE inside (x int)", database="d")
        changed = copy.value(sums)
        copy.restart()
        self.assertEqual(changed, copy.value(sums))
        amcheck(copy)
        copy.stop()
        checksums(copy)
        command.signal(signal.SIGTERM)
        command.wait(60)
        self.assertFalse(is_mounted(data) or is_mounted(far.path))
        # A tablespace that is not mounted has no version directory either.
        self.assertTrue(all(name.endswith(".lifeboat_restore") for name in os.listdir(far.path)), os.listdir(far.path))
        again = self.mount(lb, data)
        copy.start()
        self.assertEqual(changed, copy.value(sums))
        copy.stop()
        again.stop()

    def tablespace_place(self, server, data):
        class Place:
            path = data.parent / "far"
            mapping = ["--tablespace", f"{server.value('SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE oid > 16000')}={data.parent / 'far'}"]
        harness._at_end.callback(unmount, Place.path)
        return Place

    def test_what_the_repository_cannot_give_is_an_error_and_never_zeros(self):
        server, lb, made = self.source(15)
        path = server.value("SELECT pg_relation_filepath('ledger')")
        packs = sorted((lb.repo_path / "clusters").rglob("packs/*/*.data"), key=lambda p: p.stat().st_size)
        data = self.place()
        command = self.mount(lb, "latest", data)
        copy = Cluster.attach(data, 15, start=True)
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        for number in range(40):
            flip_bit(packs[-1], packs[-1].stat().st_size * (number * 2 + 1) // 80)
        failed = copy.psql(self.SUMS, check=False)
        self.assertNotEqual(0, failed.code)
        self.assertIn("Input/output error", failed.err)
        # Read as bytes: errors, never zeros where the original has something.
        original = (server.data / path).read_bytes()
        wrong = errors = 0
        with open(data / path, "rb", buffering=0) as file:
            for block in range(0, len(original), 8192):
                try:
                    read = os.pread(file.fileno(), 8192, block)
                except OSError:
                    errors += 1
                    continue
                if not any(read) and any(original[block:block + 8192]):
                    wrong += 1
        self.assertEqual(0, wrong)
        self.assertGreater(errors, 0)
        # Another server on it can be asked for the rest.
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        copy.stop()
        ended = command.stop(60)
        self.assertIn("input/output error", ended.err)
        self.assertIn(".data", ended.err)

    def test_the_serving_process_is_killed(self):
        server, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data, "--target", "latest", "--action", "promote")
        copy = Cluster.attach(data, 15, start=True, conf={"fsync": "on"})
        copy.wait_recovered()
        copy.psql("CREATE TABLE after (x int); INSERT INTO after SELECT generate_series(1, 10000); UPDATE ledger SET amount = 1 WHERE id < 100")
        sums = copy.value(self.SUMS)
        postmaster = copy.pid
        helper = subprocess.Popen(["sh", "-c", f"cd {data} && echo there && exec cat"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, **harness.account(harness.OS_USER))
        self.assertEqual(b"there\n", helper.stdout.readline())
        command.kill()
        self.assertTrue(is_mounted(data))
        # Its server is still there: mounting again would let it go on with what is below.
        refused = run(lb.argv("mount", data, json=False), user=MOUNTER, check=False)
        self.assertFails(refused, 14, "still uses it")
        if harness._alive(postmaster):  # it may find out by itself that its files are gone
            self.assertIn(str(postmaster), refused.err)
        self.assertTrue(is_mounted(data))
        end_server(postmaster)
        # What it had started to fetch its WAL ends a moment after it.
        threading.Timer(1, helper.communicate).start()
        again = self.mount(lb, data)
        self.assertEqual(0, helper.wait())
        forget_server(copy)
        copy.start()
        self.assertEqual(sums, copy.value(self.SUMS))
        self.assertEqual("10000", copy.value("SELECT count(*) FROM after"))
        amcheck(copy)
        copy.stop()
        checksums(copy)
        again.stop()

    def test_brought_whole_it_is_what_a_restore_writes(self):
        server, lb, _ = self.source(15, tablespace=True)
        # Its owner may not write it, as an administrator leaves a bundle of certificates.
        bundle = server.data / "ca-bundle.pem"
        bundle.write_bytes(harness.rng(self.id()).randbytes(200_000))
        shutil.chown(bundle, harness.OS_USER)
        bundle.chmod(0o400)
        lb("backup", live=True).ok()
        whole = self.place("r")
        far = self.tablespace_place(server, whole)
        lb("restore", "--to", whole, "--target", "immediate", *far.mapping).ok()
        restored, restored_far = harness.tree(whole), harness.tree(far.path)
        subprocess.run(["rm", "-r", whole, far.path], check=True)
        command = self.mount(lb, "latest", whole, "--hydrate", *far.mapping)
        self.wait_complete(command)
        command.signal(signal.SIGTERM)
        self.assertIn("plain data directory", command.wait(60).out)
        hydrated, hydrated_far = harness.tree(whole), harness.tree(far.path)
        restored.pop("backup_manifest")
        self.assertEqual(restored, hydrated)
        self.assertEqual(restored_far, hydrated_far)
        for directory, _, names in os.walk(whole):
            for name in names:
                self.assertEqual([], os.listxattr(os.path.join(directory, name), follow_symlinks=False))
        copy = Cluster.attach(whole, 15, start=True)
        self.assertEqual(str(ROWS + 5000), copy.value("SELECT count(*) FROM ledger"))

    def test_moved_away_it_is_refused_and_what_is_there_now_stays(self):
        _, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data, "--throw-away")
        command.kill()
        unmount(data)
        moved = data.with_name("moved")
        data.rename(moved)
        data.mkdir(mode=0o700)
        shutil.chown(data, harness.OS_USER)
        (data / "somebody's").write_text("own")
        refused = run(lb.argv("mount", moved, json=False), user=MOUNTER, check=False)
        self.assertFails(refused, 14, f"was made as {data}")
        self.assertFalse(is_mounted(data))
        self.assertEqual(["somebody's"], os.listdir(data))

    def test_a_throw_away_mount_leaves_nothing(self):
        _, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data, "--throw-away")
        copy = Cluster.attach(data, 15, start=True)
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        copy.stop()
        self.assertIn("removed", command.stop(60).out)
        self.assertFalse(data.exists())

    def test_a_throw_away_mount_does_not_outlive_the_machine(self):
        """T48: it was never synced, so after a restart whole files of it may be zeros."""
        _, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data, "--throw-away")
        command.kill()
        unmount(data)
        self.mount(lb, data).kill()
        unmount(data)
        state = data / "lifeboat.mount/state"
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.assertIn(f"boot {boot}\n", state.read_text())
        state.write_text(state.read_text().replace(boot, boot[::-1]))
        self.assertFails(lb("mount", data, user=MOUNTER), 14, "throw-away", "started again")
        self.assertFalse(is_mounted(data))

    def test_a_name_that_is_renamed_over_is_never_absent(self):
        """PostgreSQL and the gate of `wal get` replace files by renaming while others open them."""
        server = self.cluster()
        lb = self.lifeboat(server)
        lb("init", "--yes", live=True).ok()
        server.archive_with(lb.archive_command())
        lb("backup", live=True).ok()
        data = self.place()
        mount = self.mount(lb, "latest", data)
        name, fresh = data / "note", data / "note.new"
        name.write_text("0")
        # A process of its own: threads of Python take turns.
        replacing = Background([sys.executable, "-S", "-c", "import os, sys\nfor i in range(10**9):\n"
                                "    open(sys.argv[2], 'w').write(str(i)); os.rename(sys.argv[2], sys.argv[1])", name, fresh], user=MOUNTER)
        seen, looks, stale = set(), 0, 0
        end = time.monotonic() + 3
        while time.monotonic() < end:
            looks += 1
            try:
                with open(name, encoding="ascii") as file:
                    seen.add(file.read())
                os.stat(name)
            except OSError as error:
                # The kernel looks once more, not for ever: one that is replaced twice meanwhile is stale, and never absent.
                self.assertEqual(error.errno, errno.ESTALE)
                stale += 1
        replacing.kill()
        replacing.wait(check=False)
        self.assertGreater(len(seen), 100)
        self.assertLess(stale, looks / 50)
        self.assertNotIn("", seen)
        mount.stop()

    def test_read_only(self):
        server, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data, "--read-only")
        path = server.value("SELECT pg_relation_filepath('small')")
        self.assertEqual(5 * 8192, len((data / path).read_bytes()))
        with self.assertRaises(OSError):
            (data / "new").write_bytes(b"")
        self.assertNotIn("lifeboat.mount", os.listdir(data))
        self.assertIn("pg_control", os.listdir(data / "global"))
        with self.assertRaises(AssertionError):
            Cluster.attach(data, 15, start=True)
        self.assertIn("unmounted", command.stop(60).out)

    def test_detached_it_goes_on_alone(self):
        _, lb, _ = self.source(15)
        data = self.place()
        done = lb("mount", "latest", data, "--detach", user=MOUNTER).ok().json
        self.assertTrue(is_mounted(data))
        copy = Cluster.attach(data, 15, start=True)
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        # It waits for the server that runs there.
        os.kill(done["pid"], signal.SIGTERM)
        wait_until(lambda: "still in use" in (data / "lifeboat.mount.log").read_text(), "the warning")
        self.assertEqual("1000", copy.value("SELECT count(*) FROM small"))
        copy.stop()
        wait_until(lambda: not is_mounted(data), "the end of the mount")

    def test_what_cannot_be_mounted(self):
        _, lb, made = self.source(15)
        empty = new_directory("e")
        refused = lb("mount", empty, user=MOUNTER)
        self.assertFails(refused, 4, "is no mount")
        absent = "2020" + made["backup"][4:]
        self.assertFails(lb("mount", absent, self.place(), user=MOUNTER), 4)
        self.assertFails(lb("mount", "nonsense", self.place(), user=MOUNTER), 2)
        data = self.place()
        command = self.mount(lb, "latest", data)
        self.assertFails(lb("mount", data, user=MOUNTER), 15, "is mounted already")
        self.assertFails(lb("mount", "latest", data, user=MOUNTER), 14)
        self.assertFails(lb("restore", "--to", data), 14)
        command.stop(60)
        # Unmounted it is still somebody's: a restore does not take it for its own unfinished one.
        self.assertFails(lb("restore", "--to", data), 14, "mount")

    def test_a_user_who_is_not_root_mounts_with_fusermount3(self):
        """Where /dev/fuse may be opened by all, as distributions have it; here in a mount name space of its own."""
        if not ROOT:
            skip("makes a device, which needs root")
        if not shutil.which("fusermount3"):
            skip("fusermount3 is not installed (Debian's package fuse3)")
        _, lb, _ = self.source(15)
        data, sockets = self.place(), new_directory("s")
        bin_dir = harness.pg_bin(15)
        script = new_directory("script") / "story.sh"
        mount = " ".join(shlex.quote(str(word)) for word in lb.argv("mount", "latest", data, "--detach", json=False))
        script.write_text(f"""set -e
            {mount}
            grep -q ' {data} .*fuse.lifeboat' /proc/self/mountinfo
            {bin_dir}/pg_ctl -D {data} -l {sockets}/log -o '-k {sockets} -p 5432 -c listen_addresses=' -w start >{sockets}/out 2>&1
            {bin_dir}/psql -XqAt -h {sockets} -p 5432 -U postgres -c 'SELECT count(*) FROM ledger' postgres
            {bin_dir}/pg_ctl -D {data} -m fast -w stop >{sockets}/out 2>&1
            fusermount3 -u {data}
            test ! -e {data}/global/pg_control
            """)
        give(script)
        device = ("mount -t tmpfs -o dev,mode=755 none /mnt && mknod /mnt/fuse c 10 229 && chmod 666 /mnt/fuse && "
                  f"mount --bind /mnt/fuse /dev/fuse && exec runuser -u {harness.OS_USER} -- sh {script}")
        done = run(["unshare", "-m", "--propagation", "private", "sh", "-c", device], user="root", check=False)
        self.assertEqual(0, done.code, done.out + done.err)
        self.assertIn(str(ROWS), done.out)

    def test_without_permission_it_says_so_and_touches_nothing(self):
        if not ROOT:
            skip("takes /dev/fuse away, which needs root")
        _, lb, _ = self.source(15)
        parent = new_directory("p")
        script = 'mount --bind /dev/null /dev/fuse && exec "$@"'
        refused = run(["unshare", "-m", "sh", "-c", script, "-", *lb.argv("mount", "latest", parent / "x", json=False)],
                      user="root", check=False)
        self.assertNotEqual(0, refused.code)
        # A /dev without it; the test's own files may be in /dev/shm.
        gone = 'mount -t tmpfs none /mnt && mkdir /mnt/shm && mount --rbind /dev/shm /mnt/shm && cp -a /dev/null /mnt/ ' \
               '&& mount --move /mnt /dev && exec "$@"'
        refused = run(["unshare", "-m", "sh", "-c", gone, "-", *lb.argv("mount", "latest", parent / "x", json=False)],
                      user="root", check=False)
        self.assertFails(refused, 18, "FUSE is not available", "modprobe fuse")
        self.assertEqual([], os.listdir(parent))
        as_owner = lb("mount", "latest", parent / "x", json=False)
        if not os.access("/dev/fuse", os.R_OK) or os.stat("/dev/fuse").st_mode & 0o006 == 0:
            self.assertFails(as_owner, 6, "not permitted")
        self.assertEqual([], os.listdir(parent))


def end_server(postmaster):
    """Of a server whose files answer nothing any more."""
    children = harness._children(postmaster)
    for process in [postmaster, *children]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for process in [postmaster, *children]:
        wait_until(lambda process=process: not harness._alive(process), f"the end of process {process}")


def forget_server(cluster):
    """Where process 1 does not reap, a server that was killed would be taken for alive (see harness.Cluster.kill9)."""
    for lock in (cluster.data / "postmaster.pid", cluster.place / f".s.PGSQL.{cluster.port}.lock"):
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()


if __name__ == "__main__":
    main()
