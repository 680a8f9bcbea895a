"""The captions the shipped video models understand, and what each one means.

    caption    := thing ["while" thing] [["on" | "with" | "against"] colour "background"]
    thing      := object "stays" | object [speed] "moves" [speed] [direction] [speed] | the same with "bounces"
    direction  := "up" | "down" | "to the left" | "to the right" | "from left to right" | "from the top to the bottom"
    speed      := "slowly" | "normally" | "quickly" (and slow, steadily, fast); normal where nothing is said
    colour     := one of `mmgen.scenes.grammar.BACKGROUNDS`; white where nothing is said

What moves starts at one edge, goes straight to the other and stays there; what bounces turns round at the edges. Where
no direction is given, things move to the right and bounce upwards. Articles, case and punctuation make no difference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmgen.errors import PromptError
from mmgen.scenes.captions import CaptionGrammar, Words, normalise, spellings
from mmgen.scenes.grammar import Grammar

BALLS: dict[str, tuple[int, int, int]] = {
    "red ball": (222, 48, 48),
    "yellow ball": (250, 200, 40),
    "green ball": (52, 168, 72),
    "blue ball": (48, 104, 224),
}
"""Balls of one colour; the other objects are those of pictures."""
MOVING_OBJECTS: tuple[str, ...] = (
    *BALLS,
    "soccer ball",
    "cat",
    "dog",
    "rabbit",
    "penguin",
    "frog",
    "turtle",
    "fish",
    "butterfly",
    "automobile",
    "airplane",
    "rocket",
    "sailboat",
    "star",
    "red heart",
    "robot",
)
VERBS = ("stays", "moves", "bounces")
DIRECTIONS = ("right", "left", "down", "up")
SPEEDS: dict[str, int] = {"slowly": 2, "normally": 4, "quickly": 8}
"""Pixels from one frame to the next."""

_VERB_WORDS = {
    "stays": "stays stay staying stands standing sits sitting rests resting",
    "moves": "moves move moving goes going slides sliding travels travelling",
    "bounces": "bounces bounce bouncing jumps jumping hops hopping",
}
_VERBS = {word: verb for verb, words in _VERB_WORDS.items() for word in words.split()}
_SPEED_WORDS = {"slow": "slowly", "steadily": "normally", "fast": "quickly", "quick": "quickly", "rapidly": "quickly"}
_SPEED_WORDS |= {word: word for word in SPEEDS}
_DIRECTION_WORDS = {
    "right": ("right", "rightwards", "to the right", "from left to right", "left to right", "right and left"),
    "left": ("left", "leftwards", "to the left", "from right to left", "right to left", "left and right"),
    "down": ("down", "downwards", "to the bottom", "from the top to the bottom", "top to bottom", "down and up"),
    "up": ("up", "upwards", "to the top", "from the bottom to the top", "bottom to top", "up and down"),
}
_DIRECTIONS = {phrase: direction for direction, phrases in _DIRECTION_WORDS.items() for phrase in phrases}
_PHRASES = {normalise(phrase).strip(): direction for phrase, direction in _DIRECTIONS.items()}
_DEFAULT_DIRECTIONS = {"stays": None, "moves": "right", "bounces": "up"}
_STILL = ("", "still", "put", "where it is")


@dataclass(frozen=True)
class Motion:
    """What an object does.

    Attributes:
        verb: one of `VERBS`.
        direction: one of `DIRECTIONS`, the first one of what bounces; None of what stays.
        speed: a key of `SPEEDS`; None of what stays.
    """

    verb: str = "stays"
    direction: str | None = None
    speed: str | None = None

    @property
    def axis(self) -> int | None:
        """0 where it goes up or down, 1 where to the left or right, None where it stays."""
        return None if self.direction is None else int(self.direction in ("left", "right"))


STILL = Motion()


@dataclass(frozen=True)
class MovingScene:
    """What one caption asks for, with every default filled in.

    Attributes:
        first: name of the object, or of the first of two.
        motion: what it does.
        second: name of the second object, else None.
        second_motion: what that does, else None; along the same axis as the first, or one of both stays.
        background: a key of `mmgen.scenes.grammar.BACKGROUNDS`.
    """

    first: str
    motion: Motion = STILL
    second: str | None = None
    second_motion: Motion | None = None
    background: str = "white"

    @property
    def things(self) -> dict[str, Motion]:
        """The objects by name and what each does, in the order of the caption."""
        first = {self.first: self.motion}
        return first if self.second is None else first | {self.second: self.second_motion or STILL}


@dataclass(frozen=True)
class StagedScene:
    """A moving scene, and where its objects start, which captions leave open.

    Attributes:
        scene: what the caption asks for.
        starts: pixel row and column of each object's upper left corner in the first frame, in the order of the caption;
            None where nothing is said of them.
    """

    scene: MovingScene
    starts: tuple[tuple[int, int], ...] | None = None


class MotionGrammar(CaptionGrammar[MovingScene]):
    """Captions of moving scenes to scenes and back, for a given list of objects.

    Args:
        objects: names the captions may use, keys of `BALLS` or of `mmgen.scenes.objects.CHARACTERS`.
    """

    medium = "video"

    def __init__(self, objects: Sequence[str] = MOVING_OBJECTS) -> None:
        self.objects = tuple(objects)
        self._words = Grammar(objects, everything=f"there are {', '.join(objects)}")

    def parse(self, prompt: str) -> MovingScene:
        background, text = self._words.take_background(prompt, normalise(prompt))
        halves = re.split(r"\s(?:while|as)\s", text)
        if len(halves) > 2:
            raise PromptError(prompt, f"{len(halves)} objects move", "name one, or two joined by 'while'")
        first, *others = (self._read_thing(prompt, half) for half in halves)
        if not others:
            return MovingScene(*first, background=background)
        second = others[0]
        if first[0] == second[0]:
            raise PromptError(prompt, f"both objects are a {first[0]}", "name two different objects")
        if None not in (axes := {first[1].axis, second[1].axis}) and len(axes) == 2:
            raise PromptError(
                prompt,
                "the ways of both objects cross",
                "let both go up or down, or both left or right, or let one stay",
            )
        return MovingScene(*first, *second, background=background)

    def describe(self, scene: MovingScene) -> str:
        things = " while ".join(f"{_article(name)} {_describe(motion)}" for name, motion in scene.things.items())
        return f"{things} on a {scene.background} background"

    def words(self) -> Words:
        still = self._words.words()
        return {
            "objects": still["objects"],
            "motions": spellings(VERBS, _VERBS),
            "directions": spellings(DIRECTIONS, _DIRECTIONS),
            "speeds": spellings(SPEEDS, _SPEED_WORDS),
            "colours": still["colours"],
        }

    def _read_thing(self, prompt: str, text: str) -> tuple[str, Motion]:
        words = text.split()
        verbs = [number for number, word in enumerate(words) if word in _VERBS]
        if not verbs:
            raise PromptError(prompt, f"{text.strip()!r} does not say how it moves", f"add one of {', '.join(VERBS)}")
        before, after = words[: verbs[0]], words[verbs[0] + 1 :]
        speeds = [_SPEED_WORDS[word] for word in before + after if word in _SPEED_WORDS]
        before, after = ([word for word in part if word not in _SPEED_WORDS] for part in (before, after))
        count, size, name = self._words.read_object(prompt, " ".join(before))
        if count > 1 or size is not None:
            raise PromptError(prompt, "what moves has one size, and is one of its kind", "leave out number and size")
        if len(speeds) > 1:
            raise PromptError(prompt, f"{len(speeds)} speeds", f"give one of {', '.join(SPEEDS)}")
        return name, _read_motion(prompt, _VERBS[words[verbs[0]]], " ".join(after), speeds)


def _read_motion(prompt: str, verb: str, phrase: str, speeds: list[str]) -> Motion:
    if verb == "stays":
        if speeds or phrase not in _STILL:
            raise PromptError(
                prompt, f"what stays goes nowhere: {' '.join([*speeds, phrase]).strip()!r}", "leave it out"
            )
        return STILL
    direction = _PHRASES.get(phrase) if phrase else _DEFAULT_DIRECTIONS[verb]
    if direction is None:
        choices = "up, down, to the left, to the right, from left to right; slowly, quickly"
        raise PromptError(prompt, f"{phrase!r} is not understood after {verb!r}", f"choose from {choices}")
    return Motion(verb, direction, speeds[0] if speeds else "normally")


def _describe(motion: Motion) -> str:
    if motion.direction is None:
        return motion.verb
    phrase = motion.direction if motion.axis == 0 else _DIRECTION_WORDS[motion.direction][3]
    return f"{motion.verb} {phrase}" if motion.speed == "normally" else f"{motion.verb} {motion.speed} {phrase}"


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
