"""The session of pictures that are written scale by scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from mmgen.backbones.captioned_scales import Caption, CaptionedScaleTransformer
from mmgen.backbones.next_scale import Condition, NextScaleTransformer
from mmgen.cache import KVCache
from mmgen.errors import OptionError, SizeError
from mmgen.sampling import Sampling
from mmgen.sessions.known import make_certain
from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ
from mmgen.tokenizers.patch_pyramid import PatchPyramid

_COLDEST = 1e-6
"""Below this temperature the likeliest token is the answer, as in `Sampling`."""


class ScaleSession:
    """Pictures that grow by whole scales, each scored and then written.

    The session owns the models, their caches, guidance, temperatures, truncation and known tokens; a decoder sees the
    laws of a scale and says what is written. What passes from a scale to the next are the features, which no model
    owns: any may go on where another stopped, and first reads all scales before, in one evaluation with the next.

    As published, guidance grows along the scales, from none at the first to all of `sampling.guidance` at the last;
    and logits are truncated before they are divided by the temperature.

    Rows without the condition are evaluated only as long as a scale ahead needs them: none where guidance is 1, and
    none from where it stops. At scale 0, whose guidance is none, they are read, since later scales see them, but have
    no logits.

    Args:
        tokenizer: codes to features and back.
        models: transformers that may write, all of the tokenizer's codes and scales.
        conditions: what the pictures show: classes int64 [B], or embeddings of captions [B, P, C].
        sampling: how probabilities come from logits.
        temperatures: one for every scale, on top of `sampling.temperature`; None where they are all 1.
        known: tokens that are given, int64 [B, N] with -1 where free; None where there are none.
        cache_bits: bits of each key and value in the cache: 8, or None for the model's own type.
        nulls: the same as `conditions` without a condition, for guidance; None where each model has a class for that.

    Raises:
        SizeError: known tokens of another shape.
        OptionError: another number of temperatures, or a model of other scales than the tokenizer's.
    """

    def __init__(
        self,
        tokenizer: MultiScaleVQ | PatchPyramid,
        models: Sequence[NextScaleTransformer | CaptionedScaleTransformer],
        conditions: Tensor,
        sampling: Sampling,
        temperatures: Sequence[float] | None = None,
        known: Tensor | None = None,
        cache_bits: int | None = None,
        nulls: Tensor | None = None,
    ) -> None:
        self.layout = models[0].layout
        self.batch = len(conditions)
        self.device = conditions.device
        self.vocabulary_size = models[0].vocabulary_size
        self.models = tuple(models)
        self._tokenizer, self._cache_bits = tokenizer, cache_bits
        self._conditions, self._nulls = conditions, nulls
        scales = len(self.layout.sizes)
        for layout in (tokenizer.layout, *(model.layout for model in models)):
            if layout != self.layout:
                raise OptionError("sizes", layout.sizes, f"those of the first model: {self.layout.sizes}")
        self._temperatures = [1.0] * scales if temperatures is None else list(temperatures)
        if len(self._temperatures) != scales:
            raise OptionError("temperatures", temperatures, f"{scales} numbers, one for every scale")
        self._temperatures = [sampling.temperature * value for value in self._temperatures]
        self._sampling = [
            replace(sampling, temperature=1.0, guidance=1 + (sampling.guidance - 1) * scale / (scales - 1))
            for scale in range(scales)
        ]
        if known is None:
            known = torch.full((self.batch, self.layout.length), -1)
        if tuple(known.shape) != (self.batch, self.layout.length):
            raise SizeError(f"known tokens of shape {tuple(known.shape)}", f"[{self.batch}, {self.layout.length}]")
        # Known here, on the host, so that no scale waits for the device.
        known_scales = [known[:, self._span(scale)] >= 0 for scale in range(scales)]
        self._wholly_known = [bool(places.all()) for places in known_scales]
        self._partly_known = [bool(places.any()) for places in known_scales]
        self.known = known.to(self.device)

    def open(self, writers: Sequence[int], unguided: int = 0) -> None:
        """Starts the pictures.

        Args:
            writers: for every scale that is to be drawn, which of the models writes it.
            unguided: how many of them, the last ones, have no guidance.

        Raises:
            OptionError: there is no such model, or no or too many scales.
        """
        if not 1 <= len(writers) <= len(self.layout.sizes):
            raise OptionError("writers", writers, f"1 to {len(self.layout.sizes)} of them, one for every scale")
        if not all(0 <= writer < len(self.models) for writer in writers):
            raise OptionError("writers", writers, f"models from 0 to {len(self.models) - 1}")
        self._writers = list(writers)
        self._guided = [
            self._sampling[scale].guided and scale < len(writers) - unguided for scale in range(len(writers))
        ]
        self.scale = 0
        self.features = self._tokenizer.blank(self.batch)
        self.tokens = torch.full((self.batch, self.layout.length), -1, device=self.device)
        self._inputs: list[Tensor] = []
        self._read = 0
        self._cache: KVCache | None = None
        self._condition: Condition | Caption | None = None

    @property
    def finished(self) -> bool:
        """Whether all scales that are to be drawn are written."""
        return self.scale == len(self._writers)

    @property
    def is_known(self) -> bool:
        """Whether all tokens of the next scale are given."""
        return self._wholly_known[self.scale]

    def known_here(self) -> Tensor:
        """Tokens of the next scale that are given, int64 [B, size * size], -1 where free."""
        return self.known[:, self._span(self.scale)]

    def positions(self) -> Tensor:
        """Where the tokens of the next scale stand on the line: int64 [B, size * size]."""
        span = self._span(self.scale)
        return torch.arange(span.start, span.stop, device=self.device).expand(self.batch, -1)

    @property
    def is_stepwise(self) -> bool:
        """Whether the next scale's model can be shown some of its tokens while it writes the others."""
        return self.scale < self.models[self._writers[self.scale]].stepwise_scales

    @torch.no_grad()
    def score(self, shown: Tensor | None = None) -> Tensor:
        """Evaluates the model that writes the next scale, once.

        Args:
            shown: tokens of the scale that the model is shown, int64 [B, size * size], -1 where hidden; of a stepwise
                scale alone, which may be scored again and again.

        Returns:
            Probabilities of the scale's tokens, float32 [B, size * size, V]. Known tokens have all of it.
        """
        model: Any = self.models[self._writers[self.scale]]
        condition, cache = self._ready(model)
        scales = range(min(self._read, self.scale), self.scale + 1)
        given = {} if shown is None else {"shown": shown}
        stream = model(self._inputs_of(scales), condition, scales, cache, **given)
        self._read = self.scale + 1
        probs = self._probabilities(model, stream[:, -self._area(self.scale) :], condition)
        return make_certain(probs, self.known_here()) if self._partly_known[self.scale] else probs

    @torch.no_grad()
    def write(self, tokens: Tensor, weights: Tensor | None = None) -> None:
        """Makes the next scale's tokens final.

        Args:
            tokens: int64 [B, size * size].
            weights: float [B, size * size, V], summing to one, of which the features are mixtures; None where they are
                those of the tokens.
        """
        codebook = self._tokenizer.codebook
        vectors = self._tokenizer.embed(tokens) if weights is None else weights.to(codebook.dtype) @ codebook
        self.tokens[:, self._span(self.scale)] = tokens
        self.features = self._tokenizer.add(self.features, vectors, self.scale)
        self.scale += 1
        if self.finished:
            self._cache = self._condition = None
            return
        self._inputs.append(self._tokenizer.next_input(self.features, self.scale))
        if self._writers[self.scale] != self._writers[self.scale - 1]:
            self._cache = self._condition = None
            self._read = 0

    def _ready(self, model: Any) -> tuple[Any, KVCache]:
        """The condition and cache of the next evaluation, with rows without the condition where they are needed."""
        end = self._end_of_run()
        rows = 2 * self.batch if any(self._guided[self.scale : end]) else self.batch
        if self._cache is None or self._condition is None:
            nulls = torch.full_like(self._conditions, model.config.classes) if self._nulls is None else self._nulls
            self._condition = model.condition(torch.cat((self._conditions, nulls))[:rows])
            self._cache = model.new_cache(rows, self.layout.ends[end - 1], self._cache_bits)
        elif rows < self._condition.rows:
            self._condition = self._condition.until(rows)
            self._cache.select(torch.arange(rows, device=self.device))
        return self._condition, self._cache

    def _end_of_run(self) -> int:
        """The scale behind those that the next scale's model writes without a break."""
        writer, end = self._writers[self.scale], self.scale
        while end < len(self._writers) and self._writers[end] == writer:
            end += 1
        return end

    def _inputs_of(self, scales: range) -> Tensor | None:
        parts = self._inputs[max(scales.start - 1, 0) : scales.stop - 1]
        return torch.cat(parts, dim=1) if parts else None

    def _probabilities(self, model: Any, stream: Tensor, condition: Any) -> Tensor:
        """Probabilities [B, L, V] of the next scale from its stream of all rows; of its own codes alone."""
        rows = 2 * self.batch if self._guided[self.scale] else self.batch
        codes = self._tokenizer.codes_of(self.scale)
        logits = model.logits(stream[:rows], condition.until(rows))[..., codes.start : codes.stop]
        probs = self._sampling[self.scale].probabilities(*logits.split(self.batch))
        return pad(_tempered(probs, self._temperatures[self.scale]), (codes.start, self.vocabulary_size - codes.stop))

    def _span(self, scale: int) -> slice:
        return self.layout.span(range(scale, scale + 1))

    def _area(self, scale: int) -> int:
        return self.layout.sizes[scale] ** 2


def _tempered(probs: Tensor, temperature: float) -> Tensor:
    """Probabilities whose logits are divided by a temperature."""
    if temperature == 1:
        return probs
    if temperature < _COLDEST:
        return one_hot(probs.argmax(-1), probs.shape[-1]).float()
    return (probs.log() / temperature).softmax(-1)
