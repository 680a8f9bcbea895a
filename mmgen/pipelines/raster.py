"""What all pipelines share that draw pictures code by code, in raster order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.codebook import Codebook
from mmgen.errors import OptionError, SizeError
from mmgen.layout import RasterLayout
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.drawing_pipeline import DrawingPipeline
from mmgen.pipelines.output import ImageOutput, Statistics
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession


class RasterPipeline(DrawingPipeline):
    """Base of the pipelines that draw pictures code by code.

    A family says how prompts are read (`read`), what the transformer is told of them (`prompts`), and which grids
    it draws (`layout`). Components: `tokenizer` (pictures to codes and back), `transformer` (writes the codes),
    `decoder` (how they are written; swap it by assignment), and `draft`, where there is one: a smaller
    transformer of the same codes, for the drafter `draft-model`.
    """

    medium = "image"
    family = "raster"
    backbones: ClassVar[tuple[str, ...]] = ("transformer", "draft")
    _known_codebook: Codebook | None = None

    def check_components(self, tokenizer: Any, transformer: Any, draft: Any = None, **others: Any) -> None:  # type: ignore[override]
        """Refuses a tokenizer or a draft of other codes.

        Raises:
            OptionError: a model writes other codes than the tokenizer has.
        """
        codes = len(tokenizer.codebook)
        for name, model in (("transformer", transformer), ("draft", draft)):
            written = codes if model is None else model.config.get("codes", model.vocabulary_size)
            if written != codes:
                raise OptionError(name, f"a model of {written} codes", f"one of {codes} codes, as the tokenizer has")

    @abstractmethod
    def prompts(self, backbone: Any, subjects: Sequence[Any], layout: RasterLayout) -> tuple[Prompt, Prompt]:
        """What a backbone's lines continue, with the prompts and without: one row for each subject.

        Args:
            backbone: `transformer` or `draft`.
            subjects: what `read` returned.
            layout: the grid.
            conditions: those of `condition_defaults`, as keywords.
        """

    def layout(self, height: int | None, width: int | None) -> RasterLayout:
        """The grid of a picture of so many pixels; the transformer's own where nothing is given.

        Raises:
            SizeError: the model does not draw that size.
        """
        own, stride = self.transformer.layout, self.tokenizer.stride
        for name, value, codes in zip(("height", "width"), (height, width), own.grid, strict=True):
            if value is None or value == codes * stride:
                continue
            if type(value) is not int or value <= 0 or value % stride:
                raise SizeError(f"{name} {value}", f"a multiple of the stride {stride}, here {codes * stride}")
            raise SizeError(f"{name} {value}", f"{codes * stride}, the size this model draws")
        return own

    def session(self, drawing: Drawing) -> RasterSession:
        """The session a drawing's decoder writes in."""
        draft = getattr(self, "draft", None)
        given: dict[str, Any] = {"known": drawing.known, "cache_bits": self.cache_bits}
        return RasterSession(
            *self._prompted(self.transformer, drawing),
            **given,
            draft=None if draft is None else RasterSession(*self._prompted(draft, drawing), **given),
            batch=drawing.batch_size,
            heads=getattr(self, "heads", None),
            codebook=self._codebook(self.transformer.vocabulary_size),
        )

    def _prompted(self, backbone: Any, drawing: Drawing) -> tuple[Any, RasterLayout, Prompt, Prompt, Sampling]:
        layout = drawing.layout
        prompts = self.prompts(backbone, drawing.subjects, layout, **drawing.conditions)
        return backbone, layout, *prompts, drawing.sampling

    def _codebook(self, size: int) -> Codebook:
        """What tokens stand for; kept, with its table of neighbours, while the tokenizer's vectors are the same."""
        vectors = self.tokenizer.codebook.to(self._execution_device)
        far = vectors.new_full((size - len(vectors), vectors.shape[1]), 1e4)  # tokens that are no codes
        made = Codebook(torch.cat((vectors, far)))
        known = self._known_codebook
        if known is None or known.vectors.device != made.vectors.device or not torch.equal(known.vectors, made.vectors):
            self._known_codebook = made
        return self._known_codebook or made

    def output(self, rendered: Any, statistics: list[Statistics]) -> Any:
        """What a call returns, of what was rendered and how it was made."""
        return ImageOutput(rendered, statistics)

    @torch.no_grad()
    def render(self, drawing: Drawing, output_type: str = "pil") -> Any:
        """The pictures of a drawing, in a form of `ImageOutput.images`. What is not drawn yet is gray."""
        tokens, drawn = self._written(drawing)
        codes, visible = drawing.layout.unflatten(tokens), drawing.layout.unflatten(drawn)
        if output_type == "latent":
            return torch.where(visible, codes, -1)
        # One by one: in a batch, sums come in another order, and the last bit of a pixel may be another.
        images = torch.cat([self.tokenizer.decode(own) for own in codes.split(1)]).float() / 2 + 0.5
        stride = self.tokenizer.stride
        visible = visible.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
        images = torch.where(visible, images, 0.5)
        if output_type == "pt":
            return images
        array = rearrange(images.cpu().numpy(), "b c h w -> b h w c")
        return array if output_type == "np" else to_pictures(array)

    def size(self, layout: RasterLayout) -> tuple[int, ...]:
        """What statistics say of a grid's size: sides in pixels."""
        return tuple(side * self.tokenizer.stride for side in layout.grid)

    def _known_tokens(self, known: Tensor | None, layout: RasterLayout, batch: int) -> Tensor:
        if known is None:
            return layout.known().expand(batch, -1)
        codes = self.tokenizer.codebook.shape[0]
        if known.shape[:1] not in ((1,), (batch,)) or known.shape[1:] != (1, *layout.grid):
            raise SizeError(f"known codes of shape {list(known.shape)}", str([batch, 1, *layout.grid]))
        if bool((known < -1).any()) or bool((known >= codes).any()):
            raise OptionError("known", "codes out of range", f"-1 where free, else 0 to {codes - 1}")
        return layout.known(known).expand(batch, -1)


def to_pictures(array: np.ndarray) -> list[Image.Image]:
    """PIL pictures of an array [B, H, W, 3] in [0, 1]."""
    return [Image.fromarray(picture) for picture in (array * 255).round().astype(np.uint8)]
