"""The session of a raster transformer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mmgen.backbones.raster import RasterTransformer
from mmgen.errors import SizeError
from mmgen.layout import Tree
from mmgen.sampling import Sampling


class RasterSession:
    """Pictures being written in raster order; see `mmgen.sessions.session.Session`.

    Guidance pairs are rows of one forward: the rows under their prompts, then the rows without.

    Args:
        backbone: the model.
        condition: embeddings of the prompts [B, P, C].
        null_condition: embeddings of "no prompt" [B, P, C]; used where `sampling` is guided.
        sampling: how probabilities come from logits.
        known: tokens that are given, int64 [B, N] with -1 where free; None where all are free.
    """

    def __init__(
        self,
        backbone: RasterTransformer,
        condition: Tensor,
        null_condition: Tensor,
        sampling: Sampling,
        known: Tensor | None = None,
    ) -> None:
        self.backbone = backbone
        self.sampling = sampling
        self.layout = backbone.layout
        self.batch = condition.shape[0]
        self.length = backbone.layout.length
        self.vocabulary_size = backbone.vocabulary_size
        self.begin_token = backbone.begin_token
        self.device = condition.device
        if known is None:
            known = torch.full((self.batch, self.length), -1)
        if tuple(known.shape) != (self.batch, self.length):
            raise SizeError(f"known tokens of shape {tuple(known.shape)}", f"[{self.batch}, {self.length}]")
        self.known = known.to(self.device)
        self.constrained = bool((known >= 0).any())
        self._condition = torch.cat((condition, null_condition)) if sampling.guided else condition

    @torch.no_grad()
    def open(self, window: int) -> None:
        self._cache = self.backbone.new_cache(len(self._condition), slack=window)
        self.backbone.prefill(self._condition, self._cache)
        self._prompt_length = self._cache.lengths
        self._committed = torch.zeros(self.batch, dtype=torch.long, device=self.device)

    @torch.no_grad()
    def score(self, tokens: Tensor, tree: Tree | None = None) -> Tensor:
        logits = self.backbone(self._for_all_rows(tokens), self._cache, tree)
        if self.sampling.guided:
            probs = self.sampling.probabilities(*logits.chunk(2))
        else:
            probs = self.sampling.probabilities(logits)
        if not self.constrained:
            return probs
        depths = torch.arange(tokens.shape[1], device=self.device) if tree is None else tree.depths
        positions = self._committed[:, None] + depths
        known = self.known.gather(1, positions.clamp(max=self.length - 1))[..., None]
        return torch.where(known < 0, probs, one_hot(known.squeeze(-1).clamp(min=0), self.vocabulary_size).float())

    def rewind(self, lengths: Tensor) -> None:
        self._committed = lengths
        self._cache.rewind(self._prompt_length + self._for_all_rows(lengths))

    def select(self, rows: Tensor) -> None:
        all_rows = torch.cat((rows, rows + self.batch)) if self.sampling.guided else rows
        self._cache.select(all_rows)
        self._prompt_length = self._prompt_length[all_rows]
        self._committed, self.known = self._committed[rows], self.known[rows]
        self.batch = len(rows)

    def follow(self, nodes: Tensor) -> None:
        start = self._prompt_length + self._for_all_rows(self._committed)
        steps = torch.arange(nodes.shape[1], device=self.device)
        self._cache.move(start[:, None] + self._for_all_rows(nodes), start[:, None] + 1 + steps)

    def _for_all_rows(self, tensor: Tensor) -> Tensor:
        return torch.cat((tensor, tensor)) if self.sampling.guided else tensor
