# Unpacks a package of another suite of the same distribution, with everything it needs, into a directory of its own:
# nothing is installed, no maintainer script runs. For sourcing; needs apt-get, dpkg and patchelf.

# The machine's own package sources, with the running suite replaced by $1 and nothing else in them. $2: only the main
# suite, for one that has no updates or security suite yet.
sources_for() {
  local here file
  here=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  [ -n "$here" ] || return 1
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    grep -v '^#' "$file" | awk -v here="$here" -v want="$1" -v only="$2" '
      BEGIN { RS = ""; FS = "\n" }
      {
        out = ""; keep = 0
        for (i = 1; i <= NF; i++) {
          line = $i
          if (line ~ /^Suites:/) {
            n = split(substr(line, 8), suite, /[ \t]+/); line = "Suites:"
            for (j = 1; j <= n; j++)
              if (suite[j] == here || (only != "main" && index(suite[j], here "-") == 1)) {
                line = line " " want substr(suite[j], length(here) + 1); keep = 1
              }
          }
          out = out line "\n"
        }
        if (keep) print out
      }'
  done > "$3/s.sources"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    awk -v here="$here" -v want="$1" -v only="$2" '
      $1 == "deb" {
        for (i = 2; i <= NF; i++)
          if ($i == here || (only != "main" && index($i, here "-") == 1)) {
            $i = want substr($i, length(here) + 1); print; next
          }
      }' "$file"
  done > "$3/s.list"
  [ -s "$3/s.sources" ] || [ -s "$3/s.list" ]
}

# open_suite SUITE DIR [deb-src]: reads that suite's package lists (with deb-src, those of its sources) into DIR/.apt, where
# isolated() uses them. Prints the reason on failure.
open_suite() {
  local suite=$1 kind=${3:-deb} part
  apt=$2/.apt
  mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial"
  touch "$apt/status"
  for part in all main; do
    sources_for "$suite" $part "$apt/parts" || { echo "no package source of this machine names its own suite"; return 1; }
    sed -i "s/^Types:.*/Types: $kind/" "$apt/parts/s.sources"
    sed -i "s/^deb /$kind /" "$apt/parts/s.list"
    isolated update && return 0
  done
  echo "package lists of $suite cannot be read: $(tail -n 1 "$apt/log")"
  return 1
}
# apt-get, or apt-cache as isolated_cache, with the lists of open_suite and nothing of this machine's.
isolated() { isolated_as apt-get "$@" >>"$apt/log" 2>&1; }
isolated_cache() { isolated_as apt-cache "$@" 2>>"$apt/log"; }
isolated_as() {
  local program=$1
  shift
  "$program" -qq -o Dir::Etc::sourcelist="$apt/none" -o Dir::Etc::sourceparts="$apt/parts" -o Dir::State::Lists="$apt/lists" \
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o APT::Install-Recommends=false \
    -o APT::Sandbox::User= -o Debug::NoLocking=true "$@"
}
# fetch_version PACKAGE VERSION COMMAND...: `isolated COMMAND... PACKAGE=VERSION`, or where the mirror lacks it with the newest
# that it really has: lists may name one that is gone already, or not there yet.
fetch_version() {
  local package=$1 wanted=$2 version
  shift 2
  for version in $(isolated_cache madison "$package" | awk -F'|' -v wanted="$wanted" '
      { gsub(/ /, "", $2); if ($2 == wanted) first = $2; else if (!seen[$2]++) rest = rest " " $2 }
      END { print first rest }'); do
    isolated "$@" "$package=$version" && return 0
  done
  return 1
}
# The package version of the server programs that tests of a major use; "" when there are none.
server_version() {
  "$(dirname "${BASH_SOURCE[0]}")/pg_majors.sh" --list "$1" | sed -n 's/.*(Debian \(.*\))$/\1/p'
}

# unpack_from_suite SUITE PACKAGE DIR PROGRAM_DIR [EXTRA]: the programs below DIR/PROGRAM_DIR run with that suite's own C
# library; the tree cannot be moved. EXTRA is a package that comes along where the suite has it. Prints the reason on failure.
unpack_from_suite() {
  local suite=$1 wanted=$2 dir=$3 programs=$4 apt loader program package
  command -v apt-get dpkg >/dev/null || { echo "needs apt-get and dpkg"; return 1; }
  command -v patchelf >/dev/null || { echo "needs patchelf (apt-get install patchelf)"; return 1; }
  rm -rf "$dir"
  open_suite "$suite" "$dir" || return 1
  { [ -n "${5:-}" ] && isolated install -y --download-only "$wanted" "$5"; } ||
    isolated install -y --download-only "$wanted" ||
    { echo "$wanted cannot be fetched from $suite: $(tail -n 1 "$apt/log")"; return 1; }
  for package in "$apt"/cache/archives/*.deb; do
    dpkg -x "$package" "$dir" || { echo "cannot unpack ${package##*/}"; return 1; }
  done
  rm -rf "$apt" "$dir"/usr/share/{doc,man,locale}
  loader=$(find "$dir" -type f \( -name 'ld-2*.so' -o -name 'ld-linux-*.so.*' \) | head -n 1)
  [ -n "$loader" ] || { echo "no program interpreter among the packages of $suite"; return 1; }
  local libs
  libs=$({ find "$dir/usr/lib" "$dir/lib" -maxdepth 1 -type d -name '*-linux-gnu' 2>/dev/null || true; } | paste -sd:)
  for program in "$dir/$programs"/*; do
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libs" "$program" 2>/dev/null || true  # scripts
  done
}
