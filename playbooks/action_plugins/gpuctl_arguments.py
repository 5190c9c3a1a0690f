"""Action plugin gpuctl_arguments: under plain ansible-playbook, decide what gpuctl decides before it starts Ansible.

With `probes` (inventory name → result of the gpuctl_probe module) it returns, for every host, the arguments of all
roles and the steps that it needs. With `decision` (what the first call returned) it gives them to the host it runs for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Runs on the controller only; the host is not touched."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Decide, or hand out what was decided."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        arguments = self._task.args
        host = str(variables["inventory_hostname"])
        if "decision" in arguments:
            values = dict(arguments["decision"]["hosts"][host])
            added = {"host_name": host, "groups": [], "host_vars": values}
            return {**result, "changed": False, "_ansible_no_log": True, "add_host": added}
        sources = [str(source) for source in variables.get("ansible_inventory_sources") or ()]
        if len(sources) != 1:
            raise AnsibleActionFail(f"[usage] give exactly one inventory, not {len(sources)}; fix: -i lab.ini")
        _remember_vault(self._loader)
        # Keys and passwords are among the arguments: at -v Ansible would print them.
        return {**result, "changed": False, "_ansible_no_log": True, **_decide(Path(sources[0]), arguments["probes"])}


def _remember_vault(loader: Any) -> None:
    """Ansible has asked for the passwords of Ansible Vault already, or read them from its files."""
    from bootstrap.inventory import vault

    secrets = loader._vault.secrets or ()  # noqa: SLF001 - there is no public name for it
    known = tuple((str(name), bytes(secret.bytes)) for name, secret in secrets if secret.bytes)
    vault.remember(vault.Passwords(known=known))


def _decide(inventory_file: Path, probes: dict[str, Any]) -> dict[str, Any]:
    from bootstrap.apply.run_inventory import steps_per_host
    from bootstrap.checks.finding import Severity
    from bootstrap.checks.preflight import preflight
    from bootstrap.errors import GpuctlError
    from bootstrap.inventory.load import load_inventory
    from bootstrap.plan.digests import plain
    from bootstrap.plan.planner import decide
    from bootstrap.probe.facts_json import from_json

    try:
        inventory = load_inventory(inventory_file)
        facts = {name: from_json(name, plain(result["facts"])) for name, result in probes.items() if "facts" in result}
        refused = [f for f in preflight(inventory, facts) if f.severity is Severity.REFUSE]
        if refused:
            words = "\n".join(f"{f.host or 'cluster'}: {f.message} [{f.code}]; {f.fix}" for f in refused)
            raise AnsibleActionFail(f"[{refused[0].code}] nothing was changed\n{words}; fix: {refused[0].fix}")
        decision = decide(inventory, facts)
    except GpuctlError as error:
        first = error.problems[0]
        words = "\n".join(f"{p.host or p.at or 'inventory'}: {p.message}" for p in error.problems)
        raise AnsibleActionFail(f"[{first.code}] nothing was changed\n{words}; fix: {first.fix}") from error
    steps = steps_per_host(decision.plan.steps, decision.view.seed)
    shared = {"gpuctl_seed": decision.view.seed}
    return {
        "hosts": {
            name: {**plain(values), **shared, "gpuctl_steps": steps.get(name, [])}
            for name, values in decision.arguments.by_host.items()
        }
    }
