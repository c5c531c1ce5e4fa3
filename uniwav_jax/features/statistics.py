"""Mean and standard deviation of each feature channel, measured once on training speech."""

import json
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.codec import files
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.errors import UserError
from uniwav_jax.features.surface import SurfaceFeatures
from uniwav_jax.types import PyTree

MIN_STD = 1e-3  # smallest standard deviation, so that constant channels are not amplified


def measure(
    features: SurfaceFeatures, batches: Iterator[dict[str, np.ndarray]], seconds: float
) -> dict[str, np.ndarray]:
    """Measure {"mean", "std"}, float32 [C], on at least `seconds` seconds of audio without padding.

    "std" is the standard deviation divided by `features.scale`: frames are divided by it.

    Args:
        features: the surface features, of which only `raw` is used.
        batches: items of `data.pipeline.make_loader`: "audio" int16 [B, S] or "latents" float16
            [B, T, C], "samples" int32 [B].
        seconds: amount of audio after which the measurement stops; it also stops after 200 batches.

    Raises:
        UserError: the first two hundred batches had no audio.
    """

    @jax.jit
    def sums(
        weights: PyTree, audio: jax.Array | None, latents: jax.Array | None, samples_B: jax.Array
    ) -> tuple[jax.Array, ...]:
        if latents is None:
            x_BxTxC = features.raw(weights, audio)
        else:
            x_BxTxC = latents.astype(jnp.float32)
        real = jnp.arange(x_BxTxC.shape[1]) < features.output_length(samples_B)[:, None]
        x_BxTxC = jnp.where(real[..., None], x_BxTxC, 0.0)
        return real.sum(), x_BxTxC.sum((0, 1)), (x_BxTxC**2).sum((0, 1))

    count, total, squares, measured = 0.0, 0.0, 0.0, 0.0
    for index, item in enumerate(batches):
        n, s, q = (
            np.asarray(a, np.float64)
            for a in sums(features.weights, item.get("audio"), item.get("latents"), item["samples"])
        )
        count, total, squares = count + n, total + s, squares + q
        measured += item["samples"].sum() / features.sample_rate
        if measured >= seconds or index == 199:
            break
    if not count:
        raise UserError("feature statistics: no audio could be read; run 'uniwav data check'")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, MIN_STD**2))
    std = np.broadcast_to(std / features.scale, mean.shape)
    return {"mean": mean.astype(np.float32), "std": std.astype(np.float32)}


def save(path: str, params: dict[str, np.ndarray], config: FeaturesConfig) -> None:
    """Write the statistics and the features' configuration as JSON."""
    document = {"features": _identity(config), **{k: v.tolist() for k, v in params.items()}}
    pathlib.Path(path).write_text(json.dumps(document))


def load(path: str, config: FeaturesConfig) -> dict[str, np.ndarray]:
    """Read statistics that `save` wrote: {"mean", "std"}, float32 [C].

    Raises:
        UserError: the file is missing or damaged, or its statistics are of other features.
    """
    try:
        document = json.loads(pathlib.Path(path).read_text())
        params = {name: np.asarray(document[name], np.float32) for name in ("mean", "std")}
        made_with = document["features"]
    except FileNotFoundError:
        raise UserError(
            f"config.features.stats: {path} does not exist; create it with 'uniwav data stats',"
            " or leave the field empty to measure at start-up"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"config.features.stats: {path} is not a file of 'uniwav data stats' ({error!r})"
        ) from error
    if made_with != _identity(config):
        raise UserError(
            f"config.features.stats: {path} was measured with {made_with}, but config.features is"
            f" {_identity(config)}; measure again with 'uniwav data stats'"
        )
    return params


def _identity(config: FeaturesConfig) -> dict[str, str | int | float]:
    """The settings on which statistics depend."""
    if config.kind == "codec":
        return {"kind": config.kind, "codec": files.digest(config.codec)}
    fields = ("kind", "sample_rate", "hop", "mel_bands", "window", "mel_low", "mel_high")
    return {name: getattr(config, name) for name in fields}
