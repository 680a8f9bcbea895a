"""MusicGen melody: music of a text and a melody (Copet et al. 2023, arXiv 2306.05284, section 2.3)."""

from __future__ import annotations

from typing import Any, ClassVar

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor

from mmgen.backbones.musicgen import MusicGenMelodyTransformer
from mmgen.errors import OptionError
from mmgen.media.chroma import melody
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.musicgen import MusicGenPipeline
from mmgen.pipelines.recording import recording
from mmgen.pipelines.sound import SoundPipeline
from mmgen.pipelines.sound_drawing import SoundDrawing
from mmgen.sessions.melody import MelodySession, no_melody


class MusicGenMelodyPipeline(MusicGenPipeline):
    """Writes music to a text that follows a melody.

    `melody` is a file, samples at the pipeline's own rate, or a pair of samples and their rate. Of the first 30 seconds
    the loudest pitch class of every eighth of a second is heard, and a shorter melody over and over. Nothing is
    separated beforehand: a recording with drums and bass is better given without them.
    """

    component_types = MusicGenPipeline.component_types | {"transformer": MusicGenMelodyTransformer}
    condition_defaults: ClassVar[dict[str, Any]] = SoundPipeline.condition_defaults | {"melody": ""}

    def plan(self, prompt: Any, **settings: Any) -> SoundDrawing:
        """Checks the arguments of a call; of the model, at most the codec is evaluated.

        Raises:
            OptionError: longer music to a melody than the model was trained on.
        """
        drawing = super().plan(prompt, **settings)
        if self._melody(drawing.conditions["melody"]) is not None and drawing.conditions["duration"] > self.window:
            raise OptionError("duration", drawing.conditions["duration"], f"{self.window:g} or less with a melody")
        return drawing

    def session(self, drawing: Drawing) -> MelodySession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        features, mask = self.text_features(drawing.subjects)
        layout: Any = drawing.layout
        classes = self.transformer.config.chroma
        told = self._melody(drawing.conditions["melody"])
        line = no_melody(1, 1, classes) if told is None else melody(told, self.sampling_rate, classes)[None]
        melodies = line.to(features.device).expand(len(features), -1, -1)
        return MelodySession(
            self.transformer, layout, features, mask, melodies, drawing.sampling, drawing.known, self.cache_bits,
            self._codebooks(),
        )  # fmt: skip

    def _melody(self, given: Any) -> Tensor | None:
        """Samples [samples] of the first 30 seconds of what was given; None where nothing is."""
        if isinstance(given, str) and given == "":
            return None
        sound = recording(given, self.sampling_rate, 1)[0]
        return sound[: round(self.window * self.sampling_rate)]
