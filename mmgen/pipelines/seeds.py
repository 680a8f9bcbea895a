"""Which seed each item of a call has."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import torch

from mmgen.errors import OptionError
from mmgen.rng import MAXIMUM_SEED


def choose_seeds(
    seed: int | Sequence[int] | None,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    prompts: int,
    per_prompt: int,
) -> list[int]:
    """One seed for each item.

    A number is the seed of every prompt's first item, and the next items count up from it. A list has a
    seed for each prompt, counted up likewise, or one for each item. A generator (or a list with one for
    each item) draws them; without any, they are random.

    Raises:
        OptionError: a list of another length, a seed out of range, or both seeds and generators.
    """
    items = prompts * per_prompt
    if generator is not None and seed is not None:
        raise OptionError("seed", seed, "left out beside a generator, which draws the seeds")
    if generator is not None:
        generators = [generator] * items if isinstance(generator, torch.Generator) else list(generator)
        if len(generators) != items:
            raise OptionError("generator", f"{len(generators)} generators", f"one, or {items}: one for each item")
        return [int(torch.randint(MAXIMUM_SEED, (), generator=g, device=g.device)) for g in generators]
    if seed is None:
        return [secrets.randbelow(2**32) for _ in range(items)]
    if isinstance(seed, int) and not isinstance(seed, bool):
        seeds = [seed] * prompts
    elif isinstance(seed, Sequence) and not isinstance(seed, str):
        seeds = list(seed)
    else:
        raise OptionError("seed", seed, "a whole number or a list of them")
    if len(seeds) == items and per_prompt > 1:
        chosen = seeds
    elif len(seeds) == prompts:
        chosen = [seed + i for seed in seeds for i in range(per_prompt)]
    else:
        needed = f"one number, or {prompts}: one for each prompt"
        needed += f"; or {items}: one for each item" if per_prompt > 1 else ""
        raise OptionError("seed", f"{len(seeds)} seeds", needed)
    for value in chosen:
        if type(value) is not int or not 0 <= value <= MAXIMUM_SEED:
            raise OptionError("seed", value, f"a whole number from 0 to {MAXIMUM_SEED}")
    return chosen
