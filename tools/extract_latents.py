"""The same as `uniwav data latents`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("data", "latents")

if __name__ == "__main__":
    run_tool(main)
