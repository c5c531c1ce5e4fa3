"""Text-to-speech in context: a span of speech is generated from aligned phones and a prompt.

The paper's protocol (section 4.2): embeddings of the aligned phones are added to the encoder's
input, a contiguous 70 to 100 % of each row is hidden from the encoder, and the whole model is tuned
with L_dec on the hidden frames. Phones and visible frames are dropped together for guidance. Beside
it a small model of durations is trained, so that any text can be spoken (models/durations.py).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from uniwav_jax.config import Config
from uniwav_jax.data.phone_labels import PHONES
from uniwav_jax.models import durations, flow, masking, phone_input, uniwav
from uniwav_jax.models.encoder import EncoderOutput
from uniwav_jax.tasks.parts import ENCODER
from uniwav_jax.tasks.task import Part, Task
from uniwav_jax.types import Example, Metrics, PyTree, Variables

PROMPT_SHARE = 0.3  # of each row that samples keep as the prompt
SPEAKING = ("encoder", "phones", "condition", "decoder")  # parts that generate


@struct.dataclass
class Draws:
    """All random choices of an update except dropout.

    Attributes:
        hidden_BxT: bool, True on the frames that are generated.
        t_B: float32, flow time in [0, 1).
        x0_BxTxC: float32, unit Gaussian noise at which the flow starts.
        drop_B: bool, True for rows without phones and visible frames.
        no_phones_B: bool, True for rows whose visible frames have no phones.
    """

    hidden_BxT: jax.Array
    t_B: jax.Array
    x0_BxTxC: jax.Array
    drop_B: jax.Array
    no_phones_B: jax.Array


def init(key: jax.Array, config: Config, channels: int) -> tuple[PyTree, PyTree]:
    """Fresh {"encoder", "condition", "decoder", "phones", "durations"} and an empty state."""
    model_key, phones_key, durations_key = jax.random.split(key, 3)
    params = uniwav.init(model_key, config, channels)
    width, count = config.model.encoder.width, len(config.tts.phones)
    parts = {name: params[name] for name in ("encoder", "condition", "decoder")}
    parts["phones"] = phone_input.init(phones_key, phones=count, width=width)
    if config.tts.duration_weight:
        parts["durations"] = durations.init(durations_key, config)
    return parts, {}


def draw(key: jax.Array, example: Example, config: Config) -> Draws:
    """Random choices of an update, each field of `Draws` with the rows of `example`."""
    span_key, t_key, noise_key, drop_key, no_phones_key = jax.random.split(key, 5)
    rows, total, _ = example.x_BxTxC.shape
    tts = config.tts
    return Draws(
        hidden_BxT=masking.sample_span(
            span_key, example.frames_B, low=tts.mask_low, high=tts.mask_high, total=total
        ),
        t_B=flow.times(t_key, rows, stratified=config.flow.stratified),
        x0_BxTxC=jax.random.normal(noise_key, example.x_BxTxC.shape),
        drop_B=jax.random.bernoulli(drop_key, tts.drop, (rows,)),
        no_phones_B=jax.random.bernoulli(no_phones_key, tts.prompt_drop, (rows,)),
    )


def weight(example: Example, draws: Draws) -> jax.Array:
    """Number of hidden frames in the global batch, float32 [], at least 1."""
    del example
    return jnp.maximum(draws.hidden_BxT.sum(), 1).astype(jnp.float32)


def encode(
    params: PyTree,
    x_BxTxC: jax.Array,
    frame_mask_BxT: jax.Array,
    hidden_BxT: jax.Array,
    phones_BxU: jax.Array,
    ends_BxU: jax.Array,
    config: Config,
    *,
    no_phones_B: jax.Array | None = None,
    key: jax.Array | None = None,
) -> EncoderOutput:
    """The encoder's output on phones and visible frames.

    Args:
        params: {"encoder", "phones"}.
        x_BxTxC: normalised surface features, float32; hidden frames are not read.
        frame_mask_BxT: bool, True on real frames.
        hidden_BxT: bool, True on the frames to generate.
        phones_BxU: numbers of symbols, int32; -1 on padding.
        ends_BxU: the frame after each phone's last one, int32.
        config: the configuration.
        no_phones_B: bool, True for rows whose visible frames have no phones; None: no rows.
        key: dropout key; None for inference.
    """
    place_BxT = phone_input.of_frames(ends_BxU, x_BxTxC.shape[1])
    embedded = phone_input.embed(params["phones"], phones_BxU)
    added_BxTxD = phone_input.spread(embedded, place_BxT)
    if no_phones_B is not None:
        silent_BxT = no_phones_B[:, None] & ~hidden_BxT
        added_BxTxD = jnp.where(silent_BxT[..., None], 0.0, added_BxTxD)
    return uniwav.encoder_module(config).apply(
        {"params": params["encoder"]},
        x_BxTxC,
        frame_mask_BxT,
        span_mask_BxT=hidden_BxT,
        added_BxTxD=added_BxTxD,
        key=key,
    )


def condition(
    params: PyTree, *arguments: Any, drop_B: jax.Array | None = None, **options: Any
) -> jax.Array:
    """The conditioning z of the decoder, [B, T, D] of the decoder's width.

    Args:
        params: {"encoder", "phones", "condition"}.
        arguments, options: of `encode`.
        drop_B: bool, True for rows with the null vector in place of z; None: no rows.
    """
    encoded = encode(params, *arguments, **options)
    return uniwav.condition(params["condition"], encoded, drop_B)


def loss(
    variables: Variables,
    example: Example,
    draws: Draws,
    weight: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, PyTree]:
    """This microbatch's share of L_dec + the weighted loss of the durations, and sums.

    Args:
        variables: `params` as returned by `init`.
        example: rows with the labels "phones" and "ends".
        draws: this microbatch's rows of `draw`.
        weight: number of hidden frames in the whole global batch, [].
        key: dropout key; None for evaluation.
        config: the configuration.

    Returns:
        The loss [] and sums, float32 []: "loss_decoder", divided by `weight`; "durations", the sum
        over hidden phones of |error of log(1 + frames)|; "phones", their number; "hidden_frames".
    """
    params, x_BxTxC, hidden_BxT = variables.params, example.x_BxTxC, draws.hidden_BxT
    phones_BxU, ends_BxU = example.labels["phones"], example.labels["ends"]
    frame_mask = masking.frame_mask(example.frames_B, x_BxTxC.shape[1])
    keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
    z = condition(
        params,
        x_BxTxC,
        frame_mask,
        hidden_BxT,
        phones_BxU,
        ends_BxU,
        config,
        no_phones_B=draws.no_phones_B,
        drop_B=draws.drop_B,
        key=keys[0],
    )
    path = (x_BxTxC, draws.x0_BxTxC, draws.t_B)
    masks = (frame_mask, hidden_BxT, draws.drop_B)
    value = flow.velocity_error(params["decoder"], *path, z, masks, weight, keys[1], config)
    sums = {"loss_decoder": value, "hidden_frames": hidden_BxT.sum().astype(jnp.float32)}
    if config.tts.duration_weight:
        error, count = _durations(params, phones_BxU, ends_BxU, hidden_BxT, keys[2], config)
        sums |= {"durations": error, "phones": count}
        # Every hidden frame belongs to a phone, so that `weight` is a fair divisor here too.
        value = value + config.tts.duration_weight * error / weight
    return value, jax.lax.stop_gradient(sums)


def _durations(
    params: PyTree,
    phones_BxU: jax.Array,
    ends_BxU: jax.Array,
    hidden_BxT: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, jax.Array]:
    """Sum of the errors of hidden phones, and their number.

    The first and the last phone of a row may be cut by the crop: their durations are neither read
    nor predicted.
    """
    starts_BxU = jnp.pad(ends_BxU[:, :-1], ((0, 0), (1, 0)))
    frames_BxU = ends_BxU - starts_BxU
    real_BxU = phones_BxU >= 0
    following = jnp.pad(real_BxU[:, 1:], ((0, 0), (0, 1)))
    whole_BxU = real_BxU & following & (jnp.arange(real_BxU.shape[1]) > 0)
    last = jnp.clip(ends_BxU - 1, 0, hidden_BxT.shape[1] - 1)
    hidden_BxU = jnp.take_along_axis(hidden_BxT, last, axis=1)
    got = durations.predict(
        params["durations"], phones_BxU, frames_BxU, whole_BxU & ~hidden_BxU, key, config
    )
    wanted = jnp.log1p(jnp.maximum(frames_BxU, 0).astype(jnp.float32))
    counted = whole_BxU & hidden_BxU
    return (jnp.abs(got - wanted) * counted).sum(), counted.sum().astype(jnp.float32)


def mean(total: PyTree) -> PyTree:
    """Divide the loss summed over evaluation batches (with weight 1) by the hidden frames."""
    hidden = jnp.maximum(total["hidden_frames"], 1)
    return {**total, "loss_decoder": total["loss_decoder"] / hidden}


def metrics(sums: PyTree, step: jax.Array, config: Config) -> Metrics:
    """The losses; "loss_durations" is per phone, so that exp of it is the typical factor."""
    del step
    loss, more = sums["loss_decoder"], {}
    if config.tts.duration_weight:
        more["loss_durations"] = sums["durations"] / jnp.maximum(sums["phones"], 1)
        hidden = jnp.maximum(sums["hidden_frames"], 1)
        loss = loss + config.tts.duration_weight * sums["durations"] / hidden
    return {"loss": loss, "loss_decoder": sums["loss_decoder"], **more}


def samples(
    variables: Variables, example: Example, key: jax.Array, config: Config
) -> dict[str, jax.Array]:
    """Surface features, float32 [B, T, C]: "real", and "generated" after the first 30 %.

    They are generated with the durations of the recording, by the running averages.
    """
    params, x_BxTxC = {**variables.params, **variables.ema}, example.x_BxTxC
    frame_mask = masking.frame_mask(example.frames_B, x_BxTxC.shape[1])
    prompt_B = jnp.round(PROMPT_SHARE * example.frames_B)
    hidden = frame_mask & (jnp.arange(x_BxTxC.shape[1]) >= prompt_B[:, None])
    labels = (example.labels["phones"], example.labels["ends"])
    z = condition(params, x_BxTxC, frame_mask, hidden, *labels, config)
    x0 = flow.noise(key, x_BxTxC.shape)
    generated = flow.sample(params, z, x_BxTxC, hidden, frame_mask, x0, config)
    return {"real": x_BxTxC, "generated": generated}


def averages(config: Config) -> dict[str, float]:
    """All parts that generate, and the decay of their averages."""
    parts = [*SPEAKING, *(["durations"] if config.tts.duration_weight else [])]
    return dict.fromkeys(parts, config.flow.ema_decay)


def exports(encoder: str, decoder: str) -> dict[str, str]:
    """All parts that generate, which have averages; there is no teacher."""
    if encoder == "teacher":
        return {}
    source = "ema" if decoder == "average" else "params"
    return {name: f"{source}/{name}" for name in (*SPEAKING, "durations")}


def export_documents(config: Config) -> dict[str, Any]:
    """The structure of the durations' Transformer, which the configuration only implies."""
    described = {"duration_encoder": dataclasses.asdict(durations.structure(config))}
    return {"config.json": {"uniwav": described}}


TASK = Task(
    name="tts",
    init=init,
    draw=draw,
    weight=weight,
    loss=loss,
    mean=mean,
    metrics=metrics,
    labels=PHONES,
    averages=averages,
    parts={
        "encoder": ENCODER,
        "decoder": Part(
            ("params/condition", "params/decoder", "ema/condition", "ema/decoder"),
            ("model.encoder", "model.decoder", "flow.context"),
        ),
        "phones": Part(("params/phones", "ema/phones"), ("model.encoder", "tts.phones")),
        "durations": Part(
            ("params/durations", "ema/durations"),
            ("tts.phones", "tts.duration_layers", "tts.duration_width"),
        ),
    },
    samples=samples,
    headline=(("loss", "loss {:.3f}"), ("loss_durations", "durations {:.3f}")),
    exports=exports,
    export_groups=("tts",),
    export_documents=export_documents,
)
