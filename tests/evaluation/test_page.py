"""Pages to listen: what a file contains, that texts do no harm, and what a browser makes of it."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.conftest import limited_files
from tests.evaluation.browser import browser
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import page

RATE = 16000
EVIL = """</p><script>document.title = "evil"</script><img src="http://x/" onerror='x'>"&amp;"""


class Parsed(HTMLParser):
    """Elements with their attributes, and the text outside of style and script."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self._inside = [], "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("style", "script"):
            self.text += data

    def all(self, tag, kind=None):
        found = [attrs for name, attrs in self.elements if name == tag]
        return [attrs for attrs in found if kind is None or attrs.get("class") == kind]


def content(attrs, kind):
    head, _, coded = attrs["src"].partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(coded, validate=True))


def tone(hertz, seconds=1.0, rate=RATE, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(
        np.float32
    )


def written(tmp_path, *sounds, **options):
    path = tmp_path / "deep" / "page.html"
    page.write(path, title="A page", clips=[("a clip", "its text", sounds)], **options)
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
    return Parsed(path)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_sounds_decode_to_their_waves(rate, tmp_path):
    wave = tone(440, 1.5, rate) + tone(1234, 1.5, rate, 0.2)
    parsed = written(tmp_path, page.Sound("real", wave, rate))
    (audio,) = parsed.all("audio")
    decoded, found = soundfile.read(content(audio, "audio/ogg"), dtype="float32")
    assert found >= rate and len(decoded) / found == pytest.approx(1.5, abs=1e-3)
    if found == rate:
        error = np.square(decoded - wave).mean() / np.square(wave).mean()
        assert error < 10**-2.5
    assert "controls" in audio and audio["aria-label"] == "real, a clip"


@pytest.mark.parametrize("hertz", [500, 4000, 7000])
@pytest.mark.parametrize("rate", [16000, 24000])
def test_the_peak_of_a_tone_is_at_its_row(hertz, rate, tmp_path):
    parsed = written(tmp_path, page.Sound("tone", tone(hertz, rate=rate, amplitude=1.0), rate))
    picture = Image.open(content(parsed.all("img", "spectrogram")[0], "image/webp")).convert("L")
    levels = np.asarray(picture, np.float32)
    assert levels.shape == (257, 101)
    row = 256 - hertz / 8000 * 256
    assert abs(levels.mean(1).argmax() - row) <= 1
    assert levels.mean(1).max() > 200 and np.median(levels) < 30
    peak = page.decibels(tone(hertz, rate=rate, amplitude=1.0), rate)[:, 50].max()
    assert peak == pytest.approx(0, abs=0.5)


def test_the_sounds_of_a_clip_share_their_colours_and_their_time_axis(tmp_path):
    loud, quiet = tone(2000, 1.0), tone(2000, 0.5, amplitude=0.5 * 10 ** (-35 / 20))
    parsed = written(tmp_path, page.Sound("a", loud, RATE), page.Sound("b", quiet, RATE))
    first, second = (
        np.asarray(Image.open(content(image, "image/webp")).convert("L"), np.float32)
        for image in parsed.all("img", "spectrogram")
    )
    assert first.max() > second.max() + 50  # half of the range of 70 dB
    widths = [
        float(re.search(r"calc\(([\d.]+)", t["style"])[1]) for t in parsed.all("div", "track")
    ]
    assert widths == [1.0, 0.5]


def test_codes_and_labels_have_the_time_axis_of_the_sound(tmp_path):
    codes = np.array([[5, 1], [5, 2], [7, 1], [-1, 5]])
    spans = [(0.0, 0.25, "AH"), (0.25, 1.0, "<B>"), (2.0, 3.0, "late")]
    sound = page.Sound("a", tone(440), RATE, codes=codes, frame_rate=8.0, spans=spans)
    parsed = written(tmp_path, sound)
    (strip,) = parsed.all("img", "codes")
    assert "width:50.00%" in strip["style"]  # four frames at 8 Hz
    colours = np.asarray(Image.open(content(strip, "image/png")))
    assert colours.shape == (2, 4, 3)
    assert (colours[0, 0] == colours[0, 1]).all() and (colours[0, 0] == colours[1, 3]).all()
    assert len({tuple(colour) for colour in colours.reshape(-1, 3)}) == 5
    assert colours[0, 3].tolist() == [128, 128, 128]
    assert [item["style"] for item in parsed.all("li")] == [
        "left:0.00%;width:25.00%",
        "left:25.00%;width:75.00%",
    ]
    assert "AH<B>" in parsed.text and "late" not in parsed.text


def test_texts_cannot_become_elements(tmp_path):
    path = tmp_path / "page.html"
    sound = page.Sound(EVIL, tone(440), RATE, {EVIL: EVIL}, spans=[(0, 1, EVIL)])
    tables = [(EVIL, [[EVIL, "b"], [EVIL, EVIL]])]
    introduction = f"{EVIL}\n\n![picture](http://x/)\n\n[link](javascript:alert)"
    clips = [(EVIL, EVIL, [sound]), ("\udcff", "\u4f60", [])]  # a file name that is not UTF-8
    page.write(path, title=EVIL, introduction=introduction, tables=tables, clips=clips)
    parsed = Parsed(path)
    assert len(parsed.all("script")) == 1  # ours
    assert [image["class"] for image in parsed.all("img")] == ["spectrogram"]
    assert not [a for _, attrs in parsed.elements for a in attrs if a.startswith("on")]
    assert [link["href"] for link in parsed.all("a")] == ["http://x/"]  # what was a picture
    assert parsed.text.count(EVIL) == 12  # all but the introduction, which is Markdown
    assert parsed.all("audio")[0]["aria-label"] == f"{EVIL}, {EVIL}"
    (policy,) = (
        m["content"] for m in parsed.all("meta") if "content" in m and "src" in m["content"]
    )
    assert policy.startswith("default-src 'none'")


def test_introduction_and_tables(tmp_path):
    tables = [("Books", [["book", "perplexity"], ["1", "312"]])]
    parsed = written(tmp_path, introduction="| a |\n| --- |\n| b |\n\n*Two* words.", tables=tables)
    assert len(parsed.all("table")) == 2 and len(parsed.all("em")) == 1
    assert [cell["scope"] for cell in parsed.all("th") if "scope" in cell] == ["col"] * 2 + ["row"]


def test_long_notes_are_below_the_pictures(tmp_path):
    notes = {"word errors": "1 in 9 words", "understood": "so much " * 20}
    parsed = written(tmp_path, page.Sound("a", tone(440), RATE, notes))
    order = [attrs["class"] for tag, attrs in parsed.elements if tag in ("dl", "img")]
    assert order == ["short", "spectrogram", "long"]


def test_damaged_silent_and_empty_waves(tmp_path):
    damaged = np.array([0.5, np.nan, np.inf, -3.0] * 4000, np.float32)
    waves = damaged, np.zeros(5, np.float32), np.zeros(0, np.float32)
    parsed = written(tmp_path, *(page.Sound(str(n), wave, RATE) for n, wave in enumerate(waves)))
    first, _ = parsed.all("audio")  # none for the empty one
    decoded, _ = soundfile.read(content(first, "audio/ogg"))
    assert np.isfinite(decoded).all()
    assert parsed.text.count("not finite") == 1
    assert len(parsed.all("img", "spectrogram")) == 2
    with pytest.raises(ValueError, match="a wave is"):
        page.Sound("stereo", np.zeros((5, 2)), RATE)
    with pytest.raises(ValueError, match="frame_rate"):
        page.Sound("codes", np.zeros(5), RATE, codes=np.zeros((1, 1), int))


def test_long_sounds_have_pictures_of_bounded_size():
    assert page.decibels(np.zeros(400 * RATE, np.float32), RATE).shape == (257, 8001)


def test_a_full_disk_leaves_the_older_page(tmp_path):
    path = tmp_path / "page.html"
    page.write(path, title="old")
    with limited_files(20_000), pytest.raises(UserError, match="File too large"):
        page.write(path, title="new", clips=[("a", "", [page.Sound("a", tone(440, 9), RATE)])])
    assert "old" in path.read_text() and list(tmp_path.iterdir()) == [path]


def test_a_browser_plays_the_sounds_and_shows_the_pictures(tmp_path):
    """Files are opened from disk, in a wide window and in one of a phone."""
    codes = np.arange(100).reshape(50, 2)
    more = {"codes": codes, "frame_rate": 50.0, "spans": [(0.1, 0.2, "AH"), (0.3, 0.4, EVIL)]}
    sounds = [page.Sound("a", tone(440), RATE, **more), page.Sound("b", tone(99, 2, 22050), 22050)]
    path = tmp_path / "page.html"
    page.write(path, title="A page", introduction=EVIL, clips=[(EVIL, EVIL * 9, sounds)] * 2)
    with browser(tmp_path / "browser") as tab:
        for width in (1280, 390):
            tab.open(path, width=width)
            assert tab.run("document.title") == "A page"
            lengths = tab.run(
                "Promise.all(sounds.map(a => new Promise((done, fail) => {"
                "a.onloadeddata = () => done(a.duration); a.onerror = () => fail(a.error.message);"
                "a.preload = 'auto'; a.load(); })))"
            )
            assert lengths == pytest.approx([1, 2, 1, 2], abs=0.02)
            assert tab.run("document.getElementById('unplayed').hidden")
            sizes = tab.run(
                "[...document.images].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight])"
            )
            assert len(sizes) == 6 and all(min(size) > 15 for size in sizes)
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run("getComputedStyle(document.body).margin") == "0px"
            tab.run("document.querySelectorAll('.track')[1].click()")  # at 0 s, left of its edge
            tab.run("new Promise(done => sounds[1].addEventListener('timeupdate', done))")
            assert tab.run("sounds.map(a => a.paused)") == [True, False, True, True]
            assert tab.run("getComputedStyle(document.querySelectorAll('.now')[1]).visibility") == (
                "visible"
            )
        assert set(tab.requests) == {path.as_uri()} and not tab.complaints
