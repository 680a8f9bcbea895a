"""The benchmark's row of transformers: what its own `generate` takes for as much, where it has such a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmgen.backbones.raster import RasterTransformer
from mmgen.evaluation import baseline
from mmgen.evaluation.contest import Comparison
from mmgen.evaluation.race import Spread
from mmgen.evaluation.rows import BASELINE, Row
from mmgen.sampling import Sampling


def reference_rows(
    pipe: Any, prompt: str, size: Mapping[str, Any], repeats: int, log: Callable[[str], None] | None
) -> list[Row]:
    """The row of transformers, or none where there is nothing to compare.

    Args:
        pipe: pictures token by token are compared with a Llama of the same shape, MusicGen with transformers' own.
        prompt: of a recording.
        size: settings of a call that say how long it is.
        repeats: timed lines of each, at least 1; there are 3 or more.
    """
    repeats = max(repeats, 3)
    if isinstance(pipe.transformer, RasterTransformer):
        return [_row_of_pictures(pipe, baseline.compare(pipe.transformer, repeats, log=log))]
    return [_row_of_sound(pipe, prompt, size, repeats, log)] if _is_musicgen(pipe) else []


def _is_musicgen(pipe: Any) -> bool:
    if pipe.medium != "audio":
        return False
    from mmgen.pipelines.musicgen import MusicGenPipeline

    return type(pipe) is MusicGenPipeline


def _row_of_pictures(pipe: Any, comparison: Comparison) -> Row:
    """A picture is its tokens, and speed-up is over our own, unguided."""
    return _row(
        pipe,
        comparison,
        float(comparison.tokens),
        f"a Llama of the same shape, unguided: {_speeds(comparison, 'our autoregression, unguided too')}",
    )


def _row_of_sound(
    pipe: Any, prompt: str, size: Mapping[str, Any], repeats: int, log: Callable[[str], None] | None
) -> Row:
    """A recording of the same length, or of the model's window where that is shorter."""
    from mmgen.evaluation import musicgen_reference

    sampling = Sampling(**pipe.config.sampling)
    rate = pipe.sampling_rate / pipe.tokenizer.hop
    frames = min(pipe.plan(prompt, seed=0, **size).layout.frames, round(pipe.window * rate))
    words = pipe._words(pipe.read(prompt))
    comparison = musicgen_reference.compare(
        pipe.transformer, pipe.text_encoder, words, frames, sampling, repeats, log=log
    )
    evaluations = float(pipe.order(frames).count)
    note = f"the same weights, guidance {sampling.guidance:g}, from words to codes: no codec in either; "
    return _row(
        pipe,
        comparison,
        evaluations,
        note + _speeds(comparison, "our plane-wise"),
        frames_per_evaluation=frames / evaluations,
        real_time_factor=frames / rate / comparison.transformers_seconds.median,
    )


def _speeds(comparison: Comparison, ours: str) -> str:
    ratio = comparison.ratio
    return (
        f"{comparison.transformers_tokens_per_second.median:.0f} tokens per second; {ours}:"
        f" {comparison.tokens_per_second.median:.0f}, that is {ratio.median:.2f} times"
        f" ({ratio.low:.2f}-{ratio.high:.2f}, paired)"
    )


def _row(pipe: Any, comparison: Comparison, evaluations: float, note: str, **more: Any) -> Row:
    inverse = Spread(1 / comparison.ratio.high, 1 / comparison.ratio.median, 1 / comparison.ratio.low)
    seconds = comparison.transformers_seconds
    return Row(
        pipeline=str(pipe.config.get("_name_or_path") or type(pipe).__name__),
        decoder=BASELINE,
        law="exact",
        batch=1,
        evaluations=evaluations,
        draft_evaluations=0.0,
        tokens_per_evaluation=comparison.tokens / evaluations,
        evaluation_ratio=1.0,
        seconds=seconds.median,
        seconds_low=seconds.low,
        seconds_high=seconds.high,
        speedup=inverse.median,
        speedup_low=inverse.low,
        speedup_high=inverse.high,
        images_per_second=1 / seconds.median,
        batch_speedup=None,
        adherence=None,
        adherence_error=None,
        same_pictures=None,
        pictures=0,
        note=note,
        **more,
    )
