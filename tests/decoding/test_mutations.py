"""The checks hold of our code, and each notices the faults it is there for."""

from __future__ import annotations

import pytest
from mutations import MUTATIONS, Check, Mutation, holds, title

CHECKS = {title(check): check for mutation in MUTATIONS for check in mutation.checks}
PAIRS = [(mutation, check) for mutation in MUTATIONS for check in mutation.checks]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_check_holds_without_a_fault(check: Check) -> None:
    check()


@pytest.mark.parametrize(("mutation", "check"), PAIRS, ids=[f"{m.name}: {title(c)}" for m, c in PAIRS])
def test_fault_turns_its_check_red(mutation: Mutation, check: Check) -> None:
    assert mutation.reddens(check), f"{mutation.name} goes unnoticed by: {title(check)}"


def test_a_fault_is_gone_when_its_context_ends() -> None:
    mutation = next(mutation for mutation in MUTATIONS if mutation.name == "<= for <")
    assert mutation.reddens(mutation.checks[0])
    assert holds(mutation.checks[0])
