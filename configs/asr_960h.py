"""Recognition from a pretrained encoder, 960 hours of labels (LibriSpeech).

`:large` after the file's name takes the large one.

    python -m uniwav_jax.main --config=configs/asr_960h.py --workdir=runs/asr_960h \
        --config.init_from=runs/base --config.data.manifest=TSV --config.data.eval_manifest=TSV

The numbers are fairseq's for wav2vec 2.0 (examples/wav2vec/config/finetuning); values without a
source are ours (`recognition_config`). Never trained by us, and no published figure of
the same recipe is known to us.
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
