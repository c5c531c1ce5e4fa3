"""Parity with `spidr`, an independent PyTorch implementation of DinoSR and SpidR.

Both implementations have the same weights, which the small functions below convert. The feature
extractor of `spidr` is replaced by the identity, so that both read the same frames.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.config import DistillationConfig, default_config, from_dict
from uniwav_jax.losses import self_distillation
from uniwav_jax.models import layers, quantizer, teacher, uniwav
from uniwav_jax.models.encoder import EncoderLayer
from uniwav_jax.tasks import pretrain
from uniwav_jax.types import Example, Variables

HOW = "needs tests/requirements-oracles.txt and spidr 0.2.0"
torch = pytest.importorskip("torch", reason=HOW)
spidr = pytest.importorskip("spidr.models", reason=HOW)
spidr_config = pytest.importorskip("spidr.config", reason=HOW)
dinosr = pytest.importorskip("spidr.models.dinosr", reason=HOW)

ROWS, FRAMES, CHANNELS, WIDTH, HEADS, FFN, BOOKS, WORDS = 3, 40, 12, 32, 4, 48, 2, 16
NORMS = ("pre", "post")


def array(tensor):
    return jnp.asarray(tensor.detach().numpy().copy())


def tensor(x):
    return torch.from_numpy(np.array(x))


def linear(module):
    return {"kernel": array(module.weight).T, "bias": array(module.bias)}


def norm(module):
    return {"scale": array(module.weight), "bias": array(module.bias)}


def positions(module):
    mapped = {f"kernel_{i}": array(c.weight).transpose(2, 1, 0) for i, c in enumerate(module.convs)}
    return mapped | {f"bias_{i}": array(c.bias) for i, c in enumerate(module.convs)}


def attention(module):
    split = (3, HEADS, WIDTH // HEADS)
    bias = jnp.zeros(3 * WIDTH) if module.qkv.bias is None else array(module.qkv.bias)
    out = linear(module.proj)
    return {
        "qkv_kernel": array(module.qkv.weight).T.reshape(WIDTH, *split),
        "qkv_bias": bias.reshape(split),
        "out": {**out, "kernel": out["kernel"].reshape(HEADS, WIDTH // HEADS, WIDTH)},
    }


def layer(module):
    return {
        "norm_attention": norm(module.layer_norm),
        "norm_feed_forward": norm(module.final_layer_norm),
        "attention": attention(module.attention),
        "up": linear(module.feed_forward.intermediate_dense),
        "down": linear(module.feed_forward.output_dense),
    }


def encoder(model, transformer, kind):
    """Our encoder parameters; in spidr student and teacher share the input projection."""
    return {
        "mask_vector": array(model.mask_embedding),
        "norm_input": norm(model.feature_projection.layer_norm),
        "project": linear(model.feature_projection.projection),
        "positions": positions(transformer.pos_conv_embed),
        "layers": jax.tree.map(lambda *a: jnp.stack(a), *map(layer, transformer.layers)),
        {"pre": "norm_final", "post": "norm_embedding"}[kind]: norm(transformer.layer_norm),
    }


def heads(model):
    mapped = [linear(head[0]) for head in model.heads]
    return jax.tree.map(lambda *a: jnp.stack(a), *mapped)


def books(model):
    return {
        "sums": jnp.stack([array(book.codebook) for book in model.codebooks]),
        "counts": jnp.stack([array(book.counts) for book in model.codebooks]),
    }


def build(kind, cls="DinoSR"):
    """A spidr model in training mode, with random weights and no dropout, and our config."""
    torch.manual_seed(0)
    model = getattr(spidr, cls)(
        getattr(spidr_config, cls + "Config")(
            extractor_conv_layer_config=[(CHANNELS, 10, 5)],
            encoder_embed_dim=WIDTH,
            encoder_num_layers=3,
            encoder_num_heads=HEADS,
            encoder_ff_interm_features=FFN,
            encoder_attention_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_drop=0.0,
            encoder_layer_norm_first=kind == "pre",
            encoder_qkv_bias=kind == "pre",
            codebook_size=WORDS,
            num_codebooks=BOOKS,
        )
    )
    model.feature_extractor = torch.nn.Identity()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for book in model.codebooks:
            book.counts.uniform_(0.5, 2.0)
    config = default_config("tiny")
    config.train.steps = 400_000  # the length of run for which spidr's decays are set
    config.model.compute_dtype = "float32"
    config.model.remat = "none"
    config.model.encoder.update(
        layers=3, width=WIDTH, heads=HEADS, ffn=FFN, norm=kind, position_groups=16
    )
    config.model.decoder.update(width=16, heads=2, ffn=16)
    config.distillation.update(top_layers=BOOKS, codewords=WORDS, prediction=cls.lower())
    return model.train(), from_dict(config)


def frames(seed=0):
    return np.random.default_rng(seed).normal(size=(ROWS, FRAMES, CHANNELS)).astype(np.float32)


def hidden():
    """Hidden frames, the same number in each row: (indices for spidr, mask for us)."""
    rng = np.random.default_rng(1)
    index = np.stack([np.sort(rng.permutation(FRAMES)[:23]) for _ in range(ROWS)])
    mask = np.zeros((ROWS, FRAMES), bool)
    np.put_along_axis(mask, index, True, axis=1)
    return torch.from_numpy(index), jnp.asarray(mask)


def padded():
    """The frame mask of rows of 40, 31 and 12 frames: (for spidr, for us)."""
    mask = np.arange(FRAMES) < np.array([[FRAMES], [31], [12]])
    return torch.from_numpy(mask)[:, None, None], jnp.asarray(mask)


def assert_close_where_real(ours, theirs, mask, tolerance=1e-4):
    theirs = theirs.detach().numpy()
    mask = np.broadcast_to(np.asarray(mask)[..., None], theirs.shape)
    np.testing.assert_allclose(ours[mask], theirs[mask], rtol=tolerance, atol=tolerance)


def test_convolutional_positions():
    model, _ = build("post")
    x = np.random.default_rng(0).normal(size=(ROWS, FRAMES, WIDTH)).astype(np.float32)
    their_mask, mask = padded()
    assert model.student.pos_conv_embed.convs[0].kernel_size == (19,)  # 95 over 5 layers
    module = layers.ConvolutionalPositions(5, 19, 16, jnp.float32)
    ours = module.apply({"params": positions(model.student.pos_conv_embed)}, x, mask)
    theirs = model.student.pos_conv_embed(tensor(x), their_mask)
    assert_close_where_real(ours, theirs, mask)


@pytest.mark.parametrize("kind", NORMS)
def test_attention_and_layer(kind):
    model, config = build(kind)
    x = np.random.default_rng(0).normal(size=(ROWS, FRAMES, WIDTH)).astype(np.float32)
    their_mask, mask = padded()
    theirs = model.student.layers[1]
    module = layers.SelfAttention(HEADS, "none", 0.0, jnp.float32)
    ours = module.apply({"params": attention(theirs.attention)}, x, mask, key=None)
    assert_close_where_real(ours, theirs.attention(tensor(x), their_mask), mask)

    module = EncoderLayer(config.model.encoder, jnp.float32, "auto")
    state, (_, feed_forward) = module.apply({"params": layer(theirs)}, x, None, mask)
    their_state, their_feed_forward = theirs(tensor(x), their_mask)
    assert_close_where_real(state, their_state, mask)
    assert_close_where_real(feed_forward, their_feed_forward, mask)


@pytest.mark.parametrize("kind", NORMS)
def test_whole_encoder_with_padding(kind):
    model, config = build(kind)
    x = frames()
    their_mask, mask = padded()
    params = encoder(model, model.student, kind)
    ours = uniwav.encoder_module(config).apply({"params": params}, x, mask)
    features = model.feature_projection(tensor(x))
    assert_close_where_real(ours.final, model.student(features, their_mask), mask)
    for before_residual, stack in ((True, ours.feed_forward), (False, ours.states)):
        theirs = model.student.get_intermediate_outputs(
            features, their_mask, before_residual=before_residual
        )
        for a, b in zip(stack, theirs):
            assert_close_where_real(a, b, mask)


def test_instance_norm():
    x = 3 + 2 * np.random.default_rng(0).normal(size=(1, ROWS, FRAMES, WIDTH)).astype(np.float32)
    ours, _ = quantizer.instance_norm(jnp.asarray(x), jnp.ones((ROWS, FRAMES), bool))
    theirs = torch.nn.functional.instance_norm(tensor(x[0]).transpose(1, 2)).transpose(1, 2)
    np.testing.assert_allclose(ours[0], theirs.numpy(), atol=1e-5)


def test_codebook_assignment_and_update():
    model, _ = build("post")
    _, mask = hidden()
    rng = np.random.default_rng(2)
    # Targets lie around few centres, so that some codewords are not used.
    centres = rng.normal(size=(5, WIDTH))[rng.integers(0, 5, (BOOKS, ROWS, FRAMES))]
    targets = (centres + 0.1 * rng.normal(size=centres.shape)).astype(np.float32)
    before = books(model)
    codes = quantizer.assign(before, jnp.asarray(targets))
    one_hot = model.codebooks.quantize([tensor(t[np.asarray(mask)]) for t in targets])
    for k in range(BOOKS):
        np.testing.assert_array_equal(codes[k][mask], one_hot[k].argmax(1).numpy())
    batch = quantizer.statistics(jnp.asarray(targets), codes, mask, WORDS)
    for k in range(BOOKS):
        np.testing.assert_array_equal(batch["counts"][k], one_hot[k].sum(0).numpy())
    after, theirs = quantizer.update(before, batch, 0.9), books(model)
    assert (np.asarray(batch["counts"]) == 0).any()
    for name in after:
        np.testing.assert_allclose(after[name], theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", NORMS)
def test_dinosr_loss_perplexities_codebooks_and_teacher(kind):
    model, config = build(kind)
    x, (index, mask) = frames(), hidden()
    _, channels = FRAMES, CHANNELS
    shapes = jax.eval_shape(lambda: uniwav.init(jax.random.key(0), config, channels))
    params = jax.tree.map(lambda a: jnp.zeros(a.shape), shapes)
    params |= {"encoder": encoder(model, model.student, kind), "heads": heads(model)}
    state = {"teacher": encoder(model, model.teacher, kind), "codebooks": books(model)}
    assert jax.tree.structure(params) == jax.tree.structure(shapes)
    draws = pretrain.Draws(mask, jnp.full(ROWS, 0.5), jnp.zeros_like(x), jnp.zeros(ROWS, bool))
    example = Example(jnp.asarray(x), jnp.full(ROWS, FRAMES, jnp.int32))

    @jax.jit
    def ours(params, state):
        weight = pretrain.weight(example, draws)
        variables = Variables(params, {}, state, {})
        _, sums = pretrain.loss(variables, example, draws, weight, None, config)
        return sums, pretrain.metrics(sums, jnp.int32(0), config)

    sums, metrics = ours(params, state)
    losses, theirs = model(tensor(x), mask_indices=index)
    np.testing.assert_allclose(metrics["loss_encoder"], losses.mean().item(), rtol=1e-5)
    np.testing.assert_allclose(metrics["target_perplexity"], theirs["target_ppl"], rtol=1e-4)
    np.testing.assert_allclose(metrics["prediction_perplexity"], theirs["pred_ppl"], rtol=1e-4)

    # After the loss, codebooks are updated by this batch, and the teacher at step 100 by the
    # student, whose parameters (its projection too) an optimizer has changed in between.
    with torch.no_grad():
        for part in (model.student, model.feature_projection):
            for parameter in part.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    params |= {"encoder": encoder(model, model.student, kind)}
    after = pretrain.update(Variables(params, {}, state, {}), sums, jnp.int32(100), config)
    for name, expected in books(model).items():
        np.testing.assert_allclose(after["codebooks"][name], expected, rtol=1e-5, atol=1e-5)
    model.update_ema(100)
    # The whole teacher agrees: in spidr both networks share one projection, and the teacher copies
    # the positions. The mask vector is not compared, because the teacher reads unmasked input.
    theirs, ours = encoder(model, model.teacher, kind), after["teacher"]
    assert ours.keys() == theirs.keys()
    for part in sorted(ours.keys() - {"mask_vector"}):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            ours[part],
            theirs[part],
        )
    # The teacher's outputs, from which the targets of the next step are made, agree as well.
    everywhere = jnp.ones((ROWS, FRAMES), bool)
    target, _ = uniwav.targets(ours, jnp.asarray(x), everywhere, config)
    features = model.feature_projection(tensor(x))
    fed = model.teacher.get_intermediate_outputs(features, None)[-BOOKS:]
    for a, b in zip(target, fed):
        b = torch.nn.functional.instance_norm(b.transpose(1, 2)).transpose(1, 2)
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cls", ["DinoSR", "SpidR"])
@pytest.mark.parametrize("kind", NORMS)
def test_codes(kind, cls):
    """Our codes and those of the exported PyTorch model agree with `get_codebooks`."""
    from uniwav_jax.export import names
    from uniwav_jax.export.torch import uniwav_layers, uniwav_model

    model, config = build(kind, cls)
    model.eval()
    x = frames()
    everywhere = np.ones((ROWS, FRAMES), bool)
    expected = torch.stack([c.argmax(-1) for c in model.get_codebooks(tensor(x))[-BOOKS:]])
    params = {"encoder": encoder(model, model.student, kind), "heads": heads(model)}
    apply = jax.jit(uniwav.encoder_module(config).apply)
    encoded = apply({"params": params["encoder"]}, x, everywhere)
    ours = uniwav.codes(params["heads"], encoded, config)
    np.testing.assert_array_equal(ours, expected)
    assert len(np.unique(ours)) > 2
    # The PyTorch model of the same parameters.
    tensors = {n: tensor(t) for n, t in names.to_torch(jax.tree.map(np.asarray, params)).items()}
    exported = torch.nn.Module()
    exported.encoder = uniwav_layers.Encoder(vars(config.model.encoder), CHANNELS)
    exported.heads = uniwav_model.Heads(vars(config.distillation), WIDTH)
    exported.load_state_dict(tensors)
    with torch.inference_mode():
        their_encoded = exported.encoder(tensor(x), tensor(everywhere))
        np.testing.assert_array_equal(exported.heads(their_encoded).argmax(-1), expected)


def test_spidr_loss():
    """SpidR's heads read the student's feed-forward outputs of the predicted layers."""
    model, config = build("post", "SpidR")
    x, (index, mask) = frames(), hidden()
    everywhere = jnp.ones((ROWS, FRAMES), bool)
    module = uniwav.encoder_module(config)
    student = module.apply(
        {"params": encoder(model, model.student, "post")}, x, everywhere, span_mask_BxT=mask
    )
    seen = module.apply({"params": encoder(model, model.teacher, "post")}, x, everywhere)
    targets, _ = quantizer.instance_norm(seen.feed_forward[-BOOKS:], everywhere)
    codes = quantizer.assign(books(model), targets)
    logits = uniwav.predict_codes(heads(model), student, config)
    loss = self_distillation.cross_entropy_sum(logits, codes, mask) / mask.sum()
    losses, _ = model(tensor(x), mask_indices=index)
    np.testing.assert_allclose(loss, losses.mean().item(), rtol=1e-5)


@pytest.mark.parametrize("step", [0, 1, 5_000, 29_999, 30_000, 150_000, 199_999, 200_000, 399_999])
def test_teacher_schedules(step):
    plain = DistillationConfig(teacher_schedule="dinosr")
    model = dinosr.DinoSR(
        spidr_config.DinoSRConfig(encoder_num_layers=1, num_codebooks=1, encoder_embed_dim=48)
    )
    ours = teacher.decay_at(jnp.int32(step), plain, 400_000)
    np.testing.assert_allclose(ours, model.ema_scheduler(step), atol=1e-7)


@pytest.mark.parametrize("step", [0, 1, 5_000, 30_000, 100_000, 200_000])
def test_spidr_teacher_schedule(step):
    from spidr.models.spidr import exp_ema_scheduler

    defaults = spidr_config.SpidRConfig()
    theirs = exp_ema_scheduler(
        step, defaults.ema_start_decay, defaults.ema_timescale, defaults.ema_threshold
    )
    plain = DistillationConfig(teacher_schedule="spidr")
    np.testing.assert_allclose(teacher.decay_at(jnp.int32(step), plain, 400_000), theirs, atol=1e-7)
