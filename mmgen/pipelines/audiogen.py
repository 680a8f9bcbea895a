"""AudioGen: sounds of a text (Kreuk et al. 2023, arXiv 2209.15352), with MusicGen's transformer, as it was released."""

from __future__ import annotations

from diffusers import DiffusionPipeline  # noqa: F401  (diffusers looks the base class up in this module)

from mmgen.pipelines.musicgen import MusicGenPipeline


class AudioGenPipeline(MusicGenPipeline):
    """Writes sounds to a text, as `MusicGenPipeline` writes music.

    It was trained on 10 seconds. Longer sound is written as audiocraft does it, in windows of so many that each add 2
    and begin with the 8 before them. The released model is not the paper's, but MusicGen's on sounds of 16 kHz.
    """

    window, stride = 10.0, 2.0
