"""Speech tokens at 500 bit/s: one book of 1024 codewords at 50 frames a second (paper, Eq. 11).

    uniwav evaluate units --checkpoint runs/base --manifest TSV --alignments FOLDER --out units.json
    uniwav train --config=tokenizer_500bps --workdir=runs/tokens --config.init_from=runs/base \
        --config.tokenizer.units=units.json --config.data.manifest=TSV \
        --config.data.eval_manifest=TSV

Everything else is as in tokenizer_1kbps.py. Values without a source are ours. We have not trained
it.
"""

from uniwav_jax.config import recipes


def get_config(size="base"):
    config = recipes.load(f"tokenizer_1kbps:{size}")
    config.tokenizer.books = 1
    return config
