"""The session of pictures that a student of Distilled Decoding writes, some scales in one evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmgen.backbones.distilled import DistilledTransformer
from mmgen.backbones.next_scale import NextScaleTransformer
from mmgen.errors import OptionError, SizeError
from mmgen.sampling import Sampling
from mmgen.sessions.scales import ScaleSession
from mmgen.tokenizers.multi_scale_vq import MultiScaleVQ


class DistilledSession:
    """Pictures that grow from small scales to large ones, any number of scales at a time.

    The session owns the models and what is written so far: of every token its vector, which need not be that of a
    code, and the nearest code, so the features are those of the vectors and may differ from those of the tokens.

    Known tokens stay as they are given. Of scales that are known as a whole, from the first on, the student is told;
    known tokens behind them have a part in the picture and in what larger scales are told.

    Args:
        tokenizer: codes to features and back.
        student: writes the tokens, all of the tokenizer's codes and scales.
        labels: classes of the pictures, int64 [B].
        sampling: how the teacher's probabilities come from its logits. The student knows neither guidance nor
            temperature: it was trained to say what a guided teacher draws.
        teacher: a transformer that may write scales in between; None where there is none.
        temperatures: of the teacher, one for every scale, as in `ScaleSession`.
        known: tokens that are given, int64 [B, N] with -1 where free; None where there are none.
        cache_bits: bits of each key and value in the teacher's cache: 8, or None for its own type.

    Raises:
        SizeError: known tokens of another shape.
        OptionError: a model of other scales than the tokenizer's.
    """

    def __init__(
        self,
        tokenizer: MultiScaleVQ,
        student: DistilledTransformer,
        labels: Tensor,
        sampling: Sampling,
        teacher: NextScaleTransformer | None = None,
        temperatures: Sequence[float] | None = None,
        known: Tensor | None = None,
        cache_bits: int | None = None,
    ) -> None:
        self.layout = student.layout
        self.batch, self.device = len(labels), labels.device
        self.channels: int = tokenizer.codebook.shape[1]
        self._tokenizer, self._student, self._labels = tokenizer, student, labels
        self.teacher = teacher
        self._for_teacher = (sampling, temperatures, cache_bits)
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
        self._condition = self._student.condition(self._labels)
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
        """
        ends = (0, *self.layout.ends)
        stream = self._student(self.vectors[:, : ends[stop]], self.scale, self._condition)[:, ends[self.scale] :]
        chosen = ends[min(max(split, self.scale), stop)] - ends[self.scale]
        codes = self._student.logits(stream[:, :chosen], self._condition).argmax(-1)
        vectors = self._student.vectors(stream[:, chosen:], self._condition)
        return torch.cat((self._tokenizer.embed(codes), vectors), dim=1)

    @torch.no_grad()
    def write(self, vectors: Tensor) -> None:
        """Makes the next tokens final.

        Args:
            vectors: [B, L, channels], of one or several whole scales. Where tokens are known, theirs are taken instead.
        """
        start = 0 if self.scale == 0 else self.layout.ends[self.scale - 1]
        span = slice(start, start + vectors.shape[1])
        known = self.known[:, span]
        given = self._tokenizer.embed(known.clamp(min=0))
        vectors = torch.where(known[..., None] < 0, vectors.to(given.dtype), given)
        self.vectors = torch.cat((self.vectors[:, :start], vectors, self.vectors[:, span.stop :]), dim=1)
        self.tokens[:, span] = torch.where(known < 0, self._nearest(vectors), known)
        while start < span.stop:
            area = self.layout.sizes[self.scale] ** 2
            self.features = self._tokenizer.add(self.features, self.vectors[:, start : start + area], self.scale)
            self.scale, start = self.scale + 1, start + area

    def snap(self) -> None:
        """Makes all that is written the vectors of the nearest codes: a teacher reads codes alone."""
        written = self.layout.ends[self.scale - 1] if self.scale else 0
        self.scale, self.features = 0, self._tokenizer.blank(self.batch)
        if written:
            self.write(self._tokenizer.embed(self.tokens[:, :written]))

    def taught(self, stop: int) -> ScaleSession:
        """The teacher's session of these pictures, up to a scale, in which all that is written here is known."""
        assert self.teacher is not None
        sampling, temperatures, cache_bits = self._for_teacher
        known = torch.where(self.tokens < 0, self.known, self.tokens).cpu()
        session = ScaleSession(self._tokenizer, [self.teacher], self._labels, sampling, temperatures, known, cache_bits)
        session.open([0] * stop)
        while not session.finished and session.scale < self.scale:
            session.write(session.known_here())
        return session

    def adopt(self, taught: ScaleSession) -> None:
        """Takes over what a teacher has written in its session since."""
        ends = (0, *self.layout.ends)
        self.write(self._tokenizer.embed(taught.tokens[:, ends[self.scale] : ends[taught.scale]]))

    def _nearest(self, vectors: Tensor) -> Tensor:
        """The code that each vector [B, L, channels] is nearest to (Euclidean): int64 [B, L]."""
        codebook = self._tokenizer.codebook.float()
        return (codebook.square().sum(-1) - 2 * vectors.float() @ codebook.T).argmin(-1)
