"""Speech tokens in PyTorch: the codes and the speech of JAX, and the methods of MimiModel."""

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from tests.cli.test_tokens import make_run
from uniwav_jax import api
from uniwav_jax.export import read, write
from uniwav_jax.export.torch import uniwav_model
from uniwav_jax.inference.tokenizer import Source
from uniwav_jax.inference.waveforms import Sampling
from uniwav_jax.models import flow

MOST_DIFFERENT = 1e-4  # share of codes, which near ties between codewords may change


def exported(folder, **settings):
    """A run, its export and the export converted back to a run."""
    write.export(make_run(folder, **settings), str(folder / "export"))
    read.to_checkpoint(str(folder / "export"), str(folder / "again"))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def ours(folder):
    return api.load(folder / "run")


@pytest.fixture(scope="module")
def model(folder):
    return uniwav_model.load(str(folder / "export"))


@pytest.fixture(scope="module")
def finite(tmp_path_factory):
    """The same with a finite scalar quantiser as book 1."""
    return exported(tmp_path_factory.mktemp("finite"), tokenizer__levels=(4, 2, 2))


@pytest.mark.parametrize("name", ["folder", "finite"])
def test_codes_are_the_same_everywhere(name, request, clip):
    """In windows, in one row and in a padded batch, in JAX, PyTorch and after the way back."""
    folder = request.getfixturevalue(name)
    ours, model = api.load(folder / "run"), uniwav_model.load(str(folder / "export"))
    assert hasattr(model.tokens, "down") == (name == "finite")
    tokens = ours.tokenize(clip)
    assert len(np.unique(tokens.codes[:, 0])) > 3 and len(np.unique(tokens.codes[:, 1])) > 3
    for again in ("export", "again"):
        other = api.load(folder / again).tokenize(clip)
        assert other.model == tokens.model == model.c["digest"]
        assert (other.codes != tokens.codes).mean() <= MOST_DIFFERENT
    with torch.inference_mode():
        found = model.tokenize(torch.tensor(clip)[None])
        assert found.shape == (1, 2, len(tokens.codes))
        assert (found[0].T.numpy() != tokens.codes).mean() <= MOST_DIFFERENT
        short = ours.tokenize(clip[:20000]).codes
        batch = torch.zeros(2, 30000)
        batch[0, :20000], batch[1] = torch.tensor(clip[:20000]), torch.tensor(clip[30000:60000])
        found = model.tokenize(batch, torch.tensor([20000, 30000]))
        assert (found[0, :, : len(short)].T.numpy() != short).mean() <= MOST_DIFFERENT
        assert not found[0, :, len(short) :].any()


@pytest.mark.parametrize("books", [1, 2])
def test_speech_is_the_same_for_given_noise(ours, model, clip, books):
    """Windows, a prompt, guidance: features and waveform to 1e-3."""
    speaker = ours.detokenizer
    codes = np.tile(ours.tokenize(clip).codes, (2, 1))[:400, :books]
    prompt = speaker.prompt(clip)[:60]
    (expected,) = speaker._features([Source(codes, 400 * 320, prompt)], Sampling(seed=3))
    (wave,) = speaker.speak([Source(codes, 400 * 320, prompt)], Sampling(seed=3))
    key, channels = jax.random.key(3), prompt.shape[1]
    # The noise of uniwav_jax.inference.tokenizer: that of the prompt has a key of its own.
    of_prompt = flow.noise(jax.random.fold_in(key, 1), (1, 60, channels))
    noise = np.concatenate([of_prompt, flow.noise(key, (1, 400, channels))], axis=1)
    made = []
    decode = model.features.decode
    model.features.decode = lambda x: made.append(x) or decode(x)
    try:
        with torch.inference_mode():
            found = model.detokenize(
                torch.tensor(codes.T.astype(np.int64))[None],
                torch.tensor(prompt.astype(np.float32))[None],
                noise_BxTxC=torch.tensor(noise),
            )
    finally:
        model.features.decode = decode
    features = made[0][0, 50:450].numpy()
    assert np.abs(features - expected).max() <= 1e-3 * np.abs(expected).max()
    assert found.shape == (1, 400 * 320)
    assert np.abs(found[0].numpy() - wave).max() <= 1e-3 * np.abs(wave).max()


def test_rows_of_a_batch_are_those_alone(model):
    """Whatever the lengths of the others, and twice the same."""
    codes = torch.randint(0, 16, (2, 2, 230), generator=torch.Generator().manual_seed(1))
    noise = torch.randn(2, 230, 128, generator=torch.Generator().manual_seed(2))
    noise = noise[..., : model.c["features"]["channels"]]
    with torch.inference_mode():
        both = model.detokenize(codes, frames_B=torch.tensor([230, 215]), noise_BxTxC=noise)
        alone = model.detokenize(codes[1:, :, :215], noise_BxTxC=noise[1:, :215])
        assert torch.equal(both[1:, : 215 * 320], alone) and not both[1, 215 * 320 :].any()
        assert torch.equal(model.detokenize(codes[:1, :1]), model.detokenize(codes[:1, :1]))
        for bad in (codes - 1, codes + 16):
            with pytest.raises(ValueError, match="between 0 and 15"):
                model.detokenize(bad)
        with pytest.raises(ValueError, match=r"\[B, 1 to 2, T\]; got \(2, 3, 230\)"):
            model.detokenize(torch.cat([codes, codes[:, :1]], dim=1))


def test_books_stay_in_float32(folder):
    short = uniwav_model.load(str(folder / "export"), dtype=torch.bfloat16)
    assert short.tokens.first_sums.dtype == short.tokens.project.weight.dtype == torch.float32
    assert short.condition.null.dtype == torch.bfloat16


USER = """
import torch

def there_and_back(model, audio, padding_mask):
    encoded = model.encode(audio, padding_mask)
    assert encoded.audio_codes.dtype == torch.int64
    first = model.encode(audio, padding_mask, num_quantizers=1).audio_codes
    assert (first == encoded.audio_codes[:, :1]).all()
    assert torch.equal(model.encode(audio, padding_mask, return_dict=False)[0], encoded.audio_codes)
    return encoded.audio_codes, model.decode(encoded.audio_codes, padding_mask).audio_values
"""


def test_code_written_for_mimi_runs(folder, clip):
    transformers = pytest.importorskip("transformers", reason="tests/requirements-oracles.txt")
    there_and_back = {}
    exec(USER, there_and_back)  # what a user of MimiModel wrote
    ours = transformers.AutoModel.from_pretrained(folder / "export", trust_remote_code=True)
    small = transformers.MimiConfig(
        **{"hidden_size": 32, "num_filters": 4, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 32, "codebook_dim": 16},
        **{"vector_quantization_hidden_dimension": 16, "num_quantizers": 4, "codebook_size": 16},
        **{"num_semantic_quantizers": 1, "upsample_groups": 32},
    )
    mimi = transformers.MimiModel(small).eval()
    names = ("sampling_rate", "num_quantizers", "codebook_size", "frame_rate")
    assert all(hasattr(config, name) for name in names for config in (small, ours.config))
    audio = torch.tensor(clip[:48000])[None, None].repeat(2, 1, 1)
    mask = torch.ones(2, 48000, dtype=torch.bool)
    mask[1, 40000:] = False
    for model, rate in ((ours, 50), (mimi, None)):
        with torch.inference_mode():
            codes, values = there_and_back["there_and_back"](model, audio * mask[:, None], mask)
        assert codes.dim() == 3 and len(codes) == 2 and values.shape == audio.shape
        if rate:
            assert codes.shape == (2, 2, 150) and values.isfinite().all()
            assert not values[1, 0, 40000:].any()
