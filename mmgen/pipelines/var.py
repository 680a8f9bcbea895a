"""VAR: pictures of a class, scale by scale (Tian et al. 2024, arXiv 2404.02905)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from einops import rearrange
from torch import Tensor

from mmgen.backbones.next_scale import NextScaleTransformer
from mmgen.decoding import scales
from mmgen.decoding.scales.decoder import ScaleDecoder
from mmgen.errors import OptionError, PromptError, SizeError
from mmgen.layout import ScaleLayout
from mmgen.pipelines.output import Statistics
from mmgen.pipelines.raster import Drawing, RasterPipeline, to_pictures
from mmgen.sessions.scales import ScaleSession
from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ


class VARPipeline(RasterPipeline):
    """Draws a class of ImageNet: a number, 0 to `transformer.config.classes` - 1.

    Codes of a picture are a line of all scales, [B, N]: that is what `output_type="latent"` returns, and what `known`
    takes, with -1 where free. Guidance is that of the last scale, and grows from 1 at the first; the authors' `cfg` is
    `guidance - 1`. Temperatures of single scales, which multiply `temperature`, are one number for each in
    `temperatures`: a sequence, or a text such as "1.1, 1.1, 1, 1, 1".

    Args:
        tokenizer: pictures to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.scales`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        draft: a smaller transformer of the same codes and scales, to which the decoder may hand over; may be absent.
    """

    family = "next-scale"
    algorithms: ClassVar[Any] = scales
    decoder_type = ScaleDecoder
    component_types = {"tokenizer": MultiScaleVQ, "transformer": NextScaleTransformer, "draft": NextScaleTransformer}
    _optional_components = ["draft"]
    model_cpu_offload_seq = "transformer->draft"
    _exclude_from_cpu_offload = ["tokenizer"]  # needed between any two evaluations
    condition_defaults = {"temperatures": ""}

    def __init__(
        self,
        tokenizer: MultiScaleVQ,
        transformer: NextScaleTransformer,
        decoder: ScaleDecoder,
        sampling: Mapping[str, Any] | None = None,
        draft: NextScaleTransformer | None = None,
    ) -> None:
        super().__init__(sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder, draft=draft)

    def read(self, prompt: str | int) -> int:
        """A class as a number."""
        words, classes = str(prompt).strip(), self.transformer.config.classes
        if not (words.isascii() and words.isdigit() and len(words) < 10) or int(words) >= classes:
            raise PromptError(str(prompt), "is not a class", f"give a number from 0 to {classes - 1}")
        return int(words)

    def plan(self, prompt: Any, **settings: Any) -> Drawing:
        """Checks the arguments of a call; evaluates nothing."""
        drawing = super().plan(prompt, **settings)
        temperatures = self._temperatures(drawing.conditions["temperatures"])
        drawing.conditions["temperatures"] = ", ".join(f"{value:g}" for value in temperatures or ())
        return drawing

    def session(self, drawing: Drawing) -> ScaleSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        return ScaleSession(
            self.tokenizer,
            [model for model in (self.transformer, self.draft) if model is not None],
            torch.tensor(drawing.subjects, device=self._execution_device),
            drawing.sampling,
            self._temperatures(drawing.conditions["temperatures"]),
            drawing.known,
            self.cache_bits,
        )

    @torch.no_grad()
    def render(self, drawing: Drawing, output_type: str = "pil") -> Any:
        """The pictures of a drawing, in a form of `ImageOutput.images`: whole ones, whose details come last."""
        generation: Any = drawing.generation
        if output_type == "latent":
            return generation.tokens
        images = self.tokenizer.decode_features(generation.features).float() / 2 + 0.5
        if output_type == "pt":
            return images
        array = rearrange(images.cpu().numpy(), "b c h w -> b h w c")
        return array if output_type == "np" else to_pictures(array)

    def statistics(self, drawing: Drawing) -> list[Statistics]:
        """How each picture of a drawing was made, so far. Where scales are skipped, it is complete without them."""
        items = super().statistics(drawing)
        layout: Any = drawing.layout
        drawn = layout.ends[drawing.decoder.drawn(len(layout.sizes)) - 1]  # type: ignore[attr-defined]
        for item, committed in zip(items, drawing.generation.committed.tolist(), strict=True):  # type: ignore[union-attr]
            item.complete = committed >= drawn
        return items

    def _known_tokens(self, known: Tensor | None, layout: Any, batch: int) -> Tensor:
        if known is None:
            return torch.full((batch, layout.length), -1)
        if known.ndim != 2 or known.shape[0] not in (1, batch) or known.shape[1] != layout.length:
            raise SizeError(f"known codes of shape {list(known.shape)}", f"[{batch}, {layout.length}]")
        codes = self.transformer.vocabulary_size
        if bool((known < -1).any()) or bool((known >= codes).any()):
            raise OptionError("known", "codes out of range", f"-1 where free, else 0 to {codes - 1}")
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
