"""The same as `uniwav evaluate asr`, with the checkpoint as first argument."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("evaluate", "asr", "--checkpoint")

if __name__ == "__main__":
    run_tool(main)
