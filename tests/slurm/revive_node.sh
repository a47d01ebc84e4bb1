#!/bin/bash
# Starts a node: revive_node.sh n2 [nowait], for the rig in $SLURM_RIG. Returns when Slurm takes jobs for it again.
#
# A node is a PID namespace of its own, so its processes die together, as a machine's do, and no other node sees them.
# The network and the files are this machine's: two nodes cannot listen on the same port.
set -euo pipefail

# shellcheck source=/dev/null
source "${SLURM_RIG:?revive_node.sh: no rig: source its env first}/env"
n=${1:?revive_node.sh: which node?}
file=$SLURM_RIG/run/node.$n.pid
ours() { [[ -s $file && $(tr '\0' ' ' <"/proc/$(<"$file")/environ" 2>/dev/null) == *"SLURM_CONF=$SLURM_CONF "* ]]; }

# Its slurmd must have started after this, or Slurm still speaks of the one that died.
begin=$(date +%s)
if ours; then
    # The node lives; its slurmd may have been killed alone.
    if [[ -e $SLURM_RIG/run/slurmd.$n.down ]]; then rm "$SLURM_RIG/run/slurmd.$n.down"; else begin=0; fi
else
    rm -f "$file" "$SLURM_RIG/run/slurmd.$n.down"
    cd "$SLURM_RIG/log"
    # bash is the namespace's first process: it reaps orphans, which slurmd would not. It starts slurmd anew when
    # that has died, unless kill_node.sh has asked it to wait.
    # With proctrack/cgroup the rig has cgroups of its own, which the node sees as the roots of theirs.
    # shellcheck disable=SC2016
    setsid unshare --pid --mount --fork --kill-child --mount-proc bash -c '
        for c in $(<"$1/cgroups"); do
            mkdir -p "/sys/fs/cgroup/$c/vllm-grid-${1##*/}"
            mount --bind "/sys/fs/cgroup/$c/vllm-grid-${1##*/}" "/sys/fs/cgroup/$c" || exit 1
        done
        while :; do
            while [[ -e $1/run/slurmd.$2.down ]]; do sleep 0.1; done
            slurmd -D -N "$2"
            sleep 0.1
        done' "node-$n" "$SLURM_RIG" "$n" </dev/null >>"$SLURM_RIG/log/node.$n.log" 2>&1 &
    echo $! >"$file"
fi
if [[ ${2:-} == nowait ]]; then exit 0; fi
for _ in $(seq 200); do
    node=" $(scontrol show node "$n" -o 2>/dev/null || true)"
    start=${node##* SlurmdStartTime=}
    if [[ $node =~ \ State=[A-Z+]+\  && ! $node =~ \ State=DOWN && $(date -d "${start%% *}" +%s 2>/dev/null || echo -1) -ge $begin ]]; then
        exit 0
    fi
    sleep 0.1
done
echo "revive_node.sh: $n is '$(sinfo -h -n "$n" -p gpu -o %T 2>&1)' after 20 s" >&2
exit 1
