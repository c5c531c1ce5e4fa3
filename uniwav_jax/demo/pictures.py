"""Pictures of the page of `uniwav demo`: a spectrogram with what belongs to it on one time axis."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure

from uniwav_jax.evaluation import page

WIDTH, PER_SECOND = 11.0, 2.2  # inches at least, and of a second with labels, which must fit in
DPI = 100
TIGHT = 0.12  # seconds of labels whose texts are in two lines by turns
HIGH = 8  # kHz, the end of `page.decibels`
Spans = Sequence[tuple[float, float, str]]


def timeline(
    wave: np.ndarray,
    rate: int,
    *,
    strips: Mapping[str, np.ndarray] | None = None,
    frame_rate: float = 1.0,
    spans: Mapping[str, Spans] | None = None,
) -> bytes:
    """A PNG file: the spectrogram, and rows below it.

    Args:
        wave: float [S] in [-1, 1], of any length but 0.
        rate: sample rate in Hz.
        strips: {label of a row: colours of its frames, float [T, 3] in [0, 1]}.
        frame_rate: of the strips, in Hz.
        spans: {label of a row: (start, end, text) in seconds}.
    """
    strips, spans = strips or {}, spans or {}
    seconds = len(wave) / rate
    width = max(WIDTH, PER_SECOND * seconds) if spans else WIDTH
    heights = [2.0] + [0.3] * len(strips) + [0.4] * len(spans)
    figure = Figure(figsize=(width, 0.5 + sum(heights)), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.0)
    options = {"sharex": True, "squeeze": False, "height_ratios": heights}
    top, *below = figure.subplots(len(heights), 1, **options).ravel()
    levels_FxT = page.decibels(wave, rate)
    loudest = levels_FxT.max()
    top.imshow(
        levels_FxT,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=loudest - page.RANGE,
        vmax=loudest,
        extent=(0, seconds, 0, HIGH),
    )
    top.set_ylabel("kHz")
    for axes, (label, colours_Tx3) in zip(below, strips.items()):
        end = len(colours_Tx3) / frame_rate
        axes.imshow(
            colours_Tx3[None], aspect="auto", interpolation="nearest", extent=(0, end, 0, 1)
        )
        _row(axes, label)
    for axes, (label, row) in zip(below[len(strips) :], spans.items()):
        tight = np.median([end - start for start, end, _ in row]) < TIGHT
        for number, (start, end, text) in enumerate(row):
            axes.vlines((start, end), 0, 1, color="0.8", linewidth=0.8)
            height = (0.7, 0.25)[number % 2] if tight else 0.46
            style = {"ha": "center", "va": "center", "fontsize": 8, "parse_math": False}
            axes.text((start + end) / 2, height, text, **style)
        _row(axes, label)
    for axes in (top, *below)[:-1]:
        axes.tick_params(bottom=False)
    top.set_xlim(0, seconds)
    (top, *below)[-1].set_xlabel("seconds")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _row(axes: object, label: str) -> None:
    axes.set_ylabel(label, rotation=0, ha="right", va="center")
    axes.set_yticks([])
    axes.set_ylim(0, 1)


def html(png: bytes, text: str) -> str:
    """An image that contains its file; one that is wider than the page is scrolled.

    Args:
        png: the file.
        text: a description, for those who do not see it.
    """
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    wide = int.from_bytes(png[16:20], "big") > WIDTH * DPI  # the width of the PNG file
    size = "max-width:none" if wide else "width:100%"
    image = f'<img alt="{escape(text)}" src="{source}" style="{size};border-radius:4px">'
    return f'<div style="overflow-x:auto" tabindex="0">{image}</div>'


def components(states_LxTxD: np.ndarray) -> np.ndarray:
    """Colours of states: frames of a layer with similar states have similar colours.

    Red, green and blue are the first three principal components of a layer, each scaled to the same
    variance. Those of each layer are rotated to those of the layer before it, because their order
    and their signs are arbitrary.

    Args:
        states_LxTxD: states of L layers.

    Returns:
        float [L, T, 3] in [0, 1]; components beyond T or D are 0.5.
    """
    found: list[np.ndarray] = []
    for states_TxD in states_LxTxD.astype(np.float64):
        centred_TxD = states_TxD - states_TxD.mean(0)
        _, axes_DxD = np.linalg.eigh(centred_TxD.T @ centred_TxD)  # by rising variance
        scores_TxK = centred_TxD @ axes_DxD[:, :-4:-1]
        scores_TxK /= np.maximum(np.linalg.norm(scores_TxK, axis=0), 1e-6)
        scores_Tx3 = np.pad(scores_TxK, ((0, 0), (0, 3 - scores_TxK.shape[1])))
        if found:
            left, _, right = np.linalg.svd(scores_Tx3.T @ found[-1])
            scores_Tx3 = scores_Tx3 @ left @ right
        found.append(scores_Tx3)
    deviations = np.stack(found) * np.sqrt(states_LxTxD.shape[1])
    return np.clip(0.5 + deviations / 5, 0, 1)  # 2.5 standard deviations on each side
