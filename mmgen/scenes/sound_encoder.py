"""Captions of sound to the embeddings a backbone is conditioned on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from mmgen.scenes.encoder import FieldEncoder
from mmgen.scenes.score import FRAMES_A_SECOND, SECONDS, moments
from mmgen.scenes.sound import INSTRUMENTS, TEMPOS, VOICES, WORDS, SoundGrammar, SoundScene, Speech

_KEYS = range(48, 97)
"""Keys of MIDI that scores may have, and some more."""
_NOTE = range(46)
"""Frames since the onset of a note, or until that of the next: the last note is the longest."""


class SoundSceneEncoder(FieldEncoder):
    """Embeds what a caption of sound says, frame by frame.

    A caption is read as musicians read one: its scale, arpeggio or chords become a score, and each frame is told which
    keys sound and since when, and which come next and how soon, as transformers of speech are told phonemes and their
    lengths (FastSpeech, Ren et al. 2019, arXiv 1905.09263). What instruments and voices sound like, and how words are
    said, is left to the transformer.

    The fields of a frame are the instrument; three keys, lowest first, and the frames since they began; the three that
    come next, and the frames until then; voice and word; and tempo.

    Args:
        size: channels C of an embedding.
    """

    @register_to_config
    def __init__(self, size: int = 256) -> None:
        super().__init__()
        self.grammar = SoundGrammar()
        sounding = (*3 * (_KEYS,), _NOTE)
        optional = (INSTRUMENTS, *sounding, *sounding, VOICES, WORDS)
        self._embed_fields([*((None, *field) for field in optional), tuple(TEMPOS)], size)
        self._rows = [
            {value: start + place for place, value in enumerate(field)}
            for start, field in zip(self._starts, self._fields, strict=True)
        ]

    @property
    def length(self) -> int:
        """Embeddings P of one caption: one a frame."""
        return SECONDS * FRAMES_A_SECOND

    def values(self, scene: SoundScene) -> tuple:
        """What each frame of a scene has in each field."""
        if isinstance(scene, Speech):
            return self.length * ((*9 * (None,), scene.voice, scene.word, scene.tempo),)
        return tuple(
            (scene.instrument, *_three(now.keys), now.since, *_three(now.coming), now.until, None, None, scene.tempo)
            for now in moments(scene)
        )

    def ids(self, scenes: Sequence[SoundScene]) -> Tensor:
        """The fields of frames as rows of the embedding table: int64 [B, P, fields]."""
        return torch.tensor([[self._row(frame) for frame in self.values(scene)] for scene in scenes])

    def null_ids(self, batch: int) -> Tensor:
        """The fields of "no caption": int64 [batch, P, fields]."""
        return super().null_ids(batch)[:, None].expand(-1, self.length, -1)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [B, P, C] of field ids [B, P, fields]: the sum of each frame's."""
        return super().forward(ids).sum(-2)

    def _row(self, frame: tuple) -> list[int]:
        return list(map(dict.__getitem__, self._rows, frame))


def _three(keys: tuple[int, ...]) -> tuple[int | None, ...]:
    """A chord's keys, or a note's and two that are not there."""
    return (*keys, *(3 - len(keys)) * (None,))
