"""What the trainings of captioned transformers share: one checkpoint for both parts, and quick products."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmgen.training.folders import write_pipeline
from mmgen.training.loop import Budget, fit
from mmgen.training.recipe import Recipe

Forward = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class CaptionedRecipe(Recipe):
    """Makes a pipeline on a shipped tokenizer: trains its transformer and its text encoder together.

    Parts that belong to the weights before, such as drafts and heads, stay in its folder: remake them after it.

    Attributes:
        tokenizer: name of the tokenizer.
        pipeline: class of the pipeline.
        transformer: configuration of the transformer, but for what tokenizer and captions decide.
        decoder: name of the pipeline's own decoder.
        decoder_options: its options.
        sampling: the pipeline's defaults.
        batch: pictures, clips or recordings of a step.
    """

    tokenizer: str
    pipeline: type[Any]
    transformer: dict
    decoder: str
    decoder_options: dict
    sampling: dict
    batch: int = 16

    trained: ClassVar[tuple[str, ...]] = ("transformer", "text_encoder")

    def run(self, destination: Path, work: Path, device: str, compile: bool, log: Callable[[str], None]) -> None:
        """Trains and writes `destination`; where the recipe measures, the last line logged says what was found."""
        from mmgen.pipelines.loading import load

        torch.manual_seed(0)
        tokenizer = load(self.tokenizer)
        text_encoder = self.pipeline.component_types["text_encoder"](size=self.transformer["size"]).to(device)
        transformer = self.new_transformer(tokenizer, text_encoder).to(device)
        self.begin(transformer, text_encoder)
        checkpoint = work / "backbone.pt"
        fit_parts = self.trainer()
        fit_parts(transformer, text_encoder, tokenizer, self.budget, checkpoint, self.batch, compile, log)
        decoder = self.pipeline.algorithms.make(self.decoder, **self.decoder_options)
        pipe = self.pipeline(tokenizer, text_encoder, transformer, decoder, self.sampling).to("cpu")
        write_pipeline(pipe, destination, {"tokenizer": self.tokenizer}, torch.float16)
        measured = self.measure(pipe)
        if measured:
            log(json.dumps(measured))

    @abstractmethod
    def new_transformer(self, tokenizer: Any, text_encoder: Any) -> Any:
        """A transformer that knows nothing yet."""

    @abstractmethod
    def trainer(self) -> Callable[..., None]:
        """What trains both in place, called as `mmgen.training.backbone.train_backbone`."""

    def measure(self, pipe: Any) -> dict[str, Any]:
        """What is logged of the pipeline that was made; nothing by default."""
        return {}


def fit_captioned(
    transformer: Any,
    text_encoder: nn.Module,
    loss_of_step: Callable[[Forward, int], Tensor],
    budget: Budget,
    checkpoint: Path,
    compile: bool = False,
    log: Callable[[str], None] = print,
    passed: Forward | None = None,
) -> None:
    """Trains a transformer in place, and the text encoder with it unless that is frozen; resumes as `fit` does.

    Where the processor has units for bfloat16, products of the forward pass are computed in it: on two cores with
    AVX-512 a step of `emoji-64-scales` takes 2.6 seconds of a core in place of 3.6. Weights, sums over the stream and
    what the pass returns are float32 all the same.

    Args:
        loss_of_step: the loss of one fresh batch, given the forward pass and the step's number.
        compile: compile that pass; a fifth faster on a CPU after a minute, and needs a C++ compiler.
        passed: the forward pass; the transformer's `teacher_forced` where nothing is given.
    """
    passed = passed or transformer.teacher_forced
    passed = torch.compile(passed) if compile else passed
    quick = torch.autocast(transformer.device.type, torch.bfloat16, enabled=has_bfloat16(transformer.device.type))

    def forward(*given: Any) -> Tensor:
        with quick:
            return passed(*given).float()

    model = nn.ModuleDict({"transformer": transformer, "text_encoder": text_encoder})
    fit(model, lambda step: loss_of_step(forward, step), budget, checkpoint, log)


def has_bfloat16(device: str) -> bool:
    """Whether a kind of device has units for products in bfloat16: `cpu` or `cuda`; of others it is not known."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return device == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))
