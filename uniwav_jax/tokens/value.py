"""The codes of one clip, with what a decoder and a table of results must know about them."""

import dataclasses
import math
import string

import numpy as np

from uniwav_jax.errors import UserError
from uniwav_jax.measures import information

INT16_SIZE = 2**15  # largest book whose codes are int16
LARGEST = 2**31  # codes are int32 at most


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """Speech tokens of one clip.

    Attributes:
        codes: [frames, books], int16 where all books have at most 32768 codewords, else int32;
            any integers are accepted. 0 where `damaged`.
        book_sizes: number of codewords of each book, from 2.
        sample_rate: of the audio, in Hz.
        hop: samples per frame.
        samples: of the clip; decoding gives exactly as many.
        model: 16 hexadecimal digits, the digest of the model whose codes these are.
        prompt: latents that carry the voice, float16 [frames, channels], which is side information;
            None without.
        prompt_name: where the voice is from, such as a file or a speaker; may stand without
            `prompt`, where the receiver has the voice.
        id: name of the clip.
        text: its words.
        damaged: bool [frames, books], True where a file could not be read; None is False
            everywhere. Such frames must be decoded as silence, or left out.
        damage: a sentence for each part of a file that could not be read.
    """

    codes: np.ndarray
    book_sizes: tuple[int, ...]
    sample_rate: int
    hop: int
    samples: int
    model: str
    prompt: np.ndarray | None = None
    prompt_name: str = ""
    id: str = ""
    text: str = ""
    damaged: np.ndarray | None = None
    damage: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields, and bring the arrays to their dtypes.

        Raises:
            UserError: a field is out of its range; names it.
        """
        sizes = tuple(int(size) for size in self.book_sizes)
        if not sizes or not all(2 <= size <= LARGEST for size in sizes):
            raise UserError(f"book_sizes are 2 to {LARGEST} for each of one or more books: {sizes}")
        codes = np.asarray(self.codes)
        if codes.dtype.kind not in "iu" or codes.ndim != 2 or codes.shape[1] != len(sizes):
            raise UserError(
                f"codes are integers [frames, {len(sizes)}]; got {codes.dtype} {codes.shape}"
            )
        if codes.size and (codes.min() < 0 or (codes.max(0) >= np.array(sizes)).any()):
            raise UserError(
                f"codes of {int(codes.min())} to {codes.max(0).tolist()} do not fit books of"
                f" {sizes} codewords"
            )
        for name, least in (("sample_rate", 1), ("hop", 1), ("samples", 0)):
            value = getattr(self, name)
            limit = 2**63 if name == "samples" else 2**31
            if not (isinstance(value, int | np.integer) and least <= value < limit):
                raise UserError(f"{name} is {value!r}, but must be an integer from {least}")
            object.__setattr__(self, name, int(value))
        if len(self.model) != 16 or not set(self.model) <= set(string.hexdigits.lower()):
            raise UserError(f"model is {self.model!r}, but must be 16 hexadecimal digits")
        dtype = np.int16 if max(sizes) <= INT16_SIZE else np.int32
        object.__setattr__(self, "codes", np.ascontiguousarray(codes, dtype))
        object.__setattr__(self, "book_sizes", sizes)
        if self.damaged is None:
            object.__setattr__(self, "damaged", np.zeros(codes.shape, bool))
        if self.damaged.shape != codes.shape:
            raise UserError(f"damaged is {self.damaged.shape}, but codes are {codes.shape}")
        if self.prompt is not None:
            with np.errstate(over="ignore"):
                prompt = np.ascontiguousarray(self.prompt, np.float16)
            if prompt.ndim != 2 or not prompt.size or not np.isfinite(prompt).all():
                raise UserError(f"prompt is finite float16 [frames, channels]; got {prompt.shape}")
            object.__setattr__(self, "prompt", prompt)

    @property
    def books(self) -> int:
        """Number of books."""
        return len(self.book_sizes)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.samples / self.sample_rate

    @property
    def bits_per_second(self) -> float:
        """The payload: frame rate times the sum of log2 of the book sizes; without the prompt."""
        return self.frame_rate * sum(map(math.log2, self.book_sizes))

    @property
    def entropy(self) -> float:
        """Bit/s of codes that are as long as their entropy within this clip, without order.

        The entropy of a short clip is too low, because it cannot use a whole book: `tally.Tally`
        pools clips.
        """
        counts = (
            np.bincount(codes[~damaged], minlength=1)
            for codes, damaged in zip(self.codes.T, self.damaged.T, strict=True)
        )
        return self.frame_rate * sum(map(information.entropy, counts)) / math.log(2)

    @property
    def prompt_bits(self) -> int:
        """Bits of the prompt as side information: 16 for each value; 0 without."""
        return 0 if self.prompt is None else 16 * self.prompt.size

    def first(self, books: int) -> "Tokens":
        """The same clip with its first books only.

        Raises:
            UserError: there are not as many.
        """
        if not 1 <= books <= self.books:
            raise UserError(f"{self.id or 'the clip'} has {self.books} books, not {books}")
        return dataclasses.replace(
            self,
            codes=self.codes[:, :books],
            book_sizes=self.book_sizes[:books],
            damaged=self.damaged[:, :books],
        )

    def check_model(self, model: str, *, name: str) -> None:
        """Check that these are codes of a model.

        Args:
            model: its digest.
            name: of the tokens in the message, such as their file.

        Raises:
            UserError: they are of another model; names both digests.
        """
        if model != self.model:
            raise UserError(
                f"{name} has tokens of model {self.model}, but this is model {model}; decode them"
                " with the model that made them"
            )
