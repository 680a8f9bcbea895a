"""Our LlamaGen against its authors' `generate`, in a clone of their repository.

    python -m mmgen.evaluation.llamagen_reference PATH/TO/LlamaGen --batch 1 4

Runs code of the clone: give one you trust. Both models have random weights, which do not change their speed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mmgen import decoding
from mmgen.backbones.llamagen import LlamaGenTransformer
from mmgen.checkpoints.llamagen import SIZES
from mmgen.errors import WeightsError
from mmgen.evaluation.race import Spread, race, ratio
from mmgen.rng import Rng
from mmgen.sampling import Sampling
from mmgen.sessions.raster import RasterSession

SAMPLING = Sampling(guidance=4.0, top_k=2000)
"""The authors' demo's."""


def compare(
    clone: Path,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    repeats: int = 3,
    device: str = "cpu",
    decoder: str = "autoregressive",
    log: Callable[[str], None] | None = None,
) -> tuple[Spread, Spread]:
    """Draws 256 tokens a picture with GPT-B by turns, guidance 4, top-k 2000.

    Args:
        clone: of github.com/FoundationVision/LlamaGen.
        batch: pictures at once.
        repeats: timed rounds.
        decoder: ours.

    Returns:
        Our pictures per second, and the ratio to theirs.

    Raises:
        WeightsError: the folder is no such clone.
    """
    theirs, generate = _theirs(clone, dtype, device)
    ours = LlamaGenTransformer().eval().requires_grad_(False).to(device, dtype)
    labels = torch.arange(batch, device=device)
    runs = {
        "ours": lambda: _draw(ours, labels, decoder),
        "theirs": lambda: generate(
            theirs, labels, 256, cfg_scale=SAMPLING.guidance, temperature=1.0, top_k=SAMPLING.top_k, top_p=1.0
        ),
    }
    seconds = race(runs, repeats, torch.device(device), log)
    return Spread.of([batch / taken for taken in seconds["ours"]]), ratio(seconds, "theirs", "ours")


def _theirs(clone: Path, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    sys.path.insert(0, str(clone))
    try:
        models = importlib.import_module("autoregressive.models.gpt")
        generate = importlib.import_module("autoregressive.models.generate").generate
    except ImportError as error:
        cure = "give a clone of github.com/FoundationVision/LlamaGen"
        raise WeightsError(clone, f"cannot be imported ({error})", cure) from error
    finally:
        sys.path.remove(str(clone))
    layers, size, heads = SIZES["B"]
    sizes = {"n_layer": layers, "dim": size, "n_head": heads}
    arguments = models.ModelArgs(**sizes, vocab_size=16384, block_size=256, cls_token_num=1, model_type="c2i")
    model = models.Transformer(arguments).eval().requires_grad_(False).to(device, dtype)
    torch.nn.init.normal_(model.output.weight, std=0.02)
    return model, generate


@torch.no_grad()
def _draw(model: LlamaGenTransformer, labels: torch.Tensor, decoder: str) -> None:
    prompts = model.class_prompt(labels), model.class_prompt(torch.full_like(labels, model.config.classes))
    session = RasterSession(model, model.layout, *prompts, SAMPLING)
    decoding.make(decoder).generate(session, Rng(labels.tolist(), model.device))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--decoder", default="autoregressive")
    given = parser.parse_args(arguments)
    for dtype in given.dtype:
        for batch in given.batch:
            speed, against = compare(
                given.clone, batch, getattr(torch, dtype), given.repeats, given.device, given.decoder, print
            )
            print(f"{dtype}, batch {batch}: {speed} pictures a second, {against} times theirs", flush=True)


if __name__ == "__main__":
    main()
