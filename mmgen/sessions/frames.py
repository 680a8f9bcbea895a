"""The session of clips that are written frame by frame, the tokens of a frame in any order."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.masked_frames import MaskedFrameTransformer
from mmgen.errors import SizeError
from mmgen.layout import VideoLayout
from mmgen.sampling import Sampling
from mmgen.sessions.known import known_tokens


class FrameSession:
    """Clips that grow by whole frames, each scored as often as the decoder likes, and then written.

    The session owns the cache, guidance, temperature, truncation and known tokens. Known tokens are always shown to the
    model, and written whatever the decoder says of them.

    A frame's slots in the cache are overwritten at every evaluation. A written frame is read once more, as it is seen
    by all later ones: together with the next frame's first evaluation, so that takes no evaluation of its own, and the
    last frame is not read again. Lumos-1 (Yuan et al. 2025) spends one more pass on every frame.

    Guidance pairs are rows of one forward. Both see the same earlier frames, so guidance weighs the caption alone. In
    Lumos-1 rows without the caption see only hidden tokens of earlier frames.

    Args:
        backbone: the model.
        layout: the clip's grid: the backbone's, or one of fewer frames.
        prompt: what the clips continue, one row each.
        null_prompt: the same for "no prompt"; used where `sampling` is guided.
        sampling: how probabilities come from logits.
        known: tokens that are given, int64 [B, N] with -1 where free; None where there are none.
        cache_bits: bits of each key and value in the cache: 8, or None for the backbone's own type.

    Raises:
        SizeError: known tokens of another shape, prompts of another length than the backbone's, or another grid.
    """

    def __init__(
        self,
        backbone: MaskedFrameTransformer,
        layout: VideoLayout,
        prompt: Prompt,
        null_prompt: Prompt,
        sampling: Sampling,
        known: Tensor | None = None,
        cache_bits: int | None = None,
    ) -> None:
        self.layout, self.batch, self.device = layout, len(prompt.embeddings), prompt.embeddings.device
        self.vocabulary_size = backbone.vocabulary_size
        self._backbone, self._sampling, self._cache_bits = backbone, sampling, cache_bits
        self._prompt = (prompt + null_prompt if sampling.guided else prompt).embeddings
        self._check()
        known = known_tokens(known, layout, self.batch)
        # Counted here, on the host, so that no evaluation waits for the device.
        self._free = (known < 0).unflatten(1, (layout.frames, -1)).sum(-1).cpu()
        self.known = known.to(self.device)

    def _check(self) -> None:
        own, given, length = self._backbone.layout.grid, self.layout.grid, self._prompt.shape[1]
        if given[1:] != own[1:] or given[0] > own[0]:
            raise SizeError(f"a grid of {list(given)} codes", f"{list(own)}, or fewer frames of it")
        if length != self._backbone.condition_length:
            raise SizeError(f"a prompt of {length} embeddings", str(self._backbone.condition_length))

    def open(self) -> None:
        """Starts the clips."""
        self.frame = 0
        self.tokens = torch.full((self.batch, self.layout.length), -1, device=self.device)
        self._seen = torch.full_like(self.tokens, self._backbone.mask_token)
        self._cache = self._backbone.new_cache(len(self._prompt), self.layout.length, self._cache_bits)
        self._caption: Tensor | None = self._prompt
        self._read = 0

    @property
    def finished(self) -> bool:
        """Whether all frames are written."""
        return self.frame == self.layout.frames

    def known_here(self) -> Tensor:
        """Tokens of the next frame that are given, int64 [B, L], -1 where free."""
        return self.known[:, self._span()]

    def free_here(self) -> Tensor:
        """How many tokens of the next frame are free in each row: int64 [B], on the host."""
        return self._free[:, self.frame]

    def positions(self) -> Tensor:
        """Where the tokens of the next frame stand on the line: int64 [B, L]."""
        span = self._span()
        return torch.arange(span.start, span.stop, device=self.device).expand(self.batch, -1)

    @torch.no_grad()
    def score(self, tokens: Tensor) -> Tensor:
        """Evaluates the model once.

        Args:
            tokens: int64 [B, L], those of the next frame that the model is shown; -1 where hidden.

        Returns:
            Probabilities of each token of the frame, given those shown: float32 [B, L, V].
        """
        span, length = self._span(), self.layout.frame_length
        shown = self._with_known(tokens)
        shown = torch.where(shown < 0, self._backbone.mask_token, shown)
        line = torch.cat((self._seen[:, self._read * length : span.start], shown), dim=1)
        line = line.repeat(len(self._prompt) // self.batch, 1)
        stream = self._backbone(line, self._read, self._cache, self._caption)
        self._read, self._caption = self.frame, None
        logits = self._backbone.logits(stream[:, -length:])
        return self._sampling.probabilities(*logits.split(self.batch))

    def write(self, tokens: Tensor, hidden: float = 0.0) -> None:
        """Makes the next frame's tokens final.

        Args:
            tokens: int64 [B, L].
            hidden: share of them, 0 to 1, that later frames do not see: evenly spaced, the same places in all frames
                (Lumos-1 hides 0.7, which is the least its training hides).
        """
        span = self._span()
        self.tokens[:, span] = written = self._with_known(tokens)
        places = _evenly_spaced(self.layout.frame_length, hidden).to(self.device)
        self._seen[:, span] = written.masked_fill(places, self._backbone.mask_token)
        self.frame += 1

    def _with_known(self, tokens: Tensor) -> Tensor:
        known = self.known_here()
        return torch.where(known < 0, tokens, known)

    def _span(self) -> slice:
        """Where the next frame stands on the line."""
        length = self.layout.frame_length
        return slice(self.frame * length, (self.frame + 1) * length)


def _evenly_spaced(length: int, share: float) -> Tensor:
    """Marks a share of places: bool [length]."""
    count, place = round(share * length), torch.arange(length)
    return (place + 1) * count // length > place * count // length
