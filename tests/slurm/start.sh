#!/bin/bash
# Starts the rig that prepare.sh wrote: start.sh DIR (default: $SLURM_RIG). Returns when all nodes are idle. What runs
# already is left alone, so a second call does nothing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
source "${1:-${SLURM_RIG:?start.sh: no rig: name its folder}}/env"
log=$SLURM_RIG/log/start.log
alive() { [[ -s $1 ]] && kill -0 "$(<"$1")" 2>/dev/null; }

if ! alive "$SLURM_RIG/run/munged.pid"; then
    munged --key-file="$SLURM_RIG/munge/key" --socket="$SLURM_RIG/munge/socket" --pid-file="$SLURM_RIG/run/munged.pid" \
        --log-file="$SLURM_RIG/log/munged.log" --seed-file="$SLURM_RIG/munge/seed" --num-threads=2 --force \
        </dev/null >>"$log" 2>&1 || { cat "$log" >&2 && exit 1; }
fi
"$here/controller.sh" up >>"$log" 2>&1 || { cat "$log" >&2 && exit 1; }
for n in n1 n2 n3; do "$here/revive_node.sh" "$n" nowait; done

for _ in $(seq 200); do
    if [[ $(sinfo -h -N -p gpu -o %t 2>/dev/null | grep -c -E '^(idle|mix|alloc|comp|drain|drng)$') == 3 ]]; then exit 0; fi
    sleep 0.1
done
echo "start.sh: the nodes are not idle after 20 s:" >&2
sinfo -N -l >&2 || true
for f in "$SLURM_RIG"/log/*.log; do echo "== $f" && tail -n 5 "$f"; done >&2
exit 1
