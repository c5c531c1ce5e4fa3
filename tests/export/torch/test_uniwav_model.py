"""The PyTorch model: padding, precision, windows, codes and texts. Numbers: test_check.py."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the export's reader; see tests/requirements-oracles.txt")

import torch

from uniwav_jax.export import check
from uniwav_jax.export.torch import uniwav_model


def test_padding_changes_nothing(exported, speech):
    model = uniwav_model.load(str(exported("pretrain") / "export"))
    audio, samples = speech
    together = model(torch.tensor(audio), torch.tensor(samples))
    for row, count in enumerate(samples):
        alone = model(torch.tensor(audio[row : row + 1, :count])).hidden_states[:, 0]
        there = together.hidden_states[:, row, : alone.shape[1]]
        assert (alone - there).abs().max() < 1e-4 * alone.abs().max()


def test_bfloat16_stays_near(exported, speech):
    """The bound that the README states: 3 % of the largest value."""
    exact, short = (
        uniwav_model.load(str(exported("pretrain") / "export"), dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    arguments = list(map(torch.tensor, speech))
    ours, theirs = exact(*arguments).encoded.final, short(*arguments).encoded.final
    assert theirs.dtype == torch.bfloat16
    for name, weight in short.features.state_dict().items():  # float32, and not rounded on the way
        assert torch.equal(weight, exact.features.state_dict()[name])
    mask = exact(*arguments).frame_mask
    assert check.apart(theirs.float(), ours.numpy(), mask) < 0.03


def test_what_is_not_there(exported, speech):
    model = uniwav_model.load(str(exported("asr") / "export"))
    output = model(torch.tensor(speech[0][:1]))
    with pytest.raises(uniwav_model.ExportError, match=r"no heads; it has ctc, encoder"):
        model.codes(output)
    with pytest.raises(uniwav_model.ExportError, match="no decoder"):
        model.sample(output, torch.zeros_like(output.features))


def test_long_audio_in_windows(exported, clip):
    """Each window is encoded alone, and its frames near a cut come from its neighbour."""
    model = uniwav_model.load(str(exported("pretrain") / "export"))
    audio, hop = torch.tensor(clip), model.features.hop  # 250 frames, the last one partly filled
    whole = model(audio[None])
    for layers, expected in (
        ([0, 3], whole.hidden_states[[0, 3], 0].transpose(0, 1)),
        ("sum", model.layer_sum(whole.encoded)[0]),
        ("codes", model.codes(whole)[:, 0].T),
    ):
        found = model.extract(audio, layers, window=10.0)
        assert torch.equal(found, expected)
    # Windows of 100 frames begin every 80; 10 frames at a cut belong to the neighbour.
    found = model.extract(audio, [4], window=2.0, overlap=0.2)[:, 0]
    assert len(found) == 250
    for first, kept in ((0, (0, 90)), (80, (90, 170)), (160, (170, 250))):
        piece = audio[first * hop : (first + 100) * hop]
        alone = model(piece[None]).hidden_states[4, 0]
        expected = alone[kept[0] - first : kept[1] - first]
        assert (found[slice(*kept)] - expected).abs().max() < 1e-4 * expected.abs().max()


def test_texts_of_the_best_path(exported, monkeypatch):
    """Repetitions and blanks are dropped, "|" is a space, and padding says nothing."""
    model = uniwav_model.load(str(exported("asr") / "export"))
    symbols = model.c["text"]["symbols"]
    paths = ["_ggo_|_ooh__", "|g_oo|_|h_xx"]
    tokens = torch.tensor([[symbols.index(s) + 1 if s != "_" else 0 for s in p] for p in paths])
    logits = torch.nn.functional.one_hot(tokens, len(symbols) + 1).float()
    monkeypatch.setattr(model, "logits", lambda encoded: logits)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, 10:] = False
    output = uniwav_model.Output(None, None, mask, None)
    assert model.transcribe(output) == ["go oh", "go h"]
    model.c["text"]["units"] = "tokens"
    assert model.transcribe(output) == ["g o | o h", "| g o | | h"]


def test_heads_read_the_layers_that_the_configuration_names():
    random = torch.Generator().manual_seed(0)
    encoded = uniwav_model.Encoded(
        torch.randn(2, 5, 8, generator=random),
        torch.randn(4, 2, 5, 8, generator=random),
        torch.randn(4, 2, 5, 8, generator=random),
        torch.randn(2, 5, 8, generator=random),
    )
    for prediction in ("dinosr", "spidr"):
        c = {"top_layers": 2, "codewords": 3, "prediction": prediction}
        heads = uniwav_model.Heads(c, 8).requires_grad_(False)
        heads.weight.normal_(generator=random)
        heads.bias.normal_(generator=random)
        for k in range(2):
            read = encoded.final if prediction == "dinosr" else encoded.feed_forward[2 + k]
            expected = read @ heads.weight[k] + heads.bias[k]
            torch.testing.assert_close(heads(encoded)[k], expected)


def test_codebooks_assign_the_nearest_codeword():
    """To the frames of a row after instance norm over its real frames, searched in numpy."""
    random = np.random.default_rng(0)
    fed = random.normal(3.0, 2.0, (3, 2, 9, 4)).astype(np.float32)
    books = uniwav_model.Codebooks({"top_layers": 2, "codewords": 6}, 4)
    books.counts = torch.tensor(random.uniform(0.5, 4, (2, 6)), dtype=torch.float32)
    books.sums = torch.tensor(random.normal(size=(2, 6, 4)), dtype=torch.float32)
    mask = np.arange(9) < np.array([[9], [5]])
    found = books(torch.tensor(fed), torch.tensor(mask)).numpy()
    for k in range(2):
        words = (books.sums[k] / books.counts[k][:, None]).numpy()
        for row, frames in enumerate((9, 5)):
            x = fed[1 + k, row, :frames]
            x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
            nearest = np.square(x[:, None] - words).sum(-1).argmin(-1)
            np.testing.assert_array_equal(found[k, row, :frames], nearest)
