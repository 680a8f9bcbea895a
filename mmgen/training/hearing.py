"""Recipe of the network that judges sound: it learns to say what plays, and which word is said by whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmgen.evaluation.hearing import WEIGHTS_PATH, SoundHearing, answers_of, log_mel
from mmgen.training.loop import Budget, fit
from mmgen.training.recipe import Recipe
from mmgen.training.sounds import SoundShards, held_out_sounds


@dataclass(frozen=True, kw_only=True)
class HearingRecipe(Recipe):
    """Makes the network of `mmgen.evaluation.hearing`.

    It hears all combinations, those too that are kept out of what it judges: a judge must know what it asks for.

    Attributes:
        batch: recordings of a step.
        measured: held-out recordings it is measured on.
    """

    folder: str = "mmgen/evaluation"
    batch: int = 32
    measured: int = 200

    @property
    def destination(self) -> Path:
        """The folder of the shipped weights: inside the package."""
        return WEIGHTS_PATH.parent

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains, and writes `hearing.safetensors` into the folder `destination`; float16, half the bytes."""
        torch.manual_seed(0)
        network, shards = SoundHearing().to(device), SoundShards(seed=30, speech=0.5, held_out=None)

        def loss_of_step(step: int) -> Tensor:
            scenes, waveforms = shards.batch(step, self.batch)
            spectra = blemished(log_mel(waveforms[:, 0].to(device)), step)
            return answer_loss(network(spectra), answers_of(scenes).to(device))

        fit(network, loss_of_step, self.budget, work / "hearing.pt", log)
        network.to("cpu").eval()
        destination.mkdir(parents=True, exist_ok=True)
        path = destination / WEIGHTS_PATH.name
        save_file({key: tensor.detach().half().contiguous() for key, tensor in network.state_dict().items()}, path)
        path.chmod(0o644)  # safetensors keeps files to their owner, which breaks shared folders
        log(json.dumps(measure_hearing(network, self.measured)))


def answer_loss(said: tuple[Tensor, ...], true: Tensor) -> Tensor:
    """Cross entropy in nats, summed over the questions; logits [B, choices] each, true answers int64 [B, 3]."""
    losses = [cross_entropy(logits, own) for logits, own in zip(said, true.unbind(-1), strict=True)]
    return torch.stack(losses).sum()


def blemished(spectra: Tensor, seed: int) -> Tensor:
    """Spectra from `log_mel` as poor codecs and models leave them, so that the network judges those, too.

    Each recording has noise of its own in every place, another balance of its bands, and a floor of hiss.

    Args:
        spectra: [B, frames, bands].
        seed: decides what is drawn.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(spectra.device)

    rows, frames, bands = spectra.shape
    noise = 0.04 * drawn(rows, 1, 1).abs() * drawn(rows, frames, bands)
    tilt = 0.05 * drawn(rows, 1, 1) * torch.linspace(-1, 1, bands, device=spectra.device)
    floor = -1 + 0.15 * drawn(rows, 1, 1).abs()
    return (spectra + noise + tilt).maximum(floor + 0.02 * drawn(rows, frames, bands)).clamp(min=-1)


@torch.no_grad()
def measure_hearing(network: SoundHearing, recordings: int) -> dict[str, float]:
    """Shares of held-out recordings of which a question is answered rightly, of those that it concerns."""
    scenes, waveforms = held_out_sounds(31, recordings, speech=0.5)
    true = answers_of(scenes)
    said = torch.stack([logits.argmax(-1) for logits in network(log_mel(waveforms[:, 0]))], dim=-1)
    names = ("instrument", "voice", "word")
    concerned = [true[:, place] > 0 for place in range(len(names))]
    return {
        name: float((said[rows, place] == true[rows, place]).float().mean())
        for place, (name, rows) in enumerate(zip(names, concerned, strict=True))
    }


RECIPE = HearingRecipe(budget=Budget(steps=400, learning_rate=4e-3, decay_from=0.4))
