"""The page of a run: what it says of a workdir, its table, its samples, and a browser's view."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.evaluation.browser import browser
from tests.evaluation.test_page import Parsed
from uniwav_jax import cli
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation import curves

EVIL = "</b><script>document.title = 'evil'</script>"
MODELS = ("mini", "mini-asr", "mini-tokenizer", "mini-tts")


def report(*arguments):
    return cli.main(["report", *map(str, arguments)])


def write_metrics(folder, factor=1.0, steps=range(10, 401, 10), tail=""):
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in steps:
        values = {"loss": factor * (1 + 10 / step), "grad_norm": 5000 / step, "lr": 1e-3}
        values |= {"audio_seconds": 60.0, "audio_seconds_per_second": 2.0, "skipped": 0}
        lines.append({"step": step, **values, "bad_rows": int(step == 50)})
        if step % 100 == 0:
            lines.append({"step": step, "eval_loss": factor * 1.5, "eval_wer": step / 1000})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + tail)
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with all kinds of files that a page shows, and a last line that is incomplete."""
    folder = write_metrics(tmp_path_factory.mktemp("run") / "mine", tail='{"step": 410, "lo')
    config = {"task": "asr", "model": {"size": "tiny", "compute_dtype": "float32"}}
    config |= {"data": {"manifest": f"data/{EVIL}.tsv"}, "train": {"steps": 500}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events.out.tfevents.1700000000.host").touch()
    alarms = [{"step": n, "alarm": f"gradient norm of {n} {EVIL}"} for n in range(12)]
    text = "".join(json.dumps(alarm) + "\n" for alarm in [*alarms, alarms[-1]])
    (folder / "alarms.jsonl").write_text(text + '{"step": 13, "al')
    for step in (100, 400):
        samples = folder / "samples" / f"step_{step:07d}"
        samples.mkdir(parents=True)
        Image.fromarray(np.full((40, 90, 3), step % 255, np.uint8)).save(samples / "clip0.png")
        wave = np.sin(np.arange(8000) * step / 4000).astype(np.float32)
        for kind in ("decoded", "real"):
            soundfile.write(samples / f"clip0_{kind}.wav", wave, 16000)
        (samples / "clip1_real.wav").write_bytes(b"RIFF")  # the disk was full
        (samples / "clip1.png").write_bytes(b"\x89PNG")
    (folder / "hypotheses").mkdir()
    rows = "".join(f"{n}.flac\tgo {n}\tgo {EVIL}\n" for n in range(50))
    (folder / "hypotheses" / "step_0000400.tsv").write_text("path\ttext\thypothesis\n" + rows)
    checkpoint = folder / "checkpoints" / "400"
    (checkpoint / "state").mkdir(parents=True)
    (checkpoint / "meta").mkdir()
    sharding = {"shape": [8, 1, 1], "axis_names": ["data", "fsdp", "tensor"]}
    tree = {
        name: {
            "key_metadata": [{"key": key} for key in name.split("/")],
            "value_metadata": {"write_shape": shape},
        }
        for name, shape in (
            ("params/encoder/kernel", [1000, 500]),
            ("params/encoder/bias", [10_000]),
            ("params/head/kernel", [300_000]),
            ("ema/encoder/kernel", [9, 999]),
        )
    }
    documents = {
        "_CHECKPOINT_METADATA": {"commit_timestamp_nsecs": 1_700_003_600 * 10**9},
        "state/_sharding": {"a": json.dumps(sharding), "b": json.dumps(sharding)},
        "state/_METADATA": {"tree_metadata": tree},
        "meta/metadata": {"versions": {"uniwav_jax": "0.1.0", "jax": "0.10.2", "flax": "0.12"}},
    }
    for name, document in documents.items():
        (checkpoint / name).write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def page(workdir):
    """The page of the run beside two references."""
    others = [write_metrics(workdir.parent / n, f) for n, f in (("low", 0.8), ("high", 0.9))]
    path = workdir.parent / "deep" / "report.html"
    metrics = others[1] / "metrics.jsonl"
    assert report(workdir, "--reference", others[0], metrics, "--out", path) == 0
    return Parsed(path)


def test_facts(page):
    found = page.text.partition("Alarms")[0]
    for text in (
        "taskasr",
        "modeltiny, float32",
        f"datadata/{EVIL}.tsv",
        "updates400 of 500",
        "audio2,400 s (0.6667 h)",
        "time0.333 h, 2 s of audio per second",
        "started2023-11-14 22:13 UTC",
        "checkpointupdate 400, 2023-11-14 23:13 UTC",
        "devices8 (data=8 x fsdp=1 x tensor=1)",
        "parametersencoder 0.51 M, head 0.30 M, total 0.81 M",
        "versionsuniwav_jax 0.1.0, jax 0.10.2, flax 0.12",
        "clips that were not read1",
    ):
        assert text in found
    assert "updates skipped" not in found


def test_shapes_of_pieces_are_not_counted_as_parameters(workdir, tmp_path):
    """With fsdp=2 the files have half of each array."""
    folder = workdir / "checkpoints" / "400" / "state"
    before = (folder / "_sharding").read_text()
    try:
        (folder / "_sharding").write_text(before.replace("[8, 1, 1]", "[4, 2, 1]"))
        report(workdir, "--out", tmp_path / "page.html")
    finally:
        (folder / "_sharding").write_text(before)
    text = Parsed(tmp_path / "page.html").text
    assert "fsdp=2" in text and "parametersencoder" not in text


def test_plots_are_grouped_and_have_references(page):
    titles = re.findall(r"Losses|Optimisation|Scores and|Speed and|Constant", page.text)
    assert titles == ["Losses", "Scores and", "Optimisation", "Speed and", "Constant"]
    names = {re.sub(", last.*", "", svg["aria-label"]) for svg in page.all("svg")}
    assert names == {"loss", "wer", "grad_norm", "bad_rows"}
    kinds = [line["class"] for line in page.all("polyline")]
    assert kinds.count("training behind") == 2 * 3 and kinds.count("held-out behind") == 2 * 2
    assert len(page.all("polygon")) == 5
    assert "audio_seconds 60, audio_seconds_per_second 2, lr 0.001, skipped 0" in page.text


def test_table_against_the_references(page):
    table = page.text.partition("Your run at step 400 against the reference")[2]
    assert re.search(r"\nloss1\.0260\.82 to 0\.924\d?above by 0\.10", table)
    assert "eval_loss1.51.2 to 1.35above by 0.15\n" in table
    assert "eval_wer0.40.4within\n" in table and "grad_norm" in table


def test_alarms_samples_and_texts(page):
    assert "Alarms, the last of 12" in page.text and "norm of 1 " not in page.text
    assert page.text.count(f"norm of 11 {EVIL}") == 1
    assert "Recognised text, update 400" in page.text and "go 9go" in page.text
    assert "10.flac" not in page.text
    assert "Pictures of update 400" in page.text and len(page.all("img", "saved")) == 1
    labels = [audio["aria-label"] for audio in page.all("audio")]
    assert labels == ["real, clip0, update 400", "decoded, clip0, update 400"]
    assert len(page.all("script")) == 1


def test_metrics_alone_suffice(tmp_path):
    folder = write_metrics(tmp_path / "bare")
    assert report("--workdir", folder, "--out", tmp_path / "page.html") == 0
    text = Parsed(tmp_path / "page.html").text
    assert "Training report: bare" in text and "against" not in text and "task" not in text


def test_metrics_that_are_never_finite_are_named(tmp_path):
    text = '{"step": 1, "loss": null, "a": 1.5}\n{"step": 2, "a": 2.5}\n'
    (tmp_path / "metrics.jsonl").write_text(text)
    report(tmp_path, "--out", tmp_path / "page.html")
    assert "loss is never finite" in Parsed(tmp_path / "page.html").text


@pytest.mark.parametrize("name", MODELS)
def test_models_that_ship_are_references_of_their_config(tmp_path, name):
    shipped = curves.INSTALLED / name / "metrics.jsonl"
    (tmp_path / "metrics.jsonl").write_bytes(shipped.read_bytes())
    described = json.loads((curves.INSTALLED / name / "model.json").read_text())["config"]
    described["data"]["manifest"] = "mine.tsv"
    (tmp_path / "config.json").write_text(json.dumps(described))
    report(tmp_path, "--out", tmp_path / "page.html")
    text = Parsed(tmp_path / "page.html").text
    assert f"reference{name}\n" in text and "above by" not in text and "below by" not in text
    described["optim"]["lr"] = 1.0
    (tmp_path / "config.json").write_text(json.dumps(described))
    report(tmp_path, "--out", tmp_path / "page.html")
    assert "against the reference" not in Parsed(tmp_path / "page.html").text


def test_mistakes_are_named(tmp_path):
    run, out = write_metrics(tmp_path / "run"), tmp_path / "page.html"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.jsonl").write_text('{"step": 1, "accuracy": 1}\n')
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "metrics.jsonl").write_text('{"step": 1, "loss": 1}\n')
    (tmp_path / "list" / "config.json").write_text("[3]")
    for arguments, message in (
        ([tmp_path / "none"], "metrics.jsonl does not exist"),
        ([run, "--reference", tmp_path / "other"], r"has no metric of .*run; it has accuracy"),
        (
            [run, "--reference", "nano"],
            "nano does not exist.*: mini, mini-asr, mini-tokenizer, mini-tts",
        ),
        ([tmp_path / "list"], "config.json is no JSON object"),
        ([], "give the workdir"),
        ([run, run], "one run"),
    ):
        with pytest.raises(UserError, match=message):
            report(*arguments, "--out", out)
    with pytest.raises(UserError, match=r"ends in \.html"):
        report(run, "--reference", run, "--out", tmp_path / "folder")
    assert not out.exists()


def test_neither_jax_nor_torch_is_loaded(workdir, tmp_path):
    program = (
        "import sys; from uniwav_jax import cli; cli.main(sys.argv[1:]);"
        "print({'jax', 'torch', 'tensorflow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, "report", workdir, "--out", tmp_path / "page.html"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_a_browser_shows_the_curves_and_their_values(page, workdir):
    path = workdir.parent / "deep" / "report.html"
    with browser(workdir.parent / "browser") as tab:
        for width in (1280, 390):
            tab.open(path, width=width, dark=width == 390)
            assert tab.run("document.title") == "Training report: mine"
            assert tab.run("document.documentElement.scrollWidth") <= width
            boxes = tab.run(
                "[...document.querySelectorAll('polyline')].map(line =>"
                " [line.getBoundingClientRect().width, getComputedStyle(line).stroke])"
            )
            assert len(boxes) == 15 and all(box[0] > 100 for box in boxes)
            assert "none" not in {box[1] for box in boxes}
            shown = tab.run(
                "(() => { const svg = document.querySelector('svg');"
                " const box = svg.getBoundingClientRect();"
                " svg.dispatchEvent(new PointerEvent('pointermove',"
                " {clientX: box.right - 5, clientY: box.top + 9}));"
                " return document.querySelector('.plot output').innerText })()"
            )
            assert "training 1.025 at step 400\nheld-out 1.5 at step 400" in shown
            assert "training, lowest 0.82 at step 400" in shown
        assert set(tab.requests) == {path.as_uri()} and not tab.complaints
