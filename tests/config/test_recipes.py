"""Configs are found by name or path, and an unknown one lists the others."""

import pytest

from uniwav_jax.config import from_dict, recipes
from uniwav_jax.errors import UserError


def test_a_name_is_an_installed_config():
    path = recipes.folder() / "demo.py"
    assert recipes.find("demo") == str(path)
    assert recipes.find("asr_demo:scratch") == f"{recipes.folder() / 'asr_demo'}.py:scratch"
    assert "demo" in recipes.names() and "pretrain_base" in recipes.names()
    assert "ten minutes" in recipes.summary("demo")


def test_a_path_stays_as_it_is(tmp_path):
    (tmp_path / "mine.py").write_text("def get_config(x='1'):\n    return x\n")
    for given in (f"{tmp_path}/mine.py", f"{tmp_path}/mine.py:x"):
        assert recipes.find(given) == given
    assert recipes.load(f"{tmp_path}/mine.py") == "1"
    assert recipes.load(f"{tmp_path}/mine.py:2") == "2"


@pytest.mark.parametrize("given", ["dmeo", "/none.py", "configs/none.py", "", "demo.py:x"])
def test_an_unknown_one_lists_the_others(given):
    with pytest.raises(UserError, match=r"no such file.*asr_demo, .*demo"):
        recipes.find(given)


def test_arguments_of_a_command():
    demo = recipes.find("demo")
    assert recipes.with_paths(["x", "--config=demo", "--config.train.steps=3"]) == [
        "x",
        f"--config={demo}",
        "--config.train.steps=3",
    ]
    assert recipes.with_paths(["x", "--config", "demo"]) == ["x", "--config", demo]
    assert recipes.with_paths(["x", "--config"]) == ["x", "--config"]


def test_argument_reaches_get_config():
    config = recipes.load("asr_demo:scratch")
    assert from_dict(config).asr.freeze_steps == 0
    assert recipes.load("asr_demo").asr.freeze_steps == 50
