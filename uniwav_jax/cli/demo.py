"""`uniwav demo`."""

import argparse
import importlib.util
import signal
import sys
import time

from uniwav_jax.cli import Run
from uniwav_jax.errors import UserError


def demo(parser: argparse.ArgumentParser) -> Run:
    """A local page to record or upload speech and to see and hear what the models make of it.

        uniwav demo
        uniwav demo --checkpoint runs/asr runs/tts --port 8000

    It shows the transcript, a text spoken in the recording's voice, the recording's tokens and
    speech from them, and the layers of the encoder. Nothing leaves this machine, and the files of
    the page are deleted at the end. Needs pip install "uniwav_jax[demo]".
    """
    checkpoint = "runs or names of models, each for what it can do; otherwise those that ship"
    parser.add_argument("--checkpoint", nargs="+", default=[], metavar="DIR|NAME", help=checkpoint)
    parser.add_argument("--port", type=int, default=7860, help="where the page is served")
    host = "browsers give others than this machine no microphone"
    parser.add_argument("--host", default="127.0.0.1", help=host)
    parser.add_argument("--steps", type=int, help="of the samplers; default: of the runs")
    return _demo


def _demo(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("gradio") is None:
        raise UserError('uniwav demo needs gradio: pip install "uniwav_jax[demo]"')
    from uniwav_jax.demo import page, results

    models = results.Models(args.checkpoint, args.steps)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the files are deleted
    with page.opened(models, host=args.host, port=args.port) as address:
        print(f"{address}: open it in a browser; Ctrl+C ends it", flush=True)
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            return 0
