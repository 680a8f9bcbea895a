"""The recipes of what is shipped: each remakes one folder of `tokenizers/` or `pipelines/`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from mmgen import catalog, decoding
from mmgen.backbones.raster import RasterTransformer
from mmgen.errors import UnknownNameError
from mmgen.pipelines.text_to_image import TextToImagePipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.scenes.objects import CHARACTERS
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.training.backbone import train_backbone
from mmgen.training.loop import Budget
from mmgen.training.tokenizer import fit_codebook, measure_tokenizer, train_decoder


@dataclass(frozen=True)
class TokenizerRecipe:
    """Makes an image tokenizer of scenes.

    Attributes:
        config: of `PatchVQ`.
        budget: of the decoder's training.
        pictures: scenes the codebook is fitted to.
        batch: pictures of a step.
    """

    config: dict
    budget: Budget
    pictures: int = 30_000
    batch: int = 16

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`."""
        torch.manual_seed(0)
        tokenizer, objects = PatchVQ(**self.config), tuple(CHARACTERS)
        codebook = work / "codebook.pt"
        if codebook.exists():
            tokenizer.codebook.data.copy_(torch.load(codebook, weights_only=True))
        else:
            log("fitting the codebook")
            fit_codebook(tokenizer, objects, self.pictures)
            work.mkdir(parents=True, exist_ok=True)
            torch.save(tokenizer.codebook.data, codebook)
        tokenizer.to(device)
        train_decoder(tokenizer, objects, self.budget, work / "decoder.pt", self.batch, log)
        write_tokenizer(tokenizer, destination)
        log(json.dumps(measure_tokenizer(tokenizer, objects)))


@dataclass(frozen=True)
class RasterRecipe:
    """Makes a raster text-to-image pipeline on a shipped tokenizer.

    Attributes:
        tokenizer: name of the tokenizer.
        transformer: configuration of `RasterTransformer`.
        budget: of the training.
        decoder: name of the pipeline's own decoder.
        decoder_options: its options.
        sampling: the pipeline's defaults.
        batch: pictures of a step.
    """

    tokenizer: str
    transformer: dict
    budget: Budget
    decoder: str
    decoder_options: dict
    sampling: dict
    batch: int = 16

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`."""
        from mmgen.pipelines.pipeline import load

        torch.manual_seed(0)
        tokenizer = load(self.tokenizer)
        transformer = RasterTransformer(**self.transformer).to(device)
        text_encoder = SceneEncoder(size=self.transformer["size"]).to(device)
        checkpoint = work / "backbone.pt"
        train_backbone(
            transformer, text_encoder, tokenizer, self.budget, checkpoint, self.batch, compile=compile, log=log
        )
        decoder = decoding.make(self.decoder, **self.decoder_options)
        pipe = TextToImagePipeline(tokenizer, text_encoder, transformer, decoder, self.sampling)
        write_pipeline(pipe.to("cpu"), destination, {"tokenizer": self.tokenizer})


RECIPES: dict[str, TokenizerRecipe | RasterRecipe] = {
    "emoji-patches": TokenizerRecipe(
        config={"codebook_size": 1024, "patch_size": 4, "image_size": 64, "size": 128, "layers": 3, "hidden_size": 384},
        budget=Budget(steps=1200, learning_rate=2e-3, decay_from=0.3),
    ),
    "emoji-64": RasterRecipe(
        tokenizer="emoji-patches",
        transformer={"size": 320, "layers": 4, "heads": 5, "hidden_size": 896},
        budget=Budget(steps=3000, learning_rate=4e-3, decay_from=0.45),
        decoder="jacobi",
        decoder_options={"window": 32},
        sampling={"guidance": 1.25, "temperature": 0.8},
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
) -> Path:
    """Remakes a shipped tokenizer or pipeline from its recipe; continues where an earlier run stopped.

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
    kind = "tokenizers" if isinstance(recipe, TokenizerRecipe) else "pipelines"
    destination = destination or catalog.root() / kind / name
    dataclasses.replace(recipe, budget=budget).run(destination, work / name, device, compile, log)
    return destination


def write_tokenizer(tokenizer: PatchVQ, folder: Path) -> None:
    """Writes a tokenizer's folder: its configuration and float32 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_config(folder)
    _save(tokenizer, folder / "model.safetensors")


def write_pipeline(pipe: TextToImagePipeline, folder: Path, shared: dict[str, str]) -> None:
    """Writes a pipeline's folder; components in `shared` are stored once, under `tokenizers/`."""
    folder.mkdir(parents=True, exist_ok=True)
    pipe.save_config(folder)
    for name in pipe.component_types:
        if name not in shared:
            (folder / name).mkdir(exist_ok=True)
            getattr(pipe, name).save_config(folder / name)
            _save(getattr(pipe, name), folder / name / "model.safetensors")
    pipe.decoder.save_pretrained(folder / "decoder")
    about = {"medium": pipe.medium, "family": pipe.family, "shared": shared}
    (folder / catalog.DESCRIPTION).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _save(model: torch.nn.Module, path: Path) -> None:
    state = {key: tensor.detach().float().cpu().contiguous() for key, tensor in model.state_dict().items()}
    save_file(state, path)
    path.chmod(0o644)  # safetensors keeps files to their owner, which breaks shared folders
