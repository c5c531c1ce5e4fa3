"""Speech tokens on disk: .uwt (`tokens.uwt`), .npz of NumPy, and .parquet (`tokens.rows`)."""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from uniwav_jax.errors import UserError, disk_errors
from uniwav_jax.tokens import uwt
from uniwav_jax.tokens.value import Tokens

SUFFIXES = (".uwt", ".npz", ".parquet")
SCHEMA = 1  # of npz files


def write(path: str | os.PathLike[str], tokens: Tokens) -> None:
    """Write one clip in the format of the path's suffix; the file appears whole or not at all.

    Raises:
        UserError: the suffix is none of `SUFFIXES`, frames are damaged, or the disk refuses.
    """
    suffix = _suffix(path)
    if suffix == ".parquet":
        write_rows(path, [tokens])
        return
    try:
        content = uwt.encode(tokens) if suffix == ".uwt" else _npz(tokens)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    with whole(path) as draft:
        draft.write_bytes(content)


def write_rows(path: str | os.PathLike[str], clips: Iterable[Tokens]) -> int:
    """Write a table for the training of language models, one row for each clip (`tokens.rows`).

    Args:
        path: of the .parquet file.
        clips: of the same model and books; taken in turn, so that memory stays bounded.

    Returns:
        The number of rows.

    Raises:
        UserError: there are no clips, clips differ in model or books, frames are damaged, or the
            disk refuses.
    """
    from uniwav_jax.tokens import rows  # pyarrow

    with whole(path) as draft:
        return rows.write(draft, clips, name=str(path))


def read(
    path: str | os.PathLike[str], *, books: int | None = None, model: str | None = None
) -> Tokens:
    """Read one clip.

    Args:
        path: of a file of any of the formats.
        books: number of books to read; None: all.
        model: digest of the model that will decode the tokens; None: any.

    Returns:
        The tokens. Of a damaged .uwt file, the undamaged blocks: see `Tokens.damaged`. A damaged
        file of the other formats is an error.

    Raises:
        UserError: the file cannot be read, has several clips, fewer books, or tokens of another
            model.
    """
    clips = read_all(path, books=books, model=model)
    first = next(clips, None)
    if first is None or next(clips, None) is not None:
        count = "no clip" if first is None else "several clips"
        raise UserError(f"{path} has {count}, where one is expected; use tokens.files.read_all")
    return first


def read_all(
    path: str | os.PathLike[str], *, books: int | None = None, model: str | None = None
) -> Iterator[Tokens]:
    """Read the clips of a file in turn; arguments and errors as in `read`."""
    suffix = _suffix(path)
    try:
        if suffix == ".uwt":
            with open(path, "rb") as file:
                clips = iter([uwt.decode(file, name=str(path), books=books)])
        elif suffix == ".npz":
            clips = iter([_from_npz(path)])
        else:
            from uniwav_jax.tokens import rows  # pyarrow

            clips = rows.read(path)
        for tokens in clips:
            if model is not None:
                tokens.check_model(model, name=str(path))
            if books is not None and books > tokens.books:
                raise UserError(f"{path} has {tokens.books} books, not {books}")
            yield tokens if books in (None, tokens.books) else tokens.first(books)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UserError as error:
        known = str(error).startswith(str(path))
        raise error if known else UserError(f"{path}: {error}") from None
    except Exception as error:  # numpy, zipfile, zlib and pyarrow each raise errors of their own
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise UserError(f"{path} has no tokens, or is damaged: {reason}") from error


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: files of tokens end in {', '.join(SUFFIXES)}")
    return suffix


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield the path of a draft, which becomes `path` at the end or is deleted on failure."""
    target = pathlib.Path(path)
    draft = target.with_name(f".{target.name}.part")
    with disk_errors(str(target.parent)):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def _npz(tokens: Tokens) -> bytes:
    """The fields by their names; `prompt` is [0, 0] where there is none."""
    if tokens.damaged.any():
        raise UserError("tokens with damaged frames cannot be written; make them again from audio")
    prompt = np.zeros((0, 0), np.float16) if tokens.prompt is None else tokens.prompt
    fields: dict[str, Any] = {"schema": SCHEMA, "codes": tokens.codes, "prompt": prompt}
    names = ("book_sizes", "sample_rate", "hop", "samples", "model", "prompt_name", "id", "text")
    fields |= {name: getattr(tokens, name) for name in names}
    content = io.BytesIO()
    np.savez_compressed(content, **fields)
    return content.getvalue()


def _from_npz(path: str | os.PathLike[str]) -> Tokens:
    with np.load(path, allow_pickle=False) as document:
        fields = {name: document[name] for name in document.files}
    if fields.pop("schema") != SCHEMA:
        raise UserError(f"{path} is an npz file of another version, or not of speech tokens")
    prompt = fields.pop("prompt")
    numbers = {name: int(fields.pop(name)) for name in ("sample_rate", "hop", "samples")}
    texts = {name: str(fields.pop(name)) for name in ("model", "prompt_name", "id", "text")}
    sizes = tuple(fields.pop("book_sizes").tolist())
    return Tokens(
        fields["codes"], sizes, **numbers, **texts, prompt=prompt if prompt.size else None
    )
