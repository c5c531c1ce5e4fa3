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
    """Programs that tests start share what they compiled, those of all pytest-xdist workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")


@pytest.fixture(scope="module")
def fast_compilation():
    """For modules that mostly compile: XLA's slower passes do not pay."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def speech_dir() -> pathlib.Path:
    """Folder with manifest.tsv, real LibriSpeech clips and TextGrids; UNIWAV_SPEECH overrides."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = pathlib.Path(os.environ.get("UNIWAV_SPEECH", default))
    if not (folder / "manifest.tsv").is_file():
        pytest.skip(f"no speech folder at {folder}; set UNIWAV_SPEECH to one with a manifest.tsv")
    return folder


@pytest.fixture(scope="session")
def small_corpus(speech_dir: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    """A folder of 12 real FLAC clips of 3 s and its manifest.tsv."""
    folder = tmp_path_factory.mktemp("corpus")
    sources = sorted((speech_dir / "librispeech" / "train").rglob("*.flac"))[:12]
    lines = ["path\tsamples\tsample_rate\tspeaker\ttext"]
    for source in sources:
        audio, rate = soundfile.read(source, frames=3 * 16000, dtype="int16")
        soundfile.write(folder / source.name, audio, rate, subtype="PCM_16")
        lines.append(f"{source.name}\t{len(audio)}\t{rate}\t{source.name.split('-')[0]}\t")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def clip(speech_dir: pathlib.Path):
    """The first five seconds of a real clip, float32 [79877]; not a whole number of frames."""
    source = min((speech_dir / "librispeech" / "dev").rglob("*.flac"))
    audio, _ = soundfile.read(source, frames=5 * 16000 - 123, dtype="float32")
    return audio
