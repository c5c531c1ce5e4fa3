"""Joint pretraining: L = L_enc + lambda L_dec (method section 6)."""

import math

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config
from uniwav_jax.losses import self_distillation
from uniwav_jax.models import flow, masking, quantizer, teacher, uniwav
from uniwav_jax.tasks import mfcc_targets
from uniwav_jax.tasks.parts import ENCODER
from uniwav_jax.tasks.pretrain_alarms import ALARMS
from uniwav_jax.tasks.pretrain_draws import Draws, draw
from uniwav_jax.tasks.task import FOREVER, Part, Task
from uniwav_jax.types import AddUp, Example, Metrics, PyTree, Variables


def init(key: jax.Array, config: Config, channels: int) -> tuple[PyTree, PyTree]:
    """Fresh parameters {"encoder", "heads", "condition", "decoder"} and the task's state.

    The state is {"teacher": a copy of the encoder's parameters, "codebooks": {"sums" [K, V, D],
    "counts" [K, V]}}, all float32. With clusters of MFCCs as targets it also has "mfcc"
    {"sums" [1, V, 39], "counts" [1, V]}; and where the run has phases "updates" [], the
    number of updates so far.
    """
    params_key, books_key = jax.random.split(key)
    params = uniwav.init(params_key, config, channels)
    books = quantizer.init(
        books_key,
        books=config.distillation.top_layers,
        codewords=config.distillation.codewords,
        width=config.model.encoder.width,
    )
    state = {"teacher": jax.tree.map(jnp.copy, params["encoder"]), "codebooks": books}
    if config.distillation.mfcc:
        state["mfcc"] = mfcc_targets.init(jax.random.fold_in(books_key, 1), config)
    if has_phases(config):
        state["updates"] = jnp.zeros(())
    return params, state


def has_phases(config: Config) -> bool:
    """Whether some losses are only computed in a part of the run."""
    return config.distillation.mfcc_until > 0 or config.flow.start > 0


def warm_start(
    key: jax.Array, variables: Variables, example: Example, config: Config, add_up: AddUp
) -> PyTree:
    """Move the codewords to frames of the first batch, if `distillation.codebook_init` is "frames".

    The frames are chosen from the whole batch before it is divided, so that the result does not
    depend on the number of microbatches.
    """
    state, frames_B = variables.state, example.frames_B
    codewords = config.distillation.codewords
    frame_mask = masking.frame_mask(frames_B, example.x_BxTxC.shape[1])
    chosen_BxT = quantizer.choose_frames(key, frame_mask, codewords)
    if config.distillation.mfcc:
        state = {
            **state,
            "mfcc": mfcc_targets.start(
                state["mfcc"], example, frame_mask, chosen_BxT, config, add_up
            ),
        }
    if config.distillation.codebook_init == "noise":
        return state

    def statistics(x_BxTxC: jax.Array, frame_mask_BxT: jax.Array, chosen_BxT: jax.Array) -> PyTree:
        target, _ = uniwav.targets(state["teacher"], x_BxTxC, frame_mask_BxT, config)
        return quantizer.chosen_statistics(target, chosen_BxT, codewords)

    at_frames = add_up(statistics, (example.x_BxTxC, frame_mask, chosen_BxT))
    return {**state, "codebooks": quantizer.update(state["codebooks"], at_frames, 0.0)}


def weight(example: Example, draws: Draws) -> jax.Array:
    """Number of masked frames in the global batch, float32 [], at least 1."""
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
        variables: `params` {"encoder", "heads", "condition", "decoder"} are trained. `state`
            {"teacher", "codebooks"} gives the targets and receives no gradient.
        example: this microbatch's rows, with the label "mfcc" where the configuration asks for it.
        draws: this microbatch's rows of `draw`.
        weight: number of masked frames in the whole global batch, [].
        key: dropout key; None for evaluation.
        config: the configuration.

    Returns:
        The loss [] and sums, float32: "loss_encoder" [] (nats) and "loss_decoder" [] (squared error
        of the velocity), both divided by `weight`; "targets" {"sums" [K, V, D], "counts" [K, V]},
        the masked frames assigned to each codeword; "predictions_KxV", the predicted probabilities
        of the codewords; "variance_K", the targets' variance over time, summed over rows; and the
        numbers of "rows", "masked_frames" and "frames", each [], without empty rows and padding.
        Where codewords can move, "candidates" has their new places like "targets"; with clusters of
        MFCCs as targets "mfcc" has the sums of `mfcc_targets.loss`.
    """
    params, state, d = variables.params, variables.state, config.distillation
    x_BxTxC, frames_B = example.x_BxTxC, example.frames_B
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    span_mask = draws.span_mask_BxT
    keys = [None] * 2 if key is None else list(jax.random.split(key))
    if frozen := freezes(config):
        keys[0] = None  # no dropout
        params = {n: jax.lax.stop_gradient(p) if n in frozen else p for n, p in params.items()}

    # The loss uses only the indices of the teacher's codewords, so no gradient reaches the teacher.
    target, variance_KxB = uniwav.targets(state["teacher"], x_BxTxC, frame_mask, config)
    codes = quantizer.assign(state["codebooks"], target)

    # The student reads masked input; its heads predict the teacher's codewords on masked frames.
    student = uniwav.encoder_module(config).apply(
        {"params": params["encoder"]}, x_BxTxC, frame_mask, span_mask_BxT=span_mask, key=keys[0]
    )
    logits = uniwav.predict_codes(params["heads"], student, config)
    loss_encoder = self_distillation.cross_entropy_sum(logits, codes, span_mask) / weight

    more, loss_all = {}, loss_encoder
    if d.codebook_dead:
        places = draws.candidates_BxT
        more["candidates"] = quantizer.chosen_statistics(target, places, d.codewords)
    if d.mfcc:
        loss_mfcc, more["mfcc"] = mfcc_targets.loss(
            params["mfcc_head"],
            state["mfcc"],
            student,
            example,
            frame_mask,
            span_mask,
            draws.candidates_BxT,
            weight,
            config,
        )
        loss_all = loss_encoder + d.mfcc_weight * loss_mfcc
        if d.mfcc_until:
            only = state["updates"] < d.mfcc_until * config.train.steps
            loss_all = jnp.where(only, loss_mfcc, loss_all)

    loss_decoder = jnp.zeros(())
    if config.flow.weight > 0:

        def of_decoder() -> jax.Array:
            z = uniwav.condition(params["condition"], student, draws.drop_B)
            path = (x_BxTxC, draws.x0_BxTxC, draws.t_B)
            masks = (frame_mask, span_mask, draws.drop_B)
            return flow.velocity_error(
                params["decoder"],
                *path,
                z,
                masks,
                weight,
                keys[1],
                config,
                counted_BxT=draws.counted_BxT,
            )

        if config.flow.start:
            begun = state["updates"] >= config.flow.start * config.train.steps
            loss_decoder = jax.lax.cond(begun, of_decoder, lambda: jnp.zeros(()))
        else:
            loss_decoder = of_decoder()

    real_rows = (frames_B > 0).astype(jnp.float32)
    sums = {
        "loss_encoder": loss_encoder,
        "loss_decoder": loss_decoder,
        "targets": quantizer.statistics(target, codes, span_mask, d.codewords),
        "predictions_KxV": self_distillation.mean_prediction(logits, span_mask),
        "variance_K": (variance_KxB * real_rows).sum(-1),
        "rows": real_rows.sum(),
        "masked_frames": span_mask.sum().astype(jnp.float32),
        "frames": frames_B.sum().astype(jnp.float32),
        **more,
    }
    return loss_all + config.flow.weight * loss_decoder, jax.lax.stop_gradient(sums)


def update(variables: Variables, sums: PyTree, step: jax.Array, config: Config) -> PyTree:
    """The teacher and the codebooks after an update of the optimizer."""
    state, d = variables.state, config.distillation
    decay = teacher.decay_at(step, d, config.train.steps)

    def moved(books: PyTree, sums: PyTree) -> PyTree:
        if not d.codebook_dead:
            return quantizer.update(books, sums["targets"], d.codebook_decay)
        return quantizer.update_and_revive(
            books,
            sums["targets"],
            sums["candidates"],
            d.codebook_decay,
            d.codebook_dead * sums["targets"]["counts"][0].sum() / d.codewords,
        )

    new = dict(state)
    if not config.flow.encoder_frozen:
        new["teacher"] = teacher.update(state["teacher"], variables.params["encoder"], decay, d)
        new["codebooks"] = moved(state["codebooks"], sums)
        if d.mfcc:
            new["mfcc"] = moved(state["mfcc"], sums["mfcc"])
    if has_phases(config):
        new["updates"] = state["updates"] + 1
    return new


def mean(total: PyTree) -> PyTree:
    """Divide the losses summed over evaluation batches (with weight 1) by the masked frames."""
    masked = jnp.maximum(total["masked_frames"], 1)
    means = {name: total[name] / masked for name in ("loss_encoder", "loss_decoder")}
    if "mfcc" in total:
        means["mfcc"] = {**total["mfcc"], "loss": total["mfcc"]["loss"] / masked}
    return {**total, **means}


def metrics(sums: PyTree, step: jax.Array, config: Config) -> Metrics:
    """Scalars of a step from the sums over its microbatches.

    "loss_encoder_above_targets" is the encoder loss minus the logarithm of the target perplexity,
    in nats: the loss relative to a model that predicts only the frequencies of the codewords. It is
    negative if the encoder is better than that, and comparable while the targets change.
    """
    counts_KxV = sums["targets"]["counts"]
    target_perplexity = quantizer.perplexity(counts_KxV)
    loss, more, d = sums["loss_encoder"], {}, config.distillation
    if d.mfcc:
        more, only = mfcc_targets.metrics(sums["mfcc"]), step < d.mfcc_until * config.train.steps
        loss = jnp.where(only, more["loss_mfcc"], loss + d.mfcc_weight * more["loss_mfcc"])
    return {
        "loss": loss + config.flow.weight * sums["loss_decoder"],
        **more,
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
    """Surface features, float32 [B, T, C]: "real", "masked" (zero where hidden) and "generated".

    The decoder generates the hidden frames, conditioned on the student's output for the visible
    ones. It uses the running average of its weights.
    """
    params, average, x_BxTxC = variables.params, variables.ema, example.x_BxTxC
    span_key, noise_key = jax.random.split(key)
    frame_mask = masking.frame_mask(example.frames_B, x_BxTxC.shape[1])
    span_mask = draw(span_key, example, config).span_mask_BxT
    student = uniwav.encoder_module(config).apply(
        {"params": params["encoder"]}, x_BxTxC, frame_mask, span_mask_BxT=span_mask
    )
    z = uniwav.condition(average["condition"], student, None)
    x0 = flow.noise(noise_key, x_BxTxC.shape)
    generated = flow.sample(average, z, x_BxTxC, span_mask, frame_mask, x0, config)
    return {
        "real": x_BxTxC,
        "masked": jnp.where(span_mask[..., None], 0.0, x_BxTxC),
        "generated": generated,
    }


def freezes(config: Config) -> dict[str, float]:
    """Nothing, or with `flow.encoder_frozen` all that the decoder reads or that has targets."""
    if not config.flow.encoder_frozen:
        return {}
    heads = ["heads", *(["mfcc_head"] if config.distillation.mfcc else [])]
    return dict.fromkeys(("encoder", *heads), FOREVER)


def averages(config: Config) -> dict[str, float]:
    """The parts whose averaged weights generate samples, and the decay of the average."""
    return dict.fromkeys(("condition", "decoder"), config.flow.ema_decay)


def exports(encoder: str, decoder: str) -> dict[str, str]:
    """The student with its heads and the decoder, or the teacher with its codebooks.

    Heads and decoder are trained on the student's states, and codebooks cluster the teacher's, so
    none of them is exported with the other encoder.
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
    """Lines about the teacher, the cost of training, and the losses of an untrained model."""
    codewords = config.distillation.codewords
    flops = uniwav.train_flops_per_second(config, channels, frame_rate)
    left = teacher.first_weights_left(config.distillation, config.train.steps)
    warning = "warning: most of the teacher is not trained: " if left > 0.5 else ""
    return [
        f"{warning}the final teacher contains {left:.2g} of its first weights"
        + ("; lower distillation.teacher_horizon_end or train longer" if warning else ""),
        f"training FLOPs per second of audio: {flops / 1e9:.1f} G",
        f"loss_encoder starts near ln {codewords} = {math.log(codewords):.2f} nats",
        "loss_decoder is 2 for zero output, and pi/2 for the best guess from x_t alone on white"
        " Gaussian data",
    ]


TASK = Task(
    name="pretrain",
    init=init,
    warm_start=warm_start,
    draw=draw,
    weight=weight,
    loss=loss,
    update=update,
    reads_mfcc=lambda config: config.distillation.mfcc,
    mean=mean,
    metrics=metrics,
    freezes=freezes,
    averages=averages,
    copies={"state/teacher": "params/encoder"},
    parts={
        "encoder": ENCODER,
        "heads": Part(
            ("params/heads", "state/codebooks", "params/mfcc_head", "state/mfcc"),
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
    alarms=ALARMS,
    headline=(
        ("loss", "loss {:.3f}"),
        ("loss_encoder", "enc {:.3f}"),
        ("loss_decoder", "dec {:.3f}"),
        ("target_perplexity", "perplexity {:.0f}"),
    ),
    exports=exports,
    export_groups=("distillation",),
)
