#!/bin/bash
# Everything that `cargo test --test default -- --ignored parquet::` needs: prepare.sh [DIR]
#
# DIR (default: vllm-grid-parquet in the user's cache) gets venv/ with pandas, Polars and DuckDB from a Python package
# index. It returns at once when there is nothing to do. With another DIR, tell the test: VLLM_GRID_TEST_PARQUET.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/vllm-grid-parquet}
mkdir -p "$dir"
stamp=$dir/venv/.stamp
want=$(sha256sum <"$here/requirements.txt")
if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then
    exit 0
fi
if ! python3 -c 'import ensurepip' 2>/dev/null; then
    # Other scripts of ours may install something at this moment.
    lock=${TMPDIR:-/tmp}/vllm-grid.apt.lock
    flock "$lock" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive flock "$lock" apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi
rm -rf "$dir/venv"
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
# Written last: an install that was cut off is done again.
echo "$want" >"$stamp"
