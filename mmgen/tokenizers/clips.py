"""Clips whose frames, rows and columns are no whole number of a tokenizer's steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import pad

from mmgen.errors import SizeError


def check_clips(clips: Tensor) -> None:
    """Makes sure that a tensor holds clips of colour.

    Raises:
        SizeError: it is not [B, 3, T, H, W], or one of these is 0.
    """
    if clips.ndim != 5 or clips.shape[1] != 3 or 0 in clips.shape:
        raise SizeError(f"clips of shape {list(clips.shape)}", "[B, 3, T, H, W], none of them 0")


def lengthened(clips: Tensor, size: Sequence[int]) -> Tensor:
    """Clips [B, 3, T, H, W] made as long, high and wide as `size` says: what comes last is repeated."""
    missing = [needed - given for needed, given in zip(size, clips.shape[2:], strict=True)]
    return pad(clips, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else clips


def cropped(clips: Tensor, size: Sequence[int] | None) -> Tensor:
    """The beginning of clips [B, 3, T, H, W], as long, high and wide as `size` says; None keeps them whole.

    Raises:
        SizeError: they are smaller.
    """
    if size is None:
        return clips
    if len(size) != 3 or any(needed > given for needed, given in zip(size, clips.shape[2:], strict=True)):
        raise SizeError(f"a size of {list(size)}", f"frames, height and width of up to {list(clips.shape[2:])}")
    frames, height, width = size
    return clips[:, :, :frames, :height, :width]


def up_to_multiple(number: int, step: int) -> int:
    """The smallest multiple of a step that is not below a number."""
    return -(-number // step) * step
