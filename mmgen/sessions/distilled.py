"""Sessions of pictures that a student of Distilled Decoding writes, some scales in one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmgen.backbones.captioned_scales import CaptionedScaleTransformer
from mmgen.backbones.captioned_student import CaptionedStudent, Noised
from mmgen.backbones.distilled import DistilledTransformer
from mmgen.backbones.next_scale import NextScaleTransformer
from mmgen.errors import OptionError, SizeError
from mmgen.sampling import Sampling
from mmgen.sessions.scales import ScaleSession
from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ
from mmgen.tokenizers.patch_pyramid import PatchPyramid


class DistilledSession:
    """Pictures that grow from small scales to large ones, any number of scales at a time.

    The session owns the models and what is written so far: of every token its vector, which need not be that of a
    code, and the nearest code, so the features are those of the vectors and may differ from those of the tokens.

    Known tokens stay as they are given. Of scales that are known as a whole, from the first on, the student is told;
    known tokens behind them have a part in the picture and in what larger scales are told.

    Args:
        tokenizer: codes to features and back.
        student: writes the tokens, all of the tokenizer's codes and scales.
        conditions: what the pictures show: classes int64 [B], or embeddings of captions [B, P, C].
        sampling: how the teacher's probabilities come from its logits. The student knows neither guidance nor
            temperature: it was trained to say what a guided teacher draws.
        teacher: a transformer that may write scales in between; None where there is none.
        temperatures: of the teacher, one for every scale, as in `ScaleSession`.
        known: tokens that are given, int64 [B, N] with -1 where free; None where there are none.
        cache_bits: bits of each key and value in the teacher's cache: 8, or None for its own type.
        nulls: the same as `conditions` without a condition, for the teacher, as in `ScaleSession`.

    Raises:
        SizeError: known tokens of another shape.
        OptionError: a model of other scales than the tokenizer's.
    """

    says_vectors: ClassVar[bool] = True
    """Whether the student has a head for vectors, too."""

    def __init__(
        self,
        tokenizer: MultiScaleVQ | PatchPyramid,
        student: DistilledTransformer | CaptionedStudent,
        conditions: Tensor,
        sampling: Sampling,
        teacher: NextScaleTransformer | CaptionedScaleTransformer | None = None,
        temperatures: Sequence[float] | None = None,
        known: Tensor | None = None,
        cache_bits: int | None = None,
        nulls: Tensor | None = None,
    ) -> None:
        self.layout = student.layout
        self.batch, self.device = len(conditions), conditions.device
        self.channels: int = tokenizer.codebook.shape[1]
        self._tokenizer, self._conditions = tokenizer, conditions
        self._student: Any = student
        self.teacher = teacher
        self._for_teacher: dict[str, Any] = {
            "sampling": sampling, "temperatures": temperatures, "cache_bits": cache_bits, "nulls": nulls,
        }  # fmt: skip
        for layout in [tokenizer.layout, *([] if teacher is None else [teacher.layout])]:
            if layout != self.layout:
                raise OptionError("sizes", layout.sizes, f"those of the student: {self.layout.sizes}")
        if known is None:
            known = torch.full((self.batch, self.layout.length), -1)
        if tuple(known.shape) != (self.batch, self.layout.length):
            raise SizeError(f"known tokens of shape {tuple(known.shape)}", f"[{self.batch}, {self.layout.length}]")
        self.known = known.to(self.device)
        whole = [bool((known[:, :end] >= 0).all()) for end in self.layout.ends]
        self._known_scales = sum(whole)

    @torch.no_grad()
    def open(self, noise: Tensor) -> None:
        """Starts the pictures, the first scales of which are written where they are known.

        Args:
            noise: of each token, standard normal [B, N, channels]; what the student makes the tokens of.
        """
        self.scale = 0
        self.features = self._tokenizer.blank(self.batch)
        self.tokens = torch.full((self.batch, self.layout.length), -1, device=self.device)
        self.vectors = noise.to(self._tokenizer.codebook.dtype)
        self._condition = self._student.condition(self._conditions)
        if self._known_scales:
            self.write(self.vectors[:, : self.layout.ends[self._known_scales - 1]])

    def positions(self) -> Tensor:
        """Where the tokens stand on the line: int64 [B, N]."""
        return torch.arange(self.layout.length, device=self.device).expand(self.batch, -1)

    @torch.no_grad()
    def predict(self, stop: int, split: int) -> Tensor:
        """Evaluates the student, once.

        Larger scales are not read, since what is said of smaller ones does not depend on them. (The authors' code
        evaluates and then discards them.)

        Args:
            stop: the scale behind the last that is wanted.
            split: the scale from which on vectors are what the student says. Those before are of its likeliest codes.

        Returns:
            Vectors [B, L, channels] of the scales from the next on, up to `stop`.

        Raises:
            OptionError: vectors are wanted of a student that says codes alone.
        """
        ends = (0, *self.layout.ends)
        scales = range(self.scale, min(max(split, self.scale), stop))
        if not self.says_vectors and scales.stop < stop:
            raise OptionError("split", split, f"{len(self.layout.sizes)} or more: this student says codes alone")
        stream = self._stream(stop)[:, ends[self.scale] :]
        chosen = ends[scales.stop] - ends[scales.start]
        codes = self._likeliest(self._student.logits(stream[:, :chosen], self._condition), scales)
        said = [self._student.vectors(stream[:, chosen:], self._condition)] if self.says_vectors else []
        return torch.cat((self._tokenizer.embed(codes), *said), dim=1)

    @torch.no_grad()
    def write(self, vectors: Tensor) -> None:
        """Makes the next tokens final.

        Args:
            vectors: [B, L, channels], of one or several whole scales. Where tokens are known, theirs are taken instead.
        """
        ends = (0, *self.layout.ends)
        start = ends[self.scale]
        span = slice(start, start + vectors.shape[1])
        scales = range(self.scale, ends.index(span.stop))
        known = self.known[:, span]
        given = self._tokenizer.embed(known.clamp(min=0))
        vectors = torch.where(known[..., None] < 0, vectors.to(given.dtype), given)
        self.vectors = torch.cat((self.vectors[:, :start], vectors, self.vectors[:, span.stop :]), dim=1)
        self.tokens[:, span] = torch.where(known < 0, self._nearest(vectors, scales), known)
        for scale in scales:
            own = self.vectors[:, self.layout.span(range(scale, scale + 1))]
            self.features = self._tokenizer.add(self.features, own, scale)
        self.scale = scales.stop

    def snap(self) -> None:
        """Makes all that is written the vectors of the nearest codes: a teacher reads codes alone."""
        written = self.layout.ends[self.scale - 1] if self.scale else 0
        self.scale, self.features = 0, self._tokenizer.blank(self.batch)
        if written:
            self.write(self._tokenizer.embed(self.tokens[:, :written]))

    def taught(self, stop: int) -> ScaleSession:
        """The teacher's session of these pictures, up to a scale, in which all that is written here is known."""
        assert self.teacher is not None
        known = torch.where(self.tokens < 0, self.known, self.tokens).cpu()
        session = ScaleSession(self._tokenizer, [self.teacher], self._conditions, known=known, **self._for_teacher)
        session.open([0] * stop)
        while not session.finished and session.scale < self.scale:
            session.write(session.known_here())
        return session

    def adopt(self, taught: ScaleSession) -> None:
        """Takes over what a teacher has written in its session since."""
        ends = (0, *self.layout.ends)
        self.write(self._tokenizer.embed(taught.tokens[:, ends[self.scale] : ends[taught.scale]]))

    def _stream(self, stop: int) -> Tensor:
        """The student's stream [B, L, C] of all scales before `stop`."""
        return self._student(self.vectors[:, : self.layout.ends[stop - 1]], self.scale, self._condition)

    def _likeliest(self, logits: Tensor, scales: range) -> Tensor:
        """The likeliest of the codes that each token of consecutive scales may have: int64 [B, L], of [B, L, V]."""
        allowed = [self._tokenizer.codes_of(scale) for scale in scales]
        areas = [self.layout.sizes[scale] ** 2 for scale in scales]
        parts = zip(logits.split(areas, dim=1), allowed, strict=True)
        chosen = [part[..., codes.start : codes.stop].argmax(-1) + codes.start for part, codes in parts]
        return torch.cat(chosen, dim=1) if chosen else torch.zeros(self.batch, 0, dtype=torch.long, device=self.device)

    def _nearest(self, vectors: Tensor, scales: range) -> Tensor:
        """Of a scale's codes, the one that each vector [B, L, channels] is nearest to (Euclidean): int64 [B, L]."""
        codebook = self._tokenizer.codebook.float()
        return self._likeliest(vectors.float() @ codebook.T - codebook.square().sum(-1) / 2, scales)


class CaptionedStudentSession(DistilledSession):
    """The same with a student of captions, which reads the picture of the known scales, and says codes alone."""

    says_vectors = False

    def _stream(self, stop: int) -> Tensor:
        read = read_by_student(self._tokenizer, self.tokens, self.vectors, self.scale, stop)
        return self._student(read, self._condition, range(stop))


def read_by_student(tokenizer: Any, tokens: Tensor, noise: Tensor, known: int, stop: int) -> Noised:
    """What a `CaptionedStudent` reads to write scales `known` to `stop` - 1.

    Args:
        tokenizer: a `PatchPyramid`.
        tokens: int64 [B, N], of which the known scales are read.
        noise: [B, N, channels].
        known: how many scales are known, the first ones.
        stop: the scale behind the last that is wanted, 1 or more.
    """
    layout, pictures = tokenizer.layout, []
    for scale in range(1, stop):
        written = min(scale, known)
        features = (
            tokenizer.features(tokens[:, : layout.ends[written - 1]]) if written else tokenizer.blank(len(tokens))
        )
        pictures.append(tokenizer.next_input(features, scale))
    return Noised(torch.cat(pictures, dim=1) if pictures else None, noise[:, : layout.ends[stop - 1]], known)
