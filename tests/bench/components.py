"""How long the component mirror takes: again, and (on request, as it takes a quarter of an hour) from nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import GPUCTL, Figure, Remark, timed

_BUILD = [GPUCTL, "testvm", "components", "build"]
_COLD = "GPUCTL_BENCH_COLD"


def figures() -> Iterator[Figure | Remark]:
    timed(_BUILD, 3600)
    yield Figure("components build again", timed(_BUILD, 300), 10.0)
    if os.environ.get(_COLD) != "1":
        yield Remark(f"components build from nothing: left out; {_COLD}=1 measures it (20 min, 14 GiB in $TMPDIR)")
        return
    folder = Path(tempfile.mkdtemp(prefix="gpuctl-bench-"))
    try:
        caches = {
            "XDG_CACHE_HOME": folder / "cache",
            "GOCACHE": folder / "gocache",
            "GOMODCACHE": folder / "gomodcache",
        }
        environment = {**os.environ, **{name: str(path) for name, path in caches.items()}}
        yield Figure("components build from nothing", timed(_BUILD, 7200, environment=environment), 1200.0)
    finally:
        # Go makes its module cache read-only.
        subprocess.run(["chmod", "-R", "u+w", str(folder)], timeout=300, check=False)
        shutil.rmtree(folder, ignore_errors=True)
