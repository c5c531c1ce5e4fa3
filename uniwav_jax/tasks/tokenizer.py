"""Speech tokens: books for a frozen encoder, and a decoder that speaks them (paper, Eq. 11).

The encoder reads unmasked speech and is not trained. Book 1 quantises the states of one layer, the
others what it leaves of z (models/speech_tokens.py). The decoder and the projections are tuned with
L_dec. What the decoder reads differs from row to row: the tokens of all books, those of book 1, z
before quantisation, or the null vector. Rows may keep a visible part as the prompt that gives the
voice; its frames have no tokens. Where clips have aligned phones, a linear head may recognise them
in the tokens by CTC (as in SiTok).
"""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp

from uniwav_jax.config import Config
from uniwav_jax.data import phone_labels
from uniwav_jax.data.labels import Labels
from uniwav_jax.errors import UserError
from uniwav_jax.models import flow, masking, quantizer, speech_tokens, uniwav
from uniwav_jax.tasks import tokenizer_ctc
from uniwav_jax.tasks.parts import ENCODER
from uniwav_jax.tasks.task import FOREVER, Part, Task
from uniwav_jax.tasks.tokenizer_alarms import ALARMS
from uniwav_jax.tasks.tokenizer_draws import NULL, UNQUANTISED, Draws, draw, weight
from uniwav_jax.types import AddUp, Example, Metrics, PyTree, Variables


def init(key: jax.Array, config: Config, channels: int) -> tuple[PyTree, PyTree]:
    """Fresh {"encoder", "condition", "decoder", "tokens"}, and {"books", "updates" []}.

    With `tokenizer.ctc` there is also the head "tokens_ctc".
    """
    model_key, tokens_key, books_key = jax.random.split(key, 3)
    params = uniwav.init(model_key, config, channels)
    parts = {name: params[name] for name in ("encoder", "condition", "decoder")}
    parts["tokens"] = speech_tokens.init(tokens_key, config)
    books = speech_tokens.init_books(books_key, config)
    if config.tokenizer.ctc:
        parts["tokens_ctc"] = tokenizer_ctc.init(jax.random.fold_in(key, 1), config)
    return parts, {"books": books, "updates": jnp.zeros(())}


def warm_start(
    key: jax.Array, variables: Variables, example: Example, config: Config, add_up: AddUp
) -> PyTree:
    """Book 1 by k-means on the first batch, from random frames; the other books start later.

    The grid of FSQ is there from the start.
    """
    state, words = variables.state, config.tokenizer.codewords
    if config.tokenizer.levels:
        return state
    mask_BxT = masking.frame_mask(example.frames_B, example.x_BxTxC.shape[1])
    chosen_BxT = quantizer.choose_frames(key, mask_BxT, words)

    def h_of(x_BxTxC: jax.Array, mask_BxT: jax.Array) -> jax.Array:
        encoded = uniwav.encoder_module(config).apply(
            {"params": variables.params["encoder"]}, x_BxTxC, mask_BxT
        )
        return speech_tokens.state(encoded, config.tokenizer.layer)[None]

    def at_frames(x_BxTxC: jax.Array, mask_BxT: jax.Array, chosen_BxT: jax.Array) -> PyTree:
        return quantizer.chosen_statistics(h_of(x_BxTxC, mask_BxT), chosen_BxT, words)

    rows = (example.x_BxTxC, mask_BxT)
    first = quantizer.update(state["books"]["first"], add_up(at_frames, (*rows, chosen_BxT)), 0.0)

    def round_of_k_means(_: int, book: PyTree) -> PyTree:
        def statistics(x_BxTxC: jax.Array, mask_BxT: jax.Array) -> PyTree:
            h_1xBxTxD = h_of(x_BxTxC, mask_BxT)
            return quantizer.statistics(
                h_1xBxTxD, quantizer.assign(book, h_1xBxTxD), mask_BxT, words
            )

        return quantizer.update(book, add_up(statistics, rows), 0.0)

    first = jax.lax.fori_loop(0, config.tokenizer.rounds, round_of_k_means, first)
    return {**state, "books": {**state["books"], "first": first}}


def loss(
    variables: Variables,
    example: Example,
    draws: Draws,
    weight: jax.Array,
    key: jax.Array | None,
    config: Config,
) -> tuple[jax.Array, PyTree]:
    """This microbatch's share of the loss, and sums.

    The loss is L_dec on the hidden frames, the commitment of z to the later books, and the distance
    of book 1's projection to z. The gradient of L_dec passes the later books unchanged to z (the
    straight-through estimator); P, and with FSQ the map before it, learn from the rows of book 1
    and from its distance.

    The CTC loss reads what all books that have started say of z, on all real frames. Its gradient
    passes to z and to what book 1 says of it.

    Args:
        variables: `params` and `state` as returned by `init`.
        example: this microbatch's rows; with `tokenizer.ctc` with the label "phones", int32 [B, U].
        draws: this microbatch's rows of `draw`.
        weight: number of hidden frames in the whole global batch, [].
        key: dropout key; None for evaluation.
        config: the configuration.

    Returns:
        The loss [] and sums, float32: "loss_decoder", "commitment", "projection" [], divided by
        `weight`; "levels" {name: (sum of errors, frames)} of L_dec by what the decoder read;
        "first" and "later", each {"targets", "candidates"} of `quantizer.statistics`; and
        "hidden_frames" []. With `tokenizer.ctc` also those of `tokenizer_ctc.sums`.
    """
    params, books, options = variables.params, variables.state["books"], config.tokenizer
    x_BxTxC, hidden_BxT, level_B = example.x_BxTxC, draws.hidden_BxT, draws.level_B
    mask_BxT = masking.frame_mask(example.frames_B, x_BxTxC.shape[1])
    encoded = jax.lax.stop_gradient(
        uniwav.encoder_module(config).apply({"params": params["encoder"]}, x_BxTxC, mask_BxT)
    )
    h_BxTxD = speech_tokens.state(encoded, options.layer)
    z_BxTxE = uniwav.condition(params["condition"], encoded, None).astype(jnp.float32)

    # Book 1, and its projection.
    squeezed_BxTxL = speech_tokens.squeeze(params["tokens"], books, h_BxTxD)
    first_1xBxT, first_BxTxE = speech_tokens.first(params["tokens"], books, squeezed_BxTxL)
    error_BxT = jnp.square(first_BxTxE - jax.lax.stop_gradient(z_BxTxE)).mean(-1)
    of_frames = (squeezed_BxTxL[None], first_1xBxT, mask_BxT, options.codewords)
    candidates = (squeezed_BxTxL[None], draws.candidates_BxT, options.codewords)
    sums = {
        "hidden_frames": hidden_BxT.sum().astype(jnp.float32),
        "projection": (error_BxT * hidden_BxT).sum() / weight,
        "commitment": jnp.zeros(()),
        "first": {
            "targets": quantizer.statistics(*of_frames),
            "candidates": quantizer.chosen_statistics(*candidates),
        },
    }

    # The other books, of which the first ones have started.
    all_BxTxE = recognised_BxTxE = first_BxTxE
    if options.books > 1:
        begun_K, begins_K = _begun(variables.state["updates"], config)
        stages_B = jnp.broadcast_to(begun_K.sum(), level_B.shape)
        left_BxTxE = z_BxTxE - jax.lax.stop_gradient(first_BxTxE)
        books_and_frames = (books["later"], left_BxTxE, mask_BxT, draws.candidates_BxT, stages_B)
        quantised_BxTxE, distances, sums["later"] = quantizer.residual(*books_and_frames)
        # A book that starts in this update is still noise.
        fits = ~begins_K.any()
        sums["commitment"] = sum(
            fits * (distance.mean(-1) * hidden_BxT).sum() / weight for distance in distances
        )
        straight = jax.lax.stop_gradient(first_BxTxE + quantised_BxTxE - z_BxTxE) + z_BxTxE
        started = fits & begun_K.any()
        all_BxTxE = jnp.where(started, straight, first_BxTxE)
        both = straight + first_BxTxE - jax.lax.stop_gradient(first_BxTxE)
        recognised_BxTxE = jnp.where(started, both, first_BxTxE)

    # The decoder.
    level_Bx1x1 = level_B[:, None, None]
    read_BxTxE = jnp.where(level_Bx1x1 == 1, first_BxTxE, all_BxTxE)
    read_BxTxE = jnp.where(level_Bx1x1 == UNQUANTISED, z_BxTxE, read_BxTxE)
    null = (level_Bx1x1 == NULL) | ~hidden_BxT[..., None]
    read_BxTxE = jnp.where(null, params["condition"]["null"], read_BxTxE)
    path = (x_BxTxC, draws.x0_BxTxC, draws.t_B)
    masks = (mask_BxT, hidden_BxT, level_B == NULL)
    read_BxTxE = read_BxTxE.astype(jnp.dtype(config.model.compute_dtype))
    v, u = flow.velocities(params["decoder"], *path, read_BxTxE, masks, key, config)
    for name, level in levels(config).items():
        counted_BxT = hidden_BxT & (level_B == level)[:, None]
        total = flow.squared_error_sum(v, u, counted_BxT) / weight
        sums[name] = jnp.stack([total, counted_BxT.sum() / weight])
    sums["loss_decoder"] = flow.squared_error_sum(v, u, hidden_BxT) / weight
    value = sums["loss_decoder"]
    value += options.commitment * sums["commitment"] + options.projection * sums["projection"]
    if options.ctc:
        read = (recognised_BxTxE, mask_BxT, example.labels["phones"])
        sums |= tokenizer_ctc.sums(params["tokens_ctc"], *read)
        value += options.ctc * sums["ctc"] * draws.per_phone_B[0]
    return value, jax.lax.stop_gradient(sums)


def levels(config: Config) -> dict[str, int]:
    """{name of a loss: what the decoder read}."""
    found = {"loss_unquantised": UNQUANTISED, "loss_1_book": 1}
    if config.tokenizer.books > 1:
        found[f"loss_{config.tokenizer.books}_books"] = config.tokenizer.books
    return found


def _begun(updates: jax.Array, config: Config) -> tuple[jax.Array, jax.Array]:
    """Whether each of the later books has started, and whether it starts now; bool [K - 1]."""
    options = config.tokenizer
    start_K = jnp.ceil(jnp.arange(1, options.books) * options.later * config.train.steps)
    if options.fixed_codes:
        return start_K >= 0, start_K < 0
    return updates >= start_K, updates == start_K


def update(variables: Variables, sums: PyTree, step: jax.Array, config: Config) -> PyTree:
    """The books after an update of the optimizer; a book that starts takes frames of the batch.

    The grid of FSQ stays as it is.
    """
    del step
    state, options = variables.state, config.tokenizer
    counted = {**state, "updates": state["updates"] + 1}
    if options.fixed_codes:
        return counted

    def moved(book: PyTree, found: PyTree) -> PyTree:
        dead = options.dead * found["targets"]["counts"][0].sum() / options.codewords
        targets, candidates = found["targets"], found["candidates"]
        return quantizer.update_and_revive(book, targets, candidates, options.decay, dead)

    books = {"first": state["books"]["first"]}
    if not options.levels:
        books["first"] = moved(books["first"], sums["first"])
    if options.books > 1:
        begun_K, begins_K = _begun(state["updates"], config)
        old = state["books"]["later"]
        at_frames = quantizer.update(old, sums["later"]["candidates"], 0.0)

        def chosen(old: jax.Array, new: jax.Array, started: jax.Array) -> jax.Array:
            shape = (-1,) + (1,) * (old.ndim - 1)
            begun, begins = begun_K.reshape(shape), begins_K.reshape(shape)
            return jnp.where(begins, started, jnp.where(begun, new, old))

        books["later"] = jax.tree.map(chosen, old, moved(old, sums["later"]), at_frames)
    return {**counted, "books": books}


def mean(total: PyTree) -> PyTree:
    """Divide the losses summed over evaluation batches (with weight 1) by the hidden frames."""
    hidden = jnp.maximum(total["hidden_frames"], 1)
    names = ("loss_decoder", "commitment", "projection")
    return {**total, **{name: total[name] / hidden for name in names}}


def metrics(sums: PyTree, step: jax.Array, config: Config) -> Metrics:
    """The losses, and of each book the perplexity and the share of the codewords of this batch.

    "loss_ctc" is in nats per phone, of "ctc_phones" phones; "ctc_impossible_rows" have too many.
    """
    del step
    options = config.tokenizer
    found = {name: sums[name] for name in ("loss_decoder", "commitment", "projection")}
    found["loss"] = found["loss_decoder"] + options.commitment * found["commitment"]
    found["loss"] += options.projection * found["projection"]
    for name in levels(config):
        found[name] = sums[name][0] / jnp.maximum(sums[name][1], 1e-9)
    if options.ctc:
        found["loss_ctc"] = sums["ctc"] / jnp.maximum(sums["phones"], 1)
        found["loss"] += options.ctc * found["loss_ctc"]
        found |= {"ctc_phones": sums["phones"], "ctc_impossible_rows": sums["impossible"]}
    counts = [sums["first"]["targets"]["counts"][0]]
    if options.books > 1:
        counts += list(sums["later"]["targets"]["counts"])
    for book, counts_V in enumerate(counts, start=1):
        found[f"book_{book}_perplexity"] = quantizer.perplexity(counts_V[None])
        found[f"book_{book}_use"] = (counts_V > 0).mean(dtype=jnp.float32)
    return found


def samples(
    variables: Variables, example: Example, key: jax.Array, config: Config
) -> dict[str, jax.Array]:
    """Surface features, float32 [B, T, C]: "real", and from z and from the tokens, unprompted."""
    params, x_BxTxC = {**variables.params, **variables.ema}, example.x_BxTxC
    mask_BxT = masking.frame_mask(example.frames_B, x_BxTxC.shape[1])
    encoded = uniwav.encoder_module(config).apply({"params": params["encoder"]}, x_BxTxC, mask_BxT)
    h_BxTxD = speech_tokens.state(encoded, config.tokenizer.layer)
    z_BxTxE = uniwav.condition(params["condition"], encoded, None)
    tokens, books = params["tokens"], variables.state["books"]
    codes_KxBxT, _ = speech_tokens.encode(tokens, books, h_BxTxD, z_BxTxE)
    read = {"unquantised": z_BxTxE, "1_book": speech_tokens.embed(tokens, books, codes_KxBxT[:1])}
    if len(codes_KxBxT) > 1:
        read[f"{len(codes_KxBxT)}_books"] = speech_tokens.embed(tokens, books, codes_KxBxT)
    x0 = flow.noise(key, x_BxTxC.shape)
    return {"real": x_BxTxC} | {
        name: flow.sample(params, z.astype(z_BxTxE.dtype), x_BxTxC, mask_BxT, mask_BxT, x0, config)
        for name, z in read.items()
    }


def freezes(config: Config) -> dict[str, float]:
    """The encoder; with fixed codes also what the codes depend on."""
    parts = ["encoder", *(["condition", "tokens"] if config.tokenizer.fixed_codes else [])]
    return dict.fromkeys(parts, FOREVER)


def exports(encoder: str, decoder: str) -> dict[str, str]:
    """The encoder, the books and the decoder; there is no teacher."""
    if encoder == "teacher":
        return {}
    source = "ema" if decoder == "average" else "params"
    return {
        **{name: f"params/{name}" for name in ("encoder", "condition", "tokens")},
        "books": "state/books",
        "decoder": f"{source}/decoder",
    }


def with_layer(config: Config, cache: str) -> Config:
    """Fill in a `tokenizer.layer` of -1 with the layer that `tokenizer.units` finds best.

    Raises:
        UserError: the file is not one of `uniwav evaluate units`, or is of another encoder.
    """
    del cache
    options = config.tokenizer
    if options.layer >= 0:
        return config
    try:
        with open(options.units, encoding="utf-8") as file:
            document: dict[str, Any] = json.load(file)
        table = document.get("fit_manifest", document)["encoder"]["states"]
        best = max(table, key=lambda row: row["pnmi"])["layer"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"config.tokenizer.units={options.units} is no result of 'uniwav evaluate units --out':"
            f" {error!r}"
        ) from error
    if best > config.model.encoder.layers:
        raise UserError(
            f"config.tokenizer.units={options.units} names layer {best}, but the encoder has"
            f" {config.model.encoder.layers} layers"
        )
    return dataclasses.replace(config, tokenizer=dataclasses.replace(options, layer=best))


def _with_layer_and_phones(config: Config, cache: str) -> Config:
    return with_layer(phone_labels.TARGETS.prepare(config, cache), cache)


def labels(config: Config) -> Labels:
    """The phones of crops for the CTC term, or none without it."""
    if not config.tokenizer.ctc:
        return Labels(prepare=with_layer)
    return dataclasses.replace(phone_labels.TARGETS, prepare=_with_layer_and_phones)


TASK = Task(
    name="tokenizer",
    init=init,
    warm_start=warm_start,
    draw=draw,
    weight=weight,
    loss=loss,
    update=update,
    mean=mean,
    metrics=metrics,
    labels=labels,
    freezes=freezes,
    averages=lambda config: {"decoder": config.flow.ema_decay},
    parts={
        "encoder": ENCODER,
        "decoder": Part(
            ("params/condition", "params/decoder", "ema/decoder"),
            ("model.encoder", "model.decoder", "flow.context"),
        ),
        "tokens": Part(
            ("params/tokens", "state/books"),
            (
                *("model.encoder", "model.decoder.width", "tokenizer.layer"),
                *("tokenizer.books", "tokenizer.codewords", "tokenizer.levels"),
            ),
        ),
        "tokens_ctc": Part(("params/tokens_ctc",), ("model.decoder.width", "tts.phones")),
    },
    samples=samples,
    alarms=ALARMS,
    headline=(
        ("loss", "loss {:.3f}"),
        ("loss_decoder", "dec {:.3f}"),
        ("loss_ctc", "ctc {:.3f}"),
        ("book_1_perplexity", "perplexity {:.0f}"),
    ),
    exports=exports,
    export_groups=("tokenizer",),
)
