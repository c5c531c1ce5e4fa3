"""Joint pretraining: L = L_enc + lambda L_dec (method section 6).

A task is a module of pure functions that train/step.py calls in this order: `init` once, `start`
with the first batch of a fresh run; per step `draw`, `loss` (per microbatch), `update`, `metrics`.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct

from uniwav_jax.config import Config
from uniwav_jax.losses import self_distillation
from uniwav_jax.models import flow, masking, quantizer, teacher, uniwav
from uniwav_jax.models.encoder import EncoderOutput
from uniwav_jax.types import AddUp, Metrics, PyTree

SAMPLING_PARTS = ("condition", "decoder")  # what the running average for sampling covers
SCORED = None  # generated speech is not a copy of the real one: no pair to compare


@struct.dataclass
class Draws:
    """All random choices of a step but dropout, drawn for the whole global batch at once.

    So microbatches see what the undivided batch would have seen, and the number of masked frames
    is known before the first of them.
    """

    span_mask_BxT: jax.Array
    t_B: jax.Array
    x0_BxTxC: jax.Array
    drop_B: jax.Array


def init(key: jax.Array, config: Config, channels: int) -> tuple[PyTree, PyTree]:
    """Fresh parameters and task state {"teacher", "codebooks"}; the teacher starts as a copy."""
    params_key, books_key = jax.random.split(key)
    params = uniwav.init(params_key, config, channels)
    books = quantizer.init(
        books_key,
        books=config.distillation.top_layers,
        codewords=config.distillation.codewords,
        width=config.model.encoder.width,
    )
    return params, {"teacher": jax.tree.map(jnp.copy, params["encoder"]), "codebooks": books}


def start(
    key: jax.Array,
    task_state: PyTree,
    x_BxTxC: jax.Array,
    frames_B: jax.Array,
    config: Config,
    add_up: AddUp,
) -> PyTree:
    """The task state as training begins, from the first batch: codewords at frames, if so set.

    Args:
        key: of the random choices.
        task_state: of `init`.
        x_BxTxC: normalised surface features of the whole batch.
        frames_B: int32, real frames per row.
        config: the configuration.
        add_up: `add_up(function, rows)` calls `function(*rows)` on microbatches of `rows` and
            returns the sum of its results. What depends on the whole batch, such as the choice of
            frames here, is made before, so that the result does not depend on the microbatches.
    """
    if config.distillation.codebook_init == "noise":
        return task_state
    codewords = config.distillation.codewords
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    chosen_BxT = quantizer.choose_frames(key, frame_mask, codewords)

    def statistics(x_BxTxC: jax.Array, frame_mask_BxT: jax.Array, chosen_BxT: jax.Array) -> PyTree:
        target, _ = uniwav.targets(task_state["teacher"], x_BxTxC, frame_mask_BxT, config)
        return quantizer.chosen_statistics(target, chosen_BxT, codewords)

    at_frames = add_up(statistics, (x_BxTxC, frame_mask, chosen_BxT))
    return {**task_state, "codebooks": quantizer.update(task_state["codebooks"], at_frames, 0.0)}


def draw(
    key: jax.Array,
    x_BxTxC: jax.Array,
    frames_B: jax.Array,
    config: Config,
    tokens_BxU: None = None,
) -> Draws:
    """Random choices for rows of `frames_B` real frames."""
    del tokens_BxU
    span_key, t_key, noise_key, drop_key = jax.random.split(key, 4)
    rows, total, _ = x_BxTxC.shape
    return Draws(
        span_mask_BxT=masking.sample_spans(
            span_key,
            frames_B,
            length=config.masking.length,
            total=total,
            probability=config.masking.probability,
        ),
        t_B=jax.random.uniform(t_key, (rows,)),
        x0_BxTxC=jax.random.normal(noise_key, x_BxTxC.shape),
        drop_B=jax.random.bernoulli(drop_key, config.flow.condition_drop, (rows,)),
    )


def normalizer(draws: Draws) -> jax.Array:
    """What the summed losses are divided by: masked frames of the global batch."""
    return jnp.maximum(draws.span_mask_BxT.sum(), 1).astype(jnp.float32)


def loss(
    params: PyTree,
    task_state: PyTree,
    x_BxTxC: jax.Array,
    frames_B: jax.Array,
    draws: Draws,
    normalizer: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, PyTree]:
    """This microbatch's share of the loss, and sums that add up over microbatches.

    Args:
        params: trained parameters.
        task_state: teacher and codebooks; no gradient reaches them.
        x_BxTxC: normalised surface features.
        frames_B: int32, real frames per row.
        draws: this microbatch's rows of `draw`.
        normalizer: masked frames of the whole global batch.
        key: dropout key; None for evaluation.
        config: the configuration.
    """
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    span_mask = draws.span_mask_BxT
    keys = [None] * 2 if key is None else list(jax.random.split(key))

    # No gradient passes: the loss knows the teacher by the indices of codewords alone.
    target, variance_KxB = uniwav.targets(task_state["teacher"], x_BxTxC, frame_mask, config)
    codes = quantizer.assign(task_state["codebooks"], target)

    # Student: masked input; its heads predict the teacher's codewords on masked frames.
    student = uniwav.encoder_module(config).apply(
        {"params": params["encoder"]}, x_BxTxC, frame_mask, span_mask_BxT=span_mask, key=keys[0]
    )
    logits = uniwav.predict_codes(params["heads"], student, config)
    loss_encoder = self_distillation.cross_entropy_sum(logits, codes, span_mask) / normalizer

    loss_decoder = jnp.zeros(())
    if config.flow.weight > 0:
        loss_decoder = decoder_loss(
            params, student, x_BxTxC, frame_mask, draws, normalizer, keys[1], config
        )

    real_rows = (frames_B > 0).astype(jnp.float32)
    sums = {
        "loss_encoder": loss_encoder,
        "loss_decoder": loss_decoder,
        "targets": quantizer.statistics(target, codes, span_mask, config.distillation.codewords),
        "predictions_KxV": self_distillation.mean_prediction(logits, span_mask),
        "variance_K": (variance_KxB * real_rows).sum(-1),
        "rows": real_rows.sum(),
        "masked_frames": span_mask.sum().astype(jnp.float32),
        "frames": frames_B.sum().astype(jnp.float32),
    }
    return loss_encoder + config.flow.weight * loss_decoder, jax.lax.stop_gradient(sums)


def decoder_loss(
    params: PyTree,
    student: EncoderOutput,
    x_BxTxC: jax.Array,
    frame_mask_BxT: jax.Array,
    draws: Draws,
    normalizer: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> jax.Array:
    """L_dec: velocity of the path from noise to data, conditioned on the student."""
    span_mask = draws.span_mask_BxT
    z = uniwav.condition(params["condition"], student, draws.drop_B)
    x_t = flow.path(draws.x0_BxTxC, x_BxTxC, draws.t_B, config.flow.sigma)
    u = flow.target(draws.x0_BxTxC, x_BxTxC, config.flow.sigma)
    context = jnp.where(span_mask[..., None], 0.0, x_BxTxC) if config.flow.context else None
    v = uniwav.decoder_module(config, x_BxTxC.shape[-1]).apply(
        {"params": params["decoder"]},
        x_t,
        draws.t_B,
        z,
        frame_mask_BxT,
        context_BxTxC=context,
        key=key,
    )
    return flow.squared_error_sum(v, u, span_mask) / normalizer


def update(
    task_state: PyTree, params: PyTree, sums: PyTree, step: jax.Array, config: Config
) -> PyTree:
    """Teacher and codebooks after an optimizer update; `params` are the new ones."""
    decay = teacher.decay_at(step, config.distillation, config.train.steps)
    return {
        "teacher": teacher.update(
            task_state["teacher"], params["encoder"], decay, config.distillation
        ),
        "codebooks": quantizer.update(
            task_state["codebooks"], sums["targets"], config.distillation.codebook_decay
        ),
    }


def average(total: PyTree) -> PyTree:
    """Sums over evaluation batches (of normalizer one) to losses per masked frame."""
    masked = jnp.maximum(total["masked_frames"], 1)
    means = {name: total[name] / masked for name in ("loss_encoder", "loss_decoder")}
    return {**total, **means}


def metrics(sums: PyTree, step: jax.Array, config: Config) -> Metrics:
    """Scalars of a step from the sums over its microbatches.

    "loss_encoder_above_targets" is the encoder loss less the logarithm of the target perplexity:
    nats beyond what it costs to know how frequent each codeword is, negative once the encoder knows
    more. It can be compared while the targets change.
    """
    counts_KxV = sums["targets"]["counts"]
    target_perplexity = quantizer.perplexity(counts_KxV)
    return {
        "loss": sums["loss_encoder"] + config.flow.weight * sums["loss_decoder"],
        "loss_encoder": sums["loss_encoder"],
        "loss_decoder": sums["loss_decoder"],
        "target_perplexity": target_perplexity,
        "loss_encoder_above_targets": sums["loss_encoder"] - jnp.log(target_perplexity),
        "prediction_perplexity": quantizer.perplexity(sums["predictions_KxV"]),
        "active_codewords": (counts_KxV > 0).sum(-1).mean(dtype=jnp.float32),
        "target_variance_min": (sums["variance_K"] / jnp.maximum(sums["rows"], 1)).min(),
        "masked_share": sums["masked_frames"] / jnp.maximum(sums["frames"], 1),
        "teacher_decay": teacher.decay_at(step, config.distillation, config.train.steps),
    }


def samples(
    params: PyTree,
    average: PyTree,
    x_BxTxC: jax.Array,
    frames_B: jax.Array,
    key: jax.Array,
    config: Config,
) -> dict[str, jax.Array]:
    """Surface features to look at and listen to: real, masked (zero where hidden), generated.

    The decoder fills the hidden frames from the student's view of the visible ones.
    """
    span_key, noise_key = jax.random.split(key)
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    span_mask = draw(span_key, x_BxTxC, frames_B, config).span_mask_BxT
    student = uniwav.encoder_module(config).apply(
        {"params": params["encoder"]}, x_BxTxC, frame_mask, span_mask_BxT=span_mask
    )
    z = uniwav.condition(average["condition"], student, None)
    generated = flow.sample(average, z, x_BxTxC, span_mask, frame_mask, noise_key, config)
    return {
        "real": x_BxTxC,
        "masked": jnp.where(span_mask[..., None], 0.0, x_BxTxC),
        "generated": generated,
    }


def describe(config: Config, *, channels: int, frame_rate: float) -> list[str]:
    """What it costs, and the losses of a model that knows nothing, to compare with."""
    codewords = config.distillation.codewords
    flops = uniwav.train_flops_per_second(config, channels, frame_rate)
    left = teacher.first_weights_left(config.distillation, config.train.steps)
    warning = "warning: most of the teacher never learns: " if left > 0.5 else ""
    return [
        f"{warning}the teacher ends with {left:.2g} of its first weights"
        + ("; shorten distillation.teacher_horizon_end or train longer" if warning else ""),
        f"training FLOPs per second of audio: {flops / 1e9:.1f} G",
        f"loss_encoder starts near ln {codewords} = {math.log(codewords):.2f} nats",
        "loss_decoder: 2 = zero output, pi/2 = what x_t alone tells about white Gaussian data",
    ]
