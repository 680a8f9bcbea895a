"""A pipeline of clips small enough to be known by heart: 9 frames of 8 x 12 pixels, 5 x 2 x 3 codes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin  # noqa: F401  (the base is looked up in this module)
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mmgen import decoding
from mmgen.backbones.backbone import Prompt
from mmgen.backbones.raster import RasterTransformer
from mmgen.errors import PromptError
from mmgen.pipelines import loading
from mmgen.pipelines.video import VideoPipeline


class Colours(ModelMixin, ConfigMixin):
    """Codes are colours of 4 x 4 pixels: of the first frame, then of every two frames, the second of which counts."""

    stride, frame_stride = 4, 2

    @register_to_config
    def __init__(self, codes: int = 11) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.linspace(-1, 1, codes)[:, None].expand(-1, 3).clone())

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        return 1 + frames // 2, -(-height // 4), -(-width // 4)

    def encode(self, clips: Tensor) -> Tensor:
        seen = clips[:, 0, ::2, ::4, ::4]
        return (seen[..., None] - self.codebook[:, 0]).abs().argmin(-1)[:, None]

    def decode(self, codes: Tensor) -> Tensor:
        frames = [0] + [step for step in range(1, codes.shape[2]) for _ in range(2)]
        pixels = codes[:, 0, frames].repeat_interleave(4, 2).repeat_interleave(4, 3)
        return self.codebook[pixels].permute(0, 4, 1, 2, 3)


class LettersPipeline(VideoPipeline):
    """Draws a letter, which is two numbers."""

    component_types = {"tokenizer": Colours, "transformer": RasterTransformer}
    _optional_components: list[str] = []
    backbones = ("transformer",)
    family = "raster"

    def __init__(self, tokenizer: Colours, transformer: RasterTransformer, decoder: Any, sampling: Any = None) -> None:
        super().__init__(sampling, tokenizer=tokenizer, transformer=transformer, decoder=decoder)

    def read(self, prompt: str) -> float:
        if len(prompt) != 1:
            raise PromptError(prompt, "is no letter", "give one")
        return ord(prompt) / 99

    def prompts(self, backbone: Any, subjects: Any, layout: Any) -> tuple[Prompt, Prompt]:
        told = torch.tensor(subjects)[:, None, None].expand(-1, 2, 16)
        return Prompt(told), Prompt(torch.zeros_like(told))


@pytest.fixture(scope="session")
def letters() -> LettersPipeline:
    generator = torch.Generator().manual_seed(3)
    transformer = RasterTransformer(11, 2, 3, 2, size=16, layers=2, heads=2, hidden_size=32, frames=5)
    for parameter in transformer.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.5, generator=generator)
    models = Colours().eval().requires_grad_(False), transformer.eval().requires_grad_(False)
    pipe = LettersPipeline(*models, decoding.make("jacobi", window=6), {"guidance": 1.5})
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def folder(letters, tmp_path, monkeypatch):
    """The pipeline as a folder that commands take, in a module that `mmgen.load` knows."""
    monkeypatch.setitem(loading.PIPELINES, "LettersPipeline", LettersPipeline.__module__)
    letters.save_pretrained(tmp_path / "letters")
    return tmp_path / "letters"
