"""Scenes from captions, with a raster transformer of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.heads import TokenHeads
from mmgen.backbones.raster import RasterTransformer
from mmgen.decoding.decoder import Decoder
from mmgen.layout import RasterLayout
from mmgen.pipelines.raster import RasterPipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.scenes.grammar import Scene
from mmgen.tokenizers.patch_vq import PatchVQ


class TextToImagePipeline(RasterPipeline):
    """Draws pictures from captions; see `mmgen.scenes.grammar` for what can be said.

    Args:
        tokenizer: pictures to codes and back.
        text_encoder: captions to conditions.
        transformer: writes the codes.
        decoder: how the codes are written; swap it by assignment.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
        draft: a smaller transformer of the same vocabulary, for the drafter `draft-model`; may be absent.
        heads: heads trained on the transformer, for the drafter `heads`; may be absent.
    """

    component_types = {
        "tokenizer": PatchVQ,
        "text_encoder": SceneEncoder,
        "transformer": RasterTransformer,
        "draft": RasterTransformer,
        "heads": TokenHeads,
    }
    _optional_components = ["draft", "heads"]
    backbones = ("transformer", "draft", "heads")
    model_cpu_offload_seq = "text_encoder->draft->heads->transformer->tokenizer"

    def __init__(
        self,
        tokenizer: PatchVQ,
        text_encoder: SceneEncoder,
        transformer: RasterTransformer,
        decoder: Decoder,
        sampling: Mapping[str, Any] | None = None,
        draft: RasterTransformer | None = None,
        heads: TokenHeads | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder,
            draft=draft, heads=heads,
        )  # fmt: skip

    def read(self, prompt: str) -> Scene:
        """The scene a caption says."""
        return self.text_encoder.grammar.parse(prompt)

    def prompts(self, backbone: Any, subjects: Sequence[Scene], layout: RasterLayout) -> tuple[Prompt, Prompt]:
        """Conditions of the captions, and of no caption; both models read the same."""
        ids, null_ids = self.text_encoder.ids(subjects), self.text_encoder.null_ids(len(subjects))
        return Prompt(self.text_encoder(ids)), Prompt(self.text_encoder(null_ids))
