"""launch/quickstart.sh, which really runs with a recording interpreter."""

import hashlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.launch.conftest import REPOSITORY, error_line


def stages(calls: list[dict]) -> list[str]:
    """Names of the tools and the entry point that were called, without pip."""
    return [
        "main" if "uniwav_jax.main" in call["argv"] else pathlib.Path(call["argv"][0]).stem
        for call in calls
        if "pip" not in call["argv"]
    ]


@pytest.fixture
def recordings(ready, small_corpus) -> pathlib.Path:
    """A user's folder of real speech, with a space in its name."""
    folder = ready.folder / "my speech"
    shutil.copytree(small_corpus, folder)
    return folder


def test_try_trains_nothing(ready, recordings):
    (call,) = _tours(ready)
    assert call["argv"] == ["-m", "uniwav_jax.cli", "tour", "--out", f"{ready.repository}/runs/try"]
    voice = next(recordings.rglob("*.flac"))
    (call,) = _tours(ready, str(voice), "--workdir", "page")
    assert call["argv"] == ["-m", "uniwav_jax.cli", "tour", str(voice), "--out", "page"]
    done = ready.run("quickstart.sh", "--try", "--steps", "7")
    assert done.returncode == 2 and "--try trains nothing" in error_line(done)


def _tours(ready, *words):
    done = ready.run("quickstart.sh", "--try", *words)
    assert done.returncode == 0, done.stderr
    return [call for call in ready.calls() if "pip" not in call["argv"]]


def test_quickstart_runs_each_stage_once_and_trains_again(ready, recordings):
    first = ready.run("quickstart.sh", "my speech", "--steps", "7", "--config.seed=3")
    assert first.returncode == 0, first.stderr
    calls = ready.calls()
    assert calls[0]["argv"][-1] == str(ready.repository)
    assert stages(calls) == ["build_manifest", "pack_array_record", "main"]
    data = next((ready.repository / "data").iterdir())
    tool = str(ready.repository / "tools" / "build_manifest.py")
    manifest, held_out = str(data / "manifest.tsv"), str(data / "eval.tsv")
    options = ["--out", manifest, "--eval_out", held_out, "--eval_fraction", "0.05"]
    assert calls[1]["argv"] == [tool, str(recordings), *options]
    workdir = ready.repository / "runs" / f"demo-{data.name}"
    assert calls[3]["argv"] == [
        *("-m", "uniwav_jax.main", f"--config={ready.repository}/configs/demo.py"),
        f"--workdir={workdir}",
        f"--config.data.manifest={data}/packed",
        f"--config.data.eval_manifest={held_out}",
        *("--config.train.steps=7", "--config.seed=3"),
    ]
    printed = re.findall(r"^== (.*)", first.stdout, re.MULTILINE)
    assert printed == ["environment", "speech", "manifest", "ArrayRecord", "training", "done"]
    assert str(workdir) in first.stdout and "metrics.jsonl" in first.stdout

    assert ready.run("quickstart.sh", "my speech").returncode == 0
    assert stages(ready.calls()) == ["main"]

    (data / "manifest.tsv").touch()  # makes the ArrayRecord outdated
    assert ready.run("quickstart.sh", "my speech").returncode == 0
    assert stages(ready.calls()) == ["pack_array_record", "main"]

    clip = next(recordings.glob("*.flac"))
    shutil.copy(clip, recordings / "new.flac")
    assert ready.run("quickstart.sh", str(recordings), "--workdir", "x").returncode == 0
    calls = ready.calls()
    assert stages(calls) == ["build_manifest", "pack_array_record", "main"]
    assert "--workdir=x" in calls[-1]["argv"]


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ("build_manifest.py", 2, "error: stage 'manifest' failed with exit status 2"),
        ("uniwav_jax.main", 1, "error: stage 'training' failed with exit status 1"),
        ("uniwav_jax.main", 143, "stopped in stage 'training'; the same command continues"),
    ],
)
def test_quickstart_names_the_stage_that_failed(ready, recordings, script, status, message):
    result = ready.run("quickstart.sh", str(recordings), EXITS=json.dumps({script: status}))
    assert result.returncode == status
    assert message in result.stderr.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_quickstart_lets_the_training_save_when_stopped(ready, recordings, number):
    process = ready.start("quickstart.sh", str(recordings), EXITS='{"uniwav_jax.main": "SIGTERM"}')
    while not (ready.calls_file.exists() and "uniwav_jax.main" in ready.calls_file.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 143 and "the same command continues" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["--stepz", "3"], "unknown option --stepz"),
        (["--steps"], "--steps needs a value"),
        (["--librispeech=test"], "dev-clean or train-clean-100"),
        (["--librispeech", "bin"], "not both"),
        ([], "apt-get is not here"),  # PATH of this machine does not have it
    ],
)
def test_quickstart_explains_a_mistake(ready, arguments, message):
    assert message in error_line(ready.run("quickstart.sh", *arguments))
    assert "main" not in stages(ready.calls())


def test_empty_package_lists_are_explained(ready):
    for name in ("apt-get", "apt-cache"):
        ready.program(name, "echo 'E: Unable to locate package' >&2; exit 100")
    ready.program("dpkg", "")
    assert "sudo apt-get update" in error_line(ready.run("quickstart.sh"))


def test_prompts_are_downloaded_once_and_completely(ready):
    """An interrupted download leaves no files; the next one is unpacked and kept."""
    ready.program("apt-get", 'echo "$*" >>"$HOME/fetched"; touch a.deb; [ ! -e "$HOME/broken" ]')
    ready.program("apt-cache", "")
    ready.program("dpkg", 'mkdir -p "$3/usr/share/asterisk/sounds/en_US_f_Allison"')
    (ready.folder / "home" / "broken").touch()
    assert "could not download" in error_line(ready.run("quickstart.sh"))
    data = ready.repository / "data"
    assert list(data.iterdir()) == []

    (ready.folder / "home" / "broken").unlink()
    for seen in (["convert_audio", "build_manifest", "pack_array_record", "main"], ["main"]):
        result = ready.run("quickstart.sh")
        assert result.returncode == 0, result.stderr
        assert stages(ready.calls()) == seen
    sounds = data / "asterisk" / "usr/share/asterisk/sounds/en_US_f_Allison"
    assert sounds.is_dir() and not list(data.glob("asterisk.*"))
    fetched = (ready.folder / "home" / "fetched").read_text().splitlines()
    assert fetched == ["-qq download asterisk-core-sounds-en-g722 asterisk-core-sounds-en"] * 2


def test_librispeech_is_verified_and_unpacked(ready, small_corpus):
    """With a mirror on disk: a damaged archive is an error, a correct one is unpacked once."""
    mirror = ready.folder / "mirror"
    (mirror / "LibriSpeech" / "dev-clean").mkdir(parents=True)
    clip = sorted(small_corpus.glob("*.flac"))[0]
    shutil.copy(clip, mirror / "LibriSpeech" / "dev-clean" / "84-121123-0000.flac")
    archive = mirror / "dev-clean.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", mirror, "LibriSpeech"], check=True)
    environment = {"UNIWAV_LIBRISPEECH_URL": f"file://{mirror}"}

    line = error_line(ready.run("quickstart.sh", "--librispeech", **environment))
    assert "42e2234ba48799c1f50f24a7926300a1" in line and "delete the file" in line
    assert stages(ready.calls()) == []

    script = ready.repository / "launch" / "quickstart.sh"
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    script.write_text(script.read_text().replace("42e2234ba48799c1f50f24a7926300a1", digest))
    (ready.repository / "data" / "dev-clean.tar.gz").unlink()
    result = ready.run("quickstart.sh", "--librispeech", **environment)
    assert result.returncode == 0, result.stderr
    unpacked = ready.repository / "data" / "LibriSpeech" / "dev-clean"
    assert [path.name for path in unpacked.iterdir()] == ["84-121123-0000.flac"]
    assert ready.calls()[0]["argv"][1] == str(unpacked)
    shutil.rmtree(mirror)
    assert ready.run("quickstart.sh", "--librispeech", **environment).returncode == 0
    assert stages(ready.calls()) == ["main"]


def test_commands_of_the_models_that_ship(ready):
    """Each run starts from the one before, and weights from the ones that lie beside them."""
    ready.program("uniwav", f'exec "{ready.venv}/bin/python" -m uniwav_jax.cli "$@"')
    done = ready.run("mini.sh", "t.tsv", "e.tsv", "x.tsv", "p.tsv", "q.tsv", "out")
    assert done.returncode == 0, done.stderr
    calls = [call["argv"][2:] for call in ready.calls()]
    assert [argv[0] for argv in calls] == ["train"] * 6 + ["export"] * 4
    names = ("mini", "mini_tokenizer", "mini_asr", "mini_asr", "mini_tts", "mini_tts")
    for argv, name in zip(calls[:6], names, strict=True):
        assert argv[1] == f"--config={name}"
        assert (REPOSITORY / "configs" / f"{name}.py").exists()
    assert all("--config.init_from=out/mini" in argv for argv in (*calls[1:3], calls[4]))
    assert "--config.init_from=out/asr" in calls[3] and "out/asr-more" in calls[7]
    assert "--config.init_from=out/tts" in calls[5] and "out/tts-more" in calls[9]
    assert "out/weights/mini-tokenizer" in calls[9] and "out/weights/mini-tts" in calls[9]
    assert "out/weights/mini" in calls[7] and "out/weights/mini-asr" in calls[7]
    assert ready.run("mini.sh", "t.tsv").returncode == 2
