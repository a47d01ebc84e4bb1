#!/bin/bash
# A batch script that writes down what reaches it: one line for each signal, with the time, from the script itself,
# from a child in its process group, and from one in a session of its own, as an engine has. A third, which ignores
# SIGTERM, writes the time to a file every 0.1 s: it tells after a SIGKILL when that came.
# WITNESS=stay: the script ignores SIGTERM too. Otherwise it leaves 1 s after it with status 143.
restart=${SLURM_RESTART_COUNT:-0}
log() { echo "$(date +%s.%3N) restart=$restart $*"; }
watch() {
    for s in TERM CONT INT HUP USR1 USR2 XCPU QUIT; do trap "log $1 $s; [[ $s != TERM ]] || saw=1" $s; done
}
if [[ ${1:-} == child ]]; then
    watch "$2"
    log "$2" starts
    while :; do sleep 0.1; done
fi
log script starts on "$SLURMD_NODENAME" gpus="$CUDA_VISIBLE_DEVICES"
(trap '' TERM; while :; do date +%s.%3N >"$WITNESS_DIR/$SLURM_JOB_ID.$restart.alive"; sleep 0.1; done) &
restart=$restart bash "$0" child child &
restart=$restart setsid bash "$0" child engine &
watch script
while :; do
    sleep 0.1
    if [[ -n ${saw:-} && ${WITNESS:-} != stay ]]; then sleep 1; log script leaves; exit 143; fi
done
