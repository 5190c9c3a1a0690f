"""Say whether the API of the agent's cluster can be reached, and its token is valid: the unit asks before it starts it.

That a connection is accepted proves nothing: while the network of a minikube node is down, a gateway may answer for it.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT_S = 5.0
_UNAVAILABLE = 69  # sysexits.h; 1 is what a client that was told to end exits with, and no failure to the unit


def lapsed(path: Path) -> str:
    """What is wrong with the agent's token, or nothing."""
    try:
        body = path.read_text(encoding="ascii").split(".")[1]
        end = float(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"there is no token ({error})"
    return "" if end > time.time() else f"its token has lapsed ({time.strftime('%Y-%m-%d %H:%M', time.localtime(end))})"


def main() -> int:
    """Shake hands with the server of the kubeconfig, which the role writes as JSON; a line for the journal if not."""
    server = ""
    if wrong := lapsed(Path(sys.argv[2])):
        sys.stderr.write(f"the agent may not ask the cluster's API: {wrong}; run gpuctl bootstrap\n")
        return _UNAVAILABLE
    try:
        cluster = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["clusters"][0]["cluster"]
        server = str(cluster["server"])
        end = urlsplit(server)
        host = end.hostname or ""
        authority = base64.b64decode(cluster.get("certificate-authority-data", "")).decode("ascii")
        context = ssl.create_default_context(cadata=authority or None)
        # Newer Pythons ask for more of a certificate than clusters put into theirs; who signed it is what counts here.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with (
            socket.create_connection((host, end.port or 443), _TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=cluster.get("tls-server-name") or host),
        ):
            return 0
    except (OSError, ValueError, LookupError, TypeError) as error:
        words = f"the cluster's API ({server or sys.argv[1]}) cannot be reached, and no job is taken until it can"
        sys.stderr.write(f"{words}: {error}\n")
        return _UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
