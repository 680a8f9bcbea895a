"""The pipeline as a user of diffusers expects it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

import mmgen
from mmgen import catalog, decoding
from mmgen.errors import MmgenError, OptionError, PromptError, SizeError, UnknownNameError, WeightsError
from mmgen.pipelines.seeds import choose_seeds
from mmgen.pipelines.text_to_image import TextToImagePipeline
from mmgen.scenes.objects import CHARACTERS


@pytest.fixture
def saved(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def pixels(image):
    return np.asarray(image)


def test_a_call_returns_pictures_and_statistics(tiny_pipeline):
    out = tiny_pipeline(["a cat", "two stars"], seed=[1, 2], decoder="speculative-jacobi")
    assert [image.size for image in out.images] == [(16, 16)] * 2
    assert [(s.prompt, s.seed, s.decoder, s.law) for s in out.statistics] == [
        ("a cat", 1, "speculative-jacobi", "exact"),
        ("two stars", 2, "speculative-jacobi", "exact"),
    ]
    for item in out.statistics:
        assert item["tokens"] == 16 and 1 <= item["evaluations"] <= 16 and item["complete"] and item["seconds"] > 0
        assert item.tokens_per_evaluation == item.tokens / item.evaluations
        assert item.options == decoding.make("speculative-jacobi").options()
        assert set(item.sampling) == {"guidance", "temperature", "top_k", "top_p"}


@pytest.mark.parametrize("decoder", decoding.decoders())
def test_a_batch_is_its_single_calls(tiny_pipeline, decoder):
    prompts, seeds = ["a cat", "two stars", "a dog above a tree on a red background"], [5, 6, 5]
    together = tiny_pipeline(prompts, seed=seeds, decoder=decoder, guidance=2.0)
    for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        alone = tiny_pipeline(prompt, seed=seed, decoder=decoder, guidance=2.0)
        assert (pixels(alone.images[0]) == pixels(together.images[index])).all()
        assert alone.statistics[0].evaluations == together.statistics[index].evaluations


def test_several_pictures_of_a_prompt_count_the_seed_up(tiny_pipeline):
    out = tiny_pipeline(["a cat", "a dog"], seed=7, num_images_per_prompt=2)
    assert [(s.prompt, s.seed) for s in out.statistics] == [("a cat", 7), ("a cat", 8), ("a dog", 7), ("a dog", 8)]
    again = tiny_pipeline("a cat", seed=8)
    assert (pixels(again.images[0]) == pixels(out.images[1])).all()


def test_seeds():
    assert choose_seeds([3, 9], None, 2, 2) == [3, 4, 9, 10]
    assert choose_seeds([1, 2, 3, 4], None, 2, 2) == [1, 2, 3, 4]
    drawn = choose_seeds(None, torch.Generator().manual_seed(0), 2, 1)
    assert drawn == choose_seeds(None, torch.Generator().manual_seed(0), 2, 1) and drawn[0] != drawn[1]
    assert choose_seeds(None, None, 1, 1) != choose_seeds(None, None, 1, 1)
    for seed in ([1], [1, 2, 3], -1, 2**63, "7", 1.5, True, [1, -1]):
        with pytest.raises(OptionError):
            choose_seeds(seed, None, 2, 1)
    with pytest.raises(OptionError, match="2 generators"):
        choose_seeds(None, [torch.Generator()] * 2, 3, 1)


def test_output_types(tiny_pipeline):
    def draw(kind):
        return tiny_pipeline("a cat", seed=1, output_type=kind).images

    picture, array, tensor, codes = (draw(kind) for kind in ("pil", "np", "pt", "latent"))
    assert isinstance(picture[0], Image.Image) and array.shape == (1, 16, 16, 3) and tensor.shape == (1, 3, 16, 16)
    assert codes.shape == (1, 1, 4, 4) and codes.min() >= 0
    assert (np.round(array[0] * 255) == pixels(picture[0])).all()
    assert torch.equal(tensor, torch.from_numpy(array).permute(0, 3, 1, 2))
    assert torch.equal((tiny_pipeline.tokenizer.decode(codes) / 2 + 0.5), tensor)
    images, statistics = tiny_pipeline("a cat", seed=1, return_dict=False)
    assert (pixels(images[0]) == pixels(picture[0])).all() and statistics[0].seed == 1


def test_callbacks_see_every_evaluation_and_can_interrupt(tiny_pipeline):
    seen = []

    def record(pipe, step, committed, tensors):
        seen.append((step, committed, tensors["tokens"].shape))
        if len(seen) == 3:
            pipe.interrupt = True

    out = tiny_pipeline("a cat", seed=1, decoder="autoregressive", callback_on_step_end=record)
    assert seen == [(1, 1, (1, 16)), (2, 2, (1, 16)), (3, 3, (1, 16))]
    assert not out.statistics[0].complete and out.statistics[0].tokens == 3
    seen.clear()
    tiny_pipeline("a cat", seed=1, decoder="autoregressive", callback_on_step_end=lambda *a: seen.append(a))
    assert len(seen) == 16  # an interruption does not outlive its call


def test_drawing_step_by_step(tiny_pipeline):
    whole = tiny_pipeline("a cat", seed=4).images[0]
    steps = list(tiny_pipeline.render(drawing)[0] for drawing in tiny_pipeline.draw("a cat", seed=4))
    assert (pixels(steps[-1]) == pixels(whole)).all()
    first = next(tiny_pipeline.draw("a cat", seed=4, decoder="autoregressive"))
    picture = pixels(tiny_pipeline.render(first)[0])
    assert (picture[4:] == 128).all() and (picture[:4, 4:] == 128).all()


def test_known_codes_are_kept(tiny_pipeline):
    codes = tiny_pipeline("a cat", seed=1, output_type="latent").images
    known = torch.where(torch.rand(codes.shape, generator=torch.Generator().manual_seed(0)) < 0.5, codes, -1)
    for decoder in decoding.decoders():
        out = tiny_pipeline("a dog", seed=2, decoder=decoder, known=known, output_type="latent")
        assert bool(((out.images == known) | (known < 0)).all())
        free = int((known < 0).sum())
        assert out.statistics[0].tokens == free and out.statistics[0].evaluations <= free


def test_a_decoder_is_swapped_by_assignment(tiny_pipeline):
    before = tiny_pipeline.decoder
    tiny_pipeline.decoder = decoding.make("coupled-jacobi", window=4)
    assert tiny_pipeline("a cat", seed=1).statistics[0].decoder == "coupled-jacobi"
    tiny_pipeline.decoder = before


@pytest.mark.parametrize("decoder", decoding.decoders())
def test_saved_and_reloaded(tiny_pipeline, tmp_path, decoder):
    before = tiny_pipeline.decoder
    tiny_pipeline.decoder = decoding.make(decoder)
    tiny_pipeline.save_pretrained(tmp_path)
    again = TextToImagePipeline.from_pretrained(tmp_path)
    assert isinstance(again, DiffusionPipeline) and again.decoder == tiny_pipeline.decoder
    assert again.revision == tiny_pipeline.revision
    assert again.config.sampling == tiny_pipeline.config.sampling
    left, right = (pipe("a cat", seed=3).images[0] for pipe in (tiny_pipeline, again))
    assert (pixels(left) == pixels(right)).all()
    assert all(path.stat().st_mode & 0o044 for path in tmp_path.rglob("*.safetensors"))
    tiny_pipeline.decoder = before


PROMPTS = {
    "image": "a cat on a blue background",
    "video": "a cat moves up on a blue background",
    "audio": "a piano plays a rising C major scale, fast",
}


@pytest.mark.parametrize("name", sorted(catalog.pipelines()))
def test_every_shipped_pipeline_loads_saves_reloads_and_draws(name, tmp_path):
    pipe = mmgen.load(name)
    prompt = PROMPTS[pipe.medium]
    pipe.save_pretrained(tmp_path / "copy")
    program = (
        "import sys, mmgen, numpy as np\n"
        "np.save(sys.argv[2], mmgen.load(sys.argv[1])(sys.argv[3], seed=3, output_type='np')[0])\n"
    )
    file = tmp_path / "drawn.npy"
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "copy"), str(file), prompt], check=True, cwd=tmp_path)
    assert np.abs(np.load(file) - pipe(prompt, seed=3, output_type="np")[0]).max() < 1e-3


def test_shipped_jacobi_draws_the_picture_of_the_seed():
    pipe = mmgen.load("emoji-64")
    reference = pipe("a dog above a star on a red background", seed=11, decoder="autoregressive", output_type="latent")
    fast = pipe("a dog above a star on a red background", seed=11, decoder="jacobi", output_type="latent")
    assert torch.equal(reference.images, fast.images)
    assert fast.statistics[0].evaluations <= reference.statistics[0].evaluations / 3


@pytest.mark.parametrize("name", sorted(set(catalog.tokenizers()) - {"sound-codes"}))
def test_every_shipped_tokenizer_loads_and_round_trips(name):
    from mmgen.scenes.motion import MOVING_OBJECTS
    from mmgen.training.clips import draw_clips
    from mmgen.training.pictures import draw_batch

    tokenizer, moving = mmgen.load(name), name == "moving-patches"
    _, shown = draw_clips((9,), 8, MOVING_OBJECTS, True) if moving else draw_batch((9,), 64, tuple(CHARACTERS), True)
    with torch.no_grad():
        codes = tokenizer.encode(shown)
        error = (tokenizer.decode(codes) - shown).square().mean() / 4
    shapes = {"emoji-patches": (64, 1, 16, 16), "emoji-scales": (64, 341), "moving-patches": (8, 1, 5, 8, 8)}
    assert codes.shape == shapes[name] and codes.dtype == torch.int64
    assert -10 * error.log10() > 25
    if not moving:  # that one takes clips of any size
        with pytest.raises(SizeError, match="64"):
            tokenizer.encode(shown[:, :, :60])


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"prompt": ""}, PromptError, "empty"),
        ({"prompt": []}, PromptError, "no prompt"),
        ({"prompt": [3]}, PromptError, "int"),
        ({"prompt": None}, PromptError, "NoneType"),
        ({"prompt": b"a cat"}, PromptError, "bytes"),
        ({"guidance_scale": 3.0}, UnknownNameError, "did you mean 'guidance'"),
        ({"seed": 1, "generator": torch.Generator()}, OptionError, "left out beside a generator"),
        ({"decoder": "jacoby"}, UnknownNameError, "did you mean 'jacobi'"),
        ({"decoder": 3}, OptionError, "a decoder or its name"),
        ({"decoder": "jacobi", "decoder_options": {"windw": 3}}, OptionError, "window"),
        ({"decoder": "jacobi", "decoder_options": {"window": 0}}, OptionError, "from 1 to 256"),
        ({"decoder": "jacobi", "decoder_options": {"window": True}}, OptionError, "whole number"),
        ({"decoder": "jacobi", "decoder_options": {"drafter": "no"}}, UnknownNameError, "uniform"),
        ({"guidance": -1}, OptionError, "0 to 50"),
        ({"guidance": float("nan")}, OptionError, "0 to 50"),
        ({"temperature": 11}, OptionError, "0 to 10"),
        ({"top_k": 1.5}, OptionError, "whole number"),
        ({"top_p": 0}, OptionError, "above 0"),
        ({"seed": [1, 2]}, OptionError, "2 seeds"),
        ({"height": 18}, SizeError, "stride 4"),
        ({"width": 32}, SizeError, "the size this model draws"),
        ({"num_images_per_prompt": 0}, OptionError, "from 1 to 256"),
        ({"output_type": "jpg"}, OptionError, "pil, np, pt, latent"),
        ({"known": torch.zeros(1, 1, 3, 3)}, SizeError, "4, 4"),
        ({"known": torch.full((1, 1, 4, 4), 99)}, OptionError, "0 to 31"),
        ({"callback_on_step_end_tensor_inputs": ["latents"]}, OptionError, "tokens"),
    ],
)
def test_bad_arguments(tiny_pipeline, arguments, error, words):
    with pytest.raises(error, match=words.replace("[", r"\[")) as caught:
        tiny_pipeline(**{"prompt": "a cat", **arguments})
    assert isinstance(caught.value, MmgenError) and "\n" not in str(caught.value)


def damage(folder, how):
    weights = next((folder / "transformer").glob("*.safetensors"))
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "pickle":
        weights.unlink()
        torch.save({"a": torch.zeros(1)}, folder / "transformer" / "model.bin")
    elif how == "pickle under another name":
        torch.save({"a": torch.zeros(1)}, weights)
    elif how == "wrong shape":
        state = load_file(weights)
        save_file(state | {"head.weight": torch.zeros(3, 3)}, weights)
    elif how == "missing key":
        state = load_file(weights)
        del state["head.weight"]
        save_file(state, weights)
    elif how == "extra key":
        save_file(load_file(weights) | {"tail.weight": torch.zeros(1)}, weights)
    elif how == "no weights":
        weights.unlink()
    elif how == "two weight files":
        shutil.copy(weights, weights.with_name("other.safetensors"))
    elif how == "no configuration":
        (folder / "transformer" / "config.json").unlink()
    elif how == "bad configuration":
        (folder / "transformer" / "config.json").write_text("{")
    elif how == "impossible configuration":
        path = folder / "transformer" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"size": "large"}))
    elif how == "no component":
        shutil.rmtree(folder / "tokenizer")


@pytest.mark.parametrize(
    "how, words",
    [
        ("truncated", "damaged"),
        ("pickle", "can run code"),
        ("pickle under another name", "damaged or not a safetensors"),
        ("wrong shape", r"head.weight has shape \[3, 3\], the configuration needs"),
        ("missing key", "1 missing keys .head.weight"),
        ("extra key", "1 unexpected keys .tail.weight"),
        ("no weights", "no safetensors file"),
        ("two weight files", "2 safetensors files"),
        ("no configuration", "cannot be read"),
        ("bad configuration", "cannot be read"),
        ("impossible configuration", "does not describe a RasterTransformer"),
        ("no component", "cannot be read"),
    ],
)
def test_damaged_folders(saved, how, words):
    damage(saved, how)
    with pytest.raises(WeightsError, match=words) as caught:
        mmgen.load(str(saved))
    assert "\n" not in str(caught.value)


def test_unknown_names(saved):
    with pytest.raises(UnknownNameError, match="did you mean 'emoji-64'"):
        mmgen.load("emoji-65")
    for file, key, value in (
        ("decoder/decoder_config.json", "_class_name", "Popen"),
        ("model_index.json", "_class_name", "os.system"),
    ):
        path = saved / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
        with pytest.raises(UnknownNameError, match=value):
            mmgen.load(str(saved))


@pytest.fixture
def companions(tiny_pipeline):
    """The tiny pipeline with a draft model and heads of its own, all with random weights."""
    from mmgen.backbones.heads import TokenHeads
    from mmgen.backbones.raster import RasterTransformer

    parts = {name: getattr(tiny_pipeline, name) for name in ("tokenizer", "text_encoder", "transformer", "decoder")}
    draft = RasterTransformer(
        32, 4, 4, parts["text_encoder"].length, size=16, layers=1, heads=2, hidden_size=32, condition_size=32
    )
    pipe = TextToImagePipeline(
        **parts, sampling={"guidance": 1.5}, draft=draft.eval(), heads=TokenHeads(32, depths=2).eval()
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("drafter", ["draft-model", "heads"])
def test_a_draft_model_and_heads_are_components(tiny_pipeline, companions, tmp_path, drafter):
    options = {"drafter": drafter}
    out = companions("a cat", seed=3, decoder="seeded-speculative", decoder_options=options)
    assert (out.statistics[0].draft_evaluations > 0) == (drafter == "draft-model")
    reference = tiny_pipeline("a cat", seed=3, decoder="autoregressive")
    assert (pixels(out.images[0]) == pixels(reference.images[0])).all()
    companions.save_pretrained(tmp_path)
    again = mmgen.load(str(tmp_path))
    assert again.revision == companions.revision != tiny_pipeline.revision
    redrawn = again("a cat", seed=3, decoder="speculative", decoder_options=options)
    drawn = companions("a cat", seed=3, decoder="speculative", decoder_options=options)
    assert (pixels(redrawn.images[0]) == pixels(drawn.images[0])).all()
    with pytest.raises(OptionError, match="a pipeline with"):
        tiny_pipeline("a cat", seed=3, decoder="speculative", decoder_options=options)


def test_weights_and_cache_in_8_bits(saved, tmp_path):
    pytest.importorskip("torchao", reason="weights in 8 bits need mmgen[quantisation]")
    pipe = mmgen.load(str(saved))
    before, drawn = pipe.revision, pipe("a cat", seed=3, output_type="np").images
    assert pipe.quantise() is pipe
    pipe.cache_bits = 8
    assert pipe.revision != before
    for decoder in ("autoregressive", "jacobi", "row-parallel", "proactive"):
        quantised = pipe(["a cat", "two dogs"], seed=3, decoder=decoder, output_type="np")
        assert all(item.complete for item in quantised.statistics) and quantised.images.shape[1:] == drawn.shape[1:]
    with pytest.raises(OptionError, match="8 bits"):
        pipe.save_pretrained(tmp_path / "never")
    assert not (tmp_path / "never").exists()
    for wrong in (4, "8"):
        with pytest.raises(OptionError, match="cache_bits"):
            pipe.cache_bits = wrong
        with pytest.raises(OptionError, match="bits"):
            pipe.quantise(wrong)
