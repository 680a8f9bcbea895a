"""Captions to the embeddings a backbone is conditioned on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mmgen.scenes.grammar import BACKGROUNDS, COUNTS, POSITIONS, RELATIONS, SIZES, Grammar, Scene
from mmgen.scenes.objects import CHARACTERS


class FieldEncoder(ModelMixin, ConfigMixin):
    """Embeds what a caption says, one embedding for each field of what its grammar parses it to.

    Captions are parsed first, so wordings of the same scene are one condition. A subclass sets `grammar`, says the
    `values` of a scene, and calls `_embed_fields` once its own arguments are registered.
    """

    grammar: Any

    @abstractmethod
    def values(self, scene: Any) -> tuple:
        """What a scene has in each field."""

    def _embed_fields(self, fields: Sequence[tuple], size: int) -> None:
        """Makes the table: a row for each value of each field, then one for each field of "no caption"."""
        self._fields = tuple(fields)
        starts = torch.tensor([0, *(len(field) for field in self._fields)]).cumsum(0)
        self._starts = starts[:-1].tolist()
        self.embedding = nn.Embedding(int(starts[-1]) + len(self._fields), size)
        nn.init.normal_(self.embedding.weight, std=0.5)

    @property
    def length(self) -> int:
        """Embeddings P of one caption."""
        return len(self._fields)

    def ids(self, scenes: Sequence[Any]) -> Tensor:
        """The fields of scenes as rows of the embedding table: int64 [B, P]."""
        rows = [zip(self._starts, self._fields, self.values(scene), strict=True) for scene in scenes]
        return torch.tensor([[start + field.index(value) for start, field, value in row] for row in rows])

    def null_ids(self, batch: int) -> Tensor:
        """The fields of "no caption", for guidance: int64 [batch, P]."""
        count = self.embedding.num_embeddings
        return torch.arange(count - len(self._fields), count).expand(batch, -1)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [B, P, C] of field ids [B, P]."""
        return self.embedding(ids.to(self.embedding.weight.device))

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings [B, P, C] of captions.

        Raises:
            PromptError: a prompt is outside the grammar.
        """
        return self(self.ids([self.grammar.parse(prompt) for prompt in prompts]))


class SceneEncoder(FieldEncoder):
    """Embeds what a caption of a picture says.

    The fields are count, size, object, placement (position or relation), second size, second object
    and background.

    Args:
        objects: names of the objects that captions may use.
        size: channels C of an embedding.
    """

    @register_to_config
    def __init__(self, objects: Sequence[str] = tuple(CHARACTERS), size: int = 256) -> None:
        super().__init__()
        self.grammar = Grammar(objects)
        fields = (
            COUNTS,
            SIZES,
            tuple(objects),
            (*POSITIONS, *RELATIONS, None),
            (None, *SIZES),
            (None, *objects),
            tuple(BACKGROUNDS),
        )
        self._embed_fields(fields, size)

    def values(self, scene: Scene) -> tuple:
        """What a scene has in each field."""
        placement = scene.position or scene.relation
        return (
            scene.count,
            scene.size,
            scene.first,
            placement,
            scene.second_size,
            scene.second,
            scene.background,
        )
