"""The same as `uniwav report`, with the workdirs as first arguments."""

from uniwav_jax.cli import shortcut
from uniwav_jax.errors import run_tool

main = shortcut("report", "--workdir")

if __name__ == "__main__":
    run_tool(main)
