"""A real file system on a disk whose power can be cut (tests/support/logged_disk.py): made, mounted at one place whether it
is logged or only looked at, cut, and mounted again. Root only; everything is unmounted at the test's end."""
import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
import sys

from support import logged_disk
from system import harness
from system.harness import give, new_directory, skip, wait_until

MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard", "-N", "16384"],
    "ext4-1k": ["mkfs.ext4", "-q", "-F", "-b", "1024", "-E", "lazy_itable_init=0,nodiscard", "-N", "16384"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
}
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}
OPTIONS = {"ext4": "commit=1", "xfs": "defaults", "btrfs": "commit=1,nodiscard"}
SIZE = 1 << 30
SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)


def missing_for(file_system):
    """Why this machine cannot have that file system on such a disk; "" when it can."""
    kind = file_system.split("-")[0]
    if os.geteuid() != 0:
        return "cutting the power needs root"
    if not os.path.exists("/dev/loop-control") or not os.path.exists("/dev/fuse"):
        return "there are no loop devices or no FUSE here"
    with open("/proc/filesystems", encoding="utf-8") as table:
        known = [line.split()[-1] for line in table]
    if kind not in known and subprocess.run(["modprobe", kind], capture_output=True, check=False).returncode != 0:
        return f"the kernel has no {kind}"
    program = MKFS[file_system][0]
    return "" if shutil.which(program) else f"{program} is not installed (Debian's package {PACKAGES[kind]})"


def start_writing(path):
    """What the kernel does sooner or later: begins to write a file back, without a flush."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), SYNC_FILE_RANGE_WRITE)
        finally:
            os.close(fd)


class PowerDisk:
    """One file system. `path` is where it is mounted; `below` shows the same without what is mounted on top of it."""

    def __init__(self, file_system):
        reason = missing_for(file_system)
        if reason:
            skip(f"power cuts on {file_system}: {reason}")
        self.kind = file_system.split("-")[0]
        self.place = new_directory("disk", mode=0o755)
        self.path, self.below = self.place / "fs", self.place / "below"
        for directory in (self.path, self.below):
            directory.mkdir()
        self.image = self.place / "image"  # what is on the disk when it is switched on
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        subprocess.run([*MKFS[file_system], self.image], check=True, capture_output=True)
        self._numbers = itertools.count()
        self._server = self._device = None
        harness._at_end.callback(self.switch_off)

    # --- switched on
    def switch_on(self):
        """Mounts the image; what is written is logged, and the image stays what it was."""
        run_number = next(self._numbers)
        self._working = self.place / f"working{run_number}"
        self.log, position, self._file = (self.place / f"{name}{run_number}" for name in ("log", "position", "file"))
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.image, self._working], check=True)
        for path, size in ((self.log, 0), (position, 16), (self._file, 0)):
            path.write_bytes(bytes(size))
        self._position = logged_disk.Position.of(position)
        self._server = subprocess.Popen([sys.executable, "-B", harness.SOURCE / "tests/support/logged_disk.py", self._file,
                                         self._working, self.log, position])
        wait_until(lambda: self._file.stat().st_size == SIZE or self._server.poll() is not None, "the disk")
        self._mount(self._file)
        subprocess.run(["mount", "--bind", self.path, self.below], check=True)
        subprocess.run(["mount", "--make-private", self.below], check=True)
        return self

    @contextlib.contextmanager
    def looked_at(self, image):
        """Another image in its place, not logged."""
        self._mount(image)
        try:
            yield
        finally:
            self.switch_off()

    def _mount(self, file):
        self._device = subprocess.run(["losetup", "--find", "--show", file], check=True, capture_output=True,
                                      text=True).stdout.strip()
        subprocess.run(["mount", "-t", self.kind, "-o", OPTIONS[self.kind], self._device, self.path], check=True)
        give(self.path)

    @property
    def position(self):
        """How many writes and flushes there were."""
        return self._position.records

    def end_log(self):
        """Nothing that comes now is part of the story. Returns the last position."""
        self._position.over = 1
        return self.position

    def switch_off(self):
        for path in (self.below, self.path):
            while subprocess.run(["mountpoint", "-q", path], check=False).returncode == 0:
                # The last users of what was just killed may still be on their way out.
                if subprocess.run(["umount", path], capture_output=True, check=False).returncode != 0:
                    subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
        if self._device:
            # Detached when its file system has gone.
            subprocess.run(["losetup", "--detach", self._device], check=False)
            wait_until(lambda: subprocess.run(["losetup", self._device], capture_output=True, check=False).returncode != 0,
                       "the end of the loop device", timeout=30)
            self._device = None
        if self._server:
            subprocess.run(["umount", self._file], check=False)
            self._server.wait(30)
            self._server = None
            self._working.unlink()

    # --- the power cut
    def cut(self, at, image, chance):
        """Switched off: the image that a cut at position `at` of the last log leaves. Returns what was done."""
        # Half a superblock is more than Btrfs itself survives.
        atom = 4096 if self.kind == "btrfs" else 512
        return logged_disk.cut(self.image, self.log, at, image, chance, atom)

    def keep(self):
        """Everything of the last log reached the medium: it is there when the disk is switched on again."""
        records = logged_disk.records(self.log, self.position)
        with open(self.image, "r+b", buffering=0) as disk:
            for offset, kind, data in records:
                if kind == logged_disk.WRITE:
                    os.pwrite(disk.fileno(), data, offset)
        self.forget()

    def forget(self, *images):
        """Of the last log, and of images, the space."""
        for path in (self.log, *images):
            path.unlink(missing_ok=True)
