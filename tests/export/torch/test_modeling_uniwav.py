"""An export in `transformers`, also in its pipeline, where this package is not installed."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")
pytest.importorskip("transformers", reason="see tests/requirements-oracles.txt")

import torch

from tests.export.torch import alone
from uniwav_jax.export.torch import uniwav_model

# One process runs all of these, because importing the packages takes seconds.
START = """
import json, numpy, torch, warnings
from transformers import (
    AutoFeatureExtractor, AutoModel, AutoModelForCTC, AutoProcessor, pipeline
)
warnings.simplefilter("ignore")
clips = [clip for clip in numpy.load("clips.npz").values()]
processor = AutoProcessor.from_pretrained("asr", trust_remote_code=True)
model = AutoModelForCTC.from_pretrained("asr", trust_remote_code=True).eval()
"""
NUMBERS = """
batch = processor(clips, sampling_rate=16000, padding=True, return_tensors="pt")
labels = processor(text=["some words", "more", "a"], padding=True, return_tensors="pt").input_ids
labels = labels.masked_fill(labels == 0, -100)
with torch.no_grad():
    said = model(**batch, labels=labels, output_hidden_states=True)
output = model.run(batch["input_values"], batch["attention_mask"].sum(-1))
other = AutoModel.from_pretrained("exported", trust_remote_code=True).eval()
extractor = AutoFeatureExtractor.from_pretrained("exported")
with torch.no_grad():
    last = other(**extractor(clips, sampling_rate=16000, padding=True, return_tensors="pt"))
print(json.dumps({
    "logits": said.logits.tolist(), "states": len(said.hidden_states), "loss": said.loss.item(),
    "texts": processor.batch_decode(said.logits.argmax(-1)), "ours": model.transcribe(output),
    "last": last.last_hidden_state.tolist(),
}))
"""
RECOGNITION = """
def texts(chosen):
    batch = processor(chosen, sampling_rate=16000, padding=True, return_tensors="pt")
    with torch.no_grad():
        return processor.batch_decode(model(**batch).logits.argmax(-1))

recognise = pipeline(
    "automatic-speech-recognition", model=model, tokenizer=processor.tokenizer,
    feature_extractor=processor.feature_extractor,
)
long = numpy.concatenate(clips * 3)
whole, cut = (
    recognise({"raw": long, "sampling_rate": 16000}, **options)["text"]
    for options in ({}, {"chunk_length_s": 4, "stride_length_s": 1})
)
problems = []
for wrong in (torch.zeros(1, 8000, dtype=torch.int16), torch.full((1, 8000), 1000.0)):
    try:
        model(wrong)
        problems.append("")
    except ValueError as error:
        problems.append(str(error))
print(json.dumps({
    "together": texts(clips), "alone": [texts([clip])[0] for clip in clips],
    "tokens": processor.tokenizer("or rather at").input_ids,
    "ratio": model.config.inputs_to_logits_ratio, "whole": len(whole),
    "cut": len(cut), "problems": problems,
}))
"""


@pytest.fixture(scope="module")
def printed(exported, speech, tmp_path_factory):
    """What `NUMBERS` and `RECOGNITION` print; the documentation's lines run after them."""
    place = tmp_path_factory.mktemp("transformers")
    (place / "asr").symlink_to(exported("asr") / "export")
    (place / "exported").symlink_to(exported("pretrain") / "export")
    np.savez(place / "clips.npz", *(a[:n] for a, n in zip(*speech, strict=True)))
    blocks = (START + NUMBERS, START + RECOGNITION, alone.documented()[-1])
    numbers, recognition, _ = alone.run(blocks, place, blocked=alone.OURS)
    return tuple(json.loads(text.splitlines()[-1]) for text in (numbers, recognition))


def test_recognition_and_states_as_by_our_reader(printed, exported, speech):
    found, _ = printed
    model = uniwav_model.load(str(exported("asr") / "export"))
    output = model(*map(torch.tensor, speech))
    real, theirs = output.frame_mask.numpy(), np.array(found["logits"])
    ours = model.logits(output.encoded).numpy()
    np.testing.assert_allclose(theirs[real], ours[real], rtol=1e-5, atol=1e-5)
    assert (theirs[~real].argmax(-1) == 0).all()  # padded frames are the blank
    assert found["states"] == 5 and 0 < found["loss"] < 1e4
    assert found["texts"] == found["ours"] == model.transcribe(output)
    pretrained = uniwav_model.load(str(exported("pretrain") / "export"))
    last = pretrained(*map(torch.tensor, speech)).encoded.final
    np.testing.assert_allclose(found["last"], last, rtol=1e-5, atol=1e-5)


def test_pipeline_batches_and_tokenizer(printed, exported):
    """A recogniser behaves as wav2vec 2.0 does."""
    _, found = printed
    assert found["together"] == found["alone"] and any(found["alone"])
    vocabulary = json.loads((exported("asr") / "export" / "vocab.json").read_text())
    assert found["tokens"] == [vocabulary[symbol] for symbol in "or|rather|at"]
    assert found["ratio"] == 320
    # Windows of four seconds give about as much text as the whole recording.
    assert found["whole"] > 20 and abs(found["cut"] - found["whole"]) < 0.3 * found["whole"]
    assert "floats in [-1, 1]" in found["problems"][0] and "not scaled" in found["problems"][1]
