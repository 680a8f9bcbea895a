"""Emu3 draws what transformers draws with it under forced row ends, and all formats of its files are understood."""

from __future__ import annotations

import pytest
import torch
from backbones.language_models import BEGIN, CODES, IMAGE, PAD, ROW_END, WORDS, pair

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.emu3 import Emu3Transformer
from mmgen.checkpoints import language_configs, language_keys
from mmgen.errors import OptionError
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession


def test_greedy_pictures_are_those_of_transformers() -> None:
    """With a negative prompt of another length."""
    model = pair("emu3")
    ids, negative = torch.tensor([[BEGIN, 6, 7, 8, 9, IMAGE]]), torch.tensor([[BEGIN, 10, 11, IMAGE]])
    layout, visual = model.layout, list(range(WORDS, WORDS + CODES))

    def allowed(_: int, line: torch.Tensor) -> list[int]:
        return [ROW_END] if (len(line) - ids.shape[1] + 1) % layout.width == 0 else visual

    line = model.theirs.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, guidance_scale=3.0, pad_token_id=PAD,
        negative_prompt_ids=negative, negative_prompt_attention_mask=torch.ones_like(negative),
        prefix_allowed_tokens_fn=allowed, max_new_tokens=layout.length, min_new_tokens=layout.length,
    )  # fmt: skip
    theirs = line[:, ids.shape[1] :]
    assert bool((theirs.view(3, 5)[:, -1] == ROW_END).all()) and len(theirs.unique()) > 4
    prompt, null = (Prompt.ragged(list(model.ours.embed_text(rows))) for rows in (ids, negative))
    for name in ("autoregressive", "jacobi"):
        session = RasterSession(model.ours, layout, prompt, null, Sampling(guidance=3.0, temperature=0.0))
        tokens = decoding.make(name).generate(session, Rng([0])).tokens
        assert torch.equal(torch.where(tokens == CODES, ROW_END, tokens + WORDS), theirs)


@pytest.mark.parametrize("form", ["authors", "first of transformers"])
def test_all_files_are_the_same_model(form: str) -> None:
    ours, found = pair("emu3").ours, {}
    for key, weight in pair("emu3").theirs.state_dict().items():
        if form == "authors":  # their tokenizer is a repository of its own
            name = key.replace("model.text_model.", "model.")
            name = None if key.startswith("model.vqmodel.") else name
        else:
            name = key.replace("model.text_model.", "text_model.model.").replace("model.vqmodel.", "vqmodel.")
            name = name.replace("lm_head.", "text_model.lm_head.")
        if name is not None and (name := language_keys.from_emu3(name)) is not None:
            found[name] = weight
    assert {key: weight.data_ptr() for key, weight in found.items()} == {
        key: weight.data_ptr() for key, weight in ours.state_dict().items()
    }


def test_configurations_of_the_published_model() -> None:
    """The defaults are the published numbers, and the authors' file says so of the row's end alone."""
    authors = {"model_type": "Emu3", "vocab_size": 184622, "eol_token_id": 151846, "rope_theta": 1e6, "hidden_size": 64}
    assert language_configs.emu3(authors) == {
        "text_config": {"vocab_size": 184622, "rope_theta": 1e6, "hidden_size": 64},
        "row_end": 151846,
    }
    with torch.device("meta"):
        ours = Emu3Transformer(**language_configs.emu3(authors | {"num_hidden_layers": 1, "head_dim": 2}))
    assert ours.vocabulary_size == 32769 and ours.begin_token == 32769
    assert ours._words[[0, 32767, 32768]].tolist() == [151854, 184621, 151846]
    assert ours._text.rope_parameters["rope_theta"] == 1e6
    with pytest.raises(OptionError, match="without a gap"):
        language_configs.emu3({"text_config": {}, "vocabulary_map": {"<|visual token 000003|>": 5, "<|extra_200|>": 4}})
