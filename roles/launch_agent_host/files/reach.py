"""Say whether the API of a kubeconfig's cluster can be reached: the agent's unit asks before it starts the agent."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT_S = 5.0


def main() -> None:
    """Open its port; exit 1 with a line for the journal where that cannot be done."""
    found = re.search(r"^\s*server:\s*(\S+)", Path(sys.argv[1]).read_text(encoding="utf-8"), re.MULTILINE)
    end = urlsplit(found.group(1).strip("'\"") if found else "")
    try:
        socket.create_connection((end.hostname or "", end.port or 443), _TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        sys.exit(f"the cluster's API at {end.netloc} cannot be reached, and no job is taken until it can: {error}")


if __name__ == "__main__":
    main()
