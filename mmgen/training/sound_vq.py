"""Recipe of the codec of sound: principal components of spectra, and k-means codebooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmgen.codebook import nearest
from mmgen.evaluation.sound import measure_sounds
from mmgen.evaluation.spectra import spectral_distance
from mmgen.scenes.sound import Speech
from mmgen.tokenizers.sound_vq import SoundVQ
from mmgen.training.folders import write_model
from mmgen.training.k_means import centres_of
from mmgen.training.recipe import Recipe
from mmgen.training.sounds import SoundShards, held_out_sounds

SPEECH = 0.4
"""Share of the recordings in which a word is said."""
_SILENT = 0.05
"""Mean of a logarithmic spectrum up to which it is not fitted to: silence needs one code, and there is much of it."""


@dataclass(frozen=True, kw_only=True)
class SoundVQRecipe(Recipe):
    """Makes a codec of sound, its weights in float16. `budget` has the iterations of k-means as its steps.

    Attributes:
        config: of `SoundVQ`.
        fitted: recordings the codebooks are fitted to.
        measured: held-out recordings it is measured on.
    """

    config: dict
    fitted: int = 1024
    measured: int = 200

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Fits and writes `destination`; the last line logged says what was measured. It takes a minute or two."""
        codec = SoundVQ(**self.config)
        log("playing")
        _, waveforms = SoundShards(seed=22, speech=SPEECH, size=self.fitted).shard(0)
        log("fitting the codebooks")
        fit_codes(codec, waveforms, self.budget.steps)
        codec.half().float()  # what is measured is what is written
        write_model(codec, destination, torch.float16)
        log(json.dumps(measure_codec(codec, self.measured)))


@torch.no_grad()
def fit_codes(codec: SoundVQ, waveforms: Tensor, iterations: int, seed: int = 0) -> None:
    """Sets mean and basis by principal components of the spectra of recordings, and each codebook by k-means.

    A codebook is fitted to what the ones before it leave. The first vector of each goes to silence.
    """
    spectra = torch.cat([codec.spectra(part).flatten(0, 1) for part in waveforms.split(16)])
    spectra = spectra[spectra.mean(-1) > _SILENT]
    codec.mean.copy_(spectra.mean(0))
    spectra -= codec.mean
    directions = torch.linalg.eigh(spectra.T @ spectra / len(spectra)).eigenvectors
    codec.basis.copy_(directions[:, -len(codec.basis) :].T)
    rest, silence = spectra @ codec.basis.T, -codec.mean @ codec.basis.T
    generator = torch.Generator().manual_seed(seed)
    for vectors in codec.vectors:
        vectors[0] = silence
        vectors[1:] = centres_of(rest, torch.ones(len(rest)), len(vectors) - 1, iterations, generator)
        rest, silence = rest - vectors[nearest(rest, vectors)], torch.zeros_like(silence)


@torch.no_grad()
def measure_codec(codec: SoundVQ, recordings: int) -> dict[str, Any]:
    """Quality on held-out recordings.

    Returns:
        `music_spectral_distance` and `speech_spectral_distance`; `codes_used`: share of each codebook's codes that
        occur; `judge` and `judge_of_originals`: what `measure_sounds` says of what comes back, and of what went in.
    """
    scenes, waveforms = held_out_sounds(23, recordings)
    codes = torch.cat([codec.encode(part) for part in waveforms.split(16)])
    decoded = torch.cat([codec.decode(part) for part in codes.split(16)])
    spoken = torch.tensor([isinstance(scene, Speech) for scene in scenes])
    distances = {
        f"{name}_spectral_distance": float(spectral_distance(decoded[rows, 0], waveforms[rows, 0]))
        for name, rows in (("music", ~spoken), ("speech", spoken))
    }
    return distances | {
        "codes_used": [len(book.unique()) / codec.codebook_size for book in codes.unbind(1)],
        "judge": measure_sounds(decoded[:, 0].numpy(), scenes).to_dict(),
        "judge_of_originals": measure_sounds(waveforms[:, 0].numpy(), scenes).to_dict(),
    }
