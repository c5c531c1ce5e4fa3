"""`uniwav evaluate codec`: all three measures of a tiny codec and of log-mel, with few updates."""

import json

import pytest
import soundfile

from tests.evaluation import codecs
from uniwav_jax import cli
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import codec_measures, generation, judges
from uniwav_jax.measures import signal

evaluate = cli.shortcut("evaluate", "codec")


@pytest.fixture
def jury(monkeypatch):
    """Judges that need no packages, and a flow model of the smallest size."""
    monkeypatch.setattr(signal, "missing", lambda: list(signal.PACKAGES))
    found = codecs.jury(), ["a judge is left out: it needs a package"]
    monkeypatch.setattr(judges, "load", lambda *_: found)
    small = generation.DecoderConfig(layers=2, width=16, heads=2, ffn=24)
    original = generation.Probe
    monkeypatch.setattr(
        generation, "Probe", lambda updates: original(updates, 2, 0.5, decoder=small, steps=1)
    )


@pytest.fixture
def manifest(clip, tmp_path):
    lines = ["path\tsamples\tsample_rate\ttext"]
    for number in range(3):
        audio = clip[16000 * number : 16000 * number + 24000]
        soundfile.write(tmp_path / f"{number}.flac", audio, 16000)
        lines.append(f"{number}.flac\t24000\t16000\tgo")
    (tmp_path / "m.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "m.tsv"


def align(manifest):
    """A TextGrid for each clip, with two phones."""
    textgrid = pytest.importorskip("praatio.textgrid", reason="extra align")
    for number in range(3):
        grid = textgrid.Textgrid()
        phones = [(0.0, 0.8, "AA1"), (0.8, 1.5, "S")]
        grid.addTier(textgrid.IntervalTier("phones", phones, 0.0, 1.5))
        path = str(manifest.parent / f"{number}.TextGrid")
        grid.save(path, format="short_textgrid", includeBlankSpaces=False)


@pytest.mark.usefixtures("jury")
def test_all_measures_of_a_codec_and_the_floors(manifest, tmp_path, capsys):
    align(manifest)
    codec, out = codecs.save(tmp_path / "codec"), tmp_path / "out" / "scores.json"
    data = ["--manifest", str(manifest), "--train_manifest", str(manifest)]
    more = ["--alignments", str(tmp_path), "--updates", "2", "--noise", "0,1", "--codebooks", "2"]
    assert evaluate([codec, *data, *more, "--out", str(out)]) == 0
    document = json.loads(out.read_text())
    assert list(document["systems"]) == [codec, "mel", "mfcc39"]
    of_codec, of_mel, of_mfcc = document["systems"].values()
    assert list(of_codec["reconstruction"]) == ["noise 0", "noise 1", "2 codebooks"]
    assert "reconstruction" not in of_mel and "reconstruction" not in of_mfcc  # floors
    mean = of_codec["reconstruction"]["noise 0"]["mel_distance"]
    assert 0 < mean["low"] <= mean["mean"] <= mean["high"] and mean["of"] == 3
    assert of_codec["generation"]["flow_loss"]["mean"] > 0
    assert len(of_codec["generation_losses"]) == 2
    for row in document["systems"].values():
        assert {"pnmi_other", "pnmi_same"} == set(row["representation"])
        assert "representation" in row["seconds"]
    assert document["original"]["word_error"]["mean"] == 0.0
    printed = capsys.readouterr()
    assert out.with_suffix(".md").read_text() == printed.out
    assert "note: a judge is left out: it needs a package" in printed.err


@pytest.mark.usefixtures("jury")
def test_unreadable_clips_and_missing_data_are_reported(manifest, capsys):
    (manifest.parent / "1.flac").write_bytes(b"nothing")
    more = ["--noise", "0", "--codebooks", "2"]
    assert evaluate(["mel", "--manifest", str(manifest), *more]) == 1
    printed = capsys.readouterr()
    assert "generation is left out: it needs --train_manifest" in printed.err
    assert "representation is left out: it needs --alignments" in printed.err
    assert "mel has 0 codebooks, not 2" in printed.err
    assert "error: " in printed.err and "1.flac" in printed.err
    assert "mel" in printed.out and "Generation:" not in printed.out


def test_unknown_measures_are_refused():
    settings = codec_measures.Settings("m.tsv", measures=("speed",))
    with pytest.raises(UserError, match="unknown measure speed; known are: reconstruction"):
        codec_measures.evaluate(["mel"], settings)
