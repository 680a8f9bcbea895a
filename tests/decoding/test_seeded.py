"""On a real transformer: the seed's own picture, an honest cache, and the same tokens at temperature zero."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from decoding.checks import INITIAL
from torch import Tensor

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding import speculation
from mmgen.decoding.decoder import Generation
from mmgen.decoding.line import Line
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0),
    Sampling(temperature=0.6, guidance=3),
    Sampling(temperature=1.7, top_k=4),
    Sampling(guidance=0, top_p=0.7),
    Sampling(temperature=1.2, guidance=5.5, top_k=6, top_p=0.9),
]
SPECULATIVE = [name for name, kind in decoding.decoders().items() if issubclass(kind, speculation.Speculation)]


def open_session(
    backbone: RasterTransformer, batch: int, sampling: Sampling, known: Tensor | None = None
) -> RasterSession:
    condition = torch.randn(batch, 2, 32, generator=torch.Generator().manual_seed(1))
    null_prompt = Prompt(torch.zeros(batch, 2, 32))
    return RasterSession(backbone, backbone.layout, Prompt(condition), null_prompt, sampling, known)


def write(
    backbone: RasterTransformer, name: str, sampling: Sampling, batch: int = 3, known: Tensor | None = None, **options
) -> tuple[Generation, RasterSession]:
    session = open_session(backbone, batch, sampling, known)
    return decoding.make(name, **options).generate(session, Rng(range(20, 20 + batch))), session


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_jacobi_is_autoregression_token_for_token(
    tiny_backbone: RasterTransformer, sampling: Sampling, batch: int
) -> None:
    reference, _ = write(tiny_backbone, "autoregressive", sampling, batch)
    assert len(reference.tokens.unique()) > 1
    saved = 0
    for drafter in INITIAL:
        for window, adaptive in ((1, False), (5, False), (12, False), (64, False), (12, True)):
            with mock.patch.object(speculation, "BUCKETS", (1, 2, 3, 4, 6, 8)):
                generation, _ = write(
                    tiny_backbone, "jacobi", sampling, batch,
                    window=window, adaptive=adaptive, drafter=drafter,
                )  # fmt: skip
            assert torch.equal(generation.tokens, reference.tokens), (drafter, window, adaptive)
            assert bool((generation.evaluations <= reference.evaluations).all())
            saved += int((reference.evaluations - generation.evaluations).sum())
    assert saved > 0


def test_jacobi_keeps_known_tokens_as_autoregression_does(tiny_backbone: RasterTransformer) -> None:
    known = torch.full((3, 12), -1)
    known[0, :5], known[1, 4:9], known[2, 7:] = 3, 1, 2
    for sampling in SAMPLINGS:
        reference, _ = write(tiny_backbone, "autoregressive", sampling, known=known)
        assert torch.equal(reference.evaluations, (known < 0).sum(1))
        for window in (1, 3, 12):
            generation, _ = write(tiny_backbone, "jacobi", sampling, known=known, window=window)
            assert torch.equal(generation.tokens, reference.tokens)
            assert bool((generation.evaluations <= reference.evaluations).all())


@pytest.mark.parametrize("name", SPECULATIVE)
def test_temperature_zero_leaves_one_picture(tiny_backbone: RasterTransformer, name: str) -> None:
    for guidance in (1.0, 4.0):
        sampling = Sampling(temperature=0, guidance=guidance)
        reference, _ = write(tiny_backbone, "autoregressive", sampling)
        for window in (1, 4, 12):
            generation, _ = write(tiny_backbone, name, sampling, window=window)
            assert torch.equal(generation.tokens, reference.tokens)


@pytest.mark.parametrize("name", SPECULATIVE)
def test_row_alone_is_row_in_a_batch(tiny_backbone: RasterTransformer, name: str) -> None:
    sampling = Sampling(guidance=2.5, top_k=8)
    together, _ = write(tiny_backbone, name, sampling, window=6)
    for row in range(3):
        session = open_session(tiny_backbone, 3, sampling)
        prompts = (session._prompt.select(torch.tensor([chosen])) for chosen in (row, row + 3))
        alone = RasterSession(tiny_backbone, session.layout, *prompts, sampling)
        generation = decoding.make(name, window=6).generate(alone, Rng([20 + row]))
        assert torch.equal(generation.tokens[0], together.tokens[row])
        assert torch.equal(generation.evaluations[0], together.evaluations[row])


@pytest.mark.parametrize("name", list(decoding.decoders()))
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_cache_holds_the_picture_that_was_written(
    tiny_backbone: RasterTransformer, name: str, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Line, "retire", lambda line: None)  # all rows are looked at afterwards
    options = {} if name == "autoregressive" else {"window": 6}
    if name == "proactive":
        options |= {"depth": 3, "branching": 3}
    sampling = Sampling(guidance=guidance, temperature=1.3)
    generation, session = write(tiny_backbone, name, sampling, **options)
    begin = torch.full((3, 1), tiny_backbone.begin_token)
    inputs = torch.cat((begin, generation.tokens[:, :-1]), dim=1)
    fresh = open_session(tiny_backbone, 3, sampling)
    fresh.open(1)
    wanted = fresh.score(inputs)
    # Backwards, so that every evaluation reads what decoding left, and only its own token is new.
    for position in range(11, -1, -1):
        session.rewind(torch.full((3,), position))
        probs = session.score(inputs[:, position : position + 1])
        torch.testing.assert_close(probs[:, 0], wanted[:, position], rtol=1e-5, atol=1e-5)


def test_autoregression_draws_from_teacher_forced_logits(tiny_backbone: RasterTransformer) -> None:
    sampling = Sampling(temperature=0.8, guidance=2)
    generation, session = write(tiny_backbone, "autoregressive", sampling)
    with torch.no_grad():
        logits = tiny_backbone.teacher_forced(
            session._prompt.embeddings, torch.cat((generation.tokens, generation.tokens))
        )
    probs = sampling.probabilities(*logits.chunk(2))
    positions = torch.arange(12).expand(3, -1)
    noise = Rng(range(20, 23)).token_noise(positions, 11, 12)
    assert torch.equal((probs / noise).argmax(-1), generation.tokens)
