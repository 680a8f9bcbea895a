"""Language models behind our cache say what transformers' own forward says, and every decoder draws with them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from backbones.language_models import CODES, FAMILIES, WORDS, pair, prompts
from torch import Tensor

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.chameleon import ChameleonTransformer
from mmgen.backbones.emu3 import Emu3Transformer
from mmgen.backbones.language import LanguageTransformer
from mmgen.decoding.decoder import Decoder, Generation
from mmgen.errors import OptionError, SizeError
from mmgen.layout import Tree
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

LENGTHS, SEEDS = (5, 2, 7), (5, 6, 7)
TREE = Tree([-1, 0, 1, 2, 0, 1, 4, 4, 6])
every_family = pytest.mark.parametrize("family", FAMILIES)


def line(ours: LanguageTransformer, length: int = 9) -> Tensor:
    """The begin token and others, row ends among them where there are some: int64 [3, L]."""
    tokens = torch.randint(ours.vocabulary_size, (3, length), generator=torch.Generator().manual_seed(4))
    tokens[:, 0] = ours.begin_token
    return tokens


def expected(family: str, prompt: Prompt, tokens: Tensor, row: int) -> Tensor:
    """transformers' logits [L, codes] for one row's line, read in one go and without a cache."""
    theirs = pair(family)
    after = theirs.ours.embed(tokens[row, 1:])
    read = torch.cat((prompt.embeddings[row, : LENGTHS[row]], after))
    hidden = theirs.language(inputs_embeds=read[None], use_cache=False).last_hidden_state
    return theirs.score(hidden)[0, LENGTHS[row] - 1 :]


class Reading:
    """A line being read chunk by chunk under ragged prompts."""

    def __init__(self, family: str) -> None:
        self.ours = pair(family).ours
        self.prompt = prompts(self.ours, LENGTHS)
        self.cache = self.ours.new_cache(3, 40)
        self.ours.prefill(self.prompt.embeddings, self.cache)
        self.rewind([0, 0, 0])

    def rewind(self, lengths: list[int]) -> None:
        self.cache.rewind(self.prompt.prefix + torch.tensor(lengths))

    def logits(self, tokens: Tensor, tree: Tree | None = None) -> Tensor:
        streams = self.ours.streams(tokens, self.cache, tree, begin=self.prompt.begin)
        return self.ours.head(self.ours.norm(streams[-1]))


@every_family
@torch.no_grad()
def test_logits_are_those_of_transformers_in_any_chunks(family: str) -> None:
    for sizes in ([9], [1] * 9, [1, 2, 6], [7, 2]):
        reading = Reading(family)
        tokens = line(reading.ours)
        logits = torch.cat([reading.logits(chunk) for chunk in tokens.split(sizes, dim=1)], dim=1)
        assert logits.shape == (3, 9, CODES) and logits.std() > 0.3
        for row in range(3):
            wanted = expected(family, reading.prompt, tokens, row)
            torch.testing.assert_close(logits[row], wanted, rtol=0, atol=1e-4)


@every_family
@torch.no_grad()
def test_rewinding_means_it_never_happened(family: str) -> None:
    reading = Reading(family)
    tokens, kept = line(reading.ours), [2, 5, 0]
    reading.logits(torch.cat((tokens, tokens.flip(1)[:, :3]), dim=1))
    reading.rewind(kept)
    reading.logits(tokens.flip(0)[:, 1:7])
    reading.rewind(kept)
    index = torch.tensor(kept)[:, None] + torch.arange(4)
    logits = reading.logits(tokens.gather(1, index))
    for row in range(3):
        wanted = expected(family, reading.prompt, tokens, row)[index[row]]
        torch.testing.assert_close(logits[row], wanted, rtol=0, atol=1e-4)


@every_family
@torch.no_grad()
def test_every_path_of_a_tree_is_a_chain(family: str) -> None:
    reading = Reading(family)
    nodes = line(reading.ours)
    logits = reading.logits(nodes, TREE)
    for leaf in (3, 5, 7, 8):
        path = TREE.ancestors[leaf].nonzero()[:, 0]
        for row in range(3):
            wanted = expected(family, reading.prompt, nodes[:, path], row)
            torch.testing.assert_close(logits[row, path], wanted, rtol=0, atol=1e-4)


@every_family
@torch.no_grad()
def test_first_blocks_alone_are_the_first_of_all(family: str) -> None:
    reading = Reading(family)
    tokens = line(reading.ours)
    streams = reading.ours.streams(tokens, reading.cache, begin=reading.prompt.begin)
    assert len(streams) == len(reading.ours.blocks) == 3
    reading.rewind([0, 0, 0])
    first = reading.ours.streams(tokens, reading.cache, layers=2, begin=reading.prompt.begin)
    assert len(first) == 2
    torch.testing.assert_close(first, streams[:2])


@every_family
@torch.no_grad()
def test_tokens_anywhere_are_those_in_line(family: str) -> None:
    reading = Reading(family)
    tokens = line(reading.ours)
    wanted = reading.logits(tokens)
    again = Reading(family)
    slots = again.prompt.prefix[:, None] + torch.arange(9)
    order = torch.tensor([3, 0, 8, 1, 2, 7, 5, 6, 4])
    visible = torch.arange(40) <= slots[:, order, None]
    streams = again.ours.streams_at(tokens[:, order], again.cache, slots[:, order], visible, again.prompt.begin)
    torch.testing.assert_close(again.ours.head(again.ours.norm(streams[-1])), wanted[:, order], rtol=0, atol=1e-4)


def session(family: str, rows: list[int], guidance: float = 2.0, bits: int | None = None) -> RasterSession:
    model = pair(family)
    prompt, null = prompts(model.ours, LENGTHS), prompts(model.ours, (3, 4, 3), seed=1)
    chosen = torch.tensor(rows)
    sampling = Sampling(guidance=guidance, temperature=0.7)
    return RasterSession(
        model.ours, model.layout, prompt.select(chosen), null.select(chosen), sampling, cache_bits=bits
    )


def draw(decoder: Decoder, family: str, rows: list[int]) -> Generation:
    return decoder.generate(session(family, rows), Rng([SEEDS[row] for row in rows]))


def ready(name: str, **options: object) -> Decoder:
    """A decoder with a window that fits the tiny grids."""
    if any(field.name == "window" for field in dataclasses.fields(decoding.decoders()[name])):
        options = {"window": 3} | options
    return decoding.make(name, **options)


DECODERS = [*((name, {}) for name in decoding.decoders()), ("speculative", {"drafter": "early-exit"})]


@pytest.mark.parametrize(("name", "options"), DECODERS, ids=[f"{name}{len(options)}" for name, options in DECODERS])
@pytest.mark.parametrize("family", ["janus", "emu3", "chameleon"])
def test_a_row_alone_is_the_row_in_a_batch(family: str, name: str, options: dict) -> None:
    decoder = ready(name, **options)
    together = draw(decoder, family, [0, 1, 2])
    layout = pair(family).layout
    assert bool((together.committed == layout.length).all())
    assert layout.unflatten(together.tokens).max() < CODES
    if layout.row_end is not None:
        assert bool((together.tokens.view(3, *layout.grid[:1], -1)[..., -1] == CODES).all())
    for row in (0, 1):
        assert torch.equal(draw(decoder, family, [row]).tokens[0], together.tokens[row])
    if decoder.seeded:
        assert torch.equal(together.tokens, draw(decoding.make("autoregressive"), family, [0, 1, 2]).tokens)


@every_family
def test_eight_bits_of_cache_change_laws_little(family: str) -> None:
    whole, rounded = session(family, [0, 1, 2], guidance=1.0), session(family, [0, 1, 2], guidance=1.0, bits=8)
    tokens, laws = line(pair(family).ours), []
    for each in (whole, rounded):
        each.open(9)
        laws.append(each.score(tokens))
    distance = (laws[0] - laws[1]).abs().sum(-1)
    assert 0 < distance.mean() < 0.1


@every_family
@torch.no_grad()
def test_half_precision_draws(family: str) -> None:
    reading = Reading(family)
    tokens = line(reading.ours)
    wanted = reading.logits(tokens)
    try:
        reading.ours.to(torch.bfloat16)
        half = Reading(family)
        logits = half.logits(tokens)
        assert logits.dtype is torch.bfloat16 and half.cache.dtype is torch.bfloat16
        assert float((logits.float() - wanted).pow(2).mean().sqrt() / wanted.std()) < 0.1
    finally:
        pair.cache_clear()


@every_family
def test_nothing_stays_without_memory(family: str) -> None:
    """The models were made on the meta device."""
    ours = pair(family).ours
    assert not any(tensor.is_meta for tensor in (*ours.parameters(), *ours.buffers()))
    assert set(ours.state_dict()) == dict(ours.named_parameters()).keys()


def test_a_prompt_must_end_in_the_begin_token() -> None:
    ours = pair("emu3").ours
    prompt = Prompt(prompts(ours, (3, 3)).embeddings)
    held = RasterSession(ours, pair("emu3").layout, prompt, prompt, Sampling())
    with pytest.raises(SizeError, match=r"Prompt\.ragged"):
        decoding.make("autoregressive").generate(held, Rng([1, 2]))


def test_words_outside_the_vocabulary_are_refused() -> None:
    text = {"vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 4, "intermediate_size": 32, "pad_token_id": 0}
    with pytest.raises(OptionError, match=r"first_code=20.*30"):
        Emu3Transformer(text, first_code=20, codes=16, row_end=1)
    with pytest.raises(OptionError, match=r"order='2 numbers'.*16"):
        ChameleonTransformer(text, first_code=WORDS, codes=16, order=[1, 0])


@torch.no_grad()
def test_logits_of_other_words_are_not_computed() -> None:
    ours = pair("emu3").ours
    weight = ours.lm_head.weight.clone()
    stream = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    wanted = ours.head(stream)
    try:
        ours.lm_head.weight[:WORDS] = torch.nan
        ours.lm_head.weight[WORDS + CODES :] = torch.nan
        assert torch.equal(ours.head(stream), wanted)
    finally:
        ours.lm_head.weight.copy_(weight)
