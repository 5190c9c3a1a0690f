"""The double as a process: `python -m tests.doubles.wandb_api --listen ADDR:PORT --state FILE --log FILE`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.doubles.wandb_api.record import Log
from tests.doubles.wandb_api.service import Service
from tests.doubles.wandb_api.store import LEASE_S, Store, new_key
from tests.doubles.wandb_api.web import Server


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; then the state is in its file, for the next start."""
    asked = _parser().parse_args(argv)
    if bool(asked.tls_cert) != bool(asked.tls_key):
        _parser().error("--tls-cert and --tls-key go together")
    service = Service(Store(asked.state), log=Log(asked.log), lease_s=asked.lease_s)
    if asked.user and asked.user not in service.store.data["users"]:
        service.store.add_user(asked.user, _key(asked.api_key_file), asked.team)
    host, _, port = asked.listen.rpartition(":")
    server = Server((host.strip("[]"), int(port)), service, (asked.tls_cert, asked.tls_key) if asked.tls_cert else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"listening on {server.url}", flush=True)  # noqa: T201 - whoever started it waits for this line
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
        with service.store.change():
            pass
    return 0


def _key(path: Path | None) -> str:
    """The key in the file; a new one is written there (0600) when there is none."""
    if path is None:
        return new_key()
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(new_key() + "\n")
    return path.read_text(encoding="utf-8").strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.wandb_api", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDR:PORT", help="port 0: any free one")
    parser.add_argument("--state", type=Path, metavar="FILE", help="kept across restarts; default: memory only")
    parser.add_argument("--log", type=Path, metavar="FILE", help="one JSON line per request")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE")
    parser.add_argument("--tls-key", type=Path, metavar="FILE")
    parser.add_argument("--user", metavar="NAME", help="a user to make where the state has none of this name")
    parser.add_argument("--team", action="append", default=[], metavar="NAME", help="its teams; the first is default")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="the user's key; made when it does not exist")
    parser.add_argument("--lease-s", type=float, default=LEASE_S, metavar="SECONDS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
