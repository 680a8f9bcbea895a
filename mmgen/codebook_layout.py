"""In which order the codes of sound are written: steps of codes, at most one of each codebook. Integers only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from einops import rearrange
from torch import Tensor

from mmgen.errors import OptionError, SizeError
from mmgen.layout import PlaneLayout

Steps = Iterable[list[tuple[int, int]]]


@dataclass(frozen=True)
class CodebookLayout(PlaneLayout):
    """Codes of T frames and K codebooks, written step by step: a step is a plane, and each codebook has a slot in it.

    The orders of Copet et al. 2023 ("Simple and Controllable Music Generation", arXiv 2306.05284, section 2.2) are made
    by `delay`, `parallel`, `flattened`, `coarse_first` and `grouped`. Steps may be empty: models were trained so. There
    is no step for the plane that stands before all others.

    Attributes:
        sizes: T and K. A code's place, which its noise hangs on, is frame * K + codebook, so that it stays where it is
            in a longer recording.
        steps: the codes of each, as frames and codebooks.

    Raises:
        SizeError: a size is not positive.
        OptionError: a code is missing, written twice, or not of the grid, or a codebook occurs twice in a step.
    """

    steps: tuple[tuple[tuple[int, int], ...], ...] = field(default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        written = sorted(code for step in self.steps for code in step)
        if written != [(frame, book) for frame in range(self.frames) for book in range(self.codebooks)]:
            raise OptionError("steps", f"{len(written)} codes", f"each of {self.frames} x {self.codebooks} codes once")
        if any(len({book for _, book in step}) < len(step) for step in self.steps):
            raise OptionError("steps", "a codebook twice in a step", "one code of each codebook at most")

    @classmethod
    def delay(cls, frames: int, delays: Sequence[int], flattened: int = 0, empty: int = 0) -> CodebookLayout:
        """All codebooks in every step, each so many frames late: MusicGen's and AudioGen's order.

        Args:
            frames: T.
            delays: frames that each codebook is late; [0, 1, 2, 3] are MusicGen's, each twice in stereo.
            flattened: of so many first frames, every code has a step of its own.
            empty: so many empty steps come first.
        """
        first = [[(frame, book)] for frame in range(min(flattened, frames)) for book in range(len(delays))]
        rest = (
            [(frame - delay, book) for book, delay in enumerate(delays) if frame - delay >= flattened]
            for frame in range(flattened, frames + max(delays, default=0))
        )
        return cls._of(frames, len(delays), [*([] for _ in range(empty)), *first, *rest])

    @classmethod
    def parallel(cls, frames: int, codebooks: int) -> CodebookLayout:
        """All codes of a frame in one step."""
        return cls.delay(frames, [0] * codebooks)

    @classmethod
    def flattened(cls, frames: int, order: Sequence[int], delays: Sequence[int] | None = None) -> CodebookLayout:
        """The codes of a frame one after the other, wholly or in part.

        Args:
            frames: T.
            order: for each codebook, in which of a frame's steps it comes; `range(K)` gives each a step of its own,
                the best and slowest order. Codebooks of a step have the same delay.
            delays: frames that each codebook is late.
        """
        late = [0] * len(order) if delays is None else list(delays)
        if len(late) != len(order) or len(set(zip(order, late, strict=True))) != len(set(order)):
            raise OptionError("delays", delays, "one for each codebook, the same for those of a step")
        groups = sorted(set(zip((-delay for delay in late), order, strict=True)))
        steps = (
            [(frame + early, book) for book in range(len(order)) if order[book] == place]
            for frame in range(frames + max(late))
            for early, place in groups
            if frame + early >= 0
        )
        return cls._of(frames, len(order), steps)

    @classmethod
    def coarse_first(cls, frames: int, codebooks: int, delays: Sequence[int] | None = None) -> CodebookLayout:
        """The first codebook of all frames, and then the others together.

        Args:
            frames: T.
            codebooks: K.
            delays: frames that each of the others is late.
        """
        late = [0] * (codebooks - 1) if delays is None else list(delays)
        if len(late) != codebooks - 1:
            raise OptionError("delays", delays, f"{codebooks - 1} numbers, for all codebooks but the first")
        fine = ([(frame, 1 + book) for frame, book in step] for step in cls.delay(frames, late).steps)
        return cls._of(frames, codebooks, [*([(frame, 0)] for frame in range(frames)), *fine])

    @classmethod
    def grouped(cls, frames: int, codebooks: int, size: int) -> CodebookLayout:
        """`size` codebooks of all frames, code by code, then the next ones: as MusicLM (Agostinelli et al. 2023)."""
        groups = [range(first, min(first + size, codebooks)) for first in range(0, codebooks, size)]
        return cls._of(
            frames, codebooks, ([(frame, book)] for group in groups for frame in range(frames) for book in group)
        )

    @classmethod
    def _of(cls, frames: int, codebooks: int, steps: Steps) -> CodebookLayout:
        """A layout of steps without their codes that lie past the end."""
        if type(frames) is not int or frames < 1:
            raise SizeError(f"{frames} frames", "a positive whole number")
        within = tuple(tuple(code for code in step if code[0] < frames) for step in steps)
        return cls((frames, codebooks), within)

    @property
    def frames(self) -> int:
        """Frames T."""
        return self.sizes[0]

    @property
    def codebooks(self) -> int:
        """Codebooks K."""
        return self.sizes[1]

    @property
    def grid(self) -> tuple[int, ...]:
        """Codebooks and frames of the codes, as codecs have them."""
        return self.codebooks, self.frames

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Tokens of each step."""
        return tuple(map(len, self.steps))

    @cached_property
    def coordinates(self) -> Tensor:
        """Frame and codebook of each token of the line: int64 [N, 2]."""
        return torch.tensor([code for step in self.steps for code in sorted(step, key=lambda code: code[1])])

    @cached_property
    def levels(self) -> Tensor:
        """The step of each token of the line: int64 [N]."""
        return torch.arange(self.count).repeat_interleave(torch.tensor(self.widths))

    @cached_property
    def valid(self) -> Tensor:
        """Which codebooks a step has a code of: bool [P, K]."""
        slots = torch.zeros(self.count, self.codebooks, dtype=torch.bool)
        slots[self.levels, self.coordinates[:, 1]] = True
        return slots

    @cached_property
    def slots_before(self) -> Tensor:
        """In which slot of the step before the code one back along each axis stands: int64 [2, P, K], -1 if in none."""
        back = self.before.clamp(min=0)
        near = (self.before >= 0) & (self.levels[back] == self.levels - 1)
        return self.fold(torch.where(near, self.coordinates[:, 1][back], -1), padding=-1)

    @cached_property
    def frames_ready(self) -> tuple[int, ...]:
        """How many of the first frames are whole, once 0, 1, 2 ... P steps are written; for streaming."""
        done = torch.zeros(self.sizes, dtype=torch.long)
        done[tuple(self.coordinates.unbind(1))] = self.levels + 1
        whole_from = done.amax(1).cummax(0).values
        return tuple(torch.searchsorted(whole_from, torch.arange(self.count + 1), right=True).tolist())

    def flatten(self, codes: Tensor) -> Tensor:
        """Codes [B, K, T] to tokens [B, N]."""
        return super().flatten(rearrange(codes, "b k t -> b t k"))

    def unflatten(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N] to codes [B, K, T]."""
        return rearrange(super().unflatten(tokens), "b 1 t k -> b k t")
