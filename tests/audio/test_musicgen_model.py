"""MusicGen's transformer and session: what transformers says, and lines that hang on nothing but themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmgen.backbones.musicgen import MusicGenTransformer
from mmgen.checkpoints import musicgen
from mmgen.checkpoints.folder import build, fill
from mmgen.checkpoints.text_encoders import t5
from mmgen.checkpoints.weights import Weights
from mmgen.decoding import planes
from mmgen.errors import SizeError
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.codebooks import CodebookSession


class Golden:
    """The golden's transformer, what its text encoder says, and what goes in and comes out."""

    def __init__(self, folder: Path, data: dict[str, Tensor]) -> None:
        config, published = json.loads((folder / "config.json").read_text()), Weights.open(folder)
        own = published.renamed(musicgen._ours)
        self.transformer = fill(build(MusicGenTransformer, musicgen.configuration(config), own), own)
        self.text_encoder = t5(config["text_encoder"], published.renamed(musicgen._part("text_encoder.")))
        self.data, self.mask = data, data["attention_mask"].bool()
        ids = data["input_ids"]
        self.features = self.text_encoder(input_ids=ids, attention_mask=data["attention_mask"])[0].detach()

    def session(self, frames: int, rows: tuple[int, ...] = (0, 1), known: Tensor | None = None, **sampling):
        layout = self.transformer.layout(frames)
        given = {} if known is None else {"known": layout.known(known)}
        chosen = list(rows)
        return CodebookSession(
            self.transformer, layout, self.features[chosen], self.mask[chosen], Sampling(**sampling), **given
        )


@pytest.fixture(scope="module")
def golden(published) -> Golden:
    return Golden(*published("musicgen_mono"))


def drawn(session: CodebookSession, seeds: list[int], decoder: str = "plane-wise", **options) -> Tensor:
    generation = planes.make(decoder, **options).generate(session, Rng(seeds))
    assert (generation.committed == session.layout.length).all()
    return session.layout.unflatten(generation.tokens)


@torch.no_grad()
def test_features_and_logits_are_those_of_transformers(golden):
    data, model = golden.data, golden.transformer
    torch.testing.assert_close(golden.features, data["text_hidden"], atol=1e-5, rtol=0)
    columns = data["cfg1_delayed"].view(2, 4, -1).transpose(1, 2)
    memory = model.remember(golden.features, golden.mask)
    logits = model.logits(model.features(columns, memory, model.new_cache(2, columns.shape[1])))
    expected = data["tf_logits"].view(2, 4, -1, 64).transpose(1, 2)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("decoder", ["plane-wise", "jacobi", "speculative-jacobi"])
@pytest.mark.parametrize("guidance, name", [(1.0, "cfg1_codes"), (3.0, "cfg3_codes")])
def test_greedy_codes_are_those_of_transformers(golden, guidance, name, decoder):
    session = golden.session(21, temperature=0, guidance=guidance)
    assert torch.equal(drawn(session, [0, 1], decoder), golden.data[name])


def test_a_beginning_is_continued_as_transformers_does(golden):
    given, expected = golden.data["prompt"].view(2, 4, -1), golden.data["prompt_codes"]
    known = torch.full_like(expected, -1)
    known[..., : given.shape[2]] = given
    session = golden.session(expected.shape[2], known=known, temperature=0, guidance=3.0)
    layout = session.layout
    generation = planes.make("plane-wise").generate(session, Rng([0, 1]))
    assert torch.equal(layout.unflatten(generation.tokens), expected)
    # Columns that are given as a whole cost no evaluation: of 5 given frames, the last 3 lack some codebook.
    whole = (layout.fold(layout.known(known)) >= 0).all(-1)[0]
    assert generation.evaluations.tolist() == [layout.count - int(whole.sum())] * 2
    assert not whole.all() and whole.any()


@pytest.mark.parametrize("window", [2, 3, 8])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_every_window_draws_the_same(golden, guidance, window):
    settings = {"guidance": guidance, "top_k": 20, "temperature": 0.7}
    for seeds in ([3, 4], [50, 8]):
        expected = drawn(golden.session(12, **settings), seeds)
        assert torch.equal(drawn(golden.session(12, **settings), seeds, "jacobi", window=window), expected)


@pytest.mark.parametrize("decoder", ["plane-wise", "jacobi", "speculative-jacobi"])
def test_a_row_alone_is_as_it_is_beside_others(golden, decoder):
    together = drawn(golden.session(12, guidance=3.0, top_k=20), [5, 6], decoder)
    for row in (0, 1):
        assert torch.equal(
            drawn(golden.session(12, (row,), guidance=3.0, top_k=20), [5 + row], decoder)[0], together[row]
        )


def test_a_longer_recording_begins_like_a_shorter_one(golden):
    short, long = (drawn(golden.session(frames, top_k=20), [5, 6]) for frames in (9, 30))
    # Behind the last frame of the shorter one stand no codes, which the last steps before it see.
    assert torch.equal(short[..., :6], long[..., :6])


def test_padding_is_not_heard(golden):
    assert not golden.mask.all()
    row = int(golden.mask.all(1).long().argmin())
    features = golden.features.clone()
    features[row, ~golden.mask[row]] += 5
    session = golden.session(6, (row,), temperature=0)
    expected = drawn(session, [0])
    session = golden.session(6, (row,), temperature=0)
    session._features = features[[row]]
    assert torch.equal(drawn(session, [0]), expected)


def test_what_does_not_fit_is_refused(golden):
    layout = golden.transformer.layout(5)
    with pytest.raises(SizeError, match=r"\[2, 20\]"):
        CodebookSession(
            golden.transformer, layout, golden.features, golden.mask, Sampling(), torch.zeros(2, 21, dtype=torch.long)
        )
    with pytest.raises(SizeError, match="4, those of the model"):
        CodebookSession(golden.transformer, layout.parallel(5, 3), golden.features, golden.mask, Sampling())


def test_given_codes_of_a_row_stay_its_own_when_another_is_finished(golden):
    known = torch.full((2, 4, 14), -1)
    known[0, :, 3:] = golden.data["cfg1_codes"][0, :, 3:14]
    known[1, 1, 12:] = 9
    session = golden.session(14, known=known, top_k=20)
    codes = drawn(session, [5, 6], "jacobi", window=3)
    assert session.batch == 1  # the first row went
    assert torch.equal(codes[known >= 0], known[known >= 0])
    assert torch.equal(codes, drawn(golden.session(14, known=known, top_k=20), [5, 6]))
