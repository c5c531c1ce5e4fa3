"""A FLAC file, and reading without dr_flac."""

import pytest

from uniwav_jax.audio import flac
from uniwav_jax.audio.reader import read_audio


@pytest.fixture(scope="session")
def file(small_corpus):
    """A real clip of two seconds, FLAC at 16 kHz."""
    return sorted(small_corpus.glob("*.flac"))[0]


@pytest.fixture
def libsndfile_only(monkeypatch):
    """`read_audio` without dr_flac."""

    def read(path, **options):
        with monkeypatch.context() as patch:
            patch.setattr(flac, "lib", None)
            return read_audio(path, **options)

    return read
