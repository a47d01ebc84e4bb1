#!/bin/bash
# A node's death: kill_node.sh n2 [slurmd], for the rig in $SLURM_RIG. SIGKILL to slurmd, slurmstepd and every process
# of its jobs at one moment, daemonised ones too. With 'slurmd' only the daemon dies and jobs go on. Returns at once:
# Slurm notices after SlurmdTimeout. revive_node.sh brings it back.
set -euo pipefail

# shellcheck source=/dev/null
source "${SLURM_RIG:?kill_node.sh: no rig: source its env first}/env"
n=${1:?kill_node.sh: which node?}
file=$SLURM_RIG/run/node.$n.pid
pid=$(cat "$file" 2>/dev/null || true)
if [[ -z $pid || ! $(tr '\0' ' ' <"/proc/$pid/environ" 2>/dev/null) == *"SLURM_CONF=$SLURM_CONF "* ]]; then
    rm -f "$file"
    exit 0
fi
# 'unshare' has one child, the namespace's first process; with it the kernel kills all others.
init=$(cat "/proc/$pid/task/$pid/children")
init=${init%% *}
if [[ ${2:-} == slurmd ]]; then
    touch "$SLURM_RIG/run/slurmd.$n.down"
    for child in $(cat "/proc/$init/task/$init/children"); do
        if [[ $(cat "/proc/$child/comm" 2>/dev/null) == slurmd ]]; then kill -KILL "$child"; fi
    done
    exit 0
fi
kill -KILL "$init"
# The namespace's first process ends after the last of the others. A zombie has ended.
for _ in $(seq 250); do
    if ! grep -q -s '^State:.[^ZX]' "/proc/$init/status" "/proc/$pid/status"; then break; fi
    sleep 0.02
done
rm -f "$file" "$SLURM_RIG/run/slurmd.$n.down"
