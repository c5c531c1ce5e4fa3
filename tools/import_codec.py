"""The same as `uniwav import codec`."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("import", "codec")

if __name__ == "__main__":
    run_tool(main)
