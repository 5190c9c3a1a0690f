"""Module gpuctl_account_kubeconfig: on a control plane, make the kubeconfig of a service account."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import Api
from bootstrap.hostside.gpuctl_kubeaccount import account_kubeconfig
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_account_kubeconfig
short_description: Make a kubeconfig from the token Secret of a service account
description:
  - Runs on a control plane, with its admin.conf. Changes nothing; waits until the Secret has its token.
  - The task that calls this must have C(no_log), and hand the result to files with mode 0600 only. What goes wrong is
    then not told either, so call it with O(wait_only) before.
options:
  namespace:
    description: Namespace of the Secret; also that of the kubeconfig's context.
    type: str
    required: true
  secret:
    description: Name of the Secret, of type kubernetes.io/service-account-token.
    type: str
    required: true
  account:
    description: Name of the service account that the token has to be of; checked on the controller.
    type: str
    default: ""
  server:
    description: Address of the API server as the kubeconfig's user reaches it; empty for the one that is asked here.
    type: str
    default: ""
  name:
    description: Name of the kubeconfig's cluster, user and context.
    type: str
    required: true
  wait_only:
    description: Whether only to wait for the token; nothing secret is returned.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Make the access of the Launch agent
  gpuctl_account_kubeconfig:
    namespace: wandb
    secret: launch-agent-token
    account: wandb-launch-serviceaccount-wandb
    server: https://gpuctl-api:6443
    name: gpuctl-lab
  no_log: true
  register: __access
"""

RETURN = r"""
kubeconfig:
  description: The text of the kubeconfig.
  type: str
  returned: without wait_only
"""


def main(module: HostModule) -> dict[str, Any]:
    """Read the Secret and write the kubeconfig around it."""
    given = module.params
    try:
        api = Api.from_admin_conf()
    except (OSError, ValueError) as error:
        words = f"admin.conf cannot be used: {error}"
        raise HostError("launch-account-missing", words, "run gpuctl bootstrap") from error
    text = account_kubeconfig(api, given["namespace"], given["secret"], given["server"] or api.server, given["name"])
    return {} if given["wait_only"] else {"kubeconfig": text}
