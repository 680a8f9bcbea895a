"""Captions of moving scenes to the embeddings a backbone is conditioned on."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.configuration_utils import register_to_config

from mmgen.scenes.encoder import FieldEncoder
from mmgen.scenes.grammar import BACKGROUNDS
from mmgen.scenes.motion import DIRECTIONS, MOVING_OBJECTS, SPEEDS, VERBS, MotionGrammar, MovingScene


class MovingSceneEncoder(FieldEncoder):
    """Embeds what a caption of a moving scene says.

    The fields are object, verb, direction and speed of the first and of the second object, and background.

    Args:
        objects: names of the objects that captions may use.
        size: channels C of an embedding.
    """

    @register_to_config
    def __init__(self, objects: Sequence[str] = MOVING_OBJECTS, size: int = 256) -> None:
        super().__init__()
        self.grammar = MotionGrammar(objects)
        motion = ((None, *VERBS), (None, *DIRECTIONS), (None, *SPEEDS))
        self._embed_fields((tuple(objects), *motion, (None, *objects), *motion, tuple(BACKGROUNDS)), size)

    def values(self, scene: MovingScene) -> tuple:
        """What a scene has in each field."""
        one, two = scene.motion, scene.second_motion
        first = (scene.first, one.verb, one.direction, one.speed)
        second = (scene.second, two.verb, two.direction, two.speed) if two is not None else (None,) * 4
        return (*first, *second, scene.background)
