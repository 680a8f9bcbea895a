"""Captions of sound to the embeddings a backbone is conditioned on."""

from __future__ import annotations

from diffusers.configuration_utils import register_to_config

from mmgen.scenes.encoder import FieldEncoder
from mmgen.scenes.sound import (
    FIGURES,
    INSTRUMENTS,
    MODES,
    TEMPOS,
    TONES,
    VOICES,
    WORDS,
    SoundGrammar,
    SoundScene,
    Speech,
)


class SoundSceneEncoder(FieldEncoder):
    """Embeds what a caption of sound says.

    The fields are instrument, figure, tone and mode of what is played, voice and word of what is said, and tempo.

    Args:
        size: channels C of an embedding.
    """

    @register_to_config
    def __init__(self, size: int = 256) -> None:
        super().__init__()
        self.grammar = SoundGrammar()
        optional = (INSTRUMENTS, FIGURES, TONES, MODES, VOICES, WORDS)
        self._embed_fields([*((None, *field) for field in optional), tuple(TEMPOS)], size)

    def values(self, scene: SoundScene) -> tuple:
        """What a scene has in each field."""
        if isinstance(scene, Speech):
            return (*(None,) * 4, scene.voice, scene.word, scene.tempo)
        return scene.instrument, scene.figure, scene.tone, scene.mode, None, None, scene.tempo
