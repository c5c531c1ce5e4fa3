"""How well discrete codes match phones: purities and mutual information (HuBERT, section V-A).

`joint_counts` counts pairs of one code and one phone per frame; the measures read its table,
[phones, codes], or a sum of such tables. Logarithms are natural. All three measures grow with the
number of codes in use, and phone purity with silence too: compare at equal codebook sizes, and with
`pnmi_shuffled`, what the same codes would reach by chance.
"""

import numpy as np

from uniwav_jax.errors import UserError


def joint_counts(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Frames per pair of phone and code, int64 [phones seen, codes seen], both sorted.

    Args:
        codes: int [N].
        labels: str [N].

    Raises:
        UserError: no frames, or not as many codes as labels.
    """
    return joint_counts_by_clip(codes, labels, np.zeros(len(codes), int))[0]


def joint_counts_by_clip(codes: np.ndarray, labels: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """`joint_counts` of every clip, for `bootstrap.interval`; int64 [clips, phones, codes].

    Args:
        codes: int [N].
        labels: str [N].
        clips: the clip of each frame, int [N].

    Raises:
        UserError: as in `joint_counts`.
    """
    if codes.ndim != 1 or codes.shape != labels.shape or not codes.size:
        raise UserError(
            f"codes {codes.shape} and labels {labels.shape} must be two lists of the same length,"
            " one entry per frame, at least one"
        )
    seen, index = zip(*(np.unique(v, return_inverse=True) for v in (clips, labels, codes)))
    shape = tuple(map(len, seen))
    return np.bincount(np.ravel_multi_index(index, shape), minlength=np.prod(shape)).reshape(shape)


def phone_purity(joint: np.ndarray) -> float:
    """Frame accuracy when every code is read as its most frequent phone; 0 to 1."""
    return float(joint.max(axis=0).sum() / joint.sum())


def cluster_purity(joint: np.ndarray) -> float:
    """Frame accuracy when every phone is read as its most frequent code; 0 to 1.

    Falls as phones are split over more codes: the counterweight of `phone_purity`.
    """
    return float(joint.max(axis=1).sum() / joint.sum())


def pnmi(joint: np.ndarray) -> float:
    """I(phone; code) / H(phone): share of the phone's uncertainty that the code removes; 0 to 1.

    0 when there is only one phone, which leaves nothing to know.
    """
    phones = _entropy(joint.sum(axis=1))
    if phones == 0.0:
        return 0.0
    return (phones + _entropy(joint.sum(axis=0)) - _entropy(joint)) / phones


def pnmi_shuffled(codes: np.ndarray, labels: np.ndarray, *, seed: int) -> float:
    """`pnmi` with the labels permuted over frames: the floor that the finite sample gives."""
    return pnmi(joint_counts(codes, np.random.default_rng(seed).permutation(labels)))


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
