"""Sound filled in by a small random model, and how such a model is trained."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmgen.backbones.sound import MaskedSoundTransformer
from mmgen.decoding import spans
from mmgen.errors import OptionError
from mmgen.pipelines.text_to_sound import TextToSoundMaskedPipeline
from mmgen.scenes.sound_encoder import SoundSceneEncoder
from mmgen.tokenizers.sound_vq import SoundVQ
from mmgen.training.masked_sound import draw_books, draw_hidden_spans, hidden_span_loss

CAPTIONS = ["a piano plays a rising C major scale, fast", "a female voice says seven"]
SHORT = {"duration": 0.3, "seed": [4, 9], "output_type": "latent"}


@pytest.fixture(scope="module")
def pipe():
    generator = torch.Generator().manual_seed(0)
    codec = SoundVQ(codebooks=3, codebook_size=16, code_size=8)
    transformer = MaskedSoundTransformer(16, 3, 20, size=16, layers=2, heads=2, hidden_size=16)
    for model, scale in ((codec, 1.0), (transformer, 0.4)):
        for parameter in model.parameters():
            parameter.data.normal_(0, scale, generator=generator)
    decoder = spans.make("masked-spans", passes=3, fine_passes=2)
    pipe = TextToSoundMaskedPipeline(codec, SoundSceneEncoder(size=16), transformer, decoder, {"guidance": 2.0})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_captions_become_sound_in_a_few_evaluations(pipe):
    output = pipe(CAPTIONS[0], seed=1)
    assert output.audios.shape == (1, 1, 48_000)
    assert output.statistics[0].evaluations == 3 + 2 + 2
    assert output.statistics[0].law == "heuristic"


def test_a_recording_alone_is_what_it_is_in_a_batch(pipe):
    together = pipe(CAPTIONS, **SHORT).audios
    for row, caption in enumerate(CAPTIONS):
        alone = pipe(caption, **SHORT | {"seed": SHORT["seed"][row]}).audios
        assert torch.equal(alone[0], together[row])
    assert not torch.equal(*together)


def test_what_is_shown_behind_a_gap_counts_and_stays(pipe):
    codes = pipe(CAPTIONS[0], **SHORT | {"seed": 4}).audios
    results = []
    for behind in (0, 1):
        known = codes.clone()
        known[..., 10:] = (known[..., 10:] + behind) % 16
        known[..., 3:10] = -1
        results.append(pipe(CAPTIONS[0], known=known, **SHORT | {"seed": 4}).audios)
        assert torch.equal(results[-1][known >= 0], known[known >= 0])
    assert not torch.equal(results[0][..., 3:10], results[1][..., 3:10])


def test_longer_than_in_training_is_refused(pipe):
    with pytest.raises(OptionError, match="seconds up to 3"):
        pipe(CAPTIONS[0], duration=4)


@torch.no_grad()
def test_frames_see_both_sides_and_no_later_codebook(pipe):
    transformer = pipe.transformer
    codes = torch.randint(16, (1, 3, 8), generator=torch.Generator().manual_seed(1))
    codes[:, 1, 4], codes[:, 2] = -1, -1
    memory = transformer.remember(torch.randn(1, 7, 16), torch.ones(1, 7, dtype=torch.bool))
    logits = transformer.masked_logits(codes, 1, memory)
    for frame in (0, 7):
        other = codes.clone()
        other[:, 0, frame] = (other[:, 0, frame] + 1) % 16
        assert not torch.allclose(transformer.masked_logits(other, 1, memory)[:, 4], logits[:, 4])


def test_books_and_spans_that_are_hidden():
    generator = torch.Generator().manual_seed(0)
    books = draw_books(20, 4, generator)
    assert books.bincount().tolist() == [8, 4, 4, 4]
    hidden = draw_hidden_spans(books, (20, 4, 11), generator)
    for book, rows in zip(books.tolist(), hidden, strict=True):
        assert not rows[:book].any() and rows[book + 1 :].all() and rows[book].any()
        for first in range(0, 11, 3):  # spans are hidden whole
            assert rows[book, first : first + 3].unique().numel() == 1
    assert 0.5 < hidden[range(20), books].float().mean() < 0.8  # 2 / pi on average, and a little more


@torch.no_grad()
def test_the_loss_is_that_of_the_codes_asked_for(pipe, monkeypatch):
    monkeypatch.setattr("mmgen.training.sound._WRONG", 0)
    transformer = pipe.transformer
    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(16, (5, 3, 9), generator=generator)
    features = torch.randn(5, 7, 16, generator=generator)
    memory = transformer.remember(features, torch.ones(5, 7, dtype=torch.bool))
    loss = hidden_span_loss(transformer.features_of_lines, transformer, codes, memory, step=2)
    generator = torch.Generator().manual_seed((9 << 32) + 2)
    books = draw_books(5, 3, generator)
    hidden = draw_hidden_spans(books, codes.shape, generator)
    losses = []
    for row in range(5):
        shown = codes[row : row + 1].masked_fill(hidden[row], -1)
        for book in range(int(books[row]), 3):
            logits = transformer.masked_logits(shown, book, memory.select(torch.tensor([row])))
            asked = hidden[row, book]
            losses += cross_entropy(logits[0, asked], codes[row, book, asked], reduction="none").tolist()
    assert float(loss) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
