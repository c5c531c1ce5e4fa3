"""The configuration keeps what config.json says of the model."""

import json

import pytest

pytest.importorskip("transformers", reason="see tests/requirements-oracles.txt")

from uniwav_jax.export.torch.configuration_uniwav import UniWavConfig


def test_it_is_read_and_written_with_all_fields(exported, tmp_path):
    folder = exported("asr") / "export"
    document = json.loads((folder / "config.json").read_text())
    config = UniWavConfig.from_pretrained(folder)
    assert config.uniwav == document["uniwav"] and config.model_type == document["model_type"]
    assert config.hidden_size == 160 and config.vocab_size == document["vocab_size"]
    config.save_pretrained(tmp_path)
    assert UniWavConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_it_can_be_empty():
    """`transformers` makes one without arguments to find what differs from the defaults."""
    assert UniWavConfig().uniwav == {}
