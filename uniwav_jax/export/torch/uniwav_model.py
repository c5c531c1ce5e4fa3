"""UniWav in PyTorch, for inference; needs torch, numpy and safetensors.

    model = load("exported")
    with torch.inference_mode():
        output = model(audio_BxS, samples_B)          # waveforms in [-1, 1], zero after their ends
        output.hidden_states                          # [L + 1, B, T, D]: h_0 .. h_L

Names are those of uniwav_jax, whose results are the same up to rounding.
"""

import itertools
import math
import pathlib
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from .uniwav_features import build as build_features
from .uniwav_features import check_audio
from .uniwav_files import CONFIG, WEIGHTS, ExportError, read_config, verify
from .uniwav_layers import Decoder, Encoded, Encoder, plain_layer_norm
from .uniwav_speech import Durations, Phones, Speaking
from .uniwav_tokens import Tokenizing, Tokens


class Output(NamedTuple):
    """The output of `Networks.run`.

    Attributes:
        hidden_states: [L + 1, B, T, D], h_0 .. h_L.
        encoded: the encoder's output.
        frame_mask: bool [B, T], True on real frames.
        features: float32 [B, T, C], normalised surface features, zero on padding.
    """

    hidden_states: torch.Tensor
    encoded: Encoded
    frame_mask: torch.Tensor
    features: torch.Tensor


class Networks(Tokenizing, Speaking):
    """Base class of the plain module and of those for `transformers`; they call `_build` first."""

    def _build(self, c: dict[str, Any]) -> None:
        """Create the encoder, and the other parts that `c["parts"]` names."""
        self.c = c
        channels, width, parts = c["features"]["channels"], c["encoder"]["width"], c["parts"]
        self.features = build_features(c["features"])
        self.encoder = Encoder(c["encoder"], channels)
        if "decoder" in parts:
            self.condition = Condition(c["encoder"], c["decoder"])
            self.decoder = Decoder(c["decoder"], channels, context=c["flow"]["context"])
        if "heads" in parts:
            self.heads = Heads(c["distillation"], width)
        if "codebooks" in parts:
            self.codebooks = Codebooks(c["distillation"], width)
        if "tokens" in parts:
            self.tokens = Tokens(c["tokenizer"], width, c["decoder"]["width"])
        if "phones" in parts:
            self.phones = Phones(len(c["tts"]["phones"]), width)
        if "durations" in parts:
            self.durations = Durations(len(c["tts"]["phones"]), c["duration_encoder"])
        if "ctc" in parts:
            self.ctc = Recognition(c["asr"], c["text"], c["encoder"])
        if c["linear"]:
            self.linear = nn.ModuleDict({n: nn.Linear(*size) for n, size in c["linear"].items()})

    def run(self, audio_BxS: torch.Tensor, samples_B: torch.Tensor | None = None) -> Output:
        """Waveform to hidden states.

        Args:
            audio_BxS: float in [-1, 1] at `features.sample_rate` or int16, zero after each row's
                end.
            samples_B: real samples of each row; None: all of them.

        Raises:
            ValueError: see `uniwav_features.check_audio`.
        """
        check_audio(audio_BxS)
        x_BxTxC = self.features.encode(audio_BxS)
        if samples_B is None:
            samples_B = torch.full((len(audio_BxS),), audio_BxS.shape[1], device=x_BxTxC.device)
        frames_B = (samples_B + self.features.hop - 1) // self.features.hop
        mask = torch.arange(x_BxTxC.shape[1], device=x_BxTxC.device) < frames_B[:, None]
        x_BxTxC = x_BxTxC * mask[..., None]
        encoded = self.encoder(x_BxTxC, mask)
        states = torch.cat([encoded.embedding[None], encoded.states])
        return Output(states, encoded, mask, x_BxTxC)

    def extract(
        self, audio_S: torch.Tensor, layers: list[int] | str, *, window: float, overlap: float = 2.0
    ) -> torch.Tensor:
        """Represent a recording of any length, in overlapping windows as `uniwav features` does.

        Args:
            audio_S: float in [-1, 1].
            layers: list of n layers, 0 to L; "sum" for the weighted sum of layers; "codes"; for
                speech tokens "tokens"; for an export of the teacher "teacher_codes".
            window: seconds of audio computed at once; at most the longest of the config's buckets,
                because the model was not trained on longer audio.
            overlap: seconds at a window's ends whose frames are taken from the neighbouring
                windows; at most a quarter of the window.

        Returns:
            [T, n, D] for a list, [T, D] for "sum", int64 [T, K] for codes.
        """
        check_audio(audio_S[None])
        hop, rate, (left, right) = (
            self.features.hop,
            self.features.sample_rate,
            self.features.context,
        )
        size = round(window * rate) // hop
        rim = min(round(overlap * rate / hop), size // 4)
        padded, first, found = F.pad(audio_S, (left, right)), 0, []
        while True:
            begin = first * hop
            samples = min(size * hop, len(audio_S) - begin)
            last = begin + samples == len(audio_S)
            x_1xTxC = self.features.encode(
                padded[None, begin : begin + left + samples + right], surrounded=True
            )
            mask = torch.ones(x_1xTxC.shape[:2], dtype=torch.bool, device=x_1xTxC.device)
            encoded = self.encoder(x_1xTxC, mask)
            states = torch.cat([encoded.embedding[None], encoded.states])
            output = Output(states, encoded, mask, x_1xTxC)
            if layers == "sum":
                frames = self.layer_sum(encoded)[0]
            elif layers == "codes":
                frames = self.codes(output)[:, 0].T
            elif layers == "tokens":
                z_1xTxE = self.condition(encoded)
                frames = self._part("tokens").encode(states, z_1xTxE)[0].T
            elif layers == "teacher_codes":
                frames = self.teacher_codes(output)[:, 0].T
            else:
                frames = torch.stack([states[layer][0] for layer in layers], dim=1)
            found.append(frames[rim if first else 0 : None if last else len(frames) - rim])
            if last:
                return torch.cat(found)
            first += size - 2 * rim

    def logits(self, encoded: Encoded) -> torch.Tensor:
        """Logits of CTC's blank (0) and the symbols, float32 [B, T, V + 1]."""
        return self._part("ctc")(encoded)

    def transcribe(self, output: Output) -> list[str]:
        """The text of each row by greedy decoding."""
        path_BxT = self.logits(output.encoded).argmax(-1)
        c, texts = self.c["text"], []
        for path_T, mask_T in zip(path_BxT, output.frame_mask, strict=True):
            tokens = torch.unique_consecutive(path_T[mask_T]).tolist()
            symbols = [c["symbols"][token - 1] for token in tokens if token]
            text = " ".join(symbols) if c["units"] == "tokens" else "".join(symbols)
            texts.append(
                text if c["units"] == "tokens" else " ".join(text.replace("|", " ").split())
            )
        return texts

    def codes(self, output: Output) -> torch.Tensor:
        """The codes of speech: the codeword that each head predicts, int64 [K, B, T]."""
        return self._part("heads")(output.encoded).argmax(-1)

    def teacher_codes(self, output: Output) -> torch.Tensor:
        """The teacher's outputs assigned to its codebooks, int64 [K, B, T].

        These are the student's targets in training; only an export of the teacher has them.
        """
        return self._part("codebooks")(output.encoded.feed_forward, output.frame_mask)

    def layer_sum(self, encoded: Encoded) -> torch.Tensor:
        """The weighted sum of normalised layers that the decoder or CTC head reads, [B, T, D]."""
        reader = self._part("ctc" if "ctc" in self.c["parts"] else "condition")
        if not hasattr(reader, "mix"):
            raise ExportError("this export's CTC head reads the last layer; there is no sum")
        return layer_sum(reader.mix, encoded)

    def sample(
        self,
        output: Output,
        noise_BxTxC: torch.Tensor,
        *,
        generate_BxT: torch.Tensor | None = None,
        steps: int | None = None,
        solver: str | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        sway: float | None = None,
    ) -> torch.Tensor:
        """Generate features, float32 [B, T, C], conditioned on the encoder's output.

        Args:
            output: result of `run`; a span mask may have hidden parts of the encoder's input.
            noise_BxTxC: standard Gaussian noise, from which the flow starts.
            generate_BxT: bool, True where a frame is generated; the others keep the features of
                `output`. None: all real frames.
            steps, solver, guidance, temperature, sway: settings of the sampler; None: those of
                config.json.
        """
        self._part("decoder")
        mask = output.frame_mask
        generate_BxT = mask if generate_BxT is None else generate_BxT
        settings = {"steps": steps, "solver": solver, "guidance": guidance, "sway": sway}
        return self.sample_z(
            self.condition(output.encoded),
            output.features,
            mask,
            generate_BxT,
            noise_BxTxC,
            temperature=temperature,
            **settings,
        )

    def sample_z(
        self,
        z_BxTxD: torch.Tensor,
        known_BxTxC: torch.Tensor,
        mask_BxT: torch.Tensor,
        generate_BxT: torch.Tensor,
        noise_BxTxC: torch.Tensor,
        *,
        steps: int | None = None,
        solver: str | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        sway: float | None = None,
    ) -> torch.Tensor:
        """Features, float32 [B, T, C]: those of `generate_BxT` are generated, the others known.

        Args:
            z_BxTxD: what the decoder is conditioned on.
            known_BxTxC: normalised features, float32.
            mask_BxT: bool, True on real frames.
            generate_BxT: bool, True where a frame is generated.
            noise_BxTxC, steps, solver, guidance, temperature, sway: see `sample`.
        """
        decoder, flow, mask = self._part("decoder"), self.c["flow"], mask_BxT
        steps, solver = steps or flow["sample_steps"], solver or flow["solver"]
        guidance = flow["guidance"] if guidance is None else guidance
        temperature = flow.get("temperature", 1.0) if temperature is None else temperature
        sway = flow.get("sway", 0.0) if sway is None else sway
        null = self.condition.null.expand_as(z_BxTxD)
        known, x = known_BxTxC, temperature * noise_BxTxC.float()
        generate = generate_BxT[..., None]
        context = known * ~generate if flow["context"] else None
        prompt_velocity = known - (1.0 - flow["sigma"]) * x

        def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
            t_B = torch.full((len(x),), t, device=x.device)
            v = decoder(x, t_B, z_BxTxD, mask, context)
            if guidance:
                unseen = None if context is None else torch.zeros_like(context)
                v = (1.0 + guidance) * v - guidance * decoder(x, t_B, null, mask, unseen)
            return torch.where(generate, v, prompt_velocity)

        even = [i / steps for i in range(steps + 1)]
        times = [t + sway * (math.cos(math.pi / 2 * t) - 1 + t) for t in even]
        for t, end in itertools.pairwise(times):
            h = end - t
            if solver == "euler":
                x = x + h * velocity(x, t)
            else:
                x = x + h * velocity(x + 0.5 * h * velocity(x, t), t + 0.5 * h)
        return torch.where(generate, x, known)

    def _part(self, name: str) -> nn.Module:
        if name not in self.c["parts"]:
            raise ExportError(f"this export has no {name}; it has {', '.join(self.c['parts'])}")
        return getattr(self, name)


class UniWav(Networks, nn.Module):
    """The exported model; `load` creates it with its weights."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        self._build(c)

    def forward(self, audio_BxS: torch.Tensor, samples_B: torch.Tensor | None = None) -> Output:
        """See `run`."""
        return self.run(audio_BxS, samples_B)


def layer_sum(mix: torch.Tensor, encoded: Encoded) -> torch.Tensor:
    """sum_l softmax(w)_l LN(h_l) over h_0 .. h_L, [B, T, D]."""
    share = mix.float().softmax(0)
    total = share[0] * plain_layer_norm(encoded.embedding)
    for weight, state in zip(share[1:], encoded.states, strict=True):
        total = total + weight * plain_layer_norm(state)
    return total.to(encoded.embedding.dtype)


class Condition(nn.Module):
    """Conditioning: z = Linear(sum_l softmax(w)_l LN(h_l)), or a null vector for guidance."""

    def __init__(self, encoder: dict[str, Any], decoder: dict[str, Any]) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(encoder["layers"] + 1))
        self.project = nn.Linear(encoder["width"], decoder["width"])
        self.null = nn.Parameter(torch.zeros(decoder["width"]))

    def forward(self, encoded: Encoded) -> torch.Tensor:
        return self.project(layer_sum(self.mix, encoded))


class Heads(nn.Module):
    """The student's prediction of the teacher's codes: K linear maps to V logits."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        super().__init__()
        self.from_final = c["prediction"] == "dinosr"
        self.weight = nn.Parameter(torch.zeros(c["top_layers"], width, c["codewords"]))
        self.bias = nn.Parameter(torch.zeros(c["top_layers"], c["codewords"]))

    def forward(self, encoded: Encoded) -> torch.Tensor:
        """Logits over codewords, float32 [K, B, T, V]."""
        books = len(self.weight)
        h = encoded.final[None] if self.from_final else encoded.feed_forward[-books:]
        return (h @ self.weight[:, None]).float() + self.bias.float()[:, None, None]


class Codebooks(nn.Module):
    """Online clusters of the teacher's top K feed-forward outputs, as running sums and counts."""

    def __init__(self, c: dict[str, Any], width: int) -> None:
        super().__init__()
        books, words = c["top_layers"], c["codewords"]
        self.register_buffer("sums", torch.zeros(books, words, width))
        self.register_buffer("counts", torch.ones(books, words))

    def forward(self, fed_LxBxTxD: torch.Tensor, frame_mask_BxT: torch.Tensor) -> torch.Tensor:
        """Index of the codeword nearest to each instance-normalised frame, int64 [K, B, T]."""
        x = fed_LxBxTxD[-len(self.sums) :].float()
        weight = frame_mask_BxT[None, :, :, None].float()
        count = weight.sum(2, keepdim=True).clamp(min=1.0)
        centred = x - (x * weight).sum(2, keepdim=True) / count
        variance = (centred.square() * weight).sum(2, keepdim=True) / count
        x = centred * torch.rsqrt(variance + 1e-5)
        words_KxVxD = self.sums.float() / self.counts.float()[..., None]
        product = torch.einsum("KBTD,KVD->KBTV", x, words_KxVxD)
        return (words_KxVxD.square().sum(-1)[:, None, None] - 2.0 * product).argmin(-1)


class Recognition(nn.Module):
    """The linear layer of CTC, on the last layer or on a learned weighted sum of all layers."""

    def __init__(self, asr: dict[str, Any], text: dict[str, Any], encoder: dict[str, Any]) -> None:
        super().__init__()
        self.head = nn.Linear(encoder["width"], len(text["symbols"]) + 1)
        if asr["layers"] == "mix":
            self.mix = nn.Parameter(torch.zeros(encoder["layers"] + 1))

    def forward(self, encoded: Encoded) -> torch.Tensor:
        h = layer_sum(self.mix, encoded) if hasattr(self, "mix") else encoded.final
        return F.linear(h, self.head.weight).float() + self.head.bias.float()


def load(folder: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> UniWav:
    """Load the model from a folder written by 'uniwav export', in evaluation mode.

    No code from the folder is executed, and all files are first compared with their checksums.

    Args:
        folder: the exported folder.
        device: device of the weights.
        dtype: dtype of the networks; features are always computed in float32.

    Raises:
        ExportError: a file is missing or damaged, or the weights do not fit config.json.
    """
    path = pathlib.Path(folder)
    verify(path)
    c = read_config(path)
    try:
        with torch.device("meta"):
            model = UniWav(c)
    except Exception as error:  # wrong values raise many types
        raise ExportError(f"{path / CONFIG} does not describe a UniWav model: {error!r}") from error
    try:
        tensors = safetensors.torch.load_file(path / WEIGHTS, device=device)
    except Exception as error:  # safetensors raises many types
        raise ExportError(f"{path / WEIGHTS} cannot be read: {error}") from error
    wanted = model.state_dict()
    for name in sorted(wanted.keys() ^ tensors.keys()):
        side = "lacks" if name in wanted else "has, but should not have,"
        raise ExportError(f"{path / WEIGHTS} {side} the tensor {name}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or not tensor.dtype.is_floating_point:
            what = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise ExportError(
                f"{path / WEIGHTS}: {name} is {what}, expected {tuple(wanted[name].shape)}"
            )
    model.load_state_dict(tensors, assign=True)
    model.to(dtype=dtype)  # not the features
    return model.eval().requires_grad_(False)
