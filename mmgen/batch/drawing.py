"""What a job asks of a pipeline: the options of its call, and items drawn together."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmgen.batch.request import Item

_NOT_IN_FILES = (
    "seed", "num_images_per_prompt", "num_videos_per_prompt", "num_waveforms_per_prompt", "batch_size", "known",
    "generator",
)  # fmt: skip
"""Arguments of a call that a request has no use for, or says in words of its own."""


def choices(pipe: Any) -> list[str]:
    """The options of a pipeline's call that a request may say."""
    names = [
        parameter.name
        for kind in type(pipe).__mro__
        for parameter in inspect.signature(vars(kind).get("plan", lambda: None)).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in _NOT_IN_FILES
    ]
    return list(dict.fromkeys([*names, *pipe.config.sampling, *pipe.condition_defaults]))


def renews(pipe: Any, item: Item, settings: Mapping[str, Any]) -> bool:
    """Whether a pipeline begins waiting items of such settings as others are finished."""
    try:
        return getattr(pipe.plan([item.prompt], seed=[item.seed], **settings), "renews", False)
    except Exception:  # what is wrong with the item is said where it is drawn
        return False


def drawn(
    pipe: Any, items: Sequence[Item], settings: Mapping[str, Any], together: int
) -> Iterator[tuple[Item, Any, Any, Any]]:
    """Draws items, some of them together; more only where the pipeline begins those as others are finished.

    Yields:
        Item, what was made of it, the output it is of, and its statistics; in any order.
    """
    prompts, seeds = [item.prompt for item in items], [item.seed for item in items]
    if len(items) <= together:
        yield from _results(pipe, items, pipe(prompts, seed=seeds, **settings))
        return
    left = dict(enumerate(items))
    for drawing in pipe.draw(prompts, seed=seeds, batch_size=together, **settings):
        ended = [place for place, finished in enumerate(pipe.finished(drawing)) if finished and place in left]
        if ended:
            part = drawing.part(ended)
            output = pipe.output(pipe.render(part), pipe.statistics(part))
            yield from _results(pipe, [left.pop(place) for place in ended], output)


def _results(pipe: Any, items: Sequence[Item], output: Any) -> Iterator[tuple[Item, Any, Any, Any]]:
    from mmgen.cli import files

    results = files.results(output, pipe.medium)
    if not len(items) == len(results) == len(output.statistics):
        raise ValueError(f"{len(items)} items were asked for, {len(results)} came")
    for item, result, statistics in zip(items, results, output.statistics, strict=True):
        yield item, result, output, statistics
