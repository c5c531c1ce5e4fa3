"""The same as `uniwav import model`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("import", "model")

if __name__ == "__main__":
    run_tool(main)
