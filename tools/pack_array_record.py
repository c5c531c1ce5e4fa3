"""The same as `uniwav data pack`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("data", "pack")

if __name__ == "__main__":
    run_tool(main)
