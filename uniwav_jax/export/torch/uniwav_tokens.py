"""Speech tokens in PyTorch: books, speech to codes, and codes to speech.

codes = model.tokenize(audio_BxS, samples_B)      # int64 [B, K, T]
wave = model.detokenize(codes, prompt_BxPxC)      # float32 [B, T * hop]
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .uniwav_features import Float32
from .uniwav_layers import plain_layer_norm

BEFORE, AFTER, NEW = 1.0, 0.5, 4.0  # seconds of windows, as in uniwav_jax/inference/tokenizer.py
FRAME_STEP = 100  # the codec decodes multiples of it, as in uniwav_jax/inference/waveforms.py


class Tokens(Float32):
    """Book 1 on a layer's states, later books on what it leaves of z, as running sums and counts.

    With "levels" book 1 is a finite scalar quantiser: its words are the points of a grid, and it
    quantises the numbers that `squeeze` makes of the states.

    Args:
        c: {"layer", "books", "codewords"}, and in newer exports "levels".
        width: channels of the encoder's states.
        read: channels of z.
    """

    def __init__(self, c: dict[str, Any], width: int, read: int) -> None:
        super().__init__()
        self.layer, words = c["layer"], c["codewords"]
        levels = c.get("levels", ())
        if levels:
            self.down = nn.Linear(width, len(levels))
            width = len(levels)
        self.project = nn.Linear(width, read)
        for name, books, size in (("first", 1, width), ("later", c["books"] - 1, read)):
            if books:
                self.register_buffer(f"{name}_sums", torch.zeros(books, words, size))
                self.register_buffer(f"{name}_counts", torch.ones(books, words))

    def words(self, name: str) -> torch.Tensor:
        """Codewords of the "first" or the "later" books, float32 [books, V, channels]."""
        sums, counts = getattr(self, f"{name}_sums"), getattr(self, f"{name}_counts")
        return sums.float() / counts.float()[..., None]

    def squeeze(self, h_BxTxD: torch.Tensor) -> torch.Tensor:
        """What book 1 quantises: h itself, or bounded numbers, float32 [B, T, L]."""
        if not hasattr(self, "down"):
            return h_BxTxD
        found = F.linear(h_BxTxD.float(), self.down.weight.float(), self.down.bias.float())
        return self.words("first")[0].amax(0) * found.tanh()

    def encode(self, states_LxBxTxD: torch.Tensor, z_BxTxE: torch.Tensor) -> torch.Tensor:
        """Codes, int64 [B, K, T], of the states h_0 .. h_L and z."""
        h_BxTxD = plain_layer_norm(states_LxBxTxD[self.layer])
        codes = [_nearest(self.words("first")[0], self.squeeze(h_BxTxD))]
        if hasattr(self, "later_sums"):
            left_BxTxE = z_BxTxE.float() - self.embed(codes[0][:, None])
            for words_VxE in self.words("later"):
                codes.append(_nearest(words_VxE, left_BxTxE))
                left_BxTxE = left_BxTxE - words_VxE[codes[-1]]
        return torch.stack(codes, dim=1)

    def embed(self, codes_BxKxT: torch.Tensor) -> torch.Tensor:
        """What the decoder reads in place of z, float32 [B, T, E]; the first books are enough."""
        first = self.words("first")[0][codes_BxKxT[:, 0]]
        found = F.linear(first, self.project.weight.float(), self.project.bias.float())
        for book in range(1, codes_BxKxT.shape[1]):
            found = found + self.words("later")[book - 1][codes_BxKxT[:, book]]
        return found


def _nearest(words_VxD: torch.Tensor, x_BxTxD: torch.Tensor) -> torch.Tensor:
    return (words_VxD.square().sum(-1) - 2.0 * (x_BxTxD.float() @ words_VxD.T)).argmin(-1)


class Tokenizing:
    """Methods of the networks that need the part "tokens"."""

    def tokenize(
        self, audio_BxS: torch.Tensor, samples_B: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Codes, int64 [B, K, T], of waveforms as `run` takes them; 0 on padding.

        Audio that is longer than the training's longest clips is read in overlapping windows.
        """
        tokens, longest = self._part("tokens"), self.c["buckets"][-1]
        rate, hop = self.features.sample_rate, self.features.hop
        total = audio_BxS.shape[1]
        if samples_B is None:
            samples_B = torch.full((len(audio_BxS),), total, device=audio_BxS.device)
        if total <= longest * rate:
            output = self.run(audio_BxS, samples_B)
            codes = tokens.encode(output.hidden_states, self.condition(output.encoded))
            return codes * output.frame_mask[:, None]
        codes = audio_BxS.new_zeros(
            (len(audio_BxS), self.c["tokenizer"]["books"], -(-total // hop)), dtype=torch.int64
        )
        for row, samples in enumerate(samples_B.tolist()):
            if samples:
                found_TxK = self.extract(audio_BxS[row, :samples], "tokens", window=longest)
                codes[row, :, : len(found_TxK)] = found_TxK.T
        return codes

    def detokenize(
        self,
        codes_BxKxT: torch.Tensor,
        prompt_BxPxC: torch.Tensor | None = None,
        *,
        frames_B: torch.Tensor | None = None,
        noise_BxTxC: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> torch.Tensor:
        """Speech, float32 [B, T * hop] in [-1, 1]; long clips are generated in windows.

        Args:
            codes_BxKxT: int64, of the first books or all.
            prompt_BxPxC: normalised features whose voice is continued, such as `features.encode`
                gives; None: a voice from the noise.
            frames_B: real frames of each row; None: all of them.
            noise_BxTxC: standard Gaussian noise [B, P + T, C], first that of the prompt; None:
                drawn with `generator`.
            generator: of the noise; None: one with seed 0.
            settings: steps, solver, guidance, temperature and sway, as of `sample`.

        Raises:
            ValueError: there are more books than the model has, or a code is no codeword.
        """
        tokens, (rows, count, total) = self._part("tokens"), codes_BxKxT.shape
        c = self.c["tokenizer"]
        if not 1 <= count <= c["books"]:
            raise ValueError(f"codes are [B, 1 to {c['books']}, T]; got {tuple(codes_BxKxT.shape)}")
        if codes_BxKxT.numel() and not 0 <= codes_BxKxT.min() <= codes_BxKxT.max() < c["codewords"]:
            raise ValueError(f"codes must lie between 0 and {c['codewords'] - 1}")
        z_BxTxE = tokens.embed(codes_BxKxT).to(self.condition.null.dtype)
        prompt = prompt_BxPxC
        if prompt is None:
            prompt = z_BxTxE.new_zeros((rows, 0, self.c["features"]["channels"]))
        prompt = prompt.float()
        first = prompt.shape[1]
        if noise_BxTxC is None:
            shape = (rows, first + total, prompt.shape[-1])
            generator = generator or torch.Generator(prompt.device).manual_seed(0)
            noise_BxTxC = torch.randn(shape, generator=generator, device=prompt.device)
        if frames_B is not None and len(frames_B.unique()) > 1:  # windows depend on the length
            waves = [
                self.detokenize(
                    codes_BxKxT[row : row + 1, :, :frames],
                    None if prompt_BxPxC is None else prompt_BxPxC[row : row + 1],
                    noise_BxTxC=noise_BxTxC[row : row + 1, : first + frames],
                    **settings,
                )
                for row, frames in enumerate(frames_B.tolist())
            ]
            size = total * self.features.hop
            return torch.cat([F.pad(wave, (0, size - wave.shape[1])) for wave in waves])
        real = torch.full((rows,), total, device=prompt.device) if frames_B is None else frames_B
        rate = self.features.sample_rate / self.features.hop
        before, after = round(BEFORE * rate), round(AFTER * rate)
        longest = round(self.c["buckets"][-1] * rate)
        new = max(longest - first - before - after, round(NEW * rate))
        made, done = prompt[:, :0], 0
        while done < total:
            start, end = max(done - before, 0), min(done + new + after, total)
            seen = first + done - start
            unknown = prompt.new_zeros(rows, end - done, prompt.shape[-1])
            known = torch.cat([prompt, made[:, start:], unknown], dim=1)
            place = torch.arange(first + end - start, device=prompt.device)
            mask = place < (first + real - start)[:, None]
            null = self.condition.null.expand(rows, seen, -1)
            z = torch.cat([null, z_BxTxE[:, done:end]], dim=1)
            parts = noise_BxTxC[:, :first], noise_BxTxC[:, first + start : first + end]
            noise = torch.cat(parts, dim=1)
            x = self.sample_z(z, known, mask, mask & (place >= seen), noise, **settings)
            fresh = x[:, seen:] if end == total else x[:, seen : seen + new]
            made, done = torch.cat([made, fresh], dim=1), done + fresh.shape[1]
        around = prompt[:, max(first - before, 0) :]
        whole = torch.cat([around, made], dim=1)
        wave = self.features.decode(F.pad(whole, (0, 0, 0, -whole.shape[1] % FRAME_STEP)))
        return wave[:, around.shape[1] * self.features.hop : whole.shape[1] * self.features.hop]
