"""Sessions of lines that grow plane by plane: what decoders see of them, and that of neighbouring autoregression."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.neighbour import NeighbourTransformer
from mmgen.codebook import Codebook, Codebooks
from mmgen.errors import SizeError
from mmgen.layout import PlaneLayout
from mmgen.sampling import Sampling
from mmgen.sessions.known import known_tokens, make_certain


class PlaneSession(Protocol):
    """A batch of lines being written under their prompts, P planes of up to M tokens each.

    The tokens of a plane are independent of each other given all planes before it. A slot that holds no token counts
    as known: it holds 0. The session owns the cache, guidance, temperature, truncation and known tokens; the decoder
    owns none of them.

    Attributes:
        batch: rows B.
        vocabulary_size: ids V a token is chosen from.
        layout: which slots are used, and the place of each: noise is keyed by places.
        known: int64 [B, P, M]: the token a slot must hold, 0 where it holds none, or -1 where it is free.
        constrained: whether any token is known.
        device: where the tensors live.
        codebook: what the codes stand for, those of each slot where slots have codebooks of their own; or None.
    """

    batch: int
    vocabulary_size: int
    layout: PlaneLayout
    known: Tensor
    constrained: bool
    device: torch.device
    codebook: Codebook | Codebooks | None

    def open(self, window: int) -> None:
        """Starts the lines, and makes room for evaluations of up to `window` planes; the first reads the prompts."""

    def score(self, planes: Tensor) -> Tensor:
        """Evaluates the model once.

        Args:
            planes: int64 [B, L, M], continuing each row's line; the first is its last committed plane. Before the
                first plane, and in slots that hold no token, any ids will do.

        Returns:
            Probabilities of the tokens of the plane that follows each: float32 [B, L, M, V]. Slots that hold no token,
            and planes past the end, are certainly 0.
        """

    def rewind(self, lengths: Tensor | int) -> None:
        """Scoring goes on behind the first `lengths` planes.

        Args:
            lengths: int64 [B], or one number where all rows have the same: then the device need not be asked.
        """

    def select(self, rows: Tensor) -> None:
        """Goes on with `rows` [B'] alone: the others are finished."""


class NeighbourSession:
    """Grids of codes being written plane by plane; see `PlaneSession`.

    Guidance pairs are rows of one forward: the rows under their prompts, then the rows without. Where all rows have
    come equally far, only tokens are read and foretold, no padding. Stale slots of the cache lie in planes that are
    not written yet, and no token reads those.

    Args:
        backbone: the model.
        prompt: what the lines continue, one row each, all of one length.
        null_prompt: the same for "no prompt"; used where `sampling` is guided.
        sampling: how probabilities come from logits.
        known: tokens that are given, int64 [B, N] with -1 where free, in the order of the layout's line; None where
            there are none.
        cache_bits: bits of each key and value in the cache: 8, or None for the backbone's own type.
        codebook: what the codes stand for, if it is known.

    Raises:
        SizeError: known tokens of another shape, or prompts of another length than the backbone's.
    """

    def __init__(
        self,
        backbone: NeighbourTransformer,
        prompt: Prompt,
        null_prompt: Prompt,
        sampling: Sampling,
        known: Tensor | None = None,
        cache_bits: int | None = None,
        codebook: Codebook | None = None,
    ) -> None:
        self.backbone, self.sampling, self._cache_bits = backbone, sampling, cache_bits
        self.codebook: Codebook | Codebooks | None = codebook
        self.layout = layout = backbone.layout
        self.batch = len(prompt.embeddings)
        self.vocabulary_size = backbone.vocabulary_size
        self.device = prompt.embeddings.device
        self._prompt = prompt + null_prompt if sampling.guided else prompt
        self._prefix = backbone.condition_length
        if self._prompt.embeddings.shape[1] != backbone.prompt_length:
            given = f"a condition of {self._prompt.embeddings.shape[1]} embeddings"
            raise SizeError(given, str(backbone.prompt_length))
        known = known_tokens(known, layout, self.batch)
        self.constrained = bool((known >= 0).any())
        self.known = layout.fold(known.to(self.device))
        self._held = pad(self.known, (0, 0, 0, 1))
        self._starts = (0, *layout.ends)
        self._start = torch.tensor(self._starts, device=self.device)
        self._planes = torch.arange(layout.count + 1, device=self.device)
        self._line = torch.arange(layout.length, device=self.device)
        self._slots = self._line[: self.known.shape[2]]
        # One place behind the end takes what ragged rows read past it; embeddings of the condition see those before.
        levels = torch.cat((torch.arange(-self._prefix, 0), layout.levels, torch.tensor([layout.count])))
        self._level = levels.to(self.device)
        self._folded = pad(layout.folded, (0, 1)).to(self.device)

    @torch.no_grad()
    def open(self, window: int) -> None:
        rows = len(self._prompt.embeddings)
        self._cache = self.backbone.new_cache(rows, self._prefix + self.layout.length + 1, self._cache_bits)
        if self._prompt.hidden is not None:
            self._cache.hide(self._prompt.hidden)
        self.rewind(0)

    @torch.no_grad()
    def score(self, planes: Tensor) -> Tensor:
        window = planes.shape[1]
        committed, reads, writes = self._reach(window)
        first, written = self._start[(committed - 1).clamp(min=0)], self._start[committed]
        line = (first[:, None] + self._line[:reads]).clamp(max=self.layout.length)
        targets = (written[:, None] + self._line[:writes]).clamp(max=self.layout.length - 1)
        prompt, told = self.backbone.split(self._prompt.embeddings)
        condition = prompt if self._common == 0 else None
        self._make_visible(line, window)
        tokens = self._for_all_rows(self._tokens_at(planes, committed, line))
        features = self.backbone.features(tokens, self._for_all_rows(line), self._cache, condition, told)
        before = first if condition is None else first - 1
        logits = self.backbone.logits(features, self._for_all_rows(before), self._for_all_rows(targets))
        probs = self.sampling.probabilities(*(logits.chunk(2) if self.sampling.guided else (logits,)))
        return self._folded_probs(probs, committed, window)

    def rewind(self, lengths: Tensor | int) -> None:
        self._common: int | None = None
        if isinstance(lengths, int):
            self._common, self._reached = lengths, [lengths]
            self._lengths = self._planes[lengths : lengths + 1]
            return
        self._lengths = lengths
        self._reached = list(range(1, self.layout.count))
        if _is_known_here(lengths):
            self._reached = lengths.unique().tolist()
            if len(self._reached) == 1:
                self.rewind(self._reached[0])

    def select(self, rows: Tensor) -> None:
        all_rows = torch.cat((rows, rows + self.batch)) if self.sampling.guided else rows
        self._cache.select(all_rows)
        self._prompt = self._prompt.select(all_rows)
        self.known, self._held, self.batch = self.known[rows], self._held[rows], len(rows)
        if self._common is None:
            self._lengths = self._lengths[rows]

    def _reach(self, window: int) -> tuple[Tensor, int, int]:
        """Planes committed, int64 [B] or [1], and how many tokens are read and how many foretold in the widest row."""
        last, ends = self.layout.count, self._starts
        spans = [
            (ends[min(max(c + window - 1, 0), last - 1)] - ends[max(c - 1, 0)], ends[min(c + window, last)] - ends[c])
            for c in self._reached
        ]
        reads, writes = (max(widths) for widths in zip(*spans, strict=True))
        return self._lengths, max(reads, int(self._common != 0)), max(writes, 1)

    def _make_visible(self, line: Tensor, window: int) -> None:
        """Lets each token read the condition and all planes up to its own; of the condition, what stands before it."""
        if self._common is None:
            slots = self._for_all_rows(self._prefix + line)
            self._cache.open_at(slots, self._level <= self._level[slots][..., None])
            return
        start = self._starts[self._common - 1] + self._prefix if self._common else 0
        stop = start + line.shape[1] + (0 if self._common else self._prefix)
        one_plane = window == 1 and self._common > 0
        visible = None if one_plane else self._level[start:stop, None] >= self._level[:stop]
        self._cache.open_block(start, stop - start, visible)

    def _tokens_at(self, planes: Tensor, committed: Tensor, line: Tensor) -> Tensor:
        """The tokens [B, n] of a window's planes [B, L, M] that stand at places [B or 1, n] of the line."""
        slots = self._folded[line] - (committed[:, None] - 1) * planes.shape[2]
        flat = planes.flatten(1)
        return flat.gather(1, slots.clamp(0, flat.shape[1] - 1).expand(len(flat), -1))

    def _folded_probs(self, probs: Tensor, committed: Tensor, window: int) -> Tensor:
        """Laws [B, n, V] of a stretch of each row's line to planes [B, L, M, V], where what is known is certain."""
        width, end = self.known.shape[2], self.layout.count
        planes = (committed[:, None] + self._planes[:window]).clamp(max=end).expand(self.batch, -1)
        index = (self._start[planes] - self._start[committed][:, None])[..., None] + self._slots
        index = index.clamp(max=probs.shape[1] - 1).flatten(1)[..., None].expand(-1, -1, probs.shape[-1])
        folded = probs.gather(1, index).unflatten(1, (window, width))
        rows = torch.arange(self.batch, device=self.device)[:, None]
        return make_certain(folded, self._held[rows, planes])

    def _for_all_rows(self, tensor: Tensor) -> Tensor:
        """For the rows without the prompt, too; what is the same for all rows, [1, ...], stays so."""
        return torch.cat((tensor, tensor)) if self.sampling.guided and len(tensor) == self.batch else tensor


def _is_known_here(lengths: Tensor) -> bool:
    """Whether the host can read numbers without waiting for the device."""
    return lengths.device.type == "cpu"
