"""The captions the shipped sound models understand, and what each one means.

    caption    := instrument ["plays"] [tempo] figure ["in"] [key] [tempo] | voice [tempo] "says" word [tempo]
    figure     := "rising scale" | "falling scale" | "arpeggio" | "chords" (and ascending, descending, broken chords)
    key        := tone "major" | tone "minor", before "scale" or behind "in"; C major where nothing is said
    tone       := "C" | "C sharp" | "C#" | "D flat" | "Db" | "D" | ... | "B"
    tempo      := "slow" | "medium" | "fast" (and slowly, moderately, quickly); medium where nothing is said
    voice      := "female voice" | "male voice" (and woman, man)
    word       := one of `WORDS`

Articles, case and punctuation make no difference, but "A minor" is a key.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from mmgen.errors import PromptError
from mmgen.scenes.captions import CaptionGrammar, Words, normalise, spellings

INSTRUMENTS: dict[str, int] = {
    "piano": 0,
    "harpsichord": 6,
    "music box": 10,
    "xylophone": 13,
    "organ": 16,
    "accordion": 21,
    "guitar": 24,
    "violin": 40,
    "trumpet": 56,
    "saxophone": 66,
    "clarinet": 71,
    "flute": 73,
}
"""Instruments, and their programs of General MIDI."""
FIGURES = ("rising scale", "falling scale", "arpeggio", "chords")
TONES = ("C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B")
MODES = ("major", "minor")
TEMPOS: dict[str, int] = {"slow": 100, "medium": 150, "fast": 250}
"""Notes, or chords, of a minute; words are said about as quickly."""
VOICES = ("female", "male")
WORDS: tuple[str, ...] = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("yes", "no", "hello", "goodbye", "left", "right", "stop", "music", "picture", "water"),
)

_INSTRUMENT_WORDS = {
    "grand piano": "piano",
    "cembalo": "harpsichord",
    "musical box": "music box",
    "marimba": "xylophone",
    "acoustic guitar": "guitar",
    "fiddle": "violin",
    "sax": "saxophone",
} | {name: name for name in INSTRUMENTS}
_FIGURE_WORDS = {
    "ascending scale": "rising scale",
    "scale upwards": "rising scale",
    "scale up": "rising scale",
    "descending scale": "falling scale",
    "scale downwards": "falling scale",
    "scale down": "falling scale",
    "arpeggios": "arpeggio",
    "broken chords": "arpeggio",
    "chord progression": "chords",
} | {name: name for name in FIGURES}
_TEMPO_WORDS = {"slowly": "slow", "moderate": "medium", "moderately": "medium", "quick": "fast", "quickly": "fast"}
_TEMPO_WORDS |= {word: word for word in TEMPOS}
_VOICE_WORDS = {"woman": "female", "man": "male"} | {f"{voice} voice": voice for voice in VOICES}
_FLAT_KEYS = {
    f"{TONES[place + 1]} flat {mode}": f"{tone} {mode}"
    for place, tone in enumerate(TONES)
    if tone.endswith("sharp")
    for mode in MODES
}
_KEY = re.compile(r"\b([a-g])(?:\s*(#|♯|-?sharp)|\s*(♭|-?flat)|(b))?[\s-]+(major|minor)\b")
_SAYS = re.compile(r"^(.+?)\s(?:says|say|saying|speaks)\s+(\S+)$")
_FILLERS = {"plays", "play", "playing", "played", "in", "on", "by", "at", "with", "tempo", "and"}


@dataclass(frozen=True)
class Music:
    """A figure that an instrument plays.

    Attributes:
        instrument: a key of `INSTRUMENTS`.
        figure: one of `FIGURES`.
        tone: the key's first, one of `TONES`.
        mode: one of `MODES`.
        tempo: a key of `TEMPOS`.
    """

    instrument: str
    figure: str = "rising scale"
    tone: str = "C"
    mode: str = "major"
    tempo: str = "medium"


@dataclass(frozen=True)
class Speech:
    """A word that a voice says.

    Attributes:
        voice: one of `VOICES`.
        word: one of `WORDS`.
        tempo: a key of `TEMPOS`.
    """

    voice: str
    word: str
    tempo: str = "medium"


SoundScene = Music | Speech


class SoundGrammar(CaptionGrammar[SoundScene]):
    """Captions of sound to scenes and back."""

    medium = "audio"

    def parse(self, prompt: str) -> SoundScene:
        normalise(prompt)  # which refuses what is no caption at all
        keys = [_tone_and_mode(*match) for match in _KEY.findall(prompt.lower())]
        if len(set(keys)) > 1:
            raise PromptError(prompt, f"{len(keys)} keys", "name one, such as C major")
        # Without its key a text is read anew: "A minor" looks like an article to it.
        words = normalise(_KEY.sub(" ", prompt.lower()) + " plays").split()[:-1]
        tempos = [_TEMPO_WORDS[word] for word in words if word in _TEMPO_WORDS]
        if len(tempos) > 1:
            raise PromptError(prompt, f"{len(tempos)} tempos", f"give one of {', '.join(TEMPOS)}")
        tempo = tempos[0] if tempos else "medium"
        rest = " ".join(word for word in words if word not in _TEMPO_WORDS and word not in _FILLERS)
        if spoken := _SAYS.match(rest):
            return _read_speech(prompt, spoken[1], spoken[2], tempo)
        figure, name = _take_figure(prompt, rest)
        tone, mode = keys[0] if keys else ("C", "major")
        return Music(_instrument(prompt, name), figure, tone, mode, tempo)

    def describe(self, scene: SoundScene) -> str:
        if isinstance(scene, Speech):
            return f"a {scene.voice} voice says {scene.word}, {scene.tempo}"
        key = f"{scene.tone} {scene.mode}"
        article = "an" if scene.instrument[0] in "aeiou" else "a"
        played = {"arpeggio": f"an arpeggio in {key}", "chords": f"chords in {key}"}.get(scene.figure)
        if played is None:
            played = f"a {scene.figure.replace('scale', f'{key} scale')}"
        return f"{article} {scene.instrument} plays {played}, {scene.tempo}"

    def words(self) -> Words:
        voices = spellings(VOICES, _VOICE_WORDS)
        return {
            "instruments": spellings(INSTRUMENTS, _INSTRUMENT_WORDS),
            "figures": spellings(FIGURES, _FIGURE_WORDS),
            "keys": spellings([f"{tone} {mode}" for tone in TONES for mode in MODES], _FLAT_KEYS),
            "tempos": spellings(TEMPOS, _TEMPO_WORDS),
            "voices": {f"{name} voice": [word for word in voices[name] if " " not in word] for name in VOICES},
            "words": spellings(WORDS, {}),
        }


def _tone_and_mode(letter: str, sharp: str, flat: str, short_flat: str, mode: str) -> tuple[str, str]:
    step = bool(sharp) - bool(flat or short_flat)
    return TONES[(TONES.index(letter.upper()) + step) % len(TONES)], mode


def _read_speech(prompt: str, voice: str, word: str, tempo: str) -> Speech:
    if voice not in _VOICE_WORDS:
        raise PromptError(prompt, f"unknown voice {voice!r}", f"choose from {', '.join(_VOICE_WORDS)}")
    if word not in WORDS:
        close = difflib.get_close_matches(word, WORDS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise PromptError(prompt, f"no voice says {word!r}", f"{hint}choose from {', '.join(WORDS)}")
    return Speech(_VOICE_WORDS[voice], word, tempo)


def _take_figure(prompt: str, text: str) -> tuple[str, str]:
    """The figure that a text names, and the text without it."""
    for phrase in sorted(_FIGURE_WORDS, key=len, reverse=True):
        before, found, after = f" {text} ".partition(f" {phrase} ")
        if found:
            return _FIGURE_WORDS[phrase], f"{before} {after}".strip()
    before, found, after = f" {text} ".partition(" scale ")
    if found:
        return "rising scale", f"{before} {after}".strip()
    choices = f"{', '.join(FIGURES)}, or a voice that says a word"
    raise PromptError(prompt, "it does not say what is played", f"add one of {choices}")


def _instrument(prompt: str, name: str) -> str:
    if name in _INSTRUMENT_WORDS:
        return _INSTRUMENT_WORDS[name]
    if not name:
        raise PromptError(prompt, "no instrument is named", f"choose from {', '.join(INSTRUMENTS)}")
    words = name.split()
    for count in range(len(words) - 1, 0, -1):
        if " ".join(words[:count]) in _INSTRUMENT_WORDS:
            rest = " ".join(words[count:])
            raise PromptError(prompt, f"{rest!r} is not understood", f"keys are {', '.join(TONES)}, major or minor")
    close = difflib.get_close_matches(name, _INSTRUMENT_WORDS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    reason = f"{name!r} is not an instrument or a phrase of the caption grammar"
    raise PromptError(prompt, reason, f"{hint}there are {', '.join(INSTRUMENTS)}")
