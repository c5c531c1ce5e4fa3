"""Phones of words by a voice of espeak-ng (extra "espeak"), for languages without a lexicon."""

import ctypes
import functools
import re
from collections.abc import Callable
from typing import Any

from uniwav_jax.errors import UserError

RETRIEVAL, UTF8, IPA, SEPARATOR = 1, 1, 0x02, ord("_") << 8
STRESS_MARKS = "ˈˌ"


def voice(name: str) -> Callable[[str], tuple[str, ...]]:
    """A function from a word to its phones in IPA, without stress.

    espeak-ng has one voice at a time in a process, so the function selects its own at each call.

    Raises:
        UserError: the package espeakng-loader or the voice is missing.
    """
    library = _library()

    def select() -> None:
        if library.espeak_SetVoiceByName(name.encode()) != 0:
            raise UserError(f"espeak-ng has no voice {name!r}; examples are de, fr-fr and en-us")

    def phones(word: str) -> tuple[str, ...]:
        select()
        text = ctypes.c_char_p(word.encode())
        parts = []
        while text.value is not None:  # one clause a call
            found = library.espeak_TextToPhonemes(ctypes.byref(text), UTF8, IPA | SEPARATOR)
            parts.append((found or b"").decode())
        plain = re.sub(rf"[{STRESS_MARKS}]|\([a-z-]+\)", "", " ".join(parts))
        return tuple(phone for phone in re.split(r"[\s_]+", plain) if phone)

    select()
    return phones


@functools.cache
def _library() -> Any:
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError("voices of espeak need: pip install espeakng-loader") from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.c_int,
        ctypes.c_int,
    ]
    data = espeakng_loader.get_data_path().encode()
    if library.espeak_Initialize(RETRIEVAL, 0, data, 0) < 0:
        raise UserError(f"espeak-ng cannot read its data in {data.decode()}")
    return library
