"""Conditional Flow Matching along straight paths, and generation (paper, section 3).

    x_t = (1 - (1 - s) t) x0 + t x1        u = dx_t / dt = x1 - (1 - s) x0

x0 is Gaussian noise, x1 the data, t in [0, 1] the flow time, and s = `config.flow.sigma` the
standard deviation of the noise at t = 1. Training fits the decoder's velocity v(x_t, t, z) to u by
least squares; generation integrates dx/dt = v from x0 at t = 0 to t = 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.models import uniwav
from uniwav_jax.types import PyTree

Velocity = Callable[[jax.Array, jax.Array], jax.Array]


def times(key: jax.Array, rows: int, *, stratified: bool) -> jax.Array:
    """Flow times of a batch's rows, uniform on [0, 1); float32 [rows].

    With `stratified` each of `rows` equal parts of the interval has one of them, in random order,
    so that the loss varies less from batch to batch.
    """
    if not stratified:
        return jax.random.uniform(key, (rows,))
    order_key, place_key = jax.random.split(key)
    part = jax.random.permutation(order_key, rows)
    return (part + jax.random.uniform(place_key, (rows,))) / rows


def path(x0_BxTxC: jax.Array, x1_BxTxC: jax.Array, t_B: jax.Array, sigma: float) -> jax.Array:
    """The point x_t on the path, with one time per row; float32 [B, T, C]."""
    t = t_B[:, None, None]
    return (1.0 - (1.0 - sigma) * t) * x0_BxTxC + t * x1_BxTxC


def target(x0_BxTxC: jax.Array, x1_BxTxC: jax.Array, sigma: float) -> jax.Array:
    """The velocity u of the path, the same at all times; float32 [B, T, C]."""
    return x1_BxTxC - (1.0 - sigma) * x0_BxTxC


def squared_error_sum(v_BxTxC: jax.Array, u_BxTxC: jax.Array, mask_BxT: jax.Array) -> jax.Array:
    """Sum over masked frames of the squared error, averaged over channels; float32 [].

    Divide it by the global number of masked frames to get L_dec.

    Args:
        v_BxTxC: predicted velocity, any float dtype.
        u_BxTxC: target velocity, float32.
        mask_BxT: bool, True on frames that count; or float32, how often each frame counts.
    """
    error = jnp.square(v_BxTxC.astype(jnp.float32) - u_BxTxC).mean(-1)
    return (error * mask_BxT).sum()


def velocities(
    decoder: PyTree,
    x1_BxTxC: jax.Array,
    x0_BxTxC: jax.Array,
    t_B: jax.Array,
    z_BxTxD: jax.Array,
    masks: tuple[jax.Array, jax.Array, jax.Array],
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, jax.Array]:
    """The velocity that the decoder predicts, any float dtype, and the true one, float32.

    Both are [B, T, C].

    Args:
        decoder: parameters of the decoder.
        x1_BxTxC: normalised surface features, float32.
        x0_BxTxC: unit Gaussian noise, float32.
        t_B: flow times in [0, 1), float32.
        z_BxTxD: what the decoder is conditioned on, any float dtype.
        masks: three of bool: [B, T], True on real frames; [B, T], True on the hidden frames, which
            count; and [B], True for rows whose conditioning is the null vector. With `flow.context`
            the decoder reads the frames that are not hidden, except in those rows.
        key: dropout key; None for evaluation.
        config: the configuration.
    """
    frame_mask_BxT, hidden_BxT, drop_B = masks
    x_t = path(x0_BxTxC, x1_BxTxC, t_B, config.flow.sigma)
    u = target(x0_BxTxC, x1_BxTxC, config.flow.sigma)
    context_BxTxC = None
    if config.flow.context:
        unseen_BxT = hidden_BxT | drop_B[:, None]
        context_BxTxC = jnp.where(unseen_BxT[..., None], 0.0, x1_BxTxC)
    module = uniwav.decoder_module(config, x1_BxTxC.shape[-1])
    inputs = (x_t, t_B, z_BxTxD, frame_mask_BxT)
    return module.apply({"params": decoder}, *inputs, context_BxTxC=context_BxTxC, key=key), u


def velocity_error(
    decoder: PyTree,
    x1_BxTxC: jax.Array,
    x0_BxTxC: jax.Array,
    t_B: jax.Array,
    z_BxTxD: jax.Array,
    masks: tuple[jax.Array, jax.Array, jax.Array],
    weight: jax.Array,
    key: jax.Array | None,
    config: Config,
    *,
    counted_BxT: jax.Array | None = None,
) -> jax.Array:
    """L_dec, squared error of the velocity on hidden frames divided by `weight`; float32 [].

    Args as in `velocities`; `weight` is the number of hidden frames in the global batch, []. With
    `counted_BxT`, float32, each frame counts so often instead.
    """
    v, u = velocities(decoder, x1_BxTxC, x0_BxTxC, t_B, z_BxTxD, masks, key, config)
    counted_BxT = masks[1] if counted_BxT is None else counted_BxT
    return squared_error_sum(v, u, counted_BxT) / weight


def grid(steps: int, sway: float) -> np.ndarray:
    """The flow times between solver steps, float32 [steps + 1] from 0 to 1.

    t + s (cos(pi t / 2) - 1 + t) for equally spaced t: with a negative s there are more steps near
    the noise, where the path bends most (F5-TTS, arXiv 2410.06885, section 3.3).

    Args:
        steps: number of steps.
        sway: s, from -1 to 2 / (pi - 2); 0: equal steps.
    """
    t = np.linspace(0.0, 1.0, steps + 1)
    return (t + sway * (np.cos(np.pi / 2 * t) - 1 + t)).astype(np.float32)


def integrate(
    velocity: Velocity, x0: jax.Array, *, steps: int, solver: str, sway: float = 0.0
) -> jax.Array:
    """Solve dx/dt = velocity(x, t) over t in [0, 1].

    Args:
        velocity: function of x (in the shape of `x0`) and t, float32 [].
        x0: the start, float32 of any shape.
        steps: number of solver steps; "midpoint" calls `velocity` twice in each.
        solver: "midpoint" (second order) or "euler" (first order).
        sway: of the times between the steps; see `grid`.

    Returns:
        x at t = 1, float32 in the shape of `x0`.
    """
    times = jnp.asarray(grid(steps, sway))

    def advance(i: jax.Array, x: jax.Array) -> jax.Array:
        t, h = times[i], times[i + 1] - times[i]
        if solver == "euler":
            return x + h * velocity(x, t)
        middle = x + 0.5 * h * velocity(x, t)
        return x + h * velocity(middle, t + 0.5 * h)

    return jax.lax.fori_loop(0, steps, advance, x0)


def noise(key: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
    """Unit Gaussian noise, float32 [B, T, C], that a longer T or more rows only extend."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(shape[0]))
    return jax.vmap(lambda row: jax.random.normal(row, shape[1:]))(keys)


def sample(
    params: PyTree,
    z_BxTxD: jax.Array,
    known_BxTxC: jax.Array,
    generate_BxT: jax.Array,
    frame_mask_BxT: jax.Array,
    x0_BxTxC: jax.Array,
    config: Config,
    *,
    guidance: float | jax.Array | None = None,
) -> jax.Array:
    """Generate the frames that `generate_BxT` marks; the other frames are a prompt.

    During integration the prompt frames follow their own path from noise to data, as in training,
    so that the model reads them at the right noise level. In the result they are unchanged. With
    guidance the decoder reads both branches as one batch of 2 B rows; the null branch sees neither
    z nor the visible frames as context.

    Args:
        params: {"condition", "decoder"}, the running average or the trained parameters.
        z_BxTxD: conditioning from `uniwav.condition`, any float dtype.
        known_BxTxC: normalised surface features, float32; ignored where frames are generated.
        generate_BxT: bool, True where a frame is generated.
        frame_mask_BxT: bool, True on real frames.
        x0_BxTxC: unit Gaussian noise, float32; `noise` draws it.
        config: `config.flow` sets solver, steps, sway, temperature and guidance.
        guidance: a in v = (1 + a) v_cond - a v_null, a number or float32 []; None:
            `config.flow.guidance`.

    Returns:
        float32 [B, T, C].
    """
    flow = config.flow
    guidance = flow.guidance if guidance is None else guidance
    guided = isinstance(guidance, jax.Array) or guidance != 0
    decoder = uniwav.decoder_module(config, known_BxTxC.shape[-1])
    x0 = flow.temperature * x0_BxTxC
    prompt_velocity = target(x0, known_BxTxC, flow.sigma)
    generate = generate_BxT[..., None]
    context = jnp.where(generate, 0.0, known_BxTxC) if flow.context else None
    z, mask = z_BxTxD, frame_mask_BxT
    if guided:
        null = jnp.broadcast_to(params["condition"]["null"].astype(z.dtype), z.shape)
        z, mask = jnp.concatenate([z, null]), jnp.concatenate([mask, mask])
        if flow.context:
            context = jnp.concatenate([context, jnp.zeros_like(context)])

    def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
        rows = jnp.concatenate([x, x]) if guided else x
        t_B = jnp.full(len(rows), t)
        v = decoder.apply({"params": params["decoder"]}, rows, t_B, z, mask, context_BxTxC=context)
        if guided:
            v, v_null = jnp.split(v, 2)
            v = (1.0 + guidance) * v - guidance * v_null
        return jnp.where(generate, v, prompt_velocity)

    options = {"steps": flow.sample_steps, "solver": flow.solver, "sway": flow.sway}
    x1 = integrate(velocity, x0, **options)
    return jnp.where(generate, x1, known_BxTxC)
