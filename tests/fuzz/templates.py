"""Texts that Ansible would run, as the values of arguments, given to the roles as a run of gpuctl gives them.

Run as `python -m tests.fuzz.templates` with a JSON object on stdin; see `Order`. The run's inventory is written by
gpuctl, read by Ansible's loader, and all that the controller renders of a role is rendered with it: defaults,
variables, evidence, digests, and every file of its templates.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from bootstrap.apply.run_inventory import write_run_inventory
from bootstrap.content import roles_path
from bootstrap.inventory.schema import Variable, components, variables
from tests.unit.factories import inventory

# Whoever renders a text makes this number of it, or the marker file.
_SUM, _RUN = "1000003*7", "lookup('pipe','touch MARK')"
RENDERED = "7000021"
_TEXTS = (
    "{{ SUM }}",
    "{{ RUN }}",
    "x{{ SUM }}y",
    "{{SUM}}{{RUN}}",
    "{{- RUN -}}",
    "{{ query('pipe','touch MARK') }}",
    "{{ q('ansible.builtin.pipe','touch MARK') }}",
    "{{ lookup('ansible.builtin.pipe','touch MARK') }}",
    "{{ lookup('lines','touch MARK') }}",
    "{{ ['touch MARK'] | map('quote') | join | pipe }}",
    "{{ lookup('template','MARK') }}",
    "{{ lookup('password','MARK') }}",
    "{{ lookup('vars','inventory_hostname') }}{{ SUM }}",
    "{{ '{{ RUN }}' }}{{ SUM }}",
    "{{ hostvars.values() | list }}{{ RUN }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ SUM }}",
    "{{ cycler.__init__.__globals__.os.popen('touch MARK').read() }}",
    "{{ lipsum.__globals__['os'].popen('touch MARK').read() }}",
    "{% if RUN %}x{% endif %}",
    "{% set a = RUN %}{{ a }}",
    "{% for i in [SUM] %}{{ i }}{% endfor %}",
    "{% include 'MARK' %}",
    "{% raw %}x{% endraw %}{{ RUN }}",
    "{# c #}{{ SUM }}",
    "{% macro m() %}{{ SUM }}{% endmacro %}{{ m() }}",
    "#jinja2: variable_start_string:'[%', variable_end_string:'%]'\n[% RUN %]",
    "#jinja2: variable_start_string:'((', variable_end_string:'))'\n((SUM))",
    "#jinja2: block_start_string:'<%', block_end_string:'%>'\n<% set x = RUN %>x",
    "#jinja2: line_statement_prefix:'%'\n% set x = RUN\nx",
    "#jinja2: comment_start_string:'<!--', comment_end_string:'-->'\n{{ SUM }}",
    "#jinja2:variable_start_string:'$(',variable_end_string:')'\n$(SUM)",
    "#jinja2: trim_blocks:True, lstrip_blocks:False\n{{ RUN }}",
    "!unsafe '{{ SUM }}'",
    "!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162",
    "{{ RUN",
    "RUN }}",
    "RUN",
    "RUN or true",
    "'x' == 'x' and RUN",
    '"}}{{ RUN }}{{"',
)
TEXTS: tuple[str, ...] = tuple(text.replace("SUM", _SUM).replace("RUN", _RUN) for text in _TEXTS)


class Order(TypedDict):
    """The texts by number, every how many arguments to render roles with one of them, and where to work.

    With `trusted` the marks are taken off the run's inventory: what is executed then is what they keep from it.
    """

    texts: list[int]
    stride: int
    folder: str
    trusted: bool


class Outcome(TypedDict):
    """How many values came through Ansible, how many renderings had one in them, and what was executed."""

    values: int
    renderings: int
    executed: list[str]


def arguments() -> list[Variable]:
    """Those that hold texts."""
    return [variable for variable in variables().values() if variable.type in ("str", "list", "dict")]


def shaped(variable: Variable, text: str) -> Any:
    """The text where such a variable has texts: as it is, in lists, as a key and as a value of a dict."""
    if variable.type == "str":
        return text
    if variable.type == "list" and variable.elements == "str":
        return [text, text]
    nested = {text: text, "name": text, "a": [text, {text: [text]}]}
    return [nested] if variable.type == "list" else nested


def run_inventory(path: Path, text: str, alone: list[Variable]) -> None:
    """Host h0 has the text in every argument and in the connection's variables, the others in one argument each."""
    base = inventory({f"h{number}": "192.0.2.1" for number in range(len(alone) + 1)}, {})
    strange = {"ansible_user": text, "ansible_ssh_common_args": text, "ansible_python_interpreter": text}
    first = replace(base.hosts[0], connection_vars={"ansible_connection": "local", **strange})
    settings = dict(base.hosts[0].settings)
    values = {f"h{n}": {**settings, v.name: shaped(v, text)} for n, v in enumerate(alone, start=1)}
    every = {**settings, **{v.name: shaped(v, text) for v in arguments()}}
    write_run_inventory(
        path, replace(base, hosts=(first, *base.hosts[1:])), {"h0": every, **values}, (),
        seed="h0", run_id=text, stop_file=Path("/nonexistent"), extra={"gpuctl_nested": {text: [text]}},
        become_password=text,
    )  # fmt: skip


def renderings(role: str, known: Mapping[str, Any], loader: Any) -> Iterator[Any]:
    """All that the controller makes of a role with these variables, as the action plugins do."""
    from ansible.template import Templar

    from bootstrap.apply.role_facts import RoleFacts

    templar = Templar(loader=loader, variables=dict(known))
    facts = RoleFacts(role, known, loader, templar)
    yield lambda: facts.arguments()
    yield lambda: facts.evidence_spec()
    yield lambda: facts.receipt()
    own = facts._all
    yield from (lambda name=name: facts.value(name) for name in own if name.startswith((f"__{role}_", f"{role}_")))
    for template in sorted((roles_path() / role / "templates").glob("*.j2")):
        engine = templar.copy_with_new_env(searchpath=[str(template.parent)], available_variables=own)
        text = trusted(template.read_text(encoding="utf-8"))
        yield lambda engine=engine, text=text: engine.template(text, escape_backslashes=False)


class Run:
    """One text in one run's inventory, as Ansible sees it."""

    def __init__(self, order: Order, number: int, outcome: Outcome) -> None:
        from ansible.inventory.manager import InventoryManager
        from ansible.parsing.dataloader import DataLoader
        from ansible.vars.manager import VariableManager

        folder = Path(order["folder"]) / str(number)
        folder.mkdir()
        self.mark, path = folder / "mark", folder / "run.yml"
        self.number, self.text, self.outcome = number, TEXTS[number].replace("MARK", str(self.mark)), outcome
        self.alone = [v for n, v in enumerate(arguments()) if (n + number) % order["stride"] == 0]
        run_inventory(path, self.text, self.alone)
        if order["trusted"]:
            path.write_text(path.read_text(encoding="utf-8").replace(": !unsafe", ":"), encoding="utf-8")
        self.loader = DataLoader()
        self.inventory = InventoryManager(loader=self.loader, sources=[str(path)])
        self.variables = VariableManager(loader=self.loader, inventory=self.inventory)

    def judge(self, what: str, render: Callable[[], Any]) -> Any:
        """What was rendered, noted if any part of the text was executed on the way."""
        try:
            made = render()
        except Exception as error:  # noqa: BLE001 - a text where the role wants a number: Ansible says so
            made = str(error)
        if RENDERED in json.dumps(made, default=str) or self.mark.exists():
            self.outcome["executed"].append(f"text {self.number}: {what}")
            self.mark.unlink(missing_ok=True)
        return made

    def values(self) -> None:
        """Each argument as a task would get it: the text as it stands, in every place."""
        from ansible.template import Templar

        known = self.variables.get_vars(host=self.inventory.get_host("h0"))
        templar = Templar(loader=self.loader, variables=known)
        for variable in arguments():
            value = self.judge(variable.name, lambda name=variable.name: templar.template(known[name]))
            if json.loads(json.dumps(value, default=str)) != shaped(variable, self.text):
                self.outcome["executed"].append(f"text {self.number}: {variable.name} became {value!r}")
            self.outcome["values"] += 1
            keys = lambda name=variable.name: templar.template(trusted("{{ " + expression(name) + " }}"))  # noqa: E731
            if variable.type == "dict":
                self.judge(f"keys of {variable.name}", keys)
        for name in (
            "gpuctl_nested",
            "gpuctl_run",
            "ansible_user",
            "ansible_become_password",
            "ansible_ssh_common_args",
        ):
            self.judge(name, lambda name=name: templar.template(known[name]))

    def roles(self) -> None:
        """Everything of the roles that read the argument, with the text in that one."""
        for number, variable in enumerate(self.alone, start=1):
            known = self.variables.get_vars(host=self.inventory.get_host(f"h{number}"))
            for role in [c.name for c in components() if c.name == variable.role or variable.name in c.uses]:
                for render in renderings(role, known, self.loader):
                    self.judge(f"{variable.name} in {role}", render)
                    self.outcome["renderings"] += 1


def trusted(text: str) -> Any:
    """A template of the project's own."""
    from ansible.template import trust_as_template

    return trust_as_template(text)


def expression(name: str) -> str:
    """Keys of a dict become values: where a role would loop over them."""
    return (
        f"({name} | dict2items | map(attribute='key') | list) + ({name} | dict2items | map(attribute='value') | list)"
    )


def main(order: Order) -> Outcome:
    """Try the texts, one after the other."""
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader()
    outcome: Outcome = {"values": 0, "renderings": 0, "executed": []}
    for number in order["texts"]:
        run = Run(order, number, outcome)
        run.values()
        run.roles()
    return outcome


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
