"""What all pipelines share that draw pictures scale by scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from mmgen.decoding import scales
from mmgen.decoding.scales.decoder import ScaleDecoder
from mmgen.errors import OptionError, SizeError
from mmgen.layout import ScaleLayout
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.raster import RasterPipeline, to_pictures


class ScalesPipeline(RasterPipeline):
    """Base of the pipelines that draw pictures scale by scale.

    Codes of a picture are a line of all scales, [B, N]: that is what `output_type="latent"` returns, and what `known`
    takes, with -1 where free. Guidance is that of the last scale, and grows from 1 at the first. Temperatures of single
    scales, which multiply `temperature`, are one number for each in `temperatures`: a sequence, or a text such as
    "1.1, 1.1, 1, 1, 1".

    A family says how prompts are read (`read`), and opens the session (`session`).
    """

    family = "next-scale"
    algorithms: ClassVar[Any] = scales
    decoder_type = ScaleDecoder
    condition_defaults = {"temperatures": ""}

    def plan(self, prompt: Any, **settings: Any) -> Drawing:
        """Checks the arguments of a call; evaluates nothing."""
        drawing = super().plan(prompt, **settings)
        temperatures = self._temperatures(drawing.conditions["temperatures"])
        drawing.conditions["temperatures"] = ", ".join(f"{value:g}" for value in temperatures or ())
        return drawing

    @torch.no_grad()
    def render(self, drawing: Drawing, output_type: str = "pil") -> Any:
        """The pictures of a drawing, in a form of `ImageOutput.images`: whole ones, whose details come last."""
        generation: Any = drawing.generation
        if output_type == "latent":
            return generation.tokens
        # One by one: in a batch, sums come in another order, and the last bit of a pixel may be another.
        parts = [self.tokenizer.decode_features(own) for own in generation.features.split(1)]
        images = torch.cat(parts).float() / 2 + 0.5
        if output_type == "pt":
            return images
        array = rearrange(images.cpu().numpy(), "b c h w -> b h w c")
        return array if output_type == "np" else to_pictures(array)

    def finished(self, drawing: Drawing) -> list[bool]:
        """Which pictures of a drawing are complete: where scales are skipped, without them."""
        layout, generation, decoder = drawing.layout, drawing.generation, drawing.decoder
        drawn: int = layout.ends[decoder.drawn(len(layout.sizes)) - 1]  # type: ignore[attr-defined]
        return (generation.committed >= drawn).tolist()  # type: ignore[union-attr]

    def _known_tokens(self, known: Tensor | None, layout: Any, batch: int) -> Tensor:
        if known is None:
            return torch.full((batch, layout.length), -1)
        if known.ndim != 2 or known.shape[0] not in (1, batch) or known.shape[1] != layout.length:
            raise SizeError(f"known codes of shape {list(known.shape)}", f"[{batch}, {layout.length}]")
        for scale in range(len(layout.sizes)):
            given, codes = known[:, layout.span(range(scale, scale + 1))], self.tokenizer.codes_of(scale)
            if bool(((given != -1) & ((given < codes.start) | (given >= codes.stop))).any()):
                needed = f"-1 where free, else {codes.start} to {codes.stop - 1} at scale {scale}"
                raise OptionError("known", "codes out of range", needed)
        return known.long().expand(batch, -1)

    def _temperatures(self, given: str | Sequence[float]) -> list[float] | None:
        """One for every scale; None where nothing is given."""
        words = given.split(",") if isinstance(given, str) else given
        layout: ScaleLayout = self.transformer.layout
        needed = f"{len(layout.sizes)} numbers from 0 to 10, one for every scale"
        if not len(words) or words == [""]:
            return None
        try:
            values = [float(word) for word in words]
        except (TypeError, ValueError) as error:
            raise OptionError("temperatures", given, needed) from error
        if len(values) != len(layout.sizes) or not all(0 <= value <= 10 for value in values):
            raise OptionError("temperatures", given, needed)
        return values
