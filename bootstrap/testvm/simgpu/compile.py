"""Compiles the doubles of NVIDIA's libraries and tools with this machine's C compiler."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bootstrap.testvm.components import tools
from bootstrap.testvm.simgpu.hardware import doubles_dir

if TYPE_CHECKING:
    from pathlib import Path

COMPILE_TIMEOUT_S = 120
_FLAGS = (
    "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-fvisibility=hidden",
)  # fmt: skip
_NOT_SUPPORTED = 3
"""NVML_ERROR_NOT_SUPPORTED of nvml.h."""


def stubs(symbols: str, source: str) -> str:
    """C text that answers "not supported" for each of `symbols` (one per line) that `source` does not define.

    go-nvml binds lazily and ends the whole process at a call to a symbol that is not there, so none may be missing.
    """
    defined = set(re.findall(r"^API (nvml\w+)\(", source, re.MULTILINE))
    missing = [name for name in symbols.split() if name not in defined]
    lines = [f"STUB({name})" for name in missing]
    head = f'#define STUB(name) __attribute__((visibility("default"))) int name(void) {{ return {_NOT_SUPPORTED}; }}'
    return "\n".join(["/* Test double: generated, see nvml_symbols.txt. */", head, *lines, ""])


def compile_doubles(out: Path, version: str) -> None:
    """Build `libnvidia-ml.so.VERSION`, `libcuda.so.VERSION` and `nvidia-smi` into `out`, for one driver release.

    Raises GpuctlError "tool-missing" without a C compiler, "component-build-failed" when it refuses.
    """
    sources = doubles_dir() / "src"
    out.mkdir(parents=True, exist_ok=True)
    generated = out / "nvml_stubs.c"
    symbols = (doubles_dir() / "nvml_symbols.txt").read_text(encoding="ascii")
    generated.write_text(stubs(symbols, (sources / "nvml.c").read_text(encoding="utf-8")), encoding="ascii")
    library = ("-shared", "-fPIC", "-Wl,--build-id=none")
    _cc(out, version, f"libnvidia-ml.so.{version}", [sources / "nvml.c", sources / "sim.c", generated],
        *library, "-Wl,-soname,libnvidia-ml.so.1")  # fmt: skip
    cuda = [sources / name for name in ("cuda.c", "ptx_parse.c", "ptx_run.c", "sim.c")]
    _cc(out, version, f"libcuda.so.{version}", cuda, *library, "-Wl,-soname,libcuda.so.1", last=("-lm",))
    _cc(out, version, "nvidia-smi", [sources / "smi.c"], "-Wl,--build-id=none", last=("-ldl",))


def _cc(out: Path, version: str, name: str, inputs: list[Path], *flags: str, last: tuple[str, ...] = ()) -> None:
    define = f'-DSIM_DRIVER_VERSION="{version}"'
    prefix_map = f"-ffile-prefix-map={doubles_dir()}=."
    argv = [tools.need("cc", "gcc libc6-dev"), *_FLAGS, prefix_map, define, *flags]
    argv += [*map(str, inputs), "-o", str(out / name), *last]
    tools.run(name, argv, log=out / "cc.log", timeout_s=COMPILE_TIMEOUT_S)
