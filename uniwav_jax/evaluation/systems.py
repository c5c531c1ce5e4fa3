"""What `uniwav evaluate codec` compares: codecs in their folders, and log-mel with Griffin-Lim."""

import tempfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax import features as features_lib
from uniwav_jax.audio.reader import BadAudioError
from uniwav_jax.codec import files
from uniwav_jax.codec.config import FrontEndConfig
from uniwav_jax.config import FeaturesConfig
from uniwav_jax.data import manifest as manifest_lib
from uniwav_jax.data import sources
from uniwav_jax.errors import UserError
from uniwav_jax.features import log_mel
from uniwav_jax.inference import codec_files

MEL = "mel"
MEL_FEATURES = FeaturesConfig(window=512)  # 80 bands; those of the config demo
STEP = 400  # frames; clips are padded to multiples of them, so that few shapes are compiled


class Clip(NamedTuple):
    """A clip of speech.

    Attributes:
        name: the value of the manifest's column path.
        audio: float32 [n] in [-1, 1].
        text: the transcript; "" if there is none.
    """

    name: str
    audio: np.ndarray
    text: str


class System:
    """A codec or log-mel: waveform to frames and back, for clips of any length.

    Args:
        name: a codec folder, or "mel" for log-mel spectrograms, which the fast Griffin-Lim
            algorithm turns into waveforms (`features.log_mel`).

    Attributes:
        name: as given.
        config: configuration of the surface features, as training has it.
        features: the surface features.
        digest: hash of a codec's weights; "" for log-mel.
        decodes: False for a convolutional front end.
        codebooks: number of a codec's codebooks.

    Raises:
        UserError: there is no codec in the folder, or a damaged one.
    """

    def __init__(self, name: str) -> None:
        self.name, self.digest, self.codebooks, self._codec = name, "", 0, None
        self.decodes, self.config = True, MEL_FEATURES
        if name != MEL:
            structure = files.load_config(name)
            self.config = FeaturesConfig(
                kind="codec",
                codec=name,
                sample_rate=structure.sample_rate,
                hop=structure.hop,
                mel_high=structure.sample_rate / 2,
            )
            self._codec = codec_files.FileCodec.load(name)
            self.digest, self.codebooks = self._codec.digest, structure.codebooks
            self.decodes = not isinstance(structure, FrontEndConfig)
        self.features = features_lib.build(self.config)
        plain = {"mean": 0.0, "std": 1.0}
        self._raw = jax.jit(lambda audio: self.features.raw({}, audio))
        self._decode = jax.jit(lambda x_BxTxC: self.features.decode(plain, x_BxTxC))

    def encode(self, audio: np.ndarray, *, stages: int = 0) -> np.ndarray:
        """Frames before normalisation, float32 [T, C], or codes, int16 [stages, T].

        Args:
            audio: float32 [n] in [-1, 1], at the features' sample rate.
            stages: number of codebooks that quantise; 0: none.

        Raises:
            UserError: the codec has fewer codebooks than `stages`.
        """
        if self._codec:
            return self._codec.encode([audio], stages=stages)
        frames = self.features.output_length(len(audio))
        padded = np.pad(audio, (0, -len(audio) % (STEP * self.config.hop)))
        return np.asarray(self._raw(padded[None]))[0, :frames]

    def decode(self, value: np.ndarray) -> np.ndarray:
        """Waveform, float32 [T * hop] in [-1, 1], of frames [T, C] or of codes [K, T]."""
        if self._codec:
            return np.concatenate(list(self._codec.decode(value)))
        padding = ((0, -len(value) % STEP), (0, 0))
        padded = np.pad(value, padding, constant_values=np.log(log_mel.FLOOR))
        decoded = np.asarray(self._decode(jnp.asarray(padded[None], jnp.float32)))
        return decoded[0, : len(value) * self.config.hop]


def read(
    path: str, *, sample_rate: int, limit: int | None = None
) -> tuple[list[Clip], list[UserError]]:
    """The clips of a manifest, and the errors of those that cannot be read.

    Args:
        path: a manifest, or a folder of packed speech.
        sample_rate: in Hz.
        limit: largest number of clips, spread over the manifest; None: all.

    Raises:
        UserError: there is no such manifest, or none of its clips can be read.
    """
    with tempfile.TemporaryDirectory() as cache:
        corpus = manifest_lib.load(path, cache=cache)
    rows = np.arange(len(corpus))
    if limit is not None and limit < len(rows):
        rows = np.linspace(0, len(rows) - 1, max(limit, 1)).round().astype(int)
    lengths = corpus.lengths(sample_rate)
    reader = sources.ClipReader(corpus, sample_rate=sample_rate)
    clips: list[Clip] = []
    errors: list[UserError] = []
    for row in map(int, rows):
        try:
            # A file may be a little longer than its header says.
            audio = reader.read(row, start=0, samples=int(lengths[row]) + sample_rate)
        except BadAudioError as error:
            errors.append(UserError(f"{reader.name(row)} {error}"))
            continue
        scaled = audio.astype(np.float32) / 32768.0
        clips.append(Clip(corpus.name(row), scaled, corpus.label(row, "text")))
    if not clips:
        raise UserError(f"no clip of {path} could be read; the first error: {errors[0]}")
    return clips, errors
