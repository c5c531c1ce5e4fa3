"""Recognition from a pretrained base encoder, ten hours of labels (Libri-light).

    python -m uniwav_jax.main --config=configs/asr_10h.py --workdir=runs/asr_10h \
        --config.init_from=runs/base --config.data.manifest=TSV --config.data.eval_manifest=TSV

The rows are fairseq's for wav2vec 2.0. Never trained by us. For comparison:
DinoSR base with a 4-gram: WER 3.6 / 7.6 on test-clean / other (its paper).
"""

from uniwav_jax.config import recognition_config

# Updates, peak learning rate, updates of the head alone, time and channel mask: wav2vec 2.0.
ROWS = {
    "base": (20_000, 5e-05, 10_000, 0.65, 0.5),
}


def get_config(size="base"):
    return recognition_config(size, ROWS)
