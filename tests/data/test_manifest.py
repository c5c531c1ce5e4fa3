import pickle

import pytest

from uniwav_jax.data import manifest
from uniwav_jax.errors import UserError

HEADER = "path\tsamples\tsample_rate\tspeaker\ttext\n"


def load(tmp_path, text, name="m.tsv"):
    (tmp_path / name).write_text(text)
    return manifest.load(str(tmp_path / name), cache=str(tmp_path / "cache"))


def test_rows_paths_and_labels(tmp_path):
    rows = load(
        tmp_path, HEADER + 'a/b.flac\t32000\t16000\ts1\tsay "yes"\n/x.wav\t441\t44100\t\t\n'
    )
    assert len(rows) == 2
    assert rows.path(0) == str(tmp_path / "a/b.flac") and rows.path(1) == "/x.wav"
    assert rows.label(0, "text") == 'say "yes"' and rows.label(1, "speaker") == ""
    assert rows.lengths(16000).tolist() == [32000, 160]


def test_jsonl_without_labels(tmp_path):
    rows = load(tmp_path, '{"path": "a.wav", "samples": 5, "sample_rate": 8000}\n', "m.jsonl")
    assert rows.lengths(16000).tolist() == [10] and rows.label(0, "text") == ""


def test_reader_process_maps_the_same_file(tmp_path):
    rows = load(tmp_path, HEADER + "".join(f"c{i}.wav\t{i}\t16000\t\t\n" for i in range(1, 5001)))
    pickled = pickle.dumps(rows)
    assert len(pickled) < 1000  # it has paths and no rows
    assert pickle.loads(pickled).name(4999) == "c5000.wav"


@pytest.mark.parametrize(
    "text, message",
    [
        ("path\tseconds\na.wav\t1.0\n", "no column samples, sample_rate (found: path, seconds)"),
        (HEADER, "has no rows"),
        (HEADER + "a.wav\tmany\t16000\t\t\n", "many"),
        (HEADER + "a.wav\t\t16000\t\t\n", "column samples has empty values"),
        (HEADER + "a.wav\t5\t0\t\t\n", "sample_rate must be positive"),
        ("path\tsamples\tsample_rate\tpath\na\t1\t8000\tb\n", "two columns path"),
    ],
)
def test_bad_manifests_have_an_error_with_the_reason(tmp_path, text, message):
    with pytest.raises(UserError, match=str(tmp_path)) as error:
        load(tmp_path, text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_missing_manifest_and_folder_of_files(tmp_path):
    with pytest.raises(UserError, match="does not exist; make one with 'uniwav data manifest'"):
        manifest.load(str(tmp_path / "none.tsv"), cache=str(tmp_path))
    with pytest.raises(UserError, match="pack it with 'uniwav data pack"):
        manifest.load(str(tmp_path), cache=str(tmp_path))
