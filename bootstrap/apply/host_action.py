"""How Ansible runs one of gpuctl's own modules on a host: its code is there already, only arguments travel."""

from __future__ import annotations

import gc
import json
import os
import shlex
from collections.abc import Mapping
from typing import Any

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.vars.clean import remove_internal_keys

from bootstrap.apply.module_code import folder, options, read_ahead, unpacker
from bootstrap.apply.remedies import answered
from bootstrap.inventory import schema
from bootstrap.inventory.secret import SECRET_VARIABLES
from bootstrap.inventory.secret_values import texts_in
from bootstrap.plan.digests import plain
from bootstrap.printable import one_line
from bootstrap.probe.local import SYSTEM_PATH
from bootstrap.redact import Redactor

_NO_SUCH_FILE = 2  # Python's exit status when the program that it is given is not there
_PYTHON = "/usr/bin/python3"
_SENTENCE = 400  # characters of a host's sentence in a message
_OWN_ENVIRONMENT = ("ANSIBLE_", "AWX_", "PYTHON", "RUNNER_")  # what we, ansible_runner and Ansible set for themselves

read_ahead()
# A fork's garbage collector would otherwise write to, and so copy, all that Ansible's parent process holds.
gc.freeze()


class HostAction(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """The action plugin of a module in playbooks/library; one that has work to do here first, derives from it."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module that the task names, with the task's arguments."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        return {**result, **self.run_on_host(self.arguments(variables), variables)}

    def arguments(self, _variables: dict[str, Any]) -> dict[str, Any]:
        """What the module is given: the task's arguments."""
        return {name: plain(value) for name, value in self._task.args.items()}

    def run_on_host(self, arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Check the arguments against the module's documentation, then call it."""
        name = str(self._task.action).rpartition(".")[2]
        checked = ArgumentSpecValidator(options(name)).validate(plain(arguments))
        if checked.error_messages:
            return {"failed": True, "msg": f"{name}: {'; '.join(checked.error_messages)}"}
        request = {
            "module": name,
            "params": checked.validated_parameters,
            "check_mode": bool(self._task.check_mode),
            "diff": bool(self._task.diff),
        }
        found = self._call(name, json.dumps(request), variables)
        return self._without_secrets(found, variables) if found.get("failed") else found

    def _without_secrets(self, found: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """A failure may quote what a tool or a server was given; plain ansible-playbook prints it as it is."""
        redactor = Redactor()
        secret = (name for name, variable in schema.variables().items() if variable.no_log)
        for name in (*SECRET_VARIABLES, *secret):
            if name in variables:
                redactor.add(*texts_in(plain(self._templar.template(variables[name]))))
        masked: dict[str, Any] = redactor.tree(found)
        return masked

    def _interpreter(self, variables: Mapping[str, Any]) -> str:
        """The host's Python: as the inventory has it, unless it leaves that to Ansible's discovery."""
        asked = constants.config.get_config_value("INTERPRETER_PYTHON", variables=dict(variables))
        path = str(self._templar.template(asked))
        return _PYTHON if path.startswith("auto") else shlex.quote(path)

    def _clean(self) -> str:
        """On this machine, the start of a command that takes Ansible's own environment off it; over ssh there is none.

        Package scripts would otherwise find our virtual environment before the system's Python.
        """
        if self._connection.transport != "local":
            return ""
        names = sorted(name for name in os.environ if name.startswith(_OWN_ENVIRONMENT))
        return shlex.join(["env", *(word for name in names for word in ("-u", name)), f"PATH={SYSTEM_PATH}"]) + " "

    def _call(self, name: str, request: str, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        # At -vvv the connection would print the answer as it comes; what of it may be seen is in the result.
        self._play_context.no_log = True
        become = self._connection.become
        if become is not None and not getattr(become, "pipelining", True):
            return {"failed": True, "msg": f"become method {become.name} cannot be used: it takes no standard input"}
        python = f"{self._clean()}{self._interpreter(task_vars)}"
        environment = self._compute_environment_string()
        command = f"{environment} {python} -I -S {folder()}/start.py".strip()
        done = self._low_level_execute_command(command, in_data=request.encode())
        if done["rc"] == _NO_SUCH_FILE:
            unpacked = self._low_level_execute_command(f"{python} -I -S -", in_data=unpacker().encode())
            if unpacked["rc"] != 0:
                return _broken(f"gpuctl's modules cannot be put on the host under {folder()}", unpacked)
            done = self._low_level_execute_command(command, in_data=request.encode())
        if done["rc"] != 0:
            return _broken(f"{name} ended with status {done['rc']}", done)
        return _result(name, done)


def _result(name: str, done: Mapping[str, Any]) -> dict[str, Any]:
    """The last line of standard output: a login shell's greeting may come before it."""
    try:
        found = json.loads(done["stdout"].strip().splitlines()[-1])
    except (IndexError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return _broken(f"{name} gave no answer", done)
    for key in ("ansible_facts", "ansible_stats", "deprecations", "exception"):
        found.pop(key, None)  # a host decides nothing here: no variables, no words in Ansible's name …
    remove_internal_keys(found)  # … and no new hosts and groups
    return answered(found, name) if found.get("failed") else found  # what it advises is looked up here


def _broken(message: str, done: Mapping[str, Any]) -> dict[str, Any]:
    last = (str(done.get("stderr") or "").strip() or str(done.get("stdout") or "").strip()).splitlines()[-1:]
    said = f": {one_line(last[0], _SENTENCE)}" if last else ""
    return {"failed": True, "msg": message + said, "stdout": done.get("stdout"), "stderr": done.get("stderr")}
