"""Settings for compilation, and shared fixtures such as real speech."""

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import os
import pathlib
import resource
import shutil
import sys
from collections.abc import Callable

# These are set before JAX starts: eight CPU devices for the sharding tests, and compilation in a
# tenth of the usual time. It omits LLVM's optimizations and runs in one thread, because the other
# workers use the other cores. jaxlib 0.10 still has the older emitters of fused operations, which
# need a third of the time of those by MLIR; later versions end at a flag that they do not know.
FAST_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if importlib.metadata.version("jaxlib").startswith("0.10."):
    FAST_COMPILE += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Torch's threads wait for one another in busy loops, which on cores that other workers use takes up
# to thirty times as long as one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_force_host_platform_device_count=8",
        *([FAST_COMPILE] if os.environ["JAX_PLATFORMS"] == "cpu" else []),
        os.environ.get("XLA_FLAGS", ""),  # the caller's flags come last and override the others
    ]
)

import pytest  # noqa: E402
import soundfile  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def load_tool(name: str, folder: str = "tools"):
    """Import FOLDER/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def limited_files(size: int):
    """Limit the size of files in bytes, also for child processes, to imitate a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# The order in which files are given to the workers. Files that take minutes are first, so that all
# workers end at about the same time.
SLOWEST_FIRST = """
    end_to_end/test_resume end_to_end/test_codec_training end_to_end/test_hosts
    end_to_end/test_recognition end_to_end/test_wheel test_docs end_to_end/test_devices
    end_to_end/ tasks/ export/ train/ oracles/test_encodec evaluation/ codec/ models/ parallel/
""".split()


def pytest_collection_modifyitems(items) -> None:
    def rank(item) -> int:
        file = item.nodeid.partition("::")[0].removeprefix("tests/")
        fits = (n for n, start in enumerate(SLOWEST_FIRST) if file.startswith(start))
        return next(fits, len(SLOWEST_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory) -> pathlib.Path:
    """A temporary folder that all workers of pytest-xdist have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def made_once(common_folder):
    """A function (name, make) -> folder of that name, which only the first worker fills.

    `make` is called with the empty folder. Tests must not change the content.
    """

    def get(name: str, make: Callable[[pathlib.Path], object]) -> pathlib.Path:
        folder, done = common_folder / name, common_folder / f"{name}.done"
        with open(common_folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # left by a worker that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return get


@pytest.fixture(scope="session", autouse=True)
def compiled_once(common_folder) -> None:
    """Share compiled programs between tests and the programs that they start, in all workers."""
    settings = {
        "jax_compilation_cache_dir": str(common_folder / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    import jax

    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


@pytest.fixture(scope="module")
def fast_compilation():
    """Omit XLA's slower passes, in modules that spend most of their time on compilation."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def prompts(tmp_path_factory):
    """Recorded English prompts; see tests/speech.py."""
    from tests.speech import Prompts  # imported here, because it imports this module

    return Prompts(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="session")
def small_corpus(prompts, tmp_path_factory) -> pathlib.Path:
    """A folder of 12 FLAC clips of real speech, at most 3 s long, and manifest.tsv."""
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
    """Nearly five seconds of real speech, float32 [79877], not a whole number of frames."""
    return (prompts.speech(79877) / 32768).astype("float32")


@pytest.fixture(scope="session")
def librispeech() -> pathlib.Path:
    """The folder UNIWAV_SPEECH with LibriSpeech clips and TextGrids of a forced aligner."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = pathlib.Path(os.environ.get("UNIWAV_SPEECH", default))
    if not (folder / "alignments").is_dir():
        pytest.skip(f"no LibriSpeech with alignments at {folder}; UNIWAV_SPEECH names another")
    return folder
