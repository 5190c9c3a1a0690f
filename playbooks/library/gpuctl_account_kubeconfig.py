"""Module gpuctl_account_kubeconfig: on a control plane, make the kubeconfig of a service account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bootstrap.hostside import gpuctl_kubeaccount as kubeaccount
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import Api, admin_conf, kubeconfig_value
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_account_kubeconfig
short_description: Make a kubeconfig with a token of a service account that ends
description:
  - Runs on a control plane, with its admin.conf. Makes a token; waits until the account is there.
  - The task that calls this must have C(no_log), and hand the result to files with mode 0600 only. What goes wrong is
    then not told either, so call it with O(wait_only) before.
options:
  namespace:
    description: Namespace of the account.
    type: str
    required: true
  account:
    description: Name of the service account; that the token is of it is checked on the controller.
    type: str
    required: true
  lifetime_s:
    description: Seconds for which the token is valid.
    type: int
    default: 86400
  server:
    description: Address of the API server as the kubeconfig's user reaches it; empty for the one that is asked here.
    type: str
    default: ""
  name:
    description: Name of the kubeconfig's cluster, user and context.
    type: str
    default: gpuctl
  jobs_namespace:
    description: Namespace of the kubeconfig's context; written on the controller.
    type: str
    default: ""
  token_path:
    description: File that the kubeconfig has the token in; written on the controller.
    type: str
    default: ""
  wait_only:
    description: Whether only to wait for the account; nothing secret is returned.
    type: bool
    default: false
  endless:
    description: A Secret with a token of the account that never ends; it is deleted, and nothing else done.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Make the access of the Launch agent
  gpuctl_account_kubeconfig:
    namespace: wandb
    account: wandb-launch-serviceaccount-wandb
    server: https://gpuctl-api:6443
    name: gpuctl-lab
    token_path: /var/lib/gpuctl-launch/token
  no_log: true
  register: __access
"""

RETURN = r"""
kubeconfig:
  description: The text of the kubeconfig, which names the token's file.
  type: str
  returned: without wait_only and endless
token:
  description: The token.
  type: str
  returned: without wait_only and endless
"""


def main(module: HostModule) -> dict[str, Any]:
    """Make the token and write the kubeconfig around it."""
    given = module.params
    try:
        api = Api.from_admin_conf()
        ca = kubeconfig_value(Path(admin_conf()).read_text(encoding="utf-8"), "certificate-authority") or b""
    except (OSError, ValueError) as error:
        words = f"admin.conf cannot be used: {error}"
        raise HostError("launch-account-missing", words, "run gpuctl bootstrap") from error
    account = (given["namespace"], given["account"])
    if given["endless"]:
        deleted = not module.check_mode and kubeaccount.delete_endless_token(
            api, account[0], given["endless"], account[1]
        )
        return {"changed": deleted}
    if given["wait_only"]:
        kubeaccount.wait_for_account(api, *account)
        return {}
    token = kubeaccount.account_token(api, *account, given["lifetime_s"])
    return {"kubeconfig": kubeaccount.account_kubeconfig(ca, token, given["server"] or api.server, given["name"])}
