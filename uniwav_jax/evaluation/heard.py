"""Judged speech of the first clips of a manifest, kept for a page to listen to."""

from collections.abc import Sequence
from typing import Any

from uniwav_jax.evaluation import codec_table, page
from uniwav_jax.evaluation.page import Sound


class Heard:
    """Names, texts and sounds of some clips.

    Args:
        most: number of clips, whose waves stay in memory.
    """

    def __init__(self, most: int = 20) -> None:
        self._most = most
        self._clips: list[tuple[str, str, list[Sound]]] = []

    def begin(self, names: Sequence[str], texts: Sequence[str]) -> None:
        """Take the clips' names and texts."""
        short = codec_table.short(list(names))
        for name, text in list(zip(short, texts, strict=True))[: max(self._most, 0)]:
            self._clips.append((name, text, []))

    def add(self, sounds: Sequence[Sound]) -> None:
        """Take one sound of each clip; those of further clips are not kept."""
        for (*_, kept), sound in zip(self._clips, sounds, strict=False):
            kept.append(sound)

    def write(self, path: str, *, title: str, table: str) -> None:
        """Write the page, with a table in Markdown at its top.

        Raises:
            UserError: the disk refuses.
        """
        page.write(path, title=title, introduction=table, clips=self._clips)


def notes(score: dict[str, Any]) -> dict[str, str]:
    """The scores of a clip as a page shows them."""
    found = {}
    if "errors" in score:
        substitutions, deletions, insertions, hits = score["errors"]
        words = substitutions + deletions + hits
        found["word errors"] = f"{substitutions + deletions + insertions} in {words} words"
        found["understood"] = score["transcript"]
    for name, title in codec_table.TITLES.items():
        if name in score:
            found[title] = f"{score[name]:.3f}"
    if "loudness_db" in score:
        found["loudness"] = f"{score['loudness_db']:.1f} dB from the prompt"
    return found
