"""A task outside the package: it predicts each clip's loudness from the mean of the encoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.data.labels import Labels
from uniwav_jax.models import masking, uniwav
from uniwav_jax.tasks.parts import ENCODER
from uniwav_jax.tasks.task import Part, Scores, Task


@dataclasses.dataclass(frozen=True)
class Options:
    frozen: bool = False


def init(key, config, channels):
    x, mask = jnp.zeros((1, 20, channels)), jnp.ones((1, 20), bool)
    encoder = uniwav.encoder_module(config).init(key, x, mask)["params"]
    zeros = {"kernel": jnp.zeros((config.model.encoder.width, 1)), "bias": jnp.zeros(1)}
    return {"encoder": encoder, "loudness": zeros}, {}


def loss(variables, example, draws, weight, key, config):
    mask = masking.frame_mask(example.frames_B, example.x_BxTxC.shape[1])
    encoder = {"params": variables.params["encoder"]}
    h = uniwav.encoder_module(config).apply(encoder, example.x_BxTxC, mask, key=key).final
    frames, head = jnp.maximum(example.frames_B, 1)[:, None], variables.params["loudness"]
    found_B = (h.sum(1, where=mask[..., None]) / frames @ head["kernel"] + head["bias"])[:, 0]
    total = jnp.square((found_B - example.labels["loudness"]) * (example.frames_B > 0)).sum()
    sums = jax.lax.stop_gradient({"squares": total, "rows": mask.any(1).sum()})
    return total / weight, {**sums, **({} if key is not None else {"outputs": {"db": found_B}})}


def score(outputs, corpora, config):
    rows = [[corpora[c].name(i), str(found["db"])] for (c, i), found in outputs.items()]
    return Scores({"clips": len(rows)}, "loudness", rows)


TASK = Task(
    name="loudness",
    init=init,
    loss=loss,
    mean=lambda total: total,
    metrics=lambda sums, step, config: {"loss": sums["squares"] / jnp.maximum(sums["rows"], 1)},
    labels=Labels(
        dtypes={"loudness": np.float32},
        encode=lambda corpus, clip, config: {"loudness": float(corpus.label(clip, "loudness"))},
    ),
    freezes=lambda config: {"encoder": float("inf")} if config.options.frozen else {},
    averages=lambda config: {"loudness": 0.9},
    parts={"encoder": ENCODER, "loudness": Part(("params/loudness",), ("model.encoder",))},
    samples=lambda variables, example, key, config: {"real": example.x_BxTxC},
    score=score,
    exports=lambda encoder, decoder: {"encoder": "params/encoder", "loudness": "ema/loudness"},
    Options=Options,
)
