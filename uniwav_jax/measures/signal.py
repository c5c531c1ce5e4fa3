"""Quality of decoded speech against the original: PESQ, STOI, log-mel distance, DNSMOS."""

import dataclasses
import importlib.util
import math
import warnings
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import FeaturesConfig
from uniwav_jax.features import LogMel
from uniwav_jax.measures import bootstrap

PACKAGES = {"pesq_wb": "pesq", "stoi": "pystoi", "dnsmos_ovrl": "speechmos"}
SAMPLE_RATE = 16000  # Hz; the only rate at which the measures of PACKAGES are computed
DNSMOS_SAMPLES = int(9.01 * SAMPLE_RATE)  # input of DNSMOS's network, rounded as in speechmos
PESQ_SAMPLES = 20 * SAMPLE_RATE  # longest piece
SILENCE = 2.0**-15  # largest peak-to-peak difference of silence: one step of 16-bit audio


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of a measure over the clips that it could score.

    Attributes:
        mean: None if the measure could score no clip.
        low, high: 95 % interval by bootstrap over the scored clips; None for fewer than two.
        clips: number of scored clips.
        of: number of all clips.
    """

    mean: float | None
    low: float | None
    high: float | None
    clips: int
    of: int

    def __str__(self) -> str:
        covers = f"{self.clips} of {self.of} clips"
        if self.mean is None:
            return f"      -  ({covers})"
        if self.low is None:
            return f"{self.mean:7.3f}  ({covers})"
        return f"{self.mean:7.3f}  ({self.low:.3f} to {self.high:.3f}, {covers})"


def missing() -> list[str]:
    """Names of the measures whose package (extra [quality]) is not installed."""
    return [name for name, package in PACKAGES.items() if not importlib.util.find_spec(package)]


def measures(sample_rate: int) -> list[str]:
    """Names of the measures that `scores` computes at this rate with the installed packages."""
    absent = missing()
    others = [name for name in PACKAGES if sample_rate == SAMPLE_RATE and name not in absent]
    return ["mel_distance", *others]


def scores(reference: np.ndarray, decoded: np.ndarray, *, sample_rate: int) -> dict[str, float]:
    """Score one clip; the result lacks the measures that cannot score it.

    No measure can score a clip that has no samples, or samples that are NaN or infinite.

    Args:
        reference: float [n] in [-1, 1].
        decoded: float of at least n samples; the rest is cut off.
        sample_rate: in Hz; at other rates than 16000 only `mel_distance` is computed.

    Returns:
        mel_distance: mean absolute difference of log-mel magnitudes, in nats; lower is better.
        pesq_wb: ITU-T P.862.2, 1 to 4.64; not for clips below 0.25 s, nor if one of the two is
            silent; for clips above 20 s it is the mean over equal pieces.
        stoi: 0 to 1; not for clips with less than 0.41 s within 40 dB of the loudest frame.
        dnsmos_ovrl: overall quality of `decoded` alone, 1 to 5.
    """
    decoded = decoded[: len(reference)]
    if not len(reference) or not (np.isfinite(reference).all() and np.isfinite(decoded).all()):
        return {}
    mel = LogMel(FeaturesConfig(sample_rate=sample_rate, mel_high=sample_rate / 2))
    pair = np.asarray(mel.raw({}, jnp.asarray(np.stack([reference, decoded]))))
    result: dict[str, float | None] = {"mel_distance": float(np.abs(pair[0] - pair[1]).mean())}
    available, silent = measures(sample_rate), np.ptp(reference) <= SILENCE
    if "pesq_wb" in available and not silent:
        result["pesq_wb"] = _pesq(reference, decoded)
    if "stoi" in available and not silent:
        result["stoi"] = _stoi(reference, decoded)
    if "dnsmos_ovrl" in available:
        result["dnsmos_ovrl"] = _dnsmos(decoded)
    return {name: score for name, score in result.items() if score is not None}


def means(clips: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, Mean]:
    """Mean of each measure over the clips that it could score.

    Args:
        clips: results of `scores`, one per clip.
        names: the measures to report, including those that could score no clip.
    """
    result = {}
    for name in names:
        values = np.array([[scored[name], 1.0] for scored in clips if name in scored])
        mean = float(values[:, 0].mean()) if len(values) else None
        low, high = None, None
        if len(values) > 1:
            low, high = bootstrap.interval(values, lambda total: float(total[0] / total[1]))
        result[name] = Mean(mean, low, high, len(values), len(clips))
    return result


def _pesq(reference: np.ndarray, decoded: np.ndarray) -> float | None:
    """PESQ, averaged over equal pieces of at most 20 s; None if a piece cannot be scored.

    P.862 is made for samples of 8 to 30 s, and pesq 0.0.4 ends the process if a recording has more
    utterances than fit into its buffer, as long recordings do. Silent pieces are left out.
    """
    import pesq

    count = max(1, math.ceil(len(reference) / PESQ_SAMPLES))
    found = []
    for pair in zip(np.array_split(reference, count), np.array_split(decoded, count), strict=True):
        try:
            found.append(float(pesq.pesq(SAMPLE_RATE, *pair, "wb")))
        except pesq.NoUtterancesError:  # the reference is silent in this piece
            continue
        except (pesq.PesqError, ValueError):  # ValueError: the decoded piece is silent
            return None
    return float(np.mean(found)) if found else None


def _stoi(reference: np.ndarray, decoded: np.ndarray) -> float | None:
    """STOI; None if pystoi would warn and return 1e-5, or fail because there is no frame."""
    import pystoi

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, decoded, SAMPLE_RATE))
        except (RuntimeWarning, np.exceptions.AxisError):
            return None


def _dnsmos(decoded: np.ndarray) -> float:
    """DNSMOS, averaged over evenly spaced windows of 9.01 s, of which the last ends with the clip.

    speechmos itself moves its window by whole seconds and ignores up to two seconds at the end of
    clips above 9.01 s (findings/speechmos_tail.sh). Shorter clips are repeated until they fill one
    window; speechmos would double them and score up to nine windows, which takes as many times
    longer.
    """
    from speechmos import dnsmos

    decoded = np.clip(decoded, -1.0, 1.0)  # speechmos refuses louder samples
    if len(decoded) < DNSMOS_SAMPLES:
        decoded = np.resize(decoded, DNSMOS_SAMPLES)
    count = -(-len(decoded) // DNSMOS_SAMPLES)
    starts = np.linspace(0, len(decoded) - DNSMOS_SAMPLES, count).round().astype(int)
    windows = [decoded[start : start + DNSMOS_SAMPLES] for start in starts]
    return float(np.mean([dnsmos.run(window, sr=SAMPLE_RATE)["ovrl_mos"] for window in windows]))
