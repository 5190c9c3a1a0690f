"""python -m tests.bench [PART...]: print every figure beside its aim."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys

# In this order; each is a module here with figures().
PARTS = ("command_line", "components", "hosts", "cluster", "launch", "minikube", "against")


def main(parts: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that labs are taken down
    failed = False
    for part in parts or PARTS:
        try:
            for figure in importlib.import_module(f"tests.bench.{part}").figures():
                print(figure.line(), flush=True)  # noqa: T201 - this is its only output
        except subprocess.CalledProcessError as error:
            failed = True
            print(f"{part}: {' '.join(error.cmd)} exited {error.returncode}\n{error.stderr}", file=sys.stderr)  # noqa: T201
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            failed = True
            print(f"{part}: {error}", file=sys.stderr)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
