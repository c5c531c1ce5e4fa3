"""Phones recognised in tokens: the loss, what it trains, and runs without phones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks import test_pretrain
from tests.tasks.test_tokenizer import CHANNELS, ROWS, language, make_config
from uniwav_jax.data import phone_labels
from uniwav_jax.losses import ctc
from uniwav_jax.models import masking, speech_tokens, uniwav
from uniwav_jax.tasks import tokenizer, tokenizer_ctc
from uniwav_jax.types import Variables

PHONES = ("a", "b", "c")
pytestmark = pytest.mark.usefixtures("fast_compilation")


def with_phones(example):
    """Rows of two phones and more; row 1 has none, and row 2 more phones than frames."""
    phones = np.full((ROWS, 50), -1, np.int32)
    phones[:, :2] = [1, 3]
    phones[1], phones[2] = -1, 2
    phones[3, :4] = [2, 2, 1, 3]
    return example.replace(labels={"phones": jnp.asarray(phones)})


@pytest.mark.parametrize("levels", [(), (2, 2, 2, 2)], ids=["vector", "finite scalar"])
def test_it_trains_what_the_tokens_are_made_by(levels):
    """The loss per phone of what all books say; gradients of the CTC term alone."""
    changes = {"tokenizer.ctc": 0.5, "tts.phones": PHONES, "tokenizer.levels": levels}
    config = make_config(changes)
    example = with_phones(language(jax.random.key(1)))
    params, state = jax.jit(lambda: tokenizer.init(jax.random.key(0), config, CHANNELS))()
    params = test_pretrain.noisy(params)
    state = {**state, "updates": jnp.float32(50)}  # book 2 has started
    assert params["tokens_ctc"]["kernel"].shape == (32, 4)
    draws = tokenizer.draw(jax.random.key(2), example, config)
    np.testing.assert_allclose(draws.per_phone_B, 1 / (6 * 2 - 2 + 4), rtol=1e-6)

    @jax.jit
    def both(params, per_phone_B):
        def value(params):
            given = draws.replace(per_phone_B=per_phone_B)
            variables = Variables(params, {}, state, {})
            return tokenizer.loss(variables, example, given, 1.0, None, config)

        return jax.value_and_grad(value, has_aux=True)(params)

    (with_it, sums), found = both(params, draws.per_phone_B)
    (without, _), other = both(params, 0 * draws.per_phone_B)
    assert sums["phones"] == 14 and sums["impossible"] == 1
    measured = tokenizer.metrics(sums, jnp.int32(0), config)
    np.testing.assert_allclose(measured["loss_ctc"], sums["ctc"] / 14, rtol=1e-5)
    assert measured["ctc_phones"] == 14 and measured["ctc_impossible_rows"] == 1
    np.testing.assert_allclose(with_it - without, 0.5 * sums["ctc"] / 14, rtol=1e-2)

    mask = masking.frame_mask(example.frames_B, example.x_BxTxC.shape[1])
    encoded = uniwav.encoder_module(config).apply(
        {"params": params["encoder"]}, example.x_BxTxC, mask
    )
    z = uniwav.condition(params["condition"], encoded, None)
    h = speech_tokens.state(encoded, config.tokenizer.layer)
    codes, _ = speech_tokens.encode(params["tokens"], state["books"], h, z)
    read = speech_tokens.embed(params["tokens"], state["books"], codes)
    logits = read @ params["tokens_ctc"]["kernel"] + params["tokens_ctc"]["bias"]
    nats = ctc.loss(logits, mask, example.labels["phones"])
    assert nats[1] == nats[2] == 0 and (nats != 0).sum() == ROWS - 2
    np.testing.assert_allclose(sums["ctc"], nats.sum(), rtol=1e-4)

    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), found, other)
    assert moved["tokens_ctc"]["kernel"] > 1e-4 and moved["tokens"]["kernel"] > 1e-5
    assert moved["condition"]["project"]["kernel"] > 1e-5
    assert not levels or moved["tokens"]["down"]["kernel"] > 1e-6
    assert not any(jax.tree.leaves(moved["encoder"]))


def test_a_batch_without_phones_has_no_loss():
    head = {"kernel": jnp.ones((8, 4)), "bias": jnp.zeros(4)}
    mask = jnp.ones((2, 6), bool)
    for width in (0, 3):
        nothing = jnp.full((2, width), -1)
        sums, grads = jax.value_and_grad(
            lambda head, phones: tokenizer_ctc.sums(head, jnp.ones((2, 6, 8)), mask, phones)["ctc"]
        )(head, nothing)
        assert sums == 0 and not any(map(jnp.any, jax.tree.leaves(grads)))


def test_phones_are_read_only_for_it():
    assert not tokenizer.TASK.labels_of(make_config()).dtypes
    config = make_config({"tokenizer.ctc": 0.5, "tts.phones": PHONES})
    labels = tokenizer.TASK.labels_of(config)
    assert labels.dtypes == {"phones": np.int32} and labels.of_crops
    assert labels.encode is phone_labels.encode_targets
    assert labels.prepare(config, "") == config
    params = jax.eval_shape(lambda: tokenizer.init(jax.random.key(0), make_config(), CHANNELS))[0]
    assert "tokens_ctc" not in params and "down" not in params["tokens"]
