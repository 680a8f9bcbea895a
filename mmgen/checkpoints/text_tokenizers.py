"""Text tokenizers from the files that hold them whole; no code, and no setting of their folder, is read with them."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Steps
from transformers import PreTrainedTokenizerFast

from mmgen.errors import WeightsError
from tokenizers import AddedToken, Regex, Tokenizer


def load_text_tokenizer(file: Path, needed: Sequence[str]) -> PreTrainedTokenizerFast:
    """The text tokenizer of a `tokenizer.json`.

    Args:
        file: that file.
        needed: words it must have.

    Raises:
        WeightsError: it cannot be read, or lacks a word.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing more particular
        raise WeightsError(file, f"is no text tokenizer ({error})", "fetch it again") from error
    return checked(file, tokenizer, needed)


def checked(file: Path, tokenizer: Tokenizer, needed: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that has every word that is needed.

    Raises:
        WeightsError: it lacks one.
    """
    missing = [word for word in needed if tokenizer.token_to_id(word) is None]
    if missing:
        raise WeightsError(file, f"has no word {missing[0]!r}", "give the text tokenizer of this model")
    mark_special(tokenizer, needed)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def mark_special(tokenizer: Tokenizer, words: Sequence[str]) -> None:
    """Says of words of the vocabulary that they are no text; files need not say it of all."""
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in words])


def read_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Words of a text that a user wrote; special ones are not looked for, and their letters read as all others."""
    return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


def read_line(tokenizer: PreTrainedTokenizerFast, line: str, special: Sequence[str], text: str) -> list[int]:
    """Words of a line around a text that a user wrote.

    Args:
        tokenizer: the text tokenizer.
        line: has "{text}" where the text stands.
        special: words of the line that are no text, where the vocabulary has them; in the text they are.
        text: see `read_text`.
    """
    known = {word: number for word in special if (number := tokenizer.backend_tokenizer.token_to_id(word)) is not None}
    parts = re.split(f"({'|'.join(map(re.escape, known))})", line)
    words = ([known[part]] if part in known else read_text(tokenizer, part.replace("{text}", text)) for part in parts)
    return [word for part in words for word in part]


def from_tiktoken(file: Path, pattern: str, special: Sequence[str]) -> Tokenizer:
    """A byte-pair tokenizer from a file of tiktoken: on every line a word's bytes in base 64, and its rank.

    Ranks are both ids and priorities. tiktoken joins, again and again, the two neighbours that make the word of the
    lowest rank; here the pairs that make it are listed, as tokenizers wants them.

    Args:
        file: ends in `.tiktoken`.
        pattern: regular expression of the pieces that are not joined.
        special: words of their own, which follow the others in this order.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        lines = [line.split() for line in file.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(word, validate=True): int(rank) for word, rank in lines}
    except (OSError, ValueError) as error:
        raise WeightsError(file, f"is no file of tiktoken ({error})", "fetch it again") from error
    spelled = {word: "".join(map(_LETTERS.__getitem__, word)) for word in ranks}
    pairs = [
        (spelled[word[:cut]], spelled[word[cut:]])
        for word in sorted(ranks, key=ranks.__getitem__)
        for cut in range(1, len(word))
        if word[:cut] in ranks and word[cut:] in ranks
    ]
    tokenizer = Tokenizer(BPE({spelled[word]: rank for word, rank in ranks.items()}, pairs))
    tokenizer.normalizer = NFC()
    tokenizer.pre_tokenizer = Steps([Split(Regex(pattern), "isolated"), ByteLevel(False, use_regex=False)])
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in special])
    return tokenizer


def _letters() -> list[str]:
    """The letter that stands for each byte: itself where it can be printed, else one of those after 255."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printed else next(others)) for byte in range(256)]


_LETTERS = _letters()
