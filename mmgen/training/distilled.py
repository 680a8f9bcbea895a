"""The recipe of a student that writes captioned pictures from noise, after Distilled Decoding.

Liu et al. 2024, arXiv 2412.17153. Their training is not published; what is known of it is followed: a guided teacher
makes pairs of noise and tokens beforehand, and a student learns the tokens from the noise; no picture of the data is
seen. What is ours: see `CaptionedStudent`, `taught_tokens` and `train_student`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmgen.backbones.captioned_student import CaptionedStudent
from mmgen.decoding import students
from mmgen.decoding.students.distilled import normal_noise
from mmgen.evaluation import judges
from mmgen.pipelines.text_to_image_distilled import TextToImageDistilledPipeline
from mmgen.pipelines.text_to_image_scales import TextToImageScalesPipeline
from mmgen.rng import Rng
from mmgen.scenes.encoder import SceneEncoder
from mmgen.sessions.distilled import read_by_student
from mmgen.tokenizers.patch_pyramid import PatchPyramid
from mmgen.training.captioned import has_bfloat16
from mmgen.training.folders import write_model, write_pipeline
from mmgen.training.loop import Budget, fit
from mmgen.training.pictures import draw_batch
from mmgen.training.recipe import Recipe
from mmgen.training.scales import token_losses
from mmgen.training.transport import taught_tokens

_KEPT = 32
"""Codes of each token that `transport` goes on with."""
_ROWS = 32
"""Pictures that a teacher makes at once."""


@dataclass(frozen=True)
class Turn:
    """What some steps of the training learn: an evaluation of the student.

    Attributes:
        start: the scale it starts from: so many are known.
        stop: the scale behind the last that it writes.
        batch: pictures of such a step.
    """

    start: int
    stop: int
    batch: int


@dataclass(frozen=True)
class Pairs:
    """Noise and the tokens that a teacher makes of it, for captions.

    Attributes:
        ids: caption fields, int64 [P, fields].
        seeds: of the noise, int64 [P]; a pair's noise is that which a decoder makes of its seed.
        tokens: int64 [P, L], of the first scales or of all.
    """

    ids: Tensor
    seeds: Tensor
    tokens: Tensor

    def draw(self, count: int, generator: torch.Generator) -> Pairs:
        """So many of them at random."""
        rows = torch.randint(len(self.seeds), (count,), generator=generator)
        return Pairs(self.ids[rows], self.seeds[rows], self.tokens[rows])

    def noise(self, tokenizer: PatchPyramid) -> Tensor:
        """Their noise: float32 [P, L, channels]."""
        positions = torch.arange(self.tokens.shape[1]).expand(len(self.seeds), -1)
        return normal_noise(Rng(self.seeds.tolist()), positions, tokenizer.codebook.shape[1])


@dataclass(frozen=True, kw_only=True)
class DistilledRecipe(Recipe):
    """Makes a student of a next-scale pipeline of captions.

    Attributes:
        pipeline: name or folder of the teacher's pipeline.
        tokenizer: name of its tokenizer.
        decoder_options: options of the student's decoder, `distilled`.
        pairs: how many pairs the teacher makes, by the number of scales that it writes.
        turns: what the steps learn, one after the other and again; each of the pairs that have just enough scales.
        pictures: held-out captions it is measured on.
    """

    pipeline: str
    tokenizer: str
    decoder_options: dict
    pairs: dict[int, int]
    turns: tuple[Turn, ...]
    pictures: int = 128

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`, the student in float16; the last line logged says what was measured."""
        from mmgen.pipelines.loading import load

        torch.manual_seed(0)
        teacher = load(self.pipeline, draft=None).to(device)
        pairs = {scales: make_pairs(teacher, count, scales, work, log) for scales, count in sorted(self.pairs.items())}
        student = CaptionedStudent.of(teacher.transformer)
        parts = teacher.tokenizer, teacher.text_encoder, student
        train_student(*parts, pairs, self.turns, self.budget, work / "student.pt", log=log)
        decoder = students.make("distilled", **self.decoder_options)
        pipe = TextToImageDistilledPipeline(*parts, decoder, teacher.config.sampling).to("cpu")
        write_pipeline(pipe, destination, {"tokenizer": self.tokenizer})
        write_model(student, destination / "transformer", torch.float16)
        pipe.set_progress_bar_config(disable=True)
        log(json.dumps(judges.evaluate(pipe, self.pictures).correct.to_dict()))


def make_pairs(
    teacher: TextToImageScalesPipeline,
    count: int,
    scales: int,
    work: Path,
    log: Callable[[str], None] = print,
    steps: int = 64,
) -> Pairs:
    """Makes pairs by a pipeline's own guidance, temperature and passes; goes on where an earlier run stopped.

    Args:
        count: pairs; rounded up to whole batches of 32.
        scales: how many the teacher writes, the first ones.
        work: folder for a file of each batch, whose number decides its captions and its noise.
        steps: of each token's path, as in `transport`.
    """
    parts, folder = [], work / f"pairs-{scales}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-count // _ROWS)):
        file = folder / f"{number:05}.safetensors"
        if not file.is_file():
            partial = file.with_suffix(".partial")
            save_file(vars(_taught(teacher, number, scales, steps)), partial)
            partial.replace(file)
            log(f"pairs of {scales} scales: {(number + 1) * _ROWS} of {count}")
        parts.append(load_file(file))
    return Pairs(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _taught(teacher: TextToImageScalesPipeline, number: int, scales: int, steps: int) -> Pairs:
    """The pairs of a batch. Those of fewer scales have numbers, captions and noise of their own."""
    encoder, tokenizer, decoder = teacher.text_encoder, teacher.tokenizer, teacher.decoder
    scenes, _ = draw_batch((7, scales, number), _ROWS, encoder.config.objects)
    seeds = (scales << 32) + torch.arange(number * _ROWS, (number + 1) * _ROWS)
    blank = torch.zeros(_ROWS, tokenizer.layout.ends[scales - 1], dtype=torch.long)
    pairs = Pairs(encoder.ids(scenes), seeds, blank)
    session = teacher.session(teacher.plan([encoder.grammar.describe(scene) for scene in scenes], seed=seeds.tolist()))
    noise = pairs.noise(tokenizer).to(session.device)
    tokens = taught_tokens(session, noise, tokenizer.codebook, steps, _KEPT, decoder.passes, decoder.entropy)
    return Pairs(pairs.ids, seeds, tokens.cpu().contiguous())


def train_student(
    tokenizer: PatchPyramid,
    text_encoder: SceneEncoder,
    student: CaptionedStudent,
    pairs: Mapping[int, Pairs],
    turns: Sequence[Turn],
    budget: Budget,
    checkpoint: Path,
    seed: int = 8,
    log: Callable[[str], None] = print,
) -> None:
    """Trains a student to say a teacher's tokens from their noise, given the scales before.

    The loss is the cross-entropy of the tokens that are not given. In it a scale counts as the number of its codes
    along a side: so the last of ours, with three quarters of the tokens, counts for half.

    Args:
        text_encoder: the teacher's; it stays as it is.
        pairs: by the number of their scales.
        turns: what the steps learn, one after the other and again.
        seed: decides which pairs a step has, together with its number.
    """
    device = student.device
    quick = torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device.type))
    weights = 1 / torch.tensor(tokenizer.layout.sizes, device=device)[tokenizer.layout.levels()]

    def loss_of_step(step: int) -> Tensor:
        turn = turns[step % len(turns)]
        generator = torch.Generator().manual_seed((seed << 32) + step)
        drawn = pairs[min(scales for scales in pairs if scales >= turn.stop)].draw(turn.batch, generator)
        tokens = drawn.tokens[:, : tokenizer.layout.ends[turn.stop - 1]].to(device)
        noise = drawn.noise(tokenizer).to(device)
        condition = student.condition(text_encoder(drawn.ids).detach())
        with quick:
            read = read_by_student(tokenizer, tokens, noise, turn.start, turn.stop)
            logits = student.logits(student(read, condition, range(turn.stop)), condition)
        free = tokenizer.layout.span(range(turn.start, turn.stop))
        losses = token_losses(logits.float(), tokens, tokenizer)[:, free].mean(0)
        return losses @ weights[free] / weights[free].sum()

    fit(student, loss_of_step, budget, checkpoint, log)
