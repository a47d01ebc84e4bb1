#!/bin/bash
# A real Slurm on this machine, written but not started: prepare.sh [DIR] [KEY=VALUE ...]
#
# Installs Debian's Slurm and munge where they are missing, makes DIR (default: a new one by mktemp) and writes the
# configuration of one controller and three nodes n1, n2, n3 with two fake GPUs each. KEY=VALUE replaces a line of
# slurm.conf (MaxJobCount=4) or adds one. Two are the rig's own: GraceTime=N is put on the partitions whose jobs are
# preempted; Memory=enforced has a job that takes more than its --mem killed. Prints DIR. Nothing outside of DIR is
# written, except by the packages. start.sh starts it.
set -euo pipefail

dir=
if [[ $# -gt 0 && $1 != *=* ]]; then dir=$1 && shift; fi
[[ $(id -u) == 0 ]] || { echo "prepare.sh: must run as root: Slurm's daemons start jobs as their users" >&2; exit 1; }

# Tests that begin at once install it once: apt's own lock of its lists is not waited for.
exec 8>"${TMPDIR:-/tmp}/vllm-grid.apt.lock" && flock 8
need=()
for pair in slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge; do
    PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null || need+=("${pair##*:}")
done
if [[ ${#need[@]} -gt 0 ]]; then
    # Debian starts munged when it is installed; this policy (Debian's own mechanism) says no, and goes again.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
        trap 'rm -f $policy' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    {
        apt-get -o DPkg::Lock::Timeout=300 update -qq
        apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${need[@]}"
    } >&2
fi
exec 8>&-

if [[ -z $dir ]]; then dir=$(mktemp -d "${TMPDIR:-/tmp}/slurm-rig.XXXXXX"); fi
mkdir -p "$dir" && dir=$(cd "$dir" && pwd -P)
if [[ -e $dir/env ]]; then echo "prepare.sh: $dir holds a rig already; stop it and remove it first" >&2; exit 1; fi
# munged wants its socket reachable for every user and its key for nobody else.
chmod 755 "$dir"
mkdir -p "$dir"/{munge,state,log,run,spool,gpu/n1,gpu/n2,gpu/n3}
chmod 755 "$dir/munge"
(umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
# Slurm takes a GPU's number from the end of the file's name. Any device will do (this one is /dev/null's), but with a
# plain file it sets no CUDA_VISIBLE_DEVICES.
for n in n1 n2 n3; do for i in 0 1; do mknod -m 666 "$dir/gpu/$n/nvidia$i" c 1 3; done; done

# Four ports in a row that nobody listens on. Below 32768, where the kernel takes its own.
free() { for p in 0 1 2 3; do ! (exec 3<>"/dev/tcp/127.0.0.1/$(($1 + p))") 2>/dev/null || return 1; done; }
port=$((16000 + $$ % 1000 * 4))
until free "$port"; do port=$((port + 4)); done

# As on a real cluster, a job's processes are those of its cgroup: none escapes by leaving its parent or its session.
# Without cgroup v1 Slurm goes by parents, and what a dead script leaves behind lives on.
cgroups=()
settings=()
if [[ -w /sys/fs/cgroup/freezer ]]; then
    cgroups+=(freezer)
    settings+=(ProctrackType=proctrack/cgroup)
else
    echo "prepare.sh: no cgroup v1 freezer here: processes that a job leaves behind will not be killed" >&2
fi
grace=0
for pair in "$@"; do
    case $pair in
    GraceTime=*) grace=${pair#*=} ;;
    Memory=enforced)
        [[ -w /sys/fs/cgroup/memory ]] || { echo "prepare.sh: Memory=enforced needs cgroup v1's memory" >&2; exit 1; }
        cgroups+=(memory)
        settings+=(TaskPlugin=task/cgroup)
        memory="ConstrainRAMSpace=yes"
        ;;
    *=*) settings+=("$pair") ;;
    *) echo "prepare.sh: '$pair' is no KEY=VALUE" >&2; exit 1 ;;
    esac
done

cat >"$dir/slurm.conf" <<CONF
ClusterName=rig
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits cred_expire + 1 s before it starts again. Slurm's default is 120 s, less than 5 is refused.
AuthInfo=socket=$dir/munge/socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmctldTimeout=30
# A node that does not answer for so long is DOWN and its jobs are NODE_FAIL. Slurm's default is 300 s.
SlurmdTimeout=10
InactiveLimit=0
# Ended jobs stay known to squeue and scontrol for so long. Slurm's default is 300 s.
MinJobAge=3600
# From SIGTERM to SIGKILL. Slurm's default is 30 s.
KillWait=5
SchedulerType=sched/backfill
# The last is asked for, but with 22.05 no early signal reached a batch script; see README.md.
# And batch_sched_delay lets a job start within 1 s of its submission: with Slurm's default of 3 s it takes 2 s.
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,preempt_send_user_signal
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Without it a job that names no memory takes a whole node's.
DefMemPerCPU=100
GresTypes=gpu
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.log
AccountingStorageType=accounting_storage/none
# The nodes have what stands here, whatever this machine has.
SlurmdParameters=config_overrides
NodeName=n[1-3] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 3))] CPUs=8 RealMemory=16000 Gres=gpu:rtx4090:2 State=UNKNOWN
# A job of 'urgent' preempts: those of 'gpu' and 'short' are requeued, those of 'scavenge' are cancelled.
PartitionName=gpu Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=$grace DefaultTime=10 MaxTime=60 State=UP
PartitionName=short Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=$grace DefaultTime=1 MaxTime=1 State=UP
PartitionName=scavenge Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=$grace DefaultTime=10 MaxTime=60 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF DefaultTime=10 MaxTime=60 State=UP
CONF
for pair in ${settings[@]+"${settings[@]}"}; do
    sed -i "/^${pair%%=*}=/d" "$dir/slurm.conf"
    # Before the nodes: after them a key would be read as belonging to the partition above by some readers.
    sed -i "0,/^NodeName=/s|^NodeName=|$pair\nNodeName=|" "$dir/slurm.conf"
done
for n in n1 n2 n3; do
    echo "NodeName=$n Name=gpu Type=rtx4090 File=$dir/gpu/$n/nvidia[0-1]"
done >"$dir/gres.conf"
printf '%s\n' CgroupPlugin=cgroup/v1 CgroupAutomount=no ${memory:+"$memory"} >"$dir/cgroup.conf"
printf '%s\n' ${cgroups[@]+"${cgroups[@]}"} >"$dir/cgroups"

# What a test sources. SLURM_CONF leads every client to this rig and away from /etc/slurm.
cat >"$dir/env" <<ENV
export SLURM_RIG=$dir
export SLURM_CONF=$dir/slurm.conf
export PATH=\$PATH:/usr/sbin:/sbin
ENV
echo "$dir"
