"""Captioned recordings for the recipes, rendered beside the training."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import torch
from torch import Tensor

from mmgen.scenes.sound import SoundScene
from mmgen.scenes.sound_render import render_sounds, rendering, sample_sound_scenes

SHARD = 256
"""Recordings rendered at once: making a synthesiser takes as long as playing some dozens."""


class SoundShards:
    """An endless line of recordings, shard by shard; while one is used, the next one is rendered.

    Args:
        seed: decides them all.
        speech: share of the recordings in which a word is said.
        size: recordings of a shard.
        held_out: as `sample_sound_scenes` has it; only what judges is trained on everything.
    """

    def __init__(self, seed: int, speech: float = 0.3, size: int = SHARD, held_out: bool | None = False) -> None:
        self.seed, self.speech, self.size, self.held_out = seed, speech, size, held_out
        self._number = -1
        self._current: tuple[list[SoundScene], Tensor]
        self._next: tuple[int, list[SoundScene], Future] | None = None

    def shard(self, number: int) -> tuple[list[SoundScene], Tensor]:
        """Scenes, and their waveforms [size, 1, samples] in [-1, 1].

        Raises:
            MissingDependencyError: FluidSynth, its soundfont or eSpeak NG is not installed.
        """
        if number != self._number:
            if self._next is None or self._next[0] != number:
                self._next = self._begun(number)
            _, scenes, future = self._next
            self._number, self._current = number, (scenes, to_waveforms(future.result()))
            self._next = self._begun(number + 1)
        return self._current

    def rows(self, step: int, count: int, uses: int = 4) -> tuple[int, Tensor]:
        """Which shard a step uses, and which of its recordings: they come in another order in each of `uses` rounds.

        Args:
            count: recordings of a step, a divisor of the shards' size.
        """
        rounds, place = divmod(step * count, self.size)
        order = np.random.default_rng((self.seed, 1, rounds)).permutation(self.size)[place : place + count]
        return rounds // uses, torch.from_numpy(order)

    def batch(self, step: int, count: int) -> tuple[list[SoundScene], Tensor]:
        """`count` scenes for a step, and their waveforms."""
        number, rows = self.rows(step, count)
        scenes, waveforms = self.shard(number)
        return [scenes[row] for row in rows], waveforms[rows]

    def scenes(self, number: int) -> list[SoundScene]:
        """The scenes of a shard; nothing is rendered."""
        generator = np.random.default_rng((self.seed, 2, number))
        return sample_sound_scenes(generator, self.size, self.speech, self.held_out)

    def _begun(self, number: int) -> tuple[int, list[SoundScene], Future]:
        scenes = self.scenes(number)
        return number, scenes, rendering(scenes, 1000 * self.seed + number)


def held_out_sounds(seed: int, count: int, speech: float = 0.3) -> tuple[list[SoundScene], Tensor]:
    """Scenes of combinations kept out of training, and their waveforms [count, 1, samples] in [-1, 1]."""
    scenes = sample_sound_scenes(np.random.default_rng((seed, 3)), count, speech, held_out=True)
    return scenes, to_waveforms(render_sounds(scenes, seed))


def to_waveforms(sounds: np.ndarray | Sequence[np.ndarray]) -> Tensor:
    """Sounds [B, samples] to waveforms [B, 1, samples]."""
    return torch.from_numpy(np.stack(list(sounds))).float()[:, None]
