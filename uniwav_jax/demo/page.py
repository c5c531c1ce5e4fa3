"""The local page of `uniwav demo`, made with gradio: a recording, and what the models make of it.

Pictures are inside the page, sounds and tokens are files of a folder that is deleted at the end.
"""

import contextlib
import functools
import html
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np

from uniwav_jax.audio.writer import write_audio
from uniwav_jax.demo import pictures, results
from uniwav_jax.errors import UserError
from uniwav_jax.evaluation.page import colours
from uniwav_jax.inference.speak import LEAST, MOST
from uniwav_jax.tokens import files

CLEANING = (3600, 24 * 3600)  # seconds: how often files are deleted, and their age
TEXT = "Good morning. This is a new sentence in the voice of the recording."
INTRODUCTION = """
# uniwav_jax
Record or upload some seconds of speech, or take the example, and press a button below. Everything
is computed on the machine where `uniwav demo` runs. The first press of each button loads a model
and compiles it, which takes up to half a minute on two cores; later ones take seconds.
"""


@contextlib.contextmanager
def opened(models: results.Models, *, host: str, port: int) -> Iterator[str]:
    """Serve the page until the end of the block; gives its address.

    Args:
        models: what its sections use.
        host: name or address of the network interface.
        port: a free one.

    Raises:
        UserError: the port is in use, or there is no such interface.
    """
    with tempfile.TemporaryDirectory(prefix="uniwav_demo_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when the components are made
        page = build(models, pathlib.Path(folder))
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                run_history=False,  # the browser would keep recordings and results
                footer_links=[],
                allowed_paths=[results.EXAMPLE],
            )
        except OSError as error:
            raise UserError(
                f"no page can be served at {host}, port {port}: the port is in use, or this machine"
                " does not have the address; give another --port or --host"
            ) from error
        try:
            yield address
        finally:
            page.close(verbose=False)


def build(models: results.Models, folder: pathlib.Path) -> gr.Blocks:
    """The page.

    Args:
        models: what its sections use.
        folder: for the files that it offers.
    """
    options = {"analytics_enabled": False, "delete_cache": CLEANING}
    with gr.Blocks(title="uniwav_jax", **options) as page:
        gr.Markdown(INTRODUCTION)
        audio = gr.Audio(
            label="Recording",
            type="filepath",
            sources=["upload", "microphone"],
            buttons=["download"],
            elem_id="recording",
        )
        example = gr.Button("Take the example", elem_id="example", size="sm")
        example.click(lambda: results.EXAMPLE, outputs=audio, show_progress="hidden")
        with gr.Tabs(selected="transcribe" if models.paths["transcribe"] else "speak"):
            with gr.Tab("Transcribe", id="transcribe"):
                _transcribe(models, audio)
            with gr.Tab("Speak", id="speak"):
                _speak(models, audio, folder)
            with gr.Tab("Tokens", id="tokens"):
                _tokens(models, audio, folder)
            with gr.Tab("Layers", id="layers"):
                _layers(models, audio)
    return page


def _transcribe(models: results.Models, audio: gr.Audio) -> None:
    if not models.paths["transcribe"]:
        gr.Markdown(
            "No recogniser ships yet; `uniwav train --config=asr_demo --config.init_from=PRETRAINED"
            " ...` fine-tunes one, which `uniwav demo --checkpoint RUN` shows here."
        )
        return
    button = gr.Button("Transcribe", variant="primary", elem_id="transcribe")
    text = gr.Textbox(label="Transcript", elem_id="transcript", interactive=False, lines=2)
    words = _table(["start in s", "end in s", "word"], "Times of the words", "words")

    def run(recording: str | None) -> tuple[Any, ...]:
        found = results.transcribe(models, recording)
        return found.text, [(f"{w.start:.2f}", f"{w.end:.2f}", w.text) for w in found.words]

    _press(button, run, [audio], [text, words])


def _speak(models: results.Models, audio: gr.Audio, folder: pathlib.Path) -> None:
    default = models.sampling()
    text = gr.Textbox(TEXT, label="English text", elem_id="text", lines=2, max_length=600)
    with gr.Row():
        guidance = gr.Slider(0, 5, default["guidance"], step=0.1, label="Guidance")
        temperature = gr.Slider(0.1, 1.5, default["temperature"], step=0.05, label="Temperature")
        speed = gr.Slider(LEAST, MOST, 1, step=0.05, label="Speed")
        seed = gr.Slider(0, 99, 0, step=1, label="Seed")
    button = gr.Button("Speak in the voice of the recording", variant="primary", elem_id="speak")
    sound = _player("Speech", "spoken")
    picture = gr.HTML(elem_id="phones")

    def run(
        recording: str | None,
        text: str,
        guidance: float,
        temperature: float,
        speed: float,
        seed: int,
    ) -> tuple[Any, ...]:
        options = {"guidance": guidance, "temperature": temperature, "speed": speed}
        said = results.speak(models, text, recording, seed=int(seed), **options)
        phones = [(start, end, s.split("_")[0].rstrip("012")) for start, end, s in said.phones]
        words = [(word.start, word.end, word.text) for word in said.words]
        spans = {"phones": phones, "words": words}
        png = pictures.timeline(said.wave, said.rate, spans=spans)
        shown = pictures.html(png, "Spectrogram of the speech with the times of phones and words")
        return _saved(folder, "spoken", said.wave, said.rate), shown

    _press(button, run, [audio, text, guidance, temperature, speed, seed], [sound, picture])


def _tokens(models: results.Models, audio: gr.Audio, folder: pathlib.Path) -> None:
    button = gr.Button("Tokenize and resynthesize", variant="primary", elem_id="tokenize")
    picture = gr.HTML(elem_id="codes")
    sizes = _table(["", "bit rate", "size"], "Sizes", "sizes")
    with gr.Row():
        titles = {"all": "Resynthesis from all books", "first": "Resynthesis from the first book"}
        players = [_player(title, f"from_{books}") for books, title in titles.items()]
    file = gr.File(label="Tokens, for uniwav detokenize", elem_id="uwt")

    def run(recording: str | None) -> tuple[Any, ...]:
        tokens = results.tokenize(models, recording)
        rate = tokens.sample_rate
        wave = results.read(recording, rate)
        shades_TxKx3 = colours(tokens.codes) / 255
        strips = {f"book {k + 1}": shades_TxKx3[:, k] for k in range(tokens.books)}
        png = pictures.timeline(wave, rate, strips=strips, frame_rate=tokens.frame_rate)
        shown = pictures.html(png, "Spectrogram of the recording and its codes")
        target = pathlib.Path(tempfile.mkdtemp(dir=folder)) / f"{tokens.id}.uwt"
        files.write(target, tokens)
        made = results.resynthesize(models, tokens)
        sounds = [
            gr.Audio(_saved(folder, title, wave, rate), label=f"Resynthesis at {title}")
            for title, wave in made
        ]
        sounds += [gr.Audio(visible=False)] * (len(players) - len(sounds))  # there is one book
        return shown, results.sizes(tokens), *sounds, str(target)

    _press(button, run, [audio], [picture, sizes, *players, file])


def _layers(models: results.Models, audio: gr.Audio) -> None:
    gr.Markdown(
        "Each row is a layer of the encoder; layer 0 is the input of the first one. Frames with"
        " similar states have similar colours: red, green and blue are the first three principal"
        " components of the layer's states."
    )
    button = gr.Button("Show the layers", variant="primary", elem_id="encode")
    picture = gr.HTML(elem_id="layers")

    def run(recording: str | None) -> str:
        model = models.load("encode")
        wave, states_LxTxD = results.layers(models, recording)
        found = pictures.components(states_LxTxD)
        strips = {f"layer {layer}": found[layer] for layer in range(len(found) - 1, -1, -1)}
        rates = {"frame_rate": model.frame_rate}
        png = pictures.timeline(wave, model.sample_rate, strips=strips, **rates)
        return pictures.html(png, "Spectrogram of the recording, and the states of each layer")

    _press(button, run, [audio], [picture])


def _press(button: gr.Button, run: Callable[..., Any], inputs: list, outputs: list) -> None:
    """Let a button run a function; a `UserError` becomes a message on the page.

    The functions of all buttons run one after the other, because they share models and cores.
    """

    @functools.wraps(run)
    def handler(recording: str | None, *values: Any) -> Any:
        try:
            return run(recording, *values)
        except UserError as error:  # the folder of a recording is none that its user knows
            text = str(error).replace(f"{pathlib.Path(recording or '').parent}{os.sep}", "")
            raise gr.Error(html.escape(text), duration=20, print_exception=False) from None

    button.click(handler, inputs, outputs, concurrency_limit=1, concurrency_id="models")


def _player(label: str, name: str) -> gr.Audio:
    return gr.Audio(label=label, elem_id=name, interactive=False, buttons=["download"])


def _table(head: list[str], label: str, name: str) -> gr.Dataframe:
    return gr.Dataframe(headers=head, label=label, elem_id=name, interactive=False, wrap=True)


def _saved(folder: pathlib.Path, title: str, wave: np.ndarray, rate: int) -> str:
    """The path of a new WAV file whose name is the title."""
    name = title.replace(" ", "_").replace("/", "_per_")
    path = pathlib.Path(tempfile.mkdtemp(dir=folder)) / f"{name}.wav"
    write_audio(path, [wave], sample_rate=rate)
    return str(path)
