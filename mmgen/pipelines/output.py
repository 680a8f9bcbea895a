"""What pipelines return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffusers.utils import BaseOutput


@dataclass
class Statistics(BaseOutput):
    """How one item was made. Read by attribute or by key.

    Attributes:
        prompt: what was asked for.
        seed: the seed of its noise.
        pipeline: name of the pipeline.
        decoder: name of the decoder.
        law: `exact`, `bounded` or `heuristic`: what the decoder promises about the tokens.
        tokens: tokens that were drawn (given ones are not counted).
        evaluations: evaluations of the model the item took part in.
        draft_evaluations: evaluations of a draft model, or of the model's first layers, that came on top.
        tokens_per_evaluation: tokens over evaluations.
        seconds: wall-clock time of the call divided by the items drawn in it.
        complete: False where the call was interrupted before the item's last token.
        options: the decoder's options.
        sampling: guidance, temperature, top_k and top_p.
        conditions: what else the family was told in words, by name, such as a negative prompt; defaults are left out.
        size: height and width in pixels; of a clip, with its number of frames in front.
        revision: first characters of a hash over the pipeline's weights.
    """

    prompt: str
    seed: int
    pipeline: str
    decoder: str
    law: str
    tokens: int
    evaluations: int
    draft_evaluations: int
    tokens_per_evaluation: float
    seconds: float
    complete: bool
    options: dict[str, Any]
    sampling: dict[str, Any]
    conditions: dict[str, str]
    size: tuple[int, ...]
    revision: str


@dataclass
class ImageOutput(BaseOutput):
    """Pictures and how each was made.

    Attributes:
        images: one per prompt and repetition, prompts in order: PIL pictures, or an array [B, H, W, 3]
            in [0, 1], a tensor [B, 3, H, W] in [0, 1], or codes [B, 1, h, w], by `output_type`.
        statistics: one per picture.
    """

    images: Any
    statistics: list[Statistics]


@dataclass
class VideoOutput(BaseOutput):
    """Clips and how each was made.

    Attributes:
        frames: one clip per prompt and repetition, prompts in order: lists of PIL pictures, or an array
            [B, T, H, W, 3] in [0, 1], a tensor [B, T, 3, H, W] in [0, 1], or codes [B, 1, t, h, w], by `output_type`.
        statistics: one per clip.
        frames_per_second: how fast the frames of a clip follow each other.
    """

    frames: Any
    statistics: list[Statistics]
    frames_per_second: float


@dataclass
class AudioOutput(BaseOutput):
    """Recordings and how each was made.

    Attributes:
        audios: one per prompt and repetition, prompts in order: an array [B, channels, samples], about in [-1, 1], a
            tensor likewise, or codes [B, K, T], by `output_type`.
        statistics: one per recording.
        sampling_rate: samples of a second.
    """

    audios: Any
    statistics: list[Statistics]
    sampling_rate: int
