"""The same as `uniwav data cut`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("data", "cut")

if __name__ == "__main__":
    run_tool(main)
