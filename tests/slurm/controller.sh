#!/bin/bash
# Slurm's own controller: controller.sh up | down | hang | unhang, for the rig in $SLURM_RIG. 'down' is SIGKILL;
# 'hang' stops it (SIGSTOP), so that clients connect and get no answer. Jobs go on in all cases.
set -euo pipefail

# shellcheck source=/dev/null
source "${SLURM_RIG:?controller.sh: no rig: source its env first}/env"
file=$SLURM_RIG/run/slurmctld.pid
pid=$(cat "$file" 2>/dev/null || true)
# A number alone proves nothing: a stale file may name another process by now.
if [[ -n $pid && ! $(tr '\0' ' ' <"/proc/$pid/environ" 2>/dev/null) == *"SLURM_CONF=$SLURM_CONF "* ]]; then pid=; fi

case ${1:-} in
up)
    if [[ -n $pid ]]; then exit 0; fi
    rm -f "$file"
    cd "$SLURM_RIG/log"
    slurmctld </dev/null
    for _ in $(seq 100); do
        if scontrol ping 2>/dev/null | grep -q 'is UP'; then exit 0; fi
        sleep 0.05
    done
    echo "controller.sh: slurmctld does not answer; see $SLURM_RIG/log/slurmctld.log" >&2
    exit 1
    ;;
down)
    if [[ -z $pid ]]; then exit 0; fi
    kill -KILL "$pid"
    while [[ -d /proc/$pid ]] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.02; done
    rm -f "$file"
    ;;
hang) kill -STOP "${pid:?controller.sh: it does not run}" ;;
unhang) kill -CONT "${pid:?controller.sh: it does not run}" ;;
*)
    echo "controller.sh: up, down, hang or unhang" >&2
    exit 2
    ;;
esac
