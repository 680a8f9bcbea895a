"""Logits to probabilities."""

from __future__ import annotations

import pytest
import torch

from mmgen.errors import OptionError
from mmgen.sampling import Sampling

LOGITS = torch.tensor([[1.0, 3.0, 2.0, 0.0], [0.5, 0.5, -1.0, 4.0]])
OTHER = torch.tensor([[0.0, 1.0, 2.0, 3.0], [2.0, 0.0, 0.0, 1.0]])


def test_defaults_are_the_softmax() -> None:
    torch.testing.assert_close(Sampling().probabilities(LOGITS), LOGITS.softmax(-1))
    assert Sampling().probabilities(LOGITS.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 3.0, 50.0])
def test_guidance_moves_away_from_the_unconditional(guidance: float) -> None:
    wanted = (OTHER + guidance * (LOGITS - OTHER)).softmax(-1)
    torch.testing.assert_close(Sampling(guidance=guidance).probabilities(LOGITS, OTHER), wanted)


def test_guidance_of_one_is_without() -> None:
    assert not Sampling(guidance=1).guided
    assert Sampling(guidance=1.01).guided
    assert Sampling(guidance=0).guided
    torch.testing.assert_close(Sampling().probabilities(LOGITS, OTHER), Sampling().probabilities(LOGITS))


def test_temperature_divides_the_guided_logits() -> None:
    sampling = Sampling(guidance=2, temperature=0.5)
    torch.testing.assert_close(sampling.probabilities(LOGITS, OTHER), ((2 * LOGITS - OTHER) / 0.5).softmax(-1))


@pytest.mark.parametrize("temperature", [0, 0.0, 1e-40, 1e-7])
def test_temperature_zero_is_certain_of_the_likeliest(temperature: float) -> None:
    probs = Sampling(temperature=temperature).probabilities(LOGITS * 100)
    assert probs.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]
    tied = Sampling(temperature=temperature).probabilities(torch.tensor([2.0, 5.0, 5.0]))
    assert float(tied.sum()) == 1 and float(tied.max()) == 1


def test_low_temperatures_stay_finite() -> None:
    probs = Sampling(temperature=1e-5).probabilities(LOGITS * 1000)
    assert bool(probs.isfinite().all())
    assert probs.argmax(-1).tolist() == [1, 3]


def test_top_k_keeps_ties_with_the_last() -> None:
    probs = Sampling(top_k=1).probabilities(LOGITS)
    assert probs[0].tolist() == [0, 1, 0, 0]
    tied = Sampling(top_k=2).probabilities(LOGITS)[1]
    assert (tied > 0).tolist() == [True, True, False, True]
    torch.testing.assert_close(tied[[0, 1, 3]], LOGITS[1, [0, 1, 3]].softmax(-1))


@pytest.mark.parametrize("top_k", [0, 4, 5, 10**9])
def test_top_k_of_all_keeps_all(top_k: int) -> None:
    torch.testing.assert_close(Sampling(top_k=top_k).probabilities(LOGITS), LOGITS.softmax(-1))


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 4), (0.99, 4), (1, 4)])
def test_top_p_keeps_the_likeliest_that_first_reach_it(top_p: float, kept: int) -> None:
    law = torch.tensor([0.25, 0.125, 0.5, 0.125])
    probs = Sampling(top_p=top_p).probabilities(law.log())
    order = [2, 0, 1, 3]
    # The last two tie: the one of smaller id comes first, and one alone never reaches 0.99.
    assert set(probs.nonzero()[:, 0].tolist()) == set(order[: kept if top_p != 0.76 else 3])
    torch.testing.assert_close(float(probs.sum()), 1.0)
    torch.testing.assert_close(probs[2] / probs.sum(), law[2] / law[order[: kept if top_p != 0.76 else 3]].sum())


def test_top_p_follows_top_k() -> None:
    law = torch.tensor([0.4, 0.3, 0.2, 0.1])
    probs = Sampling(top_k=2, top_p=0.5).probabilities(law.log())
    torch.testing.assert_close(probs, torch.tensor([1.0, 0, 0, 0]))


def test_settings_come_back_by_name() -> None:
    given = {"guidance": 3.0, "temperature": 0.5, "top_k": 7, "top_p": 0.9}
    assert Sampling(**given).to_dict() == given  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("guidance", value) for value in (-0.1, 50.1, float("nan"), float("inf"), "3", None, True)),
        *(("temperature", value) for value in (-1, 10.5, float("nan"), "hot", False)),
        *(("top_k", value) for value in (-1, 2.0, "all", True)),
        *(("top_p", value) for value in (0, -0.5, 1.01, float("nan"), None)),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{name}=.*needed is"):
        Sampling(**{name: value})  # type: ignore[arg-type]
