#!/usr/bin/env bash
# bootstrap.sh FOLDER: a GPU cluster by plain shell over ssh, all hosts at once.
#
# What gpuctl's time is measured against: the same packages, versions, images and settings as gpuctl's roles install, by
# somebody who knows exactly these hosts. Nothing is looked at first, nothing is checked afterwards, nothing can be run
# a second time. It ends when every node is Ready and every GPU is allocatable.
#
# FOLDER holds settings.sh, and gets one log per host.
set -euo pipefail
folder=$1
here=$(dirname "$0")
# shellcheck source=/dev/null
. "$folder/settings.sh"

# on HOST ROLE SCRIPT...: run scripts on a host, as one.
on() {
  local host=$1 role=$2
  shift 2
  $SSH -n "root@$host" "HOST=$host ROLE=$role"$'\n'"$(cat "$folder/settings.sh" "$@")"
}

waiting=()
for worker in $WORKERS; do
  on "$worker" worker "$here/host.sh" "$here/gpu.sh" "$here/worker.sh" >"$folder/$worker.log" 2>&1 &
  waiting+=($!)
done
on "$CONTROL_PLANE" control_plane "$here/host.sh" "$here/control_plane.sh" >"$folder/$CONTROL_PLANE.log" 2>&1
join=$(tail -n 1 "$folder/$CONTROL_PLANE.log")

for number in "${!waiting[@]}"; do wait "${waiting[$number]}"; done
waiting=()
for worker in $WORKERS; do
  $SSH -n "root@$worker" "$join $PREFLIGHT" >>"$folder/$worker.log" 2>&1 &
  waiting+=($!)
done
for number in "${!waiting[@]}"; do wait "${waiting[$number]}"; done
on "$CONTROL_PLANE" control_plane "$here/ready.sh"
