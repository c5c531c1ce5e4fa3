"""The same as `uniwav data stats`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("data", "stats")

if __name__ == "__main__":
    run_tool(main)
