#!/bin/bash
# wal-gaps.sh DIR [SEGMENT_SIZE]
#
# Looks for holes in a directory of WAL segments: on each timeline the segments must follow each other. SEGMENT_SIZE in
# bytes is read from the first segment's header when it is not given (it is an initdb option, not always 16 MB).
# Prints one line per timeline. Exit code 0: no hole; 1: a hole, or a segment of a wrong size; 2: nothing to look at.
set -euo pipefail
dir=${1:?usage: wal-gaps.sh DIR [SEGMENT_SIZE]}
shopt -s nullglob
cd "$dir"
segments=()
for name in *; do
  [[ $name =~ ^[0-9A-F]{24}$ ]] && segments+=("$name")
done
[ ${#segments[@]} -gt 0 ] || { echo "wal-gaps: no WAL segments in $dir" >&2; exit 2; }
# The long page header holds the segment size, 4 bytes at offset 32.
size=${2:-$(od -A n -t u4 -j 32 -N 4 "${segments[0]}" | tr -d ' ')}
per_log=$((0x100000000 / size))

code=0 timeline='' first='' last='' count=0
tell() { [ -z "$timeline" ] || echo "timeline $((16#$timeline)): $count segments, $first to $last"; }
for name in "${segments[@]}"; do # sorted by name: by timeline, then by position
  number=$((16#${name:8:8} * per_log + 16#${name:16:8}))
  if [ "${name:0:8}" != "$timeline" ]; then
    tell
    timeline=${name:0:8} first=$name count=0
  elif [ $number -ne $((previous + 1)) ]; then
    echo "timeline $((16#$timeline)): $((number - previous - 1)) segments are missing between $last and $name"
    code=1
  fi
  if [ "$(stat -c %s "$name")" -ne "$size" ]; then
    echo "$name: $(stat -c %s "$name") bytes instead of $size"
    code=1
  fi
  previous=$number last=$name count=$((count + 1))
done
tell
exit $code
