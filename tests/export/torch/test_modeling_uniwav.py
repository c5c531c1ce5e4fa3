"""An export as a model of `transformers`, where this package is not installed."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")
pytest.importorskip("transformers", reason="see tests/requirements-oracles.txt")

import torch

from tests.export.torch import alone
from uniwav_jax.export.torch import uniwav_model


def test_recognition_and_states_as_by_our_reader(exported, speech, tmp_path):
    exports = {task: exported(task) / "export" for task in ("pretrain", "asr")}
    audio, samples = speech
    np.savez(tmp_path / "clips.npz", *(a[:n] for a, n in zip(*speech, strict=True)))
    code = """
import json, numpy, torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForCTC, AutoProcessor
clips = [clip for clip in numpy.load("clips.npz").values()]
processor = AutoProcessor.from_pretrained(ASR, trust_remote_code=True)
batch = processor(clips, sampling_rate=16000, padding=True, return_tensors="pt")
model = AutoModelForCTC.from_pretrained(ASR, trust_remote_code=True).eval()
labels = processor(text=["some words", "more", "a"], padding=True, return_tensors="pt").input_ids
labels = labels.masked_fill(labels == 0, -100)
with torch.no_grad():
    said = model(**batch, labels=labels, output_hidden_states=True)
output = model.run(batch["input_values"], batch["attention_mask"].sum(-1))
path = said.logits.argmax(-1).masked_fill(~output.frame_mask, 0)
print(json.dumps({
    "logits": said.logits.tolist(), "states": len(said.hidden_states), "loss": said.loss.item(),
    "texts": processor.batch_decode(path), "ours": model.transcribe(output),
}))
other = AutoModel.from_pretrained(PRETRAIN, trust_remote_code=True).eval()
extractor = AutoFeatureExtractor.from_pretrained(PRETRAIN)
with torch.no_grad():
    last = other(**extractor(clips, sampling_rate=16000, padding=True, return_tensors="pt"))
print(json.dumps(last.last_hidden_state.tolist()))
"""
    for task, folder in exports.items():
        code = code.replace(task.upper(), repr(str(folder)))
    (tmp_path / "exported").symlink_to(exports["pretrain"])
    documented = alone.documented()[-1]
    printed, _ = alone.run([code, documented], tmp_path, blocked=alone.OURS)
    first, second = printed.splitlines()[-2:]
    found = json.loads(first)
    model = uniwav_model.load(str(exports["asr"]))
    output = model(torch.tensor(audio), torch.tensor(samples))
    real, theirs = output.frame_mask.numpy(), np.array(found["logits"])
    ours = model.logits(output.encoded).numpy()
    np.testing.assert_allclose(theirs[real], ours[real], rtol=1e-5, atol=1e-5)
    assert (theirs[~real].argmax(-1) == 0).all()  # padded frames are the blank
    assert found["states"] == 5 and 0 < found["loss"] < 1e4
    assert found["texts"] == found["ours"] == model.transcribe(output)
    last = uniwav_model.load(str(exports["pretrain"]))(*map(torch.tensor, speech)).encoded.final
    np.testing.assert_allclose(json.loads(second), last, rtol=1e-5, atol=1e-5)
