"""The functions that are compiled: one update, one batch of evaluation, one set of samples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from uniwav_jax.config import Config
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.features.batch import batch_mfcc, surface
from uniwav_jax.parallel.mesh import replicated, shard_rows, sharded_init
from uniwav_jax.tasks.task import Task
from uniwav_jax.train import optim
from uniwav_jax.types import Batch, Example, Metrics, PyTree, TrainState, Variables


def fresh_state(
    task: Task, config: Config, features: SurfaceFeatures, feature_params: PyTree
) -> TrainState:
    """The state before the first update; its random numbers depend only on `config.seed`."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 1)
    params, state = task.init(key, config, features.channels)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optim.make(config, task.freezes(config)).init(params),
        ema={part: jax.tree.map(jnp.copy, params[part]) for part in task.averages(config)},
        state=state,
        frozen={"features": jax.tree.map(jnp.asarray, feature_params)},
        skipped=jnp.zeros(2, jnp.int32),
    )


def init_state(
    task: Task,
    config: Config,
    features: SurfaceFeatures,
    feature_params: PyTree,
    mesh: Mesh,
) -> tuple[TrainState, PyTree]:
    """A fresh state, created directly in its shards, and its shardings."""
    return sharded_init(lambda: fresh_state(task, config, features, feature_params), mesh)


def _example(
    batch: Batch, variables: Variables, features: SurfaceFeatures, task: Task, config: Config
) -> Example:
    x_BxTxC, frames_B = surface(batch, variables.frozen["features"], features)
    labels = batch.labels
    if task.reads_mfcc(config):
        mfcc_BxTxC = batch_mfcc(batch, x_BxTxC, variables.frozen["features"], features)
        labels = {**labels, "mfcc": mfcc_BxTxC}
    return Example(x_BxTxC, frames_B, labels)


def over_microbatches(
    function: Callable[[PyTree, jax.Array | None], tuple[PyTree, PyTree]],
    rows: PyTree,
    parts: int,
    key: jax.Array | None = None,
) -> tuple[PyTree, PyTree]:
    """Call `function` on one microbatch after another, so that only one is in memory at a time.

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
    # Microbatch i takes rows i, i + parts, ..., so that no row moves to another device.
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
    task: Task, config: Config, features: SurfaceFeatures, mesh: Mesh, shardings: PyTree
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Compile `(state, batch) -> (state, metrics)`; the state is donated.

    All random numbers of a step come from `fold_in(seed, step)`, so that a step can be repeated
    from its number. If the loss or a gradient is not finite, only `step` and `skipped` change; the
    task's state, such as teacher and codebooks, stays unchanged too.

    The metrics are scalars: those of the task (`Task.metrics`), "grad_norm" (before clipping),
    "lr", "skipped" and "skipped_in_a_row" (see `TrainState.skipped`), "audio_seconds" (of real
    audio in the batch) and "bad_rows" (unreadable clips).
    """
    optimizer = optim.make(config, task.freezes(config))
    decays = task.averages(config)
    schedule = optim.tri_stage(config)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        draw_key, dropout_key = jax.random.split(key)
        variables = state.variables
        example = _example(batch, variables, features, task, config)
        draws = task.draw(draw_key, example, config)
        weight = task.weight(example, draws)

        def loss_of(params: PyTree, *rows_and_key: PyTree) -> tuple[jax.Array, PyTree]:
            *rows, key = rows_and_key
            return task.loss(variables.replace(params=params), *rows, weight, key, config)

        gradient = jax.value_and_grad(loss_of, has_aux=True)

        def microbatch(rows: PyTree, key: jax.Array) -> tuple[PyTree, PyTree]:
            (loss, sums), grads = gradient(state.params, *rows, key)
            return (loss, sums, grads), {}

        (loss, sums, grads), _ = over_microbatches(
            microbatch, (example, draws), config.train.accumulate, dropout_key
        )
        grad_norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = {
            part: _averaged(average, params[part], decays[part], state.step)
            for part, average in state.ema.items()
        }
        new = variables.replace(params=params, ema=ema)
        new = new.replace(state=task.update(new, sums, state.step, config))

        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        new, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (new.replace(frozen={}), opt_state),
            (variables.replace(frozen={}), state.opt_state),
        )
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
        state = TrainState(
            step=state.step + 1,
            params=new.params,
            opt_state=opt_state,
            ema=new.ema,
            state=new.state,
            frozen=state.frozen,
            skipped=skipped,
        )
        return state, metrics

    return jax.jit(
        train_step,
        in_shardings=(shardings, None),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def _averaged(average: PyTree, new: PyTree, decay: float, step: jax.Array) -> PyTree:
    """The running average after update `step`.

    Its horizon is short at first, so that the initial weights do not dominate early samples.
    """
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, average, new)


def make_start_step(
    task: Task,
    config: Config,
    features: SurfaceFeatures,
    shardings: PyTree,
    taken: frozenset[str] = frozenset(),
) -> Callable[[TrainState, Batch], TrainState]:
    """Compile `(state, first batch) -> state`, which applies `task.warm_start`.

    Args:
        task: the task.
        config: the configuration.
        features: the surface features.
        shardings: shardings of the state.
        taken: names of the entries of `TrainState.state` that were taken from another run
            (`config.init_from`); they stay unchanged.
    """

    def add_up(function: Callable[..., PyTree], rows: tuple[PyTree, ...]) -> PyTree:
        sums, _ = over_microbatches(
            lambda rows, _: (function(*rows), {}), rows, config.train.accumulate
        )
        return sums

    def start_step(state: TrainState, batch: Batch) -> TrainState:
        key = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 2)
        example = _example(batch, state.variables, features, task, config)
        started = task.warm_start(key, state.variables, example, config, add_up)
        return state.replace(
            state={
                name: state.state[name] if name in taken else new for name, new in started.items()
            }
        )

    return jax.jit(
        start_step, in_shardings=(shardings, None), out_shardings=shardings, donate_argnums=0
    )


def make_eval_step(
    task: Task, config: Config, features: SurfaceFeatures, mesh: Mesh
) -> Callable[[TrainState, Batch, jax.Array], tuple[PyTree, PyTree]]:
    """Compile `(state, batch, index) -> (sums, outputs)`, without dropout.

    `sums` are those of `task.loss` with weight 1; `outputs` are {name: array [B, ...]}, with the
    batch's "bad" beside those of the task. Masks depend only on `index`, int32 []. The batch is
    divided into the same microbatches as in training, so that evaluation does not need more memory.
    """

    def eval_step(state: TrainState, batch: Batch, index: jax.Array) -> tuple[PyTree, PyTree]:
        key = jax.random.fold_in(jax.random.key(0), index)
        example = _example(batch, state.variables, features, task, config)
        draws = task.draw(key, example, config)

        def microbatch(rows: PyTree, key: None) -> tuple[PyTree, PyTree]:
            # The weight is 1: `task.mean` divides the sums over all batches at the end.
            _, sums = task.loss(state.variables, *rows, 1.0, key, config)
            return sums, sums.pop("outputs", {})

        parts = config.train.accumulate
        sums, outputs = over_microbatches(microbatch, (example, draws), parts)
        return sums, {**outputs, "bad": batch.bad}

    return jax.jit(eval_step, out_shardings=replicated(mesh))


def make_sample_step(
    task: Task, config: Config, features: SurfaceFeatures, mesh: Mesh
) -> Callable[[TrainState, Batch], dict[str, dict[str, jax.Array]]]:
    """Compile `(state, batch) -> samples` of the first `evaluate.samples` rows.

    The samples are {"features": {name: float32 [B, T, C]}, "audio": {name: float32 [B, S]},
    "frames": int32 [B]}; names are those of `task.samples`, and "audio" decodes the features.
    """

    def sample_step(state: TrainState, batch: Batch) -> dict[str, dict[str, jax.Array]]:
        rows = jax.tree.map(lambda a: a[: config.evaluate.samples], batch)
        example = _example(rows, state.variables, features, task, config)
        named = task.samples(state.variables, example, jax.random.key(config.seed), config)
        feature_params = state.frozen["features"]
        audio = {name: features.decode(feature_params, x) for name, x in named.items()}
        return {"features": named, "audio": audio, "frames": example.frames_B}

    return jax.jit(sample_step, out_shardings=replicated(mesh))
