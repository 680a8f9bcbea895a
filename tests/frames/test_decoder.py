"""Masked refinement of frames: its law by enumeration, its passes, and what it keeps."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from decoding.markov import least_p_value
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.decoding import frames
from mmgen.decoding.frames import masked_refinement
from mmgen.errors import OptionError
from mmgen.layout import VideoLayout
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.frames import FrameSession

SIZE, LENGTH = 3, 2
LAYOUT = VideoLayout(2, LENGTH, frames=2)
STATES = (SIZE + 1) ** LENGTH
SURPRISE = 1e-7
"""Exact decoders stay far above this p-value; all runs have fixed seeds."""


def state(tokens: Tensor) -> Tensor:
    """The number of a frame [..., L], -1 where hidden."""
    return ((tokens + 1) * (SIZE + 1) ** torch.arange(LENGTH)).sum(-1)


@functools.cache
def tables() -> Tensor:
    """Random laws [states of the frame before, states of the frame, L, V]."""
    logits = torch.randn(STATES, STATES, LENGTH, SIZE, generator=torch.Generator().manual_seed(3))
    return (logits * 1.5).softmax(-1)


class TableFrames:
    """Stands for `FrameSession`, and looks laws up in a table."""

    layout, vocabulary_size, device = LAYOUT, SIZE, torch.device("cpu")

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def open(self) -> None:
        self.frame, self.tokens = 0, torch.full((self.batch, LAYOUT.length), -1)

    @property
    def finished(self) -> bool:
        return self.frame == LAYOUT.frames

    def known_here(self) -> Tensor:
        return torch.full((self.batch, LENGTH), -1)

    def free_here(self) -> Tensor:
        return torch.full((self.batch,), LENGTH)

    def positions(self) -> Tensor:
        return (torch.arange(LENGTH) + self.frame * LENGTH).expand(self.batch, -1)

    def score(self, tokens: Tensor) -> Tensor:
        before = self.tokens[:, :LENGTH] if self.frame else torch.full_like(tokens, -1)
        return tables()[state(before), state(tokens)]

    def write(self, tokens: Tensor, hidden: float) -> None:
        assert hidden == 0
        self.tokens[:, self.frame * LENGTH : (self.frame + 1) * LENGTH] = tokens
        self.frame += 1


def law_of_frame(before: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """Autoregression in a random order."""
    law: dict[tuple[int, ...], float] = {(-1,) * LENGTH: 1.0}
    for left in range(LENGTH, 0, -1):
        following: dict[tuple[int, ...], float] = {}
        for shown, chance in law.items():
            probs = tables()[state(torch.tensor(before)), state(torch.tensor(shown))]
            for place, token in itertools.product(range(LENGTH), range(SIZE)):
                if shown[place] < 0:
                    drawn = (*shown[:place], token, *shown[place + 1 :])
                    following[drawn] = following.get(drawn, 0.0) + chance / left * float(probs[place, token])
        law = following
    return law


def law_of_clips() -> Tensor:
    first = law_of_frame((-1,) * LENGTH)
    seconds = {frame: law_of_frame(frame) for frame in first}
    numbers = itertools.product(range(SIZE), repeat=LENGTH)
    pairs = itertools.product(numbers, itertools.product(range(SIZE), repeat=LENGTH))
    return torch.tensor([first[one] * seconds[one][two] for one, two in pairs], dtype=torch.float64)


def p_value(**options) -> float:
    decoder = frames.make("masked-refinement", **options)
    drawn = decoder.generate(TableFrames(20_000), Rng(range(20_000)))
    return least_p_value(drawn.tokens, law_of_clips(), SIZE)


def test_one_token_a_pass_in_random_order_is_autoregression():
    assert frames.make("masked-refinement", passes=0, order="random").law == "exact"
    assert p_value(passes=0, order="random") > 1e-3


@pytest.mark.parametrize("options", [{"passes": 0}, {"passes": 1}, {"passes": 1, "order": "random"}])
def test_the_others_are_not_and_say_so(options):
    assert frames.make("masked-refinement", **options).law == "heuristic"
    assert p_value(**options) < SURPRISE


def test_hidden_history_is_another_law():
    assert frames.make("masked-refinement", passes=0, order="random", history=0.7).law == "heuristic"


def test_options_out_of_range_are_refused():
    for options in ({"passes": -1}, {"history": 1.5}, {"order": "sorted"}, {"steps": 3}):
        with pytest.raises(OptionError):
            frames.make("masked-refinement", **options)


CAPTIONS, NULLS = torch.randn(2, 3, 2, 32, generator=torch.Generator().manual_seed(4))


def session(transformer, rows=(0, 1, 2), known=None) -> FrameSession:
    chosen = Prompt(CAPTIONS[list(rows)]), Prompt(NULLS[list(rows)])
    return FrameSession(transformer, transformer.layout, *chosen, Sampling(guidance=1.5), known)


def some_known() -> Tensor:
    """The first row has one frame and more, the second a token of the last frame, the third none."""
    known = torch.full((3, 18), -1)
    known[0, :9], known[1, 13] = 4, 7
    return known


@pytest.mark.parametrize("passes, taken", [(1, 1), (3, 3), (6, 6), (40, 6), (0, 6)])
def test_passes_are_evaluations(transformer, passes, taken, monkeypatch):
    calls, forward = [], type(transformer).forward
    monkeypatch.setattr(type(transformer), "forward", lambda *given: calls.append(1) or forward(*given))
    made = frames.make("masked-refinement", passes=passes).generate(session(transformer), Rng([1, 2, 3]))
    assert made.evaluations.tolist() == [3 * taken] * 3 and len(calls) == 3 * taken
    assert made.committed.tolist() == [18] * 3 and bool((made.tokens >= 0).all())


@pytest.mark.parametrize("options", [{"passes": 3}, {"passes": 2, "history": 0.5}, {"passes": 0, "order": "random"}])
def test_a_row_alone_is_as_in_a_batch(transformer, options):
    decoder, known = frames.make("masked-refinement", **options), some_known()
    together = decoder.generate(session(transformer, known=known), Rng([1, 2, 3]))
    for row in range(3):
        alone = decoder.generate(session(transformer, [row], known[row : row + 1]), Rng([row + 1]))
        assert torch.equal(alone.tokens, together.tokens[row : row + 1])
        assert alone.evaluations[0] == together.evaluations[row]


def test_known_tokens_are_kept_and_known_frames_cost_nothing(transformer):
    known = some_known()
    made = frames.make("masked-refinement", passes=4).generate(session(transformer, known=known), Rng([1, 2, 3]))
    assert torch.equal(made.tokens[known >= 0], known[known >= 0])
    assert made.evaluations.tolist() == [3 + 4, 12, 12]
    whole = made.tokens
    again = frames.make("masked-refinement").generate(session(transformer, known=whole), Rng([4, 5, 6]))
    assert torch.equal(again.tokens, whole) and not again.evaluations.any()


def test_what_is_kept_stays(transformer):
    shown = []

    class Watched(FrameSession):
        def score(self, tokens: Tensor) -> Tensor:
            shown.append((self.frame, tokens))
            return super().score(tokens)

    made = Watched(transformer, transformer.layout, Prompt(CAPTIONS), Prompt(NULLS), Sampling(guidance=1.5))
    whole = frames.make("masked-refinement", passes=4).generate(made, Rng([1, 2, 3])).tokens
    for frame, tokens in shown:
        own = whole[:, 6 * frame : 6 * frame + 6]
        assert torch.equal(tokens[tokens >= 0], own[tokens >= 0])
    assert [int((tokens >= 0).sum(1)[0]) for _, tokens in shown] == [0, 1, 2, 4] * 3


def test_seeds_noise_and_history_matter(transformer):
    def draw(seed: int = 1, **options) -> Tensor:
        rng = Rng([seed, seed + 1, seed + 2])
        return frames.make("masked-refinement", **({"passes": 3} | options)).generate(session(transformer), rng).tokens

    plain = draw()
    assert torch.equal(plain, draw())
    for other in (draw(7), draw(choice_temperature=20.0), draw(order="random"), draw(history=1.0)):
        assert not torch.equal(plain, other)
    assert torch.equal(plain[:, :6], draw(history=1.0)[:, :6])


def test_noise_in_the_order_falls_to_nothing_in_every_frame(transformer, monkeypatch):
    temperatures, confidence = [], masked_refinement.confidence
    monkeypatch.setattr(
        masked_refinement, "confidence", lambda *given: temperatures.append(given[-1]) or confidence(*given)
    )
    frames.make("masked-refinement", passes=4, choice_temperature=2.0).generate(session(transformer), Rng([1, 2, 3]))
    assert temperatures == [1.5, 1.0, 0.5, 0.0] * 3


def test_a_clip_that_goes_on_from_its_own_beginning_is_the_same(transformer):
    """The published code's noise is gone after its first frame, so there a frame depends on how many were drawn."""
    decoder, rng = frames.make("masked-refinement", passes=3, choice_temperature=20.0), Rng([1, 2, 3])
    whole = decoder.generate(session(transformer), rng).tokens
    for count in (6, 12):
        begun = torch.cat((whole[:, :count], torch.full((3, 18 - count), -1)), dim=1)
        assert torch.equal(decoder.generate(session(transformer, known=begun), rng).tokens, whole)
