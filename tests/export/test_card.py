"""The model card says what the model is, of what it was made and what was measured."""

import hashlib
import json

import numpy as np
import pytest
from etils import epath

from uniwav_jax.export import card

CONFIG = {"model": {"size": "tiny"}, "task": "asr", "data": {"batch_seconds": 360.0}}
DOCUMENT = {
    "uniwav": {
        "encoder": {"layers": 3, "width": 48, "norm": "post"},
        "features": {"sample_rate": 8000},
        "parts": ["ctc", "encoder", "features"],
    }
}
META = {"config": CONFIG, "step": 1000, "versions": {"jax": "1.2.3", "uniwav_jax": "4.5"}}


@pytest.fixture
def step(tmp_path):
    """The folder of step 1000 of a run."""
    folder = epath.Path(tmp_path) / "checkpoints" / "1000"
    folder.mkdir(parents=True)
    return folder


def written(step, **notes: str) -> str:
    tensors = {"a": np.zeros((1000, 3)), "b": np.zeros(456)}
    return card.write(DOCUMENT, META, step, notes, tensors)


def test_fields(step):
    text = written(step, data="LibriSpeech, CC-BY-4.0", licence="cc0-1.0")
    digest = hashlib.sha256(json.dumps(CONFIG, sort_keys=True).encode()).hexdigest()
    head, rest = text.removeprefix("---\n").split("---\n", 1)
    assert head.splitlines()[-1] == "license: cc0-1.0"
    assert "# UniWav, tiny, task asr" in rest and "at 8000 Hz" in rest
    rows = [line.strip("| ").split(" | ") for line in rest.splitlines() if line.startswith("|")]
    assert dict(row for row in rows if len(row) == 2 and row[0] != "---") == {
        "updates": "1000",
        "audio per batch": "360 s",
        "training data": "LibriSpeech, CC-BY-4.0",
        "licence of the weights": "cc0-1.0",
        "encoder": "3 layers of 48, post-norm",
        "parameters and statistics": "3,456",
        "parts": "ctc, encoder, features",
        "configuration, sha256": digest,
        "made with": "jax 1.2.3, uniwav_jax 4.5",
    }


def test_what_nobody_stated(step):
    text = written(step)
    assert "license: unknown\n" in text
    assert "| training data | not stated |" in text
    assert "| licence of the weights | not stated |" in text


def test_the_last_evaluation_up_to_the_step(step):
    lines = [
        {"step": 500, "loss": 9.0, "eval_wer": 0.5, "eval_loss": 3.0},
        {"step": 1000, "loss": 8.0, "eval_wer": 0.25},
        {"step": 1000, "loss": 8.0, "lr": 0.1},
        {"step": 1500, "eval_wer": 0.125},
    ]
    metrics = step.parent.parent / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = written(step)
    assert "| eval_wer | 0.25 |" in text
    assert "eval_loss" not in text and "0.125" not in text and "| lr" not in text
