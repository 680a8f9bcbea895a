"""Text to image with a raster transformer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)
from einops import rearrange
from PIL import Image
from torch import Tensor

from mmgen.backbones.backbone import Prompt
from mmgen.backbones.heads import TokenHeads
from mmgen.backbones.raster import RasterTransformer
from mmgen.codebook import Codebook
from mmgen.decoding.decoder import Decoder, Generation
from mmgen.errors import OptionError, PromptError, SizeError
from mmgen.pipelines.output import ImageOutput, Statistics
from mmgen.pipelines.pipeline import Pipeline, choose_seeds
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.scenes.encoder import SceneEncoder
from mmgen.sessions.raster import RasterSession
from mmgen.tokenizers.patch_vq import PatchVQ

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass
class Drawing:
    """Pictures being drawn: what `TextToImagePipeline.draw` yields after every evaluation.

    Attributes:
        prompts: one per picture.
        seeds: one per picture.
        decoder: draws them.
        sampling: how tokens are drawn from logits.
        generation: tokens, committed counts and evaluations so far; None before the first.
        given: tokens of each picture that were known beforehand.
        started: `time.perf_counter()` at the start.
    """

    prompts: list[str]
    seeds: list[int]
    decoder: Decoder
    sampling: Sampling
    given: list[int]
    generation: Generation | None = None
    started: float = field(default_factory=time.perf_counter)


class TextToImagePipeline(Pipeline):
    """Draws pictures from captions.

    Args:
        tokenizer: pictures to codes and back.
        text_encoder: captions to conditions.
        transformer: writes the codes.
        decoder: how the codes are written; swap it by assignment.
        draft: a smaller transformer of the same vocabulary, for the drafter `draft-model`; may be absent.
        heads: heads trained on the transformer, for the drafter `heads`; may be absent.
        sampling: the defaults of a call: guidance, temperature, top_k and top_p.
    """

    component_types = {
        "tokenizer": PatchVQ,
        "text_encoder": SceneEncoder,
        "transformer": RasterTransformer,
        "draft": RasterTransformer,
        "heads": TokenHeads,
    }
    _optional_components = ["draft", "heads"]
    medium = "image"
    family = "raster"
    backbones = ("transformer", "draft", "heads")
    model_cpu_offload_seq = "text_encoder->draft->heads->transformer->tokenizer"
    _callback_tensor_inputs = ["tokens"]
    _known_codebook: tuple[int, torch.device, Codebook] | None = None

    def __init__(
        self,
        tokenizer: PatchVQ,
        text_encoder: SceneEncoder,
        transformer: RasterTransformer,
        decoder: Decoder,
        sampling: dict[str, Any] | None = None,
        draft: RasterTransformer | None = None,
        heads: TokenHeads | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, decoder=decoder,
            draft=draft, heads=heads,
        )  # fmt: skip
        self.register_to_config(sampling=Sampling(**(sampling or {})).to_dict())
        self._interrupt = False

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
        prompt: str | Sequence[str],
        *,
        seed: int | Sequence[int] | None = None,
        decoder: str | Decoder | None = None,
        decoder_options: dict[str, Any] | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        num_images_per_prompt: int = 1,
        height: int | None = None,
        width: int | None = None,
        known: Tensor | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[TextToImagePipeline, int, int, dict], dict | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("tokens",),
    ) -> ImageOutput | tuple:
        """Draws pictures.

        Args:
            prompt: one caption or several; see `mmgen.scenes.grammar` for what can be said.
            seed: whole number, or a list with one for each prompt or each picture. With one number the
                pictures of a prompt take seed, seed + 1, ... Random where nothing is given.
            decoder: name or object; the pipeline's own where nothing is given.
            decoder_options: options of the decoder, such as `{"window": 16}`.
            guidance: weight of classifier-free guidance, 0 to 50; 1 is without.
            temperature: 0 to 10.
            top_k: keep the k likeliest codes; 0 keeps all.
            top_p: keep the likeliest codes up to this probability; 1 keeps all.
            num_images_per_prompt: pictures of each prompt, 1 to 256.
            height: pixels; the model's own size where nothing is given.
            width: likewise.
            known: codes that are given, int64 [B, 1, h, w] or [1, 1, h, w], -1 where free.
            generator: torch generators that draw the seeds, in place of `seed`.
            output_type: `pil`, `np`, `pt`, or `latent` for codes.
            return_dict: False returns the fields as a tuple.
            callback_on_step_end: called as f(pipe, evaluation, committed tokens of the shortest row,
                tensors) after every evaluation. It may set `pipe.interrupt = True`.
            callback_on_step_end_tensor_inputs: names of the tensors it gets; there is `tokens`, [B, N].

        Returns:
            Pictures and statistics.

        Raises:
            PromptError: a caption is empty, too long or outside the grammar.
            OptionError: an option is out of range, or a list has the wrong length.
            SizeError: a size the model does not draw.
            UnknownNameError: no such decoder.
        """
        if output_type not in OUTPUT_TYPES:
            raise OptionError("output_type", output_type, f"one of {', '.join(OUTPUT_TYPES)}")
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise OptionError("callback_on_step_end_tensor_inputs", sorted(unknown), "['tokens']")
        drawings = self.draw(
            prompt, seed=seed, decoder=decoder, decoder_options=decoder_options, guidance=guidance,
            temperature=temperature, top_k=top_k, top_p=top_p, num_images_per_prompt=num_images_per_prompt,
            height=height, width=width, known=known, generator=generator,
        )  # fmt: skip
        with self.progress_bar(total=self.transformer.layout.length) as bar:
            for drawing in drawings:
                assert drawing.generation is not None
                if callback_on_step_end is not None or not bar.disable:
                    committed = int(drawing.generation.committed.min())
                    bar.update(committed - bar.n)
                if callback_on_step_end is not None:
                    evaluation = int(drawing.generation.evaluations.max())
                    callback_on_step_end(self, evaluation, committed, {"tokens": drawing.generation.tokens})
        output = ImageOutput(self.render(drawing, output_type), self.statistics(drawing))
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def draw(
        self,
        prompt: str | Sequence[str],
        *,
        seed: int | Sequence[int] | None = None,
        decoder: str | Decoder | None = None,
        decoder_options: dict[str, Any] | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        num_images_per_prompt: int = 1,
        height: int | None = None,
        width: int | None = None,
        known: Tensor | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> Iterator[Drawing]:
        """The same, step by step: checks its arguments at once, then yields after every evaluation.

        `preview`, `render` and `statistics` turn what it yields into pictures and numbers at any time.
        Closing the iterator, or setting `interrupt`, stops the drawing.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts:
            raise PromptError("", "there is no prompt", "give at least one")
        if type(num_images_per_prompt) is not int or not 1 <= num_images_per_prompt <= 256:
            raise OptionError("num_images_per_prompt", num_images_per_prompt, "a whole number from 1 to 256")
        self._check_size(height, width)
        scenes = [self.text_encoder.grammar.parse(text) for text in prompts for _ in range(num_images_per_prompt)]
        given = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        sampling = Sampling(**{**self.config.sampling, **{k: v for k, v in given.items() if v is not None}})
        drawing = Drawing(
            prompts=[text for text in prompts for _ in range(num_images_per_prompt)],
            seeds=choose_seeds(seed, generator, len(prompts), num_images_per_prompt),
            decoder=self.choose_decoder(decoder, decoder_options),
            sampling=sampling,
            given=[0] * len(scenes),
        )
        tokens = self._known_tokens(known, len(scenes))
        if tokens is not None:
            drawing.given = (tokens >= 0).sum(1).tolist()
        self._interrupt = False
        return self._steps(drawing, self.text_encoder.ids(scenes), tokens)

    @torch.no_grad()
    def _steps(self, drawing: Drawing, ids: Tensor, known: Tensor | None) -> Iterator[Drawing]:
        device = self._execution_device
        condition = self.text_encoder(ids)
        null_condition = self.text_encoder(self.text_encoder.null_ids(len(ids)))
        given: dict[str, Any] = {"known": known, "cache_bits": self.cache_bits}
        prompts = self.transformer.layout, Prompt(condition), Prompt(null_condition), drawing.sampling
        session = RasterSession(
            self.transformer,
            *prompts,
            **given,
            draft=RasterSession(self.draft, *prompts, **given) if self.draft is not None else None,
            heads=self.heads,
            codebook=self._codebook(),
        )
        for generation in drawing.decoder.steps(session, Rng(drawing.seeds, device)):
            drawing.generation = generation
            yield drawing
            if self._interrupt:
                return

    def _codebook(self) -> Codebook:
        """What the tokenizer's codes stand for; kept, with its table of neighbours, as long as the tokenizer is."""
        vectors, device = self.tokenizer.codebook, self._execution_device
        if self._known_codebook is None or self._known_codebook[:2] != (id(vectors), device):
            self._known_codebook = (id(vectors), device, Codebook(vectors.to(device)))
        return self._known_codebook[2]

    @torch.no_grad()
    def render(self, drawing: Drawing, output_type: str = "pil") -> Any:
        """The pictures of a drawing, in a form of `ImageOutput.images`. What is not drawn yet is gray."""
        tokens, drawn = self._written(drawing)
        codes = self.transformer.layout.unflatten(tokens)
        if output_type == "latent":
            return torch.where(self.transformer.layout.unflatten(drawn), codes, -1)
        images = self.tokenizer.decode(codes).float() / 2 + 0.5
        stride = self.tokenizer.stride
        visible = self.transformer.layout.unflatten(drawn)
        visible = visible.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
        images = torch.where(visible, images, 0.5)
        if output_type == "pt":
            return images
        array = rearrange(images.cpu().numpy(), "b c h w -> b h w c")
        return array if output_type == "np" else to_pictures(array)

    def statistics(self, drawing: Drawing) -> list[Statistics]:
        """How each picture of a drawing was made, so far."""
        generation = drawing.generation
        assert generation is not None
        seconds = (time.perf_counter() - drawing.started) / len(drawing.prompts)
        rows = zip(
            drawing.prompts, drawing.seeds, drawing.given,
            generation.committed.tolist(), generation.evaluations.tolist(), generation.draft_evaluations.tolist(),
            strict=True,
        )  # fmt: skip
        length = self.transformer.layout.length
        return [
            Statistics(
                prompt=prompt,
                seed=seed,
                pipeline=str(self.config.get("_name_or_path") or type(self).__name__),
                decoder=drawing.decoder.name,
                law=drawing.decoder.law,
                tokens=max(committed - given, 0),
                evaluations=evaluations,
                draft_evaluations=draft_evaluations,
                tokens_per_evaluation=max(committed - given, 0) / max(evaluations, 1),
                seconds=seconds,
                complete=committed >= length,
                options=drawing.decoder.options(),
                sampling=drawing.sampling.to_dict(),
                revision=self.revision,
            )
            for prompt, seed, given, committed, evaluations, draft_evaluations in rows
        ]

    def _written(self, drawing: Drawing) -> tuple[Tensor, Tensor]:
        """Tokens [B, N] with 0 where none is committed yet, and where they are: bool [B, N]."""
        generation = drawing.generation
        assert generation is not None
        index = torch.arange(generation.tokens.shape[1], device=generation.tokens.device)
        drawn = index < generation.committed[:, None]
        return torch.where(drawn, generation.tokens, 0), drawn

    def _check_size(self, height: int | None, width: int | None) -> None:
        stride, size = self.tokenizer.stride, self.tokenizer.config.image_size
        for name, value in (("height", height), ("width", width)):
            if value is None or value == size:
                continue
            if type(value) is not int or value <= 0 or value % stride:
                raise SizeError(f"{name} {value}", f"a multiple of the stride {stride}, here {size}")
            raise SizeError(f"{name} {value}", f"{size}, the size this model draws")

    def _known_tokens(self, known: Tensor | None, batch: int) -> Tensor | None:
        if known is None:
            return None
        layout, vocabulary = self.transformer.layout, self.transformer.vocabulary_size
        if known.ndim != 4 or known.shape[0] not in (1, batch) or known.shape[1:] != (1, layout.height, layout.width):
            raise SizeError(
                f"known codes of shape {list(known.shape)}", f"[{batch}, 1, {layout.height}, {layout.width}]"
            )
        if bool((known < -1).any()) or bool((known >= vocabulary).any()):
            raise OptionError("known", "codes out of range", f"-1 where free, else 0 to {vocabulary - 1}")
        return layout.flatten(known.long()).expand(batch, -1)


def to_pictures(array: np.ndarray) -> list[Image.Image]:
    """PIL pictures of an array [B, H, W, 3] in [0, 1]."""
    return [Image.fromarray(picture) for picture in (array * 255).round().astype(np.uint8)]
