"""The page, served on a free port, with tiny pipelines of every medium that draw slowly enough to watch."""

import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch

import mmgen
from mmgen import decoding
from mmgen.backbones.raster import RasterTransformer
from mmgen.catalog import Entry
from mmgen.pipelines.text_to_image import TextToImagePipeline
from mmgen.pipelines.text_to_video import TextToVideoPipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.scenes.motion_encoder import MovingSceneEncoder
from mmgen.tokenizers.causal_patches import CausalPatchVQ
from mmgen.tokenizers.patch_vq import PatchVQ
from mmgen.web import studio as studios

sys.path.insert(0, str(Path(__file__).parents[1] / "audio"))
sys.path.insert(0, str(Path(__file__).parents[1] / "next_scale"))

TOKENS = 64


class Watched:
    """A pipeline's `draw`, slowed down; `stopped` is set when a drawing is closed before its end."""

    def __init__(self, draw):
        self.draw, self.stopped, self.seconds = draw, threading.Event(), 0.05

    def __call__(self, *arguments, **options):
        return self._slowly(self.draw(*arguments, **options))

    def _slowly(self, drawings):
        try:
            with closing(drawings):
                for drawing in drawings:
                    time.sleep(self.seconds)
                    yield drawing
        except GeneratorExit:
            self.stopped.set()
            raise


class WatchedStudio(studios.Studio):
    """A studio whose pipelines are watched."""

    def load(self, model):
        pipe = super().load(model)
        pipe.draw = Watched(pipe.draw)
        return pipe


def spread(model, seed, deviation=0.3):
    """A model with fixed weights whose laws are far from flat."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0, deviation, generator=generator)
    return model.eval().requires_grad_(False)


def picture_pipeline():
    """Pictures of 32 x 32 pixels and 64 tokens, with random weights."""
    tokenizer = PatchVQ(codebook_size=16, image_size=32, size=16, layers=1, heads=2, hidden_size=16)
    tokenizer.codebook.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(3))
    transformer = RasterTransformer(16, 8, 8, 7, size=32, layers=1, heads=2, hidden_size=32)
    parts = tokenizer.eval(), spread(SceneEncoder(size=32), 1), spread(transformer, 2, 0.15)
    return TextToImagePipeline(*parts, decoding.make("jacobi", window=12), {"guidance": 2.5, "temperature": 0.9})


def clip_pipeline():
    """Clips of 9 frames of 16 x 16 pixels and 12 tokens."""
    tokenizer = CausalPatchVQ(16, 8, 4, (8,), size=16, layers=1, heads=2, hidden_size=16)
    tokenizer.codebook.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    encoder = spread(MovingSceneEncoder(size=32), 1)
    transformer = RasterTransformer(16, 2, 2, encoder.length, 32, 2, 2, 48, frames=3)
    decoder = decoding.make("jacobi", window=8, drafter="frame-repeat")
    return TextToVideoPipeline(tokenizer.eval(), encoder, spread(transformer, 1), decoder, {"guidance": 1.5})


def sound_pipeline(folder):
    """Sound of one second as half a second's codes, 800 samples a second."""
    from musicgens import write_musicgen

    write_musicgen(folder)
    return mmgen.load(str(folder))


def scales_pipeline():
    from scenes import scene_pipeline

    return scene_pipeline()


@pytest.fixture(scope="session")
def entries(tmp_path_factory):
    """A folder of tiny pipelines, as the shipped ones lie in theirs."""
    root = tmp_path_factory.mktemp("pipelines")
    made = {
        "tiny": picture_pipeline(),
        "tiny-scales": scales_pipeline(),
        "tiny-clip": clip_pipeline(),
        "tiny-sound": sound_pipeline(tmp_path_factory.mktemp("musicgen")),
    }
    for name, pipe in made.items():
        pipe.save_pretrained(root / name)
    return [Entry(name, pipe.medium, pipe.family, str(root / name)) for name, pipe in made.items()]


@pytest.fixture(scope="session")
def studio(entries):
    return WatchedStudio(entries)


@pytest.fixture(scope="session")
def pipe(studio):
    """The pipeline of pictures, as the page has it."""
    return studio.pipeline("tiny")


@pytest.fixture(scope="session")
def url(studio):
    from mmgen.web.app import launch

    page = launch(port=0, block=False, studio=studio)
    yield page.local_url
    page.close()
