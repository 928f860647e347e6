#!/usr/bin/python3
"""Read a Lifeboat repository without Lifeboat, and bring a backup back bit for bit.

Written from docs/format.md alone, this is the second implementation of the format: the tests compare the program with
it, and it is the way to a backup when the program is lost. It reads a directory store and writes nothing into it.

    decode_repository.py REPO [keys] [--cluster main] [--lineage L] --list
    decode_repository.py REPO [keys] --check
    decode_repository.py REPO [keys] [--cluster main] [--lineage L] [--backup ID|latest] --to DIR
    decode_repository.py REPO [keys] [--cluster main] [--lineage L] --dump ID|latest --to DIR
    keys, when the repository is encrypted: --key-file F or --passphrase-file F

--list   prints the backups, oldest first.
--check  reads every object of the whole store and verifies names, headers, seals, compression, the footers and trailers
         of packs, the names of WAL objects and tails, change summaries, and, for each backup, its whole tree: every node and its hash, and that
         every block reference fits its frame. (The hashes of blocks are compared when a backup is brought back.)
--to     writes into DIR, which must be empty or absent:
           DIR/pgdata   the data directory, tablespaces as directories pg_tblspc/<oid>; backup_label and tablespace_map
                        are written into it when the backup has them
           DIR/config   configuration files from outside the data directory, if there were any
           DIR/wal      the WAL segments from the start of the backup to its stop, and timeline histories
         Modes and times are set; owners and groups too when this runs as root and their names are known here.

With --dump what --to writes are globals.sql and databases/<oid>/ with the files of pg_dump and database.sql.

To use what --to wrote of a backup: copy DIR/wal/* to DIR/pgdata/pg_wal, then start PostgreSQL of the same major version on
DIR/pgdata. If there is a tablespace_map, PostgreSQL makes the symbolic links it names and refuses while a directory
is in their place. So move each pg_tblspc/<oid> to where it shall be and write that place into tablespace_map first.

"latest" is the newest backup whose card says "complete"; one whose card says "damaged" must be named. Whatever does not
agree with the description ends the program with status 1 and one line that names the object.

Needs Python 3.9 and the Debian packages python3-xxhash, python3-cryptography (encrypted repositories),
python3-zstandard or python3-zstd, and python3-lz4 (repositories with LZ4).
"""

import argparse
import array
import collections
import datetime
import grp
import hashlib
import hmac
import importlib
import json
import os
import pwd
import re
import stat
import struct
import sys

KIND_DATA, KIND_NODES, KIND_MANIFEST, KIND_CARD, KIND_WAL = 1, 2, 3, 4, 5
KIND_LINEAGE, KIND_LEASE, KIND_TOMBSTONE, KIND_EVIDENCE, KIND_ATTEMPT, KIND_SUMMARY, KIND_TAIL = 6, 7, 8, 9, 10, 11, 12

HEADER_SIZE = 64
TAG_SIZE = 16
BODY_PREFIX = 4  # the flags byte and three bytes of plain size
CUT = 1 << 20  # JSON and WAL objects are cut into frames of this size
LEAF_BLOCKS = 4096
CACHED_FRAMES = 64
OPEN_OBJECTS = 64

ENTRIES, CHUNKS, LEAF = 1, 2, 3  # types of node
FILE, DIRECTORY, LINK = 1, 2, 3  # types of entry

BACKUP_ID = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}"
LINEAGE = r"[0-9]+-[0-9]+"
DUMPS_FOLDER = re.compile(r"(?<=/)dumps/(?=(cards|manifests|packs|leases|tombstones|evidence)/)")
NAME_RULES = [
    (re.compile(pattern), kind)
    for pattern, kind in (
        (rf"clusters/[^/]+/{LINEAGE}/lineage", KIND_LINEAGE),
        (rf"clusters/[^/]+/{LINEAGE}/cards/{BACKUP_ID}", KIND_CARD),
        (rf"clusters/[^/]+/{LINEAGE}/manifests/{BACKUP_ID}", KIND_MANIFEST),
        (rf"clusters/[^/]+/{LINEAGE}/packs/{BACKUP_ID}/[0-9]{{6,}}\.data", KIND_DATA),
        (rf"clusters/[^/]+/{LINEAGE}/packs/{BACKUP_ID}/[0-9]{{6,}}\.nodes", KIND_NODES),
        (rf"clusters/[^/]+/{LINEAGE}/wal/[0-9A-F]{{8}}/[0-9A-F]{{8}}/[^/]+-[0-9a-f]{{32}}", KIND_WAL),
        (rf"clusters/[^/]+/{LINEAGE}/wal/[0-9A-F]{{8}}/[0-9A-F]{{8}}\.history-[0-9a-f]{{32}}", KIND_WAL),
        (rf"clusters/[^/]+/{LINEAGE}/summaries/[0-9A-F]{{8}}/[0-9A-F]{{8}}/[0-9A-F]{{24}}-[0-9a-f]{{32}}", KIND_SUMMARY),
        (rf"clusters/[^/]+/{LINEAGE}/tails/[0-9A-F]{{8}}/[0-9A-F]{{8}}/[0-9A-F]{{24}}-[0-9A-F]{{8}}-[0-9A-F]{{8}}-[0-9a-f]{{32}}", KIND_TAIL),
        (rf"clusters/[^/]+/{LINEAGE}/attempts/{BACKUP_ID}", KIND_ATTEMPT),
        (rf"clusters/[^/]+/{LINEAGE}/leases/.+", KIND_LEASE),
        (rf"clusters/[^/]+/{LINEAGE}/tombstones/.+", KIND_TOMBSTONE),
        (rf"clusters/[^/]+/{LINEAGE}/evidence/.+", KIND_EVIDENCE),
    )
]
SLOT_NAME = re.compile(r"keys/([0-9a-f]{8})/[^/]+")


class Damage(Exception):
    """Something does not agree with the description of the format."""

    def __init__(self, where, what):
        super().__init__(f"{where}: {what}")


def debian_module(name, package):
    """Import a module, or say which Debian package brings it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Damage("this program", f"needs the Debian package {package}") from None


# --- Hashes, keys, compression ---------------------------------------------------------------------------------------


def xxh3(*parts):
    """XXH3-128 in canonical byte order."""
    state = debian_module("xxhash", "python3-xxhash").xxh3_128()
    for part in parts:
        state.update(part)
    return state.digest()


def hkdf(key, salt, info):
    """HKDF (RFC 5869) with SHA-256 and 32 bytes of output, for which one round of the expansion suffices."""
    extracted = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def aes_gcm_open(key, nonce, sealed, associated):
    """The plain text, or None if the tag does not fit."""
    aead = debian_module("cryptography.hazmat.primitives.ciphers.aead", "python3-cryptography")
    exceptions = debian_module("cryptography.exceptions", "python3-cryptography")
    try:
        return aead.AESGCM(key).decrypt(nonce, sealed, associated)
    except exceptions.InvalidTag:
        return None


def zstd_decompress(packed, plain_size):
    """One zstd frame, with whichever of Debian's two modules is there."""
    try:
        import zstandard
    except ImportError:
        return debian_module("zstd", "python3-zstandard or python3-zstd").decompress(packed)
    if zstandard.frame_content_size(packed) > plain_size:
        raise ValueError("it is larger than it should be")
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=plain_size)


def decompress(where, method, packed, plain_size):
    if method == 0:
        plain = packed
    elif method == 1 or method == 2:
        try:
            if method == 1:
                plain = zstd_decompress(packed, plain_size)
            else:
                lz4 = debian_module("lz4.block", "python3-lz4")
                plain = lz4.decompress(packed, uncompressed_size=plain_size)
        except Damage:
            raise
        except Exception as error:  # each module has exceptions of its own
            raise Damage(where, f"does not decompress: {error}") from None
    else:
        raise Damage(where, f"unknown compression {method}")
    if len(plain) != plain_size:
        raise Damage(where, f"has {len(plain)} plain bytes instead of {plain_size}")
    return plain


# --- Reading integers and text ---------------------------------------------------------------------------------------


class Fields:
    """Takes integers, text and bytes from the front of some bytes."""

    def __init__(self, data, where):
        self.data, self.where, self.at = data, where, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Damage(self.where, "ends in the middle of a field")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value
        raise Damage(self.where, "has a number that is too large")

    def text(self):
        return self.take(self.varint())

    def end(self):
        if self.at != len(self.data):
            raise Damage(self.where, f"has {len(self.data) - self.at} bytes too many")


def varint_bytes(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_json(where, data):
    try:
        value = json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise Damage(where, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Damage(where, "is not a JSON object")
    return value


def field(where, record, name, kind):
    """A member of a JSON object, which must be of that Python type."""
    value = record.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Damage(where, f'has no proper "{name}"')
    return value


def hex_field(where, record, name, size):
    value = field(where, record, name, str)
    if not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", value):
        raise Damage(where, f'"{name}" is not {size} bytes in hex')
    return bytes.fromhex(value)


def json_bytes(where, text):
    """Text from JSON as bytes; what was not UTF-8 stands there as U+0001, "hex:" and hex digits."""
    if text.startswith("\x01hex:"):
        try:
            return bytes.fromhex(text[5:])
        except ValueError:
            raise Damage(where, "has text with broken hex digits") from None
    return text.encode("utf-8")


def parse_lsn(where, text):
    match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    if not match:
        raise Damage(where, f'"{text}" is not a WAL position')
    return int(match[1], 16) << 32 | int(match[2], 16)


# --- Sealed objects --------------------------------------------------------------------------------------------------

# offset is where the body begins; stored counts body and tag.
Frame = collections.namedtuple("Frame", "number offset stored plain last")


class SealedObject:
    """One object with header and frames. Everything it hands out has been verified."""

    def __init__(self, repository, name):
        self.name = name
        try:
            self.file = open(os.path.join(repository.root, name), "rb")
        except OSError as error:
            raise Damage(name, error.strerror) from None
        self.size = os.fstat(self.file.fileno()).st_size
        self.header = header = self.read(0, HEADER_SIZE)
        magic, version, self.kind, self.seal, key_id, name_hash, salt = struct.unpack("<8sHBBI16s32s", header)
        if magic != b"LIFEBOAT":
            raise Damage(name, "does not begin as a sealed object")
        if version != 1:
            raise Damage(name, f"has format version {version}")
        if self.kind != kind_of(name):
            raise Damage(name, f"is of kind {self.kind}, its name is one of kind {kind_of(name)}")
        if name_hash != xxh3(name.encode()):
            raise Damage(name, "was written under another name")
        if self.seal != (1 if repository.encrypted else 0):
            raise Damage(name, f"has seal {self.seal}, which is not the one of this repository")
        if self.seal == 0:
            if key_id != 0:
                raise Damage(name, f"has key id {key_id} without encryption")
        elif key_id not in repository.keys:
            raise Damage(name, f"is sealed with key {key_id}, which your key does not open")
        else:
            self.key = hkdf(repository.keys[key_id], salt, b"lifeboat object")

    def read(self, offset, count):
        if count > self.size - offset:
            raise Damage(self.name, f"ends before byte {offset + count}")
        self.file.seek(offset)
        return self.file.read(count)

    def frame(self, number, offset, stored=None):
        """Frame `number`, whose body begins at `offset`; `stored` is its length as a reference gives it."""
        where = f"{self.name}, frame {number}"
        if offset < HEADER_SIZE + 4:
            raise Damage(where, f"cannot be at {offset}")
        (length,) = struct.unpack("<I", self.read(offset - 4, 4))
        if stored is not None and stored != length:
            raise Damage(where, f"is {length} bytes long, not {stored} as its reference says")
        if length < BODY_PREFIX + TAG_SIZE:
            raise Damage(where, "is too short")
        sealed = self.read(offset, length)
        if self.seal == 1:
            body = aes_gcm_open(self.key, number.to_bytes(12, "little"), sealed, self.header)
        else:
            body, tag = sealed[:-TAG_SIZE], sealed[-TAG_SIZE:]
            if xxh3(self.header, number.to_bytes(8, "little"), body) != tag:
                body = None
        if body is None:
            raise Damage(where, "its seal is broken")
        if body[0] & 0x70:
            raise Damage(where, f"has unknown flags {body[0]:#x}")
        plain_size = int.from_bytes(body[1:4], "little")
        plain = decompress(where, body[0] & 0x0F, body[BODY_PREFIX:], plain_size)
        return Frame(number, offset, length, plain, bool(body[0] & 0x80))

    def frames(self):
        """Every frame in order, up to the one marked as the last; then the object must end (packs: the trailer)."""
        trailer = 8 if self.kind in (KIND_DATA, KIND_NODES) else 0
        offset, number, last = HEADER_SIZE + 4, 0, False
        while not last:
            frame = self.frame(number, offset)
            yield frame
            offset, number, last = offset + frame.stored + 4, number + 1, frame.last
        end = offset - 4
        if self.size != end + trailer:
            raise Damage(self.name, f"has {self.size} bytes instead of {end + trailer}")
        if trailer and struct.unpack("<II", self.read(end, 8)) != (frame.stored, frame.number):
            raise Damage(self.name, "its trailer does not fit its footer")

    def pieces(self):
        """The content of a JSON or WAL object, cut by cut."""
        for frame in self.frames():
            if len(frame.plain) > CUT or (not frame.last and len(frame.plain) != CUT):
                raise Damage(f"{self.name}, frame {frame.number}", f"has {len(frame.plain)} bytes instead of {CUT}")
            if not frame.plain and frame.number > 0:
                raise Damage(f"{self.name}, frame {frame.number}", "is empty")
            yield frame.plain

    def close(self):
        self.file.close()


def kind_of(name):
    name = DUMPS_FOLDER.sub("", name)
    for pattern, kind in NAME_RULES:
        if pattern.fullmatch(name):
            return kind
    raise Damage(name, "is not a name that the format knows")


# --- The repository --------------------------------------------------------------------------------------------------


class Repository:
    """The marker, the keys, and ways to the objects."""

    def __init__(self, root, key_file=None, passphrase_file=None):
        self.root = root
        marker = self.plain_object("lifeboat.json")
        if field("lifeboat.json", marker, "format", int) != 1:
            raise Damage("lifeboat.json", f"has format {marker['format']}, this program reads format 1")
        hex_field("lifeboat.json", marker, "repository_id", 16)
        self.encrypted = field("lifeboat.json", marker, "encrypted", bool)
        self.keys, self.name_key = {}, None
        if self.encrypted:
            self.open_slots(key_file, passphrase_file, hex_field("lifeboat.json", marker, "key_check", 16))

    def plain_object(self, name):
        """One line of JSON, and its hash on a second line."""
        try:
            with open(os.path.join(self.root, name), "rb") as file:
                data = file.read()
        except OSError as error:
            raise Damage(name, error.strerror) from None
        line = data[: data.find(b"\n") + 1]
        if not line or data[len(line) :] != xxh3(line).hex().encode() + b"\n":
            raise Damage(name, "its two lines do not fit each other")
        return parse_json(name, line)

    def open_slots(self, key_file, passphrase_file, key_check):
        """Unwrap the repository keys and the name key from every slot that our key opens."""
        if not key_file and not passphrase_file:
            raise Damage("lifeboat.json", "the repository is encrypted: give --key-file or --passphrase-file")
        kind = "key-file" if key_file else "passphrase"
        secret = read_key_file(key_file) if key_file else read_passphrase(passphrase_file)
        refused = []
        for name in self.names("keys"):
            match = SLOT_NAME.fullmatch(name)
            if not match:
                raise Damage(name, "is not a name that the format knows")
            slot = self.plain_object(name)
            if field(name, slot, "format", int) != 1:
                raise Damage(name, f"has format {slot['format']}")
            key_id = field(name, slot, "key_id", int)
            if key_id != int(match[1], 16) or key_id == 0:
                raise Damage(name, f"is for key {key_id}")
            if field(name, slot, "kind", str) not in ("key-file", "passphrase"):
                raise Damage(name, f'is of the unknown kind "{slot["kind"]}"')
            salt = hex_field(name, slot, "salt", 32)
            sealed = hex_field(name, slot, "sealed", 80)
            if slot["kind"] != kind:
                continue
            if kind == "key-file":
                wrapping_key = hkdf(secret, salt, b"lifeboat slot")
            else:
                wrapping_key = scrypt(name, secret, salt, field(name, slot, "scrypt_log2_n", int))
            keys = aes_gcm_open(wrapping_key, bytes(12), sealed, name.encode())
            if keys is None:
                refused.append(name)
                continue
            if hmac.new(keys[32:], b"lifeboat key check", hashlib.sha256).digest()[:16] != key_check:
                continue  # of an init that came to nothing
            if self.keys.setdefault(key_id, keys[:32]) != keys[:32]:
                raise Damage(name, f"has another key {key_id} than the slot before")
            self.name_key = keys[32:]
        if not self.keys:
            if refused:
                raise Damage(", ".join(refused), "your key does not open it, or it is damaged")
            raise Damage("keys", f"there is no slot of the kind {kind}")

    def names(self, under=""):
        """The names of all objects below a directory, in order."""
        found = []

        def fail(error):
            raise Damage(os.path.relpath(error.filename, self.root), error.strerror)

        start = os.path.join(self.root, under)
        if os.path.isdir(start):
            for place, _, files in os.walk(start, onerror=fail):
                for file in files:
                    if not file.startswith(".tmp-"):
                        found.append(os.path.relpath(os.path.join(place, file), self.root))
        return sorted(found)

    def directories(self, under):
        """The names of the directories right below a directory, in order."""
        place = os.path.join(self.root, under)
        if not os.path.isdir(place):
            return []
        return sorted(entry.name for entry in os.scandir(place) if entry.is_dir())

    def open(self, name):
        return SealedObject(self, name)

    def content(self, name):
        sealed = self.open(name)
        try:
            return b"".join(sealed.pieces())
        finally:
            sealed.close()

    def json(self, name):
        return parse_json(name, self.content(name))


def read_key_file(path):
    with open(path, "rb") as file:
        match = re.fullmatch(rb"lifeboat-key-1 ([0-9a-fA-F]{64})\r?\n?", file.read())
    if not match:
        raise Damage(path, "is not a key file")
    return bytes.fromhex(match[1].decode())


def read_passphrase(path):
    with open(path, "rb") as file:
        return file.read().rstrip(b"\r\n")


def scrypt(where, passphrase, salt, log2_n):
    if not 1 <= log2_n <= 30:
        raise Damage(where, f'"scrypt_log2_n" is {log2_n}')
    module = debian_module("cryptography.hazmat.primitives.kdf.scrypt", "python3-cryptography")
    try:
        return module.Scrypt(salt=salt, length=32, n=1 << log2_n, r=8, p=1).derive(passphrase)
    except MemoryError:
        raise Damage(where, f"needs {1 << log2_n >> 10} MiB of memory for its passphrase") from None


# --- WAL objects -----------------------------------------------------------------------------------------------------

SEGMENT = re.compile(r"[0-9A-F]{24}")


class Wal:
    """The WAL objects of one lineage."""

    def __init__(self, lineage):
        self.lineage, self.repository = lineage, lineage.repository

    def find(self, file_name):
        """The object of a WAL file, or None. Two are a conflict."""
        place = f"{self.lineage.prefix}/wal/{file_name[:8]}"
        if not file_name.endswith(".history"):
            place += f"/{file_name[8:16]}"
        directory = os.path.join(self.repository.root, place)
        if not os.path.isdir(directory):
            return None
        found = [name for name in sorted(os.listdir(directory)) if name[:-33] == file_name and name[-33] == "-"]
        if len(found) > 1:
            raise Damage(f"{place}/{found[1]}", f"is in conflict with {found[0]}")
        return f"{place}/{found[0]}" if found else None

    def read(self, name, sink):
        """Verify a WAL object, its name too, while its content goes to `sink`."""
        file_name, name_hash = name.rsplit("/", 1)[1].rsplit("-", 1)
        place = f"{self.lineage.prefix}/wal/{file_name[:8]}"
        if not file_name.endswith(".history"):
            place += f"/{file_name[8:16]}"
        if name != f"{place}/{file_name}-{name_hash}":
            raise Damage(name, "stands in the wrong directory")
        size = self.read_named(name, file_name, name_hash, sink)
        if SEGMENT.fullmatch(file_name) and size != self.lineage.segment_size:
            raise Damage(name, f"has {size} bytes, a segment has {self.lineage.segment_size}")

    def read_tail(self, name):
        """Verify a piece of a tail; returns its segment's file name, where it begins there, and its bytes."""
        title, name_hash = name.rsplit("/", 1)[1].rsplit("-", 1)
        file_name, begin, end = title.split("-")
        begin, end, pieces = int(begin, 16), int(end, 16), []
        if name != f"{self.lineage.prefix}/tails/{file_name[:8]}/{file_name[8:16]}/{title}-{name_hash}":
            raise Damage(name, "stands in the wrong directory")
        size = self.read_named(name, title, name_hash, pieces.append)
        if not begin < end <= self.lineage.segment_size or size != end - begin:
            raise Damage(name, f"has {size} bytes, which its name denies")
        return file_name, begin, b"".join(pieces)

    def read_named(self, name, title, name_hash, sink):
        """Content under a name that vouches for it; returns its size."""
        state, size = debian_module("xxhash", "python3-xxhash").xxh3_128(), 0
        sealed = self.repository.open(name)
        for piece in sealed.pieces():
            state.update(piece)
            size += len(piece)
            sink(piece)
        sealed.close()
        text = title.encode()
        message = varint_bytes(len(text)) + text + state.digest()
        if self.repository.encrypted:
            expected = hmac.new(self.repository.name_key, message, hashlib.sha256).digest()[:16]
        else:
            expected = xxh3(message)
        if expected.hex() != name_hash:
            raise Damage(name, "the hash in its name does not fit its content")
        return size

    def content(self, file_name):
        name = self.find(file_name)
        if name is None:
            raise Damage(f"{self.lineage.prefix}/wal", f"{file_name} is missing")
        pieces = []
        self.read(name, pieces.append)
        return b"".join(pieces)

    def files_between(self, start_timeline, start, timeline, stop):
        """The WAL files that lead from `start` to `stop`: segments, and the history of the timeline if there is one."""
        history = f"{timeline:08X}.history"
        files, begins = [], [(start_timeline, 0)]  # timelines and where they begin
        if timeline > 1 and (timeline != start_timeline or self.find(history)):
            files.append(history)
        if timeline != start_timeline:
            begins, begin = [], 0
            for line in self.content(history).decode("utf-8", "replace").splitlines():
                match = re.match(r"\s*([0-9]+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)", line)
                if match:
                    begins.append((int(match[1]), begin))
                    begin = parse_lsn(history, match[2])
            begins.append((timeline, begin))
            if start_timeline not in (number for number, _ in begins):
                raise Damage(history, f"does not lead from timeline {start_timeline} to {timeline}")
            files += [name for number, _ in begins if self.find(name := f"{number:08X}.history") and name != history]
        size = self.lineage.segment_size
        per_log = (1 << 32) // size
        # stop is just behind the last byte that is needed.
        for segment in range(start // size, (max(stop, start + 1) - 1) // size + 1):
            # The newest timeline that reaches into a segment has all of it: a switch copies what was before.
            number = [number for number, begin in begins if begin // size <= segment][-1]
            files.append(f"{number:08X}{segment // per_log:08X}{segment % per_log:08X}")
        return files


# --- Change summaries ------------------------------------------------------------------------------------------------

Fork = collections.namedtuple("Fork", "limit blocks")  # limit is None or a number of blocks; blocks is a set


class Summary:
    """What one segment changed. forks: (tablespace, database, relfilenode, "main" or "init") -> Fork."""

    def __init__(self, data, where):
        fields = Fields(data, where)
        version = fields.byte()
        if version != 1:
            raise Damage(where, f"is a change summary of version {version}")
        self.timeline, self.segment_size, self.number = fields.varint(), fields.varint(), fields.varint()
        fields.varint()  # the timeline of the first page
        self.start = self.number * self.segment_size
        self.read_chain(fields)
        self.commits, self.aborts = fields.varint(), fields.varint()
        self.first_commit, self.last_commit = (int.from_bytes(fields.take(8), "little", signed=True) for _ in "ab")
        self.lowest_xid, self.highest_xid = fields.varint(), fields.varint()
        self.directories = [(fields.varint(), fields.varint()) for _ in range(fields.varint())]
        self.read_relations(fields)
        self.read_transactions(fields)
        self.read_ends(fields)
        self.read_events(fields)
        fields.end()

    def read_chain(self, fields):
        parts = fields.byte()
        if parts & 0x80 or (parts & 0x04 and not parts & 0x02) or (parts & 0x20 and not parts & 0x10):
            raise Damage(fields.where, f"has impossible parts {parts:#x}")
        self.first = self.last = self.first_prev = self.trailing = None
        self.leading = self.trailing_bytes = b""
        if parts & 0x01:
            self.first = self.start + fields.varint()
            self.first_prev = fields.varint()
            self.last = self.first + fields.varint()
            fields.varint()
        if parts & 0x02:
            fields.varint()
            length = fields.varint()
            self.leading = None if parts & 0x04 else fields.take(length)
        if parts & 0x08:
            fields.varint()
        if parts & 0x10:
            self.trailing = self.start + fields.varint()
            fields.varint()
            fields.varint()
            length = fields.varint()
            self.trailing_bytes = None if parts & 0x20 else fields.take(length)
        self.minimal = bool(parts & 0x40)
        if self.minimal:
            fields.varint()
            fields.varint()
        for position in (self.first, self.last, self.trailing):
            if position is not None and not self.start <= position < self.start + self.segment_size:
                raise Damage(fields.where, f"names the position {position:#x}, which is not in its segment")

    def read_relations(self, fields):
        self.forks, self.rows, self.created, self.dropped, self.relations = {}, {}, set(), set(), []
        for _ in range(fields.varint()):
            directory, number = (fields.varint(), fields.varint()), 0
            for _ in range(fields.varint()):
                number += fields.varint()
                relation = (*directory, number)
                if self.relations and relation <= self.relations[-1]:
                    raise Damage(fields.where, "has relations that do not ascend")
                self.relations.append(relation)
                flags = fields.byte()
                if flags & 0xC0:
                    raise Damage(fields.where, f"says something unknown of a relation: {flags:#x}")
                if flags & 0x01:
                    self.rows[relation] = tuple(fields.varint() for _ in range(3))
                if flags & 0x02:
                    self.created.add(relation)
                if flags & 0x04:
                    self.dropped.add(relation)
                for flag, name in ((0x10, "main"), (0x20, "init")):
                    if flags & flag:
                        limit = fields.varint()
                        self.forks[(*relation, name)] = Fork(limit - 1 if limit else None, self.read_blocks(fields))

    @staticmethod
    def read_blocks(fields):
        head, blocks, at = fields.varint(), set(), 0
        if head & 1:
            first = fields.varint() * 8
            for place, byte in enumerate(fields.take(head >> 1)):
                blocks.update(first + place * 8 + bit for bit in range(8) if byte >> bit & 1)
            return blocks
        for _ in range(head >> 1):
            item = fields.varint()
            at += item >> 1
            count = fields.varint() + 2 if item & 1 else 1
            blocks.update(range(at, at + count))
            at += count + 1
        return blocks

    def read_transactions(self, fields):
        self.transactions, xid = {}, 0
        for _ in range(fields.varint()):
            xid += fields.varint()
            relation = fields.varint()
            if relation >= len(self.relations):
                raise Damage(fields.where, "has a transaction with an unknown relation")
            self.transactions[xid, self.relations[relation]] = tuple(fields.varint() for _ in range(3))

    def read_ends(self, fields):
        self.ends, at = [], self.start
        for _ in range(fields.varint()):
            flags, at = fields.byte(), at + fields.varint()
            if flags & 0xFE:
                raise Damage(fields.where, f"says something unknown of the end of a transaction: {flags:#x}")
            xid, time, database = fields.varint(), int.from_bytes(fields.take(8), "little", signed=True), fields.varint()
            subxids = [fields.varint() for _ in range(fields.varint())]
            dropped = [fields.varint() for _ in range(fields.varint())]
            if any(relation >= len(self.relations) for relation in dropped):
                raise Damage(fields.where, "has the end of a transaction with an unknown relation")
            self.ends.append((xid, bool(flags), at, time, database, subxids, [self.relations[one] for one in dropped]))

    def read_events(self, fields):
        self.events, at = [], self.start
        for _ in range(fields.varint()):
            kind, at = fields.byte(), at + fields.varint()
            if not 1 <= kind <= 6:
                raise Damage(fields.where, f"has an event of unknown kind {kind}")
            if kind in (1, 3):
                fields.take(8)
            name = fields.text() if kind == 1 else b""
            if kind in (4, 5):
                fields.varint()
                fields.varint()
            self.events.append((kind, at, name))


# --- Packs -----------------------------------------------------------------------------------------------------------

PackIndex = collections.namedtuple("PackIndex", "offsets plain_sizes")


def check_pack(repository, name):
    """Read every frame, compare the footer with them, and return where each frame is and how large."""
    sealed = repository.open(name)
    offsets, plain_sizes = array.array("Q"), array.array("I")
    for frame in sealed.frames():
        offsets.append(frame.offset)
        plain_sizes.append(len(frame.plain))
    sealed.close()
    where = f"{name}, footer"
    footer = Fields(frame.plain, where)
    paths = [footer.text() for _ in range(footer.varint())]
    count = footer.varint()
    if count != len(offsets) - 1:
        raise Damage(where, f"counts {count} frames, there are {len(offsets) - 1}")
    for number in range(count):
        stored, plain_size, path, _newest = footer.varint(), footer.varint(), footer.varint(), footer.varint()
        for _ in range(footer.varint()):  # runs of blocks
            footer.varint(), footer.varint(), footer.take(16)
        if stored != offsets[number + 1] - offsets[number] - 4:
            raise Damage(where, f"has another length for frame {number}")
        if plain_size != plain_sizes[number]:
            raise Damage(where, f"has another plain size for frame {number}")
        if path >= len(paths):
            raise Damage(where, f"frame {number} has path {path} of {len(paths)}")
        if (sealed.kind == KIND_NODES) != (paths[path] == b""):
            raise Damage(where, f'frame {number} has the path "{os.fsdecode(paths[path])}"')
    footer.end()
    return PackIndex(offsets, plain_sizes)


# --- Trees -----------------------------------------------------------------------------------------------------------

Reference = collections.namedtuple("Reference", "backup pack frame offset length")
NodeReference = collections.namedtuple("NodeReference", "reference hash")
BlockReference = collections.namedtuple("BlockReference", "reference first count before after hash")
Entry = collections.namedtuple("Entry", "name type mode owner group mtime size blocks leaves directory target")


class Node:
    """The plain content of a frame of a node pack, after its type and pack table."""

    def __init__(self, plain, where):
        self.fields, self.where = Fields(plain, where), where
        self.type = self.fields.byte()
        if self.type not in (ENTRIES, CHUNKS, LEAF):
            raise Damage(where, f"is a node of the unknown type {self.type}")
        self.packs = []
        for _ in range(self.fields.varint()):
            backup = self.fields.text()
            if not re.fullmatch(BACKUP_ID.encode(), backup):
                raise Damage(where, f"refers to the backup {backup!r}")
            self.packs.append((backup.decode(), self.fields.varint()))

    def reference(self):
        pack = self.fields.varint()
        if pack >= len(self.packs):
            raise Damage(self.where, f"refers to pack {pack} of {len(self.packs)}")
        return Reference(*self.packs[pack], self.fields.varint(), self.fields.varint(), self.fields.varint())

    def node_reference(self):
        return NodeReference(self.reference(), self.fields.take(16))

    def block_reference(self):
        reference, first, count, before, after = self.reference(), self.fields.varint(), self.fields.varint(), 0, 0
        if count & 1:
            before, after = self.fields.varint(), self.fields.varint()
            if before > first or before + after == 0:
                raise Damage(self.where, "a part of a run is not inside of it")
        return BlockReference(reference, first, count >> 1, before, after, self.fields.take(16))

    def many(self, one):
        return [one() for _ in range(self.fields.varint())]

    def entry(self):
        fields = self.fields
        name, kind, mode = fields.text(), fields.byte(), fields.varint()
        owner, group, mtime = fields.text(), fields.text(), struct.unpack("<q", fields.take(8))[0]
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise Damage(self.where, f"has an entry with the name {name!r}")
        if mode > 0o7777:
            raise Damage(self.where, f"{name!r} has the mode {mode:o}")
        size, blocks, leaves, directory, target = 0, [], [], None, None
        if kind == FILE:
            size = fields.varint()
            blocks = self.many(self.block_reference)
            leaves = self.many(self.node_reference)
            if blocks and leaves:
                raise Damage(self.where, f"{name!r} has both blocks and leaves")
        elif kind == DIRECTORY:
            directory = self.node_reference()
        elif kind == LINK:
            target = fields.text()
        else:
            raise Damage(self.where, f"{name!r} is of the unknown type {kind}")
        return Entry(name, kind, mode, owner, group, mtime, size, blocks, leaves, directory, target)

    def entries(self):
        found = self.many(self.entry)
        self.fields.end()
        return found

    def chunks(self):
        found = self.many(lambda: (self.fields.text(), self.node_reference()))
        self.fields.end()
        return found

    def leaf(self):
        found = self.many(self.block_reference)
        self.fields.end()
        return found


class Tree:
    """Walks the tree of a backup and reads frames for it."""

    def __init__(self, lineage, block_size):
        self.lineage, self.block_size = lineage, block_size
        self.objects = collections.OrderedDict()
        self.frames = collections.OrderedDict()

    def frame(self, reference, kind):
        """The plain content that a reference means. Recently used frames and objects are kept."""
        key = (reference, kind)
        if key in self.frames:
            self.frames.move_to_end(key)
            return self.frames[key]
        name = self.lineage.pack_name(reference, kind)
        if name not in self.objects:
            self.objects[name] = self.lineage.repository.open(name)
            if len(self.objects) > OPEN_OBJECTS:
                self.objects.popitem(last=False)[1].close()
        self.objects.move_to_end(name)
        frame = self.objects[name].frame(reference.frame, reference.offset, reference.length)
        if frame.last:
            raise Damage(f"{name}, frame {frame.number}", "is referred to, but it is the footer")
        self.frames[key] = frame.plain
        if len(self.frames) > CACHED_FRAMES:
            self.frames.popitem(last=False)
        return frame.plain

    def node(self, reference, *types):
        plain = self.frame(reference.reference, "nodes")
        where = f"{self.lineage.pack_name(reference.reference, 'nodes')}, frame {reference.reference.frame}"
        if xxh3(plain) != reference.hash:
            raise Damage(where, "is not the node that was meant: its hash differs")
        node = Node(plain, where)
        if node.type not in types:
            raise Damage(where, f"is a node of type {node.type}, not of type {' or '.join(map(str, types))}")
        return node

    def directory(self, reference):
        """The entries of a directory, in order."""
        node = self.node(reference, ENTRIES, CHUNKS)
        if node.type == ENTRIES:
            entries = node.entries()
        else:
            entries = []
            chunks = node.chunks()
            if not chunks:
                raise Damage(node.where, "has no chunks")
            for first, chunk_reference in chunks:
                chunk = self.node(chunk_reference, ENTRIES)
                found = chunk.entries()
                if not found or found[0].name != first:
                    raise Damage(chunk.where, f"does not begin with {first!r}")
                entries += found
        for before, after in zip(entries, entries[1:]):
            if before.name >= after.name:
                raise Damage(node.where, f"{after.name!r} does not belong after {before.name!r}")
        return entries

    def blocks(self, entry, path):
        """The block references of a file with the number of bytes each stands for."""
        left = -(-entry.size // self.block_size)
        position = 0
        groups = [(None, entry.blocks)] if not entry.leaves else []
        for index, reference in enumerate(entry.leaves):
            node = self.node(reference, LEAF)
            blocks = node.leaf()
            count = sum(block.count for block in blocks)
            full = index < len(entry.leaves) - 1
            if count > LEAF_BLOCKS or count == 0 or (full and count != LEAF_BLOCKS):
                raise Damage(node.where, f"leaf {index} of {path} maps {count} blocks")
            groups.append((node.where, blocks))
        for where, blocks in groups:
            for block in blocks:
                if block.count == 0 or block.count > left:
                    raise Damage(where or path, f"a reference has {block.count} blocks, {path} lacks {left}")
                length = min(block.count * self.block_size, entry.size - position)
                yield block, length
                left -= block.count
                position += length
        if left:
            raise Damage(path, f"the references of the file lack {left} blocks")

    def file(self, entry, path):
        """The content of a file, piece by piece."""
        for block, length in self.blocks(entry, path):
            plain = self.frame(block.reference, "data")
            name = self.lineage.pack_name(block.reference, "data")
            begin = block.first * self.block_size
            piece = plain[begin : begin + length]
            if len(piece) != length:
                raise Damage(f"{name}, frame {block.reference.frame}", f"is too short for blocks of {path}")
            run = piece
            if block.before or block.after:
                run = plain[(block.first - block.before) * self.block_size : (block.first + block.count + block.after) * self.block_size]
            if xxh3(run) != block.hash:
                raise Damage(f"{name}, frame {block.reference.frame}", f"the hash of blocks of {path} differs")
            yield piece

    def close(self):
        for sealed in self.objects.values():
            sealed.close()


# --- Lineages and backups --------------------------------------------------------------------------------------------


class Lineage:
    """One lineage of a cluster, its registration verified."""

    def __init__(self, repository, cluster, lineage):
        self.repository, self.lineage = repository, lineage
        self.prefix = f"clusters/{cluster}/{lineage}"
        where = f"{self.prefix}/lineage"
        record = repository.json(where)
        if lineage != f'{field(where, record, "system_id", str)}-{field(where, record, "major", int)}':
            raise Damage(where, "is the registration of another lineage")
        self.segment_size = field(where, record, "segment_size", int)
        self.block_size = field(where, record, "block_size", int)
        for size in (self.segment_size, self.block_size):
            if size < 512 or size > 1 << 30 or size & (size - 1):
                raise Damage(where, f"has the impossible size {size}")

    def pack_name(self, reference, suffix):
        return f"{self.prefix}/packs/{reference.backup}/{reference.pack:06d}.{suffix}"

    def cards(self):
        """Every card, oldest first."""
        return [self.card(name.rsplit("/", 1)[1]) for name in self.repository.names(f"{self.prefix}/cards")]

    def card(self, backup):
        name = f"{self.prefix}/cards/{backup}"
        card = self.repository.json(name)
        if field(name, card, "id", str) != backup:
            raise Damage(name, f"is the card of {card['id']}")
        if field(name, card, "state", str) not in ("complete", "damaged", "aborted"):
            raise Damage(name, f'has the unknown state "{card["state"]}"')
        return card


class Dumps:
    """The place of a lineage's logical backups, with cards, manifests and packs of its own."""

    def __init__(self, lineage):
        self.repository, self.segment_size = lineage.repository, lineage.segment_size
        self.prefix = f"{lineage.prefix}/dumps"

    pack_name, cards, card = Lineage.pack_name, Lineage.cards, Lineage.card


class Backup:
    """One committed backup: card and manifest."""

    of_the_lineage = ("block_size", "segment_size")

    def __init__(self, lineage, card):
        self.lineage, self.card = lineage, card
        self.where = where = f"{lineage.prefix}/manifests/{card['id']}"
        self.manifest = manifest = lineage.repository.json(where)
        if field(where, manifest, "format", int) != 1:
            raise Damage(where, f"has format {manifest['format']}")
        inner = field(where, manifest, "card", dict)
        card_name = f"{lineage.prefix}/cards/{card['id']}"
        for name, kind in (("id", str), ("start_lsn", str), ("stop_lsn", str), ("timeline", int)):
            if field(where, inner, name, kind) != field(card_name, card, name, kind):
                raise Damage(where, f'its "{name}" is not the one of the card')
        for name in self.of_the_lineage:
            if field(where, manifest, name, int) != getattr(lineage, name):
                raise Damage(where, f'its "{name}" is not the one of the lineage')
        root = field(where, manifest, "root", dict)
        if not re.fullmatch(BACKUP_ID, field(where, root, "backup", str)):
            raise Damage(where, f'its root is in the backup "{root["backup"]}"')
        numbers = [field(where, root, name, int) for name in ("pack", "frame", "offset", "length")]
        if min(numbers) < 0:
            raise Damage(where, "its root has a negative number")
        self.root = NodeReference(Reference(root["backup"], *numbers), hex_field(where, root, "xxh3", 16))
        block_size = field(where, manifest, "block_size", int)
        if block_size <= 0:
            raise Damage(where, "has an impossible block size")
        self.tree = Tree(lineage, block_size)

    def bytes_of(self, record, name):
        return json_bytes(self.where, field(self.where, record, name, str))

    def roots(self):
        """The directories `pgdata` and `config`, as far as they are there."""
        entries = {entry.name: entry for entry in self.tree.directory(self.root)}
        for name, entry in entries.items():
            if name not in (b"pgdata", b"config") or entry.type != DIRECTORY:
                raise Damage(self.where, f"its root has the unknown entry {name!r}")
        if b"pgdata" not in entries:
            raise Damage(self.where, "its root has no pgdata")
        names = [self.bytes_of(record, "entry") for record in self.records("external_files")]
        config = entries.get(b"config")
        there = [entry.name for entry in self.tree.directory(config.directory)] if config else []
        if sorted(names) != there:
            raise Damage(self.where, "its external files are not those in config")
        return entries

    def records(self, name):
        """The JSON objects of a list in the manifest."""
        records = field(self.where, self.manifest, name, list)
        if not all(isinstance(record, dict) for record in records):
            raise Damage(self.where, f'has no proper "{name}"')
        return records

    def check_tablespaces(self, pgdata):
        """Every tablespace of the manifest is a directory of the tree."""
        found = set()
        for entry in self.tree.directory(pgdata.directory):
            if entry.name == b"pg_tblspc" and entry.type == DIRECTORY:
                found = {inner.name for inner in self.tree.directory(entry.directory) if inner.type == DIRECTORY}
        for tablespace in self.records("tablespaces"):
            if b"%d" % field(self.where, tablespace, "oid", int) not in found:
                raise Damage(self.where, f"the tablespace {tablespace['oid']} is not in the tree")

    def wal_files(self):
        where, card = self.where, self.card
        return Wal(self.lineage).files_between(
            field(where, self.manifest, "start_timeline", int),
            parse_lsn(where, card["start_lsn"]),
            card["timeline"],
            parse_lsn(where, card["stop_lsn"]),
        )


class Dump(Backup):
    """One committed logical backup."""

    of_the_lineage = ("segment_size",)

    def __init__(self, dumps, card):
        super().__init__(dumps, card)
        record = field(self.where, self.manifest, "dump", dict)
        self.oids = [str(field(self.where, one, "oid", int)).encode() for one in field(self.where, record, "databases", list)]

    def roots(self):
        entries = {entry.name: entry for entry in self.tree.directory(self.root)}
        if sorted(entries) != [b"databases", b"globals.sql"]:
            raise Damage(self.where, "its root is not globals.sql and databases")
        databases = entries[b"databases"]
        if [entry.name for entry in self.tree.directory(databases.directory)] != sorted(self.oids):
            raise Damage(self.where, "its databases are not those of the tree")
        return entries

    def write(self, to):
        if os.path.isdir(to) and os.listdir(to):
            raise Damage(to, "is not empty")
        self.roots()
        self.write_directory(os.fsencode(to), self.root)
        self.tree.close()
        print(f"{self.card['id']}: pg_dump's files, to be used with {self.manifest['dump']['client']} or newer")

    def write_directory(self, place, reference):
        os.makedirs(place, 0o700, exist_ok=True)
        for entry in self.tree.directory(reference):
            path = os.path.join(place, entry.name)
            if entry.type == DIRECTORY:
                self.write_directory(path, entry.directory)
            elif entry.type == FILE:
                with open(path, "xb") as file:
                    file.writelines(self.tree.file(entry, os.fsdecode(path)))
            else:
                raise Damage(self.where, f"{entry.name!r} is neither a file nor a directory")


def choose_lineage(repository, cluster, lineage):
    """The lineage that was asked for, or the only one there is."""
    if not re.fullmatch(r"[^/]+", cluster) or cluster in (".", ".."):
        raise Damage("--cluster", f'"{cluster}" is not the name of a cluster')
    there = repository.directories(f"clusters/{cluster}")
    if lineage is not None:
        if lineage not in there:
            raise Damage(f"clusters/{cluster}", f"there is no lineage {lineage}")
        return Lineage(repository, cluster, lineage)
    if len(there) != 1:
        raise Damage(f"clusters/{cluster}", f"choose one with --lineage: {' '.join(there) or 'there is none'}")
    return Lineage(repository, cluster, there[0])


def choose_backup(lineage, wanted, kind=Backup):
    if wanted == "latest":
        cards = [card for card in lineage.cards() if card["state"] == "complete"]
        if not cards:
            raise Damage(f"{lineage.prefix}/cards", "there is no complete backup")
        return kind(lineage, cards[-1])
    if not re.fullmatch(BACKUP_ID, wanted):
        raise Damage("--backup", f'"{wanted}" is not the id of a backup')
    card = lineage.card(wanted)
    if card["state"] == "aborted":
        raise Damage(f"{lineage.prefix}/cards/{wanted}", "the backup was aborted")
    return kind(lineage, card)


# --- --list ----------------------------------------------------------------------------------------------------------


def list_backups(repository, cluster, lineage):
    lineages = [lineage] if lineage else repository.directories(f"clusters/{cluster}")
    if not lineages:
        raise Damage(f"clusters/{cluster}", "there is no such cluster")
    for name in lineages:
        one = choose_lineage(repository, cluster, name)
        for card in one.cards():
            when = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=card.get("started_us", 0))
            label = json_bytes(one.prefix, card.get("label", "")).decode("utf-8", "replace")
            print(
                f"{name}  {card['id']}  {card['state']:8}  {when:%Y-%m-%d %H:%M:%S}Z  {card.get('type', '?'):5}"
                f"  {card.get('start_lsn', '?')} - {card.get('stop_lsn', '?')}  timeline {card.get('timeline', '?')}"
                f"  {card.get('plain_bytes', 0)} bytes  {label!r}"
            )


# --- --check ---------------------------------------------------------------------------------------------------------


class Checker:
    """Verifies everything in a store."""

    def __init__(self, repository):
        self.repository = repository
        self.packs = {}  # name -> PackIndex
        self.walked = set()
        self.counts = collections.Counter()

    def run(self):
        lineages, backups, dumps, wal_names = {}, [], [], collections.Counter()
        # The cards come first: what a card needs was written before it, whatever else is being written meanwhile.
        for cluster in self.repository.directories("clusters"):
            for name in self.repository.directories(f"clusters/{cluster}"):
                lineage = Lineage(self.repository, cluster, name)
                lineages[lineage.prefix] = lineage
                backups += [Backup(lineage, card) for card in lineage.cards() if card["state"] != "aborted"]
                place = Dumps(lineage)
                dumps += [Dump(place, card) for card in place.cards() if card["state"] != "aborted"]
        for name in self.repository.names():
            if name == "lifeboat.json":
                continue
            if name.startswith("keys/"):
                if not self.repository.encrypted:
                    raise Damage(name, "is a key slot in a repository that is not encrypted")
                continue  # opening the repository has verified it
            kind = kind_of(name)
            self.counts["objects"] += 1
            if kind in (KIND_DATA, KIND_NODES):
                self.packs[name] = check_pack(self.repository, name)
                self.counts["packs"] += 1
                self.counts["frames in packs"] += len(self.packs[name].offsets)
            elif kind == KIND_WAL:
                Wal(lineages["/".join(name.split("/")[:3])]).read(name, lambda piece: None)
                wal_names[name[:-33]] += 1
                if wal_names[name[:-33]] > 1:
                    raise Damage(name, "is in conflict with another object for the same WAL file")
            elif kind == KIND_TAIL:
                Wal(lineages["/".join(name.split("/")[:3])]).read_tail(name)
                self.counts["pieces of tails"] += 1
            elif kind == KIND_SUMMARY:
                self.check_summary(lineages["/".join(name.split("/")[:3])], name)
            else:
                self.repository.json(name)
        for name in self.packs:
            stem, suffix = name.rsplit(".", 1)
            if suffix == "nodes" and stem + ".data" in self.packs:
                raise Damage(name, "a pack of data has the same number")
        for backup in backups:
            self.check_backup(backup)
        for dump in dumps:
            dump.roots()
            self.check_directory(dump, "dump", dump.root)
            dump.tree.close()
        for what in ("objects", "packs", "frames in packs", "change summaries", "pieces of tails", "backups", "directories"):
            print(f"{self.counts[what]} {what}")

    def check_summary(self, lineage, name):
        summary = Summary(self.repository.content(name), name)
        segment = divmod(summary.number, (1 << 32) // summary.segment_size)
        file_name = f"{summary.timeline:08X}{segment[0]:08X}{segment[1]:08X}"
        place = f"{lineage.prefix}/summaries/{file_name[:8]}/{file_name[8:16]}/{file_name}-"
        if summary.segment_size != lineage.segment_size or not name.startswith(place):
            raise Damage(name, f"is of segment {file_name}")
        self.counts["change summaries"] += 1

    def check_backup(self, backup):
        self.counts["backups"] += 1
        for path, entry in backup.roots().items():
            if path == b"pgdata":
                backup.check_tablespaces(entry)
            self.check_directory(backup, os.fsdecode(path), entry.directory)
        for file_name in backup.wal_files():
            if Wal(backup.lineage).find(file_name) is None:
                raise Damage(f"{backup.lineage.prefix}/wal", f"{file_name} is missing for {backup.card['id']}")
        backup.tree.close()

    def check_directory(self, backup, path, reference):
        key = (backup.lineage.prefix, reference)
        if key in self.walked:
            return
        self.walked.add(key)
        self.counts["directories"] += 1
        for inner in backup.tree.directory(reference):
            inner_path = f"{path}/{os.fsdecode(inner.name)}"
            if inner.type == DIRECTORY:
                self.check_directory(backup, inner_path, inner.directory)
            elif inner.type == FILE:
                for block, length in backup.tree.blocks(inner, inner_path):
                    plain_size = self.check_reference(backup, block.reference)
                    if block.first * backup.tree.block_size + length > plain_size:
                        name = backup.lineage.pack_name(block.reference, "data")
                        raise Damage(f"{name}, frame {block.reference.frame}", f"is too short for {inner_path}")

    def check_reference(self, backup, reference):
        """A block reference must lead to a frame of its pack, not to the footer; the frame's plain size is returned."""
        name = backup.lineage.pack_name(reference, "data")
        if name not in self.packs:
            raise Damage(name, f"is missing for {backup.card['id']}")
        index, number = self.packs[name], reference.frame
        where = f"{name}, frame {number}"
        if number >= len(index.offsets) - 1:
            raise Damage(where, f"is missing for {backup.card['id']}")
        if (reference.offset, reference.length) != (
            index.offsets[number],
            index.offsets[number + 1] - index.offsets[number] - 4,
        ):
            raise Damage(where, "is not where a reference says")
        return index.plain_sizes[number]


# --- --to ------------------------------------------------------------------------------------------------------------


class Owners:
    """Numbers for names of owners and groups, as far as we may use them."""

    def __init__(self, owner, group):
        self.owner, self.group = owner, group  # for what has none of its own
        self.known = {}

    def give(self, path, owner=b"", group=b""):
        if os.geteuid() == 0:
            user = self.number(pwd.getpwnam, owner or self.owner)
            group_number = self.number(grp.getgrnam, group or self.group)
            os.chown(path, user, group_number, follow_symlinks=False)

    def number(self, look_up, name):
        key = (look_up, name)
        if key not in self.known:
            try:
                self.known[key] = look_up(os.fsdecode(name))[2]
            except KeyError:
                print(f"warning: {os.fsdecode(name)!r} is unknown here, its files stay ours", file=sys.stderr)
                self.known[key] = -1
        return self.known[key]


class Writer:
    """Writes a backup into an empty directory."""

    def __init__(self, backup, to):
        self.backup, self.to = backup, os.fsencode(to)
        self.owners = Owners(backup.bytes_of(backup.manifest, "owner"), backup.bytes_of(backup.manifest, "group"))
        self.files = self.bytes = 0

    def run(self):
        os.makedirs(self.to, exist_ok=True)
        if os.listdir(self.to):
            raise Damage(os.fsdecode(self.to), "is not empty")
        entries = self.backup.roots()
        pgdata = entries[b"pgdata"]
        self.backup.check_tablespaces(pgdata)
        manifest = self.backup.manifest
        extra = {name.encode(): self.backup.bytes_of(manifest, name) for name in ("backup_label", "tablespace_map")}
        for name, entry in entries.items():
            self.write_directory(name, entry, extra if name == b"pgdata" else {})
        self.write_wal()
        self.backup.tree.close()
        print(f"{self.backup.card['id']}: {self.files} files, {self.bytes} bytes")
        for record in self.backup.records("external_files"):
            entry, path = (os.fsdecode(self.backup.bytes_of(record, name)) for name in ("entry", "path"))
            print(f"config/{entry} was {path!r}")
        for record in self.backup.records("tablespaces"):
            location = os.fsdecode(self.backup.bytes_of(record, "location"))
            print(f"pgdata/pg_tblspc/{record['oid']} was {location!r}")
        if self.backup.card["state"] == "damaged":
            print("warning: some pages stayed broken when this backup was made", file=sys.stderr)
        if extra[b"tablespace_map"]:
            print("warning: tablespace_map names the places of origin, change it before you start", file=sys.stderr)

    def write_directory(self, path, entry, extra):
        place = os.path.join(self.to, path)
        os.mkdir(place, 0o700)
        for inner in self.backup.tree.directory(entry.directory):
            inner_path = os.path.join(path, inner.name)
            inner_place = os.path.join(self.to, inner_path)
            if inner.type == DIRECTORY:
                self.write_directory(inner_path, inner, {})
            elif inner.type == FILE:
                self.write_file(inner_place, self.backup.tree.file(inner, os.fsdecode(inner_path)), inner)
            else:
                os.symlink(inner.target, inner_place)
                self.attributes(inner_place, inner)
        for name, content in extra.items():
            if content:
                mode = 0o600 | entry.mode & stat.S_IRGRP
                self.write_file(os.path.join(place, name), [content], entry._replace(mode=mode))
        self.attributes(place, entry)

    def write_file(self, place, pieces, entry):
        with open(place, "xb") as file:
            for piece in pieces:
                file.write(piece)
                self.bytes += len(piece)
        self.files += 1
        self.attributes(place, entry)

    def attributes(self, place, entry):
        self.owners.give(place, entry.owner, entry.group)
        if not os.path.islink(place):
            os.chmod(place, entry.mode)
        os.utime(place, ns=(entry.mtime * 1000, entry.mtime * 1000), follow_symlinks=False)

    def write_wal(self):
        wal = Wal(self.backup.lineage)
        place = os.path.join(self.to, b"wal")
        os.mkdir(place, 0o700)
        for file_name in self.backup.wal_files():
            name = wal.find(file_name)
            if name is None:
                raise Damage(f"{self.backup.lineage.prefix}/wal", f"{file_name} is missing")
            target = os.path.join(place, file_name.encode())
            with open(target, "xb") as file:
                wal.read(name, file.write)
            os.chmod(target, 0o600)
            self.owners.give(target)
        self.owners.give(place)


# --- The command line ------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("repo", metavar="REPO", help="the directory with lifeboat.json")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key-file")
    key.add_argument("--passphrase-file")
    parser.add_argument("--cluster", default="main")
    parser.add_argument("--lineage")
    parser.add_argument("--backup", default="latest")
    parser.add_argument("--dump")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--to", metavar="DIR")
    action.add_argument("--list", action="store_true")
    action.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    try:
        repository = Repository(arguments.repo, arguments.key_file, arguments.passphrase_file)
        if arguments.check:
            Checker(repository).run()
        elif arguments.list:
            list_backups(repository, arguments.cluster, arguments.lineage)
        else:
            lineage = choose_lineage(repository, arguments.cluster, arguments.lineage)
            if arguments.dump:
                choose_backup(Dumps(lineage), arguments.dump, Dump).write(arguments.to)
            else:
                Writer(choose_backup(lineage, arguments.backup), arguments.to).run()
    except (Damage, OSError, OverflowError, RecursionError) as error:
        print(f"decode_repository: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
