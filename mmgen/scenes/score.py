"""Which notes a figure has, and when they sound. Integers only."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.scenes.sound import TEMPOS, TONES, Music

SECONDS = 3
"""Length of a recording."""
FRAMES_A_SECOND = 50
"""Notes begin on frames of so many a second, those of the shipped codec: so a note has the same codes again."""
START = 5
"""Frames of silence before the first note."""
MIDDLE_C = 60
"""Its number among the keys of MIDI, a semitone each; figures begin in the octave above it."""

_DEGREES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
"""Semitones of a mode's scale above its first tone; minor is natural minor."""
_ARPEGGIO = (0, 2, 4, 7, 4, 2)
"""Degrees of an arpeggio, over and over."""
_CHORDS = (0, 3, 4)
"""Degrees that triads stand on: tonic, subdominant and dominant, over and over."""


def step_frames(tempo: str) -> int:
    """Frames from one note to the next."""
    return 60 * FRAMES_A_SECOND // TEMPOS[tempo]


def onsets(tempo: str) -> list[int]:
    """The frames on which notes begin: as many as are heard for half of their length or more."""
    step = step_frames(tempo)
    return list(range(START, SECONDS * FRAMES_A_SECOND - step // 2 + 1, step))


def score(music: Music) -> list[tuple[int, ...]]:
    """The keys of MIDI that sound in each step, lowest first; a step is a note or a chord of three."""
    return [_step(music, number) for number in range(len(onsets(music.tempo)))]


@dataclass(frozen=True)
class Moment:
    """What a score says of a frame.

    Attributes:
        keys: of MIDI that sound, lowest first; none before the first note.
        since: frames since they began; None before the first note.
        coming: the keys that are next; none behind the last note's onset.
        until: frames until they begin; None where there are none.
    """

    keys: tuple[int, ...] = ()
    since: int | None = None
    coming: tuple[int, ...] = ()
    until: int | None = None


def moments(music: Music) -> list[Moment]:
    """The score of a recording frame by frame."""
    starts, steps = onsets(music.tempo), score(music)
    found = []
    for frame in range(SECONDS * FRAMES_A_SECOND):
        begun = sum(start <= frame for start in starts)
        now = (steps[begun - 1], frame - starts[begun - 1]) if begun else ((), None)
        coming = (steps[begun], starts[begun] - frame) if begun < len(starts) else ((), None)
        found.append(Moment(*now, *coming))
    return found


def _step(music: Music, number: int) -> tuple[int, ...]:
    if music.figure == "chords":
        lowest = _CHORDS[number % len(_CHORDS)]
        return tuple(_key(music, lowest + third) for third in (0, 2, 4))
    if music.figure == "arpeggio":
        return (_key(music, _ARPEGGIO[number % len(_ARPEGGIO)]),)
    return (_key(music, number if music.figure == "rising scale" else 7 - number),)


def _key(music: Music, degree: int) -> int:
    scale = _DEGREES[music.mode]
    octave, place = divmod(degree, len(scale))
    return MIDDLE_C + TONES.index(music.tone) + 12 * octave + scale[place]
