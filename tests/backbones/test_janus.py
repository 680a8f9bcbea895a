"""Janus draws what transformers draws with it, and both formats of its files are understood."""

from __future__ import annotations

import re

import torch
from backbones.language_models import BEGIN, CODES, END, IMAGE, PAD, TEXT, filled, pair

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.janus import JanusTransformer
from mmgen.checkpoints import language_configs, language_keys
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

TO_OFFICIAL = (
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.language_model\.", "language_model.model."),
    (r"^model\.generation_embeddings\.", "gen_embed."),
    (r"^model\.generation_aligner\.fc1\.", "gen_aligner.layers.0."),
    (r"^model\.generation_aligner\.hidden_layers\.0\.", "gen_aligner.layers.2."),
    (r"^model\.generation_head\.proj_out\.", "gen_head.output_mlp_projector."),
    (r"^model\.generation_head\.", "gen_head."),
    (r"^model\.vision_model\.", "vision_model.vision_tower."),
    (r"^model\.vqmodel\.", "gen_vision_model."),
    (r"^model\.aligner\.", "aligner."),
)


def test_greedy_pictures_are_those_of_transformers() -> None:
    model = pair("janus")
    ids = torch.tensor([[BEGIN, 6, 7, 8, 9, IMAGE], [BEGIN, 11, 5, 6, 10, IMAGE]])
    theirs = model.theirs.generate(
        inputs=ids, attention_mask=torch.ones_like(ids), generation_mode="image", do_sample=False, guidance_scale=3.0,
        bos_token_id=BEGIN, eos_token_id=END, pad_token_id=PAD,
    )  # fmt: skip
    without = ids.masked_fill((ids != BEGIN) & (ids != IMAGE), PAD)
    prompt, null = (Prompt.ragged(list(model.ours.embed_text(rows))) for rows in (ids, without))
    sampling = Sampling(guidance=3.0, temperature=0.0)
    for name in ("autoregressive", "jacobi"):
        session = RasterSession(model.ours, model.layout, prompt, null, sampling)
        assert torch.equal(decoding.make(name).generate(session, Rng([0, 1])).tokens, theirs)
    assert len(theirs.unique()) > 4


def test_the_authors_files_are_the_same_model() -> None:
    theirs, ours = pair("janus").theirs, pair("janus").ours
    official = {}
    for key, weight in theirs.state_dict().items():
        for pattern, replacement in TO_OFFICIAL:
            key = re.sub(pattern, replacement, key)
        official[key] = weight
    found = {language_keys.from_janus_official(key): weight for key, weight in official.items()}
    found.pop(None)
    assert {key: weight.data_ptr() for key, weight in found.items()} == {
        key: weight.data_ptr() for key, weight in ours.state_dict().items()
    }
    assert language_keys.from_janus_official("gen_aligner.layers.4.bias") == "generation_aligner.hidden_layers.1.bias"
    assert language_keys.from_janus_official("something.else") == "something.else"


def test_the_authors_configuration_is_the_same() -> None:
    """As of Janus-Pro-1B, but for the sizes."""
    text = {name: TEXT[name] for name in TEXT if not name.endswith("token_id")} | {"model_type": "llama"}
    official = {
        "language_config": text,
        "gen_aligner_config": {"cls": "MlpProjector", "params": {"depth": 2, "input_dim": 8, "n_embed": 32}},
        "gen_head_config": {
            "cls": "vision_head",
            "params": {"image_token_embed": 32, "image_token_size": CODES, "n_embed": 32},
        },
        "gen_vision_config": {"cls": "VQ-16", "params": {"image_token_size": CODES, "n_embed": 8}},
    }
    config = language_configs.janus(official)
    assert "model_type" not in config["text_config"]
    theirs = pair("janus").theirs
    again = filled(JanusTransformer, config, theirs, language_keys.from_janus_transformers)
    x = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0))
    caches = [model.new_cache(1, 5) for model in (again, pair("janus").ours)]
    streams = []
    for model, cache in zip((again, pair("janus").ours), caches, strict=True):
        model.prefill(x, cache)
        streams.append(model.streams(torch.tensor([[CODES]]), cache, begin=x[:, 0])[-1])
    assert torch.equal(*streams)
