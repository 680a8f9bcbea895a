"""Endpoints that draw: a request, two decoders in a race, a part of something."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

from mmgen.web import duel, sketch
from mmgen.web.controls import read_decoder
from mmgen.web.endpoints.answers import in_words, rows
from mmgen.web.studio import Studio
from mmgen.web.uploads import Upload, named, uploaded


def generate(studio: Studio) -> Any:
    """A request."""

    def drawn(
        prompt: str,
        seed: int | None = None,
        count: int = 1,
        decoder: str | None = None,
        options: dict | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        pipeline: str | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        duration: float | None = None,
        frames: int | None = None,
        continue_from: Upload | str | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Draws pictures, clips or sound from a caption; what is left out is the pipeline's own default.

        The answer comes again and again while they are drawn, the last one with the files.

        Parameters:
            prompt: a caption, such as "a cat on a blue background".
            seed: seed of the first result; the next ones count up from it. Random where left out.
            count: results, 1 to 8.
            decoder: name of a decoder.
            options: options of the decoder, such as {"window": 16}.
            guidance: weight of the prompt, 0 to 50; 1 is without guidance.
            temperature: 0 to 10.
            pipeline: name of a shipped pipeline; see /pipelines.
            top_k: keeps the k likeliest codes; 0 keeps all.
            top_p: keeps the likeliest codes up to this probability; 1 keeps all.
            duration: seconds, of sound.
            frames: of a clip, fewer than the pipeline draws.
            continue_from: a picture, clip or sound that a clip or sound begins with.

        Returns:
            A list with one object for each result: prompt, seed, pipeline, decoder, law, tokens, evaluations,
            tokens_per_evaluation, seconds, complete, options, sampling, conditions, size, revision, and `file`: a PNG,
            MP4, WebP or WAV file that carries them too, null while it is being drawn.
        """
        settings: dict[str, Any] = {
            "pipeline": pipeline, "count": count, "seed": seed, "decoder": decoder, "decoder_options": options,
            "guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p, "duration": duration,
            "frames": frames,
        }  # fmt: skip
        with in_words(), tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
            settings["continue_from"] = None if continue_from is None else uploaded(continue_from, folder)
            for frame in studio.draw(prompt, **settings):
                yield rows(frame, folder)

    return drawn


def compare(studio: Studio) -> Any:
    """Two decoders."""

    def raced(
        prompt: str,
        first: str | None = None,
        second: str | None = None,
        seed: int = 1,
        pipeline: str | None = None,
        duration: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Draws a prompt with two decoders from one seed; they take turns, so that both have the same time.

        The answer comes again and again while they race, the last one with the files.

        Parameters:
            prompt: a caption.
            first: a decoder, with options as in "jacobi:window=16"; the pipeline's reference where left out.
            second: likewise; the pipeline's own decoder where left out.
            seed: of both.
            pipeline: name of a shipped pipeline.
            duration: seconds, of sound.

        Returns:
            results: of both, as /generate returns them; seconds: that each took; speedup: of the second over the
            first; equal: share of the pixels or samples that are equal; finished.
        """
        with in_words(), tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
            model = studio.model(pipeline)
            decoders = read_decoder(model, first or model.algorithms.REFERENCE), read_decoder(model, second)
            for number, state in enumerate(duel.draw(studio, prompt, decoders, model.name, seed, duration=duration)):
                yield {
                    "results": [
                        rows(frame, tempfile.mkdtemp(prefix=f"{number}-", dir=folder))[0] for frame in state.frames
                    ],
                    "seconds": list(state.seconds),
                    "speedup": state.speedup,
                    "equal": state.equal,
                    "finished": state.finished,
                }

    return raced


def edit(studio: Studio) -> Any:
    """A part of something."""

    def redrawn(
        file: Upload | str,
        prompt: str,
        cells: list[int] | None = None,
        interval: list[float] | None = None,
        seed: int | None = None,
        count: int = 1,
        decoder: str | None = None,
        pipeline: str | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Draws part of a picture or clip, or an interval of a sound, again under a prompt; the rest stays.

        Parameters:
            file: a picture, clip or sound; it is fitted to what the pipeline draws.
            prompt: what the whole shows then.
            cells: what is drawn again, of pictures and clips: numbers of codes, row by row from the top left.
            interval: what is made again, of sound: from which second to which.
            seed: seed of the first version; the next ones count up from it. Random where left out.
            count: versions, 1 to 8.
            decoder: a decoder, with options as in "jacobi:window=16".
            pipeline: name of a shipped pipeline.

        Returns:
            As of /generate.
        """
        with in_words(), tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
            path = uploaded(file, folder)
            with named(path):
                begun = sketch.begin(studio, pipeline, path)
            chosen = read_decoder(studio.model(pipeline), decoder)
            settings: dict[str, Any] = {"seed": seed, "count": count, "decoder": chosen}
            for frame in sketch.redrawn(studio, begun, prompt, cells or [], interval, **settings):
                yield rows(frame, folder)

    return redrawn
