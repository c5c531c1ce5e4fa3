"""Judging speech synthesis: pairs of clips and prompts, rows, intervals over seeds."""

import re

import numpy as np
import pytest

from tests.inference.test_say import Recorder
from tests.inference.test_speak import RATE
from uniwav_jax.audio.writer import write_audio
from uniwav_jax.data import manifest, speech_list
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import speech
from uniwav_jax.evaluation.heard import Heard
from uniwav_jax.evaluation.judges import Judges
from uniwav_jax.inference import speak


class Speaker(Recorder):
    """A recorder whose voices are as loud as their prompts, and that predicts 3 frames a phone."""

    def prompt(self, audio, phones=()):
        assert len(audio) <= speech.PROMPT * RATE
        self.level = float(np.abs(audio).max())
        return self.no_prompt()

    def durations(self, line, settings):
        return np.full(len(line.symbols), 3)

    @property
    def waveforms(self):
        return self

    def round_trip(self, audio):
        return audio / 2


def corpus(tmp_path, speakers="aabb"):
    rows = []
    for number, name in enumerate(speakers):
        wave = np.full(RATE * 4, 0.1 * (number + 1), np.float32)
        write_audio(tmp_path / f"{number}.wav", [wave], sample_rate=RATE)
        phones = "sil HH_B AY1_E sil\t0.5 1.0 2.0 4.0"
        rows.append(f"{number}.wav\t{4 * RATE}\t{RATE}\t{name}\thi there\t{phones}")
    head = "path\tsamples\tsample_rate\tspeaker\ttext\tphones\tphone_ends\n"
    (tmp_path / "m.tsv").write_text(head + "\n".join(rows) + "\n")
    return manifest.load(str(tmp_path / "m.tsv"), cache=str(tmp_path))


def test_all_rows(tmp_path):
    """The recogniser of this test misses one of two words in generated speech."""

    def listen(audio):
        generated = np.isclose(np.abs(audio).max(), 0.5, atol=1e-3)
        return "hi" if generated and len(audio) != 4 * RATE else "hi there"

    jury = Judges(listen, lambda audio: np.array([1.0, 0.0]))
    heard = Heard(3)
    got = speech.evaluate(Speaker(), corpus(tmp_path), jury, seeds=(0, 1), heard=heard)
    means = got["rows"]
    assert got["clips"] == 4 and list(means) == list(speech.ROWS)
    assert means["real"]["word_error"]["mean"] == 0
    assert means["oracle"]["word_error"]["mean"] == 0  # as long as the recording
    assert means["predicted"]["word_error"]["mean"] == pytest.approx(0.5)
    assert means["round trip"]["loudness_db"]["mean"] != means["real"]["loudness_db"]["mean"]
    assert all(row["speaker_cosine"]["mean"] == 1 for row in means.values())
    assert len(got["each"]["oracle"]) == 8 and len(got["each"]["real"]) == 4
    table = speech.render(got)
    assert "| predicted" in table and "0.500 (0.500 to 0.500)" in table
    heard.write(str(tmp_path / "page.html"), title="Speech", table=table)
    text = (tmp_path / "page.html").read_text()
    assert text.count("<section>") == 3 and text.count("<audio") == 3 * 5
    sounds = re.findall(r'<h3 dir="auto">(.*?)</h3>', text)
    assert sounds == ["prompt", "real", "round trip", "oracle", "predicted"] * 3
    assert text.count("1 in 2 words") == 3 and text.count("0 in 2 words") == 9
    assert "<span>HH</span>" in text and "HH_B" not in text
    assert "<td>0.500 (0.500 to 0.500)</td>" in text


def test_the_prompt_is_another_clip_of_the_speaker(tmp_path):
    clips, prompts = speech.pairs(Speaker(), corpus(tmp_path, "aab" + "b"), None)
    assert [clip.clip.name for clip in clips] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    named = [prompt.clip.name.removesuffix(" (prompt)") for prompt in prompts]
    assert named == ["1.wav", "0.wav", "3.wav", "2.wav"]
    assert all(len(prompt.clip.audio) == 3 * RATE for prompt in prompts)
    assert clips[0].phones[1] == (0.5, 1.0, "HH_B")
    with pytest.raises(UserError, match="speaker 'c' has one clip"):
        speech.pairs(Speaker(), corpus(tmp_path, "aac"), None)


def test_prompts_of_a_list(tmp_path):
    """Of a continuation the first 3 s stay the recording, and the rest is what is judged."""
    corpus(tmp_path)
    for protocol in ("cross", "continuation"):
        path = tmp_path / f"{protocol}.tsv"
        speech_list.write(str(tmp_path / "m.tsv"), str(path), protocol=protocol)
        listed = manifest.load(str(path), cache=str(tmp_path))
        clips, prompts = speech.pairs(Speaker(), listed, None)
        own = protocol == "continuation"
        numbers = "0123" if own else "1032"
        assert [p.clip.name[0] for p in prompts] == list(numbers)
        assert all(len(p.clip.audio) == 3 * RATE for p in prompts)
        assert [clip.start for clip in clips] == [3 * RATE * own] * 4
    speaker = Speaker()
    heard, embedded = [], []
    jury = Judges(
        lambda audio: heard.append(len(audio)) or "hi there",
        lambda audio: embedded.append(len(audio)) or np.array([1.0, 0.0]),
    )
    got = speech.evaluate(speaker, listed, jury, rows=("real", "oracle"))
    line = speaker.calls[0][0]
    assert list(line.symbols) == ["sil"] and line.frames.tolist() == [50]
    assert heard == [4 * RATE] * 8 and set(embedded) == {3 * RATE, RATE}
    assert got["rows"]["oracle"]["loudness_db"]["mean"] > got["rows"]["real"]["loudness_db"]["mean"]


def test_without_phones_the_front_end_gives_them(tmp_path):
    corpus(tmp_path)
    lines = (tmp_path / "m.tsv").read_text().splitlines()
    short = "\n".join(line.rsplit("\t", 2)[0] for line in lines)
    (tmp_path / "p.tsv").write_text(short + "\n")
    plain = manifest.load(str(tmp_path / "p.tsv"), cache=str(tmp_path))
    message = (
        "no phones; add them with 'uniwav data phones.*or evaluate the rows real, predicted only"
    )
    with pytest.raises(UserError, match=message):
        speech.evaluate(Speaker(), plain, Judges(None, None), rows=("real", "oracle", "predicted"))
    speaker = Speaker()
    speech.evaluate(speaker, plain, Judges(None, None), rows=("predicted",))
    line = speaker.calls[0][0]
    assert list(line.symbols) == ["sil", "HH_B", "AY1_E", "DH_B", "EH1_I", "R_E", "sil"]
    assert line.frames.tolist() == [3] * 7


def test_oracle_lines_have_the_durations_of_the_recording(tmp_path):
    speaker = Speaker()
    speech.evaluate(speaker, corpus(tmp_path), Judges(None, None), rows=("oracle", "even"))
    oracle, even = speaker.calls
    assert isinstance(oracle[0], speak.Line)
    assert oracle[0].frames.tolist() == [25, 25, 50, 100]
    assert even[0].frames.tolist() == [3, 3, 3, 3]
