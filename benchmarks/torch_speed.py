"""Compares the speed of an exported encoder in PyTorch with that of the JAX encoder.

    python benchmarks/torch_speed.py --out benchmarks/results/torch_speed.json

Both have the same random weights and features in float32, and their runs alternate. JAX is compiled
by XLA; PyTorch runs eagerly and compiled by torch.compile.
"""

import argparse
import dataclasses
import json
import pathlib

import jax
import numpy as np
import peers
import torch

from uniwav_jax.config import default_config, from_dict
from uniwav_jax.export import names
from uniwav_jax.export.torch import uniwav_layers
from uniwav_jax.models import uniwav


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="tiny,base")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out")
    args = parser.parse_args()
    result = {"device": peers.device_name(), "jax": jax.__version__, "torch": torch.__version__}
    result |= {"rows": args.rows, "seconds": args.seconds, "sizes": {}}
    for size in args.sizes.split(","):
        result["sizes"][size] = compare(size, args)
        print(f"{size}: {result['sizes'][size]}", flush=True)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=2) + "\n")


def compare(size: str, args: argparse.Namespace) -> dict[str, dict]:
    """Seconds of audio per second of both sides; `ratio` is JAX divided by PyTorch."""
    values = default_config(size)
    values.model.compute_dtype, values.model.remat = "float32", "none"
    values.features.kind = "log_mel"
    config = from_dict(values)
    channels = config.features.mel_bands
    shape = (args.rows, round(50 * args.seconds), channels)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    mask = np.ones(shape[:2], bool)
    module = uniwav.encoder_module(config)
    params = jax.jit(module.init)(jax.random.key(0), x[:, :20], mask[:, :20])["params"]
    ours = jax.jit(lambda params, x, mask: module.apply({"params": params}, x, mask).final)
    model = uniwav_layers.Encoder(dataclasses.asdict(config.model.encoder), channels)
    tensors = names.to_torch({"encoder": jax.tree.map(np.asarray, params)})
    prefix = "encoder."
    model.load_state_dict({k.removeprefix(prefix): torch.tensor(v) for k, v in tensors.items()})
    model.eval().requires_grad_(False)
    inputs = torch.tensor(x), torch.tensor(mask)
    np.testing.assert_allclose(ours(params, x, mask), model(*inputs).final, atol=1e-3)
    rows = {}
    for name, side in {"eager": model, "compiled": torch.compile(model)}.items():
        with torch.inference_mode():
            times = peers.alternate(
                lambda side=side: side(*inputs),
                lambda: ours(params, x, mask).block_until_ready(),
                args.repeats,
            )
        rows[name] = peers.compare(times, args.rows * args.seconds)
    return rows


if __name__ == "__main__":
    main()
