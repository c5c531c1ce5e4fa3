"""The results of `codec_measures` as tables in Markdown, which are also what is printed."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

ORIGINAL = "original recordings"
TITLES = {
    "pesq_wb": "PESQ-WB",
    "stoi": "STOI",
    "mel_distance": "mel distance",
    "word_error": "word error",
    "speaker_cosine": "speaker cosine",
    "dnsmos_ovrl": "DNSMOS OVRL",
    "flow_loss": "flow loss",
    "flow_loss_of_zero": "of zero output",
    "pnmi_other": "PNMI, clusters of other speakers",
    "pnmi_same": "PNMI, of the same clips",
    "pnmi_encoder_other": "encoder's best layer, of other speakers",
    "pnmi_encoder_same": "of the same clips",
}
# Columns of the overview: part, condition, measure, title.
OVERVIEW = (
    ("reconstruction", "noise 0", "pesq_wb", "PESQ-WB"),
    ("reconstruction", "noise 0", "stoi", "STOI"),
    ("reconstruction", "noise 0", "word_error", "WER"),
    ("reconstruction", "noise 0.3", "pesq_wb", "0.3 s: PESQ"),
    ("reconstruction", "noise 0.3", "word_error", "0.3 s: WER"),
    ("generation", None, "word_error", "gen. WER"),
    ("generation", None, "stoi", "gen. STOI"),
    ("generation", None, "flow_loss", "flow loss"),
    ("representation", None, "pnmi_other", "PNMI"),
    ("representation", None, "pnmi_same", "PNMI same"),
)


def render(document: dict[str, Any]) -> str:
    """An overview with one row per codec, and a table of each measure with 95 % intervals.

    Args:
        document: the result of `codec_measures.evaluate`.
    """
    systems, original = document["systems"], document.get("original", {})
    names = dict(zip(systems, short(list(systems)), strict=True))
    columns = [
        column for column in OVERVIEW if any(_mean(row, *column[:3]) for row in systems.values())
    ]
    lines = [[names[n], *(cell(_mean(row, *c[:3])) for c in columns)] for n, row in systems.items()]
    if original:
        known = {("reconstruction", "word_error"): original.get("word_error")}
        first = [cell(known.get((c[0], c[2])) if c[1] == "noise 0" else None) for c in columns]
        lines = [[ORIGINAL, *first], *lines]
    parts = [table(["codec", *(column[3] for column in columns)], lines)]

    rows = [("", original)] if original else []
    rows = [((ORIGINAL, "-"), means) for _, means in rows]
    for name, row in systems.items():
        for condition, means in row.get("reconstruction", {}).items():
            rows.append(((names[name], condition), means))
    parts.append(_details("Reconstruction", ["codec", "latents"], rows))
    for part in ("generation", "representation"):
        rows = [((names[n],), row[part]) for n, row in systems.items() if part in row]
        parts.append(_details(part.capitalize(), ["codec"], rows))
    parts.append(
        "Means over clips with 95 % intervals by bootstrap; where a measure could not score all"
        " clips, the number that it scored follows. Noise is in standard deviations of each"
        " channel."
    )
    parts += [f"Left out: {line}" for line in document["notes"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(document: dict[str, Any], path: str) -> None:
    """Write the document as JSON and its tables beside it, as the same name with .md.

    Args:
        document: the result of `codec_measures.evaluate`.
        path: of the JSON file; folders are created.
    """
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(render(document), encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
        for line in lines
    )


def short(names: Sequence[str]) -> list[str]:
    """The last component of each path, or the whole where two would be the same."""
    last = [pathlib.PurePath(name).name for name in names]
    return [end if last.count(end) == 1 else name for end, name in zip(last, names)]


def _details(title: str, head: list[str], rows: Sequence[tuple]) -> str:
    if not rows:
        return ""
    found = dict.fromkeys(name for _, means in rows for name in means)
    columns = [name for name in TITLES if name in found]
    lines = [
        [*names, *(cell(means.get(name), interval=True) for name in columns)]
        for names, means in rows
    ]
    return f"{title}:\n\n" + table([*head, *(TITLES[name] for name in columns)], lines)


def _mean(row: dict[str, Any], part: str, condition: str | None, name: str) -> dict | None:
    means = row.get(part, {})
    if condition is not None:
        means = means.get(condition, {})
    return means.get(name)


def cell(mean: dict[str, Any] | None, *, interval: bool = False) -> str:
    """A mean as text, with its interval on request; "-" if there is none."""
    if mean is None or mean["mean"] is None:
        return "-"
    text = f"{mean['mean']:.3f}"
    if interval and mean["low"] is not None:
        text += f" ({mean['low']:.3f} to {mean['high']:.3f})"
    if interval and mean["clips"] < mean.get("of", 0):
        text += f" {mean['clips']}"
    return text
