"""Each PyTorch layer against the Flax module that it stands for, with padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from uniwav_jax.config import DecoderConfig, EncoderConfig
from uniwav_jax.export import names
from uniwav_jax.export.torch import uniwav_layers
from uniwav_jax.models import decoder, encoder, layers

WIDTH, HEADS, FFN, FRAMES, CHANNELS = 16, 2, 24, 9, 6
# A full row, a shorter one, and one that is all padding.
MASK = np.arange(FRAMES) < np.array([[FRAMES], [5], [0]])
ENCODER = {"width": WIDTH, "heads": HEADS, "ffn": FFN, "layers": 2, "position_convolutions": 2}
ENCODER |= {"position_kernel": 5, "position_groups": 4}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def both(module, theirs, place, *arguments, **options):
    """What the Flax module gives, the PyTorch module with the same parameters, and its arguments.

    Args:
        module: of Flax.
        theirs: PyTorch's.
        place: of the parameters in those of an export, "a/b"; the rules of their names apply.
        arguments: arrays.
        options: of the Flax module alone.
    """
    init = functools.partial(module.init, **options)
    shapes = jax.eval_shape(init, jax.random.key(0), *arguments)["params"]
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype("f4"), shapes)
    ours = jax.jit(functools.partial(module.apply, **options))({"params": params}, *arguments)
    tensors = names.to_torch(traverse_util.unflatten_dict({place: params}, sep="/"))
    prefix = place.replace("/", ".") + "."
    theirs.load_state_dict({n.removeprefix(prefix): torch.tensor(t) for n, t in tensors.items()})
    inputs = [None if a is None else torch.tensor(a) for a in arguments]
    return ours, theirs.requires_grad_(False).eval(), inputs


def same(theirs, ours, mask=MASK):
    ours = np.asarray(ours)[..., mask, :]
    np.testing.assert_allclose(theirs.numpy()[..., mask, :], ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_self_attention(positions):
    x = noise(3, FRAMES, WIDTH)

    module = layers.SelfAttention(HEADS, positions, 0.0, jnp.float32, "xla")
    theirs = uniwav_layers.SelfAttention(WIDTH, HEADS, positions)
    ours, theirs, inputs = both(module, theirs, "encoder/attention", x, MASK, key=None)
    found = theirs(*inputs)
    same(found, ours)
    assert found.isfinite().all()  # of the row that is all padding too


def test_norms_positions_and_times():
    x = 3 + noise(2, 5, 4, 8)
    for name in ("plain_layer_norm", "rms_norm"):
        theirs = getattr(uniwav_layers, name)(torch.tensor(x)).numpy()
        np.testing.assert_allclose(theirs, getattr(layers, name)(x), rtol=1e-5, atol=1e-5)
        assert (
            getattr(uniwav_layers, name)(torch.ones(3, dtype=torch.bfloat16)).dtype is torch.float32
        )
    turned = uniwav_layers.rotate(torch.tensor(x).transpose(1, 2)).transpose(1, 2)
    np.testing.assert_allclose(turned, layers.rotate(jnp.asarray(x)), rtol=1e-5, atol=1e-5)
    times = np.array([0.0, 0.3, 1.0], np.float32)
    theirs = uniwav_layers.time_embedding(torch.tensor(times), 12)
    np.testing.assert_allclose(theirs, decoder.time_embedding(times, 12), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_encoder_with_hidden_frames(norm):
    x, spans = noise(3, FRAMES, CHANNELS), (np.arange(FRAMES) == 3) & MASK
    c = {**ENCODER, "norm": norm}
    module = encoder.Encoder(EncoderConfig(**c), jnp.float32, "none", "xla")
    theirs = uniwav_layers.Encoder(c, CHANNELS)
    ours, theirs, inputs = both(module, theirs, "encoder", x, MASK, span_mask_BxT=spans)
    found = theirs(*inputs, torch.tensor(spans))
    for name in found._fields:
        same(getattr(found, name), getattr(ours, name))
    changed = (theirs(*inputs).embedding - found.embedding).abs().amax(-1)
    assert changed[spans].min() > 1e-3  # hidden frames have another embedding


def test_encoder_is_exported_and_compiled():
    c = {**ENCODER, "norm": "pre", "layers": 1, "position_convolutions": 1}
    module = uniwav_layers.Encoder(c, CHANNELS).requires_grad_(False).eval()
    inputs = torch.tensor(noise(2, FRAMES, CHANNELS)), torch.tensor(MASK[:2])
    final = module(*inputs).final
    program = torch.export.export(module, inputs)
    compiled = torch.compile(module, backend="aot_eager")
    for other in (program.module(), compiled):
        assert (other(*inputs)[-1] - final).abs().max() < 1e-5 * final.abs().max()


@pytest.mark.parametrize("merges", [False, True])
def test_decoder_layer(merges):
    c = {"width": WIDTH, "heads": HEADS, "ffn": FFN, "layers": 2, "positions": "rotary"}
    module = decoder.DecoderLayer(DecoderConfig(**c), jnp.float32, "xla")
    x, time = noise(3, FRAMES, WIDTH), noise(3, WIDTH, seed=2)
    skip = noise(3, FRAMES, WIDTH, seed=3) if merges else None
    theirs = uniwav_layers.DecoderLayer(c, merges=merges)
    ours, theirs, inputs = both(module, theirs, "decoder/block", x, skip, None, time, MASK)
    del inputs[2]  # the key
    same(theirs(*inputs), ours[0])


def test_what_is_no_layer():
    with pytest.raises(ValueError, match="no attention of 3 heads, width 16"):
        uniwav_layers.SelfAttention(16, 3, "none")
    with pytest.raises(ValueError, match="norm is pre or post, not both"):
        uniwav_layers.Encoder({**ENCODER, "norm": "both"}, 4)
