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
case $major in 15) suite=bookworm ;; 17) suite=trixie ;; 18) suite=forky ;; *) echo "- no suite is known for $major"; exit 1 ;; esac

for include in "/usr/include/postgresql/$major/server" "$root/headers-$major/usr/include/postgresql/$major/server"; do
  [ -f "$include/postgres.h" ] && [ -f "$include/pg_config.h" ] && { echo "$include"; exit 0; }
done
mkdir -p "$root"
exec 9>"$root/headers-$major.lock"
flock 9
if [ ! -f "$include/postgres.h" ]; then
  dir=$root/headers-$major
  apt=$dir/.apt
  rm -rf "$dir"
  mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial"
  touch "$apt/status"
  isolated() {
    apt-get -qq -o Dir::Etc::sourcelist="$apt/none" -o Dir::Etc::sourceparts="$apt/parts" -o Dir::State::Lists="$apt/lists" \
      -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User= -o Debug::NoLocking=true "$@" \
      >>"$apt/log" 2>&1
  }
  done=no
  for part in all main; do
    sources_for "$suite" $part "$apt/parts" || { echo "- no package source of this machine names its own suite"; exit 1; }
    isolated update && { done=yes; break; }
  done
  [ $done = yes ] || { echo "- package lists of $suite cannot be read"; exit 1; }
  (cd "$apt" && isolated download "postgresql-server-dev-$major") ||
    { echo "- postgresql-server-dev-$major cannot be fetched from $suite"; exit 1; }
  dpkg -x "$apt"/postgresql-server-dev-*.deb "$dir" || { echo "- the package cannot be unpacked"; exit 1; }
  rm -rf "$apt"
fi
[ -f "$include/postgres.h" ] || { echo "- the package holds no postgres.h"; exit 1; }
echo "$include"
