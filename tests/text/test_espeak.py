"""Voices of espeak-ng."""

import builtins

import pytest

from uniwav_jax.errors import UserError
from uniwav_jax.text import espeak, frontend


def test_words_of_two_languages():
    pytest.importorskip("espeakng_loader", reason="extra espeak")
    german, english = espeak.voice("de"), espeak.voice("en-us")
    assert german("Tag") == ("t", "ɑː", "k")
    assert english("cat") == ("k", "æ", "t")
    assert german("Schule") == ("ʃ", "uː", "l", "ə")  # the voices do not affect each other
    assert len(german("3.5")) > 8  # the decimal separator is spoken
    assert german("") == ()
    with pytest.raises(UserError, match="no voice 'klingonese'"):
        espeak.voice("klingonese")


def test_front_end_of_a_voice():
    pytest.importorskip("espeakng_loader", reason="extra espeak")
    speech = frontend.load("espeak:de")("Guten Tag!")
    assert speech.phones()[-4:] == ["t_B", "ɑː_I", "k_E", "sil"]


def test_missing_package_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **options):
        if name == "espeakng_loader":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    espeak._library.cache_clear()
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        espeak.voice("de")
