"""Recognition from a pretrained encoder, 960 hours of labels (LibriSpeech).

`:large` after the file's name takes the large one.

    python -m uniwav_jax.main --config=configs/asr_960h.py --workdir=runs/asr_960h \
        --config.init_from=runs/base --config.data.manifest=TSV --config.data.eval_manifest=TSV

The rows are fairseq's for wav2vec 2.0. Never trained by us. For comparison:
No published figure of the same recipe is known to us.
"""

from uniwav_jax.config import recognition_config

# Updates, peak learning rate, updates of the head alone, time and channel mask: wav2vec 2.0.
ROWS = {
    "base": (320_000, 0.0001, 0, 0.5, 0.1),
    "large": (320_000, 3e-05, 10_000, 0.5, 0.25),
}


def get_config(size="base"):
    return recognition_config(size, ROWS)
