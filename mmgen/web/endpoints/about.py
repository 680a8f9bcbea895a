"""Endpoints that use no model."""

from __future__ import annotations

import tempfile
from typing import Any

from mmgen.web import restore as restoring
from mmgen.web.endpoints.answers import in_words
from mmgen.web.studio import Studio
from mmgen.web.uploads import Upload, uploaded


def restore(studio: Studio) -> Any:
    """What made a file."""

    def settings(file: Upload | str) -> dict[str, Any]:
        """Tells what made a picture, clip or sound: the arguments of /generate that make it again.

        Of an edit they are those of /edit beside the file itself.

        Parameters:
            file: a PNG, WebP, GIF, MP4, WAV, FLAC or OGG file that mmgen wrote.

        Returns:
            prompt, seed, pipeline, decoder, options, guidance, temperature, top_k, top_p, and conditions by name; of an
            edit: prompt, seed, pipeline, decoder, and cells or interval.
        """
        with in_words(), tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
            return restoring.of_file(studio, uploaded(file, folder)).to_dict()

    return settings


def pipelines(studio: Studio) -> Any:
    """What can be chosen from."""

    def listed() -> list[dict[str, Any]]:
        """Lists the shipped pipelines.

        Returns:
            A list of objects: name, medium, decoder, options, sampling, conditions, and `decoders` with their laws.
        """
        return [model.to_dict() for model in studio.models.values()]

    return listed
