"""What the encoder makes of files: states of chosen layers, their weighted sum, or codewords."""

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from uniwav_jax.checkpoint import reader
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.inference import windowed
from uniwav_jax.models import masking, uniwav
from uniwav_jax.types import PyTree

SUM, CODES, TEACHER_CODES = "sum", "codes", "teacher_codes"


class Extractor(windowed.WindowedModel):
    """Reads files for one choice of layers; `run` gives [T, n, D], [T, D] or codes [T, K].

    Args:
        config: of the run.
        arrays: {"params", "features"} of its state; for "teacher_codes" with "teacher" and
            "codebooks" among the parameters.
        layers: numbers, 0 (input of the first layer) to L; or "sum", the weighted sum that the
            decoder or a CTC head reads; or "codes", int32 codewords that the prediction heads
            choose; or "teacher_codes", the teacher's outputs assigned to its codebooks.
        options: of `windowed.WindowedModel`.
    """

    def __init__(
        self,
        config: Config,
        arrays: PyTree,
        layers: tuple[int, ...] | str,
        features: SurfaceFeatures | None = None,
        **options: float,
    ) -> None:
        super().__init__(config, arrays, features, **options)
        count = config.model.encoder.layers
        if isinstance(layers, tuple) and not all(0 <= layer <= count for layer in layers):
            raise UserError(f"--layers={layers}: this encoder has layers 0 to {count}")
        if layers == SUM and "mix" not in _mixing(arrays["params"]):
            raise UserError("--layers=sum: this checkpoint has no weights of layers (asr.layers)")
        needs = {CODES: {"heads"}, TEACHER_CODES: {"teacher", "codebooks"}}.get(layers, set())
        if missing := sorted(needs - arrays["params"].keys()):
            raise UserError(
                f"--layers={layers}: this checkpoint has no {' and no '.join(missing)}; give one of"
                " pretraining"
            )
        self.layers = layers

    @classmethod
    def load(cls, path: str, layers: tuple[int, ...] | str, **options: float) -> "Extractor":
        """From a workdir, its checkpoints folder or a step folder."""
        checkpoint = reader.open(path)
        config = checkpoint.config
        if "encoder" not in checkpoint.task.parts:
            raise UserError(f"{path} is a checkpoint of task {config.task}: it has no encoder")
        places = ["params", "ema", "frozen/features"]
        if layers == TEACHER_CODES:
            places += ["state/teacher", "state/codebooks"]
        arrays = checkpoint.arrays(*places)
        params = {**arrays["params"], **arrays["ema"]}  # what samples is what is exported
        params |= arrays.get("state", {})
        params.pop("decoder", None)
        # What is kept in files is not rounded to the training's bfloat16.
        model = dataclasses.replace(config.model, compute_dtype="float32")
        config = dataclasses.replace(config, model=model)
        arrays = {"params": params, "features": arrays["frozen"]["features"]}
        return cls(config, arrays, layers, checkpoint.features(), **options)

    def compute(self, params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array) -> jax.Array:
        """See the class."""
        mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
        if self.layers == TEACHER_CODES:
            teacher, books = params["teacher"], params["codebooks"]
            found = uniwav.teacher_codes(teacher, books, x_BxTxC, mask, self.config)
            return jnp.moveaxis(found, 0, -1)
        encoded = uniwav.encoder_module(self.config).apply(
            {"params": params["encoder"]}, x_BxTxC, mask
        )
        if self.layers == SUM:
            return uniwav.layer_sum(_mixing(params)["mix"], encoded)
        if self.layers == CODES:
            found = uniwav.codes(params["heads"], encoded, self.config)
            return jnp.moveaxis(found, 0, -1)
        states = [encoded.embedding, *encoded.states]
        return jnp.stack([states[layer] for layer in self.layers], axis=2).astype(jnp.float32)

    def times(self, frames: int) -> np.ndarray:
        """Seconds at the middle of each frame, float32 [T]."""
        return ((np.arange(frames) + 0.5) / self.frame_rate).astype(np.float32)


def _mixing(params: PyTree) -> PyTree:
    return params.get("condition", params.get("ctc", {}))


def choice(text: str) -> tuple[int, ...] | str:
    """`--layers`: "sum", "codes", "teacher_codes", or numbers with commas."""
    if text in (SUM, CODES, TEACHER_CODES):
        return text
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        known = f"{SUM}, {CODES} or {TEACHER_CODES}"
        raise UserError(f"--layers={text}: give numbers, 0,6,12, or {known}") from None


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
    """A function that writes one file's result, whole or not at all.

    It is called with the file's name below what was given, and "frames", "times" [T] in seconds,
    "layers". `form` is "npz", "npy" (the frames alone), or "array_record": one file
    `out`/features.array_record whose records are such npz files with a field "name" too.
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
    path = out / "features.array_record"
    draft = path.with_name(f".{path.name}.draft")
    records = ArrayRecordWriter(str(draft), "group_size:1")
    try:
        yield lambda name, fields: records.write(_npz({**fields, "name": np.array(name)}))
    finally:
        records.close()
    draft.rename(path)
