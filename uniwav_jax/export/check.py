"""Compares an export with its checkpoint on the same audio, layer by layer."""

import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional as F

from uniwav_jax import tasks
from uniwav_jax.checkpoint import reader
from uniwav_jax.config import Config
from uniwav_jax.export import write
from uniwav_jax.export.torch import uniwav_model
from uniwav_jax.features.batch import surface
from uniwav_jax.features.surface import SurfaceFeatures
from uniwav_jax.inference import waves
from uniwav_jax.models import durations, flow, masking, quantizer, speech_tokens, uniwav
from uniwav_jax.tasks import tts
from uniwav_jax.text import phones as phones_lib
from uniwav_jax.types import Batch, PyTree

SECONDS = 6.0  # longest part of each clip that is compared
PHONE = 5  # mean length in frames of the random phones of speech synthesis
# Largest allowed differences; see `compare`.
BOUNDS = {"layer": 1e-5, "end": 1e-4, "sampler": 1e-3, "codes": 1e-3}


def report(path: str, folder: str, audio: Sequence[str] = ()) -> int:
    """Compare a checkpoint with its export, and print a table; returns the number of failed rows.

    Args:
        path: workdir, checkpoints folder or step folder.
        folder: the export.
        audio: audio files to compare on; if empty, noise is used.
    """
    rate = reader.open(path).config.features.sample_rate
    rows = compare(path, folder, *clips(audio, rate))
    width = max(len(name) for name, *_ in rows)
    print(f"{'relative difference':{width}}  largest  bound")
    failed = 0
    for name, difference, bound in rows:
        good = difference <= bound  # False for NaN
        failed += not good
        print(f"{name:{width}}  {difference:7.1e}  {bound:g}{'' if good else '  FAILED'}")
    if failed:
        print(f"error: {failed} of {len(rows)} rows exceed their bound", file=sys.stderr)
    return failed


def clips(paths: Sequence[str], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the first `SECONDS` of each file, or make noise without files.

    Args:
        paths: audio files.
        rate: sample rate in Hz.

    Returns:
        Audio, float32 [B, S] and zero after each clip's end, and samples per clip, int64 [B].
    """
    longest = round(SECONDS * rate)
    if paths:
        rows = [
            np.concatenate(list(waves.blocks(path, None, sample_rate=rate)))[:longest]
            for path in paths
        ]
    else:
        random = np.random.default_rng(0)
        rows = [0.1 * random.standard_normal(longest // n, np.float32) for n in (1, 2, 3)]
    samples = np.array([len(row) for row in rows])
    audio = np.zeros((len(rows), samples.max()), np.float32)
    for target, row in zip(audio, rows, strict=True):
        target[: len(row)] = row
    return audio, samples


def compare(path: str, folder: str, audio_BxS: np.ndarray, samples_B: np.ndarray) -> list[tuple]:
    """Compare a checkpoint with its export.

    In rows "layer ..." the export's layer reads the checkpoint's input, so that only this layer can
    cause a difference; rows "end to end" start from the waveform.

    Args:
        path: workdir, checkpoints folder or step folder.
        folder: the export, in float32.
        audio_BxS: float32 in [-1, 1], zero after each row's end.
        samples_B: int, real samples of each row.

    Returns:
        Rows (name, largest difference relative to the largest value, bound).
    """
    model = uniwav_model.load(folder)
    weights = model.c["weights"]
    checkpoint = reader.open(path)
    config, params = checkpoint.config, write.read(checkpoint, **weights)
    features = checkpoint.features()
    ours = _ours(config, params, features, audio_BxS, samples_B)
    with torch.inference_mode():
        return _rows(model, config, ours, torch.tensor(audio_BxS), torch.tensor(samples_B))


def _ours(
    config: Config,
    params: PyTree,
    features: SurfaceFeatures,
    audio_BxS: np.ndarray,
    samples_B: np.ndarray,
) -> dict[str, Any]:
    """Compute the checkpoint's results in float32 at full precision, as NumPy arrays by name."""
    left, right = features.context
    padded = jnp.pad(jnp.asarray(audio_BxS), ((0, 0), (left, right)))
    batch = Batch(audio=padded, samples=jnp.asarray(samples_B), bad=jnp.zeros(len(padded), bool))
    exact = write.exact(config)

    @jax.jit  # one program compiles faster than its many operations
    def compute(params: PyTree, batch: Batch) -> dict[str, Any]:
        x, frames_B = surface(batch, params["features"], features)
        mask = masking.frame_mask(frames_B, x.shape[1])
        encoded = uniwav.encoder_module(exact).apply({"params": params["encoder"]}, x, mask)
        found = {"x": x, "mask": mask, "encoded": encoded}
        if "ctc" in params:
            found["logits"] = tasks.get(config.task).logits(params, x, frames_B, exact)
        if "heads" in params:
            found["heads"] = uniwav.predict_codes(params["heads"], encoded, exact)
            found["codes"] = uniwav.codes(params["heads"], encoded, exact)
        if "codebooks" in params:
            teacher = (params["encoder"], params["codebooks"], x, mask)
            found["teacher_codes"] = uniwav.teacher_codes(*teacher, exact)
            found["targets"], _ = uniwav.targets(params["encoder"], x, mask, exact)
            found["words"] = quantizer.codewords(params["codebooks"])
        if "decoder" in params:
            key = jax.random.key(0)
            found["noise"] = jax.random.normal(key, x.shape)
            generate = mask & (jnp.arange(x.shape[1]) >= 10)
            if "phones" in params:
                found |= _spoken(params, x, mask, generate, exact)
                encoded = found["spoken"]
            z = uniwav.condition(params["condition"], encoded, None)
            found["generate"] = generate
            found["sample"] = flow.sample(params, z, x, generate, mask, found["noise"], exact)
            found["z"] = z
        if "books" in params:
            h = speech_tokens.state(encoded, exact.tokenizer.layer)
            found["tokens"] = speech_tokens.encode(params["tokens"], params["books"], h, z)[0]
        return found

    with jax.default_matmul_precision("highest"):
        found = jax.tree.map(np.array, compute(params, batch))
    if "words" in found:
        target, words = (found.pop(name).astype(np.float64) for name in ("targets", "words"))
        product = np.einsum("KBTD,KVD->KBTV", target, words)
        squares = np.square(target).sum(-1)[..., None], np.square(words).sum(-1)
        found["distances"] = squares[0] - 2 * product + squares[1][:, None, None]
    return found


def _spoken(
    params: PyTree, x: jax.Array, mask: jax.Array, generate: jax.Array, config: Config
) -> dict[str, Any]:
    """Random "phones" and "frames" [B, U], the encoder's output "spoken" and "durations"."""
    shape = (len(x), x.shape[1] // PHONE)
    keys = jax.random.split(jax.random.key(1), 2)
    count = len(config.tts.phones) * len(phones_lib.STRESSES) * len(phones_lib.PLACES)
    phones = jax.random.randint(keys[0], shape, 0, count)
    frames = jax.random.randint(keys[1], shape, 1, 2 * PHONE)
    spoken = tts.encode(params, x, mask, generate, phones, jnp.cumsum(frames, 1), config)
    found = {"phones": phones, "frames": frames, "spoken": spoken}
    if "durations" in params:
        visible = jnp.broadcast_to(jnp.arange(shape[1]) < shape[1] // 2, shape)
        arguments = (phones, frames, visible, None, config)
        found["durations"] = durations.predict(params["durations"], *arguments)
    return found


def _rows(
    model: uniwav_model.UniWav,
    config: Config,
    ours: dict[str, Any],
    audio: torch.Tensor,
    samples: torch.Tensor,
) -> list[tuple[str, float, float]]:
    mask, encoded = torch.tensor(ours["mask"]), ours["encoded"]
    output = model(audio, samples)
    rows = [("features", apart(output.features, ours["x"], mask), BOUNDS["end"])]
    inputs = [encoded.embedding, *encoded.states]
    h0 = model.encoder(torch.tensor(ours["x"]), mask).embedding
    rows.append(("embedding", apart(h0, encoded.embedding, mask), BOUNDS["layer"]))
    for number, layer in enumerate(model.encoder.layers, start=1):
        state, fed = layer(torch.tensor(inputs[number - 1]), mask)
        rows.append((f"layer {number}", apart(state, inputs[number], mask), BOUNDS["layer"]))
        name, theirs = f"layer {number}, feed-forward", encoded.feed_forward[number - 1]
        rows.append((name, apart(fed, theirs, mask), BOUNDS["layer"]))
    for number, state in enumerate(output.hidden_states):
        name = f"end to end, h_{number}"
        rows.append((name, apart(state, inputs[number], mask), BOUNDS["end"]))
    rows.append(
        ("end to end, final", apart(output.encoded.final, encoded.final, mask), BOUNDS["end"])
    )
    if "logits" in ours:
        logits = model.logits(output.encoded)
        rows.append(("end to end, CTC", apart(logits, ours["logits"], mask), BOUNDS["end"]))
    if "heads" in ours:
        heads = model.heads(output.encoded)
        rows.append(("end to end, heads", apart(heads, ours["heads"], mask), BOUNDS["end"]))
        codes = model.codes(output).numpy()
        rows += _codes("codes", codes, ours["codes"], -ours["heads"], ours["mask"])
    if "distances" in ours:
        codes, name = model.teacher_codes(output).numpy(), "teacher's codes"
        rows += _codes(name, codes, ours["teacher_codes"], ours["distances"], ours["mask"])
    if "sample" in ours:
        generated = torch.tensor(ours["generate"])  # without the prompt, which is an input
        if "spoken" in ours:
            output, more = _speaking(model, output, ours, generated)
            rows += more
        z = model.condition(output.encoded)
        rows.append(("end to end, z", apart(z, ours["z"], mask), BOUNDS["end"]))
        made = model.sample(output, torch.tensor(ours["noise"]), generate_BxT=generated)
        name = f"sampler, {config.flow.sample_steps} steps of {config.flow.solver}"
        rows.append((name, apart(made, ours["sample"], generated), BOUNDS["sampler"]))
    if "tokens" in ours:
        theirs = model.tokens.encode(output.hidden_states, model.condition(output.encoded))
        differ = theirs.transpose(0, 1).numpy() != ours["tokens"]
        share = float(differ[:, ours["mask"]].mean())
        rows.append(("end to end, share of other tokens", share, BOUNDS["codes"]))
    return rows


def _speaking(
    model: uniwav_model.UniWav,
    output: uniwav_model.Output,
    ours: dict[str, Any],
    generated: torch.Tensor,
) -> tuple[uniwav_model.Output, list[tuple[str, float, float]]]:
    """The output with phones, and the rows that compare it and the durations."""
    mask, phones = output.frame_mask, torch.tensor(ours["phones"]).long()
    frames = torch.tensor(ours["frames"]).long()
    total = mask.shape[1]
    placed = [torch.repeat_interleave(*pair) for pair in zip(phones, frames, strict=True)]
    placed = torch.stack([F.pad(row, (0, total), value=-1)[:total] for row in placed])
    encoded = model.encoder(output.features, mask, generated, model.phones(placed))
    different = apart(encoded.final, ours["spoken"].final, mask)
    rows = [("end to end, final with phones", different, BOUNDS["end"])]
    if "durations" in ours:
        visible = (torch.arange(phones.shape[1]) < phones.shape[1] // 2).expand(phones.shape)
        logs = model.durations(phones, frames, visible)[..., None]
        different = apart(logs, ours["durations"][..., None], torch.ones_like(visible))
        rows.append(("end to end, durations", different, BOUNDS["end"]))
    return output._replace(encoded=encoded), rows


def _codes(
    name: str,
    theirs: np.ndarray,
    ours: np.ndarray,
    costs_KxBxTxV: np.ndarray,
    mask_BxT: np.ndarray,
) -> list[tuple[str, float, float]]:
    """Compare codes: by the cost of the export's codewords, and by the share of different codes.

    If the costs of two codewords are equal up to rounding, either may be chosen. So the first row
    is the largest excess cost relative to the largest cost, and the bound of the second row allows
    such ties in one of a thousand frames.

    Args:
        name: name of the codes.
        theirs: codes of the export, int [K, B, T].
        ours: codes of the checkpoint, int [K, B, T].
        costs_KxBxTxV: costs of all codewords in the checkpoint.
        mask_BxT: bool, True on real frames.
    """
    theirs, ours, costs = (a[:, mask_BxT] for a in (theirs, ours, costs_KxBxTxV))
    chosen = np.take_along_axis(costs, theirs[..., None], axis=-1)[..., 0]
    worse = (chosen - costs.min(-1)).max() / np.abs(costs).max()
    differing = float((theirs != ours).mean())
    return [
        (f"end to end, cost of {name}", float(worse), BOUNDS["end"]),
        (f"end to end, share of other {name}", differing, BOUNDS["codes"]),
    ]


def apart(theirs: torch.Tensor, ours: np.ndarray, mask: torch.Tensor) -> float:
    """Largest difference on real frames, relative to the largest value there."""
    shape = mask.shape
    where = np.broadcast_to(
        mask.numpy()[(..., None)], (*theirs.shape[: theirs.ndim - 3], *shape, theirs.shape[-1])
    )
    ours = np.asarray(ours)
    difference = np.abs(theirs.numpy() - ours)[where].max()
    return float(difference / np.abs(ours[where]).max())
