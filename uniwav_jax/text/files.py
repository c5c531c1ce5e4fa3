"""Files of text as people have them."""

import codecs
import os
import pathlib

from uniwav_jax.errors import UserError


def read_text(path: str | os.PathLike[str]) -> str:
    """A file in UTF-8, or in UTF-16 with a byte-order mark; the mark is left out.

    Raises:
        UserError: it cannot be read, or is neither.
    """
    try:
        content = pathlib.Path(path).read_bytes()
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); convert it") from error
