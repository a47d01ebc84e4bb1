#!/usr/bin/env python3
"""Put empty CUDA libraries beside PyPI's torch, so that it loads on a machine without CUDA.

usage: make_cuda_stubs.py SITE_PACKAGES        (needs gcc and readelf)

PyPI carries torch for CUDA only. Its shared objects name cuBLAS, cuDNN, NCCL and others as needed, so the dynamic
linker wants those files, and with `-z now` also every symbol, before the first line of Python runs. A CPU run calls
none of them. The real libraries are 3.5 GB; these are a few hundred KB and every function in them returns 1, which
each of those libraries reads as an error: a call by mistake fails instead of silently computing nothing.
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

# Part of any Linux; never to be replaced.
SYSTEM = re.compile(r"(libc|libm|libdl|librt|libpthread|ld-linux.*|libstdc\+\+|libgcc_s|libgomp)\.so")
# Only libcaffe2_nvrtc.so wants the driver, and it is opened on first GPU use.
DRIVER = "libcuda.so.1"
# Which library a symbol belongs to, where its version does not say: the longer stem first.
OWNER = [
    ("libcublasLt", "cublasLt"),
    ("libcublas", "cublas"),
    ("libcudnn", "cudnn"),
    ("libcufft", "cufft"),
    ("libcufile", "cuFile"),
    ("libcurand", "curand"),
    ("libcusolver", "cusolver"),
    ("libcusparseLt", "cusparseLt"),
    ("libcusparse", "cusparse"),
    ("libnccl", "p?nccl"),
    ("libnvrtc", "nvrtc"),
    ("libnvshmem_host", "nvshmem"),
]


def readelf(*arguments: str) -> str:
    return subprocess.run(["readelf", "-W", *arguments], capture_output=True, text=True, check=True).stdout


def symbols(library: Path):
    """Yield (name, version, defined?) of each dynamic symbol."""
    for line in readelf("--dyn-syms", str(library)).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[0].rstrip(":").isdigit():
            name, _, version = fields[7].partition("@")
            yield name, version.lstrip("@"), fields[6] != "UND"


def owner(name: str, version: str, wanted: set[str]) -> str | None:
    for stem, prefix in OWNER:
        if re.match(prefix, name) or version.startswith(stem + "."):
            return next((so for so in wanted if so.startswith(stem + ".so")), None)
    return None


def write_stub(path: Path, by_version: dict[str, set[str]]) -> None:
    functions = sorted(name for names in by_version.values() for name in names) or ["vllm_grid_empty_stub"]
    with tempfile.TemporaryDirectory() as work:
        source, script = Path(work, "stub.c"), Path(work, "stub.map")
        source.write_text("".join(f"int {name}(void) {{ return 1; }}\n" for name in functions))
        command = ["gcc", "-shared", "-fPIC", "-w", "-o", str(path), str(source), f"-Wl,-soname,{path.name}"]
        # A symbol asked for with a version is found only under that version.
        nodes = [f"{v} {{ global: {'; '.join(sorted(n))}; }};" for v, n in sorted(by_version.items()) if v]
        if nodes:
            script.write_text("\n".join(nodes) + "\n")
            command.append(f"-Wl,--version-script={script}")
        subprocess.run(command, check=True)


def main() -> None:
    site = Path(sys.argv[1])
    target = site / "torch/lib"
    torch = [path for path in target.iterdir() if ".so" in path.name]
    shipped = {path.name for path in torch} | {path.name for path in site.glob("nvidia/**/*.so*")}

    wanted, undefined, defined = set(), set(), set()
    for library in torch:
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("-d", str(library)))
        wanted |= {so for so in needed if so not in shipped and so != DRIVER and not SYSTEM.match(so)}
        for name, version, is_defined in symbols(library):
            if is_defined:
                defined.add(name)
            else:
                undefined.add((name, version))

    stubs: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, version in undefined:
        if name not in defined and (so := owner(name, version, wanted)):
            stubs[so][version].add(name)
    for so in sorted(wanted):
        write_stub(target / so, stubs[so])
        print(f"{so}: {sum(map(len, stubs[so].values()))} functions")


if __name__ == "__main__":
    main()
