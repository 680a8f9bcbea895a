"""Recipe of the network that compares pictures: it learns to say what is in a scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mmgen.evaluation.features import PLACES, WEIGHTS_PATH, Answers, SceneFeatures
from mmgen.evaluation.recognition import Found
from mmgen.scenes.grammar import BACKGROUNDS, COUNTS, POSITIONS, SIZES, Scene
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.render import IMAGE_SIZE, OBJECT_PIXELS, UNIT, draw_scenes, place, render, sample_scene
from mmgen.training.loop import Budget, fit
from mmgen.training.pictures import to_images
from mmgen.training.recipe import Recipe

_OBJECTS = tuple(CHARACTERS)


@dataclass(frozen=True, kw_only=True)
class FeatureRecipe(Recipe):
    """Makes the network of `mmgen.evaluation.features`.

    Attributes:
        batch: scenes of a step.
        scenes: held-out scenes that set the scale of the features, and are measured.
    """

    folder: str = "mmgen/evaluation"
    batch: int = 32
    scenes: int = 4000

    @property
    def destination(self) -> Path:
        """The folder of the shipped weights: inside the package."""
        return WEIGHTS_PATH.parent

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains, and writes `features.safetensors` into the folder `destination`; float16, half the bytes.

        Args:
            work: folder for checkpoints.
            device: a torch device.
            compile: not used.
            log: called with lines about the training; the last is what `measure_features` says.
        """
        torch.manual_seed(0)
        network = SceneFeatures().to(device)
        train_features(network, self.budget, work / "features.pt", self.batch, log)
        network.to("cpu").eval()
        set_scale(network, self.scenes)
        destination.mkdir(parents=True, exist_ok=True)
        path = destination / WEIGHTS_PATH.name
        save_file({key: tensor.detach().half().contiguous() for key, tensor in network.state_dict().items()}, path)
        path.chmod(0o644)  # safetensors keeps files to their owner, which breaks shared folders
        log(json.dumps(measure_features(network, self.scenes)))


RECIPE = FeatureRecipe(budget=Budget(steps=2400, learning_rate=6e-3, decay_from=0.4))
"""Of the shipped weights, for which the schedule ran by time: 12 minutes on one core, which made 2,323 steps."""


def train_features(
    network: SceneFeatures, budget: Budget, checkpoint: Path, batch: int, log: Callable[[str], None] = print
) -> None:
    """Trains the network to answer each question about scenes that are not held out."""
    device = network.stem.weight.device

    def loss_of_step(step: int) -> Tensor:
        images, true, covered = draw_answered((10, step), batch)
        local = network.local(images.to(device))
        said = network.answer(local.mean((1, 2)))
        return loss(said, Answers(*(part.to(device) for part in true))) + cross_entropy(
            network.covered(local).flatten(0, 2), covered.to(device).flatten()
        )

    fit(network, loss_of_step, budget, checkpoint, log)


def loss(said: Answers, true: Answers) -> Tensor:
    """Cross entropy in nats, summed over the questions: binary where several answers can be true."""
    several = sum(
        binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1).mean()
        for logits, target in zip(said[:3], true[:3], strict=True)
    )
    return several + cross_entropy(said.background, true.background) + cross_entropy(said.number, true.number)


def draw_answered(seed: tuple[int, ...], count: int, held_out: bool = False) -> tuple[Tensor, Answers, Tensor]:
    """Draws scenes at random, their pictures, and what is true of them.

    Args:
        seed: decides the batch.
        held_out: draw only combinations kept out of training; otherwise only the others.

    Returns:
        Pictures [count, 3, 64, 64] in [-1, 1], answers that are 0 or 1, and what `covering` says of each.
    """
    generator = np.random.default_rng(seed)
    pictures: list[np.ndarray] = []
    answers: list[Answers] = []
    covers: list[Tensor] = []
    for number, scene in enumerate(draw_scenes(lambda: sample_scene(generator, _OBJECTS), count, held_out)):
        # Rendering draws the places first: the same seed says where they are.
        places = (*seed, 1 + number)  # numpy takes a 0 at the end for nothing
        pictures.append(render(scene, np.random.default_rng(places)))
        placed = place(scene, np.random.default_rng(places))
        answers.append(true_answers(scene, placed))
        covers.append(covering(placed))
    true = Answers(*(torch.stack(parts) for parts in zip(*answers, strict=True)))
    return to_images(pictures), true, torch.stack(covers)


def true_answers(scene: Scene, placed: list[tuple[str, str, int, int]]) -> Answers:
    """What is true of one picture, without the batch axis; `placed` is what `place` returned for it."""
    found = [
        Found(name, size, UNIT * row + OBJECT_PIXELS[size] / 2, UNIT * column + OBJECT_PIXELS[size] / 2, 1.0)
        for name, size, row, column in placed
    ]
    return Answers(
        objects=_marks(_OBJECTS, {thing.name for thing in found}),
        sizes=_marks(SIZES, {thing.size for thing in found}),
        places=_marks(POSITIONS, {thing.position for thing in found}),
        background=_marks(tuple(BACKGROUNDS), {scene.background}),
        number=_marks(COUNTS, {len(found)}),
    )


def covering(placed: list[tuple[str, str, int, int]]) -> Tensor:
    """Which object covers the middle of each place of the network: int64 [8, 8], 0 for none, else 1 + its number."""
    middles = (torch.arange(PLACES) + 0.5) * IMAGE_SIZE / PLACES
    covered = torch.zeros(PLACES, PLACES, dtype=torch.long)
    for name, size, row, column in placed:
        inside = [(middles - UNIT * start).div(OBJECT_PIXELS[size]).floor() == 0 for start in (row, column)]
        covered[inside[0][:, None] & inside[1]] = 1 + _OBJECTS.index(name)
    return covered


def _marks(choices: tuple, chosen: set) -> Tensor:
    return torch.tensor([float(choice in chosen) for choice in choices])


@torch.no_grad()
def set_scale(network: SceneFeatures, scenes: int = 4000) -> None:
    """Scales the features so that their total variance over held-out scenes is 1; answers stay as they were."""
    features = torch.cat([network(images) for images, _, _ in _held_out(scenes)])
    scale = features.double().var(0).sum().rsqrt().item()
    network.features.weight.mul_(scale)
    network.features.bias.mul_(scale)
    network.answers.weight.div_(scale)
    network.covered.weight.div_(scale)


@torch.no_grad()
def measure_features(network: SceneFeatures, scenes: int = 4000) -> dict[str, float]:
    """Shares of held-out scenes of which a question is answered without a fault, and `everything`: all five."""
    right: dict[str, list[Tensor]] = {name: [] for name in Answers._fields}
    for images, true, _ in _held_out(scenes):
        said = network.answer(network(images))
        for name in ("objects", "sizes", "places"):
            right[name].append(((getattr(said, name) > 0) == (getattr(true, name) > 0)).all(-1))
        for name in ("background", "number"):
            right[name].append(getattr(said, name).argmax(-1) == getattr(true, name).argmax(-1))
    shares = {name: torch.cat(parts) for name, parts in right.items()}
    everything = torch.stack(list(shares.values())).all(0)
    return {name: float(part.float().mean()) for name, part in (shares | {"everything": everything}).items()}


def _held_out(scenes: int, batch: int = 100) -> list[tuple[Tensor, Answers, Tensor]]:
    return [draw_answered((11, start), min(batch, scenes - start), held_out=True) for start in range(0, scenes, batch)]
