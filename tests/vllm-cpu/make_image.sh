#!/bin/bash
# Make a Docker image that behaves like vllm/vllm-openai, but needs no GPU: make_image.sh VENV MODEL TAG
#
#   VENV   from setup.sh             -> /opt/vllm/venv in the image
#   MODEL  from make_tiny_qwen3.py   -> /models/NAME, where NAME is the folder's name
#
# Like there, the entry point is `vllm serve`: a compose file's `command:` is the flags and nothing else.
# No registry is asked: the base is Debian packages, unpacked, and all goes through `docker import` as one layer. That
# takes half a minute even on a slow storage driver, so the venv is in the image and a compose file needs no extra mount.
# A second run with the same input finds the image and returns at once.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage="usage: make_image.sh VENV MODEL TAG"
venv=$(cd "${1:?$usage}" && pwd)
model=$(cd "${2:?$usage}" && pwd)
tag=${3:?$usage}

label=vllm-grid.input
want=$( (sed '/^ *#/d' "$here/make_image.sh"; cat "$venv/.vllm-grid-stamp"; basename "$model"; cat "$model"/*) | sha256sum | cut -d' ' -f1)
have=$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$tag" 2>/dev/null || true)
if [[ $have == "$want" ]]; then
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
debs=$work/debs

# The base. Asking apt with an empty list of installed packages gives the packages and all they depend on, with the
# machine's own apt settings and nothing installed. vLLM runs `lscpu` (util-linux); curl is for a compose health check,
# which vllm/vllm-openai has too; procps is for whoever looks inside. usr-is-merged spares usrmerge, which wants perl.
packages=(python3.11 libnuma1 libgomp1 libstdc++6 util-linux coreutils bash dash procps curl libc-bin base-files usr-is-merged)
mkdir -p "$debs/partial"
: >"$work/status"
apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dir::State::status="$work/status" -o Dir::Cache::archives="$debs" "$@"
}
download() { apt_get install -y --download-only --no-install-recommends "${packages[@]}" >/dev/null; }
# A machine's package lists may be old or, when new, missing.
download 2>/dev/null || { flock "${TMPDIR:-/tmp}/vllm-grid.apt.lock" apt-get update -qq && download; }

# Merged /usr first, as Debian's own installer does; then unpack. Maintainer scripts do not run: what they would have
# done for these packages is the few files below.
mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
for dir in bin sbin lib lib64; do
    ln -s "usr/$dir" "$root/$dir"
done
for deb in "$debs"/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -xp --keep-directory-symlink
done
ldconfig -r "$root"
ln -s python3.11 "$root/usr/bin/python3"
printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
rm -rf "$root"/usr/share/{doc,man,locale,info,lintian}

# Not the venv's own `vllm`: its first line names the path that the venv had here.
mkdir -p "$root/usr/local/bin"
cat >"$root/usr/local/bin/vllm" <<'SH'
#!/bin/sh
exec /opt/vllm/venv/bin/python /opt/vllm/venv/bin/vllm "$@"
SH
chmod 755 "$root/usr/local/bin/vllm"

# vLLM starts a process to look at a model class it has not met and writes down what it found. With that note in the
# image every start is some 5 s shorter.
VLLM_CACHE_ROOT=$root/root/.cache/vllm VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 "$venv/bin/python" - "$model" <<'PYTHON' 2>/dev/null
import json, pathlib, sys
from vllm.model_executor.models import ModelRegistry

for name in json.loads(pathlib.Path(sys.argv[1], "config.json").read_text())["architectures"]:
    ModelRegistry.models[name].inspect_model_cls()
PYTHON

# `/server_info` runs `python -m pip list` and is a 500 without a pip; vllm/vllm-openai has one. An empty list will do.
pip=$root/usr/lib/python3.11/pip
mkdir -p "$pip"
touch "$pip/__init__.py" "$pip/__main__.py"

mkdir -p "$root/models" "$root/opt/vllm/venv"
cp -r "$model" "$root/models/"

# The environment of the image, beside what vllm/vllm-openai sets:
#   VLLM_ENABLE_V1_MULTIPROCESSING=0      the engine computes itself; otherwise vLLM's CPU platform adds a worker process:
#                                         5 s more to start, 0.7 GB more memory
#   OMP_NUM_THREADS=1, ..._BIND=nobind    one thread, on any core. With the default, one thread pinned to each core, a
#                                         token waits for the slower of them: another busy process on a machine of two
#                                         cores makes decoding five times slower for seconds, and timings worthless
#   HF_HUB_OFFLINE=1, VLLM_NO_USAGE_STATS=1   no attempt to reach anything
environment=(
    PATH=/usr/local/bin:/opt/vllm/venv/bin:/usr/bin:/bin LANG=C.UTF-8
    VLLM_ENABLE_V1_MULTIPROCESSING=0 OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind
    HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
)
# One archive of two places: names that start with ./ are the base, all others belong into /opt/vllm/venv.
mapfile -t parts < <(ls "$venv")
tar -c --numeric-owner --owner=0 --group=0 --exclude='*/torch/include' \
    --transform='s,^\([^./]\),opt/vllm/venv/\1,S' -C "$root" . -C "$venv" "${parts[@]}" |
    docker import \
        --change 'ENTRYPOINT ["vllm", "serve"]' \
        --change 'EXPOSE 8000' \
        --change "ENV ${environment[*]}" \
        --change "LABEL $label=$want" \
        - "$tag" >/dev/null
docker image inspect -f '{{.Size}}' "$tag" | awk -v tag="$tag" '{ printf "%s: %.2f GB\n", tag, $1 / 1e9 }'
