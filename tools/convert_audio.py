"""The same as `uniwav data convert`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("data", "convert")

if __name__ == "__main__":
    run_tool(main)
