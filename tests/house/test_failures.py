"""Every failure that the design names has tests that name it, and a rule whose absence one of them notices."""

import ast
from pathlib import Path

import pytest

from tests.mutants.rules import RULES

TESTS = Path(__file__).parents[1]
NAMED = [f"F{number}" for number in (*range(1, 45), *range(56, 60), *range(65, 69))]


def ids_of_tests() -> set[str]:
    """Every id in a `@pytest.mark.req(…)`."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "req":
                found.update(str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))
    return found


IDS = ids_of_tests()


@pytest.mark.parametrize("name", NAMED)
def test_a_failure_mode_is_named_by_a_test(name: str) -> None:
    assert name in IDS


@pytest.mark.parametrize("name", NAMED)
def test_the_rule_against_a_failure_mode_is_missed_when_it_is_gone(name: str) -> None:
    assert name in {rule.id for rule in RULES}, "tests/mutants/rules has no rule for it"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_still_stands_where_it_is_looked_for(rule: object) -> None:
    path = TESTS.parent / rule.file  # type: ignore[attr-defined]
    assert path.read_text().count(rule.rule) == 1, rule  # type: ignore[attr-defined]
