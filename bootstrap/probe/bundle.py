"""What a host is sent to run: all host-side files that it needs, packed, and a line that runs the last of them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

HOSTSIDE = Path(__file__).resolve().parent.parent / "hostside"
# In the order in which they import each other.
FILES = (
    "gpuctl_base",
    "gpuctl_receipts",
    "gpuctl_evidence",
    "gpuctl_kube",
    "gpuctl_toml",
    "gpuctl_facts_os",
    "gpuctl_facts_runtime",
    "gpuctl_facts_kernel",
    "gpuctl_facts_network",
    "gpuctl_nvml",
    "gpuctl_facts_gpu",
    "gpuctl_facts_cluster",
    "gpuctl_hostio",
    "gpuctl_nfsexports",
    "gpuctl_probe_main",
)
OLDEST_PYTHON = (3, 8)

# Any Python 3 can read this much; the packed files want OLDEST_PYTHON.
_LOADER = """\
import sys
if sys.version_info < {oldest!r}:
    sys.stdout.write('{{"python_too_old": "%d.%d"}}\\n' % sys.version_info[:2])
    sys.exit(0)
import base64, json, types, zlib
for name in ("bootstrap", "bootstrap.hostside"):
    package = types.ModuleType(name)
    package.__path__ = []
    sys.modules[name] = package
for name, text in json.loads(zlib.decompress(base64.b64decode("{packed}")).decode()):
    full = "bootstrap.hostside." + name
    module = types.ModuleType(full)
    module.__package__ = "bootstrap.hostside"
    sys.modules[full] = module
    setattr(sys.modules["bootstrap.hostside"], name, module)
    exec(compile(text, full, "exec", dont_inherit=True), module.__dict__)
module.main(*{arguments!r})
"""


@cache
def script() -> str:
    """The probe as one Python program for standard input; about 28 KB."""
    return packed(FILES)


def packed(names: Sequence[str], arguments: Sequence[str] = ()) -> str:
    """Host-side modules, in the order in which they import each other, as a program that runs the last one's main()."""
    files = [(name, (HOSTSIDE / f"{name}.py").read_text(encoding="utf-8")) for name in names]
    text = base64.b64encode(zlib.compress(json.dumps(files).encode(), 9)).decode()
    return _LOADER.format(oldest=OLDEST_PYTHON, packed=text, arguments=tuple(arguments))
