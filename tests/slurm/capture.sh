#!/bin/bash
# Writes tests/captures/slurm anew from a real Slurm: capture.sh [SECTION ...] (default: all). About 20 minutes; the
# sections need nothing of each other and may run side by side, but for 'timings'.
#
# Each call of a command is a row of SECTION.tsv (name, exit status, milliseconds, user, command); what it wrote is in
# NAME.out and NAME.err, which are absent when empty. The rig's folder is written as /rig.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
to=$(cd "$here/../captures" && pwd)/slurm
mkdir -p "$to"
fields='JobID:|,State:|,Reason:|,NodeList:|,RestartCnt:|,exit_code:|,TimeUsed:|,Comment:|'
now() { date +%s.%3N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }

rig() {
    if [[ -n ${SLURM_RIG:-} ]]; then cd / && "$here/stop.sh" "$SLURM_RIG" remove; fi
    unset SLURM_RIG SLURM_CONF
    local dir
    cd /
    dir=$("$here/prepare.sh" "$@") && "$here/start.sh" "$dir" && source "$dir/env"
    mkdir -p "$SLURM_RIG/work" && chmod 777 "$SLURM_RIG/work" && cd "$SLURM_RIG/work" || exit 1
    export WITNESS_DIR=$SLURM_RIG/work
    cp "$here/witness.sh" .
}
trap '[[ -z ${SLURM_RIG:-} ]] || { cd /; "$here/stop.sh" "$SLURM_RIG" remove; }' EXIT

# as USER NAME COMMAND...: one captured call.
as() {
    local user=$1 name=$2 t rc ms f; shift 2
    t=$(date +%s%N)
    if [[ $user == root ]]; then "$@" >"$to/$name.out" 2>"$to/$name.err" </dev/null
    else runuser -u "$user" -- "$@" >"$to/$name.out" 2>"$to/$name.err" </dev/null; fi
    rc=$?
    ms=$((($(date +%s%N) - t) / 1000000))
    sed -i "s|$SLURM_RIG|/rig|g" "$to/$name.out" "$to/$name.err"
    for f in "$to/$name.out" "$to/$name.err"; do [[ -s $f ]] || rm -f "$f"; done
    printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$rc" "$ms" "$user" "$(printf '%q ' "$@" | sed "s|$SLURM_RIG|/rig|g; s| $||")" >>"$to/$section.tsv"
    return $rc
}
cap() { as root "$@"; }
# A text of ours: what a job wrote, or times. note NAME, from stdin.
note() { sed "s|$SLURM_RIG|/rig|g" >"$to/$1.txt"; }
state() { squeue -h -a -t all -j "$1" -O State:0 2>/dev/null; }
# until_state JOB REGEX [SECONDS]
until_state() {
    local end=$((SECONDS + ${3:-60}))
    until [[ $(state "$1") =~ ^($2)$ ]]; do
        if ((SECONDS > end)); then echo "capture.sh: job $1 is '$(state "$1")', not $2" >&2; return 1; fi
        sleep 0.1
    done
}
ended='COMPLETED|FAILED|TIMEOUT|CANCELLED|NODE_FAIL|PREEMPTED|OUT_OF_MEMORY|BOOT_FAIL|DEADLINE'
clear_queue() {
    local u end=$((SECONDS + 30))
    scontrol update nodename='n[1-3]' state=resume 2>/dev/null
    for u in root games; do scancel --state=PENDING -u $u; scancel -f -s KILL -u $u; scancel -u $u; done 2>/dev/null
    while squeue -h -a | grep -q .; do
        if ((SECONDS > end)); then echo "capture.sh: the queue is not empty" >&2; squeue -a >&2; return; fi
        sleep 0.2
    done
}
say() { printf '== %s (%s s)\n' "$*" "$SECONDS"; }

section_submit() {
    rig
    cap version-sbatch sbatch --version
    cap sbatch-ok sbatch --parsable --gres=gpu:rtx4090:2 --exclusive --comment='vllm-grid run=r1 launch=0' --wrap 'exit 0'
    cap sbatch-ok-human sbatch --gres=gpu:1 --wrap 'exit 0'
    cap sbatch-ok-cluster sbatch --parsable --clusters=rig --wrap 'exit 0'
    cap sbatch-ok-verbose-options sbatch --parsable --job-name='a b' --time=40 --signal=B:TERM@60 --requeue --open-mode=append --export=ALL --wrap 'exit 0'
    for u in root games; do
        as $u sbatch-refused-partition-$u sbatch --parsable --partition=nowhere --wrap true
        as $u sbatch-refused-gres-name-$u sbatch --parsable --gres=fpga:1 --wrap true
        as $u sbatch-refused-gres-type-$u sbatch --parsable --gres=gpu:h100:1 --wrap true
        as $u sbatch-refused-gres-count-$u sbatch --parsable --gres=gpu:3 --wrap true
        as $u sbatch-refused-memory-$u sbatch --parsable --mem=99G --wrap true
        as $u sbatch-refused-cpus-$u sbatch --parsable --cpus-per-task=99 --wrap true
        as $u sbatch-refused-node-$u sbatch --parsable --nodelist=n9 --wrap true
        as $u sbatch-time-over-limit-$u sbatch --parsable --time=5:00:00 --wrap true
        as $u sbatch-qos-without-accounting-$u sbatch --parsable --qos=night --wrap true
        as $u sbatch-account-without-accounting-$u sbatch --parsable --account=nolab --wrap true
        as $u sbatch-refused-bad-option-$u sbatch --parsable --no-such-option --wrap true
        as $u sbatch-refused-bad-time-$u sbatch --parsable --time=soon --wrap true
        as $u sbatch-refused-no-script-file-$u sbatch --parsable /nowhere/job.sh
        as $u sbatch-refused-other-cluster-$u sbatch --parsable --clusters=other --wrap true
        as $u sbatch-missing-workdir-$u sbatch --parsable --chdir=/nowhere --wrap true
    done
    printf 'echo no shebang\n' >plain.sh
    cap sbatch-refused-no-shebang sbatch --parsable plain.sh
    cap sbatch-refused-crlf bash -c 'printf "#!/bin/bash\r\ntrue\r\n" | sbatch --parsable'
    cap sbatch-refused-empty-stdin sbatch --parsable
    sleep 2
    cap squeue-after-submit squeue -h -a -t all -O "$fields"
    clear_queue
    cap sbatch-drained-wait bash -c 'scontrol update nodename=n[1-3] state=drain reason="to test it"; sbatch --parsable --gres=gpu:2 --wrap true; sleep 2'
    cap squeue-drained squeue -h -a -O "$fields"
    cap sinfo-drained sinfo -h -N -p gpu -o '%N|%T|%E'
    cap scontrol-undrain scontrol update nodename='n[1-3]' state=resume
    cap scontrol-update-unknown-node scontrol update nodename=n9 state=drain reason=x
    sleep 2
    cap scontrol-partition-down scontrol update partitionname=short state=down
    cap sbatch-partition-down sbatch --parsable -p short --wrap true
    sleep 1
    cap squeue-partition-down squeue -h -a -O "$fields"
    cap scontrol-partition-inactive scontrol update partitionname=short state=inactive
    as games sbatch-refused-partition-inactive sbatch --parsable -p short --wrap true
    cap scontrol-partition-drain scontrol update partitionname=short state=drain
    as games sbatch-refused-partition-drain sbatch --parsable -p short --wrap true
    clear_queue

    rig EnforcePartLimits=ALL
    as games sbatch-refused-time-limit-enforced sbatch --parsable --time=5:00:00 --wrap true
}

section_full() {
    rig MaxJobCount=4
    for _ in 1 2 3; do timeout 10 sbatch --parsable --exclusive --wrap 'sleep 300'; done
    # sbatch itself tries again for minutes when the queue is full.
    cap sbatch-queue-full timeout 400 sbatch --parsable --wrap true
    cap sbatch-queue-full-killed timeout 3 sbatch --parsable --wrap true
    clear_queue
    # Whether jobs that ended count.
    rig MaxJobCount=4
    for _ in 1 2 3; do sbatch --parsable --wait --wrap true >/dev/null; done
    cap sbatch-queue-full-of-ended timeout 3 sbatch --parsable --wrap true
    cap squeue-queue-full-of-ended squeue -h -a -t all -O "$fields"
}

section_states() {
    rig
    local j
    cap squeue-empty squeue -h -a -O "$fields"
    cap squeue-unknown-job squeue -h -a -t all -j 999 -O "$fields"
    cap squeue-unknown-jobs squeue -h -a -t all -j 998,999 -O "$fields"
    cap scontrol-unknown-job scontrol show job -o 999
    cap scancel-unknown-job scancel 999
    cap scancel-unknown-job-verbose scancel -v 999
    cap scancel-bad-id scancel abc
    local c='--parsable --gres=gpu:2 --exclusive'
    sbatch $c --comment='vllm-grid run=r1 launch=ok' --wrap 'sleep 3' >/dev/null
    sbatch $c --comment='vllm-grid run=r1 launch=exit7' --wrap 'sleep 3; exit 7' >/dev/null
    sbatch $c --comment='vllm-grid run=r1 launch=segv' --wrap 'sleep 3; kill -SEGV $$' >/dev/null
    until_state 1 RUNNING; until_state 3 RUNNING
    sleep 1.1
    cap squeue-running squeue -h -a -O "$fields"
    cap scontrol-running scontrol show job -o 1
    j=$(sbatch $c --comment='vllm-grid run=r1 launch=timeout' -p short --signal=B:TERM@20 --wrap 'trap "" TERM; while :; do sleep 1; done')
    sbatch $c --comment='vllm-grid run=r1 launch=held' --hold --wrap true >/dev/null
    sbatch $c --comment='vllm-grid run=r1 launch=later' --begin=now+1hour --wrap true >/dev/null
    sbatch $c --comment='vllm-grid run=r1 launch=cancelled-pending' --hold --wrap true >/dev/null
    cap scancel-pending scancel 7
    local f; f=$(runuser -u games -- sbatch --parsable --gres=gpu:2 --exclusive --output=/dev/null --comment=foreign --wrap 'sleep 300')
    local m; m=$(sbatch $c --comment='vllm-grid run=r1 launch=stubborn' --wrap 'trap "" TERM; echo up; while :; do sleep 1; done')
    local p; p=$(sbatch $c --comment='vllm-grid run=r1 launch=waits' --dependency=afterok:$m --wrap true)
    until_state "$m" RUNNING
    sleep 1
    as games scancel-foreign-job scancel 4
    as games scancel-foreign-and-own scancel 4 "$f"
    as games squeue-as-other-user squeue -h -a -t all -O "$fields"
    cap scancel-running scancel "$m"
    sleep 0.5
    cap squeue-completing squeue -h -a -t all -O "$fields"
    until_state "$m" CANCELLED
    cap scancel-ended-job scancel "$m"
    cap scancel-ended-job-verbose scancel -v "$m"
    cap squeue-states-1 squeue -h -a -t all -O "$fields"
    until_state "$j" TIMEOUT 130
    cap squeue-states-2 squeue -h -a -t all -O "$fields"
    cap squeue-states-2-o squeue -h -a -t all -o '%i|%T|%r|%N|%M|%l|%S|%e|%P|%u|%k'
    cap squeue-default squeue -a -t all
    cap scontrol-all-jobs scontrol show job -o
    cap squeue-json squeue -a -t all --json
    cap jobcomp-filetxt cat "$SLURM_RIG/log/jobcomp.log"
    cap sacct-without-accounting sacct -X -n -P -o JobID,State,ExitCode
    cap sacct-completion sacct -c -n -P
    cap squeue-comment-newline bash -c 'sbatch --parsable --hold --comment="a|b
c" --wrap true; squeue -h -a -t PD -O "JobID:|,Comment:|"; squeue -h -a -t PD -o "%i|%k"'
    cap squeue-comment-long bash -c 'sbatch --parsable --hold --comment="$(printf "x%.0s" $(seq 2000))" --wrap true; squeue -h -a -t PD -O "JobID:|,Comment:|" | awk "{ print length(\$0) }"'
    cap squeue-bad-field squeue -h -O Nonsense
    cap sinfo-partitions sinfo -h -e -a -o '%R|%a|%l|%D|%T|%G|%m|%c|%N'
    cap sinfo-nodes sinfo -h -a -N -o '%N|%R|%T|%G|%m|%c|%E'
    cap sinfo-default sinfo
    cap sinfo-unknown-partition sinfo -h -p nowhere -o '%R|%D'
    cap sinfo-O sinfo -h -a -O 'Partition:|,Available:|,Time:|,Nodes:|,NodeAIOT:|,StateLong:|,Gres:|,GresUsed:|,Memory:|,CPUs:|'
    cap scontrol-partition scontrol show partition -o
    cap scontrol-node scontrol show node -o
    cap scontrol-config scontrol show config
    clear_queue

    # What squeue says of a job that it no longer knows.
    rig MinJobAge=2
    sbatch --parsable --wrap true >/dev/null
    sbatch --parsable --wrap 'sleep 200' >/dev/null
    local t; t=$(now)
    sleep 2
    while squeue -h -a -t all -j 1 -O JobID:0 2>/dev/null | grep -q .; do sleep 1; (($(date +%s) - ${t%.*} < 150)) || break; done
    echo "job 1 forgotten $(since "$t") s after its submission with MinJobAge=2" | note forgotten
    cap squeue-forgotten squeue -h -a -t all -j 1 -O "$fields"
    cap squeue-forgotten-and-known squeue -h -a -t all -j 1,2 -O "$fields"
    cap scontrol-forgotten scontrol show job -o 1
    cap scancel-forgotten scancel -v 1
    clear_queue
}

section_oom() {
    rig Memory=enforced
    local j
    j=$(sbatch --parsable --mem=50 --wrap "python3 -c 'x = b\"x\" * 300_000_000; print(len(x))'; echo status \$?")
    until_state "$j" "$ended" 40
    sleep 1
    cap squeue-oom squeue -h -a -t all -O "$fields"
    cap scontrol-oom scontrol show job -o "$j"
    note oom-job <"slurm-$j.out"
    grep -h -i -E 'oom|cgroup' "$SLURM_RIG"/log/slurmd.n1.log | note oom-slurmd
    clear_queue
}

section_env() {
    rig
    local opts
    sbatch --parsable --wait --gres=gpu:rtx4090:2 --exclusive --comment='vllm-grid run=r1 launch=0' --time=5 --output=env2.txt --wrap 'env | sort' >/dev/null
    grep -E '^(SLURM|CUDA|GPU|ROCR|ZE_|HOSTNAME|TMPDIR|ENVIRONMENT)' env2.txt | note env-gpu2-exclusive
    sbatch --parsable --gres=gpu:1 --output=hold.txt --nodelist=n1 --wrap 'sleep 5' >/dev/null
    sleep 1
    sbatch --parsable --wait --gres=gpu:1 --nodelist=n1 --output=env1.txt --wrap 'env | sort; echo; echo in a step:; srun env | sort' >/dev/null
    sed -n '/^in a step/,$d;p' env1.txt | grep -E '^(SLURM|CUDA|GPU|HOSTNAME)' | note env-gpu1-second-on-node
    sed -n '/^in a step/,$p' env1.txt | grep -E '^(in a|SLURM|CUDA|GPU|srun)' | note env-gpu1-srun-step
    sbatch --parsable --wait --output=env0.txt --wrap 'env | sort' >/dev/null
    grep -E '^(SLURM|CUDA|GPU)' env0.txt | note env-no-gpu
    # Arguments: a script's own, by file and by stdin; --wrap; the environment.
    printf '#!/bin/bash\nprintf "<%%s>" "$0" "$@"; echo; echo "value=<$A_VALUE>"; readlink /proc/self/fd/0; pwd; umask; ulimit -n\n' >args.sh
    export A_VALUE='x "y" $z, ü'
    cap sbatch-args-file sbatch --parsable --wait --output=args-file.txt args.sh 'a b' 'c"d' "e'f" '$g' '' 'ü|h,i'
    note args-file <args-file.txt
    # sbatch has no '-' for stdin.
    cap sbatch-refused-args-stdin bash -c "sbatch --parsable --wait --output=args-stdin.txt - 'a b' 'c\"d' \"e'f\" '\$g' '' < args.sh"
    cap sbatch-args-stdin-bare bash -c 'sbatch --parsable --wait --output=args-stdin2.txt < args.sh'
    note args-stdin-bare <args-stdin2.txt
    cap sbatch-wrap sbatch --parsable --wait --output=wrap.txt --wrap "./args.sh 'a b' 'c\"d' '\$g'"
    chmod +x args.sh
    cap sbatch-wrap-exec sbatch --parsable --wait --output=wrap.txt --wrap "./args.sh 'a b' 'c\"d' '\$g'; tr '\\0' ' ' < /proc/\$\$/cmdline"
    note wrap <wrap.txt
    cap sbatch-wrap-with-args sbatch --parsable --wait --output=wrap2.txt --wrap 'echo "$@"' a b
    cap sbatch-export-none sbatch --parsable --wait --export=NONE --output=none.txt --wrap 'env | sort'
    grep -v -E '^SLURM' none.txt | cut -c1-60 | note env-export-none
    cap sbatch-export-one sbatch --parsable --wait --export=A_VALUE --output=one.txt --wrap 'env | sort'
    grep -v -E '^SLURM' one.txt | cut -c1-60 | note env-export-one
    cap sbatch-output-unwritable sbatch --parsable --wait --output=/nowhere/x.txt --wrap 'sleep 1'
    cap squeue-output-unwritable squeue -h -a -t all -O "$fields"
    cap scontrol-output-unwritable scontrol show job -o
    grep -h nowhere "$SLURM_RIG"/log/slurmd.*.log | tail -n 2 | note output-unwritable-slurmd
    # The batch script's process, its parent and its group: what a launch sees of itself.
    sbatch --parsable --wait --output=ps.txt --wrap 'ps -eo pid,ppid,pgid,sid,user,args --forest; ulimit -a' >/dev/null
    note ps-in-job <ps.txt
    clear_queue
}

# witness NAME WHAT SBATCH-OPTIONS...: a job that writes down its signals; WHAT ends it (a function, given its id).
witness() {
    local name=$1 what=$2 j t f; shift 2
    rm -f "$name.log"
    j=$(sbatch --parsable --gres=gpu:2 --exclusive --open-mode=append --output="$name.log" "$@" "${script[@]}")
    until_state "$j" RUNNING && sleep 1
    t=$(now)
    $what "$j"
    { echo "# sbatch $* ; then $what at 0.000; seconds since then"
      awk -v t="$t" '/^[0-9]+\./ { $1 = sprintf("%8.3f", $1 - t) } { print }' "$name.log"
      for f in "$j".*.alive; do
          awk -v t="$t" -v f="$f" '{ printf "%8.3f last sign of life of the child that ignores SIGTERM (%s)\n", $1 - t, f }' "$f"
      done
      scontrol show job -o "$j" | grep -o -E '(JobState|Reason|ExitCode|Restarts|RunTime|TimeLimit|PreemptTime|NodeList)=[^ ]*' | paste -s -d ' '
    } | note "signals-$name"
    cat "$to/signals-$name.txt"
    clear_queue
}
script=(witness.sh)
by_scancel() { scancel "$1"; until_state "$1" "$ended" 60; sleep 1; }
by_scancel_batch() { scancel -b -s TERM "$1"; until_state "$1" "$ended" 20 || true; }
by_scancel_full() { scancel -f -s TERM "$1"; until_state "$1" "$ended" 20 || true; }
by_scancel_term() { scancel -s TERM "$1"; sleep 3; }
by_itself() { until_state "$1" "$ended" 200; sleep 1; }
by_preemption() {
    local u; u=$(sbatch --parsable --gres=gpu:2 --exclusive -N 3 -p urgent --output=/dev/null --wrap 'sleep 3')
    until_state "$u" "$ended" 60
    squeue -h -a -t all -j "$1" -O "$fields" | note "squeue-$name-after-urgent"
    case $(state "$1") in PENDING | RUNNING) until_state "$1" RUNNING 30; sleep 2 ;; esac
}
by_requeue() { scontrol requeue "$1"; sleep 0.3; squeue -h -a -t all -j "$1" -O "$fields" | note "squeue-$name-at-once"; until_state "$1" RUNNING 60; sleep 1; }
by_node_death() {
    local t seen='' s n; t=$(now)
    n=$(squeue -h -j "$1" -O NodeList:0)
    "$here/kill_node.sh" "$n"
    if [[ -n ${NOTICED:-} ]]; then scontrol update nodename="$n" state=down reason=died; fi
    { while (($(date +%s) - ${t%.*} < 60)); do
        s="$(squeue -h -a -t all -j "$1" -O "$fields" | sed 's/[0-9:]*|[^|]*|$//') $(sinfo -h -N -p gpu -o '%N:%T' | paste -s -d ' ')"
        [[ $s == "$seen" ]] || { echo "$(since "$t") $s"; seen=$s; }
        case $s in *"RUNNING|"*"|1|"*) sleep 2; break ;; *NODE_FAIL*) break ;; esac
        sleep 0.2
    done; } | tee /dev/stderr | note "squeue-$name-timeline"
    for n in n1 n2 n3; do "$here/revive_node.sh" $n; done
}

# Who gets the SIGTERM of a scancel, by how the batch script starts its program.
section_wrapped() {
    rig
    script=(--wrap 'bash witness.sh; echo the shell goes on')
    witness wrapped-plain by_scancel
    script=(--wrap 'exec bash witness.sh')
    witness wrapped-exec by_scancel
    script=(--wrap 'srun bash witness.sh; echo the shell goes on')
    witness wrapped-srun by_scancel
    witness wrapped-srun-batch by_scancel_batch
    witness wrapped-srun-term by_scancel_term
    witness wrapped-srun-time-limit by_itself -p short --signal=TERM@30
    script=(witness.sh)
    rig ProctrackType=proctrack/linuxproc
    witness scancel-linuxproc by_scancel
    rig ProctrackType=proctrack/pgid
    witness scancel-pgid by_scancel
}
section_death() { rig; witness node-death by_node_death; }
section_death-no-requeue() { rig; witness node-death-no-requeue by_node_death --no-requeue; }
# As when an administrator or a health check sets a dead node down: nobody waits for the timeout.
section_death-noticed() { rig; NOTICED=1 witness node-death-noticed by_node_death; }
section_death-timeout-2() { rig SlurmdTimeout=2; witness node-death-timeout-2 by_node_death; }
# slurmd alone dies for longer than the timeout, and the job may run elsewhere: both starts at once.
by_slurmd_death() {
    local n; n=$(squeue -h -j "$1" -O NodeList:0)
    "$here/kill_node.sh" "$n" slurmd
    sleep 45
    "$here/revive_node.sh" "$n"
    sleep 5
}
section_double() { rig; witness slurmd-death-elsewhere by_slurmd_death; }
section_limit() { rig; witness time-limit by_itself -p short --signal=B:TERM@30; }
section_limit-stubborn() { rig; WITNESS=stay witness time-limit-stubborn by_itself -p short --signal=B:TERM@30; }
section_limit-plain() { rig; witness time-limit-no-signal by_itself -p short; }

# What the grace time gives: to a batch script that asked for a signal, and to a step.
section_grace() {
    rig GraceTime=6
    witness preempt-grace-usr1 by_preemption --signal=B:USR1@60
    script=(--wrap 'srun bash witness.sh')
    witness preempt-grace-srun by_preemption
    script=(witness.sh)
}
section_preemption() {
    rig
    witness preempt-requeue by_preemption --signal=B:TERM@60
    witness preempt-requeue-no-signal by_preemption
    witness preempt-cancel by_preemption --signal=B:TERM@60 -p scavenge
    witness preempt-no-requeue by_preemption --signal=B:TERM@60 --no-requeue
    rig GraceTime=6
    witness preempt-requeue-grace by_preemption --signal=B:TERM@60
    WITNESS=stay witness preempt-requeue-grace-stubborn by_preemption --signal=B:TERM@60
    witness preempt-cancel-grace by_preemption --signal=B:TERM@60 -p scavenge
    rig GraceTime=6 SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
    witness preempt-requeue-grace-plain by_preemption --signal=B:TERM@60
}

section_signals() {
    rig
    witness scancel by_scancel
    witness scancel-signal-option by_scancel --signal=B:TERM@60
    WITNESS=stay witness scancel-stubborn by_scancel
    witness scancel-batch by_scancel_batch
    witness scancel-full by_scancel_full
    witness scancel-term by_scancel_term
    witness requeue by_requeue --signal=B:TERM@60
}

section_requeue() {
    rig
    local j m
    for m in append truncate default; do
        local o=(); [[ $m == default ]] || o=(--open-mode=$m)
        j=$(sbatch --parsable "${o[@]}" --output=mode.txt --wrap 'echo job $SLURM_JOB_ID restart ${SLURM_RESTART_COUNT:-none}; sleep ${A:-5}')
        until_state "$j" RUNNING; sleep 0.5
        scontrol requeue "$j"
        until_state "$j" 'PENDING'; until_state "$j" RUNNING 60; sleep 0.5
        { echo "# --open-mode $m, after one requeue"; cat mode.txt; } | note "open-mode-$m"
        scancel "$j"; until_state "$j" "$ended"; rm -f mode.txt
    done
    j=$(sbatch --parsable --no-requeue --wrap 'sleep 30'); until_state "$j" RUNNING
    cap scontrol-requeue-no-requeue scontrol requeue "$j"
    scancel "$j"; until_state "$j" "$ended"
    cap scontrol-requeue-unknown scontrol requeue 999
    # Only the daemon dies: the job goes on.
    j=$(sbatch --parsable --nodelist=n2 --wrap 'sleep 25; echo done'); until_state "$j" RUNNING
    "$here/kill_node.sh" n2 slurmd
    local t seen='' s revived=; t=$(now)
    for _ in $(seq 150); do
        s="$(squeue -h -a -t all -j "$j" -O 'JobID:|,State:|,Reason:|,NodeList:|,RestartCnt:|,exit_code:|') $(sinfo -h -n n2 -p gpu -o '%N:%T')"
        [[ $s == "$seen" ]] || { echo "$(since "$t") $s"; seen=$s; }
        [[ ! $s =~ COMPLETED ]] || break
        if ((${#revived} == 0)) && (($(date +%s) - ${t%.*} >= 5)); then echo "$(since "$t") slurmd again"; "$here/revive_node.sh" n2; revived=1; fi
        sleep 0.2
    done | note slurmd-alone-killed-5s
    cat "$to/slurmd-alone-killed-5s.txt"
    clear_queue
    j=$(sbatch --parsable --nodelist=n2 --open-mode=append --output=alone.log --gres=gpu:2 --exclusive witness.sh); until_state "$j" RUNNING
    "$here/kill_node.sh" n2 slurmd
    t=$(now) seen=
    { for _ in $(seq 200); do
        s="$(squeue -h -a -t all -j "$j" -O 'JobID:|,State:|,Reason:|,NodeList:|,RestartCnt:|,exit_code:|') $(sinfo -h -n n2 -p gpu -o '%N:%T') old one alive: $(find . -name "$j.0.alive" -newermt '-1 second' | grep -q . && echo yes || echo no)"
        [[ $s == "$seen" ]] || { echo "$(since "$t") $s"; seen=$s; }
        sleep 0.2
      done; echo "$(since "$t") slurmd again"; "$here/revive_node.sh" n2; sleep 3; awk -v t="$t" '/^[0-9]+\./ { $1 = sprintf("%8.3f", $1 - t) } { print }' alone.log; squeue -h -a -t all -j "$j" -O "$fields"
      scontrol release "$j"; sleep 3; echo after scontrol release:; squeue -h -a -t all -j "$j" -O "$fields"; grep -h -E "JobId=$j |\[$j" "$SLURM_RIG"/log/slurmctld.log "$SLURM_RIG"/log/slurmd.n2.log
    } | note slurmd-alone-killed-dead
    cat "$to/slurmd-alone-killed-dead.txt"
    clear_queue
}

section_outage() {
    rig
    sbatch --parsable --wrap 'sleep 100' >/dev/null
    "$here/controller.sh" down
    cap down-sbatch timeout 150 sbatch --parsable --wrap true
    cap down-squeue timeout 150 squeue -h -a -t all -O "$fields"
    cap down-scancel timeout 150 scancel 1
    cap down-sinfo timeout 150 sinfo -h -o '%R|%D'
    cap down-scontrol-ping scontrol ping
    "$here/controller.sh" up
    cap up-again-squeue squeue -h -a -t all -O "$fields"
    "$here/controller.sh" hang
    cap hang-sbatch timeout 150 sbatch --parsable --wrap true
    cap hang-squeue timeout 150 squeue -h -a -t all -O "$fields"
    "$here/controller.sh" unhang
    sleep 1
    cap unhang-squeue squeue -h -a -t all -O "$fields"
    local munged; munged=$(<"$SLURM_RIG/run/munged.pid")
    kill -STOP "$munged"
    cap munge-hangs-squeue timeout 60 squeue -h -a -t all -O "$fields"
    kill -CONT "$munged"
    kill -TERM "$munged"; sleep 0.5
    cap munge-down-squeue timeout 150 squeue -h -a -t all -O "$fields"
    cap munge-down-sbatch timeout 150 sbatch --parsable --wrap true
    "$here/start.sh"
    clear_queue
    cap no-config-squeue env SLURM_CONF=/nowhere/slurm.conf squeue -h
    cap no-config-sbatch env SLURM_CONF=/nowhere/slurm.conf sbatch --parsable --wrap true
}

# ms COUNT COMMAND...: least, median and greatest of its milliseconds.
ms() {
    local n=$1 t; shift
    for _ in $(seq "$n"); do t=$(date +%s%N); "$@" >/dev/null; echo $((($(date +%s%N) - t) / 10000)); done | sort -n |
        awk '{ a[NR] = $1 / 100 } END { printf "%.1f %.1f %.1f\n", a[1], a[int((NR + 1) / 2)], a[NR] }'
}
section_timings() {
    local t
    { echo "# milliseconds: least, median, greatest of 20, unless said otherwise; $(nproc) cores, load $(cut -d ' ' -f 1 /proc/loadavg)"
    t=$(date +%s%N); rig; echo "prepare.sh and start.sh, all nodes idle: $((($(date +%s%N) - t) / 1000000)) ms"
    for p in $(for f in "$SLURM_RIG"/run/node.n?.pid; do q=$(<"$f"); echo "$q"; c=$(cat /proc/$q/task/$q/children); echo $c; cat /proc/${c%% *}/task/${c%% *}/children; done) $(cat "$SLURM_RIG"/run/slurmctld.pid "$SLURM_RIG"/run/munged.pid) $(cat /proc/$(<"$SLURM_RIG/run/slurmctld.pid")/task/*/children); do
        echo "$(cat /proc/$p/comm) $(awk '/^Pss:/ { print $2 }' /proc/$p/smaps_rollup)"
    done | sort | awk '{ n[$1]++; k[$1] += $2; s += $2 } END { for (c in k) printf "memory (PSS) of %d %s: %.1f MB\n", n[c], c, k[c] / 1024; printf "memory in all: %.1f MB\n", s / 1024 }'
    echo "squeue, no job: $(ms 20 squeue -h -a -t all -O "$fields")"
    echo "sbatch, hold: $(ms 20 sbatch --parsable --hold --comment='vllm-grid run=r1 launch=0' --wrap true)"
    scancel -u root; sleep 1
    echo "sbatch to the job's first line, idle node, 10 times, ms:" $(for _ in $(seq 10); do
        t=$(date +%s%N); sbatch --parsable --gres=gpu:2 --exclusive --output=first.txt --wrap 'date +%s%N >first' >/dev/null
        until [[ -s first ]]; do sleep 0.005; done; echo $((($(<first) - t) / 1000000)); rm first; done)
    echo "sbatch --wait of 'true', ms: $(ms 5 sbatch --parsable --wait --wrap true)"
    echo "end of a job to the next one's start on the same node (both waiting in the queue), ms:" $(
        for i in 1 2 3 4 5 6; do sbatch --parsable --gres=gpu:2 --exclusive --nodelist=n1 --output=/dev/null --wrap "date +%s%N >s$i; sleep 1; date +%s%N >e$i" >/dev/null; done
        until [[ -s e6 ]]; do sleep 0.05; done; for i in 1 2 3 4 5; do echo $((($(<s$((i + 1))) - $(<e$i)) / 1000000)); done)
    local j; for i in 1 2 3 4 5; do
        j=$(sbatch --parsable --gres=gpu:2 --exclusive --output=/dev/null --wrap 'sleep 100'); until_state "$j" RUNNING; sleep 0.5
        t=$(date +%s%N); scancel "$j"; until_state "$j" "$ended"; echo $((($(date +%s%N) - t) / 1000000)) >>ends; done
    echo "scancel to CANCELLED of 'sleep 100' (poll every 0.1 s), ms:" $(cat ends)
    for _ in $(seq 64); do sbatch --parsable --comment='vllm-grid run=r1 launch=0' --gres=gpu:2 --exclusive --output=/dev/null --wrap 'sleep 20' >/dev/null; done
    echo "squeue, 64 jobs waiting or running and the ended ones: $(ms 20 squeue -h -a -t all -O "$fields")"
    echo "squeue, -j of 64 ids: $(ms 20 squeue -h -a -t all -j "$(squeue -h -a -O JobID:0 | tr -d ' ' | paste -s -d ,)" -O "$fields")"
    echo "scontrol show job -o, all: $(ms 20 scontrol show job -o)"
    echo "squeue --json, all: $(ms 5 squeue -a -t all --json)"
    t=$(date +%s%N); scancel $(squeue -h -a -O JobID:0); while squeue -h -a | grep -q .; do sleep 0.1; done
    echo "scancel of 64 jobs (3 run) until the queue is empty: $((($(date +%s%N) - t) / 1000000)) ms"
    t=$(date +%s%N); cd /; "$here/stop.sh" "$SLURM_RIG" remove; unset SLURM_RIG; echo "stop.sh: $((($(date +%s%N) - t) / 1000000)) ms"
    } >"$to/timings.txt"
    cat "$to/timings.txt"
}

for section in ${*:-submit full states env signals wrapped death death-no-requeue death-noticed death-timeout-2 double limit limit-stubborn limit-plain preemption grace requeue outage oom timings}; do
    say "$section"
    rm -f "$to/$section.tsv"
    "section_$section"
done
say end
