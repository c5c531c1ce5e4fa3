"""Recognition: a linear CTC head on a pretrained encoder (method section 7).

`config.init_from` names the pretrained run that provides the encoder. The encoder is frozen during
the first `asr.freeze_steps` updates, or in all of them if `asr.frozen` is set.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from uniwav_jax.config import Config
from uniwav_jax.data.manifest import Manifest
from uniwav_jax.data.text_labels import TEXT
from uniwav_jax.losses import ctc
from uniwav_jax.measures import word_error
from uniwav_jax.models import masking, uniwav
from uniwav_jax.tasks.parts import ENCODER
from uniwav_jax.tasks.task import FOREVER, Alarm, Columns, Outputs, Part, Scores, Task
from uniwav_jax.text import alphabet
from uniwav_jax.types import Example, Metrics, PyTree, Variables

# Fields that determine what a column of the head means, besides its symbol.
HEAD_FIELDS = ("asr.layers", "text.units", "text.lexicon")


@struct.dataclass
class Draws:
    """The masks of an update.

    Attributes:
        span_mask_BxT: bool, True on frames that are hidden from the encoder.
        channel_mask_BxD: bool, True on channels that are hidden from it in all frames of the row.
    """

    span_mask_BxT: jax.Array
    channel_mask_BxD: jax.Array


def init(key: jax.Array, config: Config, channels: int) -> tuple[PyTree, PyTree]:
    """Fresh parameters {"encoder": ..., "ctc": {"kernel" [D, V], "bias" [V]}} and an empty state.

    V is the number of symbols plus one for the blank, which is column 0. With asr.layers=mix, "ctc"
    also has "mix" [L + 1], the logits of the layers' weights; the encoder's input is the first.
    """
    encoder_key, head_key = jax.random.split(key)
    width, tokens = config.model.encoder.width, len(config.text.symbols) + 1
    x = jnp.zeros((1, 20, channels))
    encoder = uniwav.encoder_module(config).init(encoder_key, x, jnp.ones(x.shape[:2], bool))
    head = {
        "kernel": jax.nn.initializers.glorot_uniform()(head_key, (width, tokens)),
        "bias": jnp.zeros(tokens),
    }
    if config.asr.layers == "mix":
        head["mix"] = jnp.zeros(config.model.encoder.layers + 1)
    return {"encoder": encoder["params"], "ctc": head}, {}


def draw(key: jax.Array, example: Example, config: Config) -> Draws:
    """Random spans of frames and of channels to hide in each row."""
    time_key, channel_key = jax.random.split(key)
    asr, (rows, total, _) = config.asr, example.x_BxTxC.shape
    width = config.model.encoder.width
    return Draws(
        span_mask_BxT=_spans(time_key, example.frames_B, asr.time_length, total, asr.time_mask),
        channel_mask_BxD=_spans(
            channel_key, jnp.full(rows, width), asr.channel_length, width, asr.channel_mask
        ),
    )


def _spans(
    key: jax.Array, counts_B: jax.Array, length: int, total: int, probability: float
) -> jax.Array:
    if probability == 0:
        return jnp.zeros((len(counts_B), total), bool)
    return masking.sample_spans(key, counts_B, length=length, total=total, probability=probability)


def weight(example: Example, draws: Draws) -> jax.Array:
    """Number of tokens in the texts of the global batch, float32 [], at least 1."""
    del draws
    mask_BxU = ctc.token_mask(example.labels["tokens"])
    return jnp.maximum(mask_BxU.sum(), 1).astype(jnp.float32)


def logits(params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array, config: Config) -> jax.Array:
    """Logits of the blank and the symbols without dropout and masks, float32 [B, T, V].

    Args:
        params: {"encoder", "ctc"} as returned by `init`.
        x_BxTxC: normalised surface features, float32.
        frames_B: real frames per row, int32.
        config: the configuration.
    """
    return _logits(params, x_BxTxC, frames_B, config, {})


def _logits(
    params: PyTree, x_BxTxC: jax.Array, frames_B: jax.Array, config: Config, hidden: PyTree
) -> jax.Array:
    encoder, head = params["encoder"], params["ctc"]
    if config.asr.frozen:
        encoder = jax.lax.stop_gradient(encoder)
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    encoded = uniwav.encoder_module(config).apply(
        {"params": encoder}, x_BxTxC, frame_mask, **hidden
    )
    h = uniwav.layer_sum(head["mix"], encoded) if "mix" in head else encoded.final
    product = h @ head["kernel"].astype(h.dtype)
    return product.astype(jnp.float32) + head["bias"]


def loss(
    variables: Variables,
    example: Example,
    draws: Draws,
    weight: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, PyTree]:
    """This microbatch's share of the CTC loss per token, and sums.

    Args:
        variables: only `params` {"encoder", "ctc"} are used.
        example: this microbatch's rows; `labels["tokens"]` is int32 [B, U], -1 after each row's
            end.
        draws: this microbatch's rows of `draw`.
        weight: number of tokens in the whole global batch, [].
        key: dropout key; None for evaluation, in which nothing is hidden.
        config: the configuration.

    Returns:
        The loss [] in nats, and sums, each float32 []: "loss" (the same value), "tokens" (tokens of
        the rows that have enough frames for their text), "impossible" (rows that do not), "blanks"
        (frames whose best symbol is the blank) and "frames" (real frames). In evaluation also
        "outputs": {"path_BxT": int32, the best symbol of each frame, -1 on padding}.
    """
    x_BxTxC, frames_B, tokens_BxU = example.x_BxTxC, example.frames_B, example.labels["tokens"]
    hidden = {}
    if key is not None:
        hidden = {
            "span_mask_BxT": draws.span_mask_BxT,
            "channel_mask_BxD": draws.channel_mask_BxD,
            "key": key,
        }
    logits_BxTxV = _logits(variables.params, x_BxTxC, frames_B, config, hidden)
    frame_mask = masking.frame_mask(frames_B, x_BxTxC.shape[1])
    fits_B = ctc.possible(frame_mask, tokens_BxU)
    nats = ctc.loss(logits_BxTxV, frame_mask, tokens_BxU).sum() / weight
    path_BxT = jnp.where(frame_mask, logits_BxTxV.argmax(-1), -1)
    tokens_B = ctc.token_mask(tokens_BxU).sum(-1)
    sums = {
        "loss": nats,
        "tokens": jnp.where(fits_B, tokens_B, 0).sum(dtype=jnp.float32),
        "impossible": ((frames_B > 0) & ~fits_B).sum(dtype=jnp.float32),
        "blanks": (path_BxT == 0).sum(dtype=jnp.float32),
        "frames": frame_mask.sum(dtype=jnp.float32),
    }
    sums = jax.lax.stop_gradient(sums)
    if key is None:
        sums["outputs"] = {"path_BxT": path_BxT}
    return nats, sums


def mean(total: PyTree) -> PyTree:
    """Divide the loss summed over evaluation batches (with weight 1) by the number of tokens."""
    return {**total, "loss": total["loss"] / jnp.maximum(total["tokens"], 1)}


def metrics(sums: PyTree, step: jax.Array, config: Config) -> Metrics:
    """Scalars of a step: "loss" (nats per token), "impossible_rows" and "blank_share" in [0, 1].

    "impossible_rows" is the number of rows with fewer frames than their text needs.
    """
    del step, config
    return {
        "loss": sums["loss"],
        "impossible_rows": sums["impossible"],
        "blank_share": sums["blanks"] / jnp.maximum(sums["frames"], 1),
    }


def freezes(config: Config) -> dict[str, float]:
    """The encoder, for `asr.freeze_steps` updates or for the whole run."""
    asr = config.asr
    updates = FOREVER if asr.frozen else asr.freeze_steps
    return {"encoder": updates} if updates else {}


def score(outputs: Outputs, corpora: Sequence[Manifest], config: Config) -> Scores:
    """Error rates of greedily decoded texts, and a table of texts and hypotheses.

    Args:
        outputs: "path_BxT" of `loss` per clip, int32 [T].
        corpora: the manifests that the keys of `outputs` refer to.
        config: the configuration.

    Returns:
        "wer" and, for letters, "cer", both as shares; and rows (path, text, hypothesis).
    """
    vocabulary = alphabet.vocabulary(config.text)
    outputs = dict(sorted(outputs.items()))
    texts = [corpora[corpus].label(clip, "text") for corpus, clip in outputs]
    texts = [vocabulary.decode(vocabulary.encode(line)) for line in texts]
    paths = [output["path_BxT"] for output in outputs.values()]
    hypotheses = [vocabulary.decode(alphabet.collapse(path[path >= 0])) for path in paths]
    rates = {"wer": word_error.words(texts, hypotheses).rate}
    if config.text.units == "letters":
        rates["cer"] = word_error.characters(texts, hypotheses).rate
    names = [corpora[corpus].name(clip) for corpus, clip in outputs]
    rows = zip(names, texts, hypotheses, strict=True)
    return Scores(rates, "hypotheses", [("path", "text", "hypothesis"), *rows])


def match_symbols(then: Mapping[str, Any], config: Config) -> tuple[np.ndarray | None, list[str]]:
    """Match the columns of another run's head with those of this run's; see `task.Columns`."""
    for field in HEAD_FIELDS:
        group, name = field.split(".")
        now = getattr(getattr(config, group), name)
        if then[field] != now:
            return None, [
                f"ctc: the head starts anew, because {field} is {then[field]!r} there and"
                f" {now!r} here"
            ]
    theirs, ours = then["text.symbols"], config.text.symbols
    common = set(theirs) & set(ours)
    if not common:
        return None, [
            "ctc: the head starts anew, because the two alphabets have no symbol in common"
        ]
    numbers = {symbol: number for number, symbol in enumerate(theirs, start=1)}
    columns = np.array([0, *(numbers.get(symbol, -1) for symbol in ours)])  # 0: blank
    if list(theirs) == list(ours):
        return columns, []
    note = f"ctc: the columns of the blank and of {len(common)} symbols are taken by name"
    for kind, symbols in (("new symbols", ours), ("symbols not used here", theirs)):
        if only := [symbol for symbol in symbols if symbol not in common]:
            note += f"; {kind}: {' '.join(only)}"
    return columns, [note]


def describe(config: Config, *, channels: int, frame_rate: float) -> list[str]:
    """Lines about the alphabet, the updates with a frozen encoder, and the frame rate."""
    del channels
    asr, text = config.asr, config.text
    duration = "the whole run" if asr.frozen else f"the first {asr.freeze_steps} updates"
    lines = [f"alphabet: {len(text.symbols)} {text.units}: {' '.join(text.symbols)}"]
    if freezes(config):
        lines.append(f"the encoder is frozen for {duration}: only the head is trained")
    return [
        *lines,
        f"{frame_rate:g} frames per second; clips with too few frames for their text are left out",
    ]


def _until_all_learns(config: Config) -> int:
    """Updates until the whole model is trained at the peak learning rate."""
    warmup = round(config.optim.warmup * config.train.steps)
    return max(warmup, 0 if config.asr.frozen else config.asr.freeze_steps)


def exports(encoder: str, decoder: str) -> dict[str, str] | None:
    """The encoder and the head; nothing for the teacher, which this task does not have."""
    del decoder
    if encoder != "student":
        return {}
    return {"encoder": "params/encoder", "ctc": "params/ctc"}


def export_documents(config: Config) -> dict[str, Any]:
    """Fields and files with which `transformers` loads the CTC model and its alphabet."""
    text = config.text
    symbols = enumerate(text.symbols, start=1)
    letters = text.units == "letters"
    # This class separates tokens, which may have several characters, at spaces. Its name is of the
    # phones that it can look up for words, which is turned off here.
    of_tokens = {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "do_phonemize": False}
    return {
        "config.json": {
            "architectures": ["UniWavForCTC"],
            "auto_map": {"AutoModelForCTC": "modeling_uniwav.UniWavForCTC"},
            "vocab_size": len(text.symbols) + 1,
        },
        "preprocessor_config.json": {"processor_class": "Wav2Vec2Processor"},
        "vocab.json": {"<pad>": 0, **{symbol: number for number, symbol in symbols}},
        "tokenizer_config.json": {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "processor_class": "Wav2Vec2Processor",
            "pad_token": "<pad>",
            "unk_token": "<pad>",
            "bos_token": None,
            "eos_token": None,
            "word_delimiter_token": "|" if letters else None,
            # In this class it means upper case; Wav2Vec2CTCTokenizer has no way to lower letters.
            "do_lower_case": False,
            **({} if letters else of_tokens),
        },
    }


TASK = Task(
    name="asr",
    init=init,
    draw=draw,
    weight=weight,
    loss=loss,
    mean=mean,
    metrics=metrics,
    labels=TEXT,
    freezes=freezes,
    parts={
        "encoder": ENCODER,
        "ctc": Part(
            ("params/ctc",),
            ("model.encoder", "asr.layers", "text.units", "text.lexicon", "text.symbols"),
            columns=Columns(("params/ctc/kernel", "params/ctc/bias"), match_symbols),
        ),
    },
    score=score,
    describe=describe,
    alarms=(
        Alarm(
            "blank_share",
            True,
            "max_blank_share",
            "{value:.1%} of the frames are recognised as blank, more than {limit:.1%}: the"
            " recogniser outputs no text; raise the learning rate or lengthen its warm-up, start"
            " from a pretrained run (init_from), or check that the texts match the audio",
            grace=_until_all_learns,
        ),
    ),
    headline=(("loss", "loss {:.3f}"), ("blank_share", "blanks {:.0%}")),
    logits=logits,
    exports=exports,
    export_groups=("asr", "text"),
    export_documents=export_documents,
)
