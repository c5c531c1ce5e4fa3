"""What a sweep does, and the checks that are made before it starts."""

import ast
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from uniwav_jax import abilities
from uniwav_jax import config as config_lib
from uniwav_jax.config import Config, recipes
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation.sweep_table import folder_of

# Fields that the sweep sets, and the option that does it.
OURS = {
    "seed": "--seeds",
    "data.manifest": "--manifest",
    "data.eval_manifest": "--eval_manifest",
    "init_from": "--init_from",
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained and how it is judged.

    Attributes:
        out: folder of the sweep.
        configs: names or paths of configs; the others are compared with the first.
        seeds: seeds of each config.
        manifest, eval_manifest: speech to train on and to evaluate on.
        settings: {field of the configuration: value as text} of all trainings of `configs`.
        starts: {config: config whose run of the same seed it starts from}.
        units: manifest of aligned clips, for PNMI; "": none.
        alignments: folder of their TextGrids.
        fit_manifest: speech of other speakers that codewords are fitted to; "": the same clips.
        asr, asr_eval: labelled speech to fine-tune and to evaluate recognition on; "": none.
        asr_minutes: minutes of `asr` that are used.
        asr_config: config of that fine-tuning.
        speech, speech_eval: speech with phones to fine-tune and to evaluate synthesis on; "": none.
        speech_config: config of that fine-tuning.
        nice: the niceness of all processes, from 0 to 19.
    """

    out: pathlib.Path
    configs: tuple[str, ...]
    seeds: tuple[int, ...]
    manifest: str
    eval_manifest: str
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    starts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    units: str = ""
    alignments: str = ""
    fit_manifest: str = ""
    asr: str = ""
    asr_eval: str = ""
    asr_minutes: float = 10.0
    asr_config: str = "ablations/asr"
    speech: str = ""
    speech_eval: str = ""
    speech_config: str = "ablations/tts"
    nice: int = 19

    @property
    def labelled(self) -> pathlib.Path:
        """The manifest of the labelled minutes."""
        return self.out / f"asr_{self.asr_minutes:g}min.tsv"


def check(plan: Plan) -> dict[str, Config]:
    """The configuration of each config.

    Raises:
        UserError: the first mistake of the plan.
    """
    if not plan.configs:
        raise UserError(
            "name the configs to compare, such as ablations/joint; the others are compared with the"
            " first"
        )
    if not plan.seeds:
        raise UserError("--seeds must be numbers, separated by commas")
    if len(set(plan.seeds)) < len(plan.seeds):
        raise UserError(f"--seeds names a seed twice: {','.join(map(str, plan.seeds))}")
    folders: dict[str, str] = {}
    for config in plan.configs:
        if config in folders.values():
            raise UserError(f"{config} is named twice")
        if other := folders.get(folder_of(config), ""):
            folder = plan.out / folder_of(config)
            raise UserError(f"{config} and {other} would both write to {folder}; rename one")
        folders[folder_of(config)] = config
    for needs, option in OURS.items():
        if needs in plan.settings:
            raise UserError(f"the sweep sets --config.{needs} itself; use {option}")
    pairs = {
        "--units and --alignments": (plan.units, plan.alignments),
        "--asr and --asr_eval": (plan.asr, plan.asr_eval),
        "--speech and --speech_eval": (plan.speech, plan.speech_eval),
    }
    for names, (one, other) in pairs.items():
        if bool(one) != bool(other):
            raise UserError(f"give both {names}, or none of them")
    given = (plan.manifest, plan.eval_manifest, *(p for pair in pairs.values() for p in pair))
    for path in (*given, plan.fit_manifest):
        for part in path.split(",") if path else ():
            if "://" not in part and not pathlib.Path(part).exists():
                raise UserError(f"{part} does not exist")
    judges = {"transcribe": (plan.asr, plan.asr_config), "speak": (plan.speech, plan.speech_config)}
    for method, (speech, config) in judges.items():
        if speech and method not in abilities.of_task(recipes.load(config).task):
            raise UserError(f"{config} trains no model that can {method}")
    if not 0 <= plan.nice < 20:
        raise UserError(f"--nice must be from 0 to 19; got {plan.nice}")
    for config, needs in plan.starts.items():
        for name in (config, needs):
            if name not in plan.configs:
                raise UserError(f"--init_from {config}={needs}: {name} is not one of the configs")
        if config == needs:
            raise UserError(f"--init_from: {config} cannot start from itself")
    ordered(plan)
    return {config: resolved(plan, config) for config in plan.configs}


def ordered(plan: Plan) -> list[str]:
    """The configs, each after the one that it starts from.

    Raises:
        UserError: configs start from one another in a circle.
    """
    found: list[str] = []
    left = list(plan.configs)
    while left:
        ready = [config for config in left if plan.starts.get(config) not in left]
        if not ready:
            raise UserError(f"--init_from: {' and '.join(left)} start from one another")
        found += ready
        left = [config for config in left if config not in ready]
    return found


def resolved(plan: Plan, config: str) -> Config:
    """The configuration of a config with the plan's settings.

    Raises:
        UserError: there is no such config or field, or its values are impossible.
    """
    try:
        values = recipes.load(config)
    except (TypeError, ValueError) as error:
        raise UserError(f"{config}: its argument does not fit: {error}") from error
    given = {"data.manifest": plan.manifest, "data.eval_manifest": plan.eval_manifest}
    if config in plan.starts:
        given["init_from"] = plan.starts[config]
    for field, text in {**plan.settings, **given}.items():
        _set(values, field, text)
    try:
        return config_lib.from_dict(values)
    except UserError as error:
        hint = "; use --init_from CONFIG=OTHER" if "init_from" in str(error) else ""
        raise UserError(f"{config}: {error}{hint}") from error


def _set(values: ml_collections.ConfigDict, field: str, text: str) -> None:
    """Set a field to a value as the flag --config.FIELD=TEXT does."""
    *groups, name = field.split(".")
    node: Any = values
    for group in groups:
        node = node[group] if isinstance(node, ml_collections.ConfigDict) and group in node else {}
    if name not in node:
        known = node if isinstance(node, ml_collections.ConfigDict) else ()
        raise UserError(
            f"unknown config key 'config.{field}'{config_lib.did_you_mean(name, known)}"
        )
    value: Any = text
    try:
        if isinstance(node[name], bool):
            value = {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        elif not isinstance(node[name], str):
            value = ast.literal_eval(text)
        node[name] = value
    except (KeyError, SyntaxError, TypeError, ValueError) as error:
        kind = type(node[name]).__name__
        raise UserError(f"--config.{field} must be {kind}; got {text!r}") from error
