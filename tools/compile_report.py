"""Compile the training step for a TPU slice without a TPU, and report its memory and time bounds.

    python tools/compile_report.py --config=pretrain_base --topology=v5p:4x4x4
    python tools/compile_report.py ... --topology=v6e:4x4,slices=2 --config.mesh.slices=2
    python tools/compile_report.py ... --largest_batch --out report.json

It needs the extra tpu, which installs the compiler, but no TPU. The step is compiled with the flags
of launch/flags.sh for rows of the longest bucket. Each chip computes data.batch_seconds / chips
seconds of audio, or --seconds_per_chip. Times are bounds from peak rates, not measurements: a step
takes at least the longest of the times for compute, memory and network.
"""

import collections
import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from typing import Any

os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # the compiler uses no chip

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.experimental import topologies
from jax.sharding import NamedSharding

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax import main, tasks
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.parallel import mesh as mesh_lib
from uniwav_jax.train import compiled as compiled_lib
from uniwav_jax.train import step as step_lib
from uniwav_jax.types import Batch, PyTree

TOPOLOGY = flags.DEFINE_string("topology", "v5e:4x4", "CHIP:AxB[xC][,slices=N]")
SECONDS = flags.DEFINE_float("seconds_per_chip", None, "seconds of audio per batch on each chip")
LARGEST = flags.DEFINE_bool("largest_batch", False, "search the largest batch that fits in memory")
OUT = flags.DEFINE_string("out", None, "JSON file for the report")


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak rates of one chip, from Google Cloud's system architecture pages."""

    flops: float  # operations per second in bfloat16
    memory: float  # bytes per second of HBM
    network: float  # bytes per second over all ICI links, in one direction
    hbm: float  # bytes of memory


CHIPS = {
    "v4": Chip(275e12, 1228e9, 300e9, 32e9),
    "v5e": Chip(197e12, 819e9, 200e9, 16e9),
    "v5p": Chip(459e12, 2765e9, 600e9, 95e9),
    "v6e": Chip(918e12, 1640e9, 400e9, 32e9),
}
# Assumptions about texts, for the task asr.
TOKENS_A_SECOND, LETTERS = 15, tuple("'abcdefghijklmnopqrstuvwxyz|")


def parse_topology(text: str) -> tuple[str, str, int]:
    """Parse a topology such as 'v5p:4x4x4,slices=2' into chip, grid and number of slices."""
    match = re.fullmatch(r"(v\w+):(\d+(?:x\d+){1,2})(?:,slices=(\d+))?", text)
    if not match or match[1] not in CHIPS:
        raise UserError(
            f"--topology={text} must have the form CHIP:AxB[,slices=N], or CHIP:AxBxC for v4 and"
            f" v5p; chips: {', '.join(CHIPS)}"
        )
    return match[1], match[2], int(match[3] or 1)


def devices(chip: str, grid: str, slices: int) -> list[Any]:
    """The devices of the slice, for the compiler only."""
    flags_file = pathlib.Path(__file__).parents[1] / "launch" / "flags.sh"
    command = ["bash", "-euc", 'source "$0"; tpu_flags "$@"', str(flags_file), chip, str(slices)]
    os.environ["LIBTPU_INIT_ARGS"] = subprocess.check_output(command, text=True).strip()
    more: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    if chip == "v4":  # JAX runs the two cores of a v4 chip as one device
        more["chip_config_name"] = "megacore"
    try:
        described = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{chip}:{grid}", **more
        )
    except Exception as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"no compiler for --topology={TOPOLOGY.value}; install the extra tpu, and check that"
            f" such slices exist ({first})"
        ) from error
    return list(described.devices)


@functools.cache
def step_of(config: Config, rows: int, chips: tuple[Any, ...]) -> dict[str, Any]:
    """Compile the step for a global batch of `rows` rows of the longest bucket; the report."""
    mesh = mesh_lib.make_mesh(config.mesh, list(chips))
    mesh_lib.check_rows(rows, mesh, config.train.accumulate)
    task, features = tasks.get(config.task), features_lib.build(config.features)
    zeros = np.zeros(features.channels, np.float32)
    feature_params = {"mean": zeros, "std": zeros + 1, **features.weights}
    with jax.set_mesh(mesh):
        fresh = functools.partial(step_lib.fresh_state, task, config, features, feature_params)
        abstract = jax.eval_shape(fresh)
        shardings = mesh_lib.state_shardings(abstract, mesh)
        state = jax.tree.map(_placed, abstract, shardings)
        samples = round(config.data.buckets[-1] * features.sample_rate) + sum(features.context)
        by_rows = NamedSharding(mesh, mesh_lib.ROWS)
        symbols = round(config.data.buckets[-1] * TOKENS_A_SECOND)
        given = task.labels_of(config)
        labels = given.empty(1, dict.fromkeys(given.sequences, symbols))

        def placed(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=by_rows)

        batch = Batch(
            audio=placed((samples,), jnp.int16),
            samples=placed((), jnp.int32),
            bad=placed((), jnp.bool_),
            labels={name: placed(label.shape[1:], label.dtype) for name, label in labels.items()},
        )
        step = step_lib.make_train_step(task, config, features, mesh, shardings)
        traced = step.trace(state, batch)
        encoded = jax.make_jaxpr(features.encode)(feature_params, batch.audio)
        began = time.perf_counter()
        compiled, problem = None, ""
        try:
            compiled = traced.lower(lowering_platforms=("tpu",)).compile()
        except jax.errors.JaxRuntimeError as error:
            problem = str(error)
            if "RESOURCE_EXHAUSTED" not in problem:
                raise
    audio = rows * config.data.buckets[-1]
    report = {
        "mesh": dict(mesh.shape),
        "rows": rows,
        "seconds_per_chip": audio / mesh.size,
        "fits": compiled is not None,
        "compile_seconds": round(time.perf_counter() - began, 1),
        "state_bytes_per_chip": compiled_lib.state_bytes(state),
        "executed_flops_per_chip": compiled_lib.matmul_flops(traced.jaxpr) / mesh.size,
    }
    if task.flops:
        flops = task.flops(config, features.channels, features.frame_rate)
        report["model_flops_per_chip"] = flops * audio / mesh.size
    if compiled is None:
        found = re.search(
            r"[Uu]sed (\S+) of (\S+) hbm.*?[Ee]xceeded .*? by (\S+?)\.?(\s|$)", problem
        )
        report["problem"] = found[0].strip() if found else problem.splitlines()[0][:300]
        return report
    memory, program = compiled.memory_analysis(), compiled_lib.Program(compiled.as_text())
    report["temporary_bytes_per_chip"] = memory.temp_size_in_bytes
    report["peak_bytes_per_chip"] = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    report["hbm_traffic_bytes_per_chip"] = program.traffic()
    report["features"] = {
        "flops_per_chip": compiled_lib.matmul_flops(encoded) / mesh.size,
        "hbm_traffic_bytes_per_chip": program.traffic(compiled_lib.FEATURES),
    }
    kinds: dict[str, dict[str, int]] = collections.defaultdict(collections.Counter)
    for one in program.collectives():
        kinds[one.kind].update(count=1, runs=one.runs, bytes=one.runs * one.bytes)
        kinds[one.kind]["asynchronous"] += one.asynchronous
    report["estimated_cycles"] = program.cycles()
    report["collectives_per_chip"] = {kind: dict(counts) for kind, counts in kinds.items()}
    return report


def _placed(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def bounds(report: dict[str, Any], chip: Chip) -> dict[str, float]:
    """Lower bounds of a step's milliseconds by resource, and the upper bound of MFU."""
    moved = sum(
        # An all-reduce consists of a reduce-scatter and an all-gather.
        counts["bytes"] * (2 if kind == "all-reduce" else 1)
        for kind, counts in report["collectives_per_chip"].items()
    )
    times = {
        "compute_ms": 1e3 * report["executed_flops_per_chip"] / chip.flops,
        "memory_ms": 1e3 * report["hbm_traffic_bytes_per_chip"] / chip.memory,
        "network_ms": 1e3 * moved / chip.network,
    }
    if "model_flops_per_chip" in report:
        useful = 1e3 * report["model_flops_per_chip"] / chip.flops
        times["mfu_bound"] = useful / max(times.values())
    return times


def largest(config: Config, chips: tuple[Any, ...], hbm: float) -> int:
    """The largest number of rows that fit in memory, to within an eighth.

    Each try is a compilation that takes minutes, so the memory per row is estimated from tries.
    """
    unit = mesh_lib.row_shards(mesh_lib.make_mesh(config.mesh, list(chips)))
    unit *= config.train.accumulate
    low, before, high, units = 0, 0.0, None, 1  # `before` is the memory in bytes with `low` units
    while True:
        report = step_of(config, units * unit, chips)
        print(f"{units * unit} rows: {'fits' if report['fits'] else report['problem']}", flush=True)
        if report["fits"]:
            peak, state = report["peak_bytes_per_chip"], report["state_bytes_per_chip"]
            more = (hbm - peak) * (units - low) / (peak - (before if low else state))
            more = max(int(more), 0 if low else 1)
            low, before, units = units, peak, units + more
            units = units if high is None else min(units, high - 1)
        elif units == 1:
            message = "one row per chip does not fit; raise mesh.fsdp or set model.remat=full"
            raise UserError(message)
        else:
            high, units = units, (low + units) // 2
        if units - low <= low // 8:
            return low * unit


def lines(report: dict[str, Any]) -> list[str]:
    """The report for a terminal."""
    gib = 2**30
    text = [
        f"{report['topology']}: {report['chips']} chips, mesh {report['mesh']},"
        f" {report['rows']} rows ({report['seconds_per_chip']:g} s of audio per chip),"
        f" compiled in {report['compile_seconds']:.0f} s",
        f"state {report['state_bytes_per_chip'] / gib:.2f} GiB per chip",
    ]
    if not report["fits"]:
        return [*text, f"does NOT fit: {report['problem']}"]
    text[-1] += (
        f", temporaries {report['temporary_bytes_per_chip'] / gib:.2f} GiB,"
        f" peak {report['peak_bytes_per_chip'] / gib:.2f} GiB: fits"
    )
    for kind, counts in sorted(report["collectives_per_chip"].items()):
        text.append(
            f"{kind}: {counts['count']} ({counts['asynchronous']} asynchronous),"
            f" run {counts['runs']} times, {counts['bytes'] / 2**20:.1f} MiB per chip"
        )
    b = report["bounds"]
    text.append(
        f"matmuls {report['executed_flops_per_chip'] / 1e12:.2f} TFLOP per chip; at least"
        f" {b['compute_ms']:.1f} ms compute, {b['memory_ms']:.1f} ms memory,"
        f" {b['network_ms']:.1f} ms network"
    )
    if "mfu_bound" in b:
        text[-1] += f"; MFU at most {b['mfu_bound']:.0%}"
    share = report["features"]["flops_per_chip"] / report["executed_flops_per_chip"]
    moved = report["features"]["hbm_traffic_bytes_per_chip"] / report["hbm_traffic_bytes_per_chip"]
    text.append(f"features: {share:.1%} of the matmuls, {moved:.1%} of the memory traffic")
    cycles = sorted(report["estimated_cycles"].items(), key=lambda item: -item[1])
    total = sum(report["estimated_cycles"].values())
    text.append(f"{total / 1e6:.0f} M cycles by the compiler's estimate, without custom kernels:")
    text += [f"  {count / total:5.1%} {part}" for part, count in cycles[:10]]
    return text


def report_main(argv: list[str]) -> None:
    """Compile by the flags, and print the report."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    try:
        if not main.CONFIG.value:
            raise UserError("--config=NAME or --config=PATH is missing")
        config = config_lib.from_dict(main.CONFIG.value)
        if not config.text.symbols:  # a run takes them from its training data
            config = dataclasses.replace(
                config, text=dataclasses.replace(config.text, symbols=LETTERS)
            )
        chip, grid, slices = parse_topology(TOPOLOGY.value)
        if slices != config.mesh.slices:
            raise UserError(
                f"--topology={TOPOLOGY.value}: set --config.mesh.slices={slices} as well"
            )
        chips = tuple(devices(chip, grid, slices))
        measured = _measure(config, chips, CHIPS[chip].hbm)
        report = {"topology": TOPOLOGY.value, "chips": len(chips), **measured}
        if report["fits"]:
            report["bounds"] = bounds(report, CHIPS[chip])
        print("\n".join(lines(report)))
        if OUT.value:
            pathlib.Path(OUT.value).write_text(json.dumps(report, indent=2) + "\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _measure(config: Config, chips: tuple[Any, ...], hbm: float) -> PyTree:
    if LARGEST.value:
        return step_of(config, largest(config, chips, hbm), chips)
    seconds = SECONDS.value or config.data.batch_seconds / len(chips)
    unit = mesh_lib.row_shards(mesh_lib.make_mesh(config.mesh, list(chips)))
    unit *= config.train.accumulate
    rows = round(seconds * len(chips) / config.data.buckets[-1] / unit)
    return step_of(config, max(rows, 1) * unit, chips)


if __name__ == "__main__":
    app.run(report_main, flags_parser=main.parse_flags)
