"""A video tokenizer whose codes are patches of every few frames, and whose decoder never looks ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from mmgen.backbones.blocks import Block, RMSNorm, grid_angles
from mmgen.codebook import nearest
from mmgen.errors import SizeError
from mmgen.tokenizers.clips import check_clips, cropped, lengthened

_FLOOR = 1e-3
"""Squared differences of so little, of a range of 2, make no difference."""
_SHARPNESS = 8.0
"""Logits to a unit of score: so scores need not grow large, and learn as quickly as the rest."""


class CausalPatchVQ(ModelMixin, ConfigMixin):
    """Vector quantisation of the patches of *key frames*; the decoder finds the frames between them.

    As in causal video tokenizers (Yu et al. 2024, "MAGVIT-v2"; Agarwal et al. 2025, "Cosmos") the first frame is a
    step of its own, and each further step stands for `frame_stride` frames. Deviation: a code is the nearest of
    `codebook_size` patches (k-means, Lloyd 1982) of the last frame of its step, and depends on its own pixels alone, so
    that an object has the same codes wherever it stands and goes: that is what a small autoregressive model learns
    fastest.

    A bidirectional transformer corrects the patches of each key frame by the codes around them, as in `PatchVQ`. For
    a frame between two key frames both are moved towards it along each of a few ways, and in each cell the ways are
    mixed (Finn et al. 2016, "Unsupervised Learning for Physical Interaction through Video Prediction") by scores of
    how well the two agree and how much they show. So a frame depends on the codes of its own step and the one before.

    Args:
        codebook_size: number of codes V.
        patch_size: pixels of a patch along each axis: the stride.
        frame_stride: frames of a step.
        ways: pixels that things may go in a step, along either axis; multiples of `frame_stride`.
        size: channels of the transformer.
        layers: its blocks.
        heads: its attention heads.
        hidden_size: channels inside its feed-forward.

    Raises:
        SizeError: a way is no multiple of `frame_stride`.
    """

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 1024,
        patch_size: int = 8,
        frame_stride: int = 4,
        ways: Sequence[int] = (8, 16, 32),
        size: int = 128,
        layers: int = 3,
        heads: int = 4,
        hidden_size: int = 384,
    ) -> None:
        super().__init__()
        if any(way % frame_stride for way in ways):
            raise SizeError(f"ways of {list(ways)} pixels a step", f"multiples of its {frame_stride} frames")
        self.moves = [(0, 0)] + [move for way in ways for move in ((way, 0), (-way, 0), (0, way), (0, -way))]
        """Pixels down and to the right that things may go in a step."""
        self.codebook = nn.Parameter(torch.zeros(codebook_size, 3 * patch_size**2), requires_grad=False)
        self.embedding = nn.Embedding(codebook_size, size)
        self.blocks = nn.ModuleList(Block(size, heads, hidden_size) for _ in range(layers))
        self.norm = RMSNorm(size)
        self.correction = nn.Linear(size, 3 * patch_size**2)
        self.score = nn.Sequential(
            nn.Conv2d(5, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 1, 1)
        )
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    @property
    def stride(self) -> int:
        """Pixels per code along each axis of a frame."""
        return self.config.patch_size

    @property
    def frame_stride(self) -> int:
        """Frames per code, but for the first frame, which has codes of its own."""
        return self.config.frame_stride

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Steps, rows and columns of the codes of a clip; what does not fill a code counts as one."""
        return 1 - (1 - frames) // self.frame_stride, -(-height // self.stride), -(-width // self.stride)

    def encode(self, clips: Tensor) -> Tensor:
        """Clips to codes; what does not fill its last step, row or column is filled with the edge repeated.

        Args:
            clips: float [B, 3, T, H, W] in [-1, 1], of any number of frames and any size.

        Returns:
            int64 [B, 1, *grid(T, H, W)].

        Raises:
            SizeError: the clips have another shape.
        """
        check_clips(clips)
        whole = lengthened(clips, self._filled(self.grid(*clips.shape[2:])))
        return nearest(self.to_patches(whole[:, :, :: self.frame_stride].to(self.codebook.dtype)), self.codebook)[
            :, None
        ]

    def to_patches(self, frames: Tensor) -> Tensor:
        """Frames [B, 3, t, H, W] to their patches [B, t, h, w, 3 * stride**2]."""
        return rearrange(frames, "b c t (h p) (w q) -> b t h w (p q c)", p=self.stride, q=self.stride)

    def decode(self, codes: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Codes to clips. The first steps alone give the first frames, the same as with all that follow.

        Args:
            codes: int64 [B, 1, t, h, w], of any t, h and w.
            size: frames, height and width of the clips, where they do not fill their codes.

        Returns:
            [B, 3, T, H, W] in [-1, 1]; without a size, T is 1 + (t - 1) * `frame_stride`.

        Raises:
            SizeError: the codes hold no clips of this size.
        """
        keys = self._key_frames(codes[:, 0])
        first = keys[:, :1].transpose(1, 2)
        if codes.shape[2] == 1:
            return cropped(first, size)
        # Key frames learn from themselves alone: what is mixed from them is no reason to change them.
        between = self._between(keys.detach())
        later = rearrange([*between, keys[:, 1:]], "s b t c h w -> b c (t s) h w")
        return cropped(torch.cat((first, later), dim=2), size)

    def _filled(self, grid: tuple[int, int, int]) -> tuple[int, int, int]:
        """Frames, height and width of the clips that fill a grid of codes."""
        return 1 + (grid[0] - 1) * self.frame_stride, grid[1] * self.stride, grid[2] * self.stride

    def _key_frames(self, codes: Tensor) -> Tensor:
        """Codes [B, t, h, w] to the last frame of each step, [B, t, 3, H, W]."""
        steps, rows, columns = codes.shape[1:]
        cells = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        x = self.embedding(rearrange(codes, "b t h w -> (b t) (h w)"))
        angles = grid_angles(cells, self.config.size // self.config.heads)[:, None, :, None, None].to(x.device, x.dtype)
        for block in self.blocks:
            x = block(x, angles, causal=False)
        corrections = rearrange(self.correction(self.norm(x)), "(b t) (h w) c -> b t h w c", t=steps, h=rows)
        patches = self.codebook[codes] + corrections
        return rearrange(patches, "b t h w (p q c) -> b t c (h p) (w q)", p=self.stride, q=self.stride).clamp(-1, 1)

    def _between(self, keys: Tensor) -> Iterator[Tensor]:
        """The frames between key frames [B, t, 3, H, W].

        Yields:
            [B, t - 1, 3, H, W], first the first frame of all steps.
        """
        known = torch.ones_like(keys[:, :, :1])
        before, after = torch.cat((keys, known), dim=2)[:, :-1], torch.cat((keys, known), dim=2)[:, 1:]
        for number in range(1, self.frame_stride):
            part = number / self.frame_stride
            views = [self._view(before, after, move, part) for move in self.moves]
            seen, apart, lone = (torch.stack(parts) for parts in zip(*views, strict=True))
            shares = self._scores(seen, apart, lone).softmax(0)
            for axis in (-2, -1):
                shares = shares.repeat_interleave(self.stride, dim=axis)
            yield (shares.unsqueeze(3) * seen).sum(0)

    def _view(self, before: Tensor, after: Tensor, move: tuple[int, int], part: float) -> tuple[Tensor, Tensor, Tensor]:
        """What is between two key frames [B, t, 4, H, W] where all has gone one way, if it is so.

        The fourth channel says where pixels are known.

        Returns:
            Colours [B, t, 3, H, W], how far both key frames are apart [B, t, H, W], and where not both are known.
        """
        there = _moved(before, *(round(way * part) for way in move))
        back = _moved(after, *(round(way * part) - way for way in move))
        one, other = (1 - part) * there[:, :, 3:], part * back[:, :, 3:]
        seen = (one * there[:, :, :3] + other * back[:, :, :3]) / (one + other).clamp(min=1e-6)
        both = there[:, :, 3] * back[:, :, 3]
        return seen, (there - back)[:, :, :3].square().mean(2) * both, 1 - both

    def _scores(self, seen: Tensor, apart: Tensor, lone: Tensor) -> Tensor:
        """How likely each of the moves is in each cell, from what `_view` says of all: logits [moves, B, t, h, w]."""
        shown = (seen - seen.mean(0)).square().mean(3)
        cells = [avg_pool2d(plane.flatten(0, 2), self.stride).unflatten(0, seen.shape[:3]) for plane in (apart, shown)]
        apart, shown = ((cell + _FLOOR).log() for cell in cells)
        lone = avg_pool2d(lone.flatten(0, 2), self.stride).view_as(apart)
        signs = torch.stack((apart, apart - apart.amin(0), shown, shown - shown.amax(0), lone), dim=3)
        return _SHARPNESS * self.score(signs.flatten(0, 2))[:, 0].view_as(apart)


def _moved(frames: Tensor, down: int, right: int) -> Tensor:
    """Frames [..., H, W] moved by so many pixels; zeros where nothing is known."""
    height, width = frames.shape[-2:]
    down, right = max(-height, min(down, height)), max(-width, min(right, width))
    return pad(frames, (right, -right, down, -down))
