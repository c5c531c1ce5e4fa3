"""An exported recogniser behaves in `transformers` as wav2vec 2.0 does, also in its pipeline."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.export.conftest import make
from uniwav_jax.export import write

PROGRAM = """
import json, sys, warnings
import numpy, torch
from transformers import AutoModelForCTC, AutoProcessor, pipeline
warnings.simplefilter("ignore")
folder, clips = sys.argv[1], [clip for clip in numpy.load(sys.argv[2]).values()]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCTC.from_pretrained(folder, trust_remote_code=True).eval()

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


def test_pipeline_batches_and_tokenizer(speech, tmp_path):
    pytest.importorskip("transformers", reason="see tests/requirements-oracles.txt")
    write.export(make(tmp_path, task="asr"), str(tmp_path / "export"))
    audio, samples = speech
    np.savez(tmp_path / "clips.npz", *(a[:n] for a, n in zip(audio, samples, strict=True)))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "export"), str(tmp_path / "clips.npz")],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["together"] == found["alone"] and any(found["alone"])
    vocabulary = json.loads((tmp_path / "export" / "vocab.json").read_text())
    assert found["tokens"] == [vocabulary[symbol] for symbol in "or|rather|at"]
    assert found["ratio"] == 320
    # Windows of four seconds give about as much text as the whole recording.
    assert found["whole"] > 20 and abs(found["cut"] - found["whole"]) < 0.3 * found["whole"]
    assert "floats in [-1, 1]" in found["problems"][0] and "not scaled" in found["problems"][1]
