"""Agreement of discrete codes with phones: purities and mutual information (HuBERT, section V-A).

`joint_counts` counts frames per pair of phone and code; the measures read this table
[phones, codes], or a sum of such tables. Logarithms are natural. Phone purity and PNMI grow with
the number of codes in use, and phone purity also grows with the share of silence. Compare codebooks
of equal size only, and compare PNMI with `pnmi_shuffled`, which the same codes reach by chance.
"""

import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.measures.information import entropy, mutual_information


def joint_counts(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number of frames per pair of phone and code, int64 [phones, codes], in sorted order.

    Args:
        codes: int [N].
        labels: str [N].

    Raises:
        UserError: there are no frames, or `codes` and `labels` differ in length.
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
            f"codes {codes.shape} and labels {labels.shape} must have the same shape [frames], with"
            " at least one frame"
        )
    seen, index = zip(*(np.unique(v, return_inverse=True) for v in (clips, labels, codes)))
    shape = tuple(map(len, seen))
    return np.bincount(np.ravel_multi_index(index, shape), minlength=np.prod(shape)).reshape(shape)


def phone_purity(joint: np.ndarray) -> float:
    """Accuracy per frame when each code stands for its most frequent phone; 0 to 1."""
    return float(joint.max(axis=0).sum() / joint.sum())


def cluster_purity(joint: np.ndarray) -> float:
    """Accuracy per frame when each phone stands for its most frequent code; 0 to 1.

    It falls as phones are split over more codes, where `phone_purity` rises.
    """
    return float(joint.max(axis=1).sum() / joint.sum())


def pnmi(joint: np.ndarray) -> float:
    """I(phone; code) / H(phone): share of the phone's uncertainty that the code removes; 0 to 1.

    With only one phone it is 0.
    """
    phones = entropy(joint.sum(axis=1))
    return mutual_information(joint) / phones if phones else 0.0


def pnmi_shuffled(codes: np.ndarray, labels: np.ndarray, *, seed: int) -> float:
    """`pnmi` with labels permuted over frames: its value by chance in a finite sample."""
    return pnmi(joint_counts(codes, np.random.default_rng(seed).permutation(labels)))
