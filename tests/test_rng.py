"""Noise keyed by seed, position, purpose and draw, and by nothing else."""

from __future__ import annotations

import itertools

import pytest
import torch

from mmgen.errors import MmgenError, OptionError
from mmgen.rng import MAXIMUM_SEED, Purpose, Rng, race

LINE = torch.arange(4096)[None]


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])


def test_numbers_are_the_ones_every_version_gives() -> None:
    rng, positions = Rng([0, 7, MAXIMUM_SEED]), torch.tensor([[0, 1], [0, 5], [3, 255]])
    uniform = rng.uniform(Purpose.ACCEPT, positions)
    assert uniform[1].tolist() == [0.7306128144264221, 0.20129889249801636]
    later = rng.uniform(Purpose.DRAFT, positions, torch.tensor([[1], [2], [2**33]]))
    assert later[2].tolist() == [0.7308579683303833, 0.8552719354629517]
    noise = rng.exponential(Purpose.TOKEN, positions[:, :1], 3)
    wanted = torch.tensor([2.563796281814575, 1.2243447303771973, 1.1136417388916016])
    torch.testing.assert_close(noise[1, 0], wanted, rtol=1e-6, atol=0)


def test_uniform_numbers_are_uniform() -> None:
    numbers = Rng(range(64)).uniform(Purpose.ACCEPT, LINE.expand(64, -1)).double().flatten()
    assert 0 <= float(numbers.min()) < 1e-4
    assert 1 - 1e-4 < float(numbers.max()) < 1
    assert abs(float(numbers.mean()) - 1 / 2) < 4 / (12 * len(numbers)) ** 0.5
    counts = torch.histc(numbers, 100, 0, 1)
    assert float(((counts - len(numbers) / 100) ** 2).sum() / (len(numbers) / 100)) < 99 + 5 * (2 * 99) ** 0.5


def test_exponential_numbers_have_the_moments_of_rate_one() -> None:
    numbers = Rng(range(8)).exponential(Purpose.TOKEN, LINE.expand(8, -1), 8).double().flatten()
    assert float(numbers.min()) > 0
    for power, wanted in ((1, 1), (2, 2), (3, 6)):
        spread = float((numbers**power).std()) / len(numbers) ** 0.5
        assert abs(float((numbers**power).mean()) - wanted) < 4 * spread
    # Small numbers decide a race: their share must be right far below 2**-24.
    tiny = Rng(range(64)).exponential(Purpose.TOKEN, LINE.expand(64, -1), 64)
    assert abs(int((tiny < 1e-5).sum()) - tiny.numel() * 1e-5) < 5 * (tiny.numel() * 1e-5) ** 0.5
    assert len(tiny[tiny < 1e-5].unique()) > 0.95 * int((tiny < 1e-5).sum())


def test_race_draws_from_the_law() -> None:
    law = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    tokens = race(law.expand(64, 4096, 5), Rng(range(64)).exponential(Purpose.CARRY, LINE.expand(64, -1), 5))
    counts, expected = torch.bincount(tokens.flatten(), minlength=5).double(), law.double() * tokens.numel()
    assert counts[1] == 0
    held = expected > 0
    assert float(((counts - expected)[held] ** 2 / expected[held]).sum()) < 20


def test_purposes_draws_seeds_and_positions_are_independent() -> None:
    rng = Rng([3])
    streams = [rng.uniform(purpose, LINE, draw) for purpose in Purpose for draw in (0, 1, 2**32, 2**33)]
    streams += [Rng([seed]).uniform(Purpose.TOKEN, LINE) for seed in (0, 1, 2, MAXIMUM_SEED)]
    streams += [rng.uniform(Purpose.TOKEN, LINE + shift) for shift in (1, 2, 16)]
    for first, second in itertools.combinations(streams, 2):
        assert abs(correlation(first, second)) < 5 / LINE.numel() ** 0.5


def test_lanes_of_one_number_are_independent() -> None:
    noise = Rng([3]).exponential(Purpose.TOKEN, LINE, 6)
    for first, second in itertools.combinations(range(6), 2):
        assert abs(correlation(noise[..., first], noise[..., second])) < 5 / LINE.numel() ** 0.5


def test_numbers_do_not_depend_on_the_batch_or_the_window() -> None:
    together, positions = Rng([4, 5, 6]), torch.tensor([[3, 4, 5], [0, 1, 2], [7, 8, 9]])
    draws = torch.tensor([[1], [5], [9]])
    uniform = together.uniform(Purpose.ACCEPT, positions, draws)
    noise = together.exponential(Purpose.CORRECT, positions, 7, draws)
    for row, seed in enumerate((4, 5, 6)):
        for slot in range(3):
            place, draw = positions[row : row + 1, slot : slot + 1], int(draws[row])
            assert torch.equal(Rng([seed]).uniform(Purpose.ACCEPT, place, draw)[0, 0], uniform[row, slot])
            assert torch.equal(Rng([seed]).exponential(Purpose.CORRECT, place, 7, draw)[0, 0], noise[row, slot])


def test_token_noise_is_the_same_from_a_table_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = torch.tensor([[0, 3, 9, 12], [1, 2, 8, 9]])
    rng = Rng([1, 2])
    table = rng.token_noise(positions, 5, 10)
    assert torch.equal(table[0, 2], table[0, 3])
    assert torch.equal(rng.token_noise(positions, 4, 20)[:, :3], Rng([1, 2]).token_noise(positions, 4, 20)[:, :3])
    monkeypatch.setattr("mmgen.rng._TABLE_BYTES", 0)
    assert torch.equal(Rng([1, 2]).token_noise(positions, 5, 10), table)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "1", True, None])
def test_seeds_out_of_range_are_refused(seed: object) -> None:
    with pytest.raises(OptionError, match=r"seed=.*whole number from 0 to"):
        Rng([0, seed])  # type: ignore[list-item]
    assert issubclass(OptionError, MmgenError)
