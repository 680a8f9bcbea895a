"""Each codebook in a few evaluations: all its hidden codes are drawn, and the surest spans are kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgen.decoding.decoder import Generation
from mmgen.decoding.options import option
from mmgen.decoding.refinement import surest
from mmgen.decoding.spans.decoder import SpanDecoder
from mmgen.errors import OptionError
from mmgen.rng import Purpose, Rng, race
from mmgen.sampling import Sampling
from mmgen.sessions.masked_codebooks import MaskedCodebookSession

_COLDEST = 0.01
"""The temperature of the last evaluations, at least."""


@dataclass
class MaskedSpans(SpanDecoder):
    """Draws all hidden codes of a codebook at once, keeps the surest spans of frames, and draws the others again.

    MAGNeT's way (Ziv et al. 2024, arXiv 2401.04577, section 3): pass i of n of a codebook, counted from 0, finds
    cos(pi / 2 * i / (n - 1)) of the spans that are not known hidden, and at least one. A span is as sure as the
    likeliest of the codes that were drawn for it, and what is kept stays. Over the passes of every codebook, guidance
    falls with the share that is hidden to `least_guidance`, and the temperature in a straight line to 0.01. Spans are
    `span` frames from the first one on.

    With `rescoring` above 0, a code's probability is w times that of the pipeline's companion, an autoregressive model
    that reads the codes as they were drawn, and 1 - w times the model's own. (The release has no rescoring. Here the
    companion judges by its own law, without guidance; later codebooks are not there yet for it.)

    The schedule is that of audiocraft's release, in float32. Deviations: a last span that is not full is drawn like
    the others, where the release cuts recordings to whole spans; codes that are known do not make their span surer;
    probabilities are those before truncation by top-k, too; at temperature 0 the likeliest codes are drawn, and judged
    as at temperature 1; the last pass is without guidance where that falls to 1. A code's noise is fixed by seed,
    place and pass.

    Codes of one pass are drawn independently, so the law is heuristic.
    """

    name = "masked-spans"
    law = "heuristic"
    paper = "MAGNeT, Ziv et al. 2024, arXiv 2401.04577"

    passes: int = option(20, "evaluations of the first codebook", minimum=1, maximum=1000)
    fine_passes: int = option(10, "evaluations of each other codebook", minimum=1, maximum=1000)
    span: int = option(3, "frames that are kept or drawn again together", minimum=1, maximum=1000)
    least_guidance: float = option(1.0, "guidance of a codebook's last evaluation", minimum=0.0, maximum=50.0)
    rescoring: float = option(0.0, "weight of the companion's opinion of what was drawn", minimum=0.0, maximum=1.0)

    @torch.no_grad()
    def steps(self, session: MaskedCodebookSession, rng: Rng) -> Iterator[Generation]:  # type: ignore[override]
        if self.rescoring and session.companion is None:
            raise OptionError("rescoring", self.rescoring, "0, as the pipeline has no companion")
        session.open()
        codes = session.known.clone()
        evaluations = torch.zeros(session.batch, dtype=torch.long, device=session.device)
        for book, free in enumerate(session.free_books):
            hidden = codes[:, book] < 0
            writing, spans = hidden.any(1), self._by_span(hidden, False).any(2).sum(1)
            passes = (self.fine_passes if book else self.passes) if free else 0
            for number in range(passes):
                drawn, sure = self._draw(session, rng, codes, book, number)
                codes[:, book] = torch.where(hidden, drawn, codes[:, book])
                evaluations = evaluations + writing
                if number + 1 < passes:
                    sure = self._rescored(session, codes, book, sure)
                    left = (hidden_share(number + 1, passes) * spans).long().clamp(min=1)
                    hidden = self._least_sure(sure, hidden, left)
                    codes[:, book].masked_fill_(hidden, -1)
                    yield _generation(session, codes, book, evaluations)
            yield _generation(session, codes, book + 1, evaluations)

    def _draw(
        self, session: MaskedCodebookSession, rng: Rng, codes: Tensor, book: int, number: int
    ) -> tuple[Tensor, Tensor]:
        """A code for each frame, int64 [B, T], and the model's probability of it."""
        passes = self.fine_passes if book else self.passes
        likeliest = session.sampling.temperature == 0
        asked = replace(session.sampling, temperature=1.0, top_k=1) if likeliest else session.sampling
        law = session.score(codes, book, self._annealed(asked, number, passes))
        places = torch.arange(codes.shape[2], device=session.device) * codes.shape[1] + book
        noise = rng.exponential(Purpose.TOKEN, places.expand(len(codes), -1), law.shape[-1], number)
        drawn = race(_truncated(law, asked), noise)
        return drawn, law.gather(-1, drawn[..., None]).squeeze(-1)

    def _annealed(self, sampling: Sampling, number: int, passes: int) -> Sampling:
        """The sampling of a pass, without truncation."""
        share = float(hidden_share(number, passes))
        guidance = share * sampling.guidance + (1 - share) * self.least_guidance if sampling.guided else 1.0
        temperature = max(sampling.temperature * (passes - 1 - number) / passes, _COLDEST)
        return Sampling(guidance, temperature)

    def _rescored(self, session: MaskedCodebookSession, codes: Tensor, book: int, sure: Tensor) -> Tensor:
        """Probabilities [B, T] of drawn codes, with the companion's opinion of them."""
        if not self.rescoring or session.companion is None:
            return sure
        return sure.lerp(session.companion.probabilities(codes, book), self.rescoring)

    def _least_sure(self, sure: Tensor, hidden: Tensor, count: Tensor) -> Tensor:
        """Which hidden codes are hidden again, bool [B, T]: those of the `count` [B] least sure spans."""
        again = self._by_span(hidden, False).any(2)
        confidence = self._by_span(sure.masked_fill(~hidden, 0), 0).amax(2)
        kept = surest(confidence, again, count)
        return hidden & ~kept.repeat_interleave(self.span, 1)[:, : hidden.shape[1]]

    def _by_span(self, values: Tensor, padding: float | bool) -> Tensor:
        """What is said of frames [B, T], span by span: [B, spans, span]."""
        return pad(values, (0, -values.shape[1] % self.span), value=padding).unflatten(1, (-1, self.span))


def hidden_share(number: int, passes: int) -> Tensor:
    """Which share of spans a pass, counted from 0, finds hidden: float32, 1 for the first pass and 0 for the last."""
    moment = torch.linspace(0, 1, passes)[number]
    return torch.cos(moment * math.pi / 2).clamp(min=0)


def _truncated(law: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities [..., V] with what top-k and top-p leave of them."""
    if not sampling.top_k and sampling.top_p == 1:
        return law
    return replace(sampling, guidance=1.0, temperature=1.0).probabilities(law.log())


def _generation(session: MaskedCodebookSession, codes: Tensor, books: int, evaluations: Tensor) -> Generation:
    committed = torch.full_like(evaluations, books * session.layout.frames)
    companion = torch.zeros_like(evaluations) if session.companion is None else session.companion.evaluations
    return Generation(session.layout.flatten(codes), committed, evaluations, companion)
