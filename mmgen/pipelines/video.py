"""What all pipelines share that draw clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from mmgen.errors import OptionError, SizeError
from mmgen.layout import VideoLayout
from mmgen.media import read_frames
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.output import Statistics, VideoOutput
from mmgen.pipelines.raster import RasterPipeline, to_pictures

_CLIPS = "the path of a picture or clip, PIL pictures, an array [T, H, W, 3] or a tensor [T, 3, H, W]"


class VideoPipeline(RasterPipeline):
    """Base of the pipelines that draw clips: `pipe(prompt).frames`.

    Codes are [B, 1, t, h, w]. The `tokenizer` says how many steps, rows and columns a clip has (`grid`), and which
    pixels and frames one of them stands for (`stride`, `frame_stride`); the first step may stand for fewer frames. The
    transformer's layout has such a grid: a `VideoLayout`, or planes.

    A call takes, beside what pictures take: `frames`, where fewer are wanted than the model draws; `continue_from`,
    which the clip begins with: the path of a picture or clip, or frames as `read_clip` takes them; and
    `num_videos_per_prompt`, another name of `num_images_per_prompt`.

    A family says how prompts are read (`read`), and what the transformer is told of them (`prompts`).
    """

    medium = "video"
    frames_per_second: ClassVar[float] = 8.0
    """How fast the frames of its clips follow each other."""
    condition_defaults: ClassVar[dict[str, Any]] = {"frames": None, "continue_from": ""}
    codes_have_places: ClassVar[bool] = True
    """Whether a code stands for a part of the clip. Where not, no frames can be given, nor seen before the last."""

    def layout(self, height: int | None, width: int | None) -> Any:
        """The grid of a clip of so many pixels; the transformer's own where nothing is given.

        Raises:
            SizeError: the model does not draw that size.
        """
        own = self.transformer.layout
        for name, given, side in zip(("height", "width"), (height, width), self.clip_size(own)[1:], strict=True):
            if given not in (None, side):
                raise SizeError(f"{name} {given}", f"{side}, the size this model draws")
        return own

    def clip_size(self, layout: Any) -> tuple[int, int, int]:
        """Frames, height and width of a grid's clips."""
        steps, rows, columns = layout.grid
        return self._frames_of(steps), rows * self.tokenizer.stride, columns * self.tokenizer.stride

    def plan(
        self,
        prompt: Any,
        *,
        known: Tensor | None = None,
        num_images_per_prompt: int = 1,
        num_videos_per_prompt: int | None = None,
        **settings: Any,
    ) -> Drawing:
        """Checks the arguments of a call; of the model, at most the tokenizer is evaluated.

        Raises:
            SizeError: the model does not draw so many frames.
            OptionError: `continue_from` is no clip, the family cannot go on from one, or `known` is given as well.
            OutputError: the file that the clip is to begin with cannot be read.
        """
        count = num_images_per_prompt if num_videos_per_prompt is None else num_videos_per_prompt
        drawing = super().plan(prompt, num_images_per_prompt=count, **settings)
        drawing.layout = self._of_length(drawing.layout, drawing.conditions["frames"])
        beginning = drawing.conditions["continue_from"]
        if not isinstance(beginning, str) or beginning:
            if known is not None or not self.codes_have_places:
                needed = "left out beside known codes" if known is not None else "left out: codes stand for whole clips"
                raise OptionError("continue_from", _said(beginning), needed)
            known = self.begun(read_clip(beginning), drawing.layout)
        drawing.known = self._known_tokens(known, drawing.layout, len(drawing.prompts))
        return drawing

    def session(self, drawing: Drawing) -> Any:
        """The session a drawing's decoder writes in."""
        told = {
            name: value for name, value in drawing.conditions.items() if name not in VideoPipeline.condition_defaults
        }
        return super().session(replace(drawing, conditions=told))

    @torch.no_grad()
    def begun(self, clip: Tensor, layout: Any) -> Tensor:
        """Codes [1, 1, t, h, w] that begin with those of frames [3, T, H, W] in [0, 1], and are -1 behind them.

        The frames are scaled to cover the clip's size and cut to their middle. They fill whole steps, at most half of
        the clip: of more, the last count, and fewer than one step are led in by the first of them.
        """
        half = max(1, layout.grid[0] // 2)
        steps = max((steps for steps in range(1, half + 1) if self._frames_of(steps) <= clip.shape[1]), default=1)
        count = self._frames_of(steps)
        missing = max(0, count - clip.shape[1])
        clip = torch.cat((clip[:, :1].expand(-1, missing, -1, -1), clip[:, -count:]), dim=1)
        pixels = fitted(clip, *self.clip_size(layout)[1:]).to(self._execution_device) * 2 - 1
        codes = torch.full((1, 1, *layout.grid), -1)
        codes[:, :, :steps] = self.tokenizer.encode(pixels[None]).cpu()
        return codes

    def output(self, rendered: Any, statistics: list[Statistics]) -> VideoOutput:
        """What a call returns, of what was rendered and how it was made."""
        return VideoOutput(rendered, statistics, self.frames_per_second)

    @torch.no_grad()
    def render(self, drawing: Drawing, output_type: str = "pil") -> Any:
        """The clips of a drawing, in a form of `VideoOutput.frames`. What is not drawn yet is gray."""
        tokens, drawn = self._written(drawing)
        codes, visible = drawing.layout.unflatten(tokens), drawing.layout.unflatten(drawn)
        if output_type == "latent":
            return torch.where(visible, codes, -1)
        # One by one, as pictures are.
        clips = torch.cat([self.tokenizer.decode(own) for own in codes.split(1)]).float() / 2 + 0.5
        if self.codes_have_places:
            clips = torch.where(self._in_pixels(visible), clips, 0.5)
        if output_type == "pt":
            return rearrange(clips, "b c t h w -> b t c h w")
        array = rearrange(clips.cpu().numpy(), "b c t h w -> b t h w c")
        return array if output_type == "np" else [to_pictures(clip) for clip in array]

    def size(self, layout: Any) -> tuple[int, ...]:
        """What statistics say of a grid's size: frames, and sides in pixels."""
        return self.clip_size(layout)

    def _in_pixels(self, codes: Tensor) -> Tensor:
        """What is said of codes [B, 1, t, h, w], of each of their pixels: [B, 1, T, H, W]."""
        steps = [self.tokenizer.grid(frame + 1, 1, 1)[0] - 1 for frame in range(self._frames_of(codes.shape[2]))]
        stride = self.tokenizer.stride
        return codes[:, :, steps].repeat_interleave(stride, dim=3).repeat_interleave(stride, dim=4)

    def _frames_of(self, steps: int) -> int:
        """The most frames that so many steps hold."""
        frames = steps * self.tokenizer.frame_stride
        while self.tokenizer.grid(frames, 1, 1)[0] > steps:
            frames -= 1
        return frames

    def _of_length(self, layout: Any, given: int | str | None) -> Any:
        """The grid of the first frames of another.

        Raises:
            SizeError: the model draws no clips of so many frames.
        """
        most = layout.grid[0]
        lengths = [self._frames_of(steps) for steps in range(1 if isinstance(layout, VideoLayout) else most, most + 1)]
        words = str(lengths[-1] if given is None else given)
        if words not in map(str, lengths):
            raise SizeError(f"{given} frames", f"one of {', '.join(map(str, lengths))}")
        steps = most - len(lengths) + 1 + list(map(str, lengths)).index(words)
        return layout if steps == most else replace(layout, height=layout.height // most * steps, frames=steps)


def read_clip(given: Any) -> Tensor:
    """Frames as float [3, T, H, W] in [0, 1].

    Args:
        given: the path of a picture or clip; or one of the clips a call returns: PIL pictures (or one alone), an array
            [T, H, W, 3] or a tensor [T, 3, H, W] in [0, 1]; or bytes [T, H, W, 3].

    Raises:
        OptionError: it is none of them.
        OutputError: the file cannot be read.
    """
    if isinstance(given, str | Path):
        given = read_frames(Path(given))
    if isinstance(given, Image.Image):
        given = [given]
    if isinstance(given, Sequence) and given and all(isinstance(frame, Image.Image) for frame in given):
        if len({frame.size for frame in given}) > 1:
            raise OptionError("continue_from", "frames of several sizes", "frames of one size")
        given = np.stack([np.asarray(frame.convert("RGB")) for frame in given])
    if isinstance(given, np.ndarray) and given.ndim == 4:
        if given.dtype.kind not in "fu":
            raise OptionError("continue_from", f"an array of {given.dtype}", "bytes, or numbers from 0 to 1")
        given = rearrange(torch.from_numpy(given.copy()), "t h w c -> t c h w")
    if not isinstance(given, Tensor) or given.ndim != 4 or given.shape[1] != 3 or not given.numel():
        raise OptionError("continue_from", _said(given), _CLIPS)
    if given.dtype is torch.uint8:
        given = given / 255
    if not given.is_floating_point():
        raise OptionError("continue_from", f"numbers of type {given.dtype}", "bytes, or numbers from 0 to 1")
    return given.detach().float().clamp(0, 1).transpose(0, 1)


def fitted(clip: Tensor, height: int, width: int) -> Tensor:
    """A clip [C, T, H, W] scaled until it covers a size, and cut to its middle: [C, T, height, width]."""
    rows, columns = clip.shape[2:]
    if (rows, columns) == (height, width):
        return clip
    scale = max(height / rows, width / columns)
    size = max(height, round(rows * scale)), max(width, round(columns * scale))
    scaled = interpolate(clip, size=size, mode="bilinear", antialias=True).clamp(0, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return scaled[:, :, top : top + height, left : left + width]


def _said(given: Any) -> str:
    if isinstance(given, str | Path):
        return str(given)
    shape = f" of shape {list(given.shape)}" if isinstance(given, Tensor | np.ndarray) else ""
    return f"{type(given).__name__}{shape}"
