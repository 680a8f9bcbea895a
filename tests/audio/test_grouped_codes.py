"""Codes of a codec that are judged together with those that sound alike: exact where nothing is alike, relaxed else."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from audio.musicgens import write_musicgen
from planes.markov import SIZE, MarkovPlanes, check_law

import mmgen
from mmgen.checkpoints import sound_codecs
from mmgen.codebook import Codebook, Codebooks
from mmgen.decoding import planes
from mmgen.decoding.acceptance.alike import Alike
from mmgen.decoding.acceptance.rule import Trial
from mmgen.decoding.planes.speculation import PlaneDrafts
from mmgen.errors import OptionError

BOOKS = Codebooks([None, Codebook(torch.tensor([[0.0], [1.0], [5.0]]))])
"""Codes 0 and 1 of the second slot are alike."""
DECODERS = ("speculative-jacobi", "coupled-jacobi")
TEXTS = ["a slow sad song with piano", "happy"]


def sounding(books: Codebooks | None = BOOKS):
    """Sessions of planes that know what their codes stand for."""
    return mock.patch.object(MarkovPlanes, "codebook", books, create=True)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("musicgen")
    write_musicgen(folder)
    pipe = mmgen.load(str(folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("rule", ["alike/tolerance=0.0", "grouped/ranks=1"])
def test_nothing_alike_leaves_the_enumerated_law(decoder, rule):
    with sounding():
        check_law(decoder, rows=2500, window=4, acceptance=rule)


@pytest.mark.parametrize(
    "rule", ["alike/tolerance=2.0", "grouped/ranks=3/gap=1.0", "grouped/ranks=3/gap=1.0/distance=4.0"]
)
def test_what_is_alike_changes_the_law(rule):
    with sounding(), pytest.raises(AssertionError, match="p-value"):
        check_law("speculative-jacobi", rows=6000, window=4, acceptance=rule)
    assert planes.make("speculative-jacobi", acceptance=rule).law == "heuristic"


def test_a_codebook_of_meaning_stays_exact():
    with sounding(Codebooks([None, Codebook(torch.tensor([[0.0], [9.0], [18.0]]))])):
        check_law("speculative-jacobi", rows=2500, window=4, acceptance="alike/tolerance=2.0")


def test_planes_stand_by_the_product_of_their_groups():
    generator = torch.Generator().manual_seed(2)
    p, q = (torch.rand(5, 1, 2, SIZE, generator=generator).softmax(-1) for _ in range(2))
    p[0, 0, 1], q[0, 0, 1] = torch.tensor([0.0, 0.5, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    tokens = torch.tensor([[[0, 0]], [[1, 0]], [[2, 1]], [[0, 1]], [[1, 2]]])
    with sounding():
        session = MarkovPlanes(torch.zeros(5, dtype=torch.long))
        decoder = planes.make("speculative-jacobi", acceptance="alike/tolerance=2.0").bind(session)
    ratio = decoder._ratio(p, PlaneDrafts(tokens, q)).exp().flatten()
    near = {0: [0, 1], 1: [0, 1], 2: [2]}
    for row in range(1, 5):
        first, second = tokens[row, 0].tolist()
        coarse = p[row, 0, 0, first] / q[row, 0, 0, first]
        fine = p[row, 0, 1, near[second]].sum() / q[row, 0, 1, near[second]].sum()
        assert float(ratio[row]) == pytest.approx(float(coarse * fine), rel=1e-5)
    assert ratio[0] == 0  # a code without any probability falls, whatever is alike


def test_single_tokens_are_judged_likewise():
    p, q = torch.tensor([[0.2, 0.5, 0.3]]), torch.tensor([[0.6, 0.2, 0.2]])
    rule = Alike(tolerance=2.0)
    rule.codebook = Codebook(torch.tensor([[0.0], [1.0], [5.0]]))
    nowhere = torch.zeros(1, dtype=torch.long)
    masses = rule.masses(Trial(p, q, nowhere, nowhere, nowhere, nowhere > 0))
    assert [float(mass) for mass in masses] == pytest.approx([0.7, 0.8])
    fewer = Alike(tolerance=2.0, neighbours=1)
    fewer.codebook = rule.codebook
    assert float(fewer.masses(Trial(p, q, nowhere + 2, nowhere, nowhere, nowhere > 0))[0]) == pytest.approx(0.3)


def test_rules_that_are_not_made_for_planes_are_refused():
    for rule in ("block", "typical", "lantern"):
        with pytest.raises(OptionError, match="alike, grouped, rejection"):
            planes.make("speculative-jacobi", acceptance=rule)
    with sounding(None), pytest.raises(OptionError, match="does not know what its 3 codes stand for"):
        check_law("speculative-jacobi", rows=10, acceptance="alike")


def test_a_pipeline_knows_what_sounds_alike(pipe):
    settings = {"seed": 3, "duration": 0.4, "output_type": "latent", "decoder": "speculative-jacobi"}

    def write(rule: str, prompts: list[str] | str = TEXTS):
        return pipe(prompts, decoder_options={"window": 6, "acceptance": rule}, **settings)

    exact, relaxed = write("rejection"), write("alike/tolerance=1e3")
    assert torch.equal(write("alike/tolerance=0.0").audios, exact.audios)
    assert torch.equal(write("grouped/ranks=1").audios, exact.audios)
    assert not torch.equal(relaxed.audios, exact.audios)
    assert [item.law for item in relaxed.statistics] == ["heuristic"] * 2
    assert sum(item.evaluations for item in relaxed.statistics) < sum(item.evaluations for item in exact.statistics)
    assert torch.equal(write("alike/tolerance=1e3", TEXTS[0]).audios[0], relaxed.audios[0])
    assert pipe._codebooks() is pipe._codebooks()  # its tables of neighbours are made once


def test_distances_are_in_units_of_what_the_last_codebook_corrects():
    vectors = [torch.tensor([[0.0, 0.0], [6.0, 8.0]]), None, torch.tensor([[3.0, 4.0], [-3.0, -4.0]])]
    books = Codebooks.of_residuals(vectors)
    codes = torch.tensor([[0, 1, 1]])
    near = books.near(codes, 7)
    assert near.shape == (1, 3, 1) and near[0, 0] == 1 and near[0, 2] == 0
    distances = books.distances(codes[..., None], near).flatten().tolist()
    assert distances == pytest.approx([4.0, torch.inf, 4.0])
    assert books.stand_for(vectors) and not books.stand_for([None, *vectors[1:]])
    vectors[0].mul_(2)
    assert not books.stand_for(vectors)
    assert Codebooks.of_residuals([None, None]) is None


@pytest.mark.parametrize("name", ["encodec_musicgen", "dac", "mimi"])
def test_vectors_are_what_the_decoder_reads_the_sum_of(published, name):
    folder, data = published(name)
    codec = sound_codecs.load(folder)
    codes = data["codes"].reshape(1, codec.codebooks, -1)
    vectors = codec.code_vectors()
    book = codec.codebooks - 1
    moved = codes.clone()
    moved[:, book] = (codes[:, book] + 1) % codec.codebook_size
    quantizer, step = codec.model.quantizer, vectors[book][moved[:, book]] - vectors[book][codes[:, book]]
    read = {
        "encodec_musicgen": lambda own: quantizer.decode(own.transpose(0, 1)),
        "dac": lambda own: quantizer.from_codes(own)[0],
        "mimi": lambda own: quantizer.decode(own),
    }[name]
    torch.testing.assert_close((read(moved) - read(codes)).transpose(1, 2), step, rtol=1e-4, atol=1e-5)
    assert [own is None for own in vectors] == [name == "mimi" and index == 0 for index in range(codec.codebooks)]


def test_both_sides_share_their_codebooks(tmp_path):
    write_musicgen(tmp_path, channels=2)
    codec = mmgen.load(str(tmp_path)).tokenizer
    left, right, *_ = codec.code_vectors()
    assert len(codec.code_vectors()) == 4 and left is right
    books = Codebooks.of_residuals(codec.code_vectors()).books
    assert books[0] is books[1] and books[0] is not books[2]
