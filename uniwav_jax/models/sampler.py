"""Generation: integrate dx/dt = v(x, t) from noise at t = 0 to data at t = 1 (method section 5)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config
from uniwav_jax.losses import flow_matching
from uniwav_jax.models import uniwav
from uniwav_jax.types import PyTree

Velocity = Callable[[jax.Array, jax.Array], jax.Array]


def integrate(velocity: Velocity, x0: jax.Array, *, steps: int, solver: str) -> jax.Array:
    """Solve dx/dt = velocity(x, t) over t in [0, 1] with `steps` equal steps.

    Args:
        velocity: function of x and a scalar t.
        x0: start, any shape.
        steps: number of solver steps; "midpoint" calls `velocity` twice in each.
        solver: "midpoint" (second order) or "euler" (first order).
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
    """Generate the frames marked by `generate_BxT`; the others are a prompt and stay as they are.

    Prompt frames follow their own path from noise to data, the one seen in training, so the model
    sees them at the right noise level; in the result they are the given values exactly.

    Args:
        params: {"condition", "decoder"}: the running average, or the trained parameters.
        z_BxTxD: conditioning from `uniwav.condition`.
        known_BxTxC: normalised surface features; ignored where frames are generated.
        generate_BxT: bool, True where a frame is generated.
        frame_mask_BxT: bool, True on real frames.
        key: random key of the noise.
        config: `config.flow` gives solver, steps and guidance.
        guidance: a in v = (1 + a) v_cond - a v_null; None: `config.flow.guidance`.

    Returns:
        float32 [B, T, C].
    """
    flow = config.flow
    guidance = flow.guidance if guidance is None else guidance
    decoder = uniwav.decoder_module(config, known_BxTxC.shape[-1])
    x0 = jax.random.normal(key, known_BxTxC.shape)
    prompt_velocity = flow_matching.target(x0, known_BxTxC, flow.sigma)
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
