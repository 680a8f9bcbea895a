"""The race against transformers is between equals: both draw the same picture."""

from __future__ import annotations

import pytest
import torch

from mmgen.errors import OptionError, UnknownNameError
from mmgen.evaluation.transformers_reference import FAMILIES, compare


@pytest.mark.parametrize("family", FAMILIES)
def test_both_draw_the_same_picture(family: str) -> None:
    contest = FAMILIES[family](128, 2, 3, 64)
    picture = contest.ours(0.0, 0)
    assert picture.shape == (1, contest.length) and len(picture.unique()) > 4
    assert torch.equal(contest.theirs(0.0, 0), picture)
    assert not torch.equal(contest.ours(1.0, 1), contest.ours(1.0, 2))
    assert not torch.equal(contest.theirs(1.0, 1), contest.theirs(1.0, 2))


def test_a_comparison_counts_what_it_ran() -> None:
    lines: list[str] = []
    result = compare("janus", repeats=2, size=128, layers=1, side=2, codes=16, log=lines.append)
    assert len(lines) == 2 and result.tokens == 4
    assert result.ratio.low <= result.ratio.median <= result.ratio.high
    assert 0 < result.parameters[0] < result.parameters[1]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="emu3, janus"):
        compare("janis")
    with pytest.raises(OptionError, match="repeats=0"):
        compare("janus", repeats=0)
    with pytest.raises(OptionError, match="size=200"):
        compare("janus", size=200)
