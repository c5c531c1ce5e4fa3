"""L_dec: the decoder's error in closed form where it outputs zero."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.tasks.test_pretrain import CHANNELS, FRAMES, make_config
from uniwav_jax.models import uniwav
from uniwav_jax.tasks import flow_loss


def test_the_error_of_zero_output_is_that_of_the_target_on_hidden_frames():
    """A fresh decoder outputs zero, so that its error is the mean square of u = x1 - (1 - s) x0."""
    config = make_config({"flow.sigma": 0.25})
    params = uniwav.init(jax.random.key(0), config, CHANNELS)
    x1, x0 = jax.random.normal(jax.random.key(1), (2, 2, FRAMES, CHANNELS))
    hidden = jnp.arange(FRAMES) >= jnp.array([[5], [30]])
    path = flow_loss.Path(x1, x0, jnp.array([0.1, 0.7]))
    z = jnp.zeros((2, FRAMES, config.model.decoder.width))
    everywhere = jnp.ones_like(hidden)
    masks = (everywhere, hidden, jnp.zeros(2, bool))
    got = flow_loss.error(params["decoder"], path, z, *masks, 10.0, None, config)
    u = np.asarray(x1 - 0.75 * x0)
    expected = np.square(u).mean(-1)[np.asarray(hidden)].sum() / 10
    np.testing.assert_allclose(got, expected, rtol=1e-5)
