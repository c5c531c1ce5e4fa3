"""The same as `uniwav data lm`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("data", "lm")

if __name__ == "__main__":
    run_tool(main)
