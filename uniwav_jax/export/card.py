"""The model card of an export."""

import hashlib
import json
from typing import Any

import numpy as np
from etils import epath

USE = """
```python
import torch

model = torch.hub.load("{folder}", "uniwav", source="local")
audio = torch.zeros(1, 16000)  # [rows, samples] at {rate} Hz, in [-1, 1]
print(model(audio).hidden_states.shape)  # h_0 .. h_L: [L + 1, rows, frames, width]
```

or `transformers.AutoModel.from_pretrained("{folder}", trust_remote_code=True)`.
"""


def write(
    document: dict[str, Any],
    meta: dict[str, Any],
    folder: epath.Path,
    notes: dict[str, str],
    tensors: dict[str, np.ndarray],
) -> str:
    """README.md: what the model is, of what it was made, and what was measured.

    Args:
        document: content of config.json.
        meta: of the checkpoint.
        folder: of the checkpoint's step; the metrics of its run are read.
        notes: "data" and "licence", as stated by whoever exports.
        tensors: the weights.
    """
    c, config = document["uniwav"], meta["config"]
    encoder, count = c["encoder"], sum(tensor.size for tensor in tensors.values())
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    lines = [
        "---",
        "library_name: transformers",
        "tags: [speech, uniwav]",
        f"license: {notes.get('licence', 'unknown')}",
        "---",
        "",
        f"# UniWav, {config['model']['size']}, task {config['task']}",
        "",
        "An independent implementation of UniWav (arXiv 2503.00733), exported from uniwav_jax.",
        USE.format(folder="FOLDER", rate=c["features"]["sample_rate"]).rstrip(),
        "",
        "| | |",
        "| --- | --- |",
        f"| updates | {meta['step']} |",
        f"| audio a batch | {config['data']['batch_seconds']:g} s |",
        f"| training data | {notes.get('data', 'not stated')} |",
        f"| licence of the weights | {notes.get('licence', 'not stated')} |",
        f"| encoder | {encoder['layers']} layers of {encoder['width']}, {encoder['norm']}-norm |",
        f"| numbers in all | {count:,} |",
        f"| parts | {', '.join(c['parts'])} |",
        f"| configuration, sha256 | {digest} |",
        f"| made with | {', '.join(f'{k} {v}' for k, v in meta['versions'].items())} |",
    ]
    lines += [f"| {name} | {value:.4g} |" for name, value in _figures(folder, meta["step"]).items()]
    return "\n".join(lines) + "\n"


def _figures(folder: epath.Path, step: int) -> dict[str, float]:
    """The last evaluation up to the checkpoint's step, if the run's metrics are still there."""
    metrics = folder.parent.parent / "metrics.jsonl"
    found: dict[str, float] = {}
    if metrics.exists():
        for line in metrics.read_text().splitlines():
            values = json.loads(line)
            if values["step"] <= step:
                scores = {k: v for k, v in values.items() if k.startswith("eval_")}
                found = scores or found
    return found
