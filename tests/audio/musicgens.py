"""Tiny MusicGens with random weights, as transformers makes and writes them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
)

from tokenizers import Tokenizer

WORDS = ("<pad>", "</s>", "<unk>", "a", "slow", "sad", "song", "fast", "happy", "dance", "with", "drums", "piano")


def write_text_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def tiny_musicgen(channels: int = 1, text_size: int = 24) -> MusicgenForConditionalGeneration:
    """Two codebooks of 16 codes for each channel, 100 frames a second, and laws that are far from flat."""
    text = T5Config(
        vocab_size=len(WORDS), d_model=text_size, d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0
    )
    codec = EncodecConfig(
        target_bandwidths=[0.8], sampling_rate=800, upsampling_ratios=[4, 2], num_filters=2, hidden_size=8,
        codebook_size=16, num_lstm_layers=1, codebook_dim=8,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, ffn_dim=48, dropout=0.0,
        num_codebooks=2 * channels, audio_channels=channels, pad_token_id=16, bos_token_id=16,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(5)
    config = MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    model = MusicgenForConditionalGeneration(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(6)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name.startswith(("decoder", "text_encoder", "enc_to_dec")):
            parameter.normal_(0, 0.35, generator=generator)
    for name, buffer in model.named_buffers():
        if name.endswith("codebook.embed"):
            buffer.normal_(0, 0.3, generator=generator)
    return model


def write_musicgen(folder: Path, channels: int = 1) -> MusicgenForConditionalGeneration:
    """Writes one as transformers does, and returns it."""
    model = tiny_musicgen(channels)
    model.save_pretrained(folder)
    write_text_tokenizer(folder)
    return model
