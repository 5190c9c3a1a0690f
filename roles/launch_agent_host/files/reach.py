"""Say whether the API of a kubeconfig's cluster can be reached: the agent's unit asks before it starts the agent.

That a connection is accepted proves nothing: while the network of a minikube node is down, a gateway may answer for it.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT_S = 5.0


def main() -> None:
    """Shake hands with it; exit 1 with a line for the journal where that cannot be done."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    end = urlsplit(_value(text, "server"))
    try:
        host = end.hostname or ""
        authority = base64.b64decode(_value(text, "certificate-authority-data")).decode("ascii")
        context = ssl.create_default_context(cadata=authority or None)
        with (
            socket.create_connection((host, end.port or 443), _TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            pass
    except (OSError, ValueError) as error:
        sys.exit(f"the cluster's API at {end.netloc} cannot be reached, and no job is taken until it can: {error}")


def _value(text: str, key: str) -> str:
    found = re.search(rf"^\s*{key}:\s*(\S+)", text, re.MULTILINE)
    return found.group(1).strip("'\"") if found else ""


if __name__ == "__main__":
    main()
