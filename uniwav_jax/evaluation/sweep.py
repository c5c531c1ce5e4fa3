"""A sweep: several configs are trained with several seeds and judged, one process after another.

Each config and seed has its files OUT/CONFIG/seed_N* (`sweep_table.Run`):

    seed_N/            the workdir of `uniwav train`
    seed_N.json        the stages that are finished, with their commands and seconds
    seed_N.units.json  of `uniwav evaluate units`
    seed_N.asr/        a fine-tuning for recognition
    seed_N.tts/        a fine-tuning for speech synthesis, and seed_N.speech.json, which judges it

and a log of each stage. What is finished is not repeated; what was interrupted continues.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from uniwav_jax import abilities, tasks
from uniwav_jax.checkpoint import compatibility
from uniwav_jax.config import Config, recipes
from uniwav_jax.data import subset
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import sweep_table
from uniwav_jax.evaluation.sweep_plan import Plan, check, ordered
from uniwav_jax.evaluation.sweep_table import Run


class Stage(NamedTuple):
    """One process of a run.

    Attributes:
        name: name in the run's record and in progress lines.
        result: file without which the stage counts as not finished.
        words: function that returns the arguments of `uniwav`; it may read what the stage that
            it needs wrote.
        needs: name of that stage.
    """

    name: str
    result: pathlib.Path
    words: Callable[[], list[str]]
    needs: str = "train"


def run(plan: Plan) -> list[dict[str, Any]]:
    """Do all stages that are not finished; the table is written anew after each run.

    Returns:
        The stages that failed, as in `sweep_table.make`.

    Raises:
        UserError: the plan has a mistake (`check`), or a run was made with other settings.
    """
    configs = check(plan)
    order = ordered(plan)
    runs = [Run(plan.out, config, seed) for seed in plan.seeds for config in order]
    stages = {run: stages_of(plan, run, configs[run.config]) for run in runs}
    for each in runs:
        for stage in stages[each]:
            finished(each, stage)  # raises for a run with other settings before any work is done
    plan.out.mkdir(parents=True, exist_ok=True)
    asked = {"configs": plan.configs, "seeds": plan.seeds}
    (plan.out / "sweep.json").write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
    if plan.asr:
        subset.write(pathlib.Path(plan.asr), plan.labelled, plan.asr_minutes)
    total, number = sum(map(len, stages.values())), 0
    lost: set[tuple[Run, str]] = set()  # stages that failed, and what needs them
    for each in runs:
        _save(each, {name: done for name, done in each.record().items() if name != "failed"})
        for stage in stages[each]:
            number += 1
            here = f"[{number}/{total}] {each}: {stage.name}"
            needed = (each, stage.needs)
            if stage.name == "train" and each.config in plan.starts:
                needed = (Run(plan.out, plan.starts[each.config], each.seed), "train")
            if finished(each, stage):
                print(f"{here}: finished before", flush=True)
            elif needed in lost:
                lost.add((each, stage.name))
                print(f"{here}: left out without {needed[1]} of {needed[0]}", flush=True)
            elif not _do(plan, each, stage, here):
                lost.add((each, stage.name))
        sweep_table.write(plan.out, plan.configs, plan.seeds)
    return sweep_table.write(plan.out, plan.configs, plan.seeds)["failed"]


def _do(plan: Plan, each: Run, stage: Stage, here: str) -> bool:
    """Do one stage and write its result into the record; returns whether it succeeded."""
    log, words = each.file(f".{stage.name}.log"), stage.words()
    if stage.name == "train":
        log = each.file(".log")
    print(f"{here}; log {log}", flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    status = call(words, log, nice=plan.nice)
    seconds = round(time.monotonic() - begin, 1)
    record = each.record()
    if status == 0 and stage.result.exists():
        record[stage.name] = {"command": words, "seconds": seconds}
        print(f"{here}: finished in {seconds:g} s", flush=True)
    else:
        fault = {"stage": stage.name, "status": status, "log": str(log)}
        record["failed"] = [*record.get("failed", ()), fault]
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        reason = next((line for line in reversed(lines) if "error" in line.lower()), "")
        print(f"{here}: ended with status {status}; see {log}  {reason}".rstrip(), flush=True)
    _save(each, record)
    return stage.name in record


def _save(each: Run, record: dict[str, Any]) -> None:
    path = each.file(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def call(words: Sequence[str], log: pathlib.Path, *, nice: int) -> int:
    """Run `uniwav` in a process of low priority and return its exit status.

    Args:
        words: its arguments.
        log: file that gets its output, after what is there.
        nice: its niceness.
    """
    command = [sys.executable, "-m", "uniwav_jax.cli", *words]
    if nice and shutil.which("nice"):
        command = ["nice", "-n", str(nice), *command]
    with log.open("a", encoding="utf-8") as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode


def finished(each: Run, stage: Stage) -> bool:
    """Whether a stage is finished.

    Raises:
        UserError: it is, with another command.
    """
    done = each.record().get(stage.name)
    if done is None or not stage.result.exists():
        return False
    if done["command"] != (words := stage.words()):
        other = sorted(set(done["command"]) ^ set(words))
        raise UserError(
            f"{each}: {stage.name} is finished in {each.out} with another command, which differs in"
            f" {' '.join(other) or 'its order'}; repeat that, or choose another --out"
        )
    return True


def stages_of(plan: Plan, each: Run, config: Config) -> list[Stage]:
    """The stages of a run, in order.

    An encoder that is not fine-tuned yet is judged by fine-tunings, and any encoder by its units.
    """
    able = abilities.of_task(config.task)
    found = [Stage("train", each.file() / "metrics.jsonl", lambda: train_words(plan, each))]
    if plan.units and able >= abilities.ENCODER:
        found.append(Stage("units", each.file(".units.json"), lambda: units_words(plan, each)))
    if able != abilities.ENCODER:
        return found
    if plan.asr:
        path = each.file(".asr") / "metrics.jsonl"
        found.append(Stage("asr", path, lambda: asr_words(plan, each)))
    if plan.speech:
        path = each.file(".tts") / "metrics.jsonl"
        found.append(Stage("tts", path, lambda: tts_words(plan, each)))
        path = each.file(".speech.json")
        found.append(Stage("speech", path, lambda: speech_words(plan, each), needs="tts"))
    return found


def train_words(plan: Plan, each: Run) -> list[str]:
    """The arguments of `uniwav` that train a run."""
    words = [f"--config.{field}={text}" for field, text in plan.settings.items()]
    if needs := plan.starts.get(each.config):
        words.append(f"--config.init_from={Run(plan.out, needs, each.seed).file()}")
    speech = (plan.manifest, plan.eval_manifest)
    return _training(each.config, each.file(), each.seed, speech, words)


def units_words(plan: Plan, each: Run) -> list[str]:
    """The arguments that measure the units of a run; codewords start from the run's seed."""
    words = ["evaluate", "units", "--checkpoint", str(each.file()), "--manifest", plan.units]
    words += ["--alignments", plan.alignments, "--seed", str(each.seed)]
    words += ["--fit_manifest", plan.fit_manifest] if plan.fit_manifest else []
    return [*words, "--out", str(each.file(".units.json"))]


def asr_words(plan: Plan, each: Run) -> list[str]:
    """The arguments that fine-tune a run's encoder for recognition."""
    start = _start(each, plan.asr_config, ["encoder"])
    speech = (str(plan.labelled), plan.asr_eval)
    return _training(plan.asr_config, each.file(".asr"), each.seed, speech, start)


def tts_words(plan: Plan, each: Run) -> list[str]:
    """The arguments that fine-tune a run for speech synthesis.

    The decoder is taken too, if it was trained; otherwise it is a new one of the same size.
    """
    start = _start(each, plan.speech_config, ["encoder", "decoder"])
    speech = (plan.speech, plan.speech_eval)
    return _training(plan.speech_config, each.file(".tts"), each.seed, speech, start)


def speech_words(plan: Plan, each: Run) -> list[str]:
    """The arguments that judge the speech of that fine-tuning."""
    words = ["evaluate", "speech", "--checkpoint", str(each.file(".tts"))]
    words += ["--manifest", plan.speech_eval, "--rows", sweep_table.ROW]
    return [*words, "--out", str(each.file(".speech.json"))]


def _training(
    config: str, workdir: pathlib.Path, seed: int, speech: tuple[str, str], more: Sequence[str]
) -> list[str]:
    words = ["train", f"--config={config}", f"--workdir={workdir}", f"--config.seed={seed}"]
    words += [f"--config.data.manifest={speech[0]}", f"--config.data.eval_manifest={speech[1]}"]
    return [*words, *more]


def _start(each: Run, config: str, parts: Sequence[str]) -> list[str]:
    """The flags with which a fine-tuning starts from parts of a run, and has the same structure."""
    path = each.file() / "config.json"
    try:
        values = compatibility.flatten(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    known = tasks.get(recipes.load(config).task).parts
    fields = {"features", *(field for part in parts for field in known[part].fields)}
    # Fields that do not change what the weights mean: where the codec is, and a number that must
    # fit the encoder's depth in every configuration.
    more = ("features.codec", "distillation.top_layers")
    same = [name for name in values if compatibility.matters(name, fields) or name in more]
    taken = [part for part in parts if part != "decoder" or values["flow.weight"] > 0]
    words = [f"--config.init_from={each.file()}", f"--config.init_parts={','.join(taken)}"]
    return words + [f"--config.{name}={values[name]}" for name in same]
