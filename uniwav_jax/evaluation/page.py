"""One HTML file to listen and to look: sounds, spectrograms, codes and labels of clips.

    page.write("page.html", title="My model", introduction="Two words, or a table in Markdown",
               clips=[("first", "what is said", [page.Sound("real", wave, 16000)])])

The file contains everything that it shows. It needs no network, and its policy forbids any.
"""

import base64
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TextIO

import matplotlib
import matplotlib.colors
import numpy as np
import soundfile
import soxr
from markdown_it import MarkdownIt
from PIL import Image

from uniwav_jax.errors import disk_errors

HERE = pathlib.Path(__file__)  # page.css and page.js are beside it
# Ogg Opus at 43 kbit/s: all browsers of 2025 and later play it (Safari since version 18.4). Ten
# seconds of speech at 16 kHz take 55 kB, against 210 kB in FLAC, with which a page of 100 sounds
# has 28 MB, and 83 kB in MP3, whose PESQ against the original is 4.13; that of Opus is 4.59, where
# equal files have 4.64. So what is heard is the model and not the format.
OPUS = {"format": "OGG", "subtype": "OPUS", "compression_level": 0.85}
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz; others are resampled
SHOWN = 16000  # Hz, sample rate of what spectrograms show: 0 to 8 kHz
WINDOW, HOP = 512, 160  # of spectrograms, in samples at SHOWN
COLUMNS = 8000  # of a picture at most; WebP has 16383. Longer sounds get a longer hop.
RANGE, FLOOR = 70.0, -120.0  # dB that the colours span, and of silence
LONG = 50  # characters of a note from which it is below the pictures, not beside them
HELP = (
    "Spectrograms show 0 to 8 kHz; their colours span 70 dB below the loudest point of a clip's"
    " sounds. Strips of colours below them, if there are any, are books of codes, the first on top;"
    " equal codes have equal colours. All sounds of a clip have the same time axis. A click on a"
    " picture plays from there."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Sound:
    """A sound of a clip.

    Attributes:
        title: its name, such as "real".
        wave: float32 [S] in [-1, 1]; what lies beyond is clipped. Without samples, only the title
            and the notes are shown.
        rate: sample rate in Hz.
        notes: {name: value} shown beside it, or below it if long, such as word errors or what a
            recogniser understood.
        codes: int [T, K] of K books, shown as coloured strips; None: none. Negative codes are grey.
        frame_rate: of the codes, in Hz.
        spans: (start, end, label) of phones or words, in seconds; those after its end are not
            shown.

    Raises:
        ValueError: the wave has several channels, or codes have no two axes or no frame rate.
    """

    title: str
    wave: np.ndarray
    rate: int
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    codes: np.ndarray | None = None
    frame_rate: float | None = None
    spans: Sequence[tuple[float, float, str]] = ()

    def __post_init__(self) -> None:
        if np.ndim(self.wave) != 1:
            raise ValueError(f"{self.title}: a wave is [S], not {np.shape(self.wave)}")
        if self.codes is not None and not (np.ndim(self.codes) == 2 and self.frame_rate):
            raise ValueError(f"{self.title}: codes are [T, K] and need a frame_rate")

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.wave) / self.rate


def write(
    path: str | os.PathLike[str],
    *,
    title: str,
    introduction: str = "",
    tables: Iterable[tuple[str, Sequence[Sequence[str]]]] = (),
    figures: Iterable[tuple[str, str]] = (),
    clips: Iterable[tuple[str, str, Sequence[Sound]]] = (),
) -> None:
    """Write the page; the file appears whole or not at all.

    Args:
        path: of the HTML file; its folder is created.
        title: of the page.
        introduction: text or Markdown, with tables. HTML in it is shown as text, images are not.
        tables: (heading, rows); the first row is the head, the first column names the rows.
        figures: (heading, HTML as it is), such as plots (`plots.plot`) or pictures (`image`).
        clips: (heading, text, sounds). Taken in turn: an iterator needs the memory of one clip.

    Raises:
        UserError: the disk refuses.
    """
    target = pathlib.Path(path)
    draft = target.with_name(f".{target.name}.part")
    with disk_errors(str(target.parent)):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # File names that are not UTF-8 have characters that cannot be encoded.
            with open(draft, "w", encoding="utf-8", errors="xmlcharrefreplace") as file:
                _page(file, title, introduction, tables, figures, clips)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def _page(
    file: TextIO,
    title: str,
    introduction: str,
    tables: Iterable[tuple[str, Sequence[Sequence[str]]]],
    figures: Iterable[tuple[str, str]],
    clips: Iterable[tuple[str, str, Sequence[Sound]]],
) -> None:
    style, script = (HERE.with_suffix(suffix).read_text("utf-8") for suffix in (".css", ".js"))
    # Nothing is loaded but what the file contains, and no script runs but ours, whatever a
    # transcript says.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'"
    )
    file.write(
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n"
    )
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    file.write(_scrolls(markdown.render(introduction), "Introduction") if introduction else "")
    for heading, rows in tables:
        file.write(f"<h2>{escape(heading)}</h2>\n{_scrolls(table(rows), heading)}")
    for heading, content in figures:
        file.write(f'<h2>{escape(heading)}</h2>\n<div class="figures">\n{content}</div>\n')
    for number, (heading, text, sounds) in enumerate(clips):
        if not number:
            file.write(
                f'<p class="quiet">{HELP}</p>\n<p class="quiet" id="unplayed" hidden>'
                "This browser does not play Ogg Opus; Safari does from version 18.4.</p>\n"
            )
        file.write(_clip(heading, text, sounds))
    file.write(f"</main>\n<script>{script}</script>\n</body>\n</html>\n")


def _scrolls(content: str, label: str) -> str:
    """Content that may be wider than a phone and is scrolled with the keyboard too."""
    named = f'role="region" tabindex="0" aria-label="{escape(label)}"'
    return f'<div class="wide" {named}>\n{content}</div>\n'


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts as HTML; the first row is the head, the first column names the rows."""
    lines = []
    for number, row in enumerate(rows):
        cells = [
            f'<th scope="{"row" if number else "col"}">{escape(cell)}</th>'
            if not number or not column
            else f"<td>{escape(cell)}</td>"
            for column, cell in enumerate(map(str, row))
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>\n")
    return f"<table>\n{''.join(lines)}</table>\n"


def _clip(heading: str, text: str, sounds: Sequence[Sound]) -> str:
    pictures = [decibels(sound.wave, sound.rate) for sound in sounds]
    loudest = max([FLOOR + RANGE, *(picture.max(initial=FLOOR) for picture in pictures)])
    longest = max([0.1, *(sound.seconds for sound in sounds)])
    detailed = any(len(sound.spans) or sound.codes is not None for sound in sounds)
    # At least so wide, so that labels of phones can be read; narrow screens scroll.
    style = f"--longest:{longest:.3f};--least:{'14rem' if detailed else '3rem'}"
    figures = "".join(
        _sound(sound, picture - loudest, heading, longest)
        for sound, picture in zip(sounds, pictures, strict=True)
    )
    return (
        f'<section>\n<h2 dir="auto">{escape(heading)}</h2>\n<p dir="auto">{escape(text)}</p>\n'
        f'<div class="wide sounds" style="{style}" role="region" tabindex="0"'
        f' aria-label="{escape(f"Sounds of {heading}")}">\n{figures}</div>\n</section>\n'
    )


def _sound(sound: Sound, relative_FxT: np.ndarray, clip: str, longest: float) -> str:
    """A figure: title, player and notes, and beside them the pictures."""
    name = escape(f"{sound.title}, {clip}")
    notes = {"length": f"{sound.seconds:.2f} s", **sound.notes}
    if not np.isfinite(sound.wave).all():
        notes["damage"] = "the wave has values that are not finite; they are silent here"
    long = {key: value for key, value in notes.items() if len(str(value)) > LONG}
    short = {key: value for key, value in notes.items() if key not in long}
    player = track = ""
    if len(sound.wave):
        # "none": phones load few sounds at once; all of them are in memory already.
        player = (
            f'<audio controls preload="none" aria-label="{name}"'
            f' src="{_data("audio/ogg", _opus(sound.wave, sound.rate))}"></audio>'
        )
        levels = np.clip(1 + relative_FxT[::-1] / RANGE, 0, 1)  # high frequencies on top
        picture = Image.fromarray(np.round(255 * levels).astype(np.uint8))
        picture.putpalette(_palette().tobytes())
        track = image(picture, f"Spectrogram of {name}", "spectrogram", "WEBP", quality=50)
        if sound.codes is not None and len(sound.codes):
            strip = Image.fromarray(colours(np.asarray(sound.codes)).swapaxes(0, 1))
            frames, books = sound.codes.shape
            size = f"width:{100 * frames / sound.frame_rate / sound.seconds:.2f}%;"
            size += f"height:{books * 0.6:.1f}rem"
            label = f"Codes of {name}: books: {books}, frames per second: {sound.frame_rate:g}"
            track += image(strip, label, "codes", "PNG", style=size)
        track += _labels(sound) + _axis(sound.seconds, longest)
        width = f"width:calc({sound.seconds:.3f} * var(--second))"
        track = f'<div class="track" style="{width}">\n{track}<i class="now"></i></div>'
    return (
        f'<figure>\n<figcaption><h3 dir="auto">{escape(sound.title)}</h3>{player}'
        f"{_notes(short)}</figcaption>\n{track}\n{_notes(long, 'long')}</figure>\n"
    )


def _notes(notes: Mapping[str, str], kind: str = "short") -> str:
    items = "".join(
        f'<dt>{escape(str(key))}</dt><dd dir="auto">{escape(str(value))}</dd>'
        for key, value in notes.items()
    )
    return f'<dl class="{kind}">{items}</dl>\n' if items else ""


def _labels(sound: Sound) -> str:
    spans = [span for span in sound.spans if span[0] < sound.seconds]  # of a clip that was cut
    if not spans:
        return ""
    lengths = [end - start for start, end, _ in spans]
    tight = " tight" if np.median(lengths) < 0.2 else ""  # labels in two lines by turns
    items = "".join(
        f'<li style="left:{100 * start / sound.seconds:.2f}%;'
        f'width:{100 * (end - start) / sound.seconds:.2f}%"><span>{escape(label)}</span></li>'
        for start, end, label in spans
    )
    return f'<ol class="labels{tight}" aria-label="Labels">{items}</ol>\n'


def _axis(seconds: float, longest: float) -> str:
    steps = ((0.1, 1.5), (0.5, 7.5), (1, 60), (10, 600))
    step = next((step for step, most in steps if longest <= most), 60)
    ticks = "".join(
        f'<span style="left:{100 * second / seconds:.2f}%">{second:g} s</span>'
        for second in np.arange(0, seconds - step / 4, step)
    )
    return f'<div class="axis" aria-hidden="true">{ticks}</div>\n'


def decibels(wave: np.ndarray, rate: int) -> np.ndarray:
    """The spectrogram of a wave.

    In NumPy: JAX would compile `audio.stft.transform` anew for each length.

    Args:
        wave: float [S] in [-1, 1].
        rate: sample rate in Hz.

    Returns:
        float32 [F, T] from 0 to 8 kHz; a sinusoid of amplitude 1 has 0 dB. T = 1 + floor(S / hop)
        with S at 16 kHz, and 0 of no samples; column t is centred on sample t * hop.
    """
    wave = _finite(wave)
    if not len(wave):
        return np.zeros((WINDOW // 2 + 1, 0), np.float32)
    wave = wave if rate == SHOWN else soxr.resample(wave, rate, SHOWN)
    hop = max(HOP, -(-len(wave) // COLUMNS))
    padded = np.pad(wave, WINDOW // 2)
    window_W = np.hanning(WINDOW + 1)[:-1].astype(np.float32)  # periodic; audio.stft imports JAX
    cut_TxW = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::hop] * window_W
    power_TxF = np.square(np.abs(np.fft.rfft(cut_TxW)) / (window_W.sum() / 2))
    return 10 * np.log10(power_TxF.T + 10 ** (FLOOR / 10)).astype(np.float32)


def _opus(wave: np.ndarray, rate: int) -> bytes:
    wave = _finite(wave)
    if rate not in OPUS_RATES:
        known = next((known for known in OPUS_RATES if known > rate), OPUS_RATES[-1])
        wave, rate = soxr.resample(wave, rate, known), known
    content = io.BytesIO()
    soundfile.write(content, np.clip(wave, -1.0, 1.0), rate, **OPUS)
    return content.getvalue()


def _finite(wave: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(wave, np.float32), posinf=0.0, neginf=0.0)


def _palette() -> np.ndarray:
    """Red, green and blue of 256 levels, uint8 [256, 3]; dark, and brighter with the level."""
    return np.round(255 * matplotlib.colormaps["magma"](np.arange(256))[:, :3]).astype(np.uint8)


def colours(codes_TxK: np.ndarray) -> np.ndarray:
    """Colours of codes, uint8 [T, K, 3]: neighbouring codes differ much in hue and brightness.

    Args:
        codes_TxK: integers; negative ones are grey.
    """
    hue = codes_TxK * 0.6180339887 % 1
    bright = 0.45 + 0.55 * (codes_TxK * 0.7548776662 % 1)
    rgb = matplotlib.colors.hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.6), bright], -1))
    rgb[codes_TxK < 0] = 0.5
    return np.round(255 * rgb).astype(np.uint8)


def image(
    picture: Image.Image, text: str, kind: str, container: str, *, style: str = "", **options: int
) -> str:
    """A picture as HTML.

    Args:
        picture: colours or palette.
        text: description for those who do not see it, escaped.
        kind: class in page.css.
        container: "WEBP" or "PNG".
        style: CSS of this picture.
        options: of the container.
    """
    content = io.BytesIO()
    picture.save(content, container, **options)
    source = _data(f"image/{container.lower()}", content.getvalue())
    return f'<img class="{kind}" alt="{text}" style="{style}" decoding="async" src="{source}">\n'


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
