#!/bin/bash
# Installs a built lifeboat with its man pages, shell completion, example configuration and agent skills.
#
#   packaging/install.sh [--destdir DIR] [--prefix /usr/local] [BINARY]     (default: build/release/lifeboat)
set -euo pipefail
top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
destdir='' prefix=/usr/local binary=$top/build/release/lifeboat
while [ $# -gt 0 ]; do
  case $1 in
    --destdir) destdir=$2; shift 2 ;;
    --prefix) prefix=$2; shift 2 ;;
    -*) sed -n '2,4p' "$0" | cut -c3- >&2; exit 2 ;;
    *) binary=$1; shift ;;
  esac
done
[ -x "$binary" ] || { echo "install.sh: $binary is not there: run ./dev build" >&2; exit 1; }
root=$destdir$prefix

install -D -m 755 "$binary" "$root/bin/lifeboat"
strip --strip-debug "$root/bin/lifeboat" 2>/dev/null || true  # without binutils it is only larger
install -d "$root/share/man/man1" "$root/share/bash-completion/completions" "$root/share/doc/lifeboat"
"$binary" internal man | gzip -9n >"$root/share/man/man1/lifeboat.1.gz"
"$binary" internal options | cut -f1 | sort -u | while read -r command; do
  [ "$command" = internal ] && continue
  # shellcheck disable=SC2086
  "$binary" internal man $command | gzip -9n >"$root/share/man/man1/lifeboat-${command// /-}.1.gz"
done
"$binary" internal completion >"$root/share/bash-completion/completions/lifeboat"
install -m 644 "$top/packaging/lifeboat.toml" "$top/packaging/lifeboat.service" "$top/README.md" "$top/LICENSE" "$root/share/doc/lifeboat/"
for schema in "$top"/docs/schema/*.json; do
  install -D -m 644 "$schema" "$root/share/lifeboat/schema/$(basename "$schema")"
done
(cd "$top/skills" && find . -type f ! -path './.*') | while read -r file; do
  mode=644
  [ ! -x "$top/skills/$file" ] || mode=755
  install -D -m $mode "$top/skills/$file" "$root/share/lifeboat/skills/$file"
done
