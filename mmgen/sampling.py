"""Logits to probabilities: this defines the distribution p that exact decoders reproduce."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from mmgen.errors import OptionError

_COLDEST = 1e-6
"""Below this temperature quotients leave the range of float32, and the likeliest token is the answer."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from logits.

    Attributes:
        guidance: weight of classifier-free guidance (Ho and Salimans 2022), 0 to 50; 1 is without.
        temperature: divides the logits, 0 to 10; 0 always takes the likeliest token.
        top_k: keep the k likeliest tokens (and those that tie with the last); 0 keeps all.
        top_p: keep the likeliest tokens whose probabilities first reach p (Holtzman et al. 2020),
            above 0 and up to 1; 1 keeps all.

    Raises:
        OptionError: a value is out of range.
    """

    guidance: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        checks = (
            ("guidance", "a number from 0 to 50", _is_number(self.guidance) and 0 <= self.guidance <= 50),
            ("temperature", "a number from 0 to 10", _is_number(self.temperature) and 0 <= self.temperature <= 10),
            ("top_k", "a whole number, 0 or more", type(self.top_k) is int and self.top_k >= 0),
            ("top_p", "a number above 0 and up to 1", _is_number(self.top_p) and 0 < self.top_p <= 1),
        )
        for name, needed, holds in checks:
            if not holds:
                raise OptionError(name, getattr(self, name), needed)

    @property
    def guided(self) -> bool:
        """Whether logits without the condition are needed."""
        return self.guidance != 1

    def to_dict(self) -> dict[str, float | int]:
        """The settings by name."""
        return asdict(self)

    def probabilities(self, conditional: Tensor, unconditional: Tensor | None = None) -> Tensor:
        """Probabilities of the next token.

        Args:
            conditional: logits [..., V] under the condition.
            unconditional: logits without it; needed where `guided`.

        Returns:
            float32 [..., V], summing to one.
        """
        logits = conditional.float()
        if unconditional is not None:
            logits = unconditional.float().lerp(logits, self.guidance)
        if self.temperature < _COLDEST:
            return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, dim=-1).values[..., -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probs = logits.softmax(-1)
        if self.top_p < 1:
            ordered, order = probs.sort(dim=-1, descending=True, stable=True)
            before = ordered.cumsum(-1) - ordered
            probs = probs.masked_fill((before >= self.top_p).scatter(-1, order, before >= self.top_p), 0)
            probs = probs / probs.sum(-1, keepdim=True)
        return probs


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
