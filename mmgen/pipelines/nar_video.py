"""Clips of a class, plane by plane (He et al. 2025, "Neighboring Autoregressive Modeling", 2503.10696)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.pipelines.neighbour import NeighbourPipeline
from mmgen.pipelines.raster import RasterPipeline
from mmgen.pipelines.video import VideoPipeline
from mmgen.tokenizers.larp import LARP


class NeighbourVideoPipeline(VideoPipeline, NeighbourPipeline):
    """Draws a class of UCF-101, a number, 0 to `transformer.config.classes` - 1, as a clip of LARP's codes.

    Those stand for the clip as a whole: it can neither go on from frames nor be seen in parts.

    Args:
        tokenizer: clips to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.planes`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
    """

    component_types = {"tokenizer": LARP, "transformer": NeighbourTransformer}
    _optional_components: list[str] = []
    model_cpu_offload_seq = "transformer->tokenizer"
    condition_choices: ClassVar[dict[str, Any]] = {}
    codes_have_places = False
    frames_per_second = 25.0

    def __init__(
        self,
        tokenizer: LARP,
        transformer: NeighbourTransformer,
        decoder: PlaneDecoder,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        RasterPipeline.__init__(self, sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder)
