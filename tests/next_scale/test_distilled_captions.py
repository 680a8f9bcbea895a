"""Students that draw captions: what they say, what of noise they read, and the recipe that makes one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from next_scale.scenes import COLOURS, PATCHES, captioned, pyramid, random_weights, scene_pipeline
from next_scale.test_training import SHAPE, Stop
from safetensors import safe_open

from mmgen.backbones.captioned_scales import CaptionedScaleTransformer
from mmgen.backbones.captioned_student import CaptionedStudent, Noised
from mmgen.checkpoints.folder import load_model
from mmgen.decoding import scales, students
from mmgen.decoding.scales.scale_wise import ScaleWise
from mmgen.decoding.students.distilled import normal_noise
from mmgen.errors import OptionError, PromptError, UnknownNameError
from mmgen.pipelines import loading
from mmgen.pipelines.text_to_image_distilled import TextToImageDistilledPipeline
from mmgen.pipelines.text_to_image_scales import TextToImageScalesPipeline
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.scenes.encoder import SceneEncoder
from mmgen.sessions.distilled import CaptionedStudentSession, read_by_student
from mmgen.sessions.scales import ScaleSession
from mmgen.training import recipes
from mmgen.training.distilled import Turn, make_pairs, train_student
from mmgen.training.loop import Budget
from mmgen.training.scales import shape
from mmgen.training.transport import taught_tokens, transport

CAPTIONS = ["a cat on a blue background", "a small apple above a large dog"]
COUNT, CHANNELS = 21, 48
NAME = "emoji-64-scales-distilled"


def student_of(teacher, spread: float = 0.3) -> CaptionedStudent:
    """A student whose noise matters."""
    student = CaptionedStudent.of(teacher)
    own = [student.noise_embedding, student.missing_embedding]
    for seed, part in enumerate(own):
        random_weights(part, seed, spread)
    return student.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def teacher():
    return scene_pipeline()


@pytest.fixture(scope="module")
def pipe(teacher):
    student = student_of(teacher.transformer)
    decoder, sampling = students.make("distilled", starts="0, 2", split=3), teacher.config.sampling
    made = TextToImageDistilledPipeline(
        teacher.tokenizer, teacher.text_encoder, student, decoder, sampling, teacher.transformer
    )
    made.set_progress_bar_config(disable=True)
    return made


def captions(teacher) -> torch.Tensor:
    return teacher.text_encoder.encode(CAPTIONS)


def taught_session(teacher, embeddings, sampling, known=None) -> ScaleSession:
    nulls = teacher.text_encoder(teacher.text_encoder.null_ids(len(embeddings)))
    return ScaleSession(teacher.tokenizer, [teacher.transformer], embeddings, sampling, known=known, nulls=nulls)


def line_of(tokenizer) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randint(COLOURS, (2, 5), generator=generator)
    return torch.cat((coarse, COLOURS + torch.randint(PATCHES, (2, 16), generator=generator)), dim=1)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_untrained_a_student_says_of_the_next_scale_what_its_teacher_says(teacher, known):
    line = torch.full((2, COUNT), -1)
    line[:, : (0, 1, 5)[known]] = line_of(teacher.tokenizer)[:, : (0, 1, 5)[known]]
    taught = taught_session(teacher, captions(teacher), Sampling(), line)
    taught.open([0] * 3)
    for _ in range(known):
        taught.write(taught.known_here())
    student = CaptionedStudent.of(teacher.transformer)
    session = CaptionedStudentSession(teacher.tokenizer, student, captions(teacher), Sampling(), known=line)
    session.open(torch.randn(2, COUNT, CHANNELS))
    assert session.scale == known
    expected = teacher.tokenizer.embed(taught.score().argmax(-1))
    torch.testing.assert_close(session.predict(known + 1, 3), expected)


def test_tokens_depend_on_noise_of_their_own_and_smaller_scales_that_are_not_known(pipe):
    student, line = pipe.transformer, line_of(pipe.tokenizer)[:1]
    condition = student.condition(captions(pipe)[:1])
    noise = torch.randn(1, COUNT, CHANNELS, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for known, token, seen in ((0, 0, range(1)), (0, 2, range(5)), (0, 9, range(COUNT)), (2, 9, range(5, COUNT))):
        stream = student(read_by_student(pipe.tokenizer, line, noise, known, 3), condition, range(3))
        (slope,) = torch.autograd.grad(stream[0, token].sum(), noise)
        assert slope[0].abs().sum(-1).nonzero().flatten().tolist() == list(seen)
    whole = student(read_by_student(pipe.tokenizer, line, noise, 1, 3), condition, range(3))
    part = student(read_by_student(pipe.tokenizer, line, noise, 1, 2), condition, range(2))
    torch.testing.assert_close(whole[:, :5], part)


def test_a_student_reads_the_picture_of_known_scales_alone(teacher):
    tokenizer, line = teacher.tokenizer, line_of(teacher.tokenizer)
    noise = torch.zeros(2, COUNT, CHANNELS)
    read = read_by_student(tokenizer, line, noise, 2, 3).pictures
    torch.testing.assert_close(read, tokenizer.next_inputs(line))
    assert read_by_student(tokenizer, line, noise, 0, 1).pictures is None
    assert bool((read_by_student(tokenizer, line, noise, 0, 3).pictures == 0).all())
    read = read_by_student(tokenizer, line, noise, 1, 3).pictures
    changed = line.clone()
    changed[:, 1:] = line[:, 1:].roll(1, 1)
    torch.testing.assert_close(read_by_student(tokenizer, changed, noise, 1, 3).pictures, read)
    torch.testing.assert_close(read[:, :4], tokenizer.next_inputs(line)[:, :4])


def test_how_many_scales_are_missing_is_told(pipe):
    student, condition = pipe.transformer, pipe.transformer.condition(captions(pipe)[:1])
    nothing = torch.zeros(1, COUNT, CHANNELS)
    zero, two = (student(Noised(nothing[:, 1:], nothing, known), condition, range(3)) for known in (0, 2))
    assert (zero[:, 5:] - two[:, 5:]).abs().amax(-1).gt(1e-3).all()


def test_a_student_that_knows_the_answer_draws_it_in_one_evaluation():
    """Without blocks a token is the code whose direction is nearest to its own noise."""
    tokenizer, generator = pyramid(), torch.Generator().manual_seed(3)
    plain = captioned(0, layers=1)
    for block in plain.blocks:
        block.attention_out.weight.zero_()
        block.down.weight.zero_()
    for weight in (plain.begin, plain.target_embedding.weight, plain.feature_embedding.weight):
        weight.zero_()
    plain.feature_embedding.bias.zero_()
    student = CaptionedStudent.of(plain).eval().requires_grad_(False)
    student.noise_embedding.weight.copy_(torch.eye(32, CHANNELS))
    student.head.weight.normal_(generator=generator)
    session = CaptionedStudentSession(tokenizer, student, torch.zeros(2, 7, 32), Sampling())
    generation = students.make("distilled", starts="0").generate(session, Rng([4, 5]))
    scores = normal_noise(Rng([4, 5]), session.positions(), CHANNELS)[..., :32] @ student.head.weight.T
    expected = torch.cat((scores[:, :5, :COLOURS].argmax(-1), scores[:, 5:, COLOURS:].argmax(-1) + COLOURS), dim=1)
    assert torch.equal(generation.tokens, expected) and generation.evaluations.tolist() == [1, 1]


@pytest.mark.parametrize(
    "options, committed",
    [
        ({"starts": "0"}, [21]),
        ({"starts": "0, 1"}, [1, 21]),
        ({"starts": "0, 1, 2"}, [1, 5, 21]),
        ({"starts": "0, 2", "teacher": 1}, [1, 5, 21]),
    ],
)
def test_every_evaluation_is_a_picture(pipe, options, committed):
    seen = []
    for drawing in pipe.draw(CAPTIONS[0], seed=1, decoder_options=options):
        assert np.asarray(pipe.render(drawing)[0]).shape == (16, 16, 3)
        seen.append((int(drawing.generation.evaluations[0]), int(drawing.generation.committed[0])))
    assert seen == list(enumerate(committed, start=1))


def test_a_picture_depends_on_its_caption_and_seed_alone(pipe):
    def draw(caption, **given):
        return pipe(caption, output_type="latent", **{"seed": 1} | given).images

    plain = draw(CAPTIONS[0])
    assert torch.equal(draw("CAT, blue background", guidance=9.0, temperature=0.0), plain)
    assert not torch.equal(draw(CAPTIONS[1]), plain) and not torch.equal(draw(CAPTIONS[0], seed=2), plain)
    both = draw(CAPTIONS, seed=[1, 5])
    assert torch.equal(both[:1], plain) and torch.equal(both[1:], draw(CAPTIONS[1], seed=5))
    assert plain[0, :5].max() < COLOURS <= plain[0, 5:].min()


def test_the_teacher_draws_in_between_as_it_does_alone(pipe, teacher):
    own = teacher(CAPTIONS[0], seed=4, output_type="latent", temperatures="1, 0.5, 1").images
    options = {"starts": "0, 2", "teacher": 2}
    taught = pipe(CAPTIONS[0], seed=4, output_type="latent", temperatures="1, 0.5, 1", decoder_options=options).images
    assert torch.equal(own[:, :5], taught[:, :5])


def test_known_codes_are_kept(pipe):
    codes = pipe(CAPTIONS[0], seed=1, output_type="latent").images
    known = torch.full((1, COUNT), -1)
    known[0, :5], known[0, 9] = codes[0, :5], COLOURS + (codes[0, 9] - COLOURS + 1) % PATCHES
    out = pipe(CAPTIONS[0], seed=1, known=known, output_type="latent")
    assert out.images[0, 9] == known[0, 9] and out.statistics[0].evaluations == 1
    rest = torch.arange(COUNT) != 9
    assert torch.equal(out.images[:, rest], codes[:, rest])


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"decoder_options": {"split": 2}}, OptionError, "split=2.*3 or more: this student says codes alone"),
        ({"decoder_options": {"starts": "0, 3"}}, OptionError, "below 3"),
        ({"decoder": "scale-wise"}, UnknownNameError, "choose from distilled"),
        ({"prompt": "a galaxy"}, PromptError, "galaxy"),
    ],
)
def test_bad_arguments(pipe, arguments, error, words):
    with pytest.raises(error, match=words):
        pipe(**{"prompt": CAPTIONS[0]} | arguments)


def test_a_folder_draws_the_same_pictures(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    loaded = TextToImageDistilledPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.revision == pipe.revision and loaded.decoder == pipe.decoder
    options = {"starts": "0, 2", "teacher": 1}
    left, right = (made(CAPTIONS, seed=3, decoder_options=options).images for made in (pipe, loaded))
    assert [image.tobytes() for image in left] == [image.tobytes() for image in right]
    assert type(loaded.transformer) is CaptionedStudent and loaded.teacher is not None


def test_laws_of_few_codes_are_followed_as_among_all():
    generator = torch.Generator().manual_seed(0)
    codebook, noise = torch.randn(40, 3, generator=generator), torch.randn(500, 3, generator=generator)
    probs = torch.zeros(500, 40).scatter(1, torch.rand(500, 40, generator=generator).topk(4).indices, 0.25)
    whole = transport(noise, probs, codebook, 32)
    assert torch.equal(transport(noise, probs, codebook, 32, kept=4), whole)
    assert bool((probs.gather(1, transport(noise, probs, codebook, 32, kept=2)[:, None]) > 0).all())


def test_a_teacher_in_passes_draws_its_own_law(teacher):
    """Of noise, in passes, tokens come out as often as `scale-wise` draws them in the same passes."""
    tokenizer, count = teacher.tokenizer, 1500
    embeddings = captions(teacher)[:1].expand(count, -1, -1)
    session = taught_session(teacher, embeddings, Sampling(temperature=0.5))
    noise = torch.randn(count, 5, CHANNELS, generator=torch.Generator().manual_seed(2))
    taught = taught_tokens(session, noise, tokenizer.codebook, 32, passes=4, entropy=0.0)
    session.open([0, 0])
    drawn = ScaleWise(passes=4, entropy=0.0, skipped=1).generate(session, Rng(range(count))).tokens[:, :5]
    both = taught, drawn
    for token in (2, 3, 4):  # together with another: in passes, tokens of a scale depend on each other
        ours, theirs = ((drawn[:, token] * COLOURS + drawn[:, 1]).bincount(minlength=COLOURS**2) for drawn in both)
        by_chance = (2 / torch.pi * (ours + theirs)).sqrt().sum()
        assert float((ours - theirs).abs().sum()) < 1.3 * float(by_chance) + 0.02 * count


def test_training_makes_a_student_say_what_its_teacher_does(teacher, tmp_path):
    tokenizer, encoder = teacher.tokenizer, teacher.text_encoder
    pairs = {2: make_pairs(teacher, 256, 2, tmp_path, log=lambda line: None, steps=16)}
    student = CaptionedStudent.of(teacher.transformer).requires_grad_(True)

    def agreement() -> float:
        fresh = make_pairs(teacher, 64, 2, tmp_path, log=lambda line: None)
        read = read_by_student(tokenizer, fresh.tokens, fresh.noise(tokenizer), 0, 2)
        condition = student.condition(encoder(fresh.ids))
        logits = student.logits(student(read, condition, range(2)), condition)[..., :COLOURS]
        return float((logits.argmax(-1) == fresh.tokens).float().mean())

    before = agreement()
    budget = Budget(steps=60, learning_rate=5e-3, log_steps=100)
    train_student(
        tokenizer, encoder, student, pairs, [Turn(0, 2, 32)], budget, tmp_path / "s.pt", log=lambda line: None
    )
    assert agreement() > before + 0.2


@pytest.fixture
def small(monkeypatch):
    """The recipe, small enough for a test, of a small teacher of the shipped tokenizer."""
    load = loading.load
    tokenizer, encoder = load("emoji-scales"), random_weights(SceneEncoder(size=16), 1, 0.5)
    transformer = random_weights(CaptionedScaleTransformer(**shape(tokenizer), **SHAPE), 2, 0.3)
    decoder = scales.make("scale-wise", passes=8)
    teacher = TextToImageScalesPipeline(tokenizer, encoder, transformer, decoder, {"guidance": 1.25})
    monkeypatch.setattr(loading, "load", lambda name, **given: teacher if name == "emoji-64-scales" else load(name))
    changed = {
        "pairs": {2: 40, 3: 8}, "turns": (Turn(0, 2, 4), Turn(1, 3, 2)), "pictures": 2,
        "budget": Budget(steps=3, log_steps=1, save_seconds=0),
    }  # fmt: skip
    recipe = dataclasses.replace(recipes.RECIPES[NAME], **changed)
    monkeypatch.setattr(recipes, "RECIPES", {NAME: recipe})


def test_the_recipe_makes_a_pipeline(small, tmp_path):
    lines: list[str] = []
    folder = recipes.train(NAME, tmp_path / "made", tmp_path / "runs", log=lines.append)
    assert [line.split()[0] for line in lines[:-1]] == ["pairs"] * 3 + ["step"] * 3
    assert json.loads(lines[-1])["of"] == 2 and not (folder / "tokenizer").exists()
    made = TextToImageDistilledPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    output = made("a cat", seed=1, decoder_options={"starts": "0"})
    assert output.images[0].size == (64, 64) and output.statistics[0].evaluations == 1
    assert safe_open(folder / "transformer" / "model.safetensors", "pt").get_tensor("begin").dtype == torch.float16


def test_an_interrupted_recipe_goes_on_to_the_same_weights(small, tmp_path):
    whole = recipes.train(NAME, tmp_path / "whole", tmp_path / "a", log=lambda line: None)
    for stop in (2, 3):  # behind the second file of pairs, and behind the second step
        with pytest.raises(KeyboardInterrupt):
            recipes.train(NAME, tmp_path / "parts", tmp_path / "b", log=Stop(stop))
    log = Stop(99)
    parts = recipes.train(NAME, tmp_path / "parts", tmp_path / "b", log=log)
    assert log.lines[0] == "resumed at step 1"
    left, right = (load_model(CaptionedStudent, folder / "transformer") for folder in (whole, parts))
    for name, tensor in left.state_dict().items():
        torch.testing.assert_close(tensor, right.state_dict()[name], rtol=1e-3, atol=1e-4)
