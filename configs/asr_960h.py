"""Recognition from a pretrained encoder, 960 hours of labels (LibriSpeech).

`--config=asr_960h:large` takes the large encoder.

    uniwav train --config=asr_960h --workdir=runs/asr_960h \
        --config.init_from=runs/base --config.data.manifest=TSV --config.data.eval_manifest=TSV

The numbers are fairseq's for wav2vec 2.0 (examples/wav2vec/config/finetuning); values without a
source are ours (`recognition_config`). We have not trained it, and know
no published figure of the same recipe.
"""

from uniwav_jax.config import Row, recognition_config

ROWS = {
    "base": Row(  # base_960h.yaml
        steps=320_000,
        lr=1e-4,
        freeze_steps=0,
        time_mask=0.5,
        channel_mask=0.1,
        layer_drop=0.1,
        batch_seconds=1600.0,
    ),
    "large": Row(  # vox_960h.yaml
        steps=320_000,
        lr=3e-5,
        freeze_steps=10_000,
        time_mask=0.5,
        channel_mask=0.25,
        layer_drop=0.1,
        batch_seconds=1920.0,
    ),
}


def get_config(size="base"):
    return recognition_config(size, ROWS)
