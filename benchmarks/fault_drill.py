"""Fault drills: a short training run is killed, preempted, or given full disks and bad data.

    python benchmarks/fault_drill.py --out benchmarks/results/fault_drill.json

A tiny model is trained once on CPU without faults. Each drill then disturbs the same run. Its final
parameters, optimizer, teacher, codebooks and metrics must be equal to the last bit, or the run must
stop with one error line. `--drills kill,disk` runs only these drills. The exit status is 1 if a
drill failed. As root the drill `disk` mounts small disks in the work folder.
"""

import argparse
import json
import logging
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from fault_drills import files, processes, speech
from fault_drills.lab import EVERY, STEPS, Lab

from uniwav_jax.checkpoint import compatibility

DRILLS = {
    "kill": processes.kill,
    "truncate": files.truncate,
    "delete": files.delete,
    "disk": files.disk,
    "record": speech.record,
    "worker": processes.worker,
    "nan": speech.nan,
    "preempt": processes.preempt,
    "suspend": processes.suspend,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drills", default=",".join(DRILLS), help="drills, separated by commas")
    parser.add_argument("--restarts", type=int, default=50, help="total number for the drill kill")
    parser.add_argument("--manifest", default="", help="speech; default: synthetic speech")
    parser.add_argument("--folder", help="work folder to keep; default: a temporary one")
    parser.add_argument("--seed", type=int, default=0, help="seed of times and places of faults")
    parser.add_argument("--out", help="JSON file, in which rows of other drills are kept")
    args = parser.parse_args()
    names = args.drills.split(",")
    if unknown := [name for name in names if name not in DRILLS]:
        parser.error(f"--drills: {', '.join(unknown)} is none of {', '.join(DRILLS)}")
    logging.disable(logging.WARNING)
    folder = pathlib.Path(args.folder or tempfile.mkdtemp(prefix="fault_drill_")).absolute()
    lab = Lab(folder, manifest=args.manifest, seed=args.seed)
    lab.prepare()
    print(
        f"{STEPS} steps take {lab.seconds:.0f} s without faults, with a checkpoint every {EVERY}",
        flush=True,
    )
    result = {
        "command": " ".join(["python", *sys.argv]),
        "commit": _commit(),
        "device": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), **compatibility.versions()},
        "steps": STEPS,
        "saved_every": EVERY,
        "undisturbed_seconds": round(lab.seconds, 1),
        "drills": _earlier(args.out),
    }
    passed = True
    for name in names:
        began, rows = time.monotonic(), []
        drill = DRILLS[name](lab, args.restarts) if name == "kill" else DRILLS[name](lab)
        for row in drill:
            rows.append(vars(row))
            passed &= row.passed
            verdict = "pass" if row.passed else "FAIL"
            print(f"{verdict}  {name:9} {row.trials:3} x {row.fault:44} {row.outcome}", flush=True)
            for key, value in row.figures.items():
                print(f"{'':20} {key}: {value}", flush=True)
            result["drills"][name] = rows
            if args.out:
                pathlib.Path(args.out).write_text(json.dumps(result, indent=2) + "\n")
        print(f"      {name}: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    if not args.folder:
        shutil.rmtree(folder)
    return 0 if passed else 1


def _earlier(out: str | None) -> dict[str, list]:
    """{drill: rows} of an existing result file."""
    if out and os.path.exists(out):
        return json.loads(pathlib.Path(out).read_text())["drills"]
    return {}


def _commit() -> str:
    command = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
