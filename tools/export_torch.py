"""The same as `uniwav export`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("export")

if __name__ == "__main__":
    run_tool(main)
