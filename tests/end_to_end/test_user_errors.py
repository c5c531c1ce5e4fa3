"""A user's mistake ends the run with one line, exit status 2, and no traceback."""

import shutil

import numpy as np
import pytest
import soundfile


def fails(program, workdir, *, devices=1, drop=(), extra=(), **settings):
    command = [a for a in program.command(workdir, **settings) if not a.startswith(tuple(drop))]
    process = program.fork([*command, *extra], devices=devices)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "Traceback" not in output
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and output.rstrip().endswith(errors[0]), output
    return errors[0]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"data__manifest": "/none.tsv"}, "/none.tsv does not exist"),
        ({"train__stepz": 3}, "unknown config key 'config.train.stepz'; did you mean steps"),
        ({"train__steps": "many"}, "train.steps"),
        ({"model__encoder__heads": 5}, "model.encoder.width must be a multiple of heads"),
        ({"init_from": "/none"}, "/none does not exist"),
        ({"mesh__fsdp": 3}, "needs 3 devices, found 1"),
    ],
)
def test_settings(program, tmp_path, settings, words):
    assert words in fails(program, tmp_path, **{"train__steps": 2, **settings})


def test_flags(program, tmp_path):
    assert "--workdir" in fails(program, tmp_path, drop=["--workdir"])
    assert "--config" in fails(program, tmp_path, drop=["--config"])
    message = fails(program, tmp_path, drop=["--config"], extra=["--config=/none.py"])
    assert "/none.py" in message


def test_batch_that_does_not_divide_over_the_mesh(program, tmp_path):
    message = fails(program, tmp_path, devices=8, data__row_multiple=4, data__batch_seconds=8.0)
    assert "is not divisible by mesh data x fsdp = 8" in message
    assert "config.data.row_multiple" in message


def test_checkpoints_of_another_config_and_damaged_ones(program, whole, undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    message = fails(program, run, **whole | {"train__steps": 50, "distillation__codewords": 16})
    assert "config.distillation.codewords: 32 in the checkpoint, 16 now" in message
    assert "--workdir" in message and "init_from" in message
    for file in (run / "checkpoints" / "40" / "state").rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.write_bytes(b"damaged")
    message = fails(program, run, **whole)
    assert str(run / "checkpoints" / "40") in message and "delete" in message


@pytest.mark.parametrize("place", ["a_file/run", "a_file"])
def test_workdir_that_cannot_be_created(program, tmp_path, place):
    (tmp_path / "a_file").write_text("")
    assert str(tmp_path / "a_file") in fails(program, tmp_path / place)


REASONS = {
    "wrong rate": "sample rate 8000, the manifest says 16000",
    "NaN": "NaN",
    "zero length": "has no audio",
    "missing": "does not exist",
}


def test_unusable_audio_stops_the_run(program, tmp_path):
    """The report lists each clip with its reason, and the error message names one of them."""
    lines = ["path\tsamples\tsample_rate\tspeaker\ttext"]
    for index in range(12):
        kind, path = list(REASONS)[index % 4], tmp_path / f"{index}.wav"
        audio, rate = np.zeros(32000, np.float32), 16000
        if kind == "wrong rate":
            rate = 8000
        elif kind == "NaN":
            audio[100] = np.nan
        elif kind == "zero length":
            audio = audio[:0]
        if kind != "missing":
            soundfile.write(path, audio, rate, subtype="FLOAT")
        lines.append(f"{path.name}\t32000\t16000\t\t")
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    manifest = {"data__manifest": tmp_path / "manifest.tsv"}
    message = fails(program, tmp_path / "run", **manifest)
    assert "uniwav data check" in message
    assert any(reason in message for reason in REASONS.values())
    rows = (tmp_path / "run" / "bad_files.tsv").read_text().splitlines()[1:]
    assert len(rows) == 12
    for row in rows:
        name, reason = row.split("\t")
        number = int(name.rpartition("/")[2].removesuffix(".wav"))
        assert list(REASONS.values())[number % 4] in reason, row
