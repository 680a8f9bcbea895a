"""The optimisers of the recipes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised (Jordan et al. 2024), for matrices of hidden layers.

    `torch.optim.Muon` orthogonalises in bfloat16, which processors without bfloat16 units run several
    times slower than float32; this one keeps float32, and treats projections stored as one matrix
    (queries, keys and values) as the separate matrices they are. Updates are scaled to the root mean
    square of AdamW's (Liu et al. 2025, "Muon is scalable", section 2.2), so one learning rate fits both.

    Args:
        named_parameters: names and matrices; names end as in `mmgen.backbones.blocks.Block`.
        lr: learning rate, on AdamW's scale.
        momentum: of the gradient average, with Nesterov's look-ahead.
        weight_decay: decoupled.
    """

    _PARTS = {"qkv.weight": 3, "gate_up.weight": 2}

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        lr: float = 2e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        groups: dict[int, list[nn.Parameter]] = {}
        for name, parameter in named_parameters:
            parts = self._PARTS.get(".".join(name.split(".")[-2:]), 1)
            groups.setdefault(parts, []).append(parameter)
        super().__init__(
            [{"params": parameters, "parts": parts} for parts, parameters in groups.items()],
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["average"] = torch.zeros_like(parameter)
                average = state["average"].lerp_(parameter.grad, 1 - group["momentum"])
                look_ahead = parameter.grad.lerp(average, group["momentum"])
                matrices = look_ahead.unflatten(0, (group["parts"], -1))
                update = orthogonalize(matrices) * (0.2 * max(matrices.shape[-2:]) ** 0.5)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.flatten(0, 1), alpha=group["lr"])


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, by a quintic Newton-Schulz iteration (Jordan et al. 2024).

    Args:
        matrices: [..., M, N].
    """
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    for _ in range(iterations):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide else x.mT


def split_parameters(module: nn.Module) -> tuple[list[tuple[str, nn.Parameter]], list[nn.Parameter]]:
    """Parameters for `Muon` (matrices inside blocks, with names) and for AdamW (all others that train)."""
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    hidden = [(name, parameter) for name, parameter in named if parameter.ndim == 2 and "blocks." in name]
    chosen = {name for name, _ in hidden}
    return hidden, [parameter for name, parameter in named if name not in chosen]
