"""Small heads on the model's last feature, which foresee the tokens behind the next one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.drafters.drafter import Context
from mmgen.decoding.drafters.reader import free_slots
from mmgen.decoding.drafters.stepwise import Path, Stepwise
from mmgen.errors import OptionError
from mmgen.sessions.session import Session


@dataclass
class Heads(Stepwise):
    """Tokens drawn from heads trained on the model's features, without another evaluation of it.

    Medusa (Cai et al. 2024, section 2.1), or Hydra (Ankner et al. 2024, section 3) where the heads also see the tokens
    drafted before: the weights decide. At most as many slots are drafted as there are heads, none before the first
    evaluation. In `tree` they make Medusa's trees; deviation: candidates are drawn without replacement, where Medusa
    takes the likeliest.
    """

    name = "heads"
    paper = "Cai et al. 2024, arXiv 2401.10774; Ankner et al. 2024, arXiv 2402.05109"
    looks_back = True

    def open(self, session: Session, window: int) -> None:
        if session.heads == 0:
            raise OptionError("drafter", self.name, "a pipeline with trained heads, or another drafter")

    def begin(self, context: Context) -> Tensor:
        if context.probs is None:
            return torch.zeros_like(context.filled)
        self._fewest, self._most = (int(filled) for filled in context.filled.aminmax())
        return free_slots(context).clamp(max=context.line.session.heads)

    def law(self, path: Path) -> Tensor:
        context, session = path.context, path.context.line.session
        law = torch.ones(*path.tokens.shape[:2], session.vocabulary_size, device=path.tokens.device)
        if context.probs is None:
            return law
        # Finished rows have no node of the last evaluation, as they had no part in its width.
        node = torch.where(context.line.committed < session.length, context.node, 0)
        depths = path.slot - context.filled + 1
        deepest = min(session.heads, path.slot - self._fewest + 1)
        for depth in range(max(1, path.slot - self._most + 1), deepest + 1):
            since = torch.stack([path.back(distance) for distance in range(depth, 0, -1)], dim=-1)
            foreseen = session.foresee(node, since, path.positions, path.back(session.layout.width))
            law = torch.where((depths == depth)[:, None, None], foreseen, law)
        return law
