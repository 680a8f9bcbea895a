"""What all pipelines share that write codes with a decoder: the checks of a call, its steps, and what it says."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmgen.decoding.decoder import Decoder, Generation
from mmgen.errors import OptionError, PromptError, UnknownNameError
from mmgen.pipelines import conditions
from mmgen.pipelines.drawing import Drawing
from mmgen.pipelines.output import Statistics
from mmgen.pipelines.pipeline import Pipeline
from mmgen.pipelines.seeds import choose_seeds
from mmgen.rng import Rng
from mmgen.sampling import Sampling


class DrawingPipeline(Pipeline):
    """Base of the pipelines that write codes with a decoder, whatever the codes are of: checks, draws, counts.

    A medium says which grids of codes there are (`layout`), which are known (`_known_tokens`), and what becomes of them
    (`render`, `output`). A family says how prompts are read (`read`), and opens the session that a decoder writes in
    (`session`).
    """

    output_types: ClassVar[tuple[str, ...]] = ("pil", "np", "pt", "latent")
    """Forms of what a call returns; the first is that of a call that names none."""
    condition_defaults: ClassVar[dict[str, Any]] = {}
    """What a call may say beside the prompt, by name, with the default."""
    condition_choices: ClassVar[dict[str, Sequence[str]]] = {}
    """Values that some of them must have one of."""
    _callback_tensor_inputs = ["tokens"]

    def __init__(self, sampling: Mapping[str, Any] | None = None, **components: Any) -> None:
        super().__init__()
        self.check_components(**components)
        self.register_modules(**components)
        self.register_to_config(sampling=Sampling(**(sampling or {})).to_dict())
        self._interrupt = False

    @abstractmethod
    def check_components(self, **components: Any) -> None:
        """Refuses components that do not fit each other.

        Raises:
            OptionError: they do not.
        """

    @abstractmethod
    def read(self, prompt: Any) -> Any:
        """Checks a prompt and returns what `prompts` takes.

        Raises:
            PromptError: it cannot be drawn.
        """

    @abstractmethod
    def layout(self, height: int | None, width: int | None) -> Any:
        """The grid of codes of so many pixels; the transformer's own where nothing is given.

        Raises:
            SizeError: the model does not draw that size.
        """

    @abstractmethod
    def session(self, drawing: Drawing) -> Any:
        """The session a drawing's decoder writes in."""

    @abstractmethod
    def render(self, drawing: Drawing, output_type: str) -> Any:
        """What a drawing looks or sounds like so far, in one of `output_types`."""

    @abstractmethod
    def output(self, rendered: Any, statistics: list[Statistics]) -> Any:
        """What a call returns, of what was rendered and how it was made."""

    @abstractmethod
    def size(self, layout: Any) -> tuple[int, ...]:
        """What statistics say of a grid's size."""

    @abstractmethod
    def _known_tokens(self, known: Tensor | None, layout: Any, batch: int) -> Tensor:
        """Tokens that are given, int64 [B, N] with -1 where free, from what a call says is known."""

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
        output_type: str | None = None,
        return_dict: bool = True,
        callback_on_step_end: Callable[[DrawingPipeline, int, int, dict], dict | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("tokens",),
        **conditions: Any,
    ) -> Any:
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
            output_type: one of `output_types`: `pil` where there are pictures, `np`, `pt`, or `latent` for codes.
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
            UnknownNameError: no such decoder, or no such setting.
        """
        form = self.output_types[0] if output_type is None else output_type
        if form not in self.output_types:
            raise OptionError("output_type", form, f"one of {', '.join(self.output_types)}")
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
        output = self.output(self.render(drawing, form), self.statistics(drawing))
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
        if isinstance(prompt, bytes) or not isinstance(prompt, str | int | Iterable):
            raise PromptError(repr(prompt), f"a prompt is text, this is {type(prompt).__name__}", "give text or a list")
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
                settings = [*sampling, *self.condition_defaults]
                raise UnknownNameError(f"setting of {type(self).__name__}", name, settings)
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

    def _written(self, drawing: Drawing) -> tuple[Tensor, Tensor]:
        """Tokens [B, N] with 0 where none is committed yet, and where they are: bool [B, N]."""
        generation = drawing.generation
        assert generation is not None
        index = torch.arange(generation.tokens.shape[1], device=generation.tokens.device)
        drawn = index < generation.committed[:, None]
        return torch.where(drawn, generation.tokens, 0), drawn
