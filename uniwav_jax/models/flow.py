"""Conditional Flow Matching along straight paths, and generation (paper, section 3).

    x_t = (1 - (1 - s) t) x0 + t x1        u = dx_t / dt = x1 - (1 - s) x0

x0 is Gaussian noise, x1 the data, t in [0, 1] the flow time, and s = `config.flow.sigma` the
standard deviation of the noise at t = 1. Training fits the decoder's velocity v(x_t, t, z) to u by
least squares; generation integrates dx/dt = v from x0 at t = 0 to t = 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config
from uniwav_jax.models import uniwav
from uniwav_jax.types import PyTree

Velocity = Callable[[jax.Array, jax.Array], jax.Array]


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
        mask_BxT: bool, True on frames that count.
    """
    error = jnp.square(v_BxTxC.astype(jnp.float32) - u_BxTxC).mean(-1)
    return (error * mask_BxT).sum()


def integrate(velocity: Velocity, x0: jax.Array, *, steps: int, solver: str) -> jax.Array:
    """Solve dx/dt = velocity(x, t) over t in [0, 1] with `steps` equal steps.

    Args:
        velocity: function of x (in the shape of `x0`) and t, float32 [].
        x0: the start, float32 of any shape.
        steps: number of solver steps; "midpoint" calls `velocity` twice in each.
        solver: "midpoint" (second order) or "euler" (first order).

    Returns:
        x at t = 1, float32 in the shape of `x0`.
    """
    h = 1.0 / steps

    def advance(i: jax.Array, x: jax.Array) -> jax.Array:
        t = i * h
        if solver == "euler":
            return x + h * velocity(x, t)
        middle = x + 0.5 * h * velocity(x, t)
        return x + h * velocity(middle, t + 0.5 * h)

    return jax.lax.fori_loop(0, steps, advance, x0)


def sample(
    params: PyTree,
    z_BxTxD: jax.Array,
    known_BxTxC: jax.Array,
    generate_BxT: jax.Array,
    frame_mask_BxT: jax.Array,
    key: jax.Array,
    config: Config,
    *,
    guidance: float | None = None,
) -> jax.Array:
    """Generate the frames that `generate_BxT` marks; the other frames are a prompt.

    During integration the prompt frames follow their own path from noise to data, as in training,
    so that the model reads them at the right noise level. In the result they are unchanged.

    Args:
        params: {"condition", "decoder"}, the running average or the trained parameters.
        z_BxTxD: conditioning from `uniwav.condition`, any float dtype.
        known_BxTxC: normalised surface features, float32; ignored where frames are generated.
        generate_BxT: bool, True where a frame is generated.
        frame_mask_BxT: bool, True on real frames.
        key: random key of the noise.
        config: `config.flow` sets solver, steps and guidance.
        guidance: a in v = (1 + a) v_cond - a v_null; None: `config.flow.guidance`.

    Returns:
        float32 [B, T, C].
    """
    flow = config.flow
    guidance = flow.guidance if guidance is None else guidance
    decoder = uniwav.decoder_module(config, known_BxTxC.shape[-1])
    x0 = jax.random.normal(key, known_BxTxC.shape)
    prompt_velocity = target(x0, known_BxTxC, flow.sigma)
    generate = generate_BxT[..., None]
    context = jnp.where(generate, 0.0, known_BxTxC) if flow.context else None
    null = jnp.broadcast_to(params["condition"]["null"].astype(z_BxTxD.dtype), z_BxTxD.shape)

    def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
        t_B = jnp.full(x.shape[0], t)
        arguments = {"params": params["decoder"]}
        v = decoder.apply(arguments, x, t_B, z_BxTxD, frame_mask_BxT, context_BxTxC=context)
        if guidance:
            v_null = decoder.apply(arguments, x, t_B, null, frame_mask_BxT, context_BxTxC=context)
            v = (1.0 + guidance) * v - guidance * v_null
        return jnp.where(generate, v, prompt_velocity)

    x1 = integrate(velocity, x0, steps=flow.sample_steps, solver=flow.solver)
    return jnp.where(generate, x1, known_BxTxC)
