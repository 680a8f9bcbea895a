"""Lumina-mGPT 2.0: pictures from a text, pairs of a picture and its map, and pictures from a map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from einops import rearrange
from PIL import Image, ImageOps
from torch import Tensor

from mmgen.errors import OptionError, SizeError
from mmgen.layout import RasterLayout
from mmgen.pipelines.chameleon import INSTRUCTION, SIZE_STEP, ChameleonPipeline, Conditions
from mmgen.pipelines.drawing import Drawing

PAIRS = {
    "depth-pair": "depth map",
    "canny-pair": "canny edge map",
    "hed-pair": "hed edge map",
    "pose-pair": "pose estimation map",
}
"""Tasks that draw a picture and, below it, what the model was trained to call so."""

SOURCES = {
    "depth-to-image": "depth map",
    "canny-to-image": "canny edge map",
    "subject-to-image": "Bubbly and effervescent with a sparkling allure.",
}
"""Tasks that are given the upper half and draw the lower; the last name is the one the model was trained with."""

DUAL_INSTRUCTION = (
    "Generate a dual-panel image of {width}x{height} where the <{panel} half> displays a <{shown}>, while the "
    "<{other} half> retains the original image for direct visual comparison:\n{text}"
)


class LuminaMGPT2Pipeline(ChameleonPipeline):
    """Draws what a text says, with Lumina-mGPT 2.0 (Xin et al. 2025, arXiv 2507.17801).

    A call takes two conditions beside the prompt:

    - `task`: `text-to-image`; one of `PAIRS`, such as `depth-pair`, which draws two panels, the picture above and its
      map below, in one picture; or one of `SOURCES`, such as `depth-to-image`, which is given the upper panel and
      draws the lower.
    - `image`: the upper panel of a task in `SOURCES`: a PIL picture, a tensor [3, H, W] in [0, 1], or the path of a
      file, cut to the size of the panel around its middle; or a list (or [B, 3, H, W]) with one for each prompt.
      What is drawn, and returned, is the lower panel; the pair is `fit(image, height, width)` above it.

    Heights and widths are those of the picture that is returned: multiples of 32 pixels for each panel; where nothing
    is said 768 x 768, and panels of 512 x 512 for tasks with two.

    Deviations from the published code. There guidance g becomes max(4, g (1 - n / N)) after every token n, again and
    again: any g below 4 but 1 means 4, larger ones fall to 4 within the first rows, and the default 4 stays. Here it
    stays what it is. The size is given, not written by the model. A picture is reduced in one bicubic step, there by
    halves first.

    Args:
        tokenizer: pictures to codes and back: MoVQGAN, whose codes stand for 8 x 8 pixels.
        transformer: writes the codes.
        text_tokenizer: texts to words of the transformer's vocabulary.
        decoder: how the codes are written; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        draft: a smaller transformer of the same vocabulary, for the drafter `draft-model`; may be absent.
    """

    default_codes = 96
    panel_codes = 64
    """Codes of a panel's side where nothing is said: 512 pixels."""
    condition_defaults = {"task": "text-to-image", "image": None}
    condition_choices = {"task": ("text-to-image", *PAIRS, *SOURCES)}

    def plan(
        self,
        prompt: Any,
        *,
        height: int | None = None,
        width: int | None = None,
        task: str | None = None,
        image: Any = None,
        **settings: Any,
    ) -> Drawing:
        """Checks the arguments of a call; evaluates nothing.

        Raises:
            SizeError: two panels do not fit the height.
            OptionError: a picture is missing or has no part in the task, or there is not one for each prompt.
        """
        if task in PAIRS or task in SOURCES:
            panel = self.panel_codes * self.tokenizer.stride
            width = panel if width is None else width
            height = panel * (1 + (task in PAIRS)) if height is None else height
        images = _listed(image)
        if (task in SOURCES) != bool(images):
            needed = f"a picture for each of the tasks {', '.join(SOURCES)}, and none for others"
            raise OptionError("image", f"{len(images)} pictures for the task {task or 'text-to-image'}", needed)
        prompts = [prompt] if isinstance(prompt, str | int) else list(prompt)
        if len(images) not in (0, 1, len(prompts)):
            raise OptionError("image", f"{len(images)} pictures", f"one, or {len(prompts)}: one for each prompt")
        drawing = super().plan(prompts, height=height, width=width, task=task, image=image, **settings)
        if task in PAIRS and drawing.layout.grid[0] * self.tokenizer.stride % (2 * SIZE_STEP):
            raise SizeError(f"height {height}", f"a multiple of {2 * SIZE_STEP} pixels, for two panels")
        return drawing

    def openings(self, backbone: Any, rows: int, layout: RasterLayout, conditions: Conditions) -> list[Tensor]:
        """Embeddings [P, C] of what stands between the text and the first code to draw, for each row."""
        openings, images = super().openings(backbone, rows, layout, conditions), _listed(conditions["image"])
        if not images:
            return openings
        codes = self.tokenizer.encode(self._panels(images, layout))
        above = backbone.embed(layout.flatten(codes)).repeat_interleave(rows // len(images), dim=0)
        return [torch.cat(pair) for pair in zip(openings, above, strict=True)]

    def opening_length(self, layout: RasterLayout, conditions: Conditions) -> int:
        """How many tokens `openings` has for a row."""
        return super().opening_length(layout, conditions) + (layout.length if conditions["task"] in SOURCES else 0)

    def instruction(self, text: str, layout: RasterLayout, conditions: Conditions) -> str:
        """What is said of a picture."""
        task = conditions["task"]
        height, width = self.whole_size(layout, conditions)
        size_and_text = {"width": width, "height": height, "text": text}
        if task in PAIRS:
            return DUAL_INSTRUCTION.format(panel="lower", other="upper", shown=PAIRS[task], **size_and_text)
        if task in SOURCES:
            return DUAL_INSTRUCTION.format(panel="upper", other="lower", shown=SOURCES[task], **size_and_text)
        return INSTRUCTION.format(**size_and_text)

    def whole_size(self, layout: RasterLayout, conditions: Conditions) -> tuple[int, int]:
        """Height and width, in pixels, of the picture that the model is told of: both panels."""
        height, width = super().whole_size(layout, conditions)
        return (2 * height if conditions["task"] in SOURCES else height), width

    def _panels(self, images: Sequence[Any], layout: RasterLayout) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] of the size of the panel."""
        height, width = (side * self.tokenizer.stride for side in layout.grid)
        arrays = np.stack([np.asarray(fit(image, height, width), dtype=np.float32) for image in images])
        tensor = torch.from_numpy(arrays).to(self._execution_device)
        return rearrange(tensor, "b h w c -> b c h w") / 127.5 - 1


def fit(image: Image.Image | Tensor, height: int, width: int) -> Image.Image:
    """A picture scaled and cut around its middle to a size in pixels; white shows where it is transparent.

    Args:
        image: PIL picture, or tensor [3, H, W] in [0, 1].

    Raises:
        OptionError: a PIL picture cannot be read.
    """
    if isinstance(image, Tensor):
        array = rearrange(image.detach().cpu().float().clamp(0, 1), "c h w -> h w c").numpy()
        image = Image.fromarray((array * 255).round().astype(np.uint8))
    image = _of_8_bits(image)
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return ImageOps.fit(opaque.convert("RGB"), (width, height), method=Image.Resampling.BICUBIC)


def _listed(image: Any) -> list[Image.Image | Tensor]:
    """The pictures of a call.

    Raises:
        OptionError: something is no picture.
    """
    if image is None:
        return []
    single = isinstance(image, Image.Image | str | Path) or (isinstance(image, Tensor) and image.ndim == 3)
    return [_picture(one) for one in ([image] if single else image)]


def _picture(image: Any) -> Image.Image | Tensor:
    if isinstance(image, Image.Image | str | Path):
        return _of_8_bits(image)
    if isinstance(image, Tensor) and image.ndim == 3 and len(image) == 3:
        return image
    needed = "a PIL picture, a tensor [3, H, W] or the path of a picture, or a list of them"
    raise OptionError("image", type(image).__name__, needed)


def _of_8_bits(source: Image.Image | str | Path) -> Image.Image:
    """A picture, read whole, in 8 bits: of 16 bits, as in depth maps, Pillow would keep the lower 8 or clip.

    Raises:
        OptionError: it cannot be read, or its numbers do not say which of them is white.
    """
    name = source if isinstance(source, Image.Image) else str(source)
    try:
        image = source if isinstance(source, Image.Image) else Image.open(source)
        image.load()
    except FileNotFoundError as error:
        raise OptionError("image", name, "the path of a picture; there is no such file") from error
    except Exception as error:  # of a damaged file Pillow raises whatever it meets
        raise OptionError("image", name, f"a picture that can be read; of this one Pillow says: {error}") from error
    if image.mode in ("I", "F"):
        raise OptionError("image", name, f"a picture of 8 or 16 bits; convert this one, of mode {image.mode}")
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
