"""Pictures of a class or a caption, plane by plane (He et al. 2025, "Neighboring Autoregressive Modeling")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.decoding import planes
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.llamagen import LlamaGenPipeline
from mmgen.pipelines.raster import RasterPipeline
from mmgen.sessions.planes import NeighbourSession
from mmgen.tokenizers.vqgan import VQGAN


class NeighbourPipeline(LlamaGenPipeline):
    """Draws a class of ImageNet, or a caption: prompts and conditions are LlamaGen's, the order is that of planes.

    Args:
        tokenizer: pictures to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.planes`; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        text_encoder: features of captions; absent from class-conditional pipelines.
        text_tokenizer: captions to the text encoder's ids; likewise.
    """

    family = "neighbour"
    algorithms: ClassVar[Any] = planes
    decoder_type = PlaneDecoder
    component_types = {
        "tokenizer": VQGAN,
        "transformer": NeighbourTransformer,
        "text_encoder": T5EncoderModel,
        "text_tokenizer": PreTrainedTokenizerFast,
    }
    backbones = ("transformer",)
    _optional_components = ["text_encoder", "text_tokenizer"]
    model_cpu_offload_seq = "text_encoder->transformer->tokenizer"

    def __init__(
        self,
        tokenizer: VQGAN,
        transformer: NeighbourTransformer,
        decoder: PlaneDecoder,
        sampling: Mapping[str, Any] | None = None,
        text_encoder: T5EncoderModel | None = None,
        text_tokenizer: PreTrainedTokenizerFast | None = None,
    ) -> None:
        RasterPipeline.__init__(
            self, sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder, text_encoder=text_encoder,
            text_tokenizer=text_tokenizer,
        )  # fmt: skip

    def session(self, drawing: Drawing) -> NeighbourSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        prompts = self.prompts(self.transformer, drawing.subjects, drawing.layout, **drawing.conditions)
        return NeighbourSession(self.transformer, *prompts, drawing.sampling, drawing.known, self.cache_bits)
