"""Recognition from a pretrained base encoder, ten hours of labels (Libri-light).

    uniwav train --config=asr_10h --workdir=runs/asr_10h \
        --config.init_from=runs/base --config.data.manifest=TSV --config.data.eval_manifest=TSV

The numbers are fairseq's for wav2vec 2.0 (examples/wav2vec/config/finetuning); values without a
source are ours (`recognition_config`). We have not trained it. For comparison:
DinoSR base with a 4-gram: WER 3.6 / 7.6 on test-clean / other (its paper).
"""

from uniwav_jax.config import Row, recognition_config

ROWS = {
    "base": Row(  # base_10h.yaml
        steps=20_000,
        lr=5e-5,
        freeze_steps=10_000,
        time_mask=0.65,
        channel_mask=0.5,
        layer_drop=0.05,
        batch_seconds=1600.0,
    ),
}


def get_config(size="base"):
    return recognition_config(size, ROWS)
