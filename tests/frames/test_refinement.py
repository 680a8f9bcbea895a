"""Masked refinement: how many tokens stay hidden, and which."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from mmgen.decoding.refinement import confidence, hidden_after, surest


def test_the_schedule_is_that_of_float32():
    hidden, seen = torch.tensor([64]), []
    for number in range(6):
        hidden = hidden_after(number, 6, 64, hidden)
        seen.append(int(hidden))
    assert seen == [61, 55, 45, 31, 16, 0]  # 64 cos(pi / 3) is 32 in float64


@pytest.mark.parametrize("free", [0, 1, 2, 5, 16])
@pytest.mark.parametrize("passes", [1, 2, 7, 16, 40])
def test_every_pass_keeps_a_token_and_the_last_keeps_all(free, passes):
    hidden = torch.tensor([free])
    for number in range(passes):
        left = hidden_after(number, passes, 16, hidden)
        assert 0 <= left < hidden or left == hidden == 0
        if number + 1 < passes and hidden > 1:
            assert left >= 1
        hidden = left
    assert hidden == 0


def test_ties_do_not_change_numbers():
    free = torch.tensor([[True, True, False, True, True]])
    kept = surest(torch.zeros(1, 5), free, torch.tensor([3]))
    assert kept.tolist() == [[False, False, True, False, True]]


def gumbel(uniform: torch.Tensor) -> torch.Tensor:
    return -(-uniform.clamp(1e-20).log()).clamp(1e-20).log()


@pytest.mark.parametrize("case", range(5))
def test_it_keeps_what_amused_keeps(case, goldens):
    """Steps of diffusers' `AmusedScheduler` with the random numbers given."""
    with safe_open(goldens / "masked" / "scheduler_cases.safetensors", "pt") as file:
        meta = json.loads(file.metadata()["meta"])
        names = ("logits", "sample", "x0", "u_mask", "gumbel_tok", "prev")
        logits, sample, drawn, uniform, noise, after = (file.get_tensor(f"c{case}.{name}") for name in names)
    schedule, ratio, temperature, number, passes = meta["cases"][case]
    free, length = sample == meta["mask_id"], sample.shape[1]
    hidden = hidden_after(number, passes, length, free.sum(1))
    if (schedule, ratio) != ("cosine", 1.0):  # another schedule: the choice is the same
        part = torch.tensor(number + 1) / passes
        share = ratio * (torch.cos(part * torch.pi / 2) if schedule == "cosine" else 1 - part)
        hidden = torch.minimum(free.sum(1) - 1, (length * share).floor()).clamp(min=1).long()
    assert torch.equal(torch.where(free, (logits.log_softmax(-1) + noise).argmax(-1), sample), drawn)
    sure = confidence(logits.softmax(-1), drawn, gumbel(uniform), temperature)
    assert torch.equal(torch.where(surest(sure, free, hidden), drawn, meta["mask_id"]), after)
