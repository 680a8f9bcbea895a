"""What the page says about captions: examples, and the words a pipeline knows."""

from __future__ import annotations

import html
from collections.abc import Iterable

from mmgen.errors import PromptError
from mmgen.scenes.grammar import BACKGROUNDS, POSITIONS, RELATIONS, Grammar
from mmgen.scenes.objects import ALIASES, CHARACTERS

_EXAMPLES = (
    "a red apple to the left of a cat on a blue background",
    "a rocket in the top right on a black background",
    "three stars on a purple background",
    "a penguin above a small fish",
    "a tree on a yellow background",
    "two frogs on a green background",
)


def examples(grammar: Grammar) -> list[str]:
    """Captions to start from, those that the grammar's objects allow."""
    return [caption for caption in _EXAMPLES if _understood(grammar, caption)]


def describe_grammar(grammar: Grammar) -> str:
    """The caption grammar as HTML: the forms with an example each, the colours and the objects."""
    first, second = (html.escape(name) for name in grammar.objects[:2])
    forms = (
        ("One object", f"a {first} · a small {first} in the top left", _list(POSITIONS)),
        ("Two in a relation", f"a {first} to the left of a {second}", _list(RELATIONS)),
        ("A group", f"two, three or four of one object: three {first}s", ""),
        ("Background", f"… on a {list(BACKGROUNDS)[-1]} background", _list(BACKGROUNDS)),
    )
    rows = "".join(
        f"<div><dt>{title}</dt><dd><em>{example}</em>{f'<small>{words}</small>' if words else ''}</dd></div>"
        for title, example, words in forms
    )
    return (
        f'<dl class="forms">{rows}</dl>'
        f"<h3>{len(BACKGROUNDS)} background colours</h3>{_words(_swatches())}"
        f"<h3>{len(grammar.objects)} objects</h3>{_words(_objects(grammar))}"
        "<p>Small or large; large where nothing is said. Articles, case and punctuation make no difference.</p>"
    )


def _understood(grammar: Grammar, caption: str) -> bool:
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


def _objects(grammar: Grammar) -> list[str]:
    aliases: dict[str, list[str]] = {}
    for alias, name in ALIASES.items():
        aliases.setdefault(name, []).append(alias)
    return [
        f'<span aria-hidden="true">{CHARACTERS.get(name, "")}</span> {html.escape(name)}'
        + (f" <small>{html.escape(_list(aliases[name]))}</small>" if name in aliases else "")
        for name in grammar.objects
    ]
