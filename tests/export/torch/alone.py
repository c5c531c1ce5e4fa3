"""Runs code as a user of an export does: in a process that has neither this package nor JAX."""

import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence

from tests.conftest import REPOSITORY

# Packages that only this package imports are not there.
WITHOUT = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)
sys.meta_path.insert(0, Nothing())
"""
OURS = ("uniwav_jax", "jax", "flax", "orbax", "ml_collections", "absl")


def run(
    blocks: Sequence[str], place: pathlib.Path, *, blocked: Sequence[str] = (*OURS, "transformers")
) -> list[str]:
    """What each block of code prints, each with names of its own, in one process in `place`."""
    code = WITHOUT.format(blocked=blocked)
    code += "".join(f"print('NEXT', flush=True)\nexec({block!r}, {{}})\n" for block in blocks)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(place),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("NEXT\n")[1:]


def documented() -> list[str]:
    """The blocks of the documentation on an export in "exported": torch, torch, transformers."""
    pages = [(REPOSITORY / name).read_text() for name in ("README.md", "docs/pytorch.md")]
    pattern = r"<!-- test: torch -->\n```python\n(.*?)```"
    return [block for page in pages for block in re.findall(pattern, page, re.S)]
