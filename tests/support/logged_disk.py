#!/usr/bin/env python3
"""A disk that remembers in which order it was written and flushed, and what it would hold after a power cut.

A file system is mounted from a loop device, the loop device's file is the only file of a FUSE file system, and this
program answers for it: the kernel turns each write of the loop device into FUSE_WRITE and each flush (and what must reach
the medium at once) into FUSE_FSYNC. Requests are taken one at a time and answered in that order, so the log is what a disk
with a volatile cache sees: what was written before a flush is safe once the flush was answered, what came later may be
lost, wholly or by the sector. No kernel module is needed beyond loop and fuse, and no other program.

    logged_disk.py MOUNT_POINT IMAGE LOG POSITION       (a process of its own: whoever waits for the disk must not serve it)

LOG is a sequence of records: u64 offset, u32 length, u32 kind (WRITE, FLUSH), then the bytes written. POSITION holds how many
records there are, raised before a request is answered, and whether the log is over.

`cut` builds the image that a power cut at a position leaves.
"""
import ctypes
import mmap
import os
import struct
import subprocess
import sys
import time

WRITE, FLUSH = 1, 2
RECORD = struct.Struct("<QII")
MOST_DATA = 1 << 20
# Large writes take their time, as on a disk: what is noted in a journal when they began and when they ended lies apart.
SMALL, PACE = 16 << 10, 100e6
REQUEST = struct.Struct("<IIQQIIIHH")  # fuse_in_header of linux/fuse.h
GETATTR, STATFS, OPEN, READ, WRITE_FILE, RELEASE, FSYNC, INIT = 3, 17, 14, 15, 16, 18, 20, 26
FORGET, BATCH_FORGET, INTERRUPT = 2, 42, 36
ENOSYS = 38


class Position(ctypes.Structure):
    """Shared between processes; each number is stored and read at once."""

    _fields_ = [("records", ctypes.c_uint64), ("over", ctypes.c_uint64)]

    @classmethod
    def of(cls, path):
        with open(path, "r+b") as file:
            return cls.from_buffer(mmap.mmap(file.fileno(), ctypes.sizeof(cls)))


# --- serving ----------------------------------------------------------------------------------------------------------

class Disk:
    """Answers the kernel until the file system is unmounted."""

    def __init__(self, mount_point, image, log, position):
        self.image = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.position = Position.of(position)
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=100000,user_id=0,group_id=0".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"logged_disk", str(mount_point).encode(), b"fuse", ctypes.c_ulong(2 | 4), options) != 0:
            raise OSError(ctypes.get_errno(), f"cannot mount {mount_point}")

    def serve(self):
        buffer = bytearray(MOST_DATA + 8192)
        view = memoryview(buffer)
        while True:
            try:
                size = os.readv(self.device, [buffer])
            except InterruptedError:
                continue
            except OSError:
                return  # unmounted
            _, opcode, unique, *_ = REQUEST.unpack_from(buffer)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            answer = self.answer(opcode, view[REQUEST.size:size])
            error, parts = (-answer, ()) if isinstance(answer, int) else (0, (answer,))
            head = struct.pack("<IiQ", 16 + sum(map(len, parts)), error, unique)
            os.writev(self.device, [head, *parts])

    def note(self, offset, length, kind, data=b""):
        if self.position.over:
            return
        os.writev(self.log, [RECORD.pack(offset, length, kind), data])
        self.position.records += 1

    def answer(self, opcode, body):
        """The body of the answer, or an errno."""
        if opcode == WRITE_FILE:
            _, offset, size = struct.unpack_from("<QQI", body)
            data = body[40:40 + size]
            self.note(offset, size, WRITE, data)
            os.pwrite(self.image, data, offset)
            if size > SMALL:
                time.sleep(size / PACE)
            return struct.pack("<II", size, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return os.pread(self.image, size, offset)
        if opcode == FSYNC:
            self.note(0, 0, FLUSH)
            return b""
        if opcode == INIT:
            # Plain writes: no flag is asked for but large ones (FUSE_MAX_PAGES, FUSE_BIG_WRITES).
            _, _, read_ahead, flags = struct.unpack_from("<IIII", body)
            return struct.pack("<IIIIHHIIHH", 7, 31, read_ahead, flags & (1 << 22 | 1 << 5), 64, 48, MOST_DATA, 1,
                               MOST_DATA // 4096, 0).ljust(64, b"\0")
        if opcode == GETATTR:
            return struct.pack("<QII6Q10I", 3600, 0, 0, 1, self.size, self.size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0,
                               0, 4096, 0)
        if opcode == OPEN:
            return struct.pack("<QII", 1, 0, 0)
        if opcode == RELEASE:
            return b""
        if opcode == STATFS:
            return struct.pack("<5Q10I", 0, 0, 0, 0, 0, 4096, 255, 4096, *[0] * 7)
        return ENOSYS


# --- cutting ----------------------------------------------------------------------------------------------------------

def records(log, until):
    """(offset, kind, bytes) of each record before `until`."""
    with open(log, "rb") as file:
        for _ in range(until):
            head = file.read(RECORD.size)
            if len(head) < RECORD.size:
                return
            offset, length, kind = RECORD.unpack(head)
            yield offset, kind, file.read(length)


def cut(base, log, at, image, chance, atom=512):
    """Makes `image` from `base`: everything up to the last flush before record `at`, and of what came later whatever
    `chance` says, nothing smaller than `atom` bytes torn. Returns what was done, for people."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", base, image], check=True)
    flushed = max((number for number, record in enumerate(records(log, at), 1) if record[1] == FLUSH), default=0)
    volatile = []
    with open(image, "r+b", buffering=0) as disk:
        for number, (offset, kind, data) in enumerate(records(log, at)):
            if kind == WRITE and number < flushed:
                os.pwrite(disk.fileno(), data, offset)
            elif kind == WRITE:
                volatile.append((offset, data))
        how = chance.choice(["nothing of it", "all of it", "a beginning of it", "some writes", "some sectors", "some pages"])
        sector = {"some sectors": atom, "some pages": 4096}.get(how)
        if how == "nothing of it":
            kept = []
        elif how == "all of it":
            kept = list(volatile)
        elif how == "a beginning of it":
            kept = volatile[:chance.randint(0, len(volatile))]
        else:
            pieces = volatile if sector is None else [
                (offset + at, data[at:at + sector]) for offset, data in volatile for at in range(0, len(data), sector)]
            share = chance.random()
            kept = [piece for piece in pieces if chance.random() < share]
            # Two writes to one place may have passed each other: then the later one counts as lost.
            chance.shuffle(kept)
        for offset, data in kept:
            os.pwrite(disk.fileno(), data, offset)
    return f"record {at}, {len(volatile)} writes since the last flush, {how}"


if __name__ == "__main__":
    Disk(*sys.argv[1:]).serve()
