"""The captions the shipped image models understand, and what each one means.

    caption    := things [["on" | "with" | "against"] colour "background"]
    things     := [size] object [position] | [size] object relation [size] object | count objects
    size       := "small" | "large" (and little, tiny, big, huge); large where nothing is said
    count      := "two" | "three" | "four" (and 2, 3, 4); counted objects are drawn small
    position   := "in the top left", "at the top", "on the left", "in the center", ...; center by default
    relation   := "to the left of" | "to the right of" | "above" | "below"
    colour     := one of `BACKGROUNDS`; white where nothing is said

Articles, case and punctuation make no difference.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmgen.errors import PromptError
from mmgen.scenes.captions import CaptionGrammar, Words, normalise, spellings
from mmgen.scenes.objects import ALIASES, CHARACTERS, PLURALS

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "gray": (150, 150, 150),
    "black": (24, 24, 24),
    "red": (214, 60, 60),
    "yellow": (250, 214, 80),
    "green": (88, 170, 92),
    "blue": (72, 122, 214),
    "purple": (146, 92, 190),
}
SIZES = ("large", "small")
COUNTS = (1, 2, 3, 4)
POSITIONS = (
    "top left",
    "top",
    "top right",
    "left",
    "center",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
RELATIONS = ("left of", "right of", "above", "below")

_SIZE_WORDS = {"small": "small", "little": "small", "tiny": "small", "large": "large", "big": "large", "huge": "large"}
_COLOUR_WORDS = {"grey": "gray"}
_COUNT_WORDS = {"one": 1, "1": 1, "two": 2, "2": 2, "three": 3, "3": 3, "four": 4, "4": 4}
_RELATION = re.compile(r"\s(?:to )?(left of|right of|above|over|on top of|below|under|underneath|beneath)\s")
_RELATION_WORDS = {"over": "above", "on top of": "above", "under": "below", "underneath": "below", "beneath": "below"}
_POSITION = re.compile(
    r"\s(?:in|at|on|to|near)\s"
    r"((?:top|upper|bottom|lower)?[ -]?(?:left|right|center|centre|middle)?)(?: corner| side| edge| half)?$"
)
_BACKGROUND = re.compile(r"\s(?:(?:on|with|against|in front of)\s)?(\S+) background$")


@dataclass(frozen=True)
class Scene:
    """What one caption asks for, with every default filled in.

    Attributes:
        first: name of the object, or of the first of a pair.
        background: a key of `BACKGROUNDS`.
        count: how many of `first`, 1 to 4; counted objects are small and have no position.
        size: size of `first`, one of `SIZES`.
        position: one of `POSITIONS` for a single object, else None.
        relation: where `first` stands seen from `second`, one of `RELATIONS`, else None.
        second: name of the second object of a pair, else None.
        second_size: its size, else None.
    """

    first: str
    background: str = "white"
    count: int = 1
    size: str = "large"
    position: str | None = "center"
    relation: str | None = None
    second: str | None = None
    second_size: str | None = None

    @property
    def kind(self) -> str:
        """`"single"`, `"pair"` or `"group"`."""
        if self.relation is not None:
            return "pair"
        return "single" if self.count == 1 else "group"


class Grammar(CaptionGrammar[Scene]):
    """Captions to scenes and back, for a given list of objects.

    Args:
        objects: names the captions may use, each a key of `mmgen.scenes.objects.CHARACTERS`.
        everything: what a message says of all of them.
    """

    medium = "image"

    def __init__(self, objects: Sequence[str] = tuple(CHARACTERS), everything: str | None = None) -> None:
        self.objects = tuple(objects)
        self._everything = everything or f"`mmgen list --words` shows all {len(self.objects)}"
        known = set(self.objects)
        self._names = {name: name for name in self.objects}
        self._names |= {alias: name for alias, name in ALIASES.items() if name in known}
        self._names |= {name.replace("-", " "): name for name in self.objects}

    def parse(self, prompt: str) -> Scene:
        text = normalise(prompt)
        background, text = self.take_background(prompt, text)
        halves = _RELATION.split(text, maxsplit=1)
        if len(halves) == 3:
            (count, size, first), (second_count, second_size, second) = (
                self.read_object(prompt, half) for half in (halves[0], halves[2])
            )
            if count > 1 or second_count > 1:
                raise PromptError(prompt, "a relation joins single objects", "write 'a cat above a dog'")
            relation = _RELATION_WORDS.get(halves[1], halves[1])
            return Scene(first, background, 1, size or "large", None, relation, second, second_size or "large")
        position, text = _take_position(text)
        count, size, first = self.read_object(prompt, text)
        if count == 1:
            return Scene(first, background, 1, size or "large", position or "center")
        if size == "large" or position is not None:
            raise PromptError(
                prompt, "counted objects are drawn small and fill the picture", "leave out the size and the position"
            )
        return Scene(first, background, count, "small", None)

    def describe(self, scene: Scene) -> str:
        ending = f" on a {scene.background} background"
        if scene.kind == "group":
            word = next(word for word, count in _COUNT_WORDS.items() if count == scene.count and word.isalpha())
            return f"{word} {_plural(scene.first)}{ending}"
        first = f"a {scene.size} {scene.first}"
        if scene.kind == "pair":
            relation = scene.relation if scene.relation in ("above", "below") else f"to the {scene.relation}"
            return f"{first} {relation} a {scene.second_size} {scene.second}{ending}"
        preposition = {"top": "at", "bottom": "at", "left": "on", "right": "on"}.get(scene.position or "", "in")
        return f"{first} {preposition} the {scene.position}{ending}"

    def words(self) -> Words:
        return {
            "objects": spellings(self.objects, ALIASES),
            "sizes": spellings(SIZES, _SIZE_WORDS),
            "counts": {word: [str(count)] for word, count in _COUNT_WORDS.items() if word.isalpha()},
            "positions": spellings(POSITIONS, {}),
            "relations": spellings(RELATIONS, _RELATION_WORDS),
            "colours": spellings(BACKGROUNDS, _COLOUR_WORDS),
        }

    def take_background(self, prompt: str, text: str) -> tuple[str, str]:
        """The background that a normalised text ends with, white without one, and the text before it."""
        match = _BACKGROUND.search(text)
        if not match:
            return "white", text
        colour = _COLOUR_WORDS.get(match[1], match[1])
        if colour not in BACKGROUNDS:
            raise PromptError(prompt, f"unknown background {match[1]!r}", f"choose from {', '.join(BACKGROUNDS)}")
        return colour, text[: match.start()]

    def read_object(self, prompt: str, text: str) -> tuple[int, str | None, str]:
        """How many objects a normalised text names, in which size, None where it says nothing, and which."""
        words = text.split()
        count, size = 1, None
        if words and words[0] in _COUNT_WORDS:
            count = _COUNT_WORDS[words.pop(0)]
        if words and words[0] in _SIZE_WORDS:
            size = _SIZE_WORDS[words.pop(0)]
        name = " ".join(words)
        for candidate in (name, PLURALS.get(name, name), name.removesuffix("s"), name.removesuffix("es")):
            if candidate in self._names:
                return count, size, self._names[candidate]
        if not name:
            raise PromptError(prompt, "no object is named", f"choose one, such as {', '.join(self.objects[:8])}")
        close = difflib.get_close_matches(name, self._names, n=4, cutoff=0.5) or list(self.objects[:8])
        raise PromptError(
            prompt,
            f"{name!r} is not an object or a phrase of the caption grammar",
            f"did you mean {', '.join(close)}? {self._everything}",
        )


def _take_position(text: str) -> tuple[str | None, str]:
    match = _POSITION.search(text)
    if not match or not match[1].strip():
        return None, text
    words = match[1].replace("-", " ").replace("upper", "top").replace("lower", "bottom").split()
    words = [word for word in words if word not in ("center", "centre", "middle")] or ["center"]
    return " ".join(words), text[: match.start()]


def _plural(name: str) -> str:
    for plural, singular in PLURALS.items():
        if singular == name:
            return plural
    return name if name.endswith("s") else name + "s"
