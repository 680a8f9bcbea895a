"""The recipes of what is shipped: each remakes one folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from mmgen.errors import OptionError, UnknownNameError
from mmgen.pipelines.text_to_image import TextToImagePipeline
from mmgen.pipelines.text_to_image_scales import TextToImageScalesPipeline
from mmgen.pipelines.text_to_sound import TextToSoundMaskedPipeline, TextToSoundPipeline
from mmgen.pipelines.text_to_video import TextToVideoNeighbourPipeline, TextToVideoPipeline
from mmgen.pipelines.text_to_video_frames import TextToVideoFramesPipeline
from mmgen.training import features, hearing
from mmgen.training.backbone import DraftRecipe, RasterRecipe
from mmgen.training.causal_patches import CausalPatchesRecipe
from mmgen.training.distilled import DistilledRecipe, Turn
from mmgen.training.frames import FramesRecipe
from mmgen.training.heads import HeadsRecipe
from mmgen.training.loop import Budget
from mmgen.training.masked_sound import MaskedSoundRecipe
from mmgen.training.pyramid import PyramidRecipe
from mmgen.training.recipe import Recipe
from mmgen.training.scales import ScalesRecipe, SmallScalesRecipe
from mmgen.training.sound import SoundRecipe
from mmgen.training.sound_vq import SoundVQRecipe
from mmgen.training.tokenizer import TokenizerRecipe
from mmgen.training.video import VideoRecipe

RECIPES: dict[str, Recipe] = {
    "emoji-patches": TokenizerRecipe(
        folder="tokenizers/emoji-patches",
        config={"codebook_size": 1024, "patch_size": 4, "image_size": 64, "size": 128, "layers": 3, "hidden_size": 384},
        budget=Budget(steps=1200, learning_rate=2e-3, decay_from=0.3),
    ),
    "emoji-64": RasterRecipe(
        folder="pipelines/emoji-64",
        tokenizer="emoji-patches",
        pipeline=TextToImagePipeline,
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
        pipeline=TextToImageScalesPipeline,
        transformer={"size": 320, "layers": 4, "heads": 5, "hidden_size": 896},
        budget=Budget(steps=4200, learning_rate=4e-3, decay_from=0.45),
        decoder="scale-wise",
        decoder_options={"passes": 3, "entropy": 2.0},
        sampling={"guidance": 2.0, "temperature": 0.5},
    ),
    "emoji-64-scales-small": SmallScalesRecipe(
        folder="pipelines/emoji-64-scales/draft",
        pipeline="emoji-64-scales",
        transformer={"size": 160, "layers": 4, "heads": 5, "hidden_size": 448},
        first=3,
        budget=Budget(steps=3000, learning_rate=6e-3, decay_from=0.45),
    ),
    "emoji-64-scales-distilled": DistilledRecipe(
        folder="pipelines/emoji-64-scales-distilled",
        pipeline="emoji-64-scales",
        tokenizer="emoji-scales",
        decoder_options={"starts": "0, 3, 4", "split": 5},
        pairs={3: 4096, 5: 768},
        turns=(Turn(0, 3, 64), Turn(3, 4, 32), Turn(0, 3, 64), Turn(4, 5, 16)),
        budget=Budget(steps=800, learning_rate=1e-3, decay_from=0.4),
    ),
    "moving-patches": CausalPatchesRecipe(
        folder="tokenizers/moving-patches",
        config={"codebook_size": 1024, "patch_size": 8, "frame_stride": 4, "ways": (8, 16, 32), "layers": 2},
        budget=Budget(steps=600, learning_rate=2e-3, decay_from=0.3),
    ),
    "moving-64": VideoRecipe(
        folder="pipelines/moving-64",
        tokenizer="moving-patches",
        pipeline=TextToVideoPipeline,
        transformer={"size": 320, "layers": 4, "heads": 5, "hidden_size": 896},
        budget=Budget(steps=2500, learning_rate=4e-3, decay_from=0.45),
        decoder="jacobi",
        decoder_options={"window": 64, "drafter": "frame-repeat"},
        sampling={"guidance": 1.0, "temperature": 0.6},
    ),
    "moving-64-neighbour": VideoRecipe(
        folder="pipelines/moving-64-neighbour",
        tokenizer="moving-patches",
        pipeline=TextToVideoNeighbourPipeline,
        transformer={"size": 320, "layers": 3, "heads": 5, "hidden_size": 896},
        budget=Budget(steps=2500, learning_rate=4e-3, decay_from=0.45),
        decoder="plane-wise",
        decoder_options={},
        sampling={"guidance": 1.0, "temperature": 0.6},
    ),
    "moving-64-frames": FramesRecipe(
        folder="pipelines/moving-64-frames",
        tokenizer="moving-patches",
        pipeline=TextToVideoFramesPipeline,
        transformer={"size": 320, "layers": 4, "heads": 5, "hidden_size": 896},
        budget=Budget(steps=2500, learning_rate=4e-3, decay_from=0.45),
        decoder="masked-refinement",
        decoder_options={"passes": 8},
        sampling={"guidance": 1.25, "temperature": 0.8},
    ),
    "scene-features": features.RECIPE,
    "sound-codes": SoundVQRecipe(
        folder="tokenizers/sound-codes",
        config={"codebooks": 4, "codebook_size": 1024, "code_size": 128},
        budget=Budget(steps=12),
    ),
    "sound-hearing": hearing.RECIPE,
    "sound-16k": SoundRecipe(
        folder="pipelines/sound-16k",
        tokenizer="sound-codes",
        pipeline=TextToSoundPipeline,
        transformer={"size": 256, "layers": 4, "heads": 4, "hidden_size": 704},
        budget=Budget(steps=4000, learning_rate=4e-3, decay_from=0.45),
        decoder="jacobi",
        decoder_options={"window": 16},
        sampling={"guidance": 1.0, "temperature": 0.4},
    ),
    "sound-16k-masked": MaskedSoundRecipe(
        folder="pipelines/sound-16k-masked",
        start_from="sound-16k",
        tokenizer="sound-codes",
        pipeline=TextToSoundMaskedPipeline,
        transformer={"size": 256, "layers": 4, "heads": 4, "hidden_size": 704},
        budget=Budget(steps=2500, learning_rate=4e-3, decay_from=0.45),
        decoder="masked-spans",
        decoder_options={"passes": 2, "fine_passes": 1},
        sampling={"guidance": 1.0, "temperature": 0.7},
    ),
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
    start_from: str | None = None,
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
        start_from: name or folder of a pipeline whose weights it begins with, where there is no checkpoint; the
            recipe's own by default.

    Returns:
        The folder that was written.

    Raises:
        UnknownNameError: there is no such recipe.
        OptionError: `start_from` does not fit the recipe, or the recipe cannot start from anything.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    recipe = RECIPES[name]
    budget = dataclasses.replace(recipe.budget, minutes=minutes, steps=steps or recipe.budget.steps)
    destination = destination or recipe.destination
    if start_from is not None and not recipe.trained:
        able = [other for other, recipe in RECIPES.items() if recipe.trained]
        raise OptionError("start_from", start_from, f"left out: only {', '.join(able)} can start from a pipeline")
    dataclasses.replace(recipe, budget=budget, start_from=start_from or recipe.start_from).run(
        destination, work / name, device, compile, log
    )
    return destination
