"""Published files of neighbouring autoregression: read as they are, and saying what the authors' code says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from planes.conftest import class_prompts
from safetensors.torch import load_file
from torch import Tensor

from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.checkpoints import llamagen, nar, published
from mmgen.checkpoints.folder import Weightless
from mmgen.checkpoints.weights import Weights
from mmgen.decoding import planes
from mmgen.errors import OptionError, WeightsError
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.planes import NeighbourSession

TOLERANCE = 1e-4


def session(model: NeighbourTransformer, case: dict[str, Tensor], guidance: float) -> NeighbourSession:
    prompts = class_prompts(model, case["cond"])
    return NeighbourSession(model, *prompts, Sampling(guidance=guidance, temperature=0))


def grid(model: NeighbourTransformer, raster: Tensor) -> Tensor:
    """Tokens in raster order as a line of planes."""
    return model.layout.flatten(raster.view(len(raster), 1, *model.layout.sizes))


@pytest.mark.parametrize("name", ["image", "video"])
def test_teacher_forced_logits_are_the_authors(
    name: str, nar_goldens: Path, picture_model: NeighbourTransformer, video_model: NeighbourTransformer
) -> None:
    model = picture_model if name == "image" else video_model
    case = load_file(nar_goldens / f"{name}_train.safetensors")
    logits = model.teacher_forced(model.class_prompt(case["cond"]).embeddings, grid(model, case["z"]))
    torch.testing.assert_close(logits, case["logits"][:, model.layout.order], rtol=0, atol=TOLERANCE)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), grid(model, case["z"]).flatten())
    torch.testing.assert_close(loss, case["loss"][0], rtol=0, atol=TOLERANCE)


def test_masks_are_the_authors(nar_goldens: Path, picture_model: NeighbourTransformer, video_model) -> None:
    for model, file, key in (
        (picture_model, "image_mask", "proximity_mask_4x4_T1"),
        (picture_model, "image_train", "mask"),
        (video_model, "video_train", "mask"),
    ):
        theirs = load_file(nar_goldens / f"{file}.safetensors")[key]
        seen = torch.zeros(1 + model.layout.length, dtype=torch.long)
        seen[0], seen[1 + model.layout.order] = -1, model.layout.levels
        size = len(seen)
        assert torch.equal(seen[:, None] >= seen, theirs[:size, :size].bool()), file


CASES = {"image_c2i_greedy_cfg1": 1.0, "image_c2i_greedy_cfg2": 2.0, "video_greedy_cfg1": 1.0}


@pytest.mark.parametrize("name", CASES)
def test_logits_of_every_plane_are_the_authors(name: str, nar_goldens: Path, picture_model, video_model) -> None:
    model = picture_model if name.startswith("image") else video_model
    case = load_file(nar_goldens / f"{name}.safetensors")
    writing = session(model, case, CASES[name])
    folded = model.layout.fold(grid(model, case["tokens"]))
    scored: list[Tensor] = []
    logits = NeighbourTransformer.logits

    def remember(*arguments: object) -> Tensor:
        scored.append(logits(*arguments))
        return scored[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NeighbourTransformer, "logits", remember)
        writing.open(1)
        for plane in range(model.layout.count):
            writing.rewind(plane)
            writing.score(folded[:, max(plane - 1, 0), None])
    for plane, ours in enumerate(scored):
        torch.testing.assert_close(ours, case[f"raw.{plane:03d}"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("decoder", ["plane-wise", "jacobi", "speculative-jacobi"])
@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_are_the_authors(name: str, decoder: str, nar_goldens: Path, picture_model, video_model) -> None:
    model = picture_model if name.startswith("image") else video_model
    case = load_file(nar_goldens / f"{name}.safetensors")
    generation = planes.make(decoder).generate(session(model, case, CASES[name]), Rng([0, 1]))
    assert torch.equal(model.layout.unflatten(generation.tokens).flatten(1), case["tokens"])
    forwards = json.loads((nar_goldens / f"{name[:5]}_meta.json").read_text())["cases"][name]["forwards"]
    if decoder == "plane-wise":
        assert generation.evaluations.tolist() == [forwards] * 2
    assert int(generation.evaluations.max()) <= forwards


def published_sizes(goldens: Path, kind: str) -> list:
    described = json.loads((goldens / "nar" / f"{kind}_published_shapes.json").read_text())
    return [(name, about) for name, about in described.items() if name.startswith(("GPT", "llama"))]


def without_numbers(config: dict) -> tuple[NeighbourTransformer, dict[str, tuple[int, ...]]]:
    """A model of a size, and the names and shapes of the published file it is read from."""
    with Weightless():
        model = NeighbourTransformer(**config)
    state, shapes = model.state_dict(), {}
    for ours, theirs in nar.arrangement(config).items():
        whole = tuple(state[ours].shape)
        for name in theirs:
            shapes[name] = (whole[0] // len(theirs), *whole[1:])
    return model, shapes


@pytest.mark.parametrize("kind", ["image", "video"])
def test_every_published_size_is_ours(kind: str, goldens: Path) -> None:
    sizes = {name: (layers, size, heads) for name, (layers, size, heads) in llamagen.SIZES.items()}
    sizes |= {"M": (18, 1024, 16), "S": (12, 384, 6), "LP": (30, 1280, 20)}
    for name, about in published_sizes(goldens, kind):
        layers, size, heads = sizes[re.split("[-/]", name.removeprefix("llama-abs-").removeprefix("GPT-"))[0]]
        assert nar.HEADS[size] == heads
        hidden = -(-(8 * size // 3) // 256) * 256
        config = {"size": size, "layers": layers, "heads": heads, "hidden_size": hidden}
        if kind == "video":
            config |= {"vocabulary_size": 8192, "sizes": (4, 16, 16), "classes": 101, "positions": "learned"}
        elif name.endswith("t2i"):
            config |= {"classes": None, "caption_size": 2048, "condition_length": 120}
        model, shapes = without_numbers({"classes": 1000, "sizes": (16, 16), "positions": "rotary"} | config)
        assert len(model.blocks) == about["blocks"], name
        assert sum(weight.numel() for weight in model.parameters()) == about["params"], name
        assert len(shapes) == about["n_keys"], name
        if "keys" in about:
            assert shapes == {key: tuple(shape) for key, shape in about["keys"].items()}, name


def test_the_video_container_is_opened(nar_goldens: Path, video_model: NeighbourTransformer, tmp_path: Path) -> None:
    state = load_file(nar_goldens / "video_ar.safetensors")
    content = {"model": {"name": "larp_ar", "args": {"dim": 48}, "sd": state}, "epoch": 3}
    torch.save(content, tmp_path / "video.pth")
    again = nar.load_transformer(tmp_path / "video.pth", heads=4, sizes=(2, 4, 4))
    for name, tensor in video_model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_what_old_files_hold_besides_is_left_out(nar_goldens: Path, picture_model, tmp_path: Path) -> None:
    state = load_file(nar_goldens / "image_c2i.safetensors")
    more = {"freqs_cis": torch.zeros(17, 8, 2), "layers.3.attention.kv_cache.k_cache": torch.zeros(1)}
    torch.save({"model": state | more}, tmp_path / "c2i.pt")
    again = nar.load_transformer(tmp_path / "c2i.pt", heads=4, sizes=(4, 4))
    assert torch.equal(again.axis_heads[0].weight, picture_model.axis_heads[0].weight)
    torch.save({"model": state | {"extra.weight": torch.zeros(1)}}, tmp_path / "c2i.pt")
    with pytest.raises(WeightsError, match=r"extra\.weight"):
        nar.load_transformer(tmp_path / "c2i.pt", heads=4)


def test_files_are_told_apart(nar_goldens: Path, goldens: Path) -> None:
    picture, video, other = (nar_goldens / f"{name}.pt" for name in ("image_c2i", "video_ar", "larp_tokenizer"))
    assert nar.recognise(picture) and not nar.recognise_video(picture)
    assert nar.recognise_video(video) and not nar.recognise(video)
    raster = goldens / "llamagen" / "c2i.safetensors"
    assert not any(each(path) for each in (nar.recognise, nar.recognise_video) for path in (other, raster))
    assert published.recognise(picture) is nar
    assert published.recognise(raster) is llamagen


def test_what_the_file_does_not_say_is_asked_for(nar_goldens: Path) -> None:
    picture, video = Weights.open(nar_goldens / "image_c2i.pt"), Weights.open(nar_goldens / "video_ar.pt")
    with pytest.raises(OptionError, match="heads"):
        nar.configuration(picture)
    with pytest.raises(OptionError, match="32 together"):
        nar.configuration(video, heads=4)
    with pytest.raises(WeightsError, match="medusa_output"):
        nar.configuration(Weights.open(nar_goldens / "larp_tokenizer.pt"))
    with pytest.raises(WeightsError, match="abs_pe"):
        nar.configuration(video.renamed(lambda name: None if name == "abs_pe" else name), heads=4)
