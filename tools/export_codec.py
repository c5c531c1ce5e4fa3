"""The same as `uniwav export`, with the checkpoint as first argument."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("export", "--checkpoint")

if __name__ == "__main__":
    run_tool(main)
