"""A session may be read in any chunks, rewound as if nothing had happened, and scored along a tree."""

from __future__ import annotations

import pytest
import torch
from decoding.markov import MarkovSession, markov_tables
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.raster import RasterTransformer
from mmgen.errors import SizeError
from mmgen.layout import RasterLayout, Tree
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

GUIDED = Sampling(guidance=2.5, temperature=0.9)
TREE = Tree([-1, 0, 1, 2, 0, 1, 4, 4, 6])


def raster_session(
    backbone: RasterTransformer, sampling: Sampling = GUIDED, known: Tensor | None = None
) -> RasterSession:
    generator = torch.Generator().manual_seed(2)
    condition, null_condition = torch.randn(2, 3, 2, 32, generator=generator)
    session = RasterSession(backbone, backbone.layout, Prompt(condition), Prompt(null_condition), sampling, known)
    session.open(16)
    return session


def markov_session() -> MarkovSession:
    session = MarkovSession(markov_tables(11), torch.tensor([0, 1, 2]), RasterLayout(3, 4))
    session.open(16)
    return session


def line(seed: int = 4) -> Tensor:
    """The begin token and eleven tokens: int64 [3, 12]."""
    tokens = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 11
    return tokens


def test_chunks_equal_the_whole(tiny_backbone: RasterTransformer) -> None:
    tokens = line()
    whole = raster_session(tiny_backbone).score(tokens)
    for sizes in ([1] * 12, [5, 7], [1, 2, 3, 6], [11, 1]):
        session = raster_session(tiny_backbone)
        parts, done = [], 0
        for part in tokens.split(sizes, dim=1):
            session.rewind(torch.full((3,), done))
            parts.append(session.score(part))
            done += part.shape[1]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)


def test_cached_logits_equal_teacher_forced_ones(tiny_backbone: RasterTransformer) -> None:
    session, tokens = raster_session(tiny_backbone), line()
    probs = session.score(tokens)
    picture = torch.cat((tokens[:, 1:], tokens[:, 1:2]), dim=1)
    with torch.no_grad():
        logits = tiny_backbone.teacher_forced(session._prompt.embeddings, torch.cat((picture, picture)))
    torch.testing.assert_close(probs, GUIDED.probabilities(*logits.chunk(2)), rtol=1e-5, atol=1e-5)


def test_rewinding_means_it_never_happened(tiny_backbone: RasterTransformer) -> None:
    tokens, other = line(), line(5)
    fresh, session = raster_session(tiny_backbone), raster_session(tiny_backbone)
    lengths = torch.tensor([2, 5, 0])
    session.score(torch.cat((tokens, other[:, 1:5]), dim=1))
    session.rewind(lengths)
    session.score(other[:, 1:9])
    session.rewind(lengths)
    index = lengths[:, None] + torch.arange(6)
    again = session.score(tokens.gather(1, index))
    wanted = fresh.score(tokens).gather(1, index[..., None].expand(-1, -1, 11))
    torch.testing.assert_close(again, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["raster", "markov"])
def test_tree_scores_every_path_as_a_chain(tiny_backbone: RasterTransformer, kind: str) -> None:
    tokens, nodes = line(), line(6)[:, : len(TREE)]
    lengths = torch.tensor([3, 1, 2])
    nodes[:, 0] = tokens.gather(1, lengths[:, None])[:, 0]
    session = raster_session(tiny_backbone) if kind == "raster" else markov_session()
    session.score(tokens[:, :4])
    session.rewind(lengths)
    branched = session.score(nodes, TREE)
    for leaf in (3, 5, 7, 8):
        path = TREE.ancestors[leaf].nonzero()[:, 0]
        session.rewind(lengths)
        chain = session.score(nodes[:, path])
        torch.testing.assert_close(chain, branched[:, path], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["raster", "markov"])
def test_following_a_path_equals_having_read_it(tiny_backbone: RasterTransformer, kind: str) -> None:
    nodes, more = line(6)[:, : len(TREE)], line(7)[:, 1:4]
    paths = torch.tensor([[4, 6, 8], [1, 2, 3], [4, 7, 3]])
    start = torch.zeros(3, dtype=torch.long)
    kept = torch.tensor([4, 4, 3])
    results = []
    for branched in (True, False):
        session = raster_session(tiny_backbone) if kind == "raster" else markov_session()
        if branched:
            session.score(nodes, TREE)
            session.follow(paths)
        else:
            session.score(torch.cat((nodes[:, :1], nodes.gather(1, paths)), dim=1))
        session.rewind(start + kept)
        results.append(session.score(more))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_guidance_of_one_never_asks_without_the_prompt(tiny_backbone: RasterTransformer) -> None:
    tokens = line()
    plain, guided = Sampling(temperature=0.9), Sampling(guidance=1 + 1e-6, temperature=0.9)
    unguided = raster_session(tiny_backbone, plain)
    assert len(unguided._prompt.embeddings) == 3
    torch.testing.assert_close(
        unguided.score(tokens), raster_session(tiny_backbone, guided).score(tokens), rtol=1e-4, atol=1e-5
    )


def test_guidance_combines_both_rows(tiny_backbone: RasterTransformer) -> None:
    tokens = line()
    session = raster_session(tiny_backbone)
    halves = [Prompt(half) for half in session._prompt.embeddings.chunk(2)]
    parts = [RasterSession(tiny_backbone, session.layout, half, half, Sampling()) for half in halves]
    with torch.no_grad():
        logits = []
        for part in parts:
            part.open(1)
            logits.append(tiny_backbone(tokens, part._cache))
    wanted = ((logits[1] + 2.5 * (logits[0] - logits[1])) / 0.9).softmax(-1)
    torch.testing.assert_close(session.score(tokens), wanted, rtol=1e-4, atol=1e-5)


def test_known_positions_are_certain(tiny_backbone: RasterTransformer) -> None:
    known = torch.full((3, 12), -1)
    known[0, 3], known[1, 11], known[2, 5] = 7, 0, 10
    tokens = line()
    free, bound = raster_session(tiny_backbone).score(tokens), raster_session(tiny_backbone, known=known).score(tokens)
    for row in range(3):
        for position in range(12):
            law, token = bound[row, position], int(known[row, position])
            if token < 0:
                assert torch.equal(law, free[row, position])
            else:
                assert float(law[token]) == 1 and float(law.sum()) == 1


def test_known_positions_are_found_after_a_rewind_and_on_a_tree(tiny_backbone: RasterTransformer) -> None:
    known = torch.full((3, 12), -1)
    known[:, 4] = torch.tensor([1, 2, 3])
    session = raster_session(tiny_backbone, known=known)
    session.score(line()[:, :4])
    session.rewind(torch.tensor([3, 2, 1]))
    probs = session.score(line(6)[:, : len(TREE)], TREE)
    certain = (probs.amax(-1) == 1).nonzero().tolist()
    depths = dict(enumerate(TREE.depths))
    assert certain == [[row, node] for row in range(3) for node in depths if depths[node] == row + 1]


def test_known_tokens_of_another_shape_are_refused(tiny_backbone: RasterTransformer) -> None:
    with pytest.raises(SizeError, match=r"\[3, 12\]"):
        raster_session(tiny_backbone, known=torch.zeros(3, 11, dtype=torch.long))
