"""An export in `transformers`, also in its pipeline, where this package is not installed."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")
pytest.importorskip("transformers", reason="see tests/requirements-oracles.txt")

import torch

from tests.export.conftest import SMALL, make
from tests.export.torch import alone
from uniwav_jax.export import write
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
def problem(*arguments, **more):
    try:
        model(*arguments, **more)
    except ValueError as error:
        return str(error)

one = processor(clips[2], sampling_rate=16000, return_tensors="pt").input_values
mask = torch.ones(1, 8000, dtype=torch.long)
left = torch.cat([0 * mask[:, :80], mask[:, 80:]], 1)
problems = [
    problem(torch.full((1, 8000), 1000.0)),
    problem(torch.zeros(8000, 2)),
    problem(torch.zeros(1, 8000), left),
    *(problem(one, labels=torch.tensor([[2, wrong, -100]])) for wrong in (0, 99)),
]
with torch.no_grad():
    padded = torch.nn.functional.pad(one, (0, 3000), value=0.5)
    mask = (torch.arange(padded.shape[1]) < one.shape[1])[None].long()
    apart = (model(padded, mask).logits[:, :56] - model(one).logits).abs().max()
int16 = (clips[2] * 32768).astype(numpy.int16)
print(json.dumps({
    "int16": recognise(int16)["text"] == recognise(int16 / 32768)["text"], "apart": apart.item(),
    "together": texts(clips), "alone": [texts([clip])[0] for clip in clips],
    "tokens": processor.tokenizer("or rather at").input_ids,
    "ratio": model.config.inputs_to_logits_ratio, "whole": len(whole),
    "cut": len(cut), "problems": problems,
}))
"""
OF_TOKENS = """
short = AutoModelForCTC.from_pretrained("tokens", trust_remote_code=True, dtype=torch.bfloat16)
processor = AutoProcessor.from_pretrained("tokens", trust_remote_code=True)
model = AutoModelForCTC.from_pretrained("tokens", trust_remote_code=True).eval()
model.save_pretrained("saved", max_shard_size="50KB")
again = AutoModelForCTC.from_pretrained("saved", trust_remote_code=True).eval()
batch = processor(clips, sampling_rate=16000, padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**batch).logits
    other = again(**batch).logits
    features = [m.features.encode(batch.input_values) for m in (model, short)]
recognise = pipeline(
    "automatic-speech-recognition", model=model, tokenizer=processor.tokenizer,
    feature_extractor=processor.feature_extractor,
)
print(json.dumps({
    "logits": logits.tolist(), "same": [torch.equal(logits, other), torch.equal(*features)],
    "tokens": processor.tokenizer("a b t").input_ids, "text": recognise(clips[0])["text"],
    "ours": model.transcribe(model.run(torch.tensor(clips[0][None])))[0],
}))
"""


@pytest.fixture(scope="module")
def printed(exported, speech, tmp_path_factory):
    """What the blocks above print; the documentation's lines run after them."""
    place = tmp_path_factory.mktemp("transformers")
    (place / "asr").symlink_to(exported("asr") / "export")
    (place / "exported").symlink_to(exported("pretrain") / "export")
    run = make(place, task="asr", codec="mdct", text__units="tokens", **SMALL)
    write.export(run, str(place / "tokens"))
    np.savez(place / "clips.npz", *(a[:n] for a, n in zip(*speech, strict=True)))
    blocks = [START + block for block in (NUMBERS, RECOGNITION, OF_TOKENS)]
    *printed, _ = alone.run((*blocks, alone.documented()[-1]), place, blocked=alone.OURS)
    return [json.loads(text.splitlines()[-1]) for text in printed], place


def test_recognition_and_states_as_by_our_reader(printed, exported, speech):
    found = printed[0][0]
    model = uniwav_model.load(str(exported("asr") / "export"))
    output = model(*map(torch.tensor, speech))
    real, theirs = output.frame_mask.numpy(), np.array(found["logits"])
    ours = model.logits(output.encoded).numpy()
    np.testing.assert_allclose(theirs[real], ours[real], rtol=1e-5, atol=1e-5)
    assert (theirs[~real].argmax(-1) == 0).all()  # padded frames are the blank
    assert found["states"] == 5 and 0 < found["loss"] < 1e4
    # Between two delimiters transformers leaves two spaces.
    assert [" ".join(text.split()) for text in found["texts"]] == found["ours"]
    assert found["ours"] == model.transcribe(output)
    pretrained = uniwav_model.load(str(exported("pretrain") / "export"))
    last = pretrained(*map(torch.tensor, speech)).encoded.final
    np.testing.assert_allclose(found["last"], last, rtol=1e-5, atol=1e-5)


def test_pipeline_batches_and_tokenizer(printed, exported):
    """A recogniser behaves as wav2vec 2.0 does."""
    found = printed[0][1]
    assert found["together"] == found["alone"] and any(found["alone"])
    vocabulary = json.loads((exported("asr") / "export" / "vocab.json").read_text())
    assert found["tokens"] == [vocabulary[symbol] for symbol in "or|rather|at"]
    assert found["ratio"] == 320
    # Windows of four seconds give about as much text as the whole recording.
    assert found["whole"] > 20 and abs(found["cut"] - found["whole"]) < 0.3 * found["whole"]
    assert found["int16"] and found["apart"] < 1e-5  # what lies beyond the mask is not read
    reasons = ("not scaled", "channels averaged", "on the right", "0 is the blank", "1 to 28")
    for reason, message in zip(reasons, found["problems"], strict=True):
        assert reason in message


def test_codec_features_tokens_and_half_precision(printed, speech):
    """Constants of the codec keep their values in transformers, and tokens are kept apart."""
    (*_, found), place = printed
    model = uniwav_model.load(str(place / "tokens"))
    output = model(*map(torch.tensor, speech))
    real, theirs = output.frame_mask.numpy(), np.array(found["logits"])
    ours = model.logits(output.encoded).numpy()
    np.testing.assert_allclose(theirs[real], ours[real], rtol=1e-5, atol=1e-5)
    assert found["same"] == [True, True]
    symbols = model.c["text"]["symbols"]
    assert found["tokens"] == [symbols.index(symbol) + 1 for symbol in "abt"]
    assert found["text"] == found["ours"] and " " in found["text"]
