"""MusicGen: music of a text (Copet et al. 2023, arXiv 2306.05284)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from mmgen.backbones.musicgen import MusicGenTransformer
from mmgen.checkpoints.text_tokenizers import read_text
from mmgen.codebook_layout import CodebookLayout
from mmgen.decoding.planes.decoder import PlaneDecoder
from mmgen.errors import PromptError
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.sound import SoundPipeline
from mmgen.sessions.codebooks import CodebookSession
from mmgen.tokenizers.sound_codecs import EnCodec

END_OF_TEXT = "</s>"
"""The word that ends a text for T5."""

_MOST_WORDS = 512
"""Words of a text that T5 was trained on, at most."""


class MusicGenPipeline(SoundPipeline):
    """Writes music to a text, mono or stereo: whichever the transformer was trained on.

    It was trained on 30 seconds. Longer music is written as audiocraft does it, in windows of so many that each add 18
    and begin with the 12 before them.

    The text is read by T5, and heard by every layer; words that pad a shorter text beside a longer one are not heard,
    as in transformers. (In audiocraft they are, as zeros, so that a text sounds another way beside a longer one.)

    Args:
        tokenizer: sound to codes and back.
        transformer: writes the codes.
        decoder: how the codes are written, of `mmgen.decoding.planes`; swap it by assignment.
        text_encoder: features of texts.
        text_tokenizer: texts to the text encoder's words.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
    """

    family = "codebooks"
    component_types = {
        "tokenizer": EnCodec,
        "transformer": MusicGenTransformer,
        "text_encoder": T5EncoderModel,
        "text_tokenizer": PreTrainedTokenizerFast,
    }
    model_cpu_offload_seq = "text_encoder->transformer->tokenizer"
    window, stride = 30.0, 18.0

    def __init__(
        self,
        tokenizer: EnCodec,
        transformer: MusicGenTransformer,
        decoder: PlaneDecoder,
        text_encoder: T5EncoderModel,
        text_tokenizer: PreTrainedTokenizerFast,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder, text_encoder=text_encoder,
            text_tokenizer=text_tokenizer,
        )  # fmt: skip

    def read(self, prompt: str) -> str:
        """A text."""
        if not isinstance(prompt, str) or not prompt.strip():
            raise PromptError(str(prompt), "is not a text", "say what to play")
        words = len(self._words(prompt.strip()))
        if words > _MOST_WORDS:
            raise PromptError(prompt, f"takes {words} words of the text encoder", f"use at most {_MOST_WORDS}")
        return prompt.strip()

    def order(self, frames: int) -> CodebookLayout:
        """Each codebook a frame later than the one before."""
        return self.transformer.layout(frames)

    def session(self, drawing: Drawing) -> CodebookSession:  # type: ignore[override]
        """The session a drawing's decoder writes in."""
        features, mask = self.text_features(drawing.subjects)
        layout: Any = drawing.layout
        return CodebookSession(
            self.transformer, layout, features, mask, drawing.sampling, drawing.known, self.cache_bits,
            self._codebooks(),
        )  # fmt: skip

    def text_features(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What T5 says of texts.

        Returns:
            Features [B, P, F], and which of them are of the texts: bool [B, P].
        """
        # Each by itself: beside a longer one, the last bits of a text's features would be others.
        read = {text: self._features(text) for text in texts}
        lengths = torch.tensor([len(read[text]) for text in texts], device=self._execution_device)
        most = int(lengths.max())
        features = torch.stack([pad(read[text], (0, 0, 0, most - len(read[text]))) for text in texts])
        return features, torch.arange(most, device=lengths.device) < lengths[:, None]

    def _features(self, text: str) -> Tensor:
        words = torch.tensor([self._words(text)], device=self._execution_device)
        return self.text_encoder(input_ids=words)[0][0].to(self.transformer.dtype)

    def _words(self, text: str) -> list[int]:
        end = self.text_tokenizer.convert_tokens_to_ids(END_OF_TEXT)
        return [*read_text(self.text_tokenizer, text), end]
