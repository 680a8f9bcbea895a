"""The page, served on a free port with a tiny pipeline that draws slowly enough to watch."""

import threading
import time
from contextlib import closing

import pytest
import torch

import mmgen
from mmgen import decoding
from mmgen.backbones.raster import RasterTransformer
from mmgen.pipelines.text_to_image import TextToImagePipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.web import studio

TOKENS = 64


class Watched:
    """A pipeline's `draw`, slowed down; `stopped` is set when a drawing is closed before its end."""

    def __init__(self, draw):
        self.draw, self.stopped = draw, threading.Event()

    def __call__(self, *arguments, **options):
        return self._slowly(self.draw(*arguments, **options))

    def _slowly(self, drawings):
        try:
            with closing(drawings):
                for drawing in drawings:
                    time.sleep(0.05)
                    yield drawing
        except GeneratorExit:
            self.stopped.set()
            raise


@pytest.fixture(scope="session")
def pipe():
    """Pictures of 32 x 32 pixels and 64 tokens, with random weights."""
    generator = torch.Generator().manual_seed(3)
    tokenizer = PatchVQ(codebook_size=16, image_size=32, size=16, layers=1, heads=2, hidden_size=16)
    transformer = RasterTransformer(16, 8, 8, 7, size=32, layers=1, heads=2, hidden_size=32)
    with torch.no_grad():
        tokenizer.codebook.copy_(torch.rand(tokenizer.codebook.shape, generator=generator) * 2 - 1)
        transformer.head.weight.copy_(torch.randn(transformer.head.weight.shape, generator=generator) * 0.2)
    made = TextToImagePipeline(
        tokenizer.eval(),
        SceneEncoder(size=32).eval(),
        transformer.eval(),
        decoding.make("jacobi", window=12),
        {"guidance": 2.5, "temperature": 0.9},
    )
    made.register_to_config(_name_or_path="tiny")
    made.draw = Watched(made.draw)
    return made


@pytest.fixture(scope="session")
def tiny_model(pipe):
    """Puts the tiny pipeline in the place of every shipped one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmgen, "load", lambda name: pipe)
        patch.setattr(studio, "FRAME_SECONDS", 0.05)
        yield


@pytest.fixture(scope="session")
def url(tiny_model):
    from mmgen.web.app import launch

    page = launch(port=0, block=False)
    yield page.local_url
    page.close()
