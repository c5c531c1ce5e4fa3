"""Measures against closed forms; labels against real TextGrids."""

import functools
import itertools
import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from tests.conftest import load_tool
from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax.checkpoint import store
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codebook_analysis as analysis
from uniwav_jax.evaluation import units
from uniwav_jax.features.batch import surface
from uniwav_jax.models import masking, uniwav
from uniwav_jax.tasks import pretrain
from uniwav_jax.text import textgrid
from uniwav_jax.types import TrainState

PHONES = np.repeat(["AA", "B", "CH", "D"], 250)


def test_perfect_code():
    codes = np.repeat([17, 3, 200, 5], 250)
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(1.0)


def test_independent_code():
    codes = np.tile(np.arange(5), 200)  # each phone meets each of the five codes 50 times
    assert analysis.joint_counts(codes, PHONES).tolist() == [[50] * 5] * 4
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == pytest.approx(1 / 4)
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == pytest.approx(1 / 5)
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(0.0, abs=1e-12)


def test_merged_pair():
    codes = np.repeat([0, 0, 1, 2], 250)  # AA and B share a code: I = H - (1/2) ln 2, H = ln 4
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == pytest.approx(3 / 4)
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(
        1 - math.log(2) / 2 / math.log(4)
    )


def test_split_phone():
    codes = np.concatenate([np.repeat([8, 9], 125), np.repeat([1, 2, 3], 250)])
    assert analysis.phone_purity(analysis.joint_counts(codes, PHONES)) == 1.0
    assert analysis.cluster_purity(analysis.joint_counts(codes, PHONES)) == pytest.approx(7 / 8)
    assert analysis.pnmi(analysis.joint_counts(codes, PHONES)) == pytest.approx(1.0)


def test_unequal_phones():
    """Phone shares 3/4 and 1/4, one code for half of the first phone, another for all else."""
    labels = np.repeat(["AA", "B"], [6, 2])
    codes = np.repeat([0, 1], [3, 5])
    h_phone = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    h_given_code = 5 / 8 * -(3 / 5 * math.log(3 / 5) + 2 / 5 * math.log(2 / 5))
    assert analysis.phone_purity(analysis.joint_counts(codes, labels)) == pytest.approx(6 / 8)
    assert analysis.cluster_purity(analysis.joint_counts(codes, labels)) == pytest.approx(5 / 8)
    assert analysis.pnmi(analysis.joint_counts(codes, labels)) == pytest.approx(
        1 - h_given_code / h_phone
    )


def test_shuffled_labels_give_the_bias_of_a_finite_sample():
    """Miller-Madow: independent variables show about (V-1)(P-1) / 2N nats of information."""
    rng = np.random.default_rng(0)
    labels = PHONES[rng.integers(0, 1000, 20000)]
    codes = (np.unique(labels, return_inverse=True)[1] * 64 + rng.integers(0, 64, 20000)) % 256
    assert analysis.pnmi(analysis.joint_counts(codes, labels)) == pytest.approx(1.0)
    floor = analysis.pnmi_shuffled(codes, labels, seed=1)
    assert floor == pytest.approx(255 * 3 / (2 * 20000) / math.log(4), rel=0.1)
    assert floor == analysis.pnmi_shuffled(codes, labels, seed=1)


def test_one_phone_and_bad_shapes():
    assert analysis.pnmi(analysis.joint_counts(np.arange(4), np.repeat("sil", 4))) == 0.0
    with pytest.raises(UserError, match=r"\(3,\) and labels \(4,\)"):
        analysis.joint_counts(np.arange(3), np.repeat("sil", 4))
    with pytest.raises(UserError, match="at least one"):
        analysis.joint_counts(np.zeros(0, int), np.zeros(0, str))


def test_counts_by_clip_sum_to_the_whole():
    rng = np.random.default_rng(0)
    codes, clips = rng.integers(0, 20, 1000), rng.integers(0, 7, 1000)
    by_clip = analysis.joint_counts_by_clip(codes, PHONES, clips)
    np.testing.assert_array_equal(by_clip.sum(0), analysis.joint_counts(codes, PHONES))
    np.testing.assert_array_equal(by_clip.sum((1, 2)), np.bincount(clips))


def test_frame_labels_at_centres():
    """At 50 per second centres lie at 10, 30, 50 ... ms; 50 ms is the second interval's start."""
    intervals = [(0.0, 0.05, "sil"), (0.05, 0.09, "AH"), (0.11, 0.13, "N")]
    labels = textgrid.frame_labels(intervals, 8, 50.0)
    assert labels.tolist() == ["sil", "sil", "AH", "AH", "sil", "N", "sil", "sil"]


def test_real_textgrids(librispeech):
    grids = sorted((librispeech / "alignments").glob("4088-158077-*.TextGrid"))[:5]
    assert len(grids) == 5
    for grid in grids:
        intervals = textgrid.phones(str(grid))
        audio = next((librispeech / "librispeech").rglob(f"{grid.stem}.opus"))
        info = soundfile.info(audio)
        seconds = info.frames / info.samplerate
        assert intervals[0][0] == 0.0
        assert intervals[-1][1] == pytest.approx(seconds, abs=0.05)
        for before, after in itertools.pairwise(intervals):
            assert before[1] == after[0]
        # As many phones as the plain text of the file has stress-marked or bare ARPAbet labels.
        text = grid.read_text().split('name = "phones"')[1]
        marks = [line.split('"')[1] for line in text.splitlines() if "text =" in line]
        assert len(marks) == len(intervals)
        spoken = [phone for _, _, phone in intervals if phone != "sil"]
        assert len(spoken) == sum(mark not in ("", "sil", "sp", "spn") for mark in marks)
        assert all(phone.isalpha() and phone.isupper() for phone in spoken)
        # 50 labels a second; each interval covers its length to within one frame.
        labels = textgrid.frame_labels(intervals, round(seconds * 50), 50.0)
        for start, end, phone in intervals:
            here = labels[round(start * 50) : round(end * 50)]
            assert (here == phone).sum() >= len(here) - 2


def test_labels_line_up_with_the_sound(prompts, tmp_path):
    """Frames labelled silence are quieter than speech; labels reversed in time are not."""
    pytest.importorskip("praatio", reason="extra align")
    prompts.digits("31415926", tmp_path / "a.flac")
    grid = tmp_path / "a.TextGrid"
    audio, rate = soundfile.read(tmp_path / "a.flac", dtype="float64")
    frames = len(audio) * 50 // rate
    power = np.square(audio[: frames * rate // 50].reshape(frames, -1)).mean(1)
    level = 10 * np.log10(power + 1e-10)
    quiet = textgrid.frame_labels(textgrid.phones(str(grid)), frames, 50.0) == "sil"
    contrast = level[~quiet].mean() - level[quiet].mean()
    assert contrast > 15  # decibels
    assert contrast > 2 * (level[~quiet[::-1]].mean() - level[quiet[::-1]].mean())


def test_textgrid_errors(tmp_path, monkeypatch):
    broken = tmp_path / "broken.TextGrid"
    broken.write_text("not a TextGrid")
    with pytest.raises(UserError, match=r"broken\.TextGrid cannot be read"):
        textgrid.phones(str(broken))
    with pytest.raises(UserError, match=r"absent\.TextGrid cannot be read"):
        textgrid.phones(str(tmp_path / "absent.TextGrid"))
    words = tmp_path / "words.TextGrid"
    words.write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\n'
        "tiers? <exists>\nsize = 1\nitem []:\n    item [1]:\n"
        '        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n'
        "        xmax = 1\n        intervals: size = 1\n        intervals [1]:\n"
        '            xmin = 0\n            xmax = 1\n            text = "war"\n'
    )
    with pytest.raises(UserError, match=r"no tier 'phones'.*words"):
        textgrid.phones(str(words))
    monkeypatch.setitem(sys.modules, "praatio", None)
    with pytest.raises(UserError, match="pip install"):
        textgrid.phones(str(words))


@pytest.fixture(scope="module")
def probe():
    return load_tool("probe_codewords")


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
    values.data.buckets = (4.0, 8.0)
    values.model.compute_dtype = "float32"
    config = config_lib.from_dict(values)
    init = jax.jit(pretrain.init, static_argnums=(1, 2))
    params, task = init(jax.random.key(1), config, config.features.mel_bands)
    # Roughly the statistics of speech, so that the features are not out of scale.
    features = {"mean": jnp.full(80, -3.0), "std": jnp.full(80, 2.0)}
    state = TrainState(jnp.array(7), params, {}, {}, task, features, jnp.zeros(2, jnp.int32))
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


def test_probe_codes_are_those_of_training(probe, aligned, clips):
    """The teacher's are the targets of the loss, the student's what its heads choose."""
    _, state, config = aligned
    features = features_lib.build(config.features)
    assert clips.count == 3 and clips.frames == sum(map(len, clips.labels))
    assert {b.audio.shape for b in clips.batches} == {(2, 16 * 16000), (8, 4 * 16000)}
    batch = clips.batches[0]
    x, frames_B = surface(batch, state.features, features)
    mask = masking.frame_mask(frames_B, x.shape[1])
    draws = pretrain.draw(jax.random.key(0), x, frames_B, config).replace(span_mask_BxT=mask)
    loss = jax.jit(pretrain.loss, static_argnums=7)
    key = jax.random.key(0)
    _, trained = loss(state.params, state.task, x, frames_B, draws, 1.0, key, config)

    params = state.params | {name: state.task[name] for name in ("teacher", "codebooks")}
    code = probe.make_code(config, features, state.features)
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

    read = probe.make_read(config, features, state.features)
    layers, _ = read(state.task["teacher"], "feed_forward", batch)
    total = (layers[-2:] * mask[..., None]).sum((1, 2))
    np.testing.assert_allclose(total, trained["targets"]["sums"].sum(1), atol=2e-2)
    states, _ = read(state.task["teacher"], "states", batch)
    assert states.shape == layers.shape
    real = np.asarray(states)[:, np.asarray(mask)]
    np.testing.assert_allclose(real.std(-1), 1.0, atol=1e-3)


def test_probe_input_is_scaled_over_the_fitted_speech(probe, aligned, clips):
    _, _, config = aligned
    read = probe.make_read_input(config, features_lib.build(config.features))
    for kind, width in (("log_mel", 80), ("log_mel_deltas", 240), ("mfcc39", 39)):
        scaled = probe.standardised(functools.partial(read, kind), clips)
        frames = []
        for batch in clips.batches:
            layers, mask = jax.device_get(scaled(batch))
            frames.append(layers[0][mask])
        frames = np.concatenate(frames)
        assert frames.shape == (clips.frames, width)
        np.testing.assert_allclose(frames.mean(0), 0.0, atol=1e-3)
        np.testing.assert_allclose(frames.std(0), 1.0, atol=1e-3)


def test_probe_report(probe, aligned, prompts, capsys):
    folder, *_ = aligned
    out = folder / "deep" / "probe.json"
    manifest = folder / "manifest.tsv"
    arguments = [str(folder / "run"), "--manifest", str(manifest)]
    arguments += ["--alignments", str(folder), "--batch_seconds", "32"]
    # Codewords of one other clip, whose file has another name than any TextGrid.
    audio, rate = prompts.read("demo-congrats"), 16000
    soundfile.write(folder / "other.flac", audio, rate)
    other = folder / "other.tsv"
    other.write_text(f"path\tsamples\tsample_rate\nother.flac\t{len(audio)}\t{rate}\n")
    arguments += ["--updates", "10", "--out", str(out)]
    assert probe.main([*arguments, "--untrained", "--fit_manifest", str(other)]) == 0
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
        fitted += [table[name][kind] for name in ("encoder", "untrained") for kind in probe.KINDS]
        assert table["encoder"] == table["teacher"]  # a fresh teacher is the encoder
        for kind in probe.KINDS:  # by another seed, but as fresh: no difference to be sure of
            for layer in table["encoder_minus_untrained"][kind]:
                assert layer["pnmi_low"] < layer["pnmi_high"]
        inputs += [table["input"][kind] for kind in probe.INPUTS]
    for layers in fitted:
        assert [layer["layer"] for layer in layers] == [1, 2, 3]
    for layers in inputs:
        assert [layer["layer"] for layer in layers] == [0]
    for layer in (layer for layers in (*heads, *fitted, *inputs) for layer in layers):
        assert 0 < layer["pnmi_shuffled"] < layer["pnmi"] < 1
        assert 0 < layer["cluster_purity"] <= 1 and 1 < layer["active_codewords"] <= 32
    # Even untrained features hold sound: codebooks fitted to them tell more of the phones.
    for noise, from_frames in zip(result["teacher_codes"], fitted[0][1:], strict=True):
        assert from_frames["pnmi"] > noise["pnmi"] + 0.02
        assert from_frames["active_codewords"] > 28
    printed = capsys.readouterr().out
    assert printed.count("untrained, states") == 2 * 2  # and its line of intervals
    assert printed.count("input, mfcc39") == 2

    assert probe.main([*arguments, "--limit", "1"]) == 0
    result = json.loads(out.read_text())
    assert result["clips"] == 1 and "fit_manifest" not in result
    with pytest.raises(UserError, match="has a TextGrid"):
        probe.main([*arguments[:4], str(folder)])
