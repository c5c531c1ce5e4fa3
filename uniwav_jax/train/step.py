"""One update, one evaluation, one set of samples: the functions that are compiled."""

from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from uniwav_jax.config import Config
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.features.batch import surface
from uniwav_jax.parallel.mesh import replicated, shard_rows, sharded_init
from uniwav_jax.train import optim
from uniwav_jax.types import Batch, Metrics, PyTree, TrainState


def fresh_state(
    task: ModuleType, config: Config, features: SurfaceFeatures, feature_params: PyTree
) -> TrainState:
    """The state before the first update; a function of `config.seed` alone."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 1)
    params, task_state = task.init(key, config, features.channels)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optim.make(config).init(params),
        ema={part: jax.tree.map(jnp.copy, params[part]) for part in task.SAMPLING_PARTS},
        task=task_state,
        features=jax.tree.map(jnp.asarray, feature_params),
        skipped=jnp.zeros(2, jnp.int32),
    )


def init_state(
    task: ModuleType,
    config: Config,
    features: SurfaceFeatures,
    feature_params: PyTree,
    mesh: Mesh,
) -> tuple[TrainState, PyTree]:
    """A fresh state, born sharded, and its shardings."""
    return sharded_init(lambda: fresh_state(task, config, features, feature_params), mesh)


def over_microbatches(
    function: Callable[[PyTree, jax.Array | None], tuple[PyTree, PyTree]],
    rows: PyTree,
    parts: int,
    key: jax.Array | None = None,
) -> tuple[PyTree, PyTree]:
    """Call `function` on one microbatch after the other, so that only one is in memory at a time.

    Args:
        function: (rows of a microbatch, key) -> (sums, outputs): `sums` are added up over the
            microbatches, the leaves of `outputs` are arrays [rows, ...].
        rows: tree of arrays [B, ...].
        parts: number of microbatches, a divisor of B; 1 calls `function` once, without a loop.
        key: split into one key per microbatch; None stays None.

    Returns:
        The sums, and the outputs [B, ...] in the order of `rows`.
    """
    if parts == 1:
        return function(rows, key)
    # Microbatch i takes rows i, i + parts, ...: each device keeps the rows that it holds.
    rows = jax.tree.map(lambda a: jnp.moveaxis(a.reshape(-1, parts, *a.shape[1:]), 1, 0), rows)
    keys = None if key is None else jax.random.split(key, parts)
    first = jax.tree.map(lambda a: a[0], (rows, keys))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(function, *first)[0])

    def add(total: PyTree, part: tuple[PyTree, jax.Array | None]) -> tuple[PyTree, PyTree]:
        sums, outputs = function(jax.tree.map(shard_rows, part[0]), part[1])
        return jax.tree.map(jnp.add, total, sums), outputs

    sums, outputs = jax.lax.scan(add, zeros, (rows, keys))
    outputs = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1).reshape(-1, *a.shape[2:]), outputs)
    return sums, outputs


def make_train_step(
    task: ModuleType, config: Config, features: SurfaceFeatures, mesh: Mesh, shardings: PyTree
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Compile `(state, batch) -> (state, metrics)`; the state is donated.

    Randomness: fold_in(seed, step), so a step replays from its number alone. A non-finite loss or
    gradient leaves everything but `step` and `skipped` as it was, teacher and codebooks included.
    """
    optimizer = optim.make(config)
    schedule = optim.tri_stage(config)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        draw_key, dropout_key = jax.random.split(key)
        x_BxTxC, frames_B = surface(batch, state.features, features)
        draws = task.draw(draw_key, x_BxTxC, frames_B, config, batch.tokens)
        normalizer = task.normalizer(draws)
        gradient = jax.value_and_grad(task.loss, has_aux=True)

        def microbatch(rows: PyTree, key: jax.Array) -> tuple[PyTree, PyTree]:
            (loss, sums), grads = gradient(state.params, state.task, *rows, normalizer, key, config)
            return (loss, sums, grads), {}

        rows = (x_BxTxC, frames_B, draws)
        (loss, sums, grads), _ = over_microbatches(
            microbatch, rows, config.train.accumulate, dropout_key
        )
        grad_norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # The running average starts short, so that early samples are not the initial weights.
        ema_decay = jnp.minimum(config.flow.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema = jax.tree.map(
            lambda average, new: ema_decay * average + (1.0 - ema_decay) * new,
            state.ema,
            {part: params[part] for part in task.SAMPLING_PARTS},
        )
        task_state = task.update(state.task, params, sums, state.step, config)

        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        new = (params, opt_state, ema, task_state)
        old = (state.params, state.opt_state, state.ema, state.task)
        new = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
        in_all, in_a_row = state.skipped
        skipped = jnp.where(finite, jnp.stack([in_all, 0]), jnp.stack([in_all, in_a_row]) + 1)
        metrics = {
            **task.metrics(sums, state.step, config),
            "grad_norm": grad_norm,
            "lr": schedule(state.step),
            "skipped": skipped[0],
            "skipped_in_a_row": skipped[1],
            "audio_seconds": batch.samples.sum() / features.sample_rate,
            "bad_rows": batch.bad.sum(),
        }
        state = TrainState(state.step + 1, *new[:3], new[3], state.features, skipped)
        return state, metrics

    return jax.jit(
        train_step,
        in_shardings=(shardings, None),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def make_start_step(
    task: ModuleType, config: Config, features: SurfaceFeatures, shardings: PyTree
) -> Callable[[TrainState, Batch], TrainState]:
    """Compile `(state, first batch) -> state` for what a fresh task takes from data.

    The task sums over rows by a function that takes the update's microbatches one by one.
    """

    def add_up(function: Callable[..., PyTree], rows: tuple[PyTree, ...]) -> PyTree:
        sums, _ = over_microbatches(
            lambda rows, _: (function(*rows), {}), rows, config.train.accumulate
        )
        return sums

    def start_step(state: TrainState, batch: Batch) -> TrainState:
        key = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 2)
        x_BxTxC, frames_B = surface(batch, state.features, features)
        return state.replace(task=task.start(key, state.task, x_BxTxC, frames_B, config, add_up))

    return jax.jit(
        start_step, in_shardings=(shardings, None), out_shardings=shardings, donate_argnums=0
    )


def make_eval_step(
    task: ModuleType, config: Config, features: SurfaceFeatures, mesh: Mesh
) -> Callable[[TrainState, Batch, jax.Array], tuple[PyTree, PyTree]]:
    """Compile `(state, batch, index) -> (sums, outputs of each row)`, without dropout.

    Masks depend on `index` alone. The rows pass in the update's microbatches, so that evaluation
    fits where training fits.
    """

    def eval_step(state: TrainState, batch: Batch, index: jax.Array) -> tuple[PyTree, PyTree]:
        key = jax.random.fold_in(jax.random.key(0), index)
        x_BxTxC, frames_B = surface(batch, state.features, features)
        draws = task.draw(key, x_BxTxC, frames_B, config, batch.tokens)

        def microbatch(rows: PyTree, key: None) -> tuple[PyTree, PyTree]:
            # Normalised by 1: sums over batches are divided by all masked frames at the end.
            _, sums = task.loss(state.params, state.task, *rows, 1.0, key, config)
            return sums, sums.pop("outputs", {})

        return over_microbatches(microbatch, (x_BxTxC, frames_B, draws), config.train.accumulate)

    return jax.jit(eval_step, out_shardings=replicated(mesh))


def make_sample_step(
    task: ModuleType, config: Config, features: SurfaceFeatures, mesh: Mesh
) -> Callable[[TrainState, Batch], dict[str, dict[str, jax.Array]]]:
    """Compile `(state, batch) -> {"features": {name: [B, T, C]}, "audio": {...}, "frames"}`."""

    def sample_step(state: TrainState, batch: Batch) -> dict[str, dict[str, jax.Array]]:
        rows = jax.tree.map(lambda a: a[: config.evaluate.samples], batch)
        x_BxTxC, frames_B = surface(rows, state.features, features)
        named = task.samples(
            state.params, state.ema, x_BxTxC, frames_B, jax.random.key(config.seed), config
        )
        audio = {name: features.decode(state.features, x) for name, x in named.items()}
        return {"features": named, "audio": audio, "frames": frames_B}

    return jax.jit(sample_step, out_shardings=replicated(mesh))
