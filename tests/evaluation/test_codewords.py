"""Codewords of a small untrained network, measured against the phones of real speech."""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from uniwav_jax import cli
from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax.checkpoint import store
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codewords, units
from uniwav_jax.features.batch import surface
from uniwav_jax.models import masking, uniwav
from uniwav_jax.tasks import pretrain
from uniwav_jax.types import Example, TrainState

evaluate = cli.shortcut("evaluate", "units")


@pytest.fixture(scope="module")
def aligned(prompts, tmp_path_factory):
    """A checkpoint of a small untrained network (step 7) and a manifest of three aligned clips."""
    folder = tmp_path_factory.mktemp("aligned")
    lines = ["path\tsamples\tsample_rate"]
    pytest.importorskip("praatio", reason="extra align")
    for name, numbers in (("a", "8675309"), ("b", "271"), ("c", "314159265358979")):
        file = folder / f"{name}.flac"
        prompts.digits(numbers, file)
        info = soundfile.info(file)
        lines.append(f"{file}\t{info.frames}\t{info.samplerate}")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")

    values = config_lib.default_config("tiny")
    values.model.encoder.update(layers=3, width=64, heads=2, ffn=128)
    values.model.decoder.update(width=64, heads=2, ffn=64)
    values.distillation.update(top_layers=2, codewords=32)
    values.flow.weight = 0.0  # the decoder is not needed
    values.data.buckets = (4.0, 8.0)
    values.model.compute_dtype = "float32"
    config = config_lib.from_dict(values)
    init = jax.jit(pretrain.init, static_argnums=(1, 2))
    params, task = init(jax.random.key(1), config, config.features.mel_bands)
    # These are roughly the statistics of speech, so that features have a normal scale.
    features = {"mean": jnp.full(80, -3.0), "std": jnp.full(80, 2.0)}
    state = TrainState(
        jnp.array(7), params, {}, {}, task, {"features": features}, jnp.zeros(2, jnp.int32)
    )
    checkpoints = store.manager(folder / "run", config)
    store.save(checkpoints, state, config, {})
    checkpoints.close()
    return folder, state, config


@pytest.fixture(scope="module")
def clips(aligned):
    folder, _, config = aligned
    return units.read_clips(
        str(folder / "manifest.tsv"),
        str(folder),
        features=features_lib.build(config.features),
        limit=None,
        batch_seconds=32.0,
    )


def test_probe_codes_are_those_of_training(aligned, clips):
    """Teacher codes are the targets of the loss; codes are the choices of the student's heads."""
    _, state, config = aligned
    features = features_lib.build(config.features)
    assert clips.count == 3 and clips.frames == sum(map(len, clips.labels))
    options = {"features": features, "limit": 1, "batch_seconds": 16.0}
    assert units.read_clips(str(aligned[0] / "manifest.tsv"), None, **options).count == 1
    assert {b.audio.size for b in clips.batches} == {32 * 16000}  # of 4, 8 or 16 s each
    batch = clips.batches[0]
    variables, feature_params = state.variables, state.frozen["features"]
    x, frames_B = surface(batch, feature_params, features)
    mask = masking.frame_mask(frames_B, x.shape[1])
    example, key = Example(x, frames_B), jax.random.key(0)
    draws = pretrain.draw(key, example, config).replace(span_mask_BxT=mask)
    loss = jax.jit(pretrain.loss, static_argnums=5)
    _, trained = loss(variables, example, draws, 1.0, key, config)

    params = variables.params | variables.state
    code = codewords.make_code(config, features, feature_params)
    codes, read_mask = code(params, "teacher_codes", batch)
    np.testing.assert_array_equal(read_mask, mask)
    for book, counts in zip(np.asarray(codes), trained["targets"]["counts"], strict=True):
        counted = np.bincount(book[np.asarray(mask)], minlength=32)
        np.testing.assert_array_equal(counted, counts)
    chosen, _ = code(params, "codes", batch)
    encoded = uniwav.encoder_module(config).apply({"params": params["encoder"]}, x, mask)
    logits = uniwav.predict_codes(params["heads"], encoded, config)
    np.testing.assert_array_equal(chosen, logits.argmax(-1))
    assert (np.asarray(chosen) != np.asarray(codes)).mean() > 0.5

    read = codewords.make_read(config, features, feature_params)
    layers, _ = read(variables.state["teacher"], "feed_forward", batch)
    total = (layers[-2:] * mask[..., None]).sum((1, 2))
    np.testing.assert_allclose(total, trained["targets"]["sums"].sum(1), atol=2e-2)
    states, _ = read(variables.state["teacher"], "states", batch)
    assert states.shape == layers.shape
    real = np.asarray(states)[:, np.asarray(mask)]
    np.testing.assert_allclose(real.std(-1), 1.0, atol=1e-3)


def test_probe_input_is_scaled_over_the_fitted_speech(aligned, clips):
    _, _, config = aligned
    read = codewords.make_read_input(config, features_lib.build(config.features))
    for kind, width in (("log_mel", 80), ("log_mel_deltas", 240), ("mfcc39", 39)):
        scaled = codewords.standardised(functools.partial(read, kind), clips)
        frames = []
        for batch in clips.batches:
            layers, mask = jax.device_get(scaled(batch))
            frames.append(layers[0][mask])
        frames = np.concatenate(frames)
        assert frames.shape == (clips.frames, width)
        np.testing.assert_allclose(frames.mean(0), 0.0, atol=1e-3)
        np.testing.assert_allclose(frames.std(0), 1.0, atol=1e-3)


def test_probe_report(aligned, prompts, capsys):
    folder, *_ = aligned
    out = folder / "deep" / "codewords.json"
    manifest = folder / "manifest.tsv"
    arguments = ["--checkpoint", str(folder / "run"), "--manifest", str(manifest)]
    arguments += ["--alignments", str(folder), "--batch_seconds", "16"]
    # A second set of codewords is fitted to another clip, which has no TextGrid.
    audio, rate = prompts.read("demo-congrats"), 16000
    soundfile.write(folder / "other.flac", audio, rate)
    other = folder / "other.tsv"
    other.write_text(f"path\tsamples\tsample_rate\nother.flac\t{len(audio)}\t{rate}\n")
    arguments += ["--updates", "10", "--out", str(out)]
    assert evaluate([*arguments, "--untrained", "--fit_manifest", str(other)]) == 0
    result = json.loads(out.read_text())
    assert result["step"] == 7 and result["clips"] == 3
    assert result["frames"] <= 3 * 16 * 50  # longer clips are cut
    assert result["codebooks"] == result["teacher_codes"] != result["codes"]
    heads = [result["codes"], result["teacher_codes"]]
    for layers in heads:
        assert [layer["layer"] for layer in layers] == [2, 3]
    elsewhere = result["fit_manifest"]
    assert elsewhere["clips"] == 1 and elsewhere["frames"] == min(-(-len(audio) // 320), 800)
    assert elsewhere["input"] != result["input"] and elsewhere["encoder"] != result["encoder"]
    fitted, inputs = [], []
    for table in (result, elsewhere):
        for name in ("encoder", "untrained"):
            fitted += [table[name][kind] for kind in codewords.KINDS]
        assert table["encoder"] == table["teacher"]  # a fresh teacher is the encoder
        # Encoder and untrained network have different random weights, so intervals have a width.
        for floor, kind in itertools.product(("untrained", "mfcc39"), codewords.KINDS):
            for layer in table[f"encoder_minus_{floor}"][kind]:
                assert layer["pnmi_low"] < layer["pnmi_high"]
        inputs += [table["input"][kind] for kind in codewords.INPUTS]
    for layers in fitted:
        assert [layer["layer"] for layer in layers] == [1, 2, 3]
    for layers in inputs:
        assert [layer["layer"] for layer in layers] == [0]
    for layer in (layer for layers in (*heads, *fitted, *inputs) for layer in layers):
        assert 0 < layer["pnmi_shuffled"] < layer["pnmi"] < 1
        assert 0 < layer["phones_miller_madow"] < layer["phones_plug_in"]
        assert 0 < layer["cluster_purity"] <= 1 and 1 < layer["active_codewords"] <= 32
    # Even states of untrained networks depend on the sound, so codewords fitted to them correspond
    # to phones better than the random codewords of the untrained run.
    for noise, from_frames in zip(result["teacher_codes"], fitted[0][1:], strict=True):
        assert from_frames["pnmi"] > noise["pnmi"] + 0.02
        assert from_frames["active_codewords"] > 28
    printed = capsys.readouterr().out
    assert "information about speakers is left out: " in printed  # the manifest has none
    assert printed.count("untrained, states") == 2 * 2  # two tables of values, two of intervals
    assert printed.count("input, mfcc39") == 2

    with pytest.raises(UserError, match="has a TextGrid"):
        evaluate([*arguments[:4], "--alignments", str(folder / "deep")])
