"""Lists of clips and prompts, with which speech synthesis is judged.

The two protocols of the public systems:

    continuation   the first 3 s of a clip are the prompt, and the rest is spoken
    cross          a clip is spoken with the first 3 s of another clip of its speaker as the prompt

A list is a manifest with the columns `PROMPT_COLUMNS`, and with the last two only where the clips
have phones. The prompt of a continuation is the clip itself.
"""

import os
import pathlib
import tempfile

from uniwav_jax.data import build, manifest
from uniwav_jax.data.phone_labels import COLUMNS
from uniwav_jax.errors import UserError

PROTOCOLS = ("continuation", "cross")
PROMPT = 3.0  # seconds of a prompt
PROMPT_COLUMNS = ("prompt", "prompt_text", "prompt_phones", "prompt_phone_ends")


def write(
    source: str,
    out: str,
    *,
    protocol: str,
    min_seconds: float = 4.0,
    max_seconds: float = 10.0,
) -> int:
    """Write the list of a manifest's clips, in their order; the same manifest gives the same list.

    Of a cross list, the prompt of a clip is the speaker's next clip of at least `PROMPT` seconds,
    and after the last one the first.

    Args:
        source: manifest of files with texts, and for a cross list with speakers.
        out: list to write.
        protocol: one of `PROTOCOLS`.
        min_seconds, max_seconds: of the clips.

    Returns:
        The number of clips in the list.

    Raises:
        UserError: there is no such protocol, no clip fits, or the manifest is packed.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"the protocol must be one of {', '.join(PROTOCOLS)}; got {protocol!r}")
    if not PROMPT < min_seconds <= max_seconds:
        raise UserError(
            f"the clips must be longer than the prompt of {PROMPT:g} s, and the shortest not longer"
            f" than the longest; got {min_seconds:g} to {max_seconds:g} s"
        )
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest.load(source, cache=cache)
    if corpus.packed:
        raise UserError(f"{source} is packed; make the list of the manifest before it is packed")
    target = pathlib.Path(out)
    folder = os.path.join(target.absolute().parent, "")
    paths = [os.path.abspath(corpus.path(row)) for row in range(len(corpus))]
    seconds_N = corpus.samples / corpus.sample_rate
    by_speaker: dict[str, list[int]] = {}
    for row in range(len(corpus)):
        if seconds_N[row] >= PROMPT:
            by_speaker.setdefault(corpus.label(row, "speaker"), []).append(row)
    by_speaker.pop("", None)  # not known
    aligned = set(COLUMNS) <= set(corpus.more)
    labels = ("text", *(COLUMNS if aligned else ()))  # of the prompt
    prompt_columns = PROMPT_COLUMNS[: len(labels) + 1]
    more = ("speaker", "text", *(name for name in corpus.more if name not in prompt_columns))
    rows, others = [], {"outside the lengths": 0, "without text": 0, "without a prompt": 0}
    for row, path in enumerate(paths):
        prompt = row
        if protocol == "cross":
            same = by_speaker.get(corpus.label(row, "speaker"), [])
            prompt = next((r for r in (*(r for r in same if r > row), *same) if r != row), None)
        if not min_seconds <= seconds_N[row] <= max_seconds:
            others["outside the lengths"] += 1
        elif not corpus.label(row, "text"):
            others["without text"] += 1
        elif prompt is None:
            others["without a prompt"] += 1
        else:
            rows.append(
                (
                    path.removeprefix(folder),
                    corpus.samples[row],
                    corpus.sample_rate[row],
                    *(corpus.label(row, name) for name in more),
                    paths[prompt].removeprefix(folder),
                    *(corpus.label(prompt, name) for name in labels),
                )
            )
    left_out = ", ".join(f"{count} {reason}" for reason, count in others.items() if count)
    if not rows:
        raise UserError(
            f"{source}: no clip of {min_seconds:g} to {max_seconds:g} s fits ({left_out}); a cross"
            " list needs two clips of a speaker"
        )
    build.write_table(target, (*manifest.COLUMNS, *more, *prompt_columns), rows)
    print(f"{out}: {len(rows)} of {len(corpus)} clips" + (f" ({left_out})" if left_out else ""))
    return len(rows)
