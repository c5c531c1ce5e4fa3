"""Recognition from a pretrained encoder, 100 hours of labels (LibriSpeech train-clean-100).

`:large` after the file's name takes the large one.

    python -m uniwav_jax.main --config=configs/asr_100h.py --workdir=runs/asr_100h \
        --config.init_from=runs/base --config.data.manifest=TSV --config.data.eval_manifest=TSV

The rows are fairseq's for wav2vec 2.0. Never trained by us. For comparison:
DinoSR base with a 4-gram: WER 2.9 / 6.7 on test-clean / other (its paper).
"""

from uniwav_jax.config import recognition_config

# Updates, peak learning rate, updates of the head alone, time and channel mask: wav2vec 2.0.
ROWS = {
    "base": (80_000, 3e-05, 0, 0.65, 0.5),
    "large": (80_000, 3e-05, 10_000, 0.5, 0.5),
}


def get_config(size="base"):
    return recognition_config(size, ROWS)
