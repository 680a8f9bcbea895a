"""What all pipelines share that draw codes in raster order."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.codebook import Codebook
from mmgen.decoding.decoder import Decoder, Generation
from mmgen.errors import OptionError, PromptError, SizeError
from mmgen.layout import RasterLayout
from mmgen.pipelines import conditions
from mmgen.pipelines.output import ImageOutput, Statistics
from mmgen.pipelines.pipeline import Pipeline, choose_seeds
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass
class Drawing:
    """Pictures being drawn: what `RasterPipeline.draw` yields after every evaluation.

    Attributes:
        prompts: one per picture.
        subjects: the prompts as the pipeline reads them.
        layout: the grid of codes.
        known: tokens known beforehand, int64 [B, N] with -1 where free.
        seeds: one per picture.
        decoder: draws them.
        sampling: how tokens are drawn from logits.
        conditions: what else the family was told, by name.
        batch_size: pictures drawn at once, at most.
        together: pictures of the call, where these are a part of them.
        generation: tokens, committed counts and evaluations so far; None before the first.
        started: `time.perf_counter()` at the start.
    """

    prompts: list[str]
    subjects: list[Any]
    layout: RasterLayout
    known: Tensor
    seeds: list[int]
    decoder: Decoder
    sampling: Sampling
    conditions: dict[str, Any]
    batch_size: int
    together: int
    generation: Generation | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def renews(self) -> bool:
        """Whether waiting pictures begin as soon as others are finished.

        Not where they have different known codes: what one may read at once would depend on those that wait.
        """
        return self.decoder.renews and bool((self.known == self.known[:1]).all())

    def part(self, pictures: Sequence[int]) -> Drawing:
        """Some of the pictures, as far as they are drawn."""
        names = ("prompts", "subjects", "seeds")
        chosen: dict[str, Any] = {name: [getattr(self, name)[index] for index in pictures] for name in names}
        generation = None if self.generation is None else self.generation.part(pictures)
        return replace(self, **chosen, known=self.known[list(pictures)], generation=generation)


class RasterPipeline(Pipeline):
    """Base of the pipelines that draw pictures code by code: checks, draws, renders.

    A family says how prompts are read (`read`), what the transformer is told of them (`prompts`), and which grids
    it draws (`layout`). Components: `tokenizer` (pictures to codes and back), `transformer` (writes the codes),
    `decoder` (how they are written; swap it by assignment), and `draft`, where there is one: a smaller
    transformer of the same codes, for the drafter `draft-model`.
    """

    medium = "image"
    family = "raster"
    backbones: ClassVar[tuple[str, ...]] = ("transformer", "draft")
    _callback_tensor_inputs = ["tokens"]
    _known_codebook: Codebook | None = None
    condition_defaults: ClassVar[dict[str, Any]] = {}
    """What a call may say beside the prompt, by name, with the default."""
    condition_choices: ClassVar[dict[str, Sequence[str]]] = {}
    """Values that some of them must have one of."""

    def __init__(self, sampling: Mapping[str, Any] | None = None, **components: Any) -> None:
        super().__init__()
        _check_codes(**components)
        self.register_modules(**components)
        self.register_to_config(sampling=Sampling(**(sampling or {})).to_dict())
        self._interrupt = False

    @abstractmethod
    def read(self, prompt: Any) -> Any:
        """Checks a prompt and returns what `prompts` takes.

        Raises:
            PromptError: it cannot be drawn.
        """

    @abstractmethod
    def prompts(self, backbone: Any, subjects: Sequence[Any], layout: RasterLayout) -> tuple[Prompt, Prompt]:
        """What a backbone's lines continue, with the prompts and without: one row for each subject.

        Args:
            backbone: `transformer` or `draft`.
            subjects: what `read` returned.
            layout: the grid.
            conditions: those of `condition_defaults`, as keywords.
        """

    def layout(self, height: int | None, width: int | None) -> RasterLayout:
        """The grid of a picture of so many pixels; the transformer's own where nothing is given.

        Raises:
            SizeError: the model does not draw that size.
        """
        own, stride = self.transformer.layout, self.tokenizer.stride
        for name, value, codes in zip(("height", "width"), (height, width), own.grid, strict=True):
            if value is None or value == codes * stride:
                continue
            if type(value) is not int or value <= 0 or value % stride:
                raise SizeError(f"{name} {value}", f"a multiple of the stride {stride}, here {codes * stride}")
            raise SizeError(f"{name} {value}", f"{codes * stride}, the size this model draws")
        return own

    @property
    def interrupt(self) -> bool:
        """Set to True, from a callback or another thread, to stop after the evaluation in hand."""
        return self._interrupt

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        self._interrupt = value

    @torch.no_grad()
    def __call__(
        self,
        prompt: Any,
        *,
        seed: int | Sequence[int] | None = None,
        decoder: str | Decoder | None = None,
        decoder_options: dict[str, Any] | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        num_images_per_prompt: int = 1,
        batch_size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        known: Tensor | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[RasterPipeline, int, int, dict], dict | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("tokens",),
        **conditions: Any,
    ) -> ImageOutput | tuple:
        """Draws pictures.

        Args:
            prompt: one, or a list of them.
            seed: whole number, or a list with one for each prompt or each picture. With one number the
                pictures of a prompt take seed, seed + 1, ... Random where nothing is given.
            decoder: name or object; the pipeline's own where nothing is given.
            decoder_options: options of the decoder, such as `{"window": 16}`.
            guidance: weight of classifier-free guidance, 0 to 50; 1 is without.
            temperature: 0 to 10.
            top_k: keep the k likeliest codes; 0 keeps all.
            top_p: keep the likeliest codes up to this probability; 1 keeps all.
            num_images_per_prompt: pictures of each prompt, 1 to 256.
            batch_size: pictures drawn at once, 1 or more; all where nothing is given. What a picture is does not
                depend on it. Where the decoder can, the next picture begins as soon as one is finished; then all
                prompts are read beforehand.
            height: pixels; the model's own size where nothing is given.
            width: likewise.
            known: codes that are given, int64 [B, 1, h, w] or [1, 1, h, w], -1 where free.
            generator: torch generators that draw the seeds, in place of `seed`.
            output_type: `pil`, `np`, `pt`, or `latent` for codes.
            return_dict: False returns the fields as a tuple.
            callback_on_step_end: called as f(pipe, number of the evaluation, committed tokens of the shortest
                row, tensors) after every evaluation. It may set `pipe.interrupt = True`.
            callback_on_step_end_tensor_inputs: names of the tensors it gets; there is `tokens`, [B, N].
            conditions: what else the family may be told; see its `condition_defaults`.

        Returns:
            Pictures and statistics.

        Raises:
            PromptError: a prompt the model cannot draw.
            OptionError: an option is out of range, or a list has the wrong length.
            SizeError: a size the model does not draw.
            UnknownNameError: no such decoder.
        """
        if output_type not in OUTPUT_TYPES:
            raise OptionError("output_type", output_type, f"one of {', '.join(OUTPUT_TYPES)}")
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise OptionError("callback_on_step_end_tensor_inputs", sorted(unknown), "['tokens']")
        drawing = self.plan(
            prompt, seed=seed, decoder=decoder, decoder_options=decoder_options, guidance=guidance,
            temperature=temperature, top_k=top_k, top_p=top_p, num_images_per_prompt=num_images_per_prompt,
            batch_size=batch_size, height=height, width=width, known=known, generator=generator, **conditions,
        )  # fmt: skip
        with self.progress_bar(total=drawing.layout.length) as bar:
            for evaluation, _ in enumerate(self._steps(drawing), start=1):
                assert drawing.generation is not None
                committed = drawing.generation.committed
                if not bar.disable:
                    bar.update(int(committed.float().mean()) - bar.n)
                if callback_on_step_end is not None:
                    tokens = {"tokens": drawing.generation.tokens}
                    callback_on_step_end(self, evaluation, int(committed.min()), tokens)
        output = self.output(self.render(drawing, output_type), self.statistics(drawing))
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def draw(
        self,
        prompt: Any,
        *,
        seed: int | Sequence[int] | None = None,
        decoder: str | Decoder | None = None,
        decoder_options: dict[str, Any] | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        num_images_per_prompt: int = 1,
        batch_size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        known: Tensor | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        **conditions: Any,
    ) -> Iterator[Drawing]:
        """The same, step by step: checks its arguments at once, then yields after every evaluation.

        `render` and `statistics` turn what it yields into pictures and numbers at any time.
        Closing the iterator, or setting `interrupt`, stops the drawing.
        """
        return self._steps(
            self.plan(
                prompt, seed=seed, decoder=decoder, decoder_options=decoder_options, guidance=guidance,
                temperature=temperature, top_k=top_k, top_p=top_p, num_images_per_prompt=num_images_per_prompt,
                batch_size=batch_size, height=height, width=width, known=known, generator=generator, **conditions,
            )
        )  # fmt: skip

    def plan(
        self,
        prompt: Any,
        *,
        seed: int | Sequence[int] | None = None,
        decoder: str | Decoder | None = None,
        decoder_options: dict[str, Any] | None = None,
        num_images_per_prompt: int = 1,
        batch_size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        known: Tensor | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        **settings: Any,
    ) -> Drawing:
        """Checks the arguments of a call; evaluates nothing."""
        prompts = [prompt] if isinstance(prompt, str | int) else list(prompt)
        if not prompts:
            raise PromptError("", "there is no prompt", "give at least one")
        if type(num_images_per_prompt) is not int or not 1 <= num_images_per_prompt <= 256:
            raise OptionError("num_images_per_prompt", num_images_per_prompt, "a whole number from 1 to 256")
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise OptionError("batch_size", batch_size, "a whole number, 1 or more")
        layout = self.layout(height, width)
        subjects = [self.read(text) for text in prompts for _ in range(num_images_per_prompt)]
        sampling, conditions = self._settings(settings)
        return Drawing(
            prompts=[str(text) for text in prompts for _ in range(num_images_per_prompt)],
            subjects=subjects,
            layout=layout,
            known=self._known_tokens(known, layout, len(subjects)),
            seeds=choose_seeds(seed, generator, len(prompts), num_images_per_prompt),
            decoder=self.choose_decoder(decoder, decoder_options),
            sampling=sampling,
            conditions=conditions,
            batch_size=min(batch_size or len(subjects), len(subjects)),
            together=len(subjects),
        )

    def _settings(self, given: Mapping[str, Any]) -> tuple[Sampling, dict[str, Any]]:
        """The sampling and the conditions of a call, from what was given by name."""
        sampling, told = dict(self.config.sampling), {}
        for name, value in given.items():
            if name not in sampling and name not in self.condition_defaults:
                raise OptionError(name, value, f"one of {', '.join([*sampling, *self.condition_defaults])}")
            if name not in sampling:
                told[name] = value
            elif value is not None:
                sampling[name] = value
        return Sampling(**sampling), conditions.check(told, self.condition_defaults, self.condition_choices)

    @torch.no_grad()
    def _steps(self, drawing: Drawing) -> Iterator[Drawing]:
        self._interrupt = False
        drawing.started = time.perf_counter()
        for generation in self._generations(drawing):
            drawing.generation = generation
            yield drawing
            if self._interrupt:
                return

    def _generations(self, drawing: Drawing) -> Iterator[Generation]:
        """A drawing evaluation by evaluation, no more than `batch_size` pictures at once."""
        count, size = len(drawing.prompts), drawing.batch_size
        step = count if drawing.renews else size
        whole: Generation | None = None
        for start in range(0, count, step):
            pictures = range(start, min(start + step, count))
            part = drawing if step == count else drawing.part(pictures)
            rng = Rng(part.seeds, self._execution_device)
            for generation in part.decoder.steps(self.session(part), rng):
                whole = generation if step == count else generation.within(whole, pictures, count)
                yield whole

    def session(self, drawing: Drawing) -> RasterSession:
        """The session a drawing's decoder writes in."""
        draft = getattr(self, "draft", None)
        given: dict[str, Any] = {"known": drawing.known, "cache_bits": self.cache_bits}
        return RasterSession(
            *self._prompted(self.transformer, drawing),
            **given,
            draft=None if draft is None else RasterSession(*self._prompted(draft, drawing), **given),
            batch=drawing.batch_size,
            heads=getattr(self, "heads", None),
            codebook=self._codebook(self.transformer.vocabulary_size),
        )

    def _prompted(self, backbone: Any, drawing: Drawing) -> tuple[Any, RasterLayout, Prompt, Prompt, Sampling]:
        layout = drawing.layout
        prompts = self.prompts(backbone, drawing.subjects, layout, **drawing.conditions)
        return backbone, layout, *prompts, drawing.sampling

    def _codebook(self, size: int) -> Codebook:
        """What tokens stand for; kept, with its table of neighbours, while the tokenizer's vectors are the same."""
        vectors = self.tokenizer.codebook.to(self._execution_device)
        far = vectors.new_full((size - len(vectors), vectors.shape[1]), 1e4)  # tokens that are no codes
        made = Codebook(torch.cat((vectors, far)))
        known = self._known_codebook
        if known is None or known.vectors.device != made.vectors.device or not torch.equal(known.vectors, made.vectors):
            self._known_codebook = made
        return self._known_codebook or made

    def output(self, rendered: Any, statistics: list[Statistics]) -> Any:
        """What a call returns, of what was rendered and how it was made."""
        return ImageOutput(rendered, statistics)

    @torch.no_grad()
    def render(self, drawing: Drawing, output_type: str = "pil") -> Any:
        """The pictures of a drawing, in a form of `ImageOutput.images`. What is not drawn yet is gray."""
        tokens, drawn = self._written(drawing)
        codes, visible = drawing.layout.unflatten(tokens), drawing.layout.unflatten(drawn)
        if output_type == "latent":
            return torch.where(visible, codes, -1)
        # One by one: in a batch, sums come in another order, and the last bit of a pixel may be another.
        images = torch.cat([self.tokenizer.decode(own) for own in codes.split(1)]).float() / 2 + 0.5
        stride = self.tokenizer.stride
        visible = visible.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
        images = torch.where(visible, images, 0.5)
        if output_type == "pt":
            return images
        array = rearrange(images.cpu().numpy(), "b c h w -> b h w c")
        return array if output_type == "np" else to_pictures(array)

    def finished(self, drawing: Drawing) -> list[bool]:
        """Which pictures of a drawing are complete; with a `batch_size` they become so one after the other."""
        assert drawing.generation is not None
        return (drawing.generation.committed >= drawing.layout.length).tolist()

    def statistics(self, drawing: Drawing) -> list[Statistics]:
        """How each picture of a drawing was made, so far."""
        generation = drawing.generation
        assert generation is not None
        seconds = (time.perf_counter() - drawing.started) / drawing.together
        places, revision = torch.arange(drawing.layout.length), self.revision
        rows = zip(
            drawing.prompts, drawing.seeds, drawing.known.cpu() < 0,
            generation.committed.tolist(), generation.evaluations.tolist(), generation.draft_evaluations.tolist(),
            self.finished(drawing), strict=True,
        )  # fmt: skip
        return [
            Statistics(
                prompt=prompt,
                seed=seed,
                pipeline=str(self.config.get("_name_or_path") or type(self).__name__),
                decoder=drawing.decoder.name,
                law=drawing.decoder.law,
                tokens=(tokens := int((free & (places < committed)).sum())),
                evaluations=evaluations,
                draft_evaluations=draft_evaluations,
                tokens_per_evaluation=tokens / max(evaluations, 1),
                seconds=seconds,
                complete=complete,
                options=drawing.decoder.options(),
                sampling=drawing.sampling.to_dict(),
                conditions=conditions.in_words(drawing.conditions, self.condition_defaults),
                size=self.size(drawing.layout),
                revision=revision,
            )
            for prompt, seed, free, committed, evaluations, draft_evaluations, complete in rows
        ]

    def size(self, layout: RasterLayout) -> tuple[int, ...]:
        """What statistics say of a grid's size: sides in pixels."""
        return tuple(side * self.tokenizer.stride for side in layout.grid)

    def _written(self, drawing: Drawing) -> tuple[Tensor, Tensor]:
        """Tokens [B, N] with 0 where none is committed yet, and where they are: bool [B, N]."""
        generation = drawing.generation
        assert generation is not None
        index = torch.arange(generation.tokens.shape[1], device=generation.tokens.device)
        drawn = index < generation.committed[:, None]
        return torch.where(drawn, generation.tokens, 0), drawn

    def _known_tokens(self, known: Tensor | None, layout: RasterLayout, batch: int) -> Tensor:
        if known is None:
            return layout.known().expand(batch, -1)
        codes = self.tokenizer.codebook.shape[0]
        if known.shape[:1] not in ((1,), (batch,)) or known.shape[1:] != (1, *layout.grid):
            raise SizeError(f"known codes of shape {list(known.shape)}", str([batch, 1, *layout.grid]))
        if bool((known < -1).any()) or bool((known >= codes).any()):
            raise OptionError("known", "codes out of range", f"-1 where free, else 0 to {codes - 1}")
        return layout.known(known).expand(batch, -1)


def _check_codes(tokenizer: Any, transformer: Any, draft: Any = None, **others: Any) -> None:
    """Refuses a tokenizer or a draft of other codes."""
    codes = len(tokenizer.codebook)
    for name, model in (("transformer", transformer), ("draft", draft)):
        written = codes if model is None else model.config.get("codes", model.vocabulary_size)
        if written != codes:
            raise OptionError(name, f"a model of {written} codes", f"one of {codes} codes, as the tokenizer has")


def to_pictures(array: np.ndarray) -> list[Image.Image]:
    """PIL pictures of an array [B, H, W, 3] in [0, 1]."""
    return [Image.fromarray(picture) for picture in (array * 255).round().astype(np.uint8)]
