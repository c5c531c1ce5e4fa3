"""Joint pretraining: L = L_enc + lambda L_dec (method section 6)."""

import math

import jax
import jax.numpy as jnp
from flax import struct

from uniwav_jax.config import Config
from uniwav_jax.losses import self_distillation
from uniwav_jax.models import flow, masking, quantizer, teacher, uniwav
from uniwav_jax.models.encoder import EncoderOutput
from uniwav_jax.tasks.parts import ENCODER
from uniwav_jax.tasks.task import Alarm, Part, Task
from uniwav_jax.types import AddUp, Example, Metrics, PyTree, Variables


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


def warm_start(
    key: jax.Array, variables: Variables, example: Example, config: Config, add_up: AddUp
) -> PyTree:
    """Codewords at frames of the first batch, if `distillation.codebook_init` says so.

    The choice of frames depends on the whole batch and is made before its microbatches, so that the
    result does not depend on them.
    """
    state, frames_B = variables.state, example.frames_B
    if config.distillation.codebook_init == "noise":
        return state
    codewords = config.distillation.codewords
    frame_mask = masking.frame_mask(frames_B, example.x_BxTxC.shape[1])
    chosen_BxT = quantizer.choose_frames(key, frame_mask, codewords)

    def statistics(x_BxTxC: jax.Array, frame_mask_BxT: jax.Array, chosen_BxT: jax.Array) -> PyTree:
        target, _ = uniwav.targets(state["teacher"], x_BxTxC, frame_mask_BxT, config)
        return quantizer.chosen_statistics(target, chosen_BxT, codewords)

    at_frames = add_up(statistics, (example.x_BxTxC, frame_mask, chosen_BxT))
    return {**state, "codebooks": quantizer.update(state["codebooks"], at_frames, 0.0)}


def draw(key: jax.Array, example: Example, config: Config) -> Draws:
    """Random choices of an update."""
    x_BxTxC, frames_B = example.x_BxTxC, example.frames_B
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


def weight(example: Example, draws: Draws) -> jax.Array:
    """Masked frames of the global batch, []."""
    del example
    return jnp.maximum(draws.span_mask_BxT.sum(), 1).astype(jnp.float32)


def loss(
    variables: Variables,
    example: Example,
    draws: Draws,
    weight: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, PyTree]:
    """This microbatch's share of L = L_enc + lambda L_dec, and sums.

    Args:
        variables: `params` are trained; no gradient reaches `state`, the teacher and codebooks.
        example: this microbatch's rows.
        draws: this microbatch's rows of `draw`.
        weight: masked frames of the whole global batch.
        key: dropout key; None for evaluation.
        config: the configuration.

    Returns:
        The loss [] and sums: "loss_encoder" and "loss_decoder" [], "targets" {"sums" [K, V, D],
        "counts" [K, V]}, "predictions_KxV", "variance_K", and "rows", "masked_frames", "frames" [].
    """
    params, state = variables.params, variables.state
    x_BxTxC, frames_B = example.x_BxTxC, example.frames_B
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    span_mask = draws.span_mask_BxT
    keys = [None] * 2 if key is None else list(jax.random.split(key))

    # No gradient passes: the loss knows the teacher by the indices of codewords alone.
    target, variance_KxB = uniwav.targets(state["teacher"], x_BxTxC, frame_mask, config)
    codes = quantizer.assign(state["codebooks"], target)

    # Student: masked input; its heads predict the teacher's codewords on masked frames.
    student = uniwav.encoder_module(config).apply(
        {"params": params["encoder"]}, x_BxTxC, frame_mask, span_mask_BxT=span_mask, key=keys[0]
    )
    logits = uniwav.predict_codes(params["heads"], student, config)
    loss_encoder = self_distillation.cross_entropy_sum(logits, codes, span_mask) / weight

    loss_decoder = jnp.zeros(())
    if config.flow.weight > 0:
        loss_decoder = decoder_loss(
            params, student, x_BxTxC, frame_mask, draws, weight, keys[1], config
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
    weight: jax.Array,
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
    return flow.squared_error_sum(v, u, span_mask) / weight


def update(variables: Variables, sums: PyTree, step: jax.Array, config: Config) -> PyTree:
    """Teacher and codebooks after an optimizer update."""
    state = variables.state
    decay = teacher.decay_at(step, config.distillation, config.train.steps)
    return {
        "teacher": teacher.update(
            state["teacher"], variables.params["encoder"], decay, config.distillation
        ),
        "codebooks": quantizer.update(
            state["codebooks"], sums["targets"], config.distillation.codebook_decay
        ),
    }


def mean(total: PyTree) -> PyTree:
    """Sums over evaluation batches (of weight 1) to losses per masked frame."""
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
    variables: Variables, example: Example, key: jax.Array, config: Config
) -> dict[str, jax.Array]:
    """Surface features [B, T, C]: real, masked (zero where hidden) and generated ones.

    The decoder generates the hidden frames, conditioned on the student's output for the visible
    ones, with the running average of its weights.
    """
    params, average, x_BxTxC = variables.params, variables.ema, example.x_BxTxC
    span_key, noise_key = jax.random.split(key)
    frame_mask = masking.frame_mask(example.frames_B, x_BxTxC.shape[1])
    span_mask = draw(span_key, example, config).span_mask_BxT
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


def averages(config: Config) -> dict[str, float]:
    """The parts that sample follow the trained ones."""
    return dict.fromkeys(("condition", "decoder"), config.flow.ema_decay)


def exports(encoder: str, decoder: str) -> dict[str, str]:
    """The student with its heads and the decoder, or the teacher with its codebooks.

    Heads and decoder learn from the student's states, codebooks cluster the teacher's, so neither
    is exported beside the other encoder.
    """
    if encoder == "teacher":
        return {"encoder": "state/teacher", "codebooks": "state/codebooks"}
    source = "ema" if decoder == "average" else "params"
    return {
        "encoder": "params/encoder",
        "heads": "params/heads",
        "condition": f"{source}/condition",
        "decoder": f"{source}/decoder",
    }


def describe(config: Config, *, channels: int, frame_rate: float) -> list[str]:
    """The cost, and for comparison the losses of an untrained model."""
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


TASK = Task(
    name="pretrain",
    init=init,
    warm_start=warm_start,
    draw=draw,
    weight=weight,
    loss=loss,
    update=update,
    mean=mean,
    metrics=metrics,
    averages=averages,
    copies={"state/teacher": "params/encoder"},
    parts={
        "encoder": ENCODER,
        "heads": Part(
            ("params/heads", "state/codebooks"),
            (
                *("model.encoder", "distillation.prediction"),
                *("distillation.top_layers", "distillation.codewords"),
            ),
            needs=("state/codebooks",),
        ),
        "decoder": Part(
            ("params/condition", "params/decoder", "ema/condition", "ema/decoder"),
            ("model.encoder", "model.decoder", "flow.context"),
        ),
    },
    samples=samples,
    describe=describe,
    flops=uniwav.train_flops_per_second,
    alarms=(
        Alarm(
            "target_perplexity",
            False,
            "min_target_perplexity",
            "target perplexity {value:.1f} is below {limit:g}: the clusters collapse; lower the"
            " learning rate, take larger batches, or set distillation.prediction=spidr",
        ),
        Alarm(
            "loss_encoder",
            False,
            "min_encoder_loss",
            "encoder loss {value:.2f} is below {limit:g}: the teacher has become trivial; lengthen"
            " its horizon (distillation.teacher_horizon_*) and check that the data is not silence",
        ),
        Alarm(
            "target_variance_min",
            False,
            "min_target_variance",
            "variance of a target layer is {value:.1e}, below {limit:g}: the teacher's output is"
            " constant over time",
        ),
    ),
    headline=(
        ("loss", "loss {:.3f}"),
        ("loss_encoder", "enc {:.3f}"),
        ("loss_decoder", "dec {:.3f}"),
        ("target_perplexity", "perplexity {:.0f}"),
    ),
    exports=exports,
    export_groups=("distillation",),
)
