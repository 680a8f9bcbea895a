"""MAGNeT: music or sounds of a text, all frames of a codebook at once (Ziv et al. 2024, arXiv 2401.04577)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from mmgen.backbones.magnet import MagnetTransformer
from mmgen.backbones.musicgen import MusicGenTransformer
from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding import planes, spans
from mmgen.decoding.spans.decoder import SpanDecoder
from mmgen.errors import OptionError
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.musicgen import MusicGenPipeline
from mmgen.pipelines.sound import SoundPipeline
from mmgen.pipelines.sound_drawing import SoundDrawing
from mmgen.pipelines.sound_windows import in_turn, windows, windows_around
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.companion import Companion
from mmgen.sessions.masked_codebooks import MaskedCodebookSession
from mmgen.tokenizers.sound_codecs import EnCodec

LEADING = Sampling(guidance=3.0, top_k=250)
"""How a companion writes beginnings: MusicGen's defaults."""


class MagnetPipeline(MusicGenPipeline):
    """Writes music or sounds to a text, codebook after codebook, any frames of one at once.

    It was trained on recordings of one length. Longer ones are written in windows of that, each of which adds three
    fifths and begins with what stands before them, as MusicGen does it (audiocraft writes none). Known codes may stand
    anywhere: what is around a gap is seen from the beginning; a long recording's interval lies in the middle of a
    window. Nothing of a window is heard before its last codebook is written.

    A companion, MusicGen of the same codec and text encoder, can judge what was drawn (the decoder's `rescoring`), and
    begin recordings: `lead` is how many seconds of the first window it writes, the paper's hybrid. It writes them as
    MusicGen writes a recording of that length from the same seed.

    Args:
        tokenizer: sound to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.spans`; swap it by assignment.
        text_encoder: features of texts.
        text_tokenizer: texts to the text encoder's words.
        sampling: the defaults of a call. Guidance and temperature are those of a codebook's first evaluation.
        companion: as above; may be absent.

    Raises:
        OptionError: a codec or a companion of other codes, or one that hears other features.
    """

    family = "spans"
    algorithms: ClassVar[Any] = spans
    decoder_type = SpanDecoder
    component_types = MusicGenPipeline.component_types | {
        "transformer": MagnetTransformer,
        "companion": MusicGenTransformer,
    }
    _optional_components = ["companion"]
    backbones = ("transformer", "companion")  # type: ignore[assignment]
    condition_defaults: ClassVar[dict[str, Any]] = SoundPipeline.condition_defaults | {"lead": 0.0}
    later_conditions: ClassVar[dict[str, Any]] = {"lead": 0.0}
    model_cpu_offload_seq = "text_encoder->companion->transformer->tokenizer"

    def __init__(
        self,
        tokenizer: EnCodec,
        transformer: MagnetTransformer,
        decoder: SpanDecoder,
        text_encoder: T5EncoderModel,
        text_tokenizer: PreTrainedTokenizerFast,
        sampling: Mapping[str, Any] | None = None,
        companion: MusicGenTransformer | None = None,
    ) -> None:
        _check_companion(transformer, companion)
        SoundPipeline.__init__(
            self, sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder, text_encoder=text_encoder,
            text_tokenizer=text_tokenizer, companion=companion,
        )  # fmt: skip

    def order(self, frames: int) -> CodebookLayout:
        """Codebook after codebook; of long recordings, window after window."""
        return in_turn(self.windows_of(frames), self.transformer.layout)

    def windows_of(self, frames: int, interval: range | None = None) -> list[range]:
        """The frames of each window that so many are written in; an interval is seen from both its sides."""
        most = self.transformer.frames
        if interval is not None and len(interval) < most < frames:
            return windows_around(frames, most, interval)
        return windows(frames, most, max(3 * most // 5, 1))

    def plan(self, prompt: Any, **settings: Any) -> SoundDrawing:
        """Checks the arguments of a call; of the model, at most the codec is evaluated."""
        drawing = super().plan(prompt, **settings)
        drawing.conditions["lead"] = self._lead(drawing.conditions["lead"], drawing.conditions["duration"])
        return drawing

    def session(self, drawing: Drawing) -> MaskedCodebookSession:  # type: ignore[override]
        """The session a drawing's decoder writes in; the companion has written its beginning."""
        layout: Any = drawing.layout
        prompts = self.text_features(drawing.subjects)
        companion = None if self.companion is None else Companion(self.companion, *prompts)
        known = drawing.known
        if companion is not None and drawing.conditions["lead"]:
            known = self._led(companion, drawing)
        return MaskedCodebookSession(self.transformer, layout, *prompts, drawing.sampling, known, companion)

    def _led(self, companion: Companion, drawing: Drawing) -> Tensor:
        """Known tokens [B, N], with the beginning that a companion writes."""
        layout: Any = drawing.layout
        frames = math.ceil(drawing.conditions["lead"] * self.sampling_rate / self.tokenizer.hop)
        codes = layout.unflatten(drawing.known).clone()
        session = companion.session(codes[..., :frames], LEADING)
        begun = planes.make("jacobi").generate(session, Rng(drawing.seeds, self._execution_device))
        companion.evaluations = companion.evaluations + begun.evaluations
        codes[..., :frames] = companion.backbone.layout(frames).unflatten(begun.tokens).to(codes.device)
        return layout.known(codes)

    def _lead(self, given: Any, duration: float) -> float:
        """Seconds that the companion writes."""
        try:
            seconds = math.nan if isinstance(given, bool) else float(given)
        except (TypeError, ValueError):
            seconds = math.nan
        most = min(duration, self.transformer.frames * self.tokenizer.hop / self.sampling_rate)
        if not 0 <= seconds < most:
            raise OptionError("lead", given, f"seconds, from 0 to less than {most:g}, those of the first window")
        if seconds and self.companion is None:
            raise OptionError("lead", given, "0, as the pipeline has no companion: load it with companion=...")
        return seconds


def _check_companion(transformer: Any, companion: Any) -> None:
    """Refuses a companion of other codes, or of another text encoder."""
    if companion is None:
        return
    given, needed = (
        (model.codebooks, model.vocabulary_size, model.config.text_size) for model in (companion, transformer)
    )
    if given != needed:
        words = "{} codebooks of {} codes and texts of {} channels"
        raise OptionError("companion", words.format(*given), words.format(*needed))
