"""Stands for PostgreSQL's archiver or its recovery: calls a command for one WAL file after the other, as system(3) does, and
prints the seconds that it took. Small, because what it does itself is measured too.

    driver.py push DATA LISTING COMMAND    %p and %f as in archive_command; .ready becomes .done after each success
    driver.py get DATA LISTING COMMAND     %p and %f as in restore_command; what arrives is renamed away
"""

import os
import sys
import time

mode, data, listing, command = sys.argv[1:]
os.chdir(data)
with open(listing) as file:
    names = file.read().split()
status = "pg_wal/archive_status/"
started = time.monotonic()
for name in names:
    path = f"pg_wal/{name}" if mode == "push" else "pg_wal/RECOVERYXLOG"
    if os.system(command.replace("%p", path).replace("%f", name)) != 0:
        sys.exit(f"failed for {name}: {command}")
    if mode == "push":
        os.rename(f"{status}{name}.ready", f"{status}{name}.done")
    else:
        os.rename(path, "pg_wal/replayed")
print(time.monotonic() - started)
