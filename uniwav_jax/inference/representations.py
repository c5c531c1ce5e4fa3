"""What an encoder computes for audio: states of layers, their weighted sum, z, or codewords."""

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.inference import windowed
from uniwav_jax.models import masking, uniwav
from uniwav_jax.models.encoder import EncoderOutput
from uniwav_jax.types import PyTree

SUM, CODES, TEACHER_CODES = "sum", "codes", "teacher_codes"
Layers = tuple[int, ...] | str


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What an encoder gives for a wave of T frames.

    Attributes:
        states: float32 [L + 1, T, D], the input of the first layer and the output of each layer.
        z: float32 [T, D_dec], what the decoder is conditioned on; None after fine-tuning.
        codes: int32 [K, T], the codeword that each prediction head chooses; None after fine-tuning.
        times: float32 [T], seconds at the middle of each frame.
    """

    states: np.ndarray
    z: np.ndarray | None
    codes: np.ndarray | None
    times: np.ndarray


class Encoder(windowed.WindowedModel):
    """Everything that an encoder gives, computed in float32.

    `run` gives {"states" float32 [T, L + 1, D], "z" float32 [T, D_dec], "codes" int32 [T, K]}. z is
    left out for parameters without "condition", codes for those without "heads".

    Args:
        config: configuration of the run.
        arrays: {"params": parameters by part, "features"}.
        options: of `windowed.WindowedModel`.
    """

    def __init__(self, config: Config, arrays: PyTree, **options: Any) -> None:
        # What users keep is not rounded to the training's bfloat16.
        model = dataclasses.replace(config.model, compute_dtype="float32")
        super().__init__(dataclasses.replace(config, model=model), arrays, **options)

    def compute(self, params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array) -> PyTree:
        """See the class; each array has the axis B in front."""
        encoded = self.encode(params, x_BxTxC, frames_B)
        states = jnp.concatenate([encoded.embedding[None], encoded.states])
        found = {"states": jnp.moveaxis(states, 0, 2).astype(jnp.float32)}
        if "condition" in params:
            z_BxTxD = uniwav.condition(params["condition"], encoded, None)
            found["z"] = z_BxTxD.astype(jnp.float32)
        if "heads" in params:
            codes_KxBxT = uniwav.codes(params["heads"], encoded, self.config)
            found["codes"] = jnp.moveaxis(codes_KxBxT, 0, -1)
        return found

    def encode(self, params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array) -> EncoderOutput:
        """The encoder's output for normalised surface features and the real frames of each row."""
        mask_BxT = masking.frame_mask(frames_B, x_BxTxC.shape[1])
        encoder = uniwav.encoder_module(self.config)
        return encoder.apply({"params": params["encoder"]}, x_BxTxC, mask_BxT)

    def times(self, frames: int) -> np.ndarray:
        """Seconds at the middle of each frame, float32 [T]."""
        return ((np.arange(frames) + 0.5) / self.frame_rate).astype(np.float32)


class Extractor(Encoder):
    """One choice of layers; `run` gives float32 [T, n, D] or [T, D], or codes int32 [T, K].

    Args:
        config: configuration of the run.
        arrays: {"params": parameters by part, "features"}; "teacher_codes" needs the parts
            "teacher" and "codebooks".
        layers: numbers from 0 (input of the first layer) to L; or "sum", the weighted sum that the
            decoder or a CTC head reads; or "codes", the codewords that the prediction heads choose;
            or "teacher_codes", the teacher's outputs assigned to its codebooks.
        options: of `windowed.WindowedModel`.

    Raises:
        UserError: the encoder has no such layer, or the parameters lack a part.
    """

    def __init__(self, config: Config, arrays: PyTree, layers: Layers, **options: Any) -> None:
        super().__init__(config, arrays, **options)
        count = config.model.encoder.layers
        if isinstance(layers, tuple) and not all(0 <= layer <= count for layer in layers):
            raise UserError(f"layers={layers}: this encoder has layers 0 to {count}")
        if layers == SUM and "mix" not in _mixing(arrays["params"]):
            raise UserError("layers=sum: this checkpoint has no weights of layers (asr.layers)")
        needs = {CODES: {"heads"}, TEACHER_CODES: {"teacher", "codebooks"}}.get(layers, set())
        if missing := sorted(needs - arrays["params"].keys()):
            raise UserError(
                f"layers={layers}: this checkpoint has no {' and no '.join(missing)}; give one of"
                " pretraining"
            )
        self.layers = layers

    def compute(self, params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array) -> jax.Array:
        """See the class; with the axis B in front."""
        if self.layers == TEACHER_CODES:
            mask_BxT = masking.frame_mask(frames_B, x_BxTxC.shape[1])
            teacher, books = params["teacher"], params["codebooks"]
            found = uniwav.teacher_codes(teacher, books, x_BxTxC, mask_BxT, self.config)
            return jnp.moveaxis(found, 0, -1)
        encoded = self.encode(params, x_BxTxC, frames_B)
        if self.layers == SUM:
            return uniwav.layer_sum(_mixing(params)["mix"], encoded)
        if self.layers == CODES:
            found = uniwav.codes(params["heads"], encoded, self.config)
            return jnp.moveaxis(found, 0, -1)
        states = [encoded.embedding, *encoded.states]
        return jnp.stack([states[layer] for layer in self.layers], axis=2).astype(jnp.float32)


def _mixing(params: PyTree) -> PyTree:
    return params.get("condition", params.get("ctc", {}))


def choice(layers: str | int | Sequence[int]) -> Layers:
    """A choice of layers: "sum", "codes", "teacher_codes", or numbers, also as text "0,6,12".

    Raises:
        UserError: it is none of these.
    """
    if layers in (SUM, CODES, TEACHER_CODES):
        return layers
    numbers = layers.split(",") if isinstance(layers, str) else np.atleast_1d(layers)
    try:
        return tuple(map(int, numbers))
    except (TypeError, ValueError):
        known = f"{SUM}, {CODES} or {TEACHER_CODES}"
        raise UserError(f"layers={layers}: give numbers, 0,6,12, or {known}") from None


def _npz(fields: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **fields)
    return content.getvalue()


def _npy(fields: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.save(content, fields["frames"])
    return content.getvalue()


FORMATS: dict[str, Callable[[dict[str, np.ndarray]], bytes]] = {"npz": _npz, "npy": _npy}


@contextlib.contextmanager
def writer(out: pathlib.Path, form: str) -> Iterator[Callable[[str, dict[str, np.ndarray]], None]]:
    """A function that writes the result of one file; the result appears whole or not at all.

    The function takes the file's name below `out` and {"frames", "times" [T] in seconds,
    "layers"}.

    Args:
        out: folder, made where it does not exist.
        form: "npz", "npy" (the frames alone), or "array_record": one file
            `out`/features.array_record, whose records are npz files with a field "name" too.
    """
    out.mkdir(parents=True, exist_ok=True)

    def write(name: str, fields: dict[str, np.ndarray]) -> None:
        path = (out / name).with_suffix(f".{form}")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(FORMATS[form](fields))
        draft.rename(path)

    if form != "array_record":
        yield write
        return
    from array_record.python.array_record_module import ArrayRecordWriter

    path = out / "features.array_record"
    draft = path.with_name(f".{path.name}.draft")
    records = ArrayRecordWriter(str(draft), "group_size:1")
    try:
        yield lambda name, fields: records.write(_npz({**fields, "name": np.array(name)}))
    finally:
        records.close()
    draft.rename(path)
