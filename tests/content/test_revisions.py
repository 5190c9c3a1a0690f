"""Revisions: whoever changes what a role executes decides whether hosts that have it must be touched."""

from __future__ import annotations

import pytest

from bootstrap.inventory.schema import component_named, components
from bootstrap.plan.model import Effect
from tests.content.rolefiles import WORKING_ROLES
from tools.revisions import moved, python_essence, recorded

WRITTEN = '''
"""About."""
from __future__ import annotations

class A:
    """Words."""

    x: int = 1

    def f(self, a: str) -> str:
        """More words."""
        return f"{a!r:>3} {self.x}"
'''
REWORDED = WRITTEN.replace("About.", "Other words.").replace("More words.", "Fewer.").replace("x: int", "x: int ")


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_somebody_decided_what_the_last_change_means(role: str) -> None:
    assert not moved(component_named(role)), f"tools/revisions.py --no-op {role}, or raise `revision` in its meta"


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_each_raise_says_why_and_with_what_effect(role: str) -> None:
    component = component_named(role)
    assert [change.number for change in component.raises] == list(range(2, component.revision + 1))
    assert all(change.why and change.effect in set(Effect) for change in component.raises)
    assert recorded(role)[0] == component.revision


def test_records_are_of_roles_that_are_there() -> None:
    from tools.revisions import GOLDEN

    assert {path.stem for path in GOLDEN.glob("*.txt")} == {component.name for component in components()}


def test_words_do_not_count_and_code_does() -> None:
    assert python_essence(WRITTEN) == python_essence(REWORDED)
    assert python_essence(WRITTEN) != python_essence(WRITTEN.replace("= 1", "= 2"))
    assert python_essence(WRITTEN) != python_essence(WRITTEN.replace("!r", "!s"))


def test_the_essence_is_the_same_on_every_python() -> None:
    # Written out, so that another Python that builds another tree of it fails here.
    assert python_essence("def f(a, *b):\n    'x'\n    return f'{a}'\n") == (
        "Module(body=[FunctionDef(name='f',args=arguments(args=[arg(arg='a')],vararg=arg(arg='b')),"
        "body=[Return(value=JoinedStr(values=[FormattedValue(value=Name(id='a'),conversion=-1)]))])])"
    )
