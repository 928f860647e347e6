"""A system identifier of its own for a copy of what initdb made: thousands of servers start in the tests, and a copy takes a
tenth of the time. Each cluster needs its own, by which repositories know them apart."""
import os
import struct
import time


def renew(data):
    """`data`: a data directory (pathlib) in which no server ever ran."""
    identity = struct.pack("<Q", int(time.time()) << 32 | int.from_bytes(os.urandom(4), "little"))
    control = data / "global/pg_control"
    content = bytearray(control.read_bytes())
    crc_at = _crc_of(bytes(content))
    content[:8] = identity
    content[crc_at:crc_at + 4] = struct.pack("<I", _crc32c(content[:crc_at]))
    control.write_bytes(content)
    # The long header of a segment's first page (XLogLongPageHeaderData in src/include/access/xlog_internal.h).
    for segment in (data / "pg_wal").glob("????????????????????????"):
        with open(segment, "r+b") as file:
            file.seek(24)
            file.write(identity)


def _crc_of(control):
    """Where the checksum stands: the last field of ControlFileData, whose size differs between majors."""
    return next(at for at in range(200, 400, 4) if struct.unpack_from("<I", control, at)[0] == _crc32c(control[:at]))


def _crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
