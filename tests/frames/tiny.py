"""Weights of tiny models."""

from __future__ import annotations

from torch import Generator, nn


def spread(model: nn.Module) -> nn.Module:
    """A model with fixed weights whose laws are far from flat."""
    generator = Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0, 0.3, generator=generator)
    return model.eval().requires_grad_(False)
