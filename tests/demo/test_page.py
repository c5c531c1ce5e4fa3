"""The page of gradio in a browser: every button gives its result, and nothing leaves the machine.

gradio is not among the packages of the tests, because it needs pillow < 13.
"""

import os
import pathlib
import socket

import pytest

from tests.evaluation.browser import Tab, browser
from uniwav_jax.demo import results
from uniwav_jax.errors import UserError

pytest.importorskip("gradio")
from uniwav_jax.demo import page

PATIENCE = 300  # seconds until a model is loaded and compiled
TAB = "[...document.querySelectorAll('[role=tab]')].find(tab => tab.textContent.trim() == '{}')"
BYTES = (
    "fetch(document.querySelector('#{} a').href).then(r => r.arrayBuffer()).then(b => b.byteLength)"
)


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def press(tab: Tab, section: str, button: str, result: str) -> None:
    """Press a button of a section, and wait for the element of its result."""
    tab.run(TAB.format(section) + ".click()")
    tab.wait(f"document.getElementById('{button}') != null")
    tab.run(f"document.getElementById('{button}').click()")
    tab.wait(f"document.querySelector('{result}') != null", seconds=PATIENCE)


def test_each_button_shows_its_result(models, port, tmp_path):
    (tmp_path / "text.wav").write_text("text")
    with (
        page.opened(models, host="127.0.0.1", port=port) as address,
        browser(tmp_path / "browser") as tab,
    ):
        folder = pathlib.Path(os.environ["GRADIO_TEMP_DIR"])
        tab.open(address, width=1280)
        tab.wait("document.getElementById('example') != null")
        tab.upload("#recording input[type=file]", tmp_path / "text.wav")
        tab.wait("document.querySelector('#recording audio') != null")
        press(tab, "Layers", "encode", ".toast-body")
        message = tab.run("document.querySelector('.toast-body').innerText")
        assert "\ntext.wav cannot be decoded" in message
        tab.run("document.getElementById('example').click()")
        tab.wait("document.querySelector('#recording').innerText.includes('0:04')")

        press(tab, "Layers", "encode", "#layers img")
        press(tab, "Transcribe", "transcribe", "#words td")
        expected = results.transcribe(models, results.EXAMPLE).text
        assert tab.run("document.querySelector('#transcript textarea').value") == expected
        press(tab, "Speak", "speak", "#spoken a")
        tab.wait("document.querySelector('#phones img').naturalWidth > 1000")
        assert tab.run(BYTES.format("spoken")) > 32000
        press(tab, "Tokens", "tokenize", "#from_first a")
        assert tab.run(BYTES.format("from_all")) == tab.run(BYTES.format("from_first")) == 127724
        assert tab.run(BYTES.format("uwt")) > 594
        assert all(r.startswith((address, f"blob:{address}")) for r in tab.requests)
        assert not tab.complaints
        with pytest.raises(UserError, match=f"port {port}: the port is in use"):
            page.opened(models, host="127.0.0.1", port=port).__enter__()
        suffixes = {path.suffix for path in folder.glob("*/*")}
        assert suffixes == {".wav", ".flac", ".uwt"}
    assert not folder.exists()
