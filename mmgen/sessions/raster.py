"""The session of a raster transformer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.backbones.backbone import Backbone, Prompt
from mmgen.backbones.heads import TokenHeads
from mmgen.backbones.raster import RasterTransformer
from mmgen.cache import KVCache
from mmgen.codebook import Codebook
from mmgen.errors import OptionError
from mmgen.layout import RasterLayout, Tree
from mmgen.sampling import Sampling
from mmgen.sessions.known import known_tokens, make_certain


class RasterSession:
    """Pictures being written in raster order; see `mmgen.sessions.session.Session`.

    Guidance pairs are rows of one forward: the rows under their prompts, then the rows without.

    Args:
        backbone: the model.
        layout: the grid.
        prompt: what the lines continue, one row each.
        null_prompt: the same for "no prompt"; used where `sampling` is guided.
        sampling: how probabilities come from logits.
        known: tokens that are given, int64 [lines, N] with -1 where free; None where those of the layout alone are.
        draft: the session of a smaller model under the same prompts, if there is one.
        heads: trained on the backbone's features, if there are some.
        codebook: what the codes stand for, if it is known.
        cache_bits: bits of each key and value in the cache: 8, or None for the backbone's own type.
        batch: lines to write at once, the others wait for one of them to be finished; None writes all at once. Lines
            that wait have the same known places as the others.

    Raises:
        SizeError: known tokens of another shape.
        OptionError: some lines would wait, and known places differ.
    """

    def __init__(
        self,
        backbone: Backbone,
        layout: RasterLayout,
        prompt: Prompt,
        null_prompt: Prompt,
        sampling: Sampling,
        known: Tensor | None = None,
        draft: RasterSession | None = None,
        heads: TokenHeads | None = None,
        codebook: Codebook | None = None,
        cache_bits: int | None = None,
        batch: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.sampling = sampling
        self.layout = layout
        lines = len(prompt.embeddings)
        self.batch = min(batch or lines, lines)
        self.waiting = lines - self.batch
        self.length = layout.length
        self.vocabulary_size = backbone.vocabulary_size
        self.begin_token = backbone.begin_token
        self.device = prompt.embeddings.device
        self.layers = len(backbone.blocks)
        self.draft, self.codebook = draft, codebook
        self.heads = 0 if heads is None else heads.depths
        self._heads = heads
        self._cache_bits = cache_bits
        self._streams: list[Tensor] = []
        known = known_tokens(known, layout, lines)
        if self.waiting and not bool(((known >= 0) == (known[:1] >= 0)).all()):
            raise OptionError("batch", batch, f"None, or {lines}: known places differ from line to line")
        self._all_known, self._lines = known.to(self.device), lines
        self.known = self._all_known[: self.batch]
        self.constrained = bool((known >= 0).any())
        self._prompt = prompt + null_prompt if sampling.guided else prompt

    @torch.no_grad()
    def open(self, window: int) -> None:
        prompt = self._prompt_of(torch.arange(self.batch, device=self.device))
        self._room = 1 + self.length + window
        self._cache = self._read(prompt)
        self._prompt_length, self._begin = prompt.prefix, prompt.begin
        self._committed = torch.zeros(self.batch, dtype=torch.long, device=self.device)

    @torch.no_grad()
    def renew(self, rows: Tensor) -> Tensor:
        begun = self._lines - self.waiting
        lines = torch.arange(begun, min(begun + len(rows), self._lines), device=self.device)
        rows = rows[: len(lines)]
        self.waiting -= len(lines)
        prompt = self._prompt_of(lines)
        all_rows = torch.cat((rows, rows + self.batch)) if self.sampling.guided else rows
        # In a cache of the same size: attention sums over as many slots, and so in the same order.
        self._cache.adopt(all_rows, self._read(prompt), prompt.embeddings.shape[1])
        self._prompt_length = self._prompt_length.index_copy(0, all_rows, prompt.prefix)
        if self._begin is not None and prompt.begin is not None:
            self._begin = self._begin.index_copy(0, all_rows, prompt.begin)
        self._committed = self._committed.index_fill(0, rows, 0)
        self.known = self.known.index_copy(0, rows, self._all_known[lines])
        return lines

    def _prompt_of(self, lines: Tensor) -> Prompt:
        """What some lines continue, and their guidance rows behind them."""
        if len(lines) == self._lines:
            return self._prompt
        return self._prompt.select(torch.cat((lines, lines + self._lines)) if self.sampling.guided else lines)

    def _read(self, prompt: Prompt) -> KVCache:
        """A cache that holds a prompt, and has room for a line."""
        rows, length = prompt.embeddings.shape[:2]
        cache = self.backbone.new_cache(rows, length + self._room, self._cache_bits)
        if prompt.hidden is not None:
            cache.hide(prompt.hidden)
        if length > prompt.ends_in_begin:
            self.backbone.prefill(prompt.embeddings[:, : length - prompt.ends_in_begin], cache)
        cache.rewind(prompt.prefix)
        return cache

    @torch.no_grad()
    def score(self, tokens: Tensor, tree: Tree | None = None, layers: int | None = None) -> Tensor:
        self._streams = self.backbone.streams(self._for_all_rows(tokens), self._cache, tree, layers, self._begin)
        probs = self.early(len(self._streams))
        if not self.constrained:
            return probs
        depths = torch.arange(tokens.shape[1], device=self.device) if tree is None else tree.depths
        return self._make_known_certain(probs, self._committed[:, None] + depths)

    @torch.no_grad()
    def score_at(self, tokens: Tensor, places: Tensor, present: Tensor) -> Tensor:
        places = places.expand(self.batch, -1)
        seen = self._for_all_rows(present.expand(self.batch, -1).scatter(1, places, True))
        own = self._for_all_rows(places)
        held = torch.arange(self._cache.capacity, device=self.device) - self._prompt_length[:, None]
        readable = (held < 0) | seen.gather(1, held.clamp(0, self.length))
        visible = readable[:, None] & (held[:, None] <= own[..., None])
        slots = self._prompt_length[:, None] + own
        tokens = self._for_all_rows(tokens)
        self._streams = self.backbone.streams_at(tokens, self._cache, slots, visible, self._begin)
        probs = self.early(len(self._streams))
        return self._make_known_certain(probs, places) if self.constrained else probs

    def _make_known_certain(self, probs: Tensor, positions: Tensor) -> Tensor:
        """Laws [B, L, V] of positions [B, L], where known tokens have all of the probability."""
        return make_certain(probs, self.known.gather(1, positions.clamp(max=self.length - 1)))

    @torch.no_grad()
    def early(self, layers: int) -> Tensor:
        return self._probabilities(self.backbone.head(self.backbone.norm(self._streams[layers - 1])))

    @torch.no_grad()
    def foresee(self, nodes: Tensor, path: Tensor, positions: Tensor, above: Tensor) -> Tensor:
        assert self._heads is not None and isinstance(self.backbone, RasterTransformer)
        last = self._streams[-1]
        features = self.backbone.norm(last[torch.arange(len(last), device=self.device), self._for_all_rows(nodes)])
        path, positions, above = (self._for_all_rows(value) for value in (path, positions, above))
        features = features[:, None].expand(-1, path.shape[1], -1)
        positions = positions[:, None].expand(path.shape[:2])
        logits = self._heads.logits(self.backbone, features, path.shape[-1], path, positions, above)
        return self._probabilities(logits)

    def rewind(self, lengths: Tensor) -> None:
        self._committed = lengths
        self._cache.rewind(self._prompt_length + self._for_all_rows(lengths))

    def select(self, rows: Tensor) -> None:
        all_rows = torch.cat((rows, rows + self.batch)) if self.sampling.guided else rows
        self._cache.select(all_rows)
        self._prompt_length = self._prompt_length[all_rows]
        self._begin = None if self._begin is None else self._begin[all_rows]
        self._streams = [stream[all_rows] for stream in self._streams]
        self._committed, self.known = self._committed[rows], self.known[rows]
        self.batch = len(rows)

    def follow(self, nodes: Tensor) -> None:
        start = self._prompt_length + self._for_all_rows(self._committed)
        steps = torch.arange(nodes.shape[1], device=self.device)
        self._cache.move(start[:, None] + self._for_all_rows(nodes), start[:, None] + 1 + steps)

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities [B, ..., V] from logits of all rows; what stands for no code is only ever known."""
        probs = self.sampling.probabilities(*(logits.chunk(2) if self.sampling.guided else (logits,)))
        others = self.vocabulary_size - probs.shape[-1]
        return pad(probs, (0, others)) if others else probs

    def _for_all_rows(self, tensor: Tensor) -> Tensor:
        return torch.cat((tensor, tensor)) if self.sampling.guided else tensor
