#!/bin/sh
# Checks vllm-grid on a machine with a GPU and without Docker: `doctor`, a sweep of two
# configurations on the process engine, NVML's figures against those of nvidia-smi, GPU memory
# that is not free, the machine in the manifest, a kill that `recover` cleans up after, and a
# launch as a job of a cluster: with the GPU that the job was given, in a container by its UUID.
# Prints PASS, FAIL or SKIP for each, and figures. Under 4 minutes.
#
#   tests/gpu/check.sh [--cpu] [BINARY]
#
# BINARY is a release binary; without it one is built. --cpu runs all but the checks of a GPU.
# PYTHON names the interpreter with PyTorch (default python3).
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mode=gpu
binary=
for argument in "$@"; do
    case $argument in
    --cpu) mode=cpu ;;
    -*) echo "usage: tests/gpu/check.sh [--cpu] [BINARY]" >&2; exit 2 ;;
    *) binary=$argument ;;
    esac
done
python=${PYTHON:-python3}
work=$(mktemp -d)
failed=0
smi=
hog=
# Only processes that this script has started, by their number.
# shellcheck disable=SC2317
cleanup() {
    [ -n "$smi" ] && kill "$smi" 2>/dev/null
    [ -n "$hog" ] && kill "$hog" 2>/dev/null
    [ -n "${KEEP:-}" ] && { echo "kept: $work"; return; }
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

pass() { echo "PASS  $*"; }
skip() { echo "SKIP  $*"; }
figure() { echo "      $*"; }
fail() { echo "FAIL  $*"; failed=1; }
stop() { fail "$@"; exit 1; }
last() { tail -n 12 "$1" | sed 's/^/      | /'; }

command -v "$python" >/dev/null 2>&1 || stop "python: \`$python\` is not there; set PYTHON"
if [ $mode = gpu ]; then
    command -v nvidia-smi >/dev/null 2>&1 || stop "nvidia-smi is not there: no GPU can be checked (or: --cpu)"
    nvidia-smi -L >"$work/gpus" 2>&1 || stop "nvidia-smi -L: $(head -n 1 "$work/gpus")"
    "$python" -c 'import torch' 2>/dev/null || stop "PyTorch is not there for $python: install it, or set PYTHON"
    "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
        stop "PyTorch sees no GPU: a CPU build, or CUDA_VISIBLE_DEVICES hides it"
    figure "$(head -n 1 "$work/gpus" | sed 's/ (UUID.*//')"
fi
if [ -z "$binary" ]; then
    (cd "$root" && cargo build --release --locked) >"$work/build.log" 2>&1 || { last "$work/build.log"; stop "build"; }
    binary=${CARGO_TARGET_DIR:-$root/target}/release/vllm-grid
fi
[ -x "$binary" ] || stop "the binary $binary is not there"
binary=$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")
pass "binary: $("$binary" --version)"

# One GPU, the first that is visible.
if [ $mode = gpu ]; then
    CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
    CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES%%,*}
    export CUDA_VISIBLE_DEVICES
    flag=
else
    flag=", --cpu"
fi
export VLLM_GRID_STATE="$work/state"
export VLLM_GRID_CLAIMS="$work/state"
cd "$work" || exit 1

# grid NAME UTILISATION OF EACH CONFIGURATION... : repeats are long enough for several samples.
grid() {
    name=$1
    requests=$2
    shift 2
    {
        echo "name: $name"
        echo "engine:"
        echo "  process:"
        echo "    command: ['$python', '$here/server.py', tiny-qwen3$flag]"
        echo "include:"
        for utilisation in "$@"; do
            echo "  - {name: share-$utilisation, gpu-memory-utilization: $utilisation, max-num-seqs: 4}"
        done
        echo "workloads:"
        echo "  load: {concurrency: 4, requests: $requests, prompt-tokens: 200, output-tokens: 48, warmup: 0}"
        echo "objective: {maximize: load.output_throughput}"
        # Random weights repeat themselves, as a broken model does.
        echo "gates: {canary: false}"
        echo "strategy: {grid: {launches: 1, repeats: 1, seed: 1}}"
    } >"$name.yaml"
}

# column FILE NAME... : for each row its name and what stands in the columns.
column() {
    "$python" - "$@" <<'END'
import csv, sys
with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:
    for row in csv.DictReader(file):
        print(row["configuration"], *(row.get(name) or "-" for name in sys.argv[2:]))
END
}

# within WHAT OURS THEIRS SHARE SLACK : |ours - theirs| <= share x theirs + slack
within() {
    if "$python" -c 'import sys; a, b, s, k = map(float, sys.argv[1:]); sys.exit(not abs(a - b) <= s * b + k)' \
        "$2" "$3" "$4" "$5" 2>/dev/null; then
        pass "$1: $2, nvidia-smi $3"
    else
        fail "$1: $2, nvidia-smi $3"
    fi
}

# 1. doctor
grid check 200 0.2 0.3
if "$binary" doctor check.yaml >doctor.log 2>&1; then pass "doctor"; else fail "doctor, exit code $?"; last doctor.log; fi

# 2. a sweep
if [ $mode = gpu ]; then
    nvidia-smi -i "$CUDA_VISIBLE_DEVICES" --query-gpu=memory.used,utilization.gpu,power.draw \
        --format=csv,noheader,nounits -lms 250 >smi.csv 2>/dev/null &
    smi=$!
fi
begun=$(date +%s)
"$binary" sweep check.yaml --output run >sweep.log 2>&1
code=$?
figure "sweep: $(($(date +%s) - begun)) s"
if [ -n "$smi" ]; then kill "$smi" 2>/dev/null; wait "$smi" 2>/dev/null; smi=; fi
if [ $code -eq 0 ]; then pass "sweep of two configurations"; else fail "sweep, exit code $code"; last sweep.log; fi
if [ -f run/results.csv ]; then
    column run/results.csv load.output_throughput load.gpu_utilization_max load.gpu_power_max \
        load.gpu_memory_used_max >rows
    while read -r name throughput utilisation power memory; do
        figure "$name: $throughput tokens/s; GPU share $utilisation, $power W, $memory B"
    done <rows
    rows=$(grep -c -v ' - ' rows)
    measured=$(awk '$2 != "-"' rows | wc -l)
    if [ "$measured" -eq 2 ]; then pass "both were measured"; else fail "measured: $measured of 2"; last sweep.log; fi
    figure "rows with GPU figures: $rows"
fi

# 3. NVML against nvidia-smi
if [ $mode = gpu ] && [ -f rows ]; then
    most() { awk -F', *' -v n="$1" '$n + 0 > m { m = $n + 0 } END { print m + 0 }' smi.csv; }
    ours() { awk -v n="$1" '$n + 0 > m { m = $n + 0 } END { print m + 0 }' rows; }
    memory=$("$python" -c 'import sys; print(round(float(sys.argv[1]) / 2**20))' "$(ours 5)")
    # A reserved part of the memory counts in one of the two, depending on the driver.
    within "GPU memory, MiB" "$memory" "$(most 1)" 0.05 700
    utilisation=$("$python" -c 'import sys; print(round(100 * float(sys.argv[1])))' "$(ours 3)")
    within "GPU utilisation, %" "$utilisation" "$(most 2)" 0.2 15
    within "GPU power, W" "$(ours 4)" "$(most 3)" 0.25 15
else
    skip "NVML against nvidia-smi: needs a GPU"
fi

# 4. memory that is not free
if [ $mode = gpu ]; then
    "$python" -c '
import time, torch
free, total = torch.cuda.mem_get_info()
held = torch.empty(int(0.4 * total), dtype=torch.uint8, device="cuda")
print("held", flush=True)
time.sleep(120)' >hog.log 2>&1 &
    hog=$!
    for _ in $(seq 1 60); do grep -q held hog.log && break; sleep 0.5; done
    grid full 16 0.9
    "$binary" sweep full.yaml --output full >full.log 2>&1
    kill "$hog" 2>/dev/null
    wait "$hog" 2>/dev/null
    hog=
    if grep -q '"class":"memory_not_free"' full/journal.jsonl; then
        pass "memory that somebody else holds is memory_not_free"
    else
        fail "memory that somebody else holds"
        last full.log
    fi
else
    skip "memory that is not free: needs a GPU"
fi

# 5. the machine in the manifest
"$python" - $mode run/manifest.json >machine.log 2>&1 <<'END'
import json, sys
with open(sys.argv[2], encoding="utf-8") as file:
    machine = json.load(file).get("machine") or {}
wanted = ["kernel", "cpu", "cores", "memory_mib"]
missing = [name for name in wanted if not machine.get(name)]
if sys.argv[1] == "gpu":
    gpus = machine.get("gpus") or []
    missing += [] if gpus and gpus[0].get("name") else ["gpus[0].name"]
    missing += [] if gpus and gpus[0].get("memory_mib") else ["gpus[0].memory_mib"]
    missing += [name for name in ["driver", "cuda"] if not machine.get(name)]
    print("; ".join(f"{g.get('name')}, {g.get('memory_mib')} MiB, {g.get('power_limit_w')} W" for g in gpus),
          f"driver {machine.get('driver')}, CUDA {machine.get('cuda')}")
print(f"{machine.get('cpu')}, {machine.get('cores')} cores, kernel {machine.get('kernel')}")
if missing:
    sys.exit("missing: " + ", ".join(missing))
END
code=$?
sed 's/^/      /' machine.log
if [ $code -eq 0 ]; then pass "the machine is in the manifest"; else fail "the machine in the manifest"; fi
if [ $mode = gpu ]; then
    seen=$(nvidia-smi -i "$CUDA_VISIBLE_DEVICES" --query-gpu=name,driver_version --format=csv,noheader)
    name=${seen%%,*}
    driver=${seen##*, }
    if grep -q "$name" run/manifest.json && grep -q "$driver" run/manifest.json; then
        pass "GPU and driver as nvidia-smi has them: $seen"
    else
        fail "GPU and driver: nvidia-smi has $seen"
    fi
fi

# 6. a kill, and what is left of it
grid killed 4000 0.2
"$binary" sweep killed.yaml --output killed >killed.log 2>&1 &
sweep=$!
for _ in $(seq 1 240); do
    grep -q launch_ready killed/journal.jsonl 2>/dev/null && break
    sleep 0.25
done
server=$(sed -n 's/.*, process \([0-9]*\)$/\1/p' killed/launches/*/engine.log 2>/dev/null | head -n 1)
kill -9 "$sweep"
wait "$sweep" 2>/dev/null
if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
    "$binary" recover killed >recover.log 2>&1
    code=$?
    for _ in $(seq 1 40); do kill -0 "$server" 2>/dev/null || break; sleep 0.25; done
    if kill -0 "$server" 2>/dev/null; then
        fail "recover left the server, process $server"
        kill -9 "$server"
        last recover.log
    elif [ $code -eq 0 ]; then
        pass "recover ended the server of a sweep that was killed"
    else
        fail "recover, exit code $code"
        last recover.log
    fi
else
    fail "no server was left by a sweep that was killed"
    last killed.log
fi
if [ $mode = gpu ]; then
    used=$(nvidia-smi -i "$CUDA_VISIBLE_DEVICES" --query-compute-apps=pid --format=csv,noheader | grep -c "^$server$")
    if [ "$used" -eq 0 ]; then pass "its GPU memory is free"; else fail "it still holds GPU memory"; fi
fi

# 7. a job on this machine as its only node, with stand-ins for Slurm's commands
mkdir tools jobs
tool() { { echo "#!/bin/sh"; cat; } >"tools/$1"; chmod +x "tools/$1"; }
tool sbatch <<'END'
jobs=$(dirname "$0")/../jobs
n=1; while ! mkdir "$jobs/$n" 2>/dev/null; do n=$((n + 1)); done
for word in "$@"; do case $word in
    --comment=*) comment=${word#--comment=} ;;
    --chdir=*) echo "${word#--chdir=}" >"$jobs/$n/folder" ;;
esac; done
echo "$word" >"$jobs/$n/script"
echo "$n|PENDING||0|0|JobHeldUser|$comment|" >"$jobs/$n/line"; echo "$n"
END
tool squeue <<'END'
cat "$(dirname "$0")"/../jobs/*/line 2>/dev/null || true
END
tool sinfo <<'END'
echo 'here|gpu*|idle|gpu:1|infinite|16|128000|up'
END
tool scancel <<'END'
for id; do :; done
kill "$(cat "$(dirname "$0")/../jobs/$id/process")" 2>/dev/null; true
END
tool scontrol <<'END'
[ "$1" = release ] || exit 0
job=$(cd "$(dirname "$0")/../jobs/$2" && pwd)
sed -i 's/PENDING||0|0|JobHeldUser/RUNNING|here|0|0|None/' "$job/line"
cd "$(cat "$job/folder")" || exit 1
(
    SLURM_JOB_ID=$2 SLURMD_NODENAME=here SLURM_JOB_GPUS=${GPU_NUMBER:-0} setsid sh "$(cat "$job/script")" >job.out 2>&1 &
    echo $! >"$job/process"
    wait $!
    sed -i 's/RUNNING/COMPLETED/' "$job/line"
) >/dev/null 2>&1 </dev/null &
END
over_slurm() { PATH="$work/tools:$PATH" "$binary" sweep "$1.yaml" --output "$1" >"$1.log" 2>&1; }
number=0
if [ $mode = gpu ]; then number=$(nvidia-smi -q -i "$CUDA_VISIBLE_DEVICES" | awk '/Minor Number/ { print $4; exit }'); fi
export GPU_NUMBER="$number"
grid job 200 0.2
echo "hosts: {slurm: {gres: 'gpu:1', at-once: 1, time: 10m}}" >>job.yaml
if over_slurm job; then
    column job/results.csv host load.output_throughput load.gpu_utilization_max load.gpu_power_max >rows
    if grep -q ' here [0-9]' rows; then pass "a launch as a job of a cluster"; else fail "a launch as a job"; last rows; fi
    figure "$(head -n 1 rows)"
else
    fail "a launch as a job, exit code $?"
    last job.log
fi

# 8. a container of a job asks the daemon for the job's GPU, by its identity
"$python" "$here/daemon.py" "$work/docker.sock" "$work/asked" >daemon.log 2>&1 &
hog=$!
for _ in $(seq 1 40); do [ -S docker.sock ] && break; sleep 0.1; done
sed -e 's|process:|docker:|; s|command: .*|image: "vllm/vllm-openai:v0.11.0"\n    model: Qwen/Qwen3-0.6B|' -e 's/^name: job/name: boxed/' job.yaml >boxed.yaml
DOCKER_HOST="unix://$work/docker.sock" over_slurm boxed
kill "$hog" 2>/dev/null
wait "$hog" 2>/dev/null
hog=
expected=$number
if [ $mode = gpu ]; then expected=$(nvidia-smi -i "$CUDA_VISIBLE_DEVICES" --query-gpu=uuid --format=csv,noheader); fi
ids=$("$python" -c 'import json, sys
print(*sorted({i for line in open(sys.argv[1]) for asked in json.loads(line)["gpus"] for i in asked["DeviceIDs"]}))' asked 2>/dev/null)
if [ "$ids" = "$expected" ]; then
    pass "a container on a node asks for GPU $ids, number $number of the machine"
else
    fail "a container on a node asks for the GPU \`$ids\` where $expected was given"
    last boxed.log
fi

if [ $failed -eq 0 ]; then echo "all checks passed"; else echo "some checks failed"; fi
exit $failed
