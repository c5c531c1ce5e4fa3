"""The Python interface on checkpoints, exports and codecs of small models with random weights."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

import uniwav_jax
from tests.export.conftest import make, make_codec_run
from uniwav_jax.codec import files
from uniwav_jax.codec.config import SEANetConfig
from uniwav_jax.errors import UserError
from uniwav_jax.export import write
from uniwav_jax.inference.codec_files import FileCodec

SMALL = {
    "model__encoder__layers": 2,
    "model__encoder__width": 32,
    "model__encoder__heads": 2,
    "model__encoder__ffn": 64,
    "model__decoder__width": 32,
    "model__decoder__heads": 2,
    "model__decoder__ffn": 32,
    "distillation__top_layers": 2,
    "distillation__codewords": 16,
    "data__buckets": (2.0,),
}
FRAMES = 75  # number of frames of `wave`


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pretrained"), **SMALL)


@pytest.fixture(scope="module")
def model(pretrained):
    return uniwav_jax.load(pretrained)


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    return uniwav_jax.load(make(tmp_path_factory.mktemp("asr"), task="asr", **SMALL))


@pytest.fixture(scope="module")
def on_codec(tmp_path_factory):
    """A pretraining checkpoint on codec features, and the folder of the codec."""
    folder = tmp_path_factory.mktemp("codec")
    return make(folder, codec="small", **SMALL), folder / "codec"


@pytest.fixture(scope="module")
def wave():
    """Noise at 16 kHz, one sample shorter than 1.5 s, float32."""
    return np.random.default_rng(0).uniform(-0.3, 0.3, 24000 - 1).astype(np.float32)


def test_encode_returns_states_z_codes_and_times(model, wave):
    assert (model.task, model.step, model.sample_rate, model.frame_rate) == (
        "pretrain",
        7,
        16000,
        50,
    )
    found = model.encode(wave)
    assert found.states.shape == (3, FRAMES, 32) and found.states.dtype == np.float32
    assert found.z.shape == (FRAMES, 32)
    assert found.codes.shape == (2, FRAMES) and found.codes.dtype == np.int32
    assert found.times[:2] == pytest.approx([0.01, 0.03]) and len(found.times) == FRAMES
    np.testing.assert_allclose(model.features(wave, layers=(0, 2))[:, 1], found.states[2], 1e-5)
    np.testing.assert_array_equal(model.features(wave, layers="codes").T, found.codes)
    assert model.features(wave, layers="sum").shape == (FRAMES, 32)
    assert model.features(wave, layers="teacher_codes").shape == (FRAMES, 2)
    assert "pretrain" in repr(model) and "7 updates" in repr(model)


def test_waves_of_all_types_have_the_same_result(model, wave, tmp_path):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    integers = np.round(wave * 32768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", integers, 16000)
    expected = model.encode(integers).z
    for same in (
        integers / 32768.0,
        jax.numpy.asarray(integers),
        torch.tensor(integers),
        torch.tensor(integers / 32768.0, requires_grad=True),
        np.stack([integers, integers]),
        np.stack([integers, integers], 1),
        tmp_path / "a.wav",
        str(tmp_path / "a.wav"),
    ):
        np.testing.assert_allclose(model.encode(same).z, expected, atol=1e-5)


def test_another_rate_is_converted(model, wave):
    assert abs(len(model.encode(np.repeat(wave, 3), 48000).times) - FRAMES) <= 1
    assert abs(len(model.encode(wave, 8000).times) - 2 * FRAMES) <= 1


def test_long_waves_are_computed_in_windows(model, wave):
    """Windows have the length of the longest training clips, 2 s, and contribute their middle."""
    long = np.tile(wave, 6)
    found = model.encode(long)
    assert len(found.times) == -(-len(long) // 320)
    assert np.isfinite(found.states).all()
    # Frames 75 to 125 are the middle of the second window.
    alone = model.encode(long[50 * 320 : 150 * 320])
    np.testing.assert_allclose(found.z[75:125], alone.z[25:75], atol=1e-4)


def test_transcribe_and_align(recogniser, wave):
    transcript = recogniser.transcribe(wave)
    assert str(transcript) == transcript.text == " ".join(w.text for w in transcript.words)
    for word in transcript.words:
        assert 0 <= word.start < word.end <= 1.5
    found = recogniser.align(wave, "go do")
    assert [word.text for word in found.words] == ["go", "do"]
    assert "".join(letter.text for letter in found.tokens) == "godo"
    assert 0 <= found.words[0].start < found.words[1].end <= 1.5
    with pytest.raises(UserError, match="not in the alphabet"):
        recogniser.align(wave, "gö")
    encoded = recogniser.encode(wave)
    assert encoded.states.shape == (3, FRAMES, 32) and encoded.z is None and encoded.codes is None


@pytest.mark.parametrize("name", ["model", "recogniser"])
def test_an_export_has_the_same_results_without_torch(name, wave, tmp_path, request):
    model = request.getfixturevalue(name)
    write.export(model.path, str(tmp_path / "export"))
    program = (
        "import sys; sys.modules['torch'] = None; import numpy as np, uniwav_jax;"
        "wave = np.load(sys.argv[2]); model = uniwav_jax.load(sys.argv[1]);"
        "np.save(sys.argv[3], model.encode(np.tile(wave, 3)).states);"
        "print(model.transcribe(wave) if model.task == 'asr' else model.encode(wave).codes.sum());"
        "assert 'uniwav_jax.train' not in sys.modules"
    )
    np.save(tmp_path / "wave.npy", wave)
    arguments = [tmp_path / "export", tmp_path / "wave.npy", tmp_path / "states.npy"]
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    states = model.encode(np.tile(wave, 3)).states
    np.testing.assert_allclose(np.load(tmp_path / "states.npy"), states, atol=1e-4)
    if model.task == "asr":
        assert done.stdout == f"{model.transcribe(wave)}\n"
    else:
        assert done.stdout == f"{model.encode(wave).codes.sum()}\n"


def test_an_export_of_the_teacher_has_its_codes(pretrained, model, wave, tmp_path):
    write.export(pretrained, str(tmp_path / "export"), encoder="teacher")
    exported = uniwav_jax.load(tmp_path / "export")
    found = exported.features(wave, layers="teacher_codes")
    np.testing.assert_array_equal(found, model.features(wave, layers="teacher_codes"))
    with pytest.raises(UserError, match="has no heads"):
        exported.features(wave, layers="codes")


def test_codec_features_encode_and_decode_latents(on_codec, wave, tmp_path):
    path, folder = on_codec
    model, codec = uniwav_jax.load(path), uniwav_jax.load(folder)
    assert (codec.task, codec.sample_rate, codec.frame_rate) == ("codec", 16000, 50)
    latents = codec.encode_latents(wave)
    assert latents.shape == (FRAMES, 16)
    np.testing.assert_allclose(model.encode_latents(wave), latents, atol=1e-5)
    decoded = codec.decode_latents(latents)
    assert decoded.shape == (24000,) and decoded.dtype == np.float32
    np.testing.assert_allclose(model.decode_latents(latents), decoded, atol=1e-5)
    # The export includes the codec.
    write.export(path, str(tmp_path / "export"))
    folder.rename(tmp_path / "elsewhere")
    try:
        exported = uniwav_jax.load(tmp_path / "export")
        np.testing.assert_allclose(exported.encode_latents(wave), latents, atol=1e-5)
        np.testing.assert_allclose(exported.encode(wave).z, model.encode(wave).z, atol=1e-4)
    finally:
        (tmp_path / "elsewhere").rename(folder)


def test_a_codec_run_is_a_codec(wave, tmp_path):
    path, config, params = make_codec_run(tmp_path, codebooks=3, codewords=16)
    model = uniwav_jax.load(path)
    codes = model.encode_latents(wave, codebooks=2)
    assert codes.shape == (2, FRAMES) and codes.dtype == np.int16
    expected = FileCodec(config.codec.structure, params, name="").encode([wave], stages=2)
    np.testing.assert_array_equal(codes, expected)
    assert model.decode_latents(codes.astype(np.int64)).shape == (24000,)
    for wrong in (np.zeros((FRAMES, 9)), np.zeros((4, FRAMES), int), np.zeros(8)):
        with pytest.raises(UserError, match=r"latents are \[T, 8\]|codes are \[Q, T\]"):
            model.decode_latents(wrong)
    with pytest.raises(UserError, match="has 3 codebooks, not 4"):
        model.encode_latents(wave, codebooks=4)
    with pytest.raises(UserError, match="no encode; pretrain one"):
        model.encode(wave)


def test_a_missing_method_names_the_config_that_trains_it(model, recogniser, wave):
    for call in (lambda: model.transcribe(wave), lambda: model.align(wave, "go")):
        with pytest.raises(UserError, match=r"task pretrain.*--config=asr_demo.*init_from"):
            call()
    with pytest.raises(UserError, match=r"no speak; train one .*--config=tts_demo"):
        model.speak("go", wave)
    with pytest.raises(UserError, match=r"no encode_latents.*codec_16khz_50hz"):
        recogniser.encode_latents(wave)
    for call in (
        lambda: model.tokenize(wave),
        lambda: model.detokenize(None),
        lambda: model.resynthesize(wave),
        lambda: model.convert(wave, wave),
    ):
        with pytest.raises(UserError, match=r"--config=tokenizer_demo .*init_from=PRETRAINED"):
            call()


def test_errors_name_folders_that_are_not_models(tmp_path):
    with pytest.raises(UserError, match=r"no model of that name ships .*has codec.*--config=demo"):
        uniwav_jax.load("uniwav-base")
    with pytest.raises(UserError, match="has no checkpoint"):
        uniwav_jax.load(tmp_path)
    files.save(str(tmp_path / "codec"), SEANetConfig(filters=4), {}, info={})
    with pytest.raises(UserError, match="lacks the tensor"):
        uniwav_jax.load(tmp_path / "codec")
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        uniwav_jax.lode  # noqa: B018
    assert "load" in dir(uniwav_jax)


def test_any_folder_of_a_run_is_found(pretrained, wave, model):
    for part in ("checkpoints", "checkpoints/7"):
        assert uniwav_jax.load(f"{pretrained}/{part}").step == 7
