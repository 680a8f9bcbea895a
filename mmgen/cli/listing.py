"""`mmgen list` and `mmgen decoders`: what there is to choose from."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mmgen import catalog
from mmgen.cli.report import UsageError, print_json, print_table, print_wrapped

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_pipelines(
    pipeline: Annotated[
        str | None, typer.Argument(help="With --words: a shipped pipeline or a local folder; all shipped by default.")
    ] = None,
    words: Annotated[bool, typer.Option("--words", help="List the words that captions may use.")] = False,
    json: Json = False,
) -> None:
    """List the shipped pipelines, or the words that their captions may use."""
    if words:
        rows = caption_words([pipeline] if pipeline else list(catalog.pipelines()))
        (print_json if json else _print_words)(rows)
        return
    if pipeline is not None:
        raise UsageError(f"{pipeline}: of one pipeline, the words are listed: add --words")
    entries = catalog.pipelines().values()
    if json:
        print_json([entry.to_dict() for entry in entries])
    else:
        print_table(("name", "medium", "family"), [(entry.name, entry.medium, entry.family) for entry in entries])


def caption_words(pipelines: Sequence[str]) -> list[dict[str, Any]]:
    """What captions of pipelines may say.

    Returns:
        For each its `name`, its `medium` and its `words`: by kind, each word with other ways of saying it; None where
        it takes any text.

    Raises:
        UnknownNameError: there is no such pipeline.
        WeightsError: its folder is damaged.
    """
    from mmgen.scenes.grammars import grammar_of

    rows = []
    for name in pipelines:
        folder = catalog.find(name)
        grammar = grammar_of(folder)
        medium = catalog.describe(folder)["medium"]
        rows.append({"name": name, "medium": medium, "words": None if grammar is None else grammar.words()})
    return rows


def _print_words(rows: Sequence[dict[str, Any]]) -> None:
    """A line for each kind of word; pipelines of the same words are named together."""
    for words, same in itertools.groupby(rows, key=operator.itemgetter("words")):
        print(f"{', '.join(row['name'] for row in same)}:")
        for kind, names in (words or {"any text, in plain words": {}}).items():
            print_wrapped(f"  {kind}{': ' * bool(names)}", map(_spelt, names.items()))


def _spelt(word: tuple[str, Sequence[str]]) -> str:
    """A word, and in brackets how else it is said."""
    name, others = word
    return f"{name} ({', '.join(others)})" if others else name


_HEADINGS = {
    "decoders": "",
    "planes": "of pipelines that write plane by plane",
    "scales": "of pipelines that draw scale by scale",
    "frames": "of pipelines that refine frame after frame",
    "spans": "of pipelines that refine codebook after codebook",
    "students": "of pipelines of students",
}


def list_decoders(json: Json = False) -> None:
    """List the decoders, and the acceptance rules and drafters they are made of, with paper and options."""
    from mmgen import decoding
    from mmgen.decoding import frames, planes, scales, spans, students
    from mmgen.decoding.options import parts

    families = {
        "decoders": decoding, "planes": planes, "scales": scales, "frames": frames, "spans": spans,
        "students": students,
    }  # fmt: skip
    described = {name: [kind.describe() for kind in each.decoders().values()] for name, each in families.items()}
    rules, drafters = ([kind.describe() for kind in parts(kind).values()] for kind in ("acceptance", "drafter"))
    if json:
        print_json({**described, "acceptance": rules, "drafters": drafters})
        return
    for name, heading in _HEADINGS.items():
        if heading:
            print(f"\n{heading}:")
        for about in described[name]:
            _print_about(about, "--option ")
    print("\nacceptance rules, as in --option acceptance=grouped/ranks=5:")
    for about in rules:
        _print_about(about, "/")
    print("\ndrafters, as in --option drafter=n-gram/longest=2:")
    for about in drafters:
        _print_about(about, "/")


def _print_about(about: dict[str, Any], mark: str) -> None:
    words = [about["law"]] if "law" in about else []
    words += ["seeded"] if about.get("seeded") else []
    law = f" ({', '.join(words)})" if words else ""
    print(f"{about['name']}{law}: {about['summary']}\n    paper: {about['paper']}")
    for option in about["options"]:
        print(f"    {mark}{option['name']}={_default(option)}  {option['help']}{_limits(option)}")


def _default(option: dict[str, Any]) -> str:
    return str(option["default"]).lower() if option["type"] == "bool" else str(option["default"])


def _limits(option: dict[str, Any]) -> str:
    if "part" in option:
        return " (listed below)"
    if "choices" in option:
        return f" (one of {', '.join(option['choices'])})"
    if "minimum" in option and "maximum" in option:
        return f" ({option['minimum']} to {option['maximum']})"
    return " (true or false)" if option["type"] == "bool" else ""
