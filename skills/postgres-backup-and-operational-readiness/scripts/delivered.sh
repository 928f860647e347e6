#!/bin/sh
# delivered.sh KEY=VALUE...
#
# Computes what a design delivers, from measured numbers, and compares it with the targets. Seconds and bytes.
#   rpo=, rto=            the targets
#   wait=                 longest wait of WAL on the server: archive_timeout, or 1 for streaming
#   transfer=             from the end of a segment until it is stored (measured, the slowest that is normal)
#   size=, restore_rate=  bytes of the cluster, bytes a second of a restore (measured in a drill)
#   wal_per_day=, replay_rate=, cadence=   WAL bytes a day, replayed bytes a second, seconds between backups
#   checks=               from consistent until clients may connect: checks, analyze, repointing
#   lead=                 until somebody acts: detection and decision (a person at night: 900)
# Replay is that of the worst moment, just before the next backup. Exit code 0: both met; 1: blocked; 2: a number is missing.
set -eu
for pair in "$@"; do
  case ${pair%%=*} in
    rpo | rto | wait | transfer | size | restore_rate | wal_per_day | replay_rate | cadence | checks | lead) ;;
    *) echo "delivered: what is $pair?" >&2; exit 2 ;;
  esac
  case ${pair#*=} in
    '' | *[!0-9.]*) echo "delivered: not a number: $pair" >&2; exit 2 ;;
  esac
done
exec awk -v pairs="$*" 'BEGIN {
  count = split(pairs, all, " ")
  for (i = 1; i <= count; i++) { split(all[i], one, "="); value[one[1]] = one[2] }
  needed = split("rpo rto wait transfer size restore_rate wal_per_day replay_rate cadence checks lead", names, " ")
  for (i = 1; i <= needed; i++) if (!(names[i] in value)) {
    print "delivered: " names[i] " is missing; it is measured or asked for, never guessed" > "/dev/stderr"; exit 2 }
  if (value["restore_rate"] <= 0 || value["replay_rate"] <= 0) { print "delivered: a rate is 0" > "/dev/stderr"; exit 2 }
  rpo = value["wait"] + value["transfer"]
  restore = value["size"] / value["restore_rate"]
  replay = value["wal_per_day"] / 86400 * value["cadence"] / value["replay_rate"]
  rto = value["lead"] + restore + replay + value["checks"]
  printf "RPO delivered %.0f s, target %.0f s: %s\n", rpo, value["rpo"], rpo <= value["rpo"] ? "met" : "BLOCKED"
  printf "RTO delivered %.0f s (lead %.0f, restore %.0f, replay up to %.0f, checks %.0f), target %.0f s: %s\n", rto, value["lead"],
    restore, replay, value["checks"], value["rto"], rto <= value["rto"] ? "met" : "BLOCKED"
  exit !(rpo <= value["rpo"] && rto <= value["rto"])
}'
