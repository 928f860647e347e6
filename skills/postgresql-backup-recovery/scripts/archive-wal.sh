#!/bin/sh
# archive_command = '/path/to/archive-wal.sh /srv/archive %p %f'
#
# Copies one WAL file into a directory so that PostgreSQL may forget it:
#   - exit 0 only when the file is durable under its final name, which appears whole or not at all;
#   - the same file again is success (PostgreSQL asks again after a crash), another content under that name is an error
#     and nothing is overwritten;
#   - WAL of another cluster is refused: ARCHIVE/.archive holds the system identifier, and its absence means that the
#     archive is not mounted. Make it once:
#     psql -Atc 'SELECT system_identifier FROM pg_control_system()' > ARCHIVE/.archive
# Fails with 1 to 125 only: anything above makes the archiver process die instead of counting a failure.
set -eu
archive=$1 source=$2 name=$3
fail() { echo "archive-wal: $name: $*" >&2; exit 1; }

[ -s "$archive/.archive" ] || fail "$archive/.archive is missing: not mounted, or never set up"
case $name in
  *.history | *.backup) ;;
  *) # The first page of a segment holds the system identifier, 8 bytes at offset 24.
    [ "$(od -A n -t u8 -j 24 -N 8 "$source" | tr -d ' ')" = "$(cat "$archive/.archive")" ] ||
      fail "comes from another cluster than the files in $archive" ;;
esac

if [ -e "$archive/$name" ]; then
  cmp -s "$source" "$archive/$name" || fail "is in $archive already, with different content"
  sync "$archive/$name" "$archive" || fail "cannot be made durable"
  exit 0
fi
temporary=$archive/.$name.$$
trap 'rm -f "$temporary"' EXIT
cp "$source" "$temporary" || fail "cannot be copied to $archive"
sync "$temporary" || fail "cannot be made durable"
# A link, because unlike mv it never replaces what another process put there meanwhile.
ln "$temporary" "$archive/$name" || fail "cannot be named in $archive"
sync "$archive" || fail "its name cannot be made durable"
