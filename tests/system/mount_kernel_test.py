#!/usr/bin/env python3
"""What a mount leaves to the kernel, told from outside: files made since are read and written without the serving process (FUSE
pass-through), and a `wal get`, which recovery runs for every segment, does not sync the whole file system."""
import os
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from system import harness  # noqa: E402
from system.harness import MOUNTER, Background, Cluster, give, main, run, skip, wait_until  # noqa: E402
from system.mount_test import MountCase  # noqa: E402

MB = 1 << 20
SIZE = 64 * MB


def kernel():
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])


class MountKernelTest(MountCase):
    def handled(self, command):
        """Bytes that the serving process has read and written until now, whatever from and to."""
        with open(f"/proc/{command.process.pid}/io", encoding="ascii") as counts:
            values = dict(line.split(": ") for line in counts.read().splitlines())
        return int(values["rchar"]) + int(values["wchar"])

    def test_files_made_since_are_the_kernels_own(self):
        """FUSE pass-through: WAL above all."""
        if os.geteuid() != 0:
            skip("pass-through needs CAP_SYS_ADMIN")
        if kernel() < (6, 9):
            skip(f"pass-through needs Linux 6.9, this is {os.uname().release}")
        server, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data)
        block = os.urandom(MB)

        def cost(path, flags):
            """Of the serving process, in bytes, for as many bytes of a file in the mount."""
            before = self.handled(command)
            fd = os.open(path, flags, 0o600)
            for number in range(SIZE // MB):
                if flags & os.O_CREAT:
                    os.pwrite(fd, block, number * MB)
                else:
                    self.assertEqual(block, os.pread(fd, MB, number * MB))
            os.fsync(fd)
            os.close(fd)
            return self.handled(command) - before

        made = data / "pg_wal/made"
        written = cost(made, os.O_RDWR | os.O_CREAT)
        again = cost(made, os.O_RDONLY)
        made.unlink()
        # The canary: what is of the backup goes through the process, every byte of it.
        ledger = data / server.value("SELECT pg_relation_filepath('ledger')")
        size, before = ledger.stat().st_size, self.handled(command)
        with open(ledger, "r+b", buffering=0) as file:
            file.write(bytes(size))
        of_backup = self.handled(command) - before
        print(f"{SIZE} bytes of a new file cost the process {written} to write and {again} to read; "
              f"{size} of the backup's {of_backup}", flush=True)
        self.assertGreaterEqual(of_backup, size)
        self.assertLess(written, MB)
        self.assertLess(again, MB)
        command.stop(60)

    def test_a_mount_namespace_that_was_copied_does_not_keep_a_mount_alive(self):
        if os.geteuid() != 0:
            skip("a mount namespace of one's own needs CAP_SYS_ADMIN")
        _, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data)
        other = Background(["unshare", "--mount", "--propagation", "private", "sleep", "600"], user="root")
        wait_until(lambda: os.readlink(f"/proc/{other.process.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
                   and Path(f"/proc/{other.process.pid}/comm").read_text().strip() == "sleep", "the other namespace")
        began = time.monotonic()
        command.stop(60)
        self.assertLess(time.monotonic() - began, 30)
        self.assertTrue(other.running)
        self.assertIn(str(data), Path(f"/proc/{other.process.pid}/mountinfo").read_text(), "it holds the mount still")
        self.assertNotIn(str(data), Path("/proc/self/mountinfo").read_text())
        other.kill()

    def test_wal_of_a_server_is_the_kernels_own(self):
        """The same with PostgreSQL, which makes its segments itself and renames them."""
        if os.geteuid() != 0 or kernel() < (6, 9):
            skip("pass-through needs root and Linux 6.9")
        _, lb, _ = self.source(15)
        data = self.place()
        command = self.mount(lb, "latest", data, "--target", "latest", "--action", "promote")
        copy = Cluster.attach(data, 15, start=True)
        copy.wait_recovered()
        copy.psql("SELECT pg_switch_wal(); CHECKPOINT")
        before = self.handled(command)
        copy.psql("SELECT count(pg_logical_emit_message(false, 'test', repeat('x', 100000))) FROM generate_series(1, 500)")
        cost = self.handled(command) - before
        print(f"50 MB of WAL cost the process {cost} bytes", flush=True)
        self.assertLess(cost, 10 * MB)
        copy.stop()
        command.stop(60)

    def test_wal_get_does_not_sync_everything(self):
        library = harness.scratch() / "count_sync.so"
        run(["cc", "-O2", "-shared", "-fPIC", "-o", library, harness.SOURCE / "tests/support/count_sync.c"], user=MOUNTER)
        library.chmod(0o755)
        count = harness.new_directory("count", mode=0o777) / "syncs"
        count.write_bytes(b"")
        count.chmod(0o666)
        server, lb, _ = self.source(15)
        segments = [server.switch_wal() for _ in range(8)]
        server.wait_archived(segments[-1])
        data = self.place()
        command = self.mount(lb, "latest", data, "--target", "latest", "--action", "promote",
                             env={"LD_PRELOAD": library, "SYNC_COUNT": count})

        def syncs(action):
            before = count.stat().st_size
            action()
            return count.stat().st_size - before

        def touch():
            """Something that a sync would have to write."""
            (data / "touched").write_bytes(b"x")
            give(data / "touched")

        def get(segment):
            touch()
            lb("wal", "get", segment, "pg_wal/RECOVERYXLOG", "--prefetch", "0", cwd=data, json=False).ok()
            self.assertEqual(harness.WAL_SEGMENT_MB * MB, (data / "pg_wal/RECOVERYXLOG").stat().st_size)
            (data / "pg_wal/RECOVERYXLOG").unlink()
        got = syncs(lambda: [get(segment) for segment in segments])
        # The canary: a server that starts, like every other program that reads pg_control, relies on all being durable.
        touch()
        other = syncs(lambda: run([harness.tool("pg_controldata", 15), data]))
        print(f"{len(segments)} segments got: {got} syncs; pg_controldata: {other}", flush=True)
        self.assertEqual(0, got)
        self.assertGreater(other, 0)
        # A whole recovery: the start syncs, each segment does not.
        recovery = syncs(lambda: Cluster.attach(data, 15, start=True).wait_recovered().stop())
        print(f"a recovery over {len(segments)} segments and more: {recovery} syncs", flush=True)
        self.assertLess(recovery, len(segments))
        command.stop(60)


if __name__ == "__main__":
    main()
