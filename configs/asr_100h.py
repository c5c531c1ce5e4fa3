"""Recognition from a pretrained encoder, 100 hours of labels (LibriSpeech train-clean-100).

`--config=asr_100h:large` takes the large encoder.

    uniwav train --config=asr_100h --workdir=runs/asr_100h \
        --config.init_from=runs/base --config.data.manifest=TSV --config.data.eval_manifest=TSV

The numbers are fairseq's for wav2vec 2.0 (examples/wav2vec/config/finetuning); values without a
source are ours (`recognition_config`). We have not trained it. For comparison:
DinoSR base with a 4-gram: WER 2.9 / 6.7 on test-clean / other (its paper).
"""

from uniwav_jax.config import Row, recognition_config

ROWS = {
    "base": Row(  # base_100h.yaml
        steps=80_000,
        lr=3e-5,
        freeze_steps=0,
        time_mask=0.65,
        channel_mask=0.5,
        layer_drop=0.1,
        batch_seconds=1600.0,
    ),
    "large": Row(  # vox_100h.yaml
        steps=80_000,
        lr=3e-5,
        freeze_steps=10_000,
        time_mask=0.5,
        channel_mask=0.5,
        layer_drop=0.1,
        batch_seconds=1600.0,
    ),
}


def get_config(size="base"):
    return recognition_config(size, ROWS)
