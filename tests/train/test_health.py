"""Alarms, and whole runs with skipped updates, whose lines pass through `Meter`."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from uniwav_jax.config import (
    AsrConfig,
    Config,
    HealthConfig,
    OptimConfig,
    TokenizerConfig,
    TrainConfig,
    default_config,
    from_dict,
)
from uniwav_jax.errors import UserError
from uniwav_jax.tasks import TASKS
from uniwav_jax.train.health import ALARMS, Health, UnhealthyRunError
from uniwav_jax.train.loop import Meter
from uniwav_jax.train.metrics import MetricsWriter
from uniwav_jax.train.progress import Progress

HEALTHY = {
    "loss_encoder": 2.5,
    "target_perplexity": 150.0,
    "target_variance_min": 0.1,
    "grad_norm": 2.0,
    "input_wait": 0.01,
    "skipped": 0,
    "skipped_in_a_row": 0,
}
CONFIG = dataclasses.replace(
    Config(),
    health=HealthConfig(grace_steps=100, patience=3),
    train=TrainConfig(max_skipped=5),
    asr=AsrConfig(freeze_steps=0),
    optim=OptimConfig(warmup=0.0),
)
ASR = dataclasses.replace(CONFIG, task="asr")
CODEC = dataclasses.replace(CONFIG, task="codec")
MDCT = dataclasses.replace(
    CODEC, codec=dataclasses.replace(CODEC.codec, kind="mdct", bottleneck="relative_noise")
)
RVQ = dataclasses.replace(
    CODEC,
    codec=dataclasses.replace(
        CODEC.codec,
        bottleneck="rvq",
        structure=dataclasses.replace(CODEC.codec.structure, codebooks=8, codewords=1024),
    ),
)


TOKENS = dataclasses.replace(
    CONFIG,
    task="tokenizer",
    tokenizer=TokenizerConfig(layer=1, books=2, codewords=256, later=0.0),
)


def test_healthy_runs_raise_no_alarm():
    health = Health(CONFIG)
    assert all(health.check(step, HEALTHY) == [] for step in range(0, 1000, 10))


UNHEALTHY = [
    (CONFIG, {"target_perplexity": 3.0}, "clusters collapse"),
    (CONFIG, {"loss_encoder": 0.2}, "teacher"),
    (CONFIG, {"target_variance_min": 1e-9}, "variance"),
    (CONFIG, {"grad_norm": 1e6}, "gradient norm"),
    (ASR, {"blank_share": 1.0}, "blank"),
    (CODEC, {"loss_discriminator": 0.0}, "without errors"),
    (CODEC, {"loss_discriminator": 2.0}, "constant output"),
    (CODEC, {"latent_rms": 0.02}, "noise"),  # a fifth of codec.noise
    (RVQ, {"latent_rms": 1e-5}, "shrink to zero"),
    (RVQ, {"codebook_perplexity": 3.0}, "few codewords"),
    (TOKENS, {"book_1_perplexity": 9.0}, "choose another tokenizer.layer"),
    (TOKENS, {"book_2_perplexity": 9.0}, "a lower tokenizer.commitment"),
    (MDCT, {"dead_channels": 0.2}, "20% of the latent channels hardly vary"),
]


@pytest.mark.parametrize(("config", "unhealthy", "word"), UNHEALTHY)
def test_alarms_warn_then_stop_with_advice(config, unhealthy, word):
    health = Health(config)
    assert health.check(50, HEALTHY | unhealthy) == []  # grace
    for step in (100, 110):
        (warning,) = health.check(step, HEALTHY | unhealthy)
        assert word in warning and f"step {step}" in warning
    with pytest.raises(UnhealthyRunError, match=word) as error:
        health.check(120, HEALTHY | unhealthy)
    assert "\n" not in str(error.value) and "stopped at step 120" in str(error.value)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        # These lines were logged by healthy runs, ours and published ones.
        (ASR, {"blank_share": 0.98}),
        (CODEC, {"loss_discriminator": 0.7, "latent_rms": 0.5}),
        (CODEC, {"loss_discriminator": 1.9, "latent_rms": 0.34}),
        (RVQ, {"loss_discriminator": 1.8, "latent_rms": 0.05, "codebook_perplexity": 60.0}),
        (MDCT, {"dead_channels": 0.01, "latent_rms": 0.7}),
        # A name can belong to another task: pretraining has its own metric of its codewords.
        (CONFIG, {"codebook_perplexity": 3.0}),
    ],
)
def test_healthy_lines_of_all_tasks_pass(config, line):
    health = Health(config)
    assert all(health.check(step, HEALTHY | line) == [] for step in range(100, 200, 10))


def test_a_loss_above_that_of_the_reference_warns_once(tmp_path):
    lines = [{"step": step, "loss": 3.0 + 1 / step, "lr": 1e-3} for step in range(10, 1010, 10)]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def health(reference):
        config = dataclasses.replace(CONFIG.health, reference=str(reference))
        return Health(dataclasses.replace(CONFIG, health=config))

    watched, found = health(metrics), []
    for line in lines:
        # 5 % above it throughout, as a run of another seed; 20 % above from update 500 to 700.
        loss = line["loss"] * (1.2 if 500 <= line["step"] < 700 else 1.05)
        found += watched.check(line["step"], HEALTHY | {"loss": loss, "lr": 1.0})
    assert len(found) == 1 and re.match(
        r"step 5\d0: loss is 3\.\d+, above that of .* \(3", found[0]
    )

    for line in lines:  # nor in the first updates
        assert not watched.check(min(line["step"], 90), HEALTHY | {"loss": 9.0})
    assert not health("mini").check(1000, HEALTHY | {"loss_mfcc": 5.76})
    (warning,) = health("mini").check(1000, HEALTHY | {"loss_mfcc": 7.0})
    assert "loss_mfcc is 7, above that of mini at this update (5.7" in warning
    with pytest.raises(UserError, match=r"nano does not exist; give a workdir.*mini-tts"):
        health("nano")


def test_every_alarm_has_a_limit_and_a_case():
    """A new alarm needs a field, a text that can be formatted, and a line in `UNHEALTHY`."""
    covered = {name for _, metrics, _ in UNHEALTHY for name in metrics}
    covered |= {"input_wait", "skipped_share"}
    for alarm in (*ALARMS, *(alarm for task in TASKS.values() for alarm in task.alarms)):
        limit = getattr(HealthConfig(), alarm.field)
        assert "\n" not in alarm.text.format(value=limit, limit=limit)
        assert alarm.metric in covered


def test_a_small_batch_can_use_few_codewords():
    """Eight rows of half a second are 200 frames, and 5 % of them are ten codewords."""
    data = dataclasses.replace(RVQ.data, batch_seconds=4.0)
    assert not Health(dataclasses.replace(RVQ, data=data)).check(
        100, HEALTHY | {"codebook_perplexity": 12.0}
    )
    assert Health(RVQ).check(100, HEALTHY | {"codebook_perplexity": 12.0})


def test_recovery_resets_only_the_count_of_its_own_alarm():
    health = Health(CONFIG)
    for step in range(100, 200, 3):
        assert health.check(step, HEALTHY | {"loss_encoder": 0.2})
        assert health.check(step + 1, HEALTHY | {"loss_encoder": 0.2})
        assert not health.check(step + 2, HEALTHY)
    both = {"loss_encoder": 0.2, "target_perplexity": 3.0}
    assert len(health.check(200, HEALTHY | both)) == 2
    assert len(health.check(201, HEALTHY | {"target_perplexity": 3.0})) == 1
    with pytest.raises(UnhealthyRunError, match="clusters"):
        health.check(202, HEALTHY | both)


@pytest.mark.parametrize("nothing", [math.nan, None, "missing"])
def test_lines_without_values_do_not_change_the_count(nothing):
    health = Health(CONFIG)
    unknown = {**HEALTHY, "loss_encoder": nothing}
    if nothing == "missing":
        del unknown["loss_encoder"]
    for step in (100, 102):
        assert health.check(step, HEALTHY | {"loss_encoder": 0.2})
        assert health.check(step + 1, unknown) == []
    with pytest.raises(UnhealthyRunError, match="3 alarms in a row"):
        health.check(104, HEALTHY | {"loss_encoder": 0.2})


@pytest.mark.parametrize(("updates", "frozen", "first"), [(13, 10, 12), (320, 0, 34)])
def test_blanks_raise_no_alarm_before_the_whole_model_is_trained(updates, frozen, first):
    """In thousands of updates: the freeze or the warm-up, and the grace; other alarms wait less."""
    config = default_config("tiny")
    config.task, config.init_from = "asr", "a pretrained run"
    config.evaluate.sample_every = 0
    config.train.steps, config.asr.freeze_steps = 1000 * updates, 1000 * frozen
    config.optim.update(warmup=0.1, hold=0.4, decay=0.5)
    health = Health(from_dict(config))
    unhealthy = HEALTHY | {"blank_share": 1.0, "grad_norm": 5000.0}
    assert not health.check(1999, unhealthy)
    (warning,) = health.check(2000, unhealthy)
    assert "gradient norm" in warning
    assert len(health.check(1000 * first - 1, unhealthy)) == 1
    assert len(health.check(1000 * first, unhealthy)) == 2


def test_a_codec_without_adversarial_losses_does_not_need_its_discriminator():
    alone = dataclasses.replace(CONFIG.codec, adversarial_share=0.0, features_share=0.0)
    for loss in (0.0, 2.0):
        unhealthy = HEALTHY | {"loss_discriminator": loss}
        assert Health(CODEC).check(100, unhealthy)
        assert not Health(dataclasses.replace(CODEC, codec=alone)).check(100, unhealthy)


def test_waiting_for_data_only_warns():
    health = Health(CONFIG)
    for step in range(100, 200):
        (warning,) = health.check(step, HEALTHY | {"input_wait": 0.9})
        assert "workers" in warning


def test_skipped_updates_are_reported_and_stop_the_run():
    health = Health(CONFIG)
    unhealthy = HEALTHY | {"skipped": 4, "skipped_in_a_row": 2}
    (warning,) = health.check(7, unhealthy, skipped=[6, 7])
    assert "update 6, 7 was not finite" in warning and "config.seed=0" in warning
    with pytest.raises(UnhealthyRunError, match="NaN"):
        health.check(9, HEALTHY | {"skipped": 7, "skipped_in_a_row": 5})


def test_disabled():
    config = dataclasses.replace(CONFIG, health=HealthConfig(enabled=False))
    assert Health(config).check(9999, HEALTHY | {"loss_encoder": 0.0, "skipped_share": 1.0}) == []


# ---- whole runs through the meter ----------------------------------------------------------------


COLLAPSED = {"target_perplexity": 1.2, "loss_encoder": 0.05, "grad_norm": 5000.0}


def run(folder, steps, *, unhealthy=None, is_skipped=lambda step: False, config=None):
    """Simulate a run with `steps` updates.

    Every update logs healthy metrics, some of which `unhealthy` replaces. Updates for which
    `is_skipped` is true have the metrics of an update with NaN.

    Returns:
        (number of updates until the run was stopped or None, its error, lines of metrics).
    """
    config = config or Config()
    writer = MetricsWriter(str(folder), enabled=True)
    meter = Meter(config, writer, Progress(steps, 0, (), enabled=False))
    skipped = in_a_row = 0
    stopped, error = None, ""
    for step in range(1, steps + 1):
        values = {**HEALTHY, "audio_seconds": 16.0, "bad_rows": 0, "lr": 1e-3, **(unhealthy or {})}
        del values["input_wait"]  # computed by the meter
        in_a_row = in_a_row + 1 if is_skipped(step) else 0
        if in_a_row:
            skipped += 1
            values |= dict.fromkeys(("loss_encoder", "grad_norm", "target_perplexity"), np.nan)
        values |= {"skipped": skipped, "skipped_in_a_row": in_a_row}
        try:
            meter.add(step, {name: np.float32(value) for name, value in values.items()}, 0.0)
            if step == steps:
                meter.flush()
        except UnhealthyRunError as exception:
            stopped, error = step, str(exception)
            break
    writer.close()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return stopped, error, lines


@pytest.mark.parametrize("name", COLLAPSED)
def test_a_collapsed_run_with_nan_stops_as_early_as_one_without(tmp_path, name):
    """One update in fifty gives NaN; after 2000 updates of grace, ten lines of 50 are unhealthy."""
    unhealthy = {name: COLLAPSED[name]}
    stops = []
    for number, is_skipped in enumerate((lambda step: False, lambda step: step % 50 == 7)):
        folder = tmp_path / str(number)
        folder.mkdir()
        stopped, error, lines = run(folder, 4000, unhealthy=unhealthy, is_skipped=is_skipped)
        assert "stopped at step 2450 after 10 alarms in a row" in error
        assert lines[-1]["step"] == 2450 and lines[-1][name] == pytest.approx(unhealthy[name])
        assert lines[-1]["skipped_share"] == pytest.approx(0.02 * number)
        alarms = (folder / "alarms.jsonl").read_text().splitlines()
        assert json.loads(alarms[-1]) == {"step": 2450, "alarm": error}
        raised = [
            entry["step"] for entry in map(json.loads, alarms) if "not finite" not in str(entry)
        ]
        assert raised == list(range(2000, 2451, 50))
        stops.append(stopped)
    assert stops[0] == stops[1] == 2451  # a line is read one update late


@pytest.mark.parametrize("log_every", [1, 10, 50])
def test_a_run_that_loses_every_second_update_stops_in_its_grace_period(tmp_path, log_every):
    """Lines of one update are combined until they can show a share of 10 %."""
    train = TrainConfig(log_every=log_every)
    config = dataclasses.replace(Config(), train=train)
    stopped, error, lines = run(
        tmp_path, 2000, is_skipped=lambda step: step % 2 == 0, config=config
    )
    assert stopped == 10 * max(log_every, 10) + 1
    assert "50% of the last updates were skipped" in error and "optim.lr" in error
    if log_every > 1:
        assert {line["skipped_share"] for line in lines} == {0.5}
        assert lines[-1]["loss_encoder"] == 2.5


@pytest.mark.parametrize(("lost", "expected"), [(5, None), (6, 501)])
def test_a_tenth_of_the_updates_may_be_lost(tmp_path, lost, expected):
    stopped, _, lines = run(tmp_path, 1000, is_skipped=lambda step: step % 50 < lost)
    assert stopped == expected
    assert {line["skipped_share"] for line in lines} == {lost / 50}


def test_one_bad_update_in_lines_of_one_update_is_no_alarm(tmp_path):
    config = dataclasses.replace(Config(), train=TrainConfig(log_every=1))
    stopped, _, lines = run(tmp_path, 40, is_skipped=lambda step: step == 25, config=config)
    assert stopped is None
    assert lines[24]["loss_encoder"] is None and lines[24]["skipped_share"] == 1.0


def test_lines_without_a_finite_update_do_not_reset_the_count(tmp_path):
    """A line of skipped updates only, every third one, does not change the alarm's count."""
    config = dataclasses.replace(
        Config(),
        train=TrainConfig(log_every=5, max_skipped=10),
        health=HealthConfig(grace_steps=0, patience=4, max_skipped_share=1.0),
    )

    def lost(step):
        return (step - 1) // 5 % 3 == 1

    stopped, error, lines = run(tmp_path, 200, unhealthy=COLLAPSED, is_skipped=lost, config=config)
    assert stopped == 31 and "after 4 alarms in a row" in error
    null = [line["loss_encoder"] is None for line in lines]
    assert null == [False, True, False, False, True, False]
    assert [line["skipped_share"] for line in lines] == null
