"""What decoders' pictures are worth: prompt adherence, and distances to autoregression and to true scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from mmgen import decoding
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError
from mmgen.evaluation import adherence
from mmgen.evaluation.features import features_of
from mmgen.evaluation.frechet import chance_of, distance_between, error_of
from mmgen.evaluation.judges import judge_of
from mmgen.evaluation.verdicts import Share
from mmgen.scenes.grammar import Scene
from mmgen.scenes.render import IMAGE_SIZE, render

MOST_PICTURES = 65536


@dataclass(frozen=True)
class Quality:
    """What one decoder's pictures are worth. All numbers come from the same captions.

    Distances are squared Frechet distances between `mmgen.evaluation.features`, in shares of the total
    variance of those over true scenes. They are too large by what chance adds, more so of fewer pictures:
    compare only equally many, and with what autoregression itself has.

    Attributes:
        pictures: how many were drawn, and how many they are compared with.
        evaluations: of the model, mean per picture.
        draft_evaluations: of a draft model or of the model's first layers, mean per picture.
        adherence: judged pictures.
        distance_to_autoregression: to pictures that autoregression draws with other seeds, so that a
            decoder that repeats autoregression's pictures is measured like one that only has its law.
        distance_error: standard error of that, see `mmgen.evaluation.frechet.error_of`.
        distance_chance: how often chance alone sets a decoder with autoregression's law as far off or farther,
            see `mmgen.evaluation.frechet.chance_of`: below 0.05 the law is likely another. 0.005 is the least.
        distance_to_held_out_scenes: to renderings of the captions themselves. They have not passed through
            the tokenizer: what it loses is part of the distance, and the same for all decoders.
    """

    pictures: int
    evaluations: float
    draft_evaluations: float
    adherence: Share
    distance_to_autoregression: float
    distance_error: float
    distance_chance: float
    distance_to_held_out_scenes: float


def measure(
    pipe: Any,
    decoders: Sequence[Decoder],
    pictures: int,
    seed: int = 0,
    batch: int = 16,
    log: Callable[[str], None] | None = None,
    reference: str = decoding.REFERENCE,
) -> list[Quality] | None:
    """Draws held-out captions with each decoder, untimed, and measures the pictures.

    Picture i of every decoder has caption i and seed `seed` + i. The pictures of autoregression that they
    are compared with have the same captions, and seeds that follow the last of those.

    Args:
        pipe: a text-to-image pipeline; its default sampling is used.
        decoders: autoregression (or another `reference`) must be among them: what it has itself is the unit of the
            others.
        pictures: of each decoder, from 4 to 65536; a few hundred before differences show.
        seed: chooses the captions, and seeds the pictures.
        batch: pictures drawn at once, at least 1.
        log: called with a line after each decoder.
        reference: name of the decoder whose pictures the others are compared with; the first of that name is taken.

    Returns:
        One for each decoder, in order; None where the pipeline draws another size than the judges know.

    Raises:
        OptionError: a number is out of range, autoregression is not among the decoders, or the pipeline draws no
            pictures of scenes.
    """
    check_pictures(pictures)
    if type(batch) is not int or batch < 1:
        raise OptionError("batch", batch, "a whole number, 1 or more")
    plain = next((decoder for decoder in decoders if decoder.name == reference), None)
    if plain is None:
        raise OptionError("decoders", [decoder.name for decoder in decoders], f"{reference} among them")
    judge = judge_of(pipe)
    if judge.medium != "image":
        raise OptionError("quality", pictures, "0: of clips, adherence is measured on those that are timed")
    scenes = judge.scenes(pictures, seed)
    plain_images, _ = draw(pipe, plain, scenes, seed + pictures, batch)
    if plain_images[0].shape[0] != IMAGE_SIZE:
        return None
    if log is not None:
        log(f"quality: {pictures} pictures to compare with")
    from_autoregression, from_scenes = features_of(plain_images), features_of(true(scenes, seed))
    measured = []
    for decoder in decoders:
        images, statistics = draw(pipe, decoder, scenes, seed, batch)
        measured.append(_compare(images, statistics, scenes, from_autoregression, from_scenes))
        if log is not None:
            log(f"quality: {decoder.name}, distance {measured[-1].distance_to_autoregression:.4f}")
    return measured


def _compare(
    images: list[np.ndarray], statistics: list[Any], scenes: list[Scene], reference: Tensor, true_scenes: Tensor
) -> Quality:
    features = features_of(images)
    return Quality(
        pictures=len(images),
        evaluations=fmean(item.evaluations for item in statistics),
        draft_evaluations=fmean(item.draft_evaluations for item in statistics),
        adherence=adherence.measure(images, scenes).correct,
        distance_to_autoregression=distance_between(features, reference),
        distance_error=error_of(features, reference),
        distance_chance=chance_of(features, reference),
        distance_to_held_out_scenes=distance_between(features, true_scenes),
    )


def draw(
    pipe: Any, decoder: Decoder, scenes: Sequence[Scene], seed: int, batch: int
) -> tuple[list[np.ndarray], list[Any]]:
    """Pictures of scenes' captions as uint8 [H, W, 3], and their statistics; picture i has seed `seed` + i."""
    judge = judge_of(pipe)
    images: list[np.ndarray] = []
    statistics: list[Any] = []
    for start in range(0, len(scenes), batch):
        captions = judge.captions(scenes[start : start + batch])
        seeds = [seed + start + index for index in range(len(captions))]
        output = pipe(captions, seed=seeds, decoder=decoder)
        images += judge.items(output)
        statistics += output.statistics
    return images, statistics


def true(scenes: Sequence[Scene], seed: int) -> list[np.ndarray]:
    """Renderings of scenes as uint8 [64, 64, 3]; what a caption leaves open is drawn at random from the seed."""
    return [render(scene, np.random.default_rng((seed, 1, index))) for index, scene in enumerate(scenes)]


def check_pictures(pictures: int) -> None:
    """Refuses numbers of pictures that are too few to measure, or too many.

    Raises:
        OptionError: it is not a whole number from 4 to 65536.
    """
    if type(pictures) is not int or not 4 <= pictures <= MOST_PICTURES:
        raise OptionError("quality", pictures, f"a whole number from 4 to {MOST_PICTURES}, or 0 for none")
