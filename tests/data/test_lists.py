"""Lists of speech as toolkits and spreadsheets write them: columns, separators, quotes, marks."""

import codecs
import json

import pytest

from uniwav_jax.data import lists
from uniwav_jax.errors import UserError

SEGMENT = ("r.wav", "hi, you", "anna", 0.0, 0.5)  # path, text, speaker, start, end
PLAIN = (*SEGMENT[:3], 0.0, None)
QUOTED = "audio,sentence,client_id\r\n" + 'r.wav,"hi, you",anna\r\n'
HUGGING_FACE = {"audio": {"path": "r.wav", "bytes": None}, "sentence": "hi, you", "speaker": "anna"}
NEMO = {"audio_filepath": "r.wav", "offset": None, "text": "hi, you", "speaker": "anna"}


def read(tmp_path, content: str | bytes) -> list[tuple]:
    """(name of the file, text, speaker, start, end) of each row."""
    file = tmp_path / "list"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return [
        (row.path.removeprefix(f"{tmp_path}/"), row.text, row.speaker, row.start, row.end)
        for row in lists.read_list(file)
    ]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (QUOTED, PLAIN),
        (codecs.BOM_UTF8 + QUOTED.replace(",", ";").replace("hi;", "hi,").encode(), PLAIN),
        ("filename|transcription|spk\nr.wav|hi, you|anna\n", PLAIN),
        ('ID,duration,wav,spk_id,wrd\nu,0.5,r.wav,anna,"hi,\nyou"\n', SEGMENT),
        ('file,begin,stop,text,speaker\nr.wav,0,0.5,"hi, you",anna\n', SEGMENT),
        ('Path\tText \tSpeaker\n"r.wav"\t"hi, you"\tanna\n', PLAIN),
        ("path\ttext\tspeaker\nr.wav\thi, you\tanna\n".encode("utf-16"), PLAIN),
        (json.dumps([{**NEMO, "duration": 0.5}], indent=1), SEGMENT),
        (f"\n{json.dumps(NEMO)}\r\n\r\n", PLAIN),
        (json.dumps(HUGGING_FACE), PLAIN),
    ],
)
def test_lists_of_toolkits(tmp_path, content, row):
    assert read(tmp_path, content) == [row]


def test_quotation_marks_of_a_text_stay(tmp_path):
    """In a table with tabs a cell may begin with the quotation mark of what is said."""
    rows = read(tmp_path, 'path\ttext\na.wav\t"Go," he said.\nb.wav\t"""No"" is no."\n')
    assert [row[1] for row in rows] == ['"Go," he said.', '"No" is no.']


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", r"found: a, b\. The first line of a table names its columns"),
        ("r.wav\ts.wav\n", r"found: r.wav, s.wav\. The first line .* one path of an audio file"),
        ("r.wav\nnotes\n", "found: r.wav. The first line"),
        ("/no/such\nr.wav\t80\n", ":1: there is no folder /no/such, to which .* fairseq"),
        ("", "found: none"),
        ("path,text\nr.wav,a,b\n", ":2: 3 cells under 2 column names"),
        ('path,text\nr.wav,"a "quoted" word"\n', r":2: .*doubled inside"),
        ("path\toffset_ms\nr.wav\t5\n", ":2: the column offset_ms is not read: give start"),
        ("path,start,duration\nr.wav,0:05,3\n", ":2: start, end and duration are seconds"),
        ('{\n"path": "r.wav"\n}', ":1: not JSON, one object a line"),
        ("[1]", "entry 1 must be a JSON object"),
        ("[1", "not JSON"),
        (b"path,text\nr.wav,caf\xe9\n", "not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)


def test_files_are_found_where_a_corpus_has_them(tmp_path):
    for name in ("a.wav", "clips/b.mp3", "wavs/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ("a.wav", "b", "c", "missing.mp3", "x/missing.mp3")
    found = [lists.locate(tmp_path, name).removeprefix(f"{tmp_path}/") for name in names]
    assert found == ["a.wav", "clips/b.mp3", "wavs/c.wav", "clips/missing.mp3", "x/missing.mp3"]


def test_lists_without_a_header(tmp_path):
    """Paths alone, and fairseq's manifests with the texts that its recipes write beside them."""
    row = ("", "", 0.0, None)
    assert read(tmp_path, "r.wav\r\n\nb, c/S.FLAC\n") == [("r.wav", *row), ("b, c/S.FLAC", *row)]
    (tmp_path / "84/121").mkdir(parents=True)
    manifest = f"{tmp_path}\n84/121/84-121-1.flac\t80\nr.wav\t16000\n"
    names = ["84/121/84-121-1.flac", "r.wav"]
    expected = [(names[0], "", "84", 0.0, None), (names[1], *row)]
    assert read(tmp_path, manifest) == read(tmp_path, f".\n{manifest.partition(chr(10))[2]}")
    assert read(tmp_path, manifest) == expected
    (tmp_path / "list.ltr").write_text("H I | Y O U |\nN O |\n")
    assert [row[1] for row in read(tmp_path, manifest)] == ["HI YOU", "NO"]
    (tmp_path / "list.wrd").write_text("hi you\nno\n")
    assert [row[1] for row in read(tmp_path, manifest)] == ["hi you", "no"]
    (tmp_path / "list.wrd").write_text("hi you\n")
    with pytest.raises(UserError, match=r"list\.wrd: 1 texts for 2 files"):
        read(tmp_path, manifest)
