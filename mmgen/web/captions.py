"""What the page says about captions: examples, and the words a pipeline knows."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from mmgen.errors import PromptError
from mmgen.scenes.grammar import BACKGROUNDS, POSITIONS, RELATIONS, Grammar
from mmgen.scenes.motion import DIRECTIONS, SPEEDS, VERBS, MotionGrammar
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.sound import FIGURES, INSTRUMENTS, MODES, TEMPOS, TONES, VOICES, WORDS, SoundGrammar

_EXAMPLES = {
    "image": (
        "a red apple to the left of a cat on a blue background",
        "a rocket in the top right on a black background",
        "three stars on a purple background",
        "a penguin above a small fish",
        "a tree on a yellow background",
        "two frogs on a green background",
    ),
    "video": (
        "a red ball bounces quickly on a blue background",
        "a rocket moves up on a black background",
        "a cat moves to the right while a butterfly stays on a green background",
        "a penguin moves slowly from left to right",
        "a frog bounces while a star moves down",
    ),
    "audio": (
        "a piano plays a rising scale in C major",
        "a slow violin arpeggio in A minor",
        "a trumpet plays a fast falling scale in G major",
        "a music box plays chords in F major",
        "a female voice says hello",
    ),
}
"""Captions to start from, of each medium."""

_FREE_EXAMPLES = {
    "image": ("a red apple on a wooden table", "a cat on a sofa", "a lighthouse by the sea at dusk"),
    "video": ("a red ball rolls over the floor", "a cat walks along a wall"),
    "audio": (
        "a slow piano melody",
        "happy dance music with drums",
        "a calm guitar with a soft bass",
        "a fast electronic beat",
    ),
}
"""The same where any text will do."""


def examples(medium: str, grammar: Any) -> list[str]:
    """Captions to start from, those that a grammar allows; None is of pipelines that take any text."""
    if grammar is None:
        return list(_FREE_EXAMPLES[medium])
    return [caption for caption in _EXAMPLES[medium] if _understood(grammar, caption)]


def describe(grammar: Any) -> str:
    """What can be written, as HTML."""
    if isinstance(grammar, Grammar):
        return describe_grammar(grammar)
    if isinstance(grammar, MotionGrammar):
        return describe_motion(grammar)
    if isinstance(grammar, SoundGrammar):
        return describe_sound()
    return "<p>Any text, in plain words. The pipeline's own card says what it was trained on.</p>"


def describe_grammar(grammar: Grammar) -> str:
    """The caption grammar as HTML: the forms with an example each, the colours and the objects."""
    first, second = (html.escape(name) for name in grammar.objects[:2])
    forms = (
        ("One object", f"a {first} · a small {first} in the top left", _list(POSITIONS)),
        ("Two in a relation", f"a {first} to the left of a {second}", _list(RELATIONS)),
        ("A group", f"two, three or four of one object: three {first}s", ""),
        ("Background", f"… on a {list(BACKGROUNDS)[-1]} background", _list(BACKGROUNDS)),
    )
    return (
        f"{_forms(forms)}"
        f"<h3>{len(BACKGROUNDS)} background colours</h3>{_words(_swatches())}"
        f"<h3>{len(grammar.objects)} objects</h3>{_words(_objects(grammar))}"
        "<p>Small or large; large where nothing is said. Articles, case and punctuation make no difference.</p>"
    )


def describe_motion(grammar: MotionGrammar) -> str:
    """The grammar of moving scenes as HTML."""
    first, second = (html.escape(name) for name in grammar.objects[:2])
    forms = (
        ("What moves", f"a {first} moves slowly to the left", _list(VERBS)),
        ("Where to", f"a {first} moves from the top to the bottom", _list(DIRECTIONS)),
        ("How fast", f"a {first} bounces quickly", _list(SPEEDS)),
        ("Two at once", f"a {first} moves up while a {second} stays", "along one line, or one of them stays"),
        ("Background", f"… on a {list(BACKGROUNDS)[-1]} background", _list(BACKGROUNDS)),
    )
    return f"{_forms(forms)}<h3>{len(grammar.objects)} objects</h3>{_words(_objects(grammar))}"


def describe_sound() -> str:
    """The grammar of sound as HTML."""
    forms = (
        ("Music", "a piano plays a rising scale in C major", _list(FIGURES)),
        ("Key", "a guitar arpeggio in F sharp minor", f"{_list(TONES)}; {_list(MODES)}"),
        ("Tempo", "a slow violin plays chords", _list(TEMPOS)),
        ("Speech", "a female voice says hello", f"{_list(VOICES)} voice"),
    )
    return (
        f"{_forms(forms)}<h3>{len(INSTRUMENTS)} instruments</h3>{_words(INSTRUMENTS)}"
        f"<h3>{len(WORDS)} words</h3>{_words(WORDS)}"
    )


def _forms(forms: Iterable[tuple[str, str, str]]) -> str:
    rows = "".join(
        f"<div><dt>{title}</dt><dd><em>{example}</em>{f'<small>{words}</small>' if words else ''}</dd></div>"
        for title, example, words in forms
    )
    return f'<dl class="forms">{rows}</dl>'


def _understood(grammar: Any, caption: str) -> bool:
    try:
        grammar.parse(caption)
    except PromptError:
        return False
    return True


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


def _words(items: Iterable[str]) -> str:
    return '<ul class="words">' + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _swatches() -> list[str]:
    return [f'<i style="background:rgb{color}"></i>{name}' for name, color in BACKGROUNDS.items()]


def _objects(grammar: Grammar | MotionGrammar) -> list[str]:
    return [
        f'<span aria-hidden="true">{CHARACTERS.get(name, "")}</span> {html.escape(name)}'
        + (f" <small>{html.escape(_list(others))}</small>" if others else "")
        for name, others in grammar.words()["objects"].items()
    ]
