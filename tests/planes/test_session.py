"""The session of neighbouring autoregression: laws, what it computes, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from planes.conftest import class_prompts, random_transformer
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.decoding import planes
from mmgen.errors import OptionError, SizeError
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions import planes as sessions
from mmgen.sessions.planes import NeighbourSession


def opened(model: NeighbourTransformer, batch: int, guidance: float = 1.0, **given: object) -> NeighbourSession:
    session = NeighbourSession(
        model,
        *class_prompts(model, torch.arange(batch)),
        Sampling(guidance=guidance),
        **given,  # type: ignore[arg-type]
    )
    session.open(model.layout.count)
    return session


def forced(model: NeighbourTransformer, tokens: Tensor, guidance: float) -> Tensor:
    """Laws of whole lines in one forward: [B, P, M, V], those of nothing being 0."""
    prompts = class_prompts(model, torch.arange(len(tokens)))
    logits = [model.teacher_forced(prompt.embeddings, tokens) for prompt in prompts[: 1 + (guidance != 1)]]
    probs = Sampling(guidance=guidance).probabilities(*logits)
    folded = probs.new_zeros(len(tokens), *model.layout.valid.shape, probs.shape[-1])
    folded.flatten(1, 2)[:, model.layout.folded] = probs
    folded[:, ~model.layout.valid, 0] = 1
    return folded


def lines(model: NeighbourTransformer, batch: int) -> Tensor:
    return torch.randint(11, (batch, model.layout.length), generator=torch.Generator().manual_seed(4))


WINDOWS = (([0, 0, 0], 2), ([1, 2, 2], 3), ([2, 5, 3], 1), ([3, 5, 4], 4), ([3, 3, 3], 2), ([4, 5, 5], 3))
"""Planes committed in each row, and the window scored then."""


@pytest.mark.parametrize("kind", ["transformer", "video_transformer", "told_transformer"])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("device", ["cpu", "accelerator"])
def test_ragged_windows_score_as_whole_lines_do(
    kind: str, guidance: float, device: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an accelerator the host does not know how far rows have come, and shapes are those of the widest window."""
    model = request.getfixturevalue(kind)
    if device == "accelerator":
        monkeypatch.setattr(sessions, "_is_known_here", lambda lengths: False)
    tokens = lines(model, 3)
    folded, expected, end = model.layout.fold(tokens), forced(model, tokens, guidance), model.layout.count
    session = opened(model, 3, guidance)
    for lengths, window in (
        ([0, 0, 0], 2),
        ([1, 2, 2], 3),
        ([2, 5, 3], 1),
        ([3, 5, 4], 4),
        ([3, 3, 3], 2),
        ([4, 5, 5], 3),
    ):
        session.rewind(torch.tensor(lengths) if any(lengths) else 0)
        inputs = torch.full((3, window, folded.shape[2]), 9)
        for row, length in enumerate(lengths):
            for slot in range(max(1 - length, 0), min(window, end - length + 1)):
                inputs[row, slot] = torch.where(
                    model.layout.valid[length + slot - 1], folded[row, length + slot - 1], 7
                )
        probs = session.score(inputs)
        for row, length in enumerate(lengths):
            reached = min(window, end - length)
            torch.testing.assert_close(
                probs[row, :reached], expected[row, length : length + reached], rtol=0, atol=1e-5
            )
            assert bool((probs[row, reached:, :, 0] == 1).all())


def test_what_a_place_is_told_counts_behind_it_alone(told_transformer: NeighbourTransformer) -> None:
    model, tokens = told_transformer, lines(told_transformer, 1)
    prompt = class_prompts(model, torch.tensor([2]))[0].embeddings
    before = model.teacher_forced(prompt, tokens)
    for place in range(model.layout.length):
        other = prompt.clone()
        other[:, model.condition_length + 1 + place] += 1
        changed = (model.teacher_forced(other, tokens) - before).abs().amax(-1)[0] > 1e-6
        assert not changed[model.layout.levels <= model.layout.levels[place]].any()
        assert changed[model.layout.levels > model.layout.levels[place]].all()


def test_nothing_but_tokens_is_read_where_rows_stand_together(transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    features, logits = NeighbourTransformer.features, NeighbourTransformer.logits

    def count_read(self, tokens, line, cache, condition=None, told=None):
        read.append((tokens.shape[1] + (0 if condition is None else condition.shape[1]), 0))
        return features(self, tokens, line, cache, condition, told)

    def count_written(self, given, first, targets):
        read[-1] = (read[-1][0], targets.shape[1])
        return logits(self, given, first, targets)

    monkeypatch.setattr(NeighbourTransformer, "features", count_read)
    monkeypatch.setattr(NeighbourTransformer, "logits", count_written)
    session = NeighbourSession(transformer, *class_prompts(transformer, torch.arange(2)), Sampling(guidance=2.0))
    planes.make("plane-wise").generate(session, Rng([1, 2]))
    widths = transformer.layout.widths
    assert read == list(zip((1, *widths), widths, strict=False))


@pytest.mark.parametrize("decoder", planes.decoders())
def test_an_accelerator_writes_the_same(decoder: str, transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for known_here in (True, False):
        monkeypatch.setattr(sessions, "_is_known_here", lambda lengths, known=known_here: known)
        session = NeighbourSession(transformer, *class_prompts(transformer, torch.arange(5)), Sampling(guidance=2.0))
        written.append(planes.make(decoder).generate(session, Rng(range(5))))
    assert torch.equal(written[0].tokens, written[1].tokens)
    assert torch.equal(written[0].evaluations, written[1].evaluations)


def test_rows_are_selected(transformer) -> None:
    tokens = lines(transformer, 3)
    folded = transformer.layout.fold(tokens)
    kept, others = opened(transformer, 3, 2.0), opened(transformer, 3, 2.0)
    for session in (kept, others):
        session.score(torch.nn.functional.pad(folded[:, :2], (0, 0, 1, 0)))
        session.rewind(torch.tensor([2, 1, 2]))
    kept.select(torch.tensor([2, 1]))
    stretch = torch.stack([folded[2, 1:3], folded[1, :2]])
    whole = torch.stack([folded[0, 1:3], folded[1, :2], folded[2, 1:3]])
    torch.testing.assert_close(kept.score(stretch), others.score(whole)[[2, 1]], rtol=0, atol=1e-6)
    assert kept.batch == 2


def test_known_tokens_are_certain(transformer) -> None:
    known = transformer.layout.known().repeat(2, 1)
    known[1, 1] = 6
    session = opened(transformer, 2, known=known)
    session.rewind(1)
    probs = session.score(torch.zeros(2, 1, 3, dtype=torch.long))
    assert probs[1, 0, 0, 6] == 1 and probs[1, 0, 0].sum() == 1
    assert 0 < probs[0, 0, 0, 6] < 1
    assert session.known[1, 1].tolist() == [6, -1, 0] and session.constrained


def test_a_cache_of_8_bits_changes_little(transformer) -> None:
    folded = transformer.layout.fold(lines(transformer, 2))
    inputs = torch.nn.functional.pad(folded[:, :4], (0, 0, 1, 0))
    whole, kept = (opened(transformer, 2, cache_bits=bits).score(inputs) for bits in (None, 8))
    assert 0 < float((whole - kept).abs().max()) < 0.1


def test_hidden_parts_of_a_caption_are_not_seen() -> None:
    model = random_transformer(3, classes=None, caption_size=6, condition_length=4)
    model.null_caption.normal_(generator=torch.Generator().manual_seed(5))
    features = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(6))
    mask = torch.tensor([[False, False, True, True], [True] * 4])
    noisy = torch.where(mask[..., None], features, 5.0)
    laws = []
    for given in (features, noisy):
        prompts = model.caption_prompt(given, mask), model.null_caption_prompt(2, mask)
        session = NeighbourSession(model, *prompts, Sampling(guidance=3.0))
        session.open(3)
        laws.append(session.score(torch.ones(2, 3, 3, dtype=torch.long)))
    torch.testing.assert_close(laws[0][0], laws[1][0])
    hidden = ~mask
    assert bool((model.caption_prompt(features, mask).hidden == hidden).all())


def test_prompts_of_embeddings_and_three_rotary_axes() -> None:
    model = random_transformer(
        7, classes=None, sizes=(2, 2, 3), condition_length=5, blind=False, size=32, heads=2, hidden_size=40
    )
    prompts = [Prompt(torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(seed))) for seed in (1, 2)]
    tokens = lines(model, 2)
    session = NeighbourSession(model, *prompts, Sampling(guidance=2.0))
    session.open(model.layout.count)
    probs = session.score(torch.nn.functional.pad(model.layout.fold(tokens)[:, :-1], (0, 0, 1, 0)))
    logits = [model.teacher_forced(prompt.embeddings, tokens) for prompt in prompts]
    expected = Sampling(guidance=2.0).probabilities(*logits)
    torch.testing.assert_close(probs.flatten(1, 2)[:, model.layout.folded], expected, rtol=0, atol=1e-5)
    longer = Prompt(torch.zeros(2, 6, 32))
    with pytest.raises(SizeError, match="a condition of 6 embeddings"):
        NeighbourSession(model, longer, longer, Sampling())


def test_time_moves_attention() -> None:
    """Rotary positions tell the axes apart: a transposed grid is another picture."""
    model = random_transformer(8, sizes=(3, 3, 3))
    codes = torch.randint(11, (1, 1, 3, 3, 3), generator=torch.Generator().manual_seed(1))
    prompt = model.class_prompt(torch.tensor([0])).embeddings
    turned = codes.transpose(2, 4)
    last = [model.teacher_forced(prompt, model.layout.flatten(given))[0, -1] for given in (codes, turned)]
    assert not torch.allclose(last[0], last[1], atol=1e-2)


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_all_of_it_can_be_trained(positions: str) -> None:
    model = random_transformer(9, positions=positions).requires_grad_(True)
    logits = model.teacher_forced(model.class_prompt(torch.tensor([0, 3])).embeddings, lines(model, 2))
    logits.square().sum().backward()
    assert logits.shape == (2, 12, 11)
    for name, weight in model.named_parameters():
        assert weight.grad is not None and bool(weight.grad.any()), name


def test_shapes_that_do_not_fit_are_refused(transformer) -> None:
    prompts = class_prompts(transformer, torch.arange(2))
    with pytest.raises(SizeError, match=r"\[2, 12\]"):
        NeighbourSession(transformer, *prompts, Sampling(), known=torch.zeros(2, 11, dtype=torch.long))
    for changes, words in (
        ({"classes": 5, "caption_size": 4}, "None where there are classes"),
        ({"positions": "sine"}, "rotary, learned"),
        ({"sizes": (4,)}, "two axes"),
        ({"sizes": (2, 2, 2), "heads": 8}, "a multiple of 8"),
    ):
        with pytest.raises(OptionError, match=words):
            random_transformer(**changes)
    session = opened(transformer, 1)
    with pytest.raises(OptionError, match="0 to 1"):
        planes.make("jacobi", axis=2).generate(session, Rng([0]))
