"""Counts the collectives, memory traffic and matmuls of a compiled step from XLA's program text.

XLA's own cost analysis counts the body of a loop only once, and the layers are a loop. Here each
instruction is counted as often as it runs.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import Any

import jax

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# Instructions that move no data, and those whose called computations are counted instead.
FREE = """parameter constant get-tuple-element tuple bitcast while conditional call after-all iota
broadcast partition-id replica-id opt-barrier async-done async-update copy-done
slice-done""".split()
BITS = {"pred": 8, "bf16": 16} | {f"{kind}{b}": b for kind in "fsu" for b in (4, 8, 16, 32, 64)}
# An array is written kind[dimensions]{layout}; S(n) in the layout is a memory other than HBM.
SHAPE = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\](\{[^}]*\})?")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
FEATURES = "surface_features"  # scope of the features in the step (features/batch.py)
CALLED = re.compile(r"(?:calls|body|to_apply)=%?([\w.-]+)|branch_computations=\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction (one line) of a computation."""

    name: str
    shape: str
    opcode: str
    rest: str  # operands and attributes

    @property
    def operands(self) -> list[str]:
        """Names of the operands: those inside the parentheses."""
        depth = 1
        for end, letter in enumerate(self.rest):
            depth += (letter in "([{") - (letter in ")]}")
            if depth == 0:
                return re.findall(r"%([\w.-]+)", self.rest[:end])
        return []


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of the program, per device and step.

    Attributes:
        kind: one of `COLLECTIVES`.
        bytes: size of its result, or of its operand for reduce-scatter, each time it runs.
        runs: how often it runs in a step.
        asynchronous: True if other work may run at the same time.
    """

    kind: str
    bytes: int
    runs: int
    asynchronous: bool


class Program:
    """The parsed text of a compiled program (`compiled.as_text()`)."""

    def __init__(self, text: str) -> None:
        self._computations: dict[str, list[Instruction]] = {}
        self._entry, current = "", ""
        for line in text.splitlines():
            if line.rstrip().endswith("{") and not line.startswith(" "):
                match = re.match(r"(ENTRY )?%?([\w.-]+) ", line)
                if match:
                    current = match[2]
                    self._computations[current] = []
                    self._entry = current if match[1] else self._entry
            elif current and (match := INSTRUCTION.match(line)):
                self._computations[current].append(Instruction(*match.groups()))
        self._shapes = {i.name: i.shape for lines in self._computations.values() for i in lines}

    def collectives(self) -> list[Collective]:
        """All collectives; one that the compiler cut into several pieces is listed once."""
        found: dict[str, Collective] = {}
        for name, runs in self._executed(inside=True):
            in_pieces = any("AsyncCollective" in i.rest for i in self._computations[name])
            for line in self._computations[name]:
                kind, started = line.opcode.removesuffix("-start"), line.opcode.endswith("-start")
                if kind not in COLLECTIVES:
                    continue
                moved = line.shape
                if kind == "reduce-scatter":
                    moved = " ".join(self._shapes[operand] for operand in line.operands)
                elif started:
                    # The shape is (operand, result, ...), of which the larger one is moved.
                    moved = max((m[0] for m in SHAPE.finditer(line.shape)), key=size, default="")
                channel = re.search(r"channel_id=(\d+)", line.rest)
                key = line.name if started or not channel else f"{kind} {channel[1]} {size(moved)}"
                known = found.get(key)
                asynchronous = in_pieces or started or "async_collective_name" in line.rest
                found[key] = Collective(
                    kind,
                    size(moved),
                    max(runs, known.runs if known else 0),
                    asynchronous or bool(known and known.asynchronous),
                )
        return list(found.values())

    def traffic(self, scope: str = "") -> int:
        """Estimate of the bytes read from and written to HBM: all operands and results.

        Args:
            scope: count only instructions with this text in their path of scopes.
        """
        return sum(
            runs * self._moved(line)
            for name, runs in self._executed(inside=False)
            for line in self._computations[name]
            if line.opcode not in FREE and (not scope or scope in line.rest)
        )

    def cycles(self) -> dict[str, int]:
        """The TPU compiler's estimate of one device's cycles, by part of the model (`part_of`).

        Collectives and hand-written kernels (attention) have no estimate and are not counted, and
        neither are instructions whose estimate is the largest int64.
        """
        found: dict[str, int] = collections.Counter()
        for name, runs in self._executed(inside=False):
            for line in self._computations[name]:
                match = re.search(r'"estimated_cycles":"(\d+)"', line.rest)
                known = match and int(match[1]) < 2**63 - 1
                if known and line.opcode not in ("while", "conditional", "call"):
                    origin = re.search(r'op_name="([^"]*)"', line.rest)
                    found[part_of(origin[1] if origin else "")] += runs * int(match[1])
        return dict(found)

    def _executed(self, *, inside: bool) -> Iterator[tuple[str, int]]:
        """Yield (computation, how often it runs); with `inside` also those within fusions."""
        waiting = [(self._entry, 1)]
        while waiting:
            name, runs = waiting.pop()
            yield name, runs
            for line in self._computations[name]:
                loop = line.opcode == "while"
                if not inside and line.opcode not in ("while", "conditional", "call"):
                    continue
                times = runs * (self._trips(line) if loop else 1)
                for one, several in CALLED.findall(line.rest):
                    for called in [one] if one else re.findall(r"[\w.-]+", several):
                        if called in self._computations:
                            waiting.append((called, times))

    def _trips(self, loop: Instruction) -> int:
        """How often a loop runs: the compiler's count, or the constant in its condition."""
        known = re.search(r"known_trip_count[^\d]*(\d+)", loop.rest)
        if known:
            return int(known[1])
        condition = re.search(r"condition=%?([\w.-]+)", loop.rest)
        lines = self._computations[condition[1]] if condition else []
        limits = [re.match(r"(\d+)\)", i.rest) for i in lines if i.opcode == "constant"]
        return max((int(limit[1]) for limit in limits if limit), default=1)

    def _moved(self, line: Instruction) -> int:
        shapes = [self._shapes.get(name, "") for name in line.operands]
        read, written = [hbm(shape) for shape in shapes], hbm(line.shape)
        if line.opcode in ("copy-start", "slice-start"):
            # It copies between two memories; its shape has both arrays and a counter.
            ends = [match[0] for match in SHAPE.finditer(line.shape)][:2]
            return min(map(size, ends)) * sum(hbm(end) > 0 for end in ends)
        if line.opcode in ("dynamic-slice", "slice"):
            read = [written]
        if line.opcode == "dynamic-update-slice":
            read[0], written = 0, read[1]
        if fused := self._fused(line):
            # A fusion that slices a stack of layers, or updates one, moves only that slice.
            parts = [self._of_parameter(fused, number) for number in range(len(read))]
            updated = sum(whole for whole, part in zip(read, parts, strict=True) if part[1])
            written = written - updated + sum(part[1] for part in parts)
            read = [min(whole, part[0]) for whole, part in zip(read, parts, strict=True)]
        return sum(read) + max(written, 0)

    def _fused(self, line: Instruction) -> str:
        """Name of the computation that a fusion calls; "" for other instructions."""
        called = re.search(r"calls=%?([\w.-]+)", line.rest) if line.opcode == "fusion" else None
        return called[1] if called and called[1] in self._computations else ""

    def _of_parameter(self, computation: str, number: int) -> tuple[int, int]:
        """Bytes that a fused computation reads from a parameter, and that it updates in place."""
        body = self._computations[computation]
        start = f"{number})"
        one = next(i for i in body if i.opcode == "parameter" and i.rest.startswith(start))
        read, written, whole = 0, 0, size(one.shape)
        for user in body:
            for place in (n for n, name in enumerate(user.operands) if name == one.name):
                if user.opcode in ("dynamic-slice", "slice"):
                    read += size(user.shape) if place == 0 else whole
                elif user.opcode == "dynamic-update-slice" and place == 0:
                    written += size(self._shapes[user.operands[1]])
                elif inner := self._fused(user):
                    read += self._of_parameter(inner, place)[0]
                else:
                    read += whole
        return min(read, whole), written


PARTS = (
    ("attention", r"/attention/(?!out)(?!\w+,\w+->BTE)"),
    ("projections", r"/attention/|merge|project"),
    ("feed forward", r"/(up|down)/|gelu"),
    ("positions", r"positions|depthwise"),
    ("norms", r"norm"),
)


def part_of(op_name: str) -> str:
    """Name of the part of the model that an instruction belongs to.

    Args:
        op_name: the instruction's path of scopes.

    Returns:
        A name such as "encoder backward: attention", or "features".
    """
    if FEATURES in op_name:
        return "features"
    network = next((n for n in ("Encoder", "Decoder") if n in op_name), "other").lower()
    phase = "forward"
    if "transpose(" in op_name:
        phase = "recomputed" if "rematted" in op_name else "backward"
    part = next((name for name, pattern in PARTS if re.search(pattern, op_name)), "rest")
    return f"{network} {phase}: {part}"


@functools.cache
def size(shape: str) -> int:
    """Bytes of all arrays in the text of a shape."""
    total = 0
    for kind, entries, _ in SHAPE.findall(shape):
        total += math.prod(int(n) for n in entries.split(",") if n) * BITS.get(kind, 32) // 8
    return total


@functools.cache
def hbm(shape: str) -> int:
    """Bytes of the arrays that are in HBM: those whose layout names no other memory."""
    parts = (match for match in SHAPE.finditer(shape) if "S(" not in (match[3] or ""))
    return sum(size(match[0].split("{")[0]) for match in parts)


def matmul_flops(jaxpr: Any) -> int:
    """FLOPs of all matmuls and convolutions of a jaxpr, including recomputation and all loop steps.

    They are those of the whole program before it is divided over devices. Of several branches the
    most expensive one is counted.
    """
    jaxpr, total = getattr(jaxpr, "jaxpr", jaxpr), 0
    for equation in jaxpr.eqns:
        out = equation.outvars[0].aval if equation.outvars else None
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * math.prod(out.shape) * math.prod(shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = equation.params["dimension_numbers"].rhs_spec[0]
            total += 2 * math.prod(out.shape) * math.prod(kernel) // kernel[features]
        elif equation.primitive.name == "cond":
            total += max(matmul_flops(branch) for branch in equation.params["branches"])
        else:
            inner = sum(matmul_flops(inner) for inner in _inner(equation.params))
            total += inner * _times(equation.primitive.name, equation.params)
    return total


def _times(primitive: str, params: dict[str, Any]) -> int:
    """How often the jaxpr inside an equation runs, summed over all devices."""
    if primitive == "scan":
        return params["length"]
    if primitive == "shard_map":
        return params["mesh"].size
    if primitive == "pallas_call":
        return math.prod(params["grid_mapping"].grid)
    return 1


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if hasattr(one, "eqns") or hasattr(getattr(one, "jaxpr", None), "eqns"):
                yield one


def state_bytes(abstract: Any) -> int:
    """Bytes that a tree takes on one device; leaves are `jax.ShapeDtypeStruct` with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(abstract)
    )
