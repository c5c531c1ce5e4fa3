"""Draws pictures of samples."""

import numpy as np
from etils import epath


def spectrogram_figure(panels: dict[str, np.ndarray], path: epath.Path, *, seconds: float) -> None:
    """Draw features to a PNG file, one below the other on the same colour scale.

    Args:
        panels: {title: float [T, C]}; the first one sets the colour scale.
        path: the PNG file.
        seconds: length of the clip.
    """
    from matplotlib.figure import Figure  # unlike pyplot it has no global state and no display

    figure = Figure(figsize=(9, 2.2 * len(panels)), layout="constrained")
    low, high = np.percentile(next(iter(panels.values())), (1, 99))
    for index, (name, x_TxC) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, index + 1)
        axes.imshow(
            x_TxC.T,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, x_TxC.shape[1]),
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylabel("channel")
    axes.set_xlabel("seconds")
    with path.open("wb") as file:
        figure.savefig(file, format="png", dpi=80)
