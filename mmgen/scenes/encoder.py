"""Captions to the embeddings a backbone is conditioned on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mmgen.scenes.grammar import BACKGROUNDS, COUNTS, POSITIONS, RELATIONS, SIZES, Grammar, Scene
from mmgen.scenes.objects import CHARACTERS


class SceneEncoder(ModelMixin, ConfigMixin):
    """Embeds what a caption says, one embedding for each of the grammar's fields.

    The fields are count, size, object, placement (position or relation), second size, second object
    and background. Captions are parsed first, so wordings of the same scene are one condition.

    Args:
        objects: names of the objects that captions may use.
        size: channels C of an embedding.
    """

    @register_to_config
    def __init__(self, objects: Sequence[str] = tuple(CHARACTERS), size: int = 256) -> None:
        super().__init__()
        self.grammar = Grammar(objects)
        self._fields: tuple[tuple, ...] = (
            COUNTS,
            SIZES,
            tuple(objects),
            (*POSITIONS, *RELATIONS, None),
            (None, *SIZES),
            (None, *objects),
            tuple(BACKGROUNDS),
        )
        starts = torch.tensor([0, *(len(field) for field in self._fields)]).cumsum(0)
        self._starts = starts[:-1].tolist()
        self.embedding = nn.Embedding(int(starts[-1]) + len(self._fields), size)
        nn.init.normal_(self.embedding.weight, std=0.5)

    @property
    def length(self) -> int:
        """Embeddings P of one caption."""
        return len(self._fields)

    def ids(self, scenes: Sequence[Scene]) -> Tensor:
        """The fields of scenes as rows of the embedding table: int64 [B, P]."""
        rows = [
            (
                scene.count,
                scene.size,
                scene.first,
                scene.position or scene.relation,
                scene.second_size,
                scene.second,
                scene.background,
            )
            for scene in scenes
        ]
        return torch.tensor(
            [
                [
                    start + field.index(value)
                    for start, field, value in zip(self._starts, self._fields, row, strict=True)
                ]
                for row in rows
            ]
        )

    def null_ids(self, batch: int) -> Tensor:
        """The fields of "no caption", for guidance: int64 [batch, P]."""
        count = self.embedding.num_embeddings
        return torch.arange(count - self.length, count).expand(batch, -1)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [B, P, C] of field ids [B, P]."""
        return self.embedding(ids.to(self.embedding.weight.device))

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings [B, P, C] of captions.

        Raises:
            PromptError: a prompt is outside the grammar.
        """
        return self(self.ids([self.grammar.parse(prompt) for prompt in prompts]))
