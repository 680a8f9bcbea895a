"""AudioGen from audiocraft's files to sound: logits and greedy codes are those of a second account of its layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from audio.magnets import BOOKS, CODES, CONFIG, TEXT, official_logits, official_state, official_texts, write_magnet
from torch import Tensor

import mmgen
from mmgen.checkpoints import audiogen, magnet, published
from mmgen.errors import OptionError, WeightsError
from mmgen.pipelines.audiogen import AudioGenPipeline
from mmgen.pipelines.musicgen import MusicGenPipeline

TEXTS = ["a slow sad song with piano", "happy"]

AUDIOGEN = CONFIG | {
    "lm_model": "transformer_lm",
    "dataset": {"segment_duration": 10},
    "codebooks_pattern": {
        "modeling": "delay", "delay": {"delays": [0, 1], "flatten_first": 0, "empty_initial": 0},
        "unroll": {"flattening": [0, 1], "delays": [0, 0]},
    },
    "fuser": {
        "cross_attention_pos_emb": False, "sum": [], "prepend": [], "cross": ["description"], "input_interpolate": [],
    },
    "conditioners": {"description": {"model": "t5", "t5": {"name": "t5-large"}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("audiogen")
    write_magnet(folder, AUDIOGEN)
    return folder


def load(folder: Path, **options):
    pipe = mmgen.load(str(folder), **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe(folder):
    return load(folder, text_encoder=folder / "t5")


def official_codes(pipe, text: str, frames: int, guidance: float) -> Tensor:
    """Greedy codes [K, T]: a step at a time, each codebook a frame later, without text as with one of zeros."""
    state, (features, told) = official_state(), pipe.text_features([text])
    heard = torch.cat([official_texts(state, features, own) for own in (told, torch.zeros_like(told))])
    line = torch.full((1, BOOKS, 1), CODES)
    for step in range(frames + BOOKS - 1):
        causal = torch.ones(step + 1, step + 1).bool().tril()
        new = torch.full((1, BOOKS, 1), CODES)
        for book in range(BOOKS):
            told_so, not_told = official_logits(state, line.expand(2, -1, -1), heard, book, causal)[:, -1]
            if 0 <= step - book < frames:
                new[0, book, 0] = (not_told + guidance * (told_so - not_told)).argmax()
        line = torch.cat((line, new), dim=-1)
    return torch.stack([line[0, book, 1 + book : 1 + book + frames] for book in range(BOOKS)])


@torch.no_grad()
def test_logits_are_those_of_audiocraft(pipe):
    state, generator = official_state(), torch.Generator().manual_seed(1)
    planes = torch.randint(0, CODES + 1, (2, 12, BOOKS), generator=generator)
    texts = torch.randn(2, 5, TEXT, generator=generator)
    told = torch.tensor([True, False])[:, None].expand(-1, 5)
    model = pipe.transformer
    memory, cache = model.remember(texts, told), model.new_cache(2, 12)
    ours = torch.cat([model.logits(model.features(part, memory, cache)) for part in planes.split([5, 1, 6], 1)], 1)
    heard, causal = official_texts(state, texts, told), torch.ones(12, 12).bool().tril()
    for book in range(BOOKS):
        expected = official_logits(state, planes.transpose(1, 2), heard, book, causal)
        torch.testing.assert_close(ours[:, :, book], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_greedy_codes_are_those_of_audiocraft(pipe, guidance):
    output = pipe(TEXTS, seed=0, duration=0.12, temperature=0, guidance=guidance, output_type="latent")
    for text, codes in zip(TEXTS, output.audios, strict=True):
        assert torch.equal(codes, official_codes(pipe, text, 12, guidance))


def test_a_folder_is_recognised_and_its_windows_are_audiogens(folder, pipe):
    assert published.recognise(folder) is audiogen and audiogen.recognise(folder / "state_dict.bin")
    assert not magnet.recognise(folder) and not audiogen.recognise(folder / "t5")
    assert type(pipe) is AudioGenPipeline and pipe.windows_of(1300) == [range(1000), range(200, 1200), range(400, 1300)]
    assert dict(pipe.config.sampling) == {"guidance": 3.0, "temperature": 1.0, "top_k": 250, "top_p": 1.0}
    assert audiogen.pipeline({"dataset": {"segment_duration": 30}}) is MusicGenPipeline


def test_a_folder_of_ours_plays_the_same(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert type(again) is AudioGenPipeline and again.revision == pipe.revision
    settings = {"seed": 1, "duration": 0.16}
    assert np.array_equal(again("happy", **settings).audios, pipe("happy", **settings).audios)


def test_older_files_name_the_order_elsewhere():
    model = CONFIG["transformer_lm"] | {"q_modeling": "delay"}
    older = AUDIOGEN | {"codebooks_pattern": {"modeling": None}, "transformer_lm": model}
    assert audiogen.configuration(older, TEXT) == audiogen.configuration(AUDIOGEN, TEXT)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"codebooks_pattern": {"modeling": "parallel"}}, "a delay of one frame"),
        ({"codebooks_pattern": {"modeling": "delay", "delay": {"delays": [0, 0]}}}, "of mono sound"),
        ({"fuser": AUDIOGEN["fuser"] | {"prepend": ["self_wav", "description"], "cross": []}}, "hears texts alone"),
        ({"fuser": AUDIOGEN["fuser"] | {"cross": []}}, "hears texts alone"),
        ({"fuser": AUDIOGEN["fuser"] | {"cross_attention_pos_emb": True}}, "cross_attention_pos_emb"),
        ({"dataset": {"segment_duration": 20}}, "10 seconds, as AudioGen, or 30"),
        ({"transformer_lm": CONFIG["transformer_lm"] | {"past_context": 100}}, "past_context"),
        ({"dataset": None}, "does not describe an AudioGen or a MusicGen"),
    ],
)
def test_files_of_another_kind_are_refused(folder, tmp_path, changed, message):
    held = {"best_state": official_state(), "xp.cfg": yaml.safe_dump(AUDIOGEN | changed)}
    torch.save(held, tmp_path / "state_dict.bin")
    with pytest.raises(WeightsError, match=message):
        load(tmp_path, text_encoder=folder / "t5")


def test_what_the_files_do_not_hold_is_asked_for(folder, tmp_path):
    with pytest.raises(OptionError, match="a folder of t5-large"):
        load(folder)
    (tmp_path / "state_dict.bin").symlink_to(folder / "state_dict.bin")
    with pytest.raises(OptionError, match=r"compression_state_dict\.bin beside it"):
        load(tmp_path, text_encoder=folder / "t5")
    given = load(tmp_path, text_encoder=folder / "t5", tokenizer=folder / "encodec")
    assert given.tokenizer.codebooks == BOOKS
