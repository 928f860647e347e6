#!/bin/bash
# PostgreSQL's server headers, for building archive_library.
#
#   tests/support/server_headers.sh MAJOR
#
# Prints the directory with postgres.h; or "- REASON", with exit code 1. What is not installed is unpacked from the development
# package of the suite that pg_majors.sh takes that major from, without what it depends on (compilers), into
# $LIFEBOAT_TESTBED/headers-MAJOR. Safe to run many times and by several at once.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
# shellcheck source=tests/support/suite_package.sh
. "$here/suite_package.sh"
major=${1:?MAJOR}
root=${LIFEBOAT_TESTBED:-/var/tmp/lifeboat-testbed}
case $major in 13) suite=bullseye ;; 15) suite=bookworm ;; 17) suite=trixie ;; 18) suite=forky ;; *) echo "- no suite is known for $major"; exit 1 ;; esac

for include in "/usr/include/postgresql/$major/server" "$root/headers-$major/usr/include/postgresql/$major/server"; do
  [ -f "$include/postgres.h" ] && [ -f "$include/pg_config.h" ] && { echo "$include"; exit 0; }
done
mkdir -p "$root"
exec 9>"$root/headers-$major.lock"
flock 9
if [ ! -f "$include/postgres.h" ]; then
  dir=$root/headers-$major
  rm -rf "$dir"
  reason=$(open_suite "$suite" "$dir") || { echo "- $reason"; exit 1; }
  apt=$dir/.apt
  # Those of another minor release may declare what this server lacks.
  (cd "$apt" && fetch_version "postgresql-server-dev-$major" "$(server_version "$major")" download) ||
    { echo "- postgresql-server-dev-$major cannot be fetched from $suite"; exit 1; }
  dpkg -x "$apt"/postgresql-server-dev-*.deb "$dir" || { echo "- the package cannot be unpacked"; exit 1; }
  rm -rf "$apt"
fi
[ -f "$include/postgres.h" ] || { echo "- the package holds no postgres.h"; exit 1; }
echo "$include"
