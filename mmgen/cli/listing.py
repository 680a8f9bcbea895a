"""`mmgen list` and `mmgen decoders`: what there is to choose from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mmgen import catalog
from mmgen.cli.report import print_json, print_table

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_pipelines(
    json: Json = False,
    objects: Annotated[bool, typer.Option("--objects", help="List the words that captions may use.")] = False,
) -> None:
    """List the shipped pipelines, or the words that captions may use."""
    if objects:
        write = print_json if json else _print_words
        write(caption_words())
        return
    entries = catalog.pipelines().values()
    if json:
        print_json([entry.to_dict() for entry in entries])
    else:
        print_table(("name", "medium", "family"), [(entry.name, entry.medium, entry.family) for entry in entries])


def caption_words() -> dict[str, Any]:
    """What captions of the shipped image pipeline may say: objects with aliases, colours, positions and the rest."""
    from mmgen.scenes import grammar
    from mmgen.scenes.objects import ALIASES

    config = catalog.read_json(catalog.find(catalog.default_pipeline()) / "text_encoder" / "config.json")
    objects = [
        {"name": name, "aliases": [alias for alias, object in ALIASES.items() if object == name]}
        for name in config["objects"]
    ]
    return {
        "objects": objects,
        "colours": list(grammar.BACKGROUNDS),
        "positions": list(grammar.POSITIONS),
        "relations": list(grammar.RELATIONS),
        "sizes": list(grammar.SIZES),
        "counts": list(grammar.COUNTS),
    }


def _print_words(words: dict[str, Any]) -> None:
    print_table(("object", "also called"), [(item["name"], ", ".join(item["aliases"])) for item in words["objects"]])
    print()
    for kind in ("colours", "positions", "relations", "sizes", "counts"):
        print(f"{kind + ':':11}{', '.join(map(str, words[kind]))}")


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
