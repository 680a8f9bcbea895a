"""The loop every recipe runs: a budget, a schedule, a log line, a checkpoint, and resuming from it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mmgen.training.optimizer import Muon, split_parameters


@dataclass(frozen=True)
class Budget:
    """How long a training runs and how it goes about it.

    Attributes:
        steps: optimiser steps in all.
        minutes: wall-clock minutes in all, over all resumed runs; None for no limit. Whichever of the
            two is nearer decides how far the schedule has come, so a slow machine still ends at a
            learning rate of zero.
        learning_rate: at its highest: a warm-up over the first 2%, then constant, then down to zero.
        decay_from: share of the budget at which the learning rate starts to fall.
        save_seconds: time between two checkpoints.
        log_steps: steps between two log lines.
    """

    steps: int
    minutes: float | None = None
    learning_rate: float = 2e-3
    decay_from: float = 0.4
    save_seconds: float = 120.0
    log_steps: int = 20

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is used up, 0 to 1."""
        share = step / self.steps
        if self.minutes is not None:
            share = max(share, seconds / (60 * self.minutes))
        return min(share, 1.0)

    def rate(self, progress: float) -> float:
        """Learning rate at a share of the budget."""
        return self.learning_rate * min(progress / 0.02 + 0.01, 1.0, (1 - progress) / (1 - self.decay_from))


def fit(
    model: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    budget: Budget,
    checkpoint: Path,
    log: Callable[[str], None] = print,
) -> None:
    """Trains `model` in place, and resumes where `checkpoint` stands.

    Args:
        loss_of_step: the loss of one fresh batch; the step number seeds the batch, so a resumed run
            sees the pictures an undisturbed one would have seen.
        checkpoint: file of weights and optimiser state, written whole or not at all.
    """
    hidden, others = split_parameters(model)
    muon = Muon(hidden)
    adam = torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0)
    step, before = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        step, before = state["step"], state["seconds"]
        log(f"resumed at step {step}")
    started = saved = time.monotonic()
    window: list[float] = []
    while True:
        seconds = before + time.monotonic() - started
        progress = budget.progress(step, seconds)
        if progress >= 1:
            break
        rate = budget.rate(progress)
        for optimizer in (muon, adam):
            for group in optimizer.param_groups:
                group["lr"] = rate
        loss = loss_of_step(step)
        model.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        muon.step()
        adam.step()
        step += 1
        window.append(loss.item())
        if step % budget.log_steps == 0:
            log(f"step {step}  loss {sum(window) / len(window):.4f}  lr {rate:.2e}  {seconds:.0f} s")
            window.clear()
        if time.monotonic() - saved > budget.save_seconds:
            save(checkpoint, model, muon, adam, step, before + time.monotonic() - started)
            saved = time.monotonic()
    save(checkpoint, model, muon, adam, step, before + time.monotonic() - started)


def save(path: Path, model: nn.Module, muon: Muon, adam: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Writes a checkpoint, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict()}
    partial = path.with_suffix(".partial")
    torch.save(state | {"step": step, "seconds": seconds}, partial)
    os.replace(partial, path)
