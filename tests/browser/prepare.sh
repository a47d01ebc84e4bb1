#!/bin/bash
# What the browser test needs: prepare.sh [DIR]
#
# Debian's Chromium, and in DIR (default /opt/vllm-grid-browser) a venv with Playwright, which drives it, and
# axe-core as axe-playwright-python ships it. Each step returns at once when there is nothing to do. With another
# DIR, tell the tests: VLLM_GRID_TEST_BROWSER.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-/opt/vllm-grid-browser}

command -v chromium >/dev/null || flock "${TMPDIR:-/tmp}/vllm-grid.apt.lock" \
    sh -c 'apt-get update -q && apt-get install -y -q chromium fonts-dejavu-core'
chromium --version

# The note is written last.
want=$(sha256sum <"$here/requirements.txt")
note=$dir/.stamp
if [[ ! -f $note || $(<"$note") != "$want" ]]; then
    rm -rf "$dir"
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    echo "$want" >"$note"
fi
