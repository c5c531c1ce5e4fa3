"""The interface of an upstream of s3prl."""

import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from uniwav_jax.export.torch import s3prl_upstream


def test_states_of_a_list_of_waveforms(exported, speech):
    upstream = s3prl_upstream.UpstreamExpert(str(exported("pretrain") / "export"))
    wavs = [torch.tensor(a[:n]) for a, n in zip(*speech, strict=True)]
    states = upstream(wavs)["hidden_states"]
    assert [tuple(state.shape) for state in states] == [(3, 150, 160)] * 5
    assert upstream.get_downsample_rates("hidden_states") == 320
    alone = upstream(wavs[1:2])["hidden_states"][-1][0]
    assert (states[-1][1, : len(alone)] - alone).abs().max() < 1e-4 * alone.abs().max()
