"""What all pipelines share that write sound, codes of several codebooks a step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmgen.codebook import Codebooks
from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding import planes
from mmgen.decoding.decoder import Generation
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.errors import OptionError
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.drawing_pipeline import DrawingPipeline
from mmgen.pipelines.given_sound import begun, check_known, duration_of, interval_of, only_one, with_interval
from mmgen.pipelines.output import AudioOutput, Statistics
from mmgen.pipelines.sound_drawing import SoundDrawing
from mmgen.pipelines.sound_stream import pieces
from mmgen.pipelines.sound_windows import by_window, windows


class SoundPipeline(DrawingPipeline):
    """Base of the pipelines that write sound: how long it is, what it begins with, and how it is heard.

    A call takes, beside what pictures take: `num_waveforms_per_prompt`, another name of `num_images_per_prompt`;
    `known` codes, int64 [B, K, T] or [1, K, T], -1 where free; and the following.

    `duration` is the length of the whole recording in seconds, and `continue_from` what it begins with: a file, or
    samples [channels, samples] (or [samples], of one channel) at the pipeline's own `sampling_rate`.

    Or part of a recording is written anew: `recording`, given likewise, and `interval`, from which second to which; the
    duration is the recording's. Outside the interval its samples stay as they are, and the model is told their codes.
    Inside, new sound is faded in and out over a frame. A model that writes in order hears only what stands before.

    A family says how prompts are read (`read`), in which order codes are written (`order`), and opens the session
    (`session`). Components are those of `DrawingPipeline`; the tokenizer is a codec of sound.
    """

    medium = "audio"
    output_types = ("np", "pt", "latent")
    algorithms: ClassVar[Any] = planes
    decoder_type = PlaneDecoder
    backbones = ("transformer",)
    condition_defaults: ClassVar[dict[str, Any]] = {
        "duration": 10.0,
        "continue_from": "",
        "recording": "",
        "interval": "",
    }
    window: ClassVar[float]
    """Seconds that the family was trained on; longer sound is written in windows of so many."""
    stride: ClassVar[float]
    """Seconds that each window adds; it begins with what stands before them."""
    later_conditions: ClassVar[dict[str, Any]] = {}
    """Conditions that are others in windows behind the first."""
    _known_codebooks: Codebooks | None = None

    def __init__(self, sampling: Mapping[str, Any] | None = None, **components: Any) -> None:
        super().__init__(sampling, **components)
        self.tokenizer.float()  # with 16 bits there would be noise in the sound

    def check_components(self, tokenizer: Any, transformer: Any, **others: Any) -> None:  # type: ignore[override]
        """Refuses a codec of other codes than the transformer's.

        Raises:
            OptionError: the codec has other codes.
        """
        written = transformer.codebooks, transformer.vocabulary_size
        if (tokenizer.codebooks, tokenizer.codebook_size) != written:
            given = f"a codec of {tokenizer.codebooks} codebooks of {tokenizer.codebook_size} codes"
            raise OptionError("tokenizer", given, f"{written[0]} of {written[1]}, as the transformer writes")

    @property
    def sampling_rate(self) -> int:
        """Samples of a second."""
        return self.tokenizer.sampling_rate

    @abstractmethod
    def order(self, frames: int) -> CodebookLayout:
        """The order in which the codes of so many frames are written."""

    def plan(
        self,
        prompt: Any,
        *,
        num_images_per_prompt: int = 1,
        num_waveforms_per_prompt: int | None = None,
        **settings: Any,
    ) -> SoundDrawing:
        """Checks the arguments of a call; of the model, at most the codec is evaluated.

        Raises:
            SizeError: what it is to begin with is not shorter than the recording, or has other channels.
            OptionError: an option is out of range, or what is known is said twice.
            OutputError: the file that it is to begin with, or to write anew, cannot be read.
        """
        settings["num_images_per_prompt"] = (
            num_images_per_prompt if num_waveforms_per_prompt is None else num_waveforms_per_prompt
        )
        for name in ("height", "width"):
            if settings.pop(name, None) is not None:
                raise OptionError(name, "pixels", "none: sound has a duration in seconds")
        given, interval = only_one(settings), interval_of(self.tokenizer, settings)
        if interval is not None:
            settings |= with_interval(self.tokenizer, interval, settings.get("duration"))
        if settings.get("duration") is None:
            settings["duration"] = self.condition_defaults["duration"]
        settings["duration"] = seconds = duration_of(settings["duration"], self.sampling_rate)
        samples = round(seconds * self.sampling_rate)
        frames = math.ceil(samples / self.tokenizer.hop)
        if given == "continue_from":
            settings["known"] = begun(self.tokenizer, settings["continue_from"], frames)
        return SoundDrawing(**vars(super().plan(prompt, width=frames, **settings)), samples=samples, interval=interval)

    def layout(self, height: int | None, width: int | None) -> Any:
        """The order of the codes of `width` frames."""
        assert width is not None
        return self.order(width)

    def windows_of(self, frames: int, interval: range | None = None) -> list[range]:
        """The frames of each window that so many are written in.

        Args:
            frames: of the whole recording.
            interval: those that are written anew; None where there are no such.
        """
        rate = self.sampling_rate / self.tokenizer.hop
        return windows(frames, round(self.window * rate), round(self.stride * rate))

    @torch.no_grad()
    def render(self, drawing: SoundDrawing, output_type: str = "np") -> Any:  # type: ignore[override]
        """The recordings of a drawing, in a form of `AudioOutput.audios`. What is not written yet is silent."""
        codes, ready = self._codes(drawing)
        if output_type == "latent":
            return codes
        # One by one: in a batch, sums come in another order, and the last bit of a sample may be another.
        rows = zip(codes.split(1), ready, strict=True)
        sound = drawing.joined(torch.cat([self._sound(own[:, :, :end], drawing.samples) for own, end in rows]))
        return sound if output_type == "pt" else sound.cpu().numpy()

    def output(self, rendered: Any, statistics: list[Statistics]) -> AudioOutput:
        """What a call returns."""
        return AudioOutput(rendered, statistics, self.sampling_rate)

    def size(self, layout: Any) -> tuple[int, ...]:
        """Nothing: a duration is a condition."""
        return ()

    def stream(self, prompt: Any, *, seconds: float = 1.0, **settings: Any) -> Iterator[np.ndarray]:
        """Writes sound and hands it out as it is written; see the codec's `streaming`.

        Args:
            prompt: as in a call; recordings of several are written side by side.
            seconds: of a piece, at least; the last is shorter.
            settings: as in a call.

        Yields:
            The next samples of all recordings, float32 [B, channels, samples].

        Raises:
            OptionError: such a piece is none; or what a call raises.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise OptionError("seconds", seconds, "a number above 0")
        drawings: Iterator[Any] = self.draw(prompt, **settings)
        frames = math.ceil(seconds * self.sampling_rate / self.tokenizer.hop)
        return (piece.cpu().numpy() for piece in pieces(self.tokenizer, drawings, self._codes, frames))

    def _generations(self, drawing: SoundDrawing) -> Iterator[Generation]:  # type: ignore[override]
        """A drawing evaluation by evaluation; of long sound, window by window."""
        layout, interval, write = drawing.layout, drawing.interval, super()._generations
        anew = None if interval is None else interval.frames(self.tokenizer.hop)
        spans = self.windows_of(layout.frames, anew)  # type: ignore[attr-defined]
        if len(spans) == 1:
            return write(drawing)
        return by_window(drawing, spans, self.order, write, self.later_conditions)

    def _codes(self, drawing: Drawing) -> tuple[Tensor, list[int]]:
        """Codes [B, K, T], -1 where none is written, and how many of each row's first frames are whole."""
        tokens, written = self._written(drawing)
        codes, there = drawing.layout.unflatten(tokens), drawing.layout.unflatten(written)
        return torch.where(there, codes, -1), there.all(1).long().cumprod(1).sum(1).tolist()

    def _sound(self, codes: Tensor, samples: int) -> Tensor:
        """Sound [1, channels, samples] of the first whole frames of codes [1, K, T], and silence behind them."""
        sound = torch.zeros(1, self.tokenizer.channels, samples, device=codes.device)
        if codes.shape[2]:
            heard = self.tokenizer.decode(codes)[..., :samples]
            sound[..., : heard.shape[-1]] = heard
        return sound

    def _codebooks(self) -> Codebooks | None:
        """What the codes stand for; kept, with its tables of neighbours, while the codec's vectors are the same."""
        vectors = [None if own is None else own.to(self._execution_device) for own in self.tokenizer.code_vectors()]
        if self._known_codebooks is None or not self._known_codebooks.stand_for(vectors):
            self._known_codebooks = Codebooks.of_residuals(vectors)
        return self._known_codebooks

    def _known_tokens(self, known: Tensor | None, layout: Any, batch: int) -> Tensor:
        if known is None:
            return layout.known().expand(batch, -1)
        check_known(self.tokenizer, known, batch, layout.frames)
        return layout.known(known).expand(batch, -1)
