"""A student of a transformer of captions: it writes all scales of a picture from noise at once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmgen.backbones.captioned_scales import Caption, CaptionedScaleTransformer
from mmgen.backbones.linear import Linear


@dataclass(frozen=True)
class Noised:
    """What a student reads of B pictures whose first scales are known.

    Attributes:
        pictures: [B, L - 1, code channels], for each token but the first the picture of the known scales before it,
            from the tokenizer's `next_input`; None where there is one token.
        noise: standard normal [B, L, code channels]; that of known scales is not read.
        known: how many scales are known, the first ones.
    """

    pictures: Tensor | None
    noise: Tensor
    known: int


class CaptionedStudent(CaptionedScaleTransformer):
    """Says of every token what noise becomes, given a caption and the picture of some of the first scales.

    A student in the manner of Distilled Decoding (Liu et al. 2024, arXiv 2412.17153; theirs of VAR is
    `DistilledTransformer`), but as near to its teacher as can be: it has the teacher's weights and line, and two more
    embeddings, which start at zero. Deviations from DD1:

    - A slot reads what its teacher reads there, the picture so far made as large as its scale: that of the known
      scales, however many are missing in between. So a student that was never trained says of the next scale what its
      teacher says without guidance. DD1's reads the vectors of known codes.
    - Added to that are the noise, and an embedding of how many scales are missing. DD1's has two, for codes and for
      noise, of which it tells every block.
    - A token sees the noise of its own scale, too, since its teacher may draw some tokens of a scale before others.
    - There is one head, of logits. DD1's says vectors, too.

    Args: as of `CaptionedScaleTransformer`.
    """

    # What loads it reads the names of its arguments.
    @functools.wraps(CaptionedScaleTransformer.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        channels, size = self.config["code_channels"], self.config["size"]
        self.noise_embedding = Linear(channels, size, bias=False)
        self.missing_embedding = nn.Embedding(len(self.layout.sizes) + 1, size)
        """Row 0 is for known scales, row 1 for the next, row 2 for the one behind it ..."""
        nn.init.zeros_(self.noise_embedding.weight)
        nn.init.zeros_(self.missing_embedding.weight)

    @classmethod
    def of(cls, teacher: CaptionedScaleTransformer) -> CaptionedStudent:
        """The student that a training starts from."""
        config = {name: value for name, value in teacher.config.items() if not name.startswith("_")}
        student = cls(**config)
        student.load_state_dict(student.state_dict() | teacher.state_dict())
        return student.to(teacher.device)

    def _embed(self, inputs: Noised, condition: Caption, span: slice, shown: Tensor | None) -> Tensor:  # type: ignore[override]
        """The tokens of the line's first scales, behind the caption."""
        x = super()._embed(inputs.pictures, condition, span, shown)
        prefix = condition.embeddings.shape[1]
        missing = (self.levels[prefix : x.shape[1]] - inputs.known + 1).clamp(min=0)
        noise = torch.where(missing[:, None] > 0, inputs.noise, 0).to(x.dtype)
        told = self.noise_embedding(noise) + self.missing_embedding(missing)
        return x + nn.functional.pad(told, (0, 0, prefix, 0))
