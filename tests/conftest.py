"""Shared fixtures: where real speech lies, and a small corpus cut from it."""

import contextlib
import importlib.util
import os
import pathlib
import resource
import sys

# Before JAX starts. Eight CPU devices for the sharding tests, and code that is compiled three to
# five times faster than it would be for long runs.
FAST_COMPILE = "--xla_backend_optimization_level=0"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_force_host_platform_device_count=8",
        *([FAST_COMPILE] if os.environ["JAX_PLATFORMS"] == "cpu" else []),
        os.environ.get("XLA_FLAGS", ""),  # the caller's come last and win
    ]
)

import pytest  # noqa: E402
import soundfile  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def load_tool(name: str, folder: str = "tools"):
    """FOLDER/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def limited_files(size: int):
    """No file can grow beyond so many bytes, here and in processes started here: a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory) -> None:
    """Tests and the programs that they start share what they compile, in all xdist workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    settings = {
        "jax_compilation_cache_dir": str(folder / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    import jax

    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


@pytest.fixture(scope="module")
def fast_compilation():
    """For modules that mostly compile: XLA's slower passes do not pay."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def prompts(tmp_path_factory):
    """Recorded English prompts; see tests/speech.py."""
    from tests.speech import Prompts  # which builds on this module

    return Prompts(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="session")
def small_corpus(prompts, tmp_path_factory) -> pathlib.Path:
    """A folder of 12 FLAC clips of real speech, of 3 s and a little less, and its manifest.tsv."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = ["path\tsamples\tsample_rate\tspeaker\ttext"]
    for number, name in enumerate(prompts.sentences[:12]):
        audio = prompts.read(name)[: {0: 31440, 8: 45760}.get(number, 48000)]
        path = folder / f"7-1-{number:04d}.flac"
        soundfile.write(path, audio, 16000, subtype="PCM_16")
        lines.append(f"{path.name}\t{len(audio)}\t16000\t7\t")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def clip(prompts):
    """Nearly five seconds of real speech, float32 [79877]; not a whole number of frames."""
    return (prompts.speech(79877) / 32768).astype("float32")


@pytest.fixture(scope="session")
def librispeech() -> pathlib.Path:
    """Folder with LibriSpeech clips and TextGrids of a forced aligner; UNIWAV_SPEECH names it."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = pathlib.Path(os.environ.get("UNIWAV_SPEECH", default))
    if not (folder / "alignments").is_dir():
        pytest.skip(f"no LibriSpeech with alignments at {folder}; UNIWAV_SPEECH names another")
    return folder
