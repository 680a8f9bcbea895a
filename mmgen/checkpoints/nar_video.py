"""Neighbouring autoregression's published transformers of videos, with LARP's tokenizer.

chenfeng1271/NAR-ucf101-256-L and -LP on the Hugging Face Hub; the transformers are pickles, which are read without
running anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mmgen.checkpoints import larp, nar
from mmgen.errors import OptionError

if TYPE_CHECKING:
    from mmgen.pipelines.nar_video import NeighbourVideoPipeline
    from mmgen.tokenizers.larp import LARP


def recognise(path: Path) -> bool:
    """Whether a file, or the only weights of a folder, are a transformer of videos."""
    return nar.recognise_video(path)


def load(
    path: Path,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | LARP | None = None,
    heads: int | None = None,
) -> NeighbourVideoPipeline:
    """Makes a pipeline of a published transformer of videos, with its authors' settings.

    Args:
        path: the transformer's file.
        dtype: type of the weights; None makes them float32.
        tokenizer: folder of LARP's tokenizer, such as hywang66/LARP-L-long-tokenizer, or the model.
        heads: attention heads, of a transformer that has none of the published sizes.

    Raises:
        WeightsError: a file is missing, damaged, or not what it should be.
        OptionError: what the file does not say is not given.
    """
    from mmgen.decoding import planes
    from mmgen.pipelines.nar_video import NeighbourVideoPipeline

    if tokenizer is None:
        raise OptionError("tokenizer", None, "the folder of LARP's tokenizer, such as hywang66/LARP-L-long-tokenizer")
    model = larp.load_tokenizer(Path(tokenizer), dtype) if isinstance(tokenizer, str | Path) else tokenizer
    transformer = nar.load_transformer(path, dtype, heads, model.codes_grid)
    return NeighbourVideoPipeline(model, transformer, planes.make("plane-wise"), {"guidance": 1.25})
