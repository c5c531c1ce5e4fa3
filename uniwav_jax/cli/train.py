"""`uniwav train`."""

from uniwav_jax.config import recipes

HELP = """usage: uniwav train --config=NAME|PATH[:ARGUMENT] --workdir=DIR [--config.FIELD=VALUE ...]

Train or fine-tune a model. The same command continues a run. A config is the path of a file with
get_config(), or the name of one that is installed with the package:

{configs}

Any field can be set, for example --config.data.manifest=data/train.tsv --config.train.steps=1000.
"""


def train(argv: list[str]) -> int:
    """`python -m uniwav_jax.main` with these arguments; exits with its status."""
    if {"-h", "--help", "-help"} & set(argv):
        lines = (f"  {name:20} {recipes.summary(name)}" for name in recipes.names())
        print(HELP.format(configs="\n".join(lines)), end="")
        return 0
    from absl import app

    from uniwav_jax import main

    app.run(main.main, argv=["uniwav train", *argv], flags_parser=main.parse_flags)
    return 0
