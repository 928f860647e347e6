#!/bin/bash
# PostgreSQL's own regression tests, which make a database with about every kind of object.
#
#   tests/support/regression_suite.sh MAJOR
#
# Prints "DIR VERSION": the directory holds sql/, data/, parallel_schedule and a regress.so for that major, the version is
# that of the tests. Or "- REASON", with exit code 1. They come from the source package of the suite that pg_majors.sh takes
# that major from, or of an older one where the mirror lacks it, and are kept in $LIFEBOAT_TESTBED/regress-MAJOR: nothing
# of them stands in this repository. Safe to run many times and by several at once.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
# shellcheck source=tests/support/suite_package.sh
. "$here/suite_package.sh"
major=${1:?MAJOR}
root=${LIFEBOAT_TESTBED:-/var/tmp/lifeboat-testbed}
dir=$root/regress-$major
fail() { echo "- $*"; exit 1; }

fetch_source() {  # MAJOR SUITE: unpacks src/test/regress into DIR. Prints the reason on failure.
  local tarball
  rm -rf "$dir"
  mkdir -p "$dir"
  open_suite "$2" "$dir" deb-src || return 1
  (cd "$apt" && fetch_version "postgresql-$1" "$(server_version "$1")" source --download-only) ||
    { echo "the source of postgresql-$1 cannot be fetched from $2: $(tail -n 1 "$apt/log")"; return 1; }
  tarball=$(echo "$apt/postgresql-$1"_*.orig.tar.*)
  tar -C "$dir" -xf "$tarball" --strip-components=3 --wildcards '*/src/test/regress' || { echo "$tarball cannot be unpacked"; return 1; }
  tarball=${tarball##*_}
  echo "${tarball%.orig.*}" >"$dir/version"
  rm -rf "$dir/.apt"
}

if [ ! -e "$dir/.ready" ]; then
  case $major in 13 | 15 | 17 | 18) ;; *) fail "no suite is known for $major" ;; esac
  mkdir -p "$root" 2>/dev/null && [ -w "$root" ] || fail "not fetched yet, and $root cannot be written by $(id -un)"
  headers=$("$here/server_headers.sh" "$major") || fail "headers of PostgreSQL $major: ${headers#- }"
  exec 9>"$root/regress-$major.lock"
  flock 9
fi
if [ ! -e "$dir/.ready" ]; then
  reason=
  for source in "18 forky" "17 trixie" "15 bookworm" "13 bullseye"; do
    [ "${source% *}" -le "$major" ] || continue
    # shellcheck disable=SC2086
    if problem=$(fetch_source $source); then reason= && break; fi
    reason=${reason:-$problem}
  done
  [ -z "$reason" ] || fail "$reason"
  # What regress.c includes by way of other headers is not the same in each major.
  "${CC:-gcc}" -shared -fPIC -O1 -w -I"$headers" -include postgres.h -include utils/array.h -include utils/builtins.h \
    -o "$dir/regress/regress.so" "$dir/regress/regress.c" 2>"$dir/regress.log" ||
    fail "regress.c does not compile for PostgreSQL $major: $(grep -m 1 error "$dir/regress.log")"
  chmod -R a+rX "$dir"
  touch "$dir/.ready"
fi
echo "$dir/regress $(cat "$dir/version")"
