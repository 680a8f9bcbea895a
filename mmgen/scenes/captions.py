"""What the grammars of captions have in common: they read captions, write them, and say what these may be made of."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, Generic, TypeVar

from mmgen.errors import PromptError

MAXIMUM_PROMPT_LENGTH = 200

Words = dict[str, dict[str, list[str]]]
"""What captions may say, by kind, such as `colours`: each word, and other ways of saying the same."""

Meaning = TypeVar("Meaning")


class CaptionGrammar(ABC, Generic[Meaning]):
    """Captions to scenes and back. The module of each grammar says in its docstring what captions are made of.

    Attributes:
        medium: of what is described: `image`, `video` or `audio`.
    """

    medium: ClassVar[str]

    @abstractmethod
    def parse(self, prompt: str) -> Meaning:
        """Reads a caption.

        Args:
            prompt: a caption of the grammar, at most 200 characters.

        Returns:
            The scene, with defaults filled in.

        Raises:
            PromptError: the prompt is empty, too long or outside the grammar; the message says
                which words were not understood and what could stand there.
        """

    @abstractmethod
    def describe(self, scene: Meaning) -> str:
        """The full caption of a scene; `parse(describe(scene)) == scene`."""

    @abstractmethod
    def words(self) -> Words:
        """What captions may say."""


def spellings(names: Iterable[str], others: Mapping[str, str]) -> dict[str, list[str]]:
    """Names, each with those of `others` that mean it."""
    return {name: [other for other, meant in others.items() if meant == name != other] for name in names}


def normalise(prompt: str) -> str:
    """A prompt in small letters, without articles and punctuation, a space before each word.

    Raises:
        PromptError: it is empty, too long or no text.
    """
    if not isinstance(prompt, str):
        raise PromptError(repr(prompt), f"a prompt is text, this is {type(prompt).__name__}", "give a string")
    if len(prompt) > MAXIMUM_PROMPT_LENGTH:
        raise PromptError(
            prompt[:40] + "...", f"{len(prompt)} characters", f"use at most {MAXIMUM_PROMPT_LENGTH} characters"
        )
    words = re.sub(r"[^\w\s-]", " ", prompt.lower()).split()
    if not words:
        raise PromptError(prompt, "the prompt is empty", "write what to draw, such as 'a cat on a blue background'")
    return " " + " ".join(word for word in words if word not in ("a", "an", "the"))
