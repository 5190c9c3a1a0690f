"""Become the Launch agent, with a client of the cluster's API that reads its token anew.

    agent.py TOKEN WORD...

The client reads a kubeconfig, and the token file that it names, at its start only, and follows jobs for days with what
it read. In a pod it reads the token again (`refresh_api_key_hook`): the same is done here with the file.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def keep_fresh(loader: Any, token: Path) -> None:
    """Have what this class of loaders configures read the token from the file before each request."""
    configure = loader._set_config  # noqa: SLF001 - the place where a pod's loader sets its hook

    def read(configuration: Any, *_: Any) -> None:
        try:
            configuration.api_key["BearerToken"] = f"Bearer {token.read_text(encoding='ascii').strip()}"
        except OSError:  # gone, for it has lapsed: the API says so
            return

    def configure_and_hook(self: Any, configuration: Any) -> None:
        configure(self, configuration)
        configuration.refresh_api_key_hook = read

    loader._set_config = configure_and_hook  # noqa: SLF001


def main(words: list[str]) -> None:
    """Become the client, with the words after the token's file as its arguments."""
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader

    keep_fresh(KubeConfigLoader, Path(words[0]))
    sys.argv[1:] = words[1:]
    runpy.run_module("wandb", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
