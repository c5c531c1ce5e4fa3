"""Exports work without this package: in PyTorch, transformers, s3prl and ONNX."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.conftest import REPOSITORY
from tests.export.conftest import make
from uniwav_jax.export import onnx, write
from uniwav_jax.export.torch import uniwav_model

# Code that runs first and blocks imports of the packages {blocked}, as if they were not installed.
ALONE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)
sys.meta_path.insert(0, Nothing())
"""
OURS = "('uniwav_jax', 'jax', 'flax', 'orbax', 'ml_collections', 'absl', 'transformers')"


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """{task: exported folder} of the tasks "pretrain" and "asr"."""
    found = {}
    for task in ("pretrain", "asr"):
        folder = tmp_path_factory.mktemp(task)
        write.export(make(folder, task=task), str(folder / "export"))
        found[task] = folder / "export"
    return found


def run(code: str, folder, *, blocked: str = OURS) -> str:
    """Run code in a new process in `folder`, without the packages `blocked`; returns its output."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(blocked=blocked) + code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder.parent), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(folder, audio) -> np.ndarray:
    return uniwav_model.load(str(folder))(torch.tensor(audio)).hidden_states.numpy()


def test_model_card_without_this_package(exports, speech):
    """The example in the exported README.md runs with torch and safetensors only."""
    folder = exports["pretrain"]
    np.save(folder.parent / "audio.npy", speech[0])
    lines = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    lines = lines.replace("FOLDER", str(folder))
    more = """
import numpy
audio = torch.tensor(numpy.load("../audio.npy"))
numpy.save("../states.npy", model(audio).hidden_states)
"""
    printed = run(lines + more, folder)
    assert printed.startswith("torch.Size([5, 1, 50, 160])")
    np.testing.assert_array_equal(np.load(folder.parent / "states.npy"), states(folder, speech[0]))


def test_examples_of_the_documentation(exports):
    """Each example runs with the packages that it needs: torch and safetensors, or transformers."""
    pages = [(REPOSITORY / name).read_text() for name in ("README.md", "docs/pytorch.md")]
    pattern = r"<!-- test: torch -->\n```python\n(.*?)```"
    in_readme, first, second = (
        block for page in pages for block in re.findall(pattern, page, re.S)
    )
    folder = exports["pretrain"].parent
    if not (folder / "exported").exists():
        (folder / "exported").symlink_to(exports["pretrain"])
    for block in (in_readme, first + "print(output.hidden_states.shape)"):
        assert run(block, folder).startswith("torch.Size([5, 1, 50, 160])")
    pytest.importorskip("transformers", reason="see tests/requirements-oracles.txt")
    blocked = OURS.replace(", 'transformers'", "")
    run(second, folder, blocked=blocked)


def test_transformers(exports, speech):
    pytest.importorskip("transformers", reason="see tests/requirements-oracles.txt")
    audio, samples = speech
    np.savez(exports["asr"].parent / "clips.npz", *(a[:n] for a, n in zip(*speech, strict=True)))
    code = """
import json, numpy, torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForCTC, AutoProcessor
clips = [clip for clip in numpy.load("../clips.npz").values()]
processor = AutoProcessor.from_pretrained(".", trust_remote_code=True)
batch = processor(clips, sampling_rate=16000, padding=True, return_tensors="pt")
model = AutoModelForCTC.from_pretrained(".", trust_remote_code=True).eval()
labels = processor(text=["some words", "more", "a"], padding=True, return_tensors="pt").input_ids
labels = labels.masked_fill(labels == 0, -100)
with torch.no_grad():
    result = model(**batch, labels=labels, output_hidden_states=True)
output = model.run(batch["input_values"], batch["attention_mask"].sum(-1))
path = result.logits.argmax(-1).masked_fill(~output.frame_mask, 0)
print(json.dumps({
    "logits": result.logits.tolist(), "states": len(result.hidden_states),
    "loss": result.loss.item(),
    "texts": processor.batch_decode(path), "ours": model.transcribe(output),
}))
other = AutoModel.from_pretrained(PRETRAIN, trust_remote_code=True).eval()
extractor = AutoFeatureExtractor.from_pretrained(PRETRAIN)
with torch.no_grad():
    last = other(**extractor(clips, sampling_rate=16000, padding=True, return_tensors="pt"))
print(json.dumps(last.last_hidden_state.tolist()))
"""
    code = code.replace("PRETRAIN", repr(str(exports["pretrain"])))
    blocked = OURS.replace(", 'transformers'", "")
    first, second = run(code, exports["asr"], blocked=blocked).splitlines()[-2:]
    found = json.loads(first)
    model = uniwav_model.load(str(exports["asr"]))
    output = model(torch.tensor(audio), torch.tensor(samples))
    np.testing.assert_allclose(found["logits"], model.logits(output.encoded), rtol=1e-5, atol=1e-5)
    assert found["states"] == 5 and 0 < found["loss"] < 1e4
    assert found["texts"] == found["ours"] == model.transcribe(output)
    last = uniwav_model.load(str(exports["pretrain"]))(*map(torch.tensor, speech)).encoded.final
    np.testing.assert_allclose(json.loads(second), last, rtol=1e-5, atol=1e-5)


def test_s3prl_upstream(exports, speech):
    from uniwav_jax.export.torch.s3prl_upstream import UpstreamExpert

    upstream = UpstreamExpert(str(exports["pretrain"]))
    wavs = [torch.tensor(a[:n]) for a, n in zip(*speech, strict=True)]
    states = upstream(wavs)["hidden_states"]
    assert [tuple(state.shape) for state in states] == [(3, 150, 160)] * 5
    assert upstream.get_downsample_rates("hidden_states") == 320
    alone = upstream(wavs[1:2])["hidden_states"][-1][0]
    assert (states[-1][1, : len(alone)] - alone).abs().max() < 1e-4 * alone.abs().max()


def test_onnx(exports, speech):
    pytest.importorskip("onnxscript", reason="writes ONNX; see tests/requirements-oracles.txt")
    runtime = pytest.importorskip("onnxruntime", reason="see tests/requirements-oracles.txt")
    folder, names = exports["asr"], ("encoder", "ctc")
    assert tuple(path.stem for path in onnx.write(str(folder))) == names
    model = uniwav_model.load(str(folder))  # SHA256SUMS includes the new files
    for rows in (3, 1):  # these rows and lengths differ from those of the traced example
        output = model(torch.tensor(speech[0][-rows:]), torch.tensor(speech[1][-rows:]))
        mask = output.frame_mask.numpy()
        feeds = {"features": output.features.numpy(), "frames": mask.sum(-1)}
        wanted = {"encoder": output.hidden_states, "ctc": model.logits(output.encoded)[None]}
        for name in names:
            session = runtime.InferenceSession(str(folder / f"{name}.onnx"))
            found = session.run(None, feeds)[0].reshape(wanted[name].shape)
            theirs = wanted[name].numpy()
            apart = np.abs(found - theirs)[:, mask].max() / np.abs(theirs[:, mask]).max()
            assert apart < 1e-4, (name, apart)


def test_torch_export_and_compile(exports, speech):
    model = uniwav_model.load(str(exports["pretrain"]))
    output = model(*map(torch.tensor, speech))
    arguments = (output.features, output.frame_mask)
    program = torch.export.export(model.encoder, arguments)
    compiled = torch.compile(model.encoder, backend="aot_eager")
    for other in (program.module(), compiled):
        final = other(*arguments)[-1]
        assert (final - output.encoded.final).abs().max() < 1e-5 * output.encoded.final.abs().max()


def test_missing_parts_are_errors(exports, speech):
    model = uniwav_model.load(str(exports["asr"]))
    output = model(torch.tensor(speech[0][:1]))
    with pytest.raises(uniwav_model.ExportError, match=r"no heads; it has ctc, encoder"):
        model.codes(output)
    with pytest.raises(uniwav_model.ExportError, match="no decoder"):
        model.sample(output, torch.zeros_like(output.features))
