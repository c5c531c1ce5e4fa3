"""Pretraining on codec latents, which are encoded in the training step or extracted before."""

import json
import shutil

import numpy as np
import soundfile

from tests.codec.random_codec import random_codec
from tests.end_to_end.conftest import Program, read_metrics
from uniwav_jax import cli
from uniwav_jax.checkpoint import reader
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig

CONFIG = SEANetConfig(filters=4, dimension=16, lstm=0)


def test_pretraining_on_latents(program, small_corpus, tmp_path):
    codec = tmp_path / "codec"
    files.save(codec, CONFIG, random_codec(CONFIG), info={})
    settings = {"features__kind": "codec", "features__codec": codec, "train__steps": 4}
    settings |= {"checkpoint__every": 2, "flow__sample_steps": 2}
    settings["data__buckets"] = "(1.0,)"
    settings["data__eval_manifest"] = small_corpus / "manifest.tsv"
    audio = tmp_path / "audio"
    program.run(audio, evaluate__sample_every=4, **settings)

    parts = reader.open(audio).arrays("frozen/features")["frozen"]
    _, weights = files.load(codec)
    for name in ("encoder_0", "decoder_0"):
        kept = parts["features"]["network"][name]["kernel"]
        np.testing.assert_array_equal(kept, weights["network"][name]["kernel"])
    assert parts["features"]["mean"].shape == (16,)
    wav, rate = soundfile.read(audio / "samples" / "step_0000004" / "clip0_generated.wav")
    assert rate == 16000 and len(wav) >= 16000 and np.isfinite(wav).all() and wav.std() > 0

    latents = tmp_path / "latents"
    manifest = str(small_corpus / "manifest.tsv")
    command = ["data", "latents", manifest, "--codec", str(codec), "--out", str(latents)]
    assert cli.main(command) == 0
    described = json.loads((latents / "latents.json").read_text())
    whole = tmp_path / "extracted"
    Program(latents).run(
        whole, **{**settings, "data__manifest": latents, "data__eval_manifest": latents}
    )
    # Both runs have the same batches, so losses agree to the precision of float16 latents.
    pairs = list(zip(read_metrics(audio), read_metrics(whole), strict=True))
    assert len(pairs) == 5  # four updates, one evaluation
    for ours, theirs in pairs:
        for name in ("loss_encoder", "loss_decoder"):
            if name in ours:
                assert abs(ours[name] - theirs[name]) < 2e-2 * ours[name], (name, ours, theirs)
    assert len(described["mean"]) == 16
    # A resumed run reads the codec's weights from its checkpoint, also without the codec's folder.
    shutil.rmtree(audio / "checkpoints" / "4")
    shutil.rmtree(codec)
    again = program.run(audio, **{**settings, "data__eval_manifest": ""})
    assert "resuming at step 2" in again
