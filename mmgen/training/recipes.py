"""The recipes of what is shipped: each remakes one folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from mmgen.errors import UnknownNameError
from mmgen.training import features
from mmgen.training.backbone import DraftRecipe, RasterRecipe
from mmgen.training.heads import HeadsRecipe
from mmgen.training.loop import Budget
from mmgen.training.recipe import Recipe
from mmgen.training.scales import PyramidRecipe, ScalesRecipe, SmallScalesRecipe
from mmgen.training.tokenizer import TokenizerRecipe

RECIPES: dict[str, Recipe] = {
    "emoji-patches": TokenizerRecipe(
        folder="tokenizers/emoji-patches",
        config={"codebook_size": 1024, "patch_size": 4, "image_size": 64, "size": 128, "layers": 3, "hidden_size": 384},
        budget=Budget(steps=1200, learning_rate=2e-3, decay_from=0.3),
    ),
    "emoji-64": RasterRecipe(
        folder="pipelines/emoji-64",
        tokenizer="emoji-patches",
        transformer={"size": 320, "layers": 4, "heads": 5, "hidden_size": 896},
        budget=Budget(steps=3000, learning_rate=4e-3, decay_from=0.45),
        decoder="jacobi",
        decoder_options={"window": 32},
        sampling={"guidance": 1.25, "temperature": 0.8},
    ),
    "emoji-64-draft": DraftRecipe(
        folder="pipelines/emoji-64/draft",
        pipeline="emoji-64",
        layers=1,
        budget=Budget(steps=500, learning_rate=4e-3, decay_from=0.4),
    ),
    "emoji-64-heads": HeadsRecipe(
        folder="pipelines/emoji-64/heads",
        pipeline="emoji-64",
        kind="hydra",
        hidden_size=320,
        depths=4,
        budget=Budget(steps=960, learning_rate=1e-2, decay_from=0.4),
    ),
    "emoji-scales": PyramidRecipe(
        folder="tokenizers/emoji-scales",
        patches="emoji-patches",
        sizes=(1, 2, 4, 8, 16),
        colours=64,
        budget=Budget(steps=20),
    ),
    "emoji-64-scales": ScalesRecipe(
        folder="pipelines/emoji-64-scales",
        tokenizer="emoji-scales",
        transformer={"size": 320, "layers": 4, "heads": 5, "hidden_size": 896},
        budget=Budget(steps=3000, learning_rate=4e-3, decay_from=0.45),
        decoder_options={"passes": 8, "entropy": 0.5},
        sampling={"guidance": 1.25, "temperature": 0.8},
    ),
    "emoji-64-scales-small": SmallScalesRecipe(
        folder="pipelines/emoji-64-scales/draft",
        pipeline="emoji-64-scales",
        transformer={"size": 160, "layers": 4, "heads": 5, "hidden_size": 448},
        budget=Budget(steps=3000, learning_rate=6e-3, decay_from=0.45),
    ),
    "scene-features": features.RECIPE,
}


def train(
    name: str,
    destination: Path | None = None,
    work: Path = Path("runs"),
    minutes: float | None = None,
    steps: int | None = None,
    device: str = "cpu",
    compile: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """Remakes what is shipped from its recipe; continues where an earlier run stopped.

    Args:
        name: a key of `RECIPES`.
        destination: folder to write; the shipped one by default.
        work: folder for checkpoints.
        minutes: end the schedule after this many minutes even if steps are left.
        steps: optimiser steps in place of the recipe's.
        device: a torch device.
        compile: compile the training step where the recipe can.

    Returns:
        The folder that was written.

    Raises:
        UnknownNameError: there is no such recipe.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    recipe = RECIPES[name]
    budget = dataclasses.replace(recipe.budget, minutes=minutes, steps=steps or recipe.budget.steps)
    destination = destination or recipe.destination
    dataclasses.replace(recipe, budget=budget).run(destination, work / name, device, compile, log)
    return destination
