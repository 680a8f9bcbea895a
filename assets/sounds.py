"""Writes the README's sounds, and their spectrograms: `python assets/sounds.py [FILE.flac]`."""

import sys
from pathlib import Path

import numpy as np

import mmgen
from mmgen import media

PROMPTS = (
    "a piano plays a rising C major scale, fast",
    "flute, slow arpeggio in A minor",
    "a trumpet plays chords in D flat major",
    "a female voice says seven",
)
SEED = 1


def main(path: Path) -> None:
    output = mmgen.load("sound-16k")(PROMPTS, seed=SEED)
    sound = np.concatenate(list(output.audios), axis=1)
    media.write_sound(path, sound, output.sampling_rate, metadata=None)
    media.spectrogram(sound, output.sampling_rate, 192, 960).save(path.with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sounds.flac"))
