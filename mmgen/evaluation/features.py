"""A small network that sees what is in a scene; its features are where pictures are compared.

It is trained by `mmgen.training.features` to name the objects, sizes, places, background and number of
scenes, and its weights are shipped beside this file.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import gelu

from mmgen.errors import OptionError, SizeError, WeightsError
from mmgen.scenes.grammar import BACKGROUNDS, COUNTS, POSITIONS, SIZES
from mmgen.scenes.objects import CHARACTERS
from mmgen.scenes.render import IMAGE_SIZE

WEIGHTS_PATH = Path(__file__).with_name("features.safetensors")
FEATURES = 64
"""Channels of the features: few, because the bias of a Frechet distance grows with them."""
PLACES = 8
"""Places along an axis where the network looks, each of 8x8 pixels."""

_QUESTIONS = {
    "objects": len(CHARACTERS),
    "sizes": len(SIZES),
    "places": len(POSITIONS),
    "background": len(BACKGROUNDS),
    "number": len(COUNTS),
}


class Answers(NamedTuple):
    """What the network says of pictures, or what is true of them.

    Attributes:
        objects: [B, 64], one for each shipped object: it is there.
        sizes: [B, 2], one for each of `SIZES`: an object of that size is there.
        places: [B, 9], one for each of `POSITIONS`: an object's centre is nearest to it.
        background: [B, 8], one for each of `BACKGROUNDS`.
        number: [B, 4], one for each of `COUNTS`: so many objects are there.
    """

    objects: Tensor
    sizes: Tensor
    places: Tensor
    background: Tensor
    number: Tensor


class SceneFeatures(nn.Module):
    """Pictures of 64x64 pixels to features, and from those, linearly, to what is in them.

    Convolutions in the manner of ConvNeXt (Liu et al. 2022, section 2), with kernels of 5, root mean
    square norms and no layer scale; a learned position, or the mean at the end would forget where things
    stand; one linear layer; and the mean over 8x8 places.

    Args:
        sizes: channels at 16x16 and at 8x8 places.
        features: channels of the features.
    """

    def __init__(self, sizes: tuple[int, int] = (64, 128), features: int = FEATURES) -> None:
        super().__init__()
        fine, coarse = sizes
        self.stem = nn.Conv2d(3, fine, 7, stride=4, padding=3)
        self.blocks = nn.Sequential(
            ConvolutionBlock(fine),
            Halve(fine, coarse),
            Position(PLACES, coarse),
            ConvolutionBlock(coarse),
            ConvolutionBlock(coarse),
            ConvolutionBlock(coarse),
        )
        self.norm = nn.RMSNorm(coarse, eps=1e-6)
        self.features = nn.Linear(coarse, features)
        self.answers = nn.Linear(features, sum(_QUESTIONS.values()))
        self.covered = nn.Linear(features, 1 + len(CHARACTERS))

    def forward(self, images: Tensor) -> Tensor:
        """Pictures, float [B, 3, 64, 64] in [-1, 1], to features [B, features]."""
        return self.local(images).mean((1, 2))

    def local(self, images: Tensor) -> Tensor:
        """The features of each place before the mean: [B, 8, 8, features]."""
        x = self.blocks(self.stem(images).permute(0, 2, 3, 1))
        return self.features(self.norm(x))

    def answer(self, features: Tensor) -> Answers:
        """What features [B, features] say, as logits."""
        return Answers(*self.answers(features).split(list(_QUESTIONS.values()), dim=-1))


class ConvolutionBlock(nn.Module):
    """Looks around each place, then widens and narrows its channels; both added to the stream [B, H, W, C]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(size, size, 5, padding=2, groups=size)
        self.norm = nn.RMSNorm(size, eps=1e-6)
        self.widen = nn.Linear(size, 4 * size)
        self.narrow = nn.Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        around = self.around(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.narrow(gelu(self.widen(self.norm(around))))


class Halve(nn.Module):
    """Joins every 2x2 places into one: [B, H, W, C] to [B, H / 2, W / 2, C']."""

    def __init__(self, size: int, out_size: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(size, eps=1e-6)
        self.join = nn.Linear(4 * size, out_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(rearrange(self.norm(x), "b (h p) (w q) c -> b h w (p q c)", p=2, q=2))


class Position(nn.Module):
    """Adds a learned vector to each place of a stream [B, side, side, C]."""

    def __init__(self, side: int, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(side, side, size))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


@functools.cache
def shipped_network(path: Path = WEIGHTS_PATH) -> SceneFeatures:
    """The trained network, on the CPU in float32.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """
    network = SceneFeatures()
    try:
        state = load_file(path)
        network.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    except (SafetensorError, OSError, RuntimeError) as error:
        raise WeightsError(path, f"cannot be used ({error})", "install mmgen again") from error
    return network.eval().requires_grad_(False)


@torch.no_grad()
def features_of(images: Sequence[Image.Image | np.ndarray], batch: int = 64) -> Tensor:
    """Features of pictures by the shipped network.

    Args:
        images: PIL pictures or uint8 arrays [64, 64, 3], at least one.
        batch: pictures seen at once.

    Returns:
        float64 [pictures, 64]. Over held-out scenes their total variance is 1, so a Frechet distance of 1
        is as far as a single unvarying picture at the mean of the features.

    Raises:
        OptionError: there is no picture.
        SizeError: a picture has another size.
    """
    if not len(images):
        raise OptionError("images", [], "at least one picture")
    network = shipped_network()
    parts = []
    for start in range(0, len(images), batch):
        pixels = np.stack([_pixels(image) for image in images[start : start + batch]])
        parts.append(network(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1).double())
    return torch.cat(parts)


def _pixels(image: Image.Image | np.ndarray) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image, np.float32)
    if pixels.shape != (IMAGE_SIZE, IMAGE_SIZE, 3):
        raise SizeError(f"a picture of shape {list(pixels.shape)}", f"[{IMAGE_SIZE}, {IMAGE_SIZE}, 3]")
    return pixels
