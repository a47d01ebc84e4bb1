#!/bin/bash
# Stops the rig: stop.sh DIR [remove] (default: $SLURM_RIG). Nodes with all that runs on them, controller, munged.
# Leaves the folder with its logs, unless told 'remove'. What does not run is no error.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-${SLURM_RIG:?stop.sh: no rig: name its folder}}
if [[ ! -e $dir/env ]]; then exit 0; fi
# shellcheck source=/dev/null
source "$dir/env"

"$here/controller.sh" down
for n in n1 n2 n3; do "$here/kill_node.sh" "$n"; done
munged --stop --socket="$SLURM_RIG/munge/socket" >/dev/null 2>&1 || true
rm -f "$SLURM_RIG/run/munged.pid"
while read -r c; do
    own=/sys/fs/cgroup/$c/vllm-grid-${SLURM_RIG##*/}
    if [[ -d $own ]]; then find "$own" -depth -type d -exec rmdir {} +; fi
done <"$SLURM_RIG/cgroups"
if [[ ${2:-} == remove ]]; then rm -rf "$SLURM_RIG"; fi
