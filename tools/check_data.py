"""The same as `uniwav data check`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("data", "check")

if __name__ == "__main__":
    run_tool(main)
