"""Parity with Lyra's own graphs in `ai-edge-litert`, on real speech."""

import os
import pathlib

import jax
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from uniwav_jax.codec import files, lyra_tflite
from uniwav_jax.codec.network import Codec
from uniwav_jax.errors import UserError
from uniwav_jax.models import quantizer

litert = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="needs tests/requirements-oracles.txt"
)
pesq = pytest.importorskip("pesq", reason="needs tests/requirements-oracles.txt")
FILES = tuple(lyra_tflite.FILES.values())


@pytest.fixture(scope="module")
def folder():
    """The folder of Google's three files, which UNIWAV_LYRA names."""
    found = pathlib.Path(os.environ.get("UNIWAV_LYRA", REPOSITORY.parent / "shared" / "lyra"))
    if not all((found / name).is_file() for name in FILES):
        pytest.skip(f"no Lyra files at {found}; set UNIWAV_LYRA to a folder with {FILES}")
    return found


@pytest.fixture(scope="module")
def codec(folder, tmp_path_factory):
    """The codec after import, writing and reading."""
    config, params = lyra_tflite.load(folder)
    out = tmp_path_factory.mktemp("lyra") / "codec"
    files.save(out, config, params, info={"licence": "Apache-2.0"})
    return files.load(out)


def stream(path, frames):
    """A streaming graph's output for each frame, from a fresh state."""
    graph = litert.Interpreter(model_path=str(path))
    graph.allocate_tensors()
    source, sink = graph.get_input_details()[0], graph.get_output_details()[0]
    out = []
    for frame in frames:
        graph.set_tensor(source["index"], frame.reshape(source["shape"]))
        graph.invoke()
        out.append(graph.get_tensor(sink["index"]).copy().reshape(-1))
    return np.stack(out)


def snr(reference, other):
    """Signal to noise in decibels."""
    return 10 * np.log10(np.square(reference).sum() / np.square(reference - other).sum())


def test_agrees_with_the_graphs(folder, codec, prompts):
    config, params = codec
    variables = {"params": params["network"]}
    apply = jax.jit(Codec(config).apply, static_argnames="method")
    gains = []
    for name in prompts.sentences[:4]:
        audio = (prompts.read(name)[: 6 * 16000] / 32768).astype(np.float32)
        audio = np.pad(audio, (0, -len(audio) % config.hop))
        theirs = stream(folder / FILES[0], audio.reshape(-1, config.hop))
        ours = np.asarray(apply(variables, audio[None], method="encode")[0])
        sound = stream(folder / FILES[1], theirs).ravel()
        same = np.asarray(apply(variables, theirs[None], method="decode")[0])
        # The differences come from the rounding of activations to eight bits in their graphs.
        print(f"latents {snr(theirs, ours):.1f} dB, waveform {snr(sound, same):.1f} dB")
        assert snr(theirs, ours) > 20 and snr(sound, same) > 20
        whole = np.asarray(apply(variables, ours[None], method="decode")[0])
        scores = [pesq.pesq(16000, audio, decoded, "wb") for decoded in (sound, whole)]
        gains.append(scores[1] - scores[0])
    print(f"PESQ-WB, ours less theirs: {gains}")
    assert min(gains) > -0.05


def test_float_layers_agree_to_rounding(folder, codec, clip):
    """The encoder's graph agrees to rounding up to the layer where it continues in eight bits."""
    config, params = codec
    graph = litert.Interpreter(
        model_path=str(folder / FILES[0]), experimental_preserve_all_tensors=True
    )
    graph.allocate_tensors()
    # Of the tensors of this shape the first is a streaming state, the second the result of the
    # strided convolution.
    widest = [t for t in graph.get_tensor_details() if t["shape"].tolist() == [1, 2, 1, 256]]
    _, first, *_ = sorted(t["index"] for t in widest if t["dtype"] == np.float32)
    theirs = []
    for frame in clip[: 320 * 50].reshape(-1, 1, 320):
        graph.set_tensor(graph.get_input_details()[0]["index"], frame)
        graph.invoke()
        theirs.append(graph.get_tensor(first).reshape(2, 256).copy())
    ours = Codec(config).apply(
        {"params": params["network"]},
        clip[None, : 320 * 50, None],
        part="encoder",
        first=0,
        last=11,
        method="run_part",
    )
    theirs = np.concatenate(theirs)
    assert np.abs(np.asarray(ours[0]) - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_quantiser_agrees(folder, codec, clip):
    _, params = codec
    frames = stream(folder / FILES[0], clip[: 320 * 40].reshape(-1, 320))
    graph = litert.Interpreter(model_path=str(folder / FILES[2]))
    encode, decode = (graph.get_signature_runner(name) for name in ("encode", "decode"))
    ours = np.asarray(quantizer.encode(params["codebooks"], frames[None]))[:, 0]
    latents = np.asarray(quantizer.decode(params["codebooks"], ours[:, None]))[0]
    for t in range(0, len(frames), 3):
        values = encode(input_frames=frames[None, None, t], num_quantizers=np.int32(46)).values()
        codes = next(value for value in values if value.dtype == np.int32).reshape(-1)
        np.testing.assert_array_equal(codes, ours[:, t])
        (decoded,) = decode(encoding_indices=codes.reshape(46, 1, 1)).values()
        np.testing.assert_allclose(latents[t], decoded.reshape(-1), atol=1e-4)


def test_errors_name_the_file(folder, tmp_path):
    with pytest.raises(UserError, match=r"soundstream_encoder\.tflite does not exist"):
        lyra_tflite.load(tmp_path)
    for name in FILES:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / FILES[0]).write_bytes((folder / FILES[1]).read_bytes())
    with pytest.raises(UserError, match=r"encoder\.tflite: a convolution has shape \(3, 16, 512\)"):
        lyra_tflite.load(tmp_path)
    (tmp_path / FILES[0]).write_bytes(b"TFL3" * 100)
    with pytest.raises(UserError, match=r"encoder\.tflite is not a readable"):
        lyra_tflite.load(tmp_path)
    (tmp_path / FILES[0]).write_bytes((folder / FILES[0]).read_bytes())
    (tmp_path / FILES[2]).unlink()
    config, params = lyra_tflite.load(tmp_path)
    assert config.codebooks == 0 and "codebooks" not in params
