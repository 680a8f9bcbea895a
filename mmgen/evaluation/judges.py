"""Who judges what a pipeline makes: pictures, clips and recordings of scenes, each by its own caption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError
from mmgen.evaluation import adherence, motion, sound
from mmgen.evaluation.verdicts import Report, judged
from mmgen.scenes.captions import CaptionGrammar
from mmgen.scenes.render import IMAGE_SIZE

_REPORTS: dict[str, Any] = {
    "image": adherence.PictureReport, "video": motion.MotionReport, "audio": sound.SoundReport
}  # fmt: skip
_JUDGES: dict[str, Any] = {"image": adherence.judge, "video": motion.judge_clip, "audio": sound.judge_sound}


@dataclass(frozen=True)
class Judge:
    """Draws captions that training never saw, and says what of them is shown.

    Attributes:
        grammar: of the captions.
    """

    grammar: Any

    @property
    def medium(self) -> str:
        """`image`, `video` or `audio`."""
        return self.grammar.medium

    def scenes(self, count: int, seed: int) -> list[Any]:
        """Scenes whose combination training never sees."""
        if self.medium == "audio":
            return sound.held_out_sound_scenes(count, seed)
        draw: Any = adherence.held_out_scenes if self.medium == "image" else motion.held_out_moving_scenes
        return draw(count, seed, self.grammar.objects)

    def captions(self, scenes: Sequence[Any]) -> list[str]:
        """What scenes are called."""
        return [self.grammar.describe(scene) for scene in scenes]

    def items(self, output: Any) -> list[np.ndarray]:
        """What a call returned: pictures, uint8 [H, W, 3], clips, uint8 [T, H, W, 3], or recordings, [samples]."""
        if self.medium == "audio":
            return [np.asarray(audio).mean(0) for audio in output.audios]
        if self.medium == "image":
            return [np.asarray(image) for image in output.images]
        return [np.stack([np.asarray(frame) for frame in clip]) for clip in output.frames]

    def measure(self, items: Iterable[np.ndarray], scenes: Iterable[Any], report: Report | None = None) -> Report:
        """Judges what was made, each item by its own scene; goes on with a report where one is given."""
        return judged(report or _REPORTS[self.medium](), _JUDGES[self.medium], items, scenes)

    def knows(self, item: np.ndarray) -> bool:
        """Whether a picture or clip has the size that scenes are drawn in, or a recording is long enough."""
        if self.medium == "audio":
            return len(item) >= sound.LEAST_SAMPLES
        return item.shape[-3:-1] == (IMAGE_SIZE, IMAGE_SIZE)


def judge_of(pipe: Any) -> Judge:
    """The judge of a pipeline.

    Raises:
        OptionError: it does not draw scenes.
    """
    grammar = getattr(getattr(pipe, "text_encoder", None), "grammar", None)
    if isinstance(grammar, CaptionGrammar):
        return Judge(grammar)
    raise OptionError("pipeline", type(pipe).__name__, "one that draws scenes, such as emoji-64, or prompts to draw")


def evaluate(
    pipe: Any,
    count: int = 400,
    seed: int = 0,
    batch: int = 16,
    decoder: str | Decoder | None = None,
    log: Callable[[str], None] | None = None,
) -> Report:
    """Draws held-out captions with a pipeline's default settings, and judges what comes.

    Args:
        pipe: a pipeline that draws scenes.
        count: pictures or clips, at least 1.
        seed: chooses the captions; item i is drawn with seed + i.
        batch: items drawn at once, at least 1.
        decoder: the pipeline's own where nothing is given.
        log: called with a line after every batch.

    Raises:
        OptionError: count or batch is below 1, or the pipeline does not draw scenes.
    """
    for name, value in (("count", count), ("batch", batch)):
        if type(value) is not int or value < 1:
            raise OptionError(name, value, "a whole number, 1 or more")
    judge = judge_of(pipe)
    scenes, report = judge.scenes(count, seed), judge.measure([], [])
    for start in range(0, count, batch):
        part = scenes[start : start + batch]
        seeds = list(range(seed + start, seed + start + len(part)))
        output = pipe(judge.captions(part), seed=seeds, decoder=decoder)
        report = judge.measure(judge.items(output), part, report)
        if log is not None:
            log(f"{report.correct.of} of {count}: {report.correct.right} show all their caption asks for")
    return report
