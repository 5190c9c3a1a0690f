"""Action plugin gpuctl_account_kubeconfig: another host gets checked values of what a control plane hands over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bootstrap.apply.host_action import HostAction
from bootstrap.kube.credentials import Account, RefusedKubeconfigError, kubeconfig_of, read_credentials


class ActionModule(HostAction):
    """Builds the kubeconfig anew, for the server that the task names, from the token and the CA in the answer.

    The token goes beside it, for the file that the kubeconfig names.
    """

    def run_on_host(self, arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """The module's answer, or a failure where the kubeconfig in it is not one of the account's."""
        found = super().run_on_host(arguments, variables)
        if found.get("failed") or arguments.get("wait_only") or arguments.get("endless"):
            return {key: value for key, value in found.items() if key != "kubeconfig"}
        account = Account(str(arguments["namespace"]), str(arguments["account"]))
        try:
            checked = read_credentials(str(found.get("kubeconfig") or ""), account)
        except RefusedKubeconfigError as error:
            return {"failed": True, "code": "kubeconfig-refused", "msg": f"[kubeconfig-refused] not used: {error}"}
        server, name = str(arguments.get("server") or ""), str(arguments["name"])
        namespace = str(arguments.get("jobs_namespace") or account.namespace)
        document = kubeconfig_of(checked, name, server=server, namespace=namespace)
        document["users"][0]["user"] = {"tokenFile": str(arguments["token_path"])}
        text = json.dumps(document, indent=1) + "\n"
        return {"changed": False, "kubeconfig": text, "token": checked.token}
