"""Random choices of pretraining: their distributions, and the frames that count in L_dec."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.test_pretrain import FRAMES, loss_of, make_config, noisy, problem
from uniwav_jax.models import masking
from uniwav_jax.tasks import pretrain
from uniwav_jax.types import Example

pytestmark = pytest.mark.usefixtures("fast_compilation")


def test_draws():
    config = make_config({"flow.condition_drop": 0.25})
    example = Example(jnp.zeros((4000, FRAMES, 2)), jnp.full(4000, FRAMES))
    draws = pretrain.draw(jax.random.key(0), example, config)
    assert abs(draws.drop_B.mean() - 0.25) < 0.03
    assert abs(draws.t_B.mean() - 0.5) < 0.02
    assert draws.t_B.min() >= 0
    assert draws.t_B.max() < 1
    assert abs(draws.x0_BxTxC.mean()) < 0.01
    assert abs(draws.x0_BxTxC.std() - 1) < 0.01
    assert pretrain.weight(example, draws) == draws.span_mask_BxT.sum()
    assert draws.counted_BxT is None and draws.candidates_BxT is None


def test_all_frames_count_alike_on_request():
    """Their weights add up to the number of masked frames, by which the sum is divided."""
    config = make_config({"flow.frames": "all"})
    params, state, example, draws = problem(config)
    real = np.asarray(masking.frame_mask(example.frames_B, FRAMES))
    counted = np.asarray(draws.counted_BxT)
    np.testing.assert_array_equal(counted > 0, real)
    assert len(np.unique(counted[real])) == 1
    assert counted.sum() == pytest.approx(float(pretrain.weight(example, draws)), rel=1e-5)
    loss, masked = loss_of(config), loss_of(make_config())
    params = noisy(params)
    _, sums = loss(params, state, example, draws)
    _, of_masked = masked(params, state, example, draws.replace(counted_BxT=None))
    hidden = draws.replace(counted_BxT=draws.span_mask_BxT.astype(jnp.float32))
    _, same = loss(params, state, example, hidden)
    assert float(same["loss_decoder"]) == pytest.approx(float(of_masked["loss_decoder"]), rel=1e-6)
    rest = draws.replace(counted_BxT=(real & ~draws.span_mask_BxT).astype(jnp.float32))
    _, visible = loss(params, state, example, rest)
    total = float(pretrain.weight(example, draws))
    mean = (float(same["loss_decoder"]) + float(visible["loss_decoder"])) * total / real.sum()
    assert float(sums["loss_decoder"]) == pytest.approx(mean, rel=1e-5)
    assert float(sums["loss_encoder"]) == float(of_masked["loss_encoder"])
