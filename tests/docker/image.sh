#!/bin/sh
# Makes a small Docker image of a vllm-grid binary, a shell, `cat`, and the libraries that
# ldd names; its entry point is `vllm-grid simulate`, which takes vLLM's flags.
# No registry is asked.
#
#   tests/docker/image.sh BINARY NAME[:TAG]
set -eu
binary=$1
name=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/tmp" "$root/root" "$root/etc"
chmod 1777 "$root/tmp"
cp "$binary" "$root/bin/vllm-grid"
strip "$root/bin/vllm-grid" 2>/dev/null || true
cp -L /bin/sh "$root/bin/sh"
cp -L /bin/cat "$root/bin/cat"
{ ldd "$binary"; ldd /bin/sh; ldd /bin/cat; } | grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
echo 'root:x:0:0:root:/root:/bin/false' > "$root/etc/passwd"
tar -C "$root" -c . | docker import \
    --change 'ENTRYPOINT ["/bin/vllm-grid", "simulate"]' \
    --change 'CMD ["Qwen/Qwen3-0.6B"]' \
    - "$name"
