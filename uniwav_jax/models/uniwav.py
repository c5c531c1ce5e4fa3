"""The parts of UniWav: parameters, prediction heads, targets, codes, conditioning.

Parameters are one nested dict of float32 arrays, where E is the decoder's width:

    {"encoder", "heads": {"kernel" [K, D, V], "bias" [K, V]},
     "condition": {"mix" [L + 1], "project": {"kernel" [D, E], "bias" [E]}, "null" [E]}, "decoder"}

and, where clusters of MFCCs are targets, "mfcc_head": {"kernel" [1, D, V], "bias" [1, V]}.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.config import Config
from uniwav_jax.models import layers, quantizer
from uniwav_jax.models.decoder import Decoder
from uniwav_jax.models.encoder import Encoder, EncoderOutput
from uniwav_jax.types import PyTree


def encoder_module(config: Config) -> Encoder:
    """The encoder of a configuration; `.apply({"params": params["encoder"]}, ...)`."""
    model = config.model
    return Encoder(model.encoder, jnp.dtype(model.compute_dtype), model.remat, model.attention)


def decoder_module(config: Config, channels: int) -> Decoder:
    """The decoder of a configuration for surface features of `channels` channels."""
    model = config.model
    dtype = jnp.dtype(model.compute_dtype)
    return Decoder(model.decoder, channels, dtype, model.remat, model.attention)


def init(key: jax.Array, config: Config, channels: int) -> PyTree:
    """Initialise parameters; the module's docstring has the tree.

    Args:
        key: random key.
        config: the configuration.
        channels: C of the surface features.
    """
    width, decoder_width = config.model.encoder.width, config.model.decoder.width
    keys = dict(zip(("encoder", "heads", "project", "null", "decoder"), jax.random.split(key, 5)))
    x = jnp.zeros((1, 2 * config.masking.length, channels))
    mask = jnp.ones(x.shape[:2], bool)
    z = jnp.zeros((*x.shape[:2], decoder_width))
    context = x if config.flow.context else None
    glorot = jax.nn.initializers.glorot_uniform()
    books, words = config.distillation.top_layers, config.distillation.codewords
    mfcc = {}
    if config.distillation.mfcc:
        mfcc_key = jax.random.fold_in(key, len(keys))  # leaves the other keys unchanged
        mfcc["mfcc_head"] = {
            "kernel": jax.nn.initializers.normal(0.02)(mfcc_key, (1, width, words)),
            "bias": jnp.zeros((1, words)),
        }
    return {
        **mfcc,
        "encoder": encoder_module(config).init(keys["encoder"], x, mask)["params"],
        "heads": {
            "kernel": jax.nn.initializers.normal(0.02)(keys["heads"], (books, width, words)),
            "bias": jnp.zeros((books, words)),
        },
        "condition": {
            "mix": jnp.zeros(config.model.encoder.layers + 1),
            "project": {
                "kernel": glorot(keys["project"], (width, decoder_width)),
                "bias": jnp.zeros(decoder_width),
            },
            "null": 0.02 * jax.random.normal(keys["null"], (decoder_width,)),
        },
        "decoder": decoder_module(config, channels).init(
            keys["decoder"], x, jnp.zeros(1), z, mask, context_BxTxC=context
        )["params"],
    }


def predict_codes(heads: PyTree, encoded: EncoderOutput, config: Config) -> jax.Array:
    """Logits over codewords, float32 [K, B, T, V].

    With distillation.prediction="dinosr" all heads read the final output. With "spidr" head k reads
    the student's feed-forward output in the k-th of the top K layers, where the teacher's targets
    come from.

    Args:
        heads: {"kernel" [K, D, V], "bias" [K, V]}.
        encoded: the student's output.
        config: the configuration.
    """
    kernel_KxDxV, bias = heads["kernel"], heads["bias"][:, None, None]
    if config.distillation.prediction == "dinosr":
        h = encoded.final
        product = jnp.einsum("BTD,KDV->KBTV", h, kernel_KxDxV.astype(h.dtype))
    else:
        h = encoded.feed_forward[-kernel_KxDxV.shape[0] :]
        product = jnp.einsum("KBTD,KDV->KBTV", h, kernel_KxDxV.astype(h.dtype))
    return product.astype(jnp.float32) + bias


def predict_mfcc(head: PyTree, encoded: EncoderOutput) -> jax.Array:
    """Logits over clusters of MFCCs, from the final output as in HuBERT; float32 [1, B, T, V].

    Args:
        head: {"kernel" [1, D, V], "bias" [1, V]}.
        encoded: the student's output.
    """
    h = encoded.final
    product = jnp.einsum("BTD,KDV->KBTV", h, head["kernel"].astype(h.dtype))
    return product.astype(jnp.float32) + head["bias"][:, None, None]


def codes(heads: PyTree, encoded: EncoderOutput, config: Config) -> jax.Array:
    """Codes of speech: the codeword that each head predicts at each frame, int32 [K, B, T].

    As in DinoSR and SpidR they are the argmax of the student's heads on unmasked input.

    Args:
        heads: the "heads" part of the parameters.
        encoded: the student's output.
        config: the configuration.
    """
    return predict_codes(heads, encoded, config).argmax(-1).astype(jnp.int32)


def targets(
    teacher: PyTree, x_BxTxC: jax.Array, frame_mask_BxT: jax.Array, config: Config
) -> tuple[jax.Array, jax.Array]:
    """Feed-forward outputs of the teacher's top K layers, which the codebooks cluster.

    The input is unmasked and there is no dropout. The outputs are normalised per channel over the
    real frames of each row.

    Args:
        teacher: encoder parameters.
        x_BxTxC: normalised surface features, float32.
        frame_mask_BxT: bool, True on real frames.
        config: the configuration.

    Returns:
        Targets, float32 [K, B, T, D], and each row's variance before normalisation, float32 [K, B].
    """
    seen = encoder_module(config).apply({"params": teacher}, x_BxTxC, frame_mask_BxT)
    return quantizer.instance_norm(
        seen.feed_forward[-config.distillation.top_layers :], frame_mask_BxT
    )


def teacher_codes(
    teacher: PyTree, books: PyTree, x_BxTxC: jax.Array, frame_mask_BxT: jax.Array, config: Config
) -> jax.Array:
    """The teacher's codes, which the student learns to predict, int32 [K, B, T].

    The codebooks fit only the teacher's outputs, so they cannot code the student's.

    Args:
        teacher: encoder parameters of the teacher.
        books: the codebooks, {"sums" [K, V, D], "counts" [K, V]}.
        x_BxTxC: normalised surface features, float32.
        frame_mask_BxT: bool, True on real frames.
        config: the configuration.
    """
    target, _ = targets(teacher, x_BxTxC, frame_mask_BxT, config)
    return quantizer.assign(books, target)


def condition(params: PyTree, encoded: EncoderOutput, drop_B: jax.Array | None) -> jax.Array:
    """The conditioning z = Linear(sum_l softmax(w)_l LN(h_l)) over h_0 .. h_L; [B, T, E].

    Args:
        params: the "condition" part of the parameters.
        encoded: the student's output.
        drop_B: bool, True for rows whose z is replaced with the null vector, for classifier-free
            guidance; None: no rows.
    """
    mixed = layer_sum(params["mix"], encoded)
    dtype = mixed.dtype
    z = mixed @ params["project"]["kernel"].astype(dtype) + params["project"]["bias"].astype(dtype)
    if drop_B is None:
        return z
    return jnp.where(drop_B[:, None, None], params["null"].astype(dtype), z)


def layer_sum(mix: jax.Array, encoded: EncoderOutput) -> jax.Array:
    """sum_l softmax(w)_l LN(h_l) over h_0 .. h_L, [B, T, D] in the compute dtype.

    Args:
        mix: w, float32 [L + 1].
        encoded: states of all layers.
    """
    share = jax.nn.softmax(mix)
    mixed = share[0] * layers.plain_layer_norm(encoded.embedding)

    # Add one layer at a time and compute its norm again in the backward pass, because the float32
    # norms of all layers do not fit in memory together with a large model.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def add(total: jax.Array, layer: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + layer[0] * layers.plain_layer_norm(layer[1]), None

    mixed, _ = jax.lax.scan(add, mixed, (share[1:], encoded.states))
    return mixed.astype(encoded.embedding.dtype)


def parameter_counts(params: PyTree) -> dict[str, int]:
    """Number of parameters of each part, and their "total"."""
    counts = {
        name: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(part))
        for name, part in params.items()
    }
    return {**counts, "total": sum(counts.values())}


def train_flops_per_second(config: Config, channels: int, frame_rate: float) -> float:
    """Model FLOPs of one training step per second of audio; a multiply-add is two operations.

    They count matmuls and attention (in rows of the longest bucket) of student, teacher and
    decoder, forward and backward. The teacher and a frozen encoder only run forward, and the
    decoder does not run if flow.weight is 0. Recomputation is not counted, so this is the numerator
    of model FLOPs utilisation.

    Args:
        config: the configuration.
        channels: C of the surface features.
        frame_rate: frames per second.
    """
    frames = config.data.buckets[-1] * frame_rate
    enc, dec = config.model.encoder, config.model.decoder
    positions = enc.position_convolutions * enc.position_kernel * enc.width**2
    positions //= enc.position_groups
    encoder = enc.layers * (4 * enc.width**2 + 2 * enc.width * enc.ffn + 2 * frames * enc.width)
    encoder += channels * enc.width + positions
    decoder = dec.layers * (4 * dec.width**2 + 3 * dec.width * dec.ffn + 2 * frames * dec.width)
    decoder += dec.layers // 2 * 2 * dec.width**2  # U-Net merges
    decoder += (2 * channels + 2 * dec.width + enc.width) * dec.width
    decoder *= config.flow.weight > 0
    books = config.distillation.top_layers * config.distillation.codewords * enc.width
    teacher = encoder + 2 * books  # distances and sums of the clustering
    passes = 1 if config.flow.encoder_frozen else 3
    return 2 * frame_rate * (3 * decoder + passes * (encoder + books) + teacher)
