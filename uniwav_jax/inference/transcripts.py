"""A recognised text, and the formats of `uniwav transcribe`: plain, TSV, JSON, SubRip subtitles."""

import dataclasses
import json
from collections.abc import Callable, Sequence

from uniwav_jax.inference.words import Word

PAUSE = 0.6  # seconds; a longer gap between words ends a subtitle
WIDTH = 80  # characters of a subtitle: the usual two lines of 40


@dataclasses.dataclass(frozen=True)
class Transcript:
    """A recognised text; `str(transcript)` is the text.

    Attributes:
        text: the words with single spaces between them.
        words: the words with their times in seconds.
    """

    text: str
    words: list[Word]

    def __str__(self) -> str:
        return self.text


def plain(words: Sequence[Word]) -> str:
    """The words on one line."""
    return " ".join(word.text for word in words) + "\n"


def tsv(words: Sequence[Word]) -> str:
    """One line for each word: start and end in seconds, and the word."""
    lines = (f"{word.start:.2f}\t{word.end:.2f}\t{word.text}\n" for word in words)
    return "start\tend\tword\n" + "".join(lines)


def as_json(words: Sequence[Word]) -> str:
    """{"text", "words": [{"word", "start", "end"}]} with times in seconds."""
    rows = [
        {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
        for word in words
    ]
    document = {"text": plain(words).rstrip("\n"), "words": rows}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def srt(words: Sequence[Word]) -> str:
    """SubRip subtitles that end at pauses and after `WIDTH` characters."""
    groups: list[list[Word]] = []
    for word in words:
        group = groups[-1] if groups else None
        if (
            group is None
            or word.start - group[-1].end > PAUSE
            or len(plain([*group, word])) > WIDTH
        ):
            groups.append([word])
        else:
            group.append(word)
    return "".join(
        f"{number}\n{_clock(group[0].start)} --> {_clock(group[-1].end)}\n{plain(group)}\n"
        for number, group in enumerate(groups, start=1)
    )


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


FORMATS: dict[str, Callable[[Sequence[Word]], str]] = {
    "txt": plain,
    "tsv": tsv,
    "json": as_json,
    "srt": srt,
}
