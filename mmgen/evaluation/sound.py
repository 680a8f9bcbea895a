"""Whether recordings sound as their captions ask, judged from the samples alone.

Tempo and notes are found by signal processing (`mmgen.evaluation.listening`), instrument, voice and word are heard by
a small network of the project (`mmgen.evaluation.hearing`). Neither knows codec or model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mmgen.evaluation.listening import RATE, SHORTEST, beat_of, pitch_classes
from mmgen.evaluation.verdicts import Report, Share, Verdict, judged
from mmgen.scenes.score import score
from mmgen.scenes.sound import TEMPOS, Music, SoundScene, Speech
from mmgen.scenes.sound_render import sample_sound_scenes

TEMPO_ERROR = 0.1
"""Share of the tempo asked for that a tempo may be off and still be right."""
MOST_NOTES = 0.8
"""Share of the notes that must be right for a recording to be right."""
LEAST_SAMPLES = int(SHORTEST * RATE)
"""Of a recording that can be judged."""
_SETTLED = 0.02
"""Seconds from which on a note is listened to: before, there is the beginning of it, and the end of another."""


@dataclass(frozen=True)
class SoundVerdict(Verdict):
    """What of a caption is heard in a recording; None where the caption does not ask for it.

    Attributes:
        instrument: it is the one asked for.
        tempo: notes follow each other as quickly as asked, within a tenth.
        notes: of each step of the figure, whether its pitch classes are those asked for: of a chord, all three.
        voice: it is the one asked for.
        word: it is the one asked for.
        recognised: instrument, or voice and word, that are heard.
    """

    asked = ("instrument", "tempo", "melody", "voice", "word")

    instrument: bool | None = None
    tempo: bool | None = None
    notes: tuple[bool, ...] | None = None
    voice: bool | None = None
    word: bool | None = None
    recognised: tuple[str | None, ...] = ()

    @property
    def melody(self) -> bool | None:
        """Most of the notes are right."""
        return None if self.notes is None else sum(self.notes) >= MOST_NOTES * len(self.notes)


def judge_sound(sound: np.ndarray, scene: SoundScene) -> SoundVerdict:
    """Compares a recording with its caption.

    Args:
        sound: float [samples] at 16 kHz, a second or more; of any loudness.
        scene: what the caption asks for.

    Raises:
        SizeError: another shape, or less than a second.
    """
    from mmgen.evaluation.hearing import hear

    heard = hear([sound])[0]
    if isinstance(scene, Speech):
        return SoundVerdict(
            voice=heard.voice == scene.voice, word=heard.word == scene.word, recognised=(heard.voice, heard.word)
        )
    tempo, notes = _played(sound, scene)
    return SoundVerdict(heard.instrument == scene.instrument, tempo, notes, recognised=(heard.instrument,))


def _played(sound: np.ndarray, music: Music) -> tuple[bool, tuple[bool, ...]]:
    """Whether the tempo is right, and which notes, read off the beat that is heard."""
    beat = beat_of(sound)
    tempo = abs(beat.tempo / TEMPOS[music.tempo] - 1) <= TEMPO_ERROR
    right = []
    for number, keys in enumerate(score(music)):
        start, stop = (beat.start + (number + part) * beat.period for part in (0, 1))
        piece = sound[int((start + _SETTLED) * RATE) : int(stop * RATE)]
        wanted = frozenset(key % 12 for key in keys)
        right.append(len(piece) > _SETTLED * RATE and pitch_classes(piece, len(wanted)) == wanted)
    return tempo, tuple(right)


@dataclass
class SoundReport(Report):
    """How well recordings sound as their captions ask.

    Attributes:
        instrument, tempo, melody, voice, word: recordings in which that is right, of those that it concerns.
        notes: notes and chords that are right.
        music: music with everything right.
        speech: speech with everything right.
    """

    instrument: Share = field(default_factory=Share)
    tempo: Share = field(default_factory=Share)
    melody: Share = field(default_factory=Share)
    notes: Share = field(default_factory=Share)
    voice: Share = field(default_factory=Share)
    word: Share = field(default_factory=Share)
    music: Share = field(default_factory=Share)
    speech: Share = field(default_factory=Share)

    def add(self, scene: SoundScene, verdict: SoundVerdict) -> None:
        kind, name = ("speech", scene.word) if isinstance(scene, Speech) else ("music", scene.instrument)
        self._count(verdict, [name], **verdict.parts, **{kind: verdict.correct})
        for right in verdict.notes or ():
            self.notes.add(right)


def measure_sounds(sounds: Iterable[np.ndarray], scenes: Iterable[SoundScene]) -> SoundReport:
    """Judges recordings, float [samples] at 16 kHz each, by their own scenes."""
    return judged(SoundReport(), judge_sound, sounds, scenes)


def held_out_sound_scenes(count: int, seed: int) -> list[SoundScene]:
    """Draws scenes of sound whose combination training never sees."""
    return sample_sound_scenes(np.random.default_rng(seed), count, held_out=True)
