"""Windows: what decides their width, and what a decoder's options may be."""

from __future__ import annotations

import pytest
import torch
from decoding.markov import MarkovSession, markov_tables

from mmgen import decoding
from mmgen.decoding.line import Line, leading, longest_known_run
from mmgen.decoding.options import LAWS
from mmgen.decoding.speculation import BUCKETS, Speculation, _Widths
from mmgen.decoding.tree import _topology
from mmgen.errors import OptionError, UnknownNameError
from mmgen.layout import RasterLayout
from mmgen.rng import Rng

SPECULATIVE = [name for name, kind in decoding.decoders().items() if issubclass(kind, Speculation)]
CARRYING = [name for name in SPECULATIVE if decoding.decoders()[name].carries]


def session(known: torch.Tensor | None = None, height: int = 10, width: int = 10) -> MarkovSession:
    return MarkovSession(markov_tables(), torch.arange(2), RasterLayout(height, width), known)


@pytest.mark.parametrize("name", CARRYING)
@pytest.mark.parametrize("window", [1, 7, 100, 256])
def test_a_fixed_window_is_one_shape(name: str, window: int) -> None:
    watched = session()
    decoder = decoding.make(name, window=window)
    decoder.generate(watched, Rng([1, 2]))
    assert len(set(watched.widths)) == 1
    extra = decoder.extra_nodes if window > 2 else 0  # the default depth of 2 needs a window of 3
    if name != "proactive" or window > 2:
        assert watched.widths[0] == min(window, 100) + extra


@pytest.mark.parametrize("name", [name for name in CARRYING if name != "proactive"])
def test_an_adaptive_window_is_a_bucket_and_changes(name: str) -> None:
    watched = session()
    decoding.make(name, window=32, adaptive=True).generate(watched, Rng([1, 2]))
    assert set(watched.widths) <= {*BUCKETS, 32}
    assert watched.widths[0] == 8
    assert len(set(watched.widths)) > 1


def test_widths_follow_committed_counts_row_by_row() -> None:
    source = session()
    source.open(64)
    widths = _Widths(Line(source, 64), 64, adaptive=True)
    assert widths.widths.tolist() == [8, 8]
    for _ in range(12):
        widths.update(torch.tensor([1, 20]))
    assert widths.widths.tolist() == [4, 48]
    assert widths.longest() == 48
    for _ in range(12):
        widths.update(torch.tensor([1, 200]))
    assert widths.widths.tolist() == [4, 64]


def test_the_widest_row_still_written_decides_the_shape() -> None:
    source = session()
    source.open(32)
    line = Line(source, 32)
    widths = _Widths(line, 32, adaptive=True)
    widths.widths = torch.tensor([8, 32])
    assert widths.longest() == 32
    line.committed = torch.tensor([50, 100])
    assert widths.longest() == 8


def test_a_window_reaches_past_the_known_tokens_it_starts_with() -> None:
    known = torch.full((2, 100), -1)
    known[0, 3:60] = 1
    source = session(known)
    source.open(60)
    line = Line(source, 58)
    widths = _Widths(line, 8, adaptive=False)
    assert widths.widths.tolist() == [8, 8]
    line.committed = torch.tensor([3, 3])
    widths.update(torch.tensor([3, 3]))
    assert widths.widths.tolist() == [58, 8]


@pytest.mark.parametrize("name", list(decoding.decoders()))
@pytest.mark.parametrize("start", [0, 1, 20])
def test_a_long_known_run_costs_nothing(name: str, start: int) -> None:
    known = torch.full((2, 100), -1)
    known[0, start : start + 79] = torch.arange(79) % 3
    generation = decoding.make(name).generate(session(known), Rng([1, 2]))
    assert torch.equal(generation.tokens[known >= 0], known[known >= 0])
    assert int(generation.tokens.max()) < 3
    assert int(generation.evaluations[0]) <= 21


@pytest.mark.parametrize("name", SPECULATIVE)
def test_a_line_of_one_token_can_be_written(name: str) -> None:
    watched = session(height=1, width=1)
    generation = decoding.make(name).generate(watched, Rng([1, 2]))
    assert generation.evaluations.tolist() == [1, 1]
    assert generation.tokens.shape == (2, 1)


def test_runs_are_counted_from_the_start() -> None:
    keep = torch.tensor([[True, True, False, True], [False, True, True, True], [True] * 4])
    assert leading(keep).tolist() == [2, 0, 4]
    assert longest_known_run(torch.tensor([[-1, 0, 1, -1], [2, -1, -1, 0]])) == 2
    assert longest_known_run(torch.full((2, 3), -1)) == 0


def test_every_path_of_a_topology_is_a_node() -> None:
    topology = _topology(length=5, branching=3, depth=2, device=torch.device("cpu"))
    assert len(topology.tree) == 5 + 3 + 9 - 2
    assert topology.tree.parents[:5] == (-1, 0, 1, 2, 3)
    reached = {int(topology.children[int(topology.children[0, a]), b]) for a in range(3) for b in range(3)}
    assert len(reached) == 9
    assert all(topology.tree.depths[node] == 2 for node in reached)
    assert topology.tree.depths[5:].tolist() == [1] * 2 + [2] * 8
    for node in range(1, 15):
        parent = topology.tree.parents[node]
        assert node in topology.children[parent].tolist() or parent >= topology.depth
    inner = [0, 1, *topology.children[0].tolist()]
    assert sorted({int(topology.parents[node]) for node in inner}) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("jacobi", {"window": 0}),
        ("jacobi", {"window": 257}),
        ("jacobi", {"window": 2.5}),
        ("coupled-jacobi", {"adaptive": 1}),
        ("coupled-jacobi", {"drafter": "sideways"}),
        ("proactive", {"branching": 1}),
        ("proactive", {"depth": 4}),
        ("jacobi", {"branching": 2}),
        ("autoregressive", {"window": 8}),
    ],
)
def test_bad_options_are_refused(name: str, options: dict) -> None:
    with pytest.raises((OptionError, UnknownNameError), match=next(iter(options))):
        decoding.make(name, **options)


def test_an_unknown_decoder_is_refused_with_the_choices() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'coupled-jacobi'"):
        decoding.make("coupled-jakobi")


def test_decoders_describe_their_options() -> None:
    for name, kind in decoding.decoders().items():
        described = kind.describe()
        assert described["name"] == name and described["law"] in LAWS and described["summary"]
        assert {option["name"]: option["default"] for option in described["options"]} == decoding.make(name).options()
        assert all(option["help"] for option in described["options"])
