"""A built wheel that is installed without the repository works as documented."""

import json
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
import setuptools

from tests.end_to_end.conftest import FAST_COMPILE, SMALL

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TEXTS = ("go do you hear", "what do you mean sir")
TRAIN = {  # with one length of audio, only one program is compiled
    "train.steps": 2,
    "features.stats_seconds": 4.0,
    "data.manifest": "train.tsv",
    "data.buckets": "(3.0,)",
    "data.batch_seconds": 12.0,
}
API = """
import json, sys
import numpy as np, uniwav_jax
model = uniwav_jax.load("exported")
wave = np.random.default_rng(0).uniform(-0.3, 0.3, 16000).astype(np.float32)
found = model.encode(wave)
spoken = model.align(wave, "go do")
print(json.dumps({
    "file": uniwav_jax.__file__,
    "torch": "torch" in sys.modules,
    "states": found.states.shape,
    "text": model.transcribe("clips/clip0.flac").text,
    "words": [word.text for word in spoken.words],
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """The wheel, built from a copy of the sources, because a build leaves folders in them."""
    source, out = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("uniwav_jax", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--no-index", "--wheel-dir", str(out), str(source)]
    subprocess.run(command, check=True)
    return next(out.glob("uniwav_jax-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs a program of an environment with the wheel, in an empty folder."""
    folder = tmp_path_factory.mktemp("user")
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    # With PYTHONPATH pip would consider the repository as installed.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, env=variables)
    # The dependencies are those of the environment that runs the tests. Python does not read .pth
    # files in folders that a .pth file adds, so an editable installation there has no effect.
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    variables |= {"XLA_FLAGS": FAST_COMPILE, "JAX_PLATFORMS": "cpu"}

    def run(*command: object) -> str:
        program, *arguments = map(str, command)
        done = subprocess.run(
            [environment / "bin" / program, *arguments],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    run.folder = folder
    return run


def test_the_wheel_has_code_configs_and_requirements(wheel, monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(REPOSITORY)
    runpy.run_path("setup.py")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
    sources = {str(p.relative_to(REPOSITORY)) for p in REPOSITORY.glob("uniwav_jax/**/*.py")}
    configs = REPOSITORY.glob("configs/**/*.py")
    sources |= {f"uniwav_jax/{p.relative_to(REPOSITORY)}" for p in configs}
    for files in ("installed/*/*", "codec/installed/*/*", "text/installed/*", "evaluation/page.*s"):
        sources |= {str(p.relative_to(REPOSITORY)) for p in REPOSITORY.glob(f"uniwav_jax/{files}")}
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert "uniwav_jax/codec/installed/codec/model.safetensors" in names
    assert {"uniwav_jax/configs/demo.py", "uniwav_jax/configs/ablations/joint.py"} <= names
    assert "uniwav_jax/export/torch/modeling_uniwav.py" in names
    stated = {_requirement(line) for line in re.findall(r"^Requires-Dist: (.*)", metadata, re.M)}
    needed = {_requirement(line) for line in given["install_requires"]}
    assert {line for line in stated if "extra==" not in line} == needed
    extras = set(re.findall(r"^Provides-Extra: (.*)", metadata, re.M))
    assert extras == set(given["extras_require"])
    assert f"Requires-Python: {given['python_requires']}" in metadata


def _requirement(line: str) -> str:
    """A requirement in a normal form: no spaces, sorted versions, one kind of quotes."""
    package, _, marker = re.sub(r"[\s()]", "", line).replace("'", '"').partition(";")
    name, versions = re.fullmatch(r"([\w.\[\]-]+)(.*)", package).groups()
    return f"{name.lower().replace('_', '-')}{sorted(versions.split(','))}{marker}"


@pytest.mark.slow
def test_from_recordings_to_text(installed, small_corpus):
    """Data, training, transcription, export and the Python interface.

    tests/test_docs.py runs the other commands; the wheel has all files, which is tested above.
    """
    folder = installed.folder
    (folder / "clips").mkdir()
    for number, clip in enumerate(sorted(small_corpus.glob("*.flac"))):
        shutil.copy(clip, folder / "clips" / f"clip{number}.flac")
        (folder / "clips" / f"clip{number}.txt").write_text(TEXTS[number % 2])
    assert "transcribe" in installed("uniwav", "--help")
    command = ["data", "manifest", "clips", "--out", "train.tsv", "--eval_out", "eval.tsv"]
    assert "with text" in installed("uniwav", *command, "--eval_fraction", 0.2)

    given = [f"--config.{name}={value}" for name, value in {**SMALL, **TRAIN}.items()]
    asr = ["--config=asr_demo:scratch", "--workdir=asr", "--config.data.eval_manifest=eval.tsv"]
    asr += [*given, "--config.evaluate.every=2"]
    assert "finished 2 steps" in installed("uniwav", "train", *asr)
    assert (folder / "asr" / "hypotheses" / "step_0000002.tsv").exists()

    clip = "clips/clip0.flac"
    text = installed("uniwav", "transcribe", clip, "--checkpoint", "asr")
    assert text.startswith(f"{clip}: ")
    installed("uniwav", "export", "--checkpoint", "asr", "--out", "exported")
    found = json.loads(installed("python", "-c", API))
    assert not found["torch"] and str(REPOSITORY) not in found["file"]
    assert found["states"] == [SMALL["model.encoder.layers"] + 1, 50, SMALL["model.encoder.width"]]
    assert f"{clip}: {found['text']}\n" == text and found["words"] == ["go", "do"]
