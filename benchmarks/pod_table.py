"""Compiles the training step for TPU slices of 4 to 256 chips: memory, traffic, bounds per chip.

    python benchmarks/pod_table.py --out benchmarks/results/pods

Every chip gets the same seconds of audio at any size of the slice (weak scaling). For each slice
tools/compile_report.py is called, which takes minutes and needs the extra `tpu` but no TPU.
Existing reports are kept, so that an interrupted command continues. Nothing was run on a TPU.
"""

import argparse
import json
import pathlib
import subprocess
import sys

TOOL = pathlib.Path(__file__).parents[1] / "tools" / "compile_report.py"
SLICES = {
    4: ("v5e:2x2", "v5p:2x2x1", "v6e:2x2"),
    256: ("v5e:16x16", "v5p:4x8x8", "v6e:16x16"),
    16: ("v5e:4x4", "v5p:2x2x4", "v6e:4x4"),
    64: ("v5e:8x8", "v5p:4x4x4", "v6e:8x8"),
}
SECONDS = {"base": 160, "large": 80}  # of audio per chip
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder")
    parser.add_argument("--sizes", default="base,large")
    parser.add_argument("--chips", default="4,256,16,64")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for chips in map(int, args.chips.split(",")):
        for size in args.sizes.split(","):
            for topology in SLICES[chips]:
                compile_one(size, topology, args.out)
                (args.out / "README.md").write_text(table(args.out))


def compile_one(size: str, topology: str, out: pathlib.Path) -> None:
    report = out / f"{size}_{topology.replace(':', '_')}.json"
    if report.exists():
        return
    command = [sys.executable, str(TOOL), f"--config=configs/pretrain_{size}.py"]
    command += [f"--topology={topology}", f"--seconds_per_chip={SECONDS[size]}", f"--out={report}"]
    print(" ".join(command), flush=True)
    done = subprocess.run(command, cwd=TOOL.parents[1], capture_output=True, text=True)
    print(done.stdout, flush=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr, flush=True)


def table(out: pathlib.Path) -> str:
    """All reports in the folder as a table in Markdown."""
    lines = [
        "# The step compiled for TPU pods",
        "",
        "Made by `python benchmarks/pod_table.py`: the step of configs/pretrain_base.py (160 s of",
        "audio per chip) and configs/pretrain_large.py (80 s), compiled by the TPU compiler.",
        "**It was compiled, never run.** Bounds follow from peak rates: a step takes at least the",
        "longest of compute, memory and network. `Mcycles` is the compiler's own estimate, without",
        "collectives and attention kernels; its parts are in the JSON files.",
        "",
        "| model | slice | chips | mesh | state GiB | peak GiB | sent MiB per step | asynchronous"
        " | compute ms | memory ms | network ms | maximum MFU | Mcycles |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    reports = [(f.stem.split("_")[0], json.loads(f.read_text())) for f in out.glob("*.json")]
    for size, r in sorted(
        reports, key=lambda item: (item[0], item[1]["topology"][:3], item[1]["chips"])
    ):
        mesh = " x ".join(f"{axis}={n}" for axis, n in r["mesh"].items() if n > 1)
        row = [
            size,
            r["topology"],
            r["chips"],
            mesh,
            f"{r['state_bytes_per_chip'] / GIB:.2f}",
        ]
        if r["fits"]:
            collectives = r["collectives_per_chip"].values()
            pieces = sum(c["count"] for c in collectives)
            bounds = r["bounds"]
            row += [
                f"{r['peak_bytes_per_chip'] / GIB:.2f}",
                f"{sum(c['bytes'] for c in collectives) / 2**20:.0f}",
                f"{sum(c['asynchronous'] for c in collectives)} of {pieces}",
                *(f"{bounds[name]:.0f}" for name in ("compute_ms", "memory_ms", "network_ms")),
                f"{bounds['mfu_bound']:.0%}",
                f"{sum(r['estimated_cycles'].values()) / 1e6:.0f}",
            ]
        else:
            row += ["does not fit: " + r["problem"]] + [""] * 7
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
