#!/bin/bash
# Prints the path of promtool, Prometheus' own checker of metrics and rules; exit code 1 and a reason when there is none.
#
#   tests/support/promtool.sh [--list]        --list looks but fetches nothing
#
# Taken out of Debian's package prometheus without installing it: no service is set up, no maintainer script runs. It
# lands in $LIFEBOAT_TESTBED/promtool, by default below /var/tmp/lifeboat-testbed.
set -euo pipefail
umask 022

if command -v promtool >/dev/null; then
  command -v promtool
  exit 0
fi
root=${LIFEBOAT_TESTBED:-/var/tmp/lifeboat-testbed}
program=$root/promtool/promtool
if [ -x "$program" ]; then
  echo "$program"
  exit 0
fi
[ "${1:-}" != --list ] || { echo "promtool is not fetched yet (run $0)"; exit 1; }
command -v apt-get dpkg-deb >/dev/null || { echo "promtool needs apt-get and dpkg-deb"; exit 1; }
mkdir -p "$root"
exec 9>"$root/promtool.lock"
flock 9
if [ ! -x "$program" ]; then
  work=$root/promtool.new
  rm -rf "$work"
  mkdir -p "$work"
  (cd "$work" && apt-get -q download -o APT::Sandbox::User=root prometheus >"$work/log" 2>&1) ||
    { echo "the package prometheus cannot be had: $(tail -n 1 "$work/log")"; exit 1; }
  dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
  mkdir -p "$root/promtool"
  mv "$work/usr/bin/promtool" "$program"
  rm -rf "$work"
fi
echo "$program"
