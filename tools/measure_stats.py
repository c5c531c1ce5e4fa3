"""Measure the feature statistics once, for several runs on the same speech.

    python tools/measure_stats.py data/packed --config configs/pretrain_base.py --out stats.json

Then train with --config.features.stats=stats.json. Without it each run measures at its start,
which gives the same numbers for the same data and config.
"""

import argparse
import importlib.util
import pathlib
import tempfile

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax.data import pipeline, plan
from uniwav_jax.errors import UserError, run_tool
from uniwav_jax.features import statistics
from uniwav_jax.train import loop


def main(argv: list[str]) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifest", help="manifest file or packed folder, as config.data.manifest")
    parser.add_argument("--config", required=True, help="configs/NAME.py")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--seconds", type=float, help="audio to measure; default: the config's")
    options = parser.parse_args(argv)
    if not pathlib.Path(options.config).is_file():
        raise UserError(f"--config {options.config} does not exist")
    spec = importlib.util.spec_from_file_location("chosen_config", options.config)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = module.get_config()
    values.data.manifest = options.manifest
    if options.seconds:
        values.features.stats_seconds = options.seconds
    config = config_lib.from_dict(values)
    features = features_lib.build(config.features)
    bad_files = pipeline.BadFileReport(f"{options.out}.bad_files.tsv", config.data)
    with tempfile.TemporaryDirectory() as cache:
        batches = plan.BatchPlan(config, cache=cache)
        params = loop.measure_features(config, features, batches, bad_files)
    statistics.save(options.out, params, config.features)
    print(f"means {params['mean'].round(2).tolist()}\nstds  {params['std'].round(2).tolist()}")
    print(f"use with --config.features.stats={options.out}")
    return 0


if __name__ == "__main__":
    run_tool(main)
