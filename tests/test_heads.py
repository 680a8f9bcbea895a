"""Heads on a backbone: where they start, what they see, and what they refuse."""

import pytest
import torch

from mmgen.backbones.heads import KINDS, TokenHeads, token_above
from mmgen.backbones.raster import RasterTransformer
from mmgen.checkpoints.folder import load_model
from mmgen.errors import OptionError, SizeError, WeightsError
from mmgen.training.folders import write_model


@pytest.fixture
def make_heads(tiny_backbone):
    """Builds heads of a kind; trained ones have random weights."""

    def make(kind: str, trained: bool = True) -> TokenHeads:
        heads = TokenHeads(size=tiny_backbone.config.size, hidden_size=24, depths=3, kind=kind)
        generator = torch.Generator().manual_seed(1)
        for weight in heads.parameters() if trained else ():
            weight.data.normal_(0, 0.3, generator=generator)
        return heads.requires_grad_(False)

    return make


@pytest.fixture
def picture(tiny_backbone):
    """Features [2, 12, C] and tokens [2, 12] of two pictures."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(11, (2, 12), generator=generator)
    condition = torch.randn(2, 2, 32, generator=generator)
    with torch.no_grad():
        return tiny_backbone.teacher_forced_features(condition, tokens), tokens


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_heads_say_what_the_backbone_says(kind, make_heads, tiny_backbone, picture):
    heads, (features, tokens) = make_heads(kind, trained=False), picture
    for depth in (1, 2, 3):
        path, position = tokens[:, None, :depth].expand(-1, 12, -1), torch.arange(12).expand(2, -1)
        logits = heads.logits(tiny_backbone, features, depth, path, position, tokens)
        torch.testing.assert_close(logits, tiny_backbone.head(features))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 1, 4)])
def test_any_leading_shape(kind, leading, make_heads, tiny_backbone):
    heads = make_heads(kind)
    generator = torch.Generator().manual_seed(3)
    for depth in (1, 2, 3):
        features = torch.randn(*leading, 32, generator=generator)
        path = torch.randint(11, (*leading, depth), generator=generator)
        position = torch.randint(12, leading, generator=generator)
        above = torch.randint(12, leading, generator=generator)
        logits = heads.logits(tiny_backbone, features, depth, path, position, above)
        assert logits.shape == (*leading, 11)
        for index in torch.ones(leading).nonzero().tolist():
            one = tuple(index)
            alone = heads.logits(tiny_backbone, features[one], depth, path[one], position[one], above[one])
            torch.testing.assert_close(alone, logits[one])


def test_hydra_sees_every_token_of_the_path_and_medusa_none(make_heads, tiny_backbone, picture):
    feature, place, above = picture[0][0, 4], torch.tensor(7), torch.tensor(5)
    path = torch.tensor([3, 1, 4])
    for step in range(3):
        other = path.clone()
        other[step] = 9
        for kind, sees in (("hydra", True), ("medusa", False)):
            heads = make_heads(kind)
            left, right = (heads.logits(tiny_backbone, feature, 3, tokens, place, above) for tokens in (path, other))
            assert torch.equal(left, right) != sees


@pytest.mark.parametrize("kind", KINDS)
def test_heads_see_the_place_they_predict_and_what_is_above(kind, make_heads, tiny_backbone, picture):
    heads, feature, path = make_heads(kind), picture[0][0, 4], torch.tensor([3])

    def say(place: int, above: int) -> torch.Tensor:
        return heads.logits(tiny_backbone, feature, 1, path, torch.tensor(place), torch.tensor(above))

    assert not torch.equal(say(5, 2), say(6, 2))
    assert not torch.equal(say(5, 2), say(5, 3))
    assert torch.equal(say(11, 2), say(20, 2))  # past the end counts as the end


def test_the_token_above(tiny_backbone):
    tokens = torch.arange(24).view(2, 12)  # grids of 3 rows and 4 columns
    positions = torch.tensor([[0, 3, 4], [7, 11, 30]])
    assert token_above(tiny_backbone, tokens, positions).tolist() == [[11, 11, 0], [15, 19, 19]]


@pytest.mark.parametrize("kind", KINDS)
def test_along_a_picture_as_one_by_one(kind, make_heads, tiny_backbone, picture):
    heads, (features, tokens) = make_heads(kind), picture
    for depth in (1, 3):
        whole = heads.teacher_forced(tiny_backbone, features, depth, tokens)
        assert whole.shape == (2, 12 - depth, 11)
        for place in range(depth, 12):  # the feature at n predicts token n; this head the one `depth` further
            start = place - depth
            path = tokens[1, start:place]
            above = tokens[1, place - 4] if place >= 4 else torch.tensor(tiny_backbone.begin_token)
            alone = heads.logits(tiny_backbone, features[1, start], depth, path, torch.tensor(place), above)
            torch.testing.assert_close(whole[1, start], alone)


def test_refusals(make_heads, tiny_backbone, picture):
    heads, feature, place = make_heads("hydra"), picture[0][0, 0], torch.tensor(3)
    with pytest.raises(OptionError, match="medusa, hydra"):
        TokenHeads(size=32, kind="eagle")
    with pytest.raises(OptionError, match="depths"):
        TokenHeads(size=32, depths=0)
    for depth in (0, 4):
        with pytest.raises(OptionError, match="from 1 to 3"):
            heads.logits(tiny_backbone, feature, depth, torch.zeros(depth, dtype=torch.long), place, place)
    with pytest.raises(SizeError, match="2"):
        heads.logits(tiny_backbone, feature, 2, torch.zeros(3, dtype=torch.long), place, place)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_come_back_from_their_folder(kind, make_heads, tiny_backbone, picture, tmp_path):
    heads, (features, tokens) = make_heads(kind), picture
    write_model(heads, tmp_path / "heads")
    loaded = load_model(TokenHeads, tmp_path / "heads")
    assert loaded.kind == kind and not any(weight.requires_grad for weight in loaded.parameters())
    expected = heads.teacher_forced(tiny_backbone, features, 2, tokens)
    assert torch.equal(loaded.teacher_forced(tiny_backbone, features, 2, tokens), expected)
    with pytest.raises(WeightsError):
        load_model(RasterTransformer, tmp_path / "heads")
