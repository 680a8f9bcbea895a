"""The first blocks of the model itself, which write ahead of all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context, Proposal
from mmgen.decoding.drafters.reader import ReadingDrafter
from mmgen.decoding.drafters.stepwise import Path
from mmgen.decoding.options import option
from mmgen.errors import OptionError
from mmgen.sessions.session import Session

SCHEDULES = ("constant", "dynamic")


@dataclass
class EarlyExit(ReadingDrafter):
    """Tokens drawn one by one from what the model would say behind its first blocks.

    Self-speculation (Zhang et al. 2024, "Draft and Verify"; with an early exit as in Elhoushi et al. 2024, LayerSkip,
    section 4.3). Deviations: the evaluation that tests the drafts runs the first blocks again, and the model need not
    be trained for it.

    `dynamic` chooses exit and length for each row and window, where `choose` expects most tokens per block (Entezari
    Zarch et al. 2025, DEL, arXiv 2504.05598). Deviations: an exit's acceptance is the probability it shares with the
    model at committed positions, where the paper counts equal tokens; a draft does not end early for want of
    confidence; and a row drafts nothing where that is expected to pay best.
    """

    name = "early-exit"
    paper = "Zhang et al. 2024, arXiv 2309.08168; Elhoushi et al. 2024, arXiv 2404.16710"

    layer: int = option(1, "blocks that draft; `dynamic` starts with it", minimum=1, maximum=255)
    length: int = option(3, "tokens drafted for an evaluation; at most, where `dynamic`", minimum=1, maximum=255)
    schedule: str = option("constant", "whether layer and length are chosen anew for every window", choices=SCHEDULES)
    memory: float = option(0.9, "`dynamic`: what each committed token leaves of the past", minimum=0.0, maximum=1.0)

    def open(self, session: Session, window: int) -> None:
        if self.layer >= session.layers:
            raise OptionError("layer", self.layer, f"fewer than the {session.layers} blocks of the model")
        self._layers = torch.full((session.batch,), self.layer, device=session.device)
        self._lengths = torch.full_like(self._layers, self.length)
        self._shared = torch.zeros(session.batch, session.layers - 1, device=session.device)
        self._counted = torch.zeros(session.batch, device=session.device)

    def wanted(self, context: Context) -> Tensor:
        self._slots_read, self._exits = 0, [self.layer]
        if self.schedule == "dynamic" and context.probs is not None:
            self._learn(context, context.probs)
            known = self._counted > 0
            kept = self._shared / self._counted.clamp(min=1e-30)[:, None]
            layers, lengths = choose(kept, context.line.session.layers, self.length)
            self._layers = torch.where(known, layers, self._layers)
            self._lengths = torch.where(known, lengths, self._lengths)
            self._exits = self._layers.unique().tolist()
        return self._lengths

    def propose(self, context: Context) -> Proposal:
        proposal = super().propose(context)
        # What was read by the first blocks alone is read again by all of them.
        context.line.session.rewind(context.line.committed)
        return proposal

    def read(self, path: Path) -> Tensor:
        line = path.context.line
        tokens = torch.cat((line.token_at(line.committed[:, None] - 1), path.tokens[:, 0]), dim=1)
        line.session.rewind(line.committed + self._slots_read)
        law = line.session.score(tokens[:, self._slots_read :], layers=self._exits[-1])[:, -1]
        self._slots_read = tokens.shape[1]
        for layer in self._exits[:-1]:
            law = torch.where((self._layers == layer)[:, None], line.session.early(layer)[:, -1], law)
        return law

    def _learn(self, context: Context, probs: Tensor) -> None:
        """Adds what each exit shares with the model at the positions committed last, those of known tokens apart."""
        session, length = context.line.session, probs.shape[1]
        positions = context.start[:, None] + torch.arange(length, device=probs.device)
        free = session.known.gather(1, positions.clamp(max=session.length - 1)) < 0
        counted = (free & (positions < context.line.committed[:, None])).float()
        past = self.memory ** counted.sum(1)
        self._counted = self._counted * past + counted.sum(1)
        for layer in range(1, session.layers):
            shared = torch.minimum(probs, session.early(layer)[:, :length]).sum(-1)
            self._shared[:, layer - 1] = self._shared[:, layer - 1] * past + (shared * counted).sum(1)

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self._layers, self._lengths = self._layers[rows], self._lengths[rows]
        self._shared, self._counted = self._shared[rows], self._counted[rows]


def choose(kept: Tensor, layers: int, longest: int) -> tuple[Tensor, Tensor]:
    """The exit layer l and the draft length d of most expected tokens per block.

    Tokens per block are (1 - a^(d + 1)) / ((1 - a) (d l + L)), where a is how probably a draft of exit l is kept and L
    the model's blocks (DEL's tokens per layer).

    Args:
        kept: a of the exits 1, 2, ... of each row [B, exits], 0 to 1.
        layers: L.
        longest: most tokens of a draft; the least is 0.

    Returns:
        Layers, 1 or more, and lengths: int64 [B] each. The first of equals.
    """
    lengths = torch.arange(longest + 1, device=kept.device)
    exits = torch.arange(1, kept.shape[1] + 1, device=kept.device)
    tokens = (kept[..., None] ** lengths).cumsum(-1)
    best = (tokens / (exits[:, None] * lengths + layers)).flatten(1).argmax(-1)
    return best.div(longest + 1, rounding_mode="floor") + 1, best % (longest + 1)
