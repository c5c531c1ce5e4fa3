"""How near decoded speech is to the original: PESQ, STOI, log-mel distance, DNSMOS."""

import contextlib
import importlib.util

import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.features import LogMel

PACKAGES = {"pesq_wb": "pesq", "stoi": "pystoi", "dnsmos_ovrl": "speechmos"}


def missing() -> list[str]:
    """Measures that are left out because their package (extra [judges]) is not installed."""
    return [name for name, package in PACKAGES.items() if not importlib.util.find_spec(package)]


def scores(reference: np.ndarray, decoded: np.ndarray, *, sample_rate: int) -> dict[str, float]:
    """Measures of one clip.

    Args:
        reference: float [n] in [-1, 1].
        decoded: float [>= n]; what is beyond n is cut.
        sample_rate: 16000 for all measures; others than `mel_distance` are left out elsewhere.

    Returns:
        mel_distance: mean absolute difference of log-mel magnitudes, in nats; lower is better.
        pesq_wb: ITU-T P.862.2, 1 to 4.64; not there for clips without speech.
        stoi: 0 to 1.
        dnsmos_ovrl: overall quality of `decoded` alone, 1 to 5.
    """
    decoded = decoded[: len(reference)]
    mel = LogMel(FeaturesConfig(sample_rate=sample_rate, mel_high=sample_rate / 2))
    pair = np.asarray(mel.raw({}, jnp.asarray(np.stack([reference, decoded]))))
    result = {"mel_distance": float(np.abs(pair[0] - pair[1]).mean())}
    absent = missing()
    if sample_rate != 16000:
        return result
    if "pesq_wb" not in absent:
        import pesq

        with contextlib.suppress(pesq.NoUtterancesError):  # silence has no quality
            result["pesq_wb"] = float(pesq.pesq(sample_rate, reference, decoded, "wb"))
    if "stoi" not in absent:
        import pystoi

        result["stoi"] = float(pystoi.stoi(reference, decoded, sample_rate))
    if "dnsmos_ovrl" not in absent:
        from speechmos import dnsmos

        result["dnsmos_ovrl"] = float(dnsmos.run(decoded, sr=sample_rate)["ovrl_mos"])
    return result
