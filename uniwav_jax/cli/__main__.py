"""`python -m uniwav_jax.cli` is `uniwav`."""

from uniwav_jax.cli import script

if __name__ == "__main__":
    script()
