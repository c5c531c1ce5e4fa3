"""Entropy of codes, and their mutual information with labels such as speakers; in nats.

Everything reads tables of counts. The mutual information of a finite sample is too high: codes that
are independent of the labels seem to share (cells - rows - columns + 1) / 2N nats with them, or
several times as much where the frames of an utterance resemble each other. For phones on hours of
speech the error is small. For speakers it can exceed the truth, and `speaker_information` gives
four estimates:

    plug_in        the information of the counts; far too high
    miller_madow   plug_in minus the error of independent frames; still far too high, because the
                   frames of an utterance are not independent
    permutation    plug_in minus its mean when whole utterances exchange their speakers; too low,
                   because the exchange spreads the real differences over the utterances
    two_point      2 I(N) - I(N/2) with halves of each speaker's utterances, which removes an error
                   that is proportional to 1/N; too high, because the error grows more slowly than
                   that in small samples

The truth is expected between the last two. tests/measures/test_information.py shows all this on
simulated speakers. Speakers and recordings cannot be told apart where a speaker has one recording,
so this is information about speakers and recordings.

Sources: G. Miller, "Note on the bias of information estimates" (1955), for `miller_madow`;
S. Strong et al., "Entropy and information in neural spike trains" (Phys. Rev. Lett. 80, 1998), for
extrapolation in 1/N. Permutation and halves of whole utterances are ours.
"""

import dataclasses

import numpy as np
from scipy.special import xlogy

from uniwav_jax.errors import UserError

LEAST_UTTERANCES = 10  # per speaker, on average; with fewer the permutation corrects too much
AGREEMENT = 0.1  # of the mean of `permutation` and `two_point`


def entropy(counts: np.ndarray) -> float:
    """Entropy of the distribution that the counts describe, in nats; 0 without counts.

    Args:
        counts: numbers of any shape, which are not negative.
    """
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(p * np.log(p)).sum() + 0.0)  # not -0.0


def perplexity(counts: np.ndarray) -> float:
    """exp(entropy): the number of equally frequent codewords with the same entropy."""
    return float(np.exp(entropy(counts)))


def use(counts: np.ndarray) -> float:
    """Share of a book's codewords that occur at all; 0 to 1.

    Args:
        counts: occurrences of each codeword [codewords].
    """
    return float((counts > 0).mean())


def runs(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs of equal codes in turn: their codes and their lengths in frames, both [runs].

    Args:
        codes: int [frames] of one book.
    """
    if not len(codes):
        return codes, np.zeros(0, np.int64)
    starts = np.append(0, np.flatnonzero(np.diff(codes)) + 1)
    return codes[starts], np.diff(starts, append=len(codes))


def mutual_information(joint: np.ndarray) -> float:
    """Plug-in mutual information of labels and codes, or their conditional one, in nats.

    Args:
        joint: numbers of frames [..., labels, codes]. Axes before the last two are groups, such as
            phones, of whose informations the result is the mean over frames.
    """
    total = joint.sum()
    if not total:
        return 0.0
    over_labels, over_codes = joint.sum(-2), joint.sum(-1)
    nats = _n_log_n(joint) - _n_log_n(over_labels) - _n_log_n(over_codes)
    return (nats + _n_log_n(joint.sum((-2, -1)))) / float(total)


def miller_madow(joint: np.ndarray) -> float:
    """`mutual_information` minus (cells - labels - codes + groups) / 2N, of those that occur.

    This is the first order of the error if all N frames are drawn independently.
    """
    tables = (joint, joint.sum(-2), joint.sum(-1), joint.sum((-2, -1)))
    cells, codes, labels, groups = (int(np.count_nonzero(table)) for table in tables)
    excess = (cells - labels - codes + groups) / (2 * max(float(joint.sum()), 1.0))
    return mutual_information(joint) - excess


@dataclasses.dataclass(frozen=True)
class Information:
    """Estimates of the mutual information of codes and speakers, in nats.

    Attributes:
        plug_in, miller_madow, permutation, two_point: see the module.
        entropy: of the speakers over frames, which the information cannot exceed.
    """

    plug_in: float
    miller_madow: float
    permutation: float
    two_point: float
    entropy: float

    @property
    def agree(self) -> bool:
        """True if `permutation` and `two_point` differ by at most 10 % of their mean."""
        mean = (self.permutation + self.two_point) / 2
        return abs(self.two_point - self.permutation) <= AGREEMENT * abs(mean)


def utterance_counts(codes: np.ndarray, utterances: np.ndarray, *, size: int) -> np.ndarray:
    """Occurrences of each code in each utterance, int64 [utterances, size].

    Args:
        codes: int [N], below `size`.
        utterances: number of each frame's utterance, from 0, int [N].
        size: codewords of the book.
    """
    count = int(utterances.max(initial=-1)) + 1
    cells = utterances.astype(np.int64) * size + codes
    return np.bincount(cells, minlength=count * size).reshape(count, size)


def speaker_information(
    counts: np.ndarray,
    speakers: np.ndarray,
    *,
    permutations: int = 20,
    halves: int = 10,
    seed: int = 0,
) -> Information:
    """Estimate the information of codes about a label that each utterance has, as its speaker.

    Args:
        counts: occurrences [utterances, codes] of each code, or [utterances, groups, codes] for
            the conditional information given the group of a frame, such as its phone.
        speakers: names or numbers of the utterances' speakers, [utterances].
        permutations: number of random exchanges of whole utterances between speakers.
        halves: number of random divisions of each speaker's utterances into two halves.
        seed: of both.

    Raises:
        UserError: there are fewer than two speakers, fewer than 10 utterances per speaker on
            average, or one speaker has a single utterance.
    """
    names, index, sizes = np.unique(speakers, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise UserError(f"{len(names)} speakers: information about speakers needs at least two")
    if len(speakers) < LEAST_UTTERANCES * len(names) or sizes.min() < 2:
        raise UserError(
            f"{len(speakers)} utterances of {len(names)} speakers (the fewest: {sizes.min()}) are"
            " too few to measure information about speakers; give at least"
            f" {LEAST_UTTERANCES} of each"
        )
    random = np.random.default_rng(seed)
    joint = _joint(counts, index)
    plug_in = mutual_information(joint)
    chance = [
        mutual_information(_joint(counts, random.permutation(index))) for _ in range(permutations)
    ]
    half = []
    for _ in range(halves):
        first = _joint(counts, index, chosen=_half(index, sizes, random))
        half += [mutual_information(first), mutual_information(joint - first)]
    over_frames = joint.sum(-1).reshape(-1, len(names)).sum(0)
    return Information(
        plug_in=plug_in,
        miller_madow=miller_madow(joint),
        permutation=plug_in - float(np.mean(chance)),
        two_point=2 * plug_in - float(np.mean(half)),
        entropy=entropy(over_frames),
    )


def _n_log_n(counts: np.ndarray) -> float:
    return float(xlogy(counts, counts).sum())


def _joint(counts: np.ndarray, index: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
    """Sum the utterances of each speaker: [speakers, codes] or [groups, speakers, codes].

    Args:
        counts: as in `speaker_information`.
        index: number of each utterance's speaker; all numbers occur.
        chosen: numbers of the utterances to sum, some of each speaker; None: all.
    """
    order = np.argsort(index, kind="stable") if chosen is None else chosen
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    return np.moveaxis(np.add.reduceat(counts[order], starts, axis=0), 0, -2)


def _half(index: np.ndarray, sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Choose a random half of each speaker's utterances; their numbers, sorted by speaker.

    The utterance in the middle of an odd number falls into either half.
    """
    order = np.lexsort((random.random(len(index)), index))
    rank = np.arange(len(index)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = (sizes + random.integers(0, 2, len(sizes))) // 2
    return order[rank < np.repeat(kept, sizes)]
