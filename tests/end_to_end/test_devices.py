"""The same numbers on 1 device, on 8 devices and in microbatches; test_hosts has 2 processes."""

import jax
import numpy as np

from tests.end_to_end.conftest import SHORT, read_metrics
from uniwav_jax.checkpoint import reader


def assert_agree(workdir, reference):
    ours, theirs = read_metrics(workdir), read_metrics(reference)
    assert len(ours) == len(theirs) == 5
    for name in ("loss", "loss_encoder", "loss_decoder", "target_perplexity"):
        np.testing.assert_allclose(
            [line[name] for line in ours], [line[name] for line in theirs], rtol=1e-5, err_msg=name
        )
    ours, theirs = (reader.open(str(w)).arrays("state") for w in (workdir, reference))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        ours["state"]["codebooks"],
        theirs["state"]["codebooks"],
    )


def test_eight_devices(program, short, tmp_path):
    mesh = {"mesh__data": 1, "mesh__tensor": 4, "mesh__fsdp": -1}
    program.run(tmp_path, devices=8, **SHORT, **mesh)
    assert_agree(tmp_path, short)


def test_accumulation_and_reader_processes(program, short, tmp_path):
    program.run(tmp_path, train__accumulate=4, data__workers=1, **SHORT)
    assert_agree(tmp_path, short)
