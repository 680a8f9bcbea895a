"""Every decoder with every rule and drafter: it works on ragged batches with known tokens, or says why it cannot.

New parts are found by themselves, as they are by the command line.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from decoding.markov import MarkovSession, markov_tables
from torch import Tensor

from mmgen import decoding
from mmgen.decoding.decoder import Decoder, Generation
from mmgen.decoding.options import LAWS, make_part, parts
from mmgen.errors import OptionError
from mmgen.layout import RasterLayout
from mmgen.rng import Rng

LAYOUT = RasterLayout(4, 5)
SEEDS = (5, 6, 7)
ROWS = torch.tensor([0, 1, 2])


def takes(decoder: str, part: str) -> bool:
    return any(field.name == part for field in dataclasses.fields(decoding.decoders()[decoder]))


def pairs(part: str) -> list[tuple[str, str]]:
    return [(name, value) for name in decoding.decoders() if takes(name, part) for value in parts(part)]


def known_tokens() -> Tensor:
    """A known beginning, a known middle, and a row of its own."""
    known = torch.full((3, LAYOUT.length), -1)
    known[0, :4], known[1, 6:11] = 1, torch.arange(5) % 3
    return known


def draw(decoder: Decoder, rows: list[int], known: Tensor) -> Generation:
    session = MarkovSession(markov_tables(), ROWS[rows], LAYOUT, known[rows])
    return decoder.generate(session, Rng([SEEDS[row] for row in rows]))


def check(decoder: Decoder) -> None:
    """All rows are written, hold what is known, and are what each is alone."""
    known = known_tokens()
    together = draw(decoder, [0, 1, 2], known)
    assert bool((together.committed == LAYOUT.length).all())
    assert bool((together.tokens[known >= 0] == known[known >= 0]).all())
    assert int(together.tokens.min()) >= 0 and int(together.tokens.max()) < 3
    assert bool((together.evaluations <= LAYOUT.length - (known >= 0).sum(1) + 1).all())
    for row in (1, 2):
        alone = draw(decoder, [row], known)
        for name, value in vars(alone).items():
            assert torch.equal(value[0], getattr(together, name)[row]), (name, row)


@pytest.mark.parametrize(("name", "rule"), pairs("acceptance"))
def test_every_rule_works_or_is_refused_with_the_reason(name: str, rule: str) -> None:
    kind = decoding.decoders()[name]
    if parts("acceptance")[rule].joint and kind.no_joint_rules:
        with pytest.raises(OptionError, match="one slot at a time"):
            decoding.make(name, acceptance=rule)
        return
    decoder = decoding.make(name, acceptance=rule, window=6)
    assert LAWS.index(decoder.law) == max(LAWS.index(kind.law), LAWS.index(parts("acceptance")[rule].law))
    check(decoder)


@pytest.mark.parametrize(("name", "drafter"), pairs("drafter"))
def test_every_drafter_works_or_is_refused_with_the_reason(name: str, drafter: str) -> None:
    if name == "tree" and not parts("drafter")[drafter].branches:
        with pytest.raises(OptionError, match="several candidates"):
            decoding.make(name, drafter=drafter)
        return
    decoder = decoding.make(name, drafter=drafter, window=6)
    check(decoder)
    if decoder.seeded:
        reference = draw(decoding.make("autoregressive"), [0, 1, 2], known_tokens())
        assert torch.equal(draw(decoder, [0, 1, 2], known_tokens()).tokens, reference.tokens)


@pytest.mark.parametrize("rule", parts("acceptance"))
@pytest.mark.parametrize("drafter", parts("drafter"))
def test_every_rule_takes_every_drafter(rule: str, drafter: str) -> None:
    check(decoding.make("speculative", acceptance=rule, drafter=drafter, window=5))


@pytest.mark.parametrize("rule", ["typical/threshold=0/scale=0", "cross-entropy/limit=100", "lantern", "grouped"])
@pytest.mark.parametrize("name", ["speculative", "coupled-jacobi"])
def test_behind_the_drafts_the_model_speaks_for_itself(name: str, rule: str) -> None:
    """Rules that keep nearly anything must not keep what nobody drafted."""
    batch = 6000
    session = MarkovSession(markov_tables(), torch.zeros(batch, dtype=torch.long), RasterLayout(1, 2))
    drafter = "heads"  # drafts nothing before the first evaluation
    generation = decoding.make(name, acceptance=rule, drafter=drafter, window=2).generate(session, Rng(range(batch)))
    law = markov_tables()[0, 3, 3]
    counts = generation.tokens[:, 0].bincount(minlength=3)
    deviations = (counts - batch * law) / (batch * law * (1 - law)).sqrt()
    assert float(deviations.abs().max()) < 5


def test_a_part_is_its_text() -> None:
    for kind in ("acceptance", "drafter"):
        for name, part in parts(kind).items():
            assert str(make_part(kind, name)) == name
            changed = {
                option["name"]: option["maximum"] for option in part.describe()["options"] if option.get("maximum")
            }
            words = "/".join([name, *(f"{key}={value}" for key, value in changed.items())])
            made = make_part(kind, words)
            assert str(make_part(kind, str(made))) == str(made) and made == make_part(kind, str(made))
    with pytest.raises(OptionError, match="ranks"):
        make_part("acceptance", "grouped/rank=3")
    with pytest.raises(OptionError, match="a whole number from 1"):
        make_part("acceptance", "grouped/ranks=none")


def test_a_rule_of_ones_own_is_an_object() -> None:
    """The example of CONTRIBUTING.md, which no folder of ours holds."""
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    namespace: dict = {"__name__": "contributed"}
    exec(compile(page.split("```python\n")[1].split("```")[0], "CONTRIBUTING.md", "exec", dont_inherit=True), namespace)
    decoder = decoding.make("coupled-jacobi", window=6, acceptance=namespace["Generous"](enough=0.5))
    assert decoder.law == "heuristic" and decoder.options()["acceptance"] == "generous/enough=0.5"
    check(decoder)
    with pytest.raises(OptionError, match="acceptance"):
        decoding.make("coupled-jacobi", acceptance=make_part("drafter", "uniform"))
