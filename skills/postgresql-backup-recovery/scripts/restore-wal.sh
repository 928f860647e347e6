#!/bin/sh
# restore_command = '/path/to/restore-wal.sh /srv/archive %f %p'
#
# The counterpart of archive-wal.sh. PostgreSQL takes exit codes 1 to 125 for "there is no such file": at a missing segment it
# ends recovery and promotes. So 1 is for certain absence only, and everything else is 255, which stops recovery
# instead of ending it early with data missing.
# On a standby use --standby: there a failure is retried, and 255 would shut the standby down.
set -u
trouble=255
if [ "${1:-}" = --standby ]; then
  trouble=1
  shift
fi
archive=$1 name=$2 target=$3
if [ ! -s "$archive/.archive" ]; then
  echo "restore-wal: $archive/.archive is missing: not mounted?" >&2
  exit $trouble
fi
[ -e "$archive/$name" ] || exit 1
cp "$archive/$name" "$target" || exit $trouble
