"""Checks of a configuration's values and of their combinations."""

import operator

from uniwav_jax.config.fields import Config
from uniwav_jax.errors import UserError

POSITIVE = """model.encoder.layers model.encoder.width model.encoder.heads model.encoder.ffn
model.encoder.position_groups model.encoder.position_kernel model.encoder.position_convolutions
model.decoder.layers model.decoder.width model.decoder.heads model.decoder.ffn
model.decoder.position_kernel features.sample_rate features.hop features.mel_bands features.window
features.stats_seconds masking.length distillation.codewords distillation.teacher_horizon_start
distillation.teacher_horizon_end flow.sample_steps optim.lr optim.eps data.row_multiple
data.max_bad_fraction train.steps train.accumulate train.log_every train.max_skipped mesh.slices
mesh.wait_seconds checkpoint.every checkpoint.keep evaluate.every evaluate.samples health.patience
asr.time_length asr.channel_length codec.noise codec.discriminator_filters""".split()
SHARES = """model.encoder.dropout model.encoder.attention_dropout model.decoder.dropout
model.encoder.activation_dropout
distillation.codebook_decay flow.ema_decay optim.beta1 optim.beta2 codec.codebook_decay
codec.balance_decay codec.ema_decay""".split()  # 1 divides by zero
TASKS = ("pretrain", "asr", "codec", "tts", "tokenizer")
KERNELS = ("auto", "xla", "chunk", "cudnn", "splash", "pallas")
PROBABILITIES = """model.encoder.layer_drop flow.condition_drop flow.start distillation.mfcc_until
distillation.codebook_dead distillation.teacher_rise distillation.teacher_stop
optim.warmup optim.hold optim.decay asr.time_mask asr.channel_mask
health.max_skipped_share health.max_blank_share health.min_codebook_use
health.max_dead_channels""".split()


def validate(config: Config) -> None:
    """Check values and combinations; raise a `UserError` that names the first field at fault."""

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise UserError("config." + message)

    def one_of(path: str, value: str, options: tuple[str, ...]) -> None:
        require(value in options, f"{path} must be one of {', '.join(options)}; got '{value}'")

    encoder, decoder = config.model.encoder, config.model.decoder
    require(
        config.task in TASKS or ":" in config.task,
        f"task must be one of {', '.join(TASKS)}, or module:VALUE; got '{config.task}'",
    )
    one_of("features.kind", config.features.kind, ("log_mel", "codec", "waveform"))
    require(
        config.features.kind != "waveform" or config.task not in ("pretrain", "asr"),
        f"features.kind must not be waveform for task {config.task}",
    )
    require(
        config.features.kind != "codec" or bool(config.features.codec),
        "features.codec must name a codec folder if features.kind is codec",
    )
    one_of("model.encoder.norm", encoder.norm, ("pre", "post"))
    one_of("model.decoder.positions", decoder.positions, ("rotary", "alibi"))
    one_of("model.attention", config.model.attention, KERNELS)
    require(
        config.model.attention not in ("cudnn", "splash")
        or (encoder.attention_dropout == 0 and decoder.positions != "alibi"),
        f"model.attention={config.model.attention} supports neither ALiBi nor attention dropout;"
        " choose auto, which uses it where possible, or set model.encoder.attention_dropout=0 and"
        " model.decoder.positions=rotary",
    )
    one_of("model.remat", config.model.remat, ("none", "dots", "attention", "full"))
    one_of("model.compute_dtype", config.model.compute_dtype, ("float32", "bfloat16"))
    one_of("distillation.prediction", config.distillation.prediction, ("dinosr", "spidr"))
    one_of(
        "distillation.teacher_schedule", config.distillation.teacher_schedule, ("dinosr", "spidr")
    )
    one_of("distillation.codebook_init", config.distillation.codebook_init, ("noise", "frames"))
    one_of("distillation.teacher_input", config.distillation.teacher_input, ("shared", "averaged"))
    one_of("flow.solver", config.flow.solver, ("midpoint", "euler"))
    one_of("flow.frames", config.flow.frames, ("masked", "all"))
    for path in POSITIVE:
        value = operator.attrgetter(path)(config)
        require(value > 0, f"{path} must be positive; got {value}")  # false for NaN too
    for path in SHARES:
        value = operator.attrgetter(path)(config)
        require(0 <= value < 1, f"{path} must be at least 0 and below 1; got {value}")
    for path in PROBABILITIES:
        value = operator.attrgetter(path)(config)
        require(0 <= value <= 1, f"{path} must lie between 0 and 1; got {value}")
    for name, part in (("encoder", encoder), ("decoder", decoder)):
        require(part.width % part.heads == 0, f"model.{name}.width must be a multiple of heads")
    require(
        decoder.positions != "rotary" or decoder.width // decoder.heads % 2 == 0,
        "model.decoder.width / heads must be even for rotary positions",
    )
    require(
        encoder.width % encoder.position_groups == 0,
        f"model.encoder.position_groups ({encoder.position_groups}) must divide the width"
        f" ({encoder.width})",
    )
    require(encoder.position_kernel % 2 == 1, "model.encoder.position_kernel must be odd")
    require(decoder.position_kernel % 2 == 1, "model.decoder.position_kernel must be odd")
    require(
        decoder.layers % 2 == 0, "model.decoder.layers must be even: U-Net skips pair the layers"
    )
    require(
        1 <= config.distillation.top_layers <= encoder.layers,
        f"distillation.top_layers must be between 1 and model.encoder.layers ({encoder.layers})",
    )
    require(0 < config.masking.probability <= 1, "masking.probability must be in (0, 1]")
    for name in ("mfcc_weight", "mfcc_visible"):
        value = getattr(config.distillation, name)
        require(value >= 0, f"distillation.{name} must not be negative; got {value}")
    require(config.flow.weight >= 0, f"flow.weight must not be negative; got {config.flow.weight}")
    require(
        bool(config.init_from) or not config.flow.encoder_frozen,
        "flow.encoder_frozen keeps the encoder of another run: name the run in init_from",
    )
    require(config.optim.clip >= 0, f"optim.clip must be positive or 0; got {config.optim.clip}")
    require(
        bool(config.init_from) or not config.init_parts,
        "init_parts names parts of another run: name the run in init_from",
    )
    buckets = config.data.buckets
    require(
        bool(buckets) and list(buckets) == sorted(set(buckets)) and buckets[0] > 0,
        f"data.buckets must be positive seconds in increasing order; got {buckets}",
    )
    require(
        0 <= config.data.min_seconds <= buckets[-1],
        f"data.min_seconds must lie between 0 and the longest bucket ({buckets[-1]} s)",
    )
    speeds = config.data.speeds
    require(
        bool(speeds) and all(0.5 <= s <= 2 for s in speeds) and len(set(speeds)) == len(speeds),
        f"data.speeds must be different factors between 0.5 and 2; got {speeds}",
    )
    require(
        config.data.batch_seconds >= buckets[-1] * config.data.row_multiple,
        f"data.batch_seconds ({config.data.batch_seconds:g}) must have room for data.row_multiple"
        f" ({config.data.row_multiple}) rows of the longest bucket ({buckets[-1]:g} s); raise it,"
        " or lower data.buckets or data.row_multiple",
    )
    require(
        config.data.row_multiple % config.train.accumulate == 0,
        f"data.row_multiple ({config.data.row_multiple}) must be a multiple of train.accumulate"
        f" ({config.train.accumulate})",
    )
    options = getattr(config, config.task, config.options)
    if hasattr(options, "validate"):
        options.validate(config, require)
    require(
        config.evaluate.batches >= 0,
        f"evaluate.batches must be positive, or 0 for all; got {config.evaluate.batches}",
    )
    stages = config.optim.warmup + config.optim.hold + config.optim.decay
    require(
        abs(stages - 1) < 1e-6,
        f"optim.warmup + optim.hold + optim.decay must be 1; got {stages:g}",
    )
    most = config.mesh.fsdp_most
    require(most >= 0, f"mesh.fsdp_most must be positive or 0; got {most}")
    sizes = (config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    require(
        sum(size == -1 for size in sizes) <= 1 and all(size == -1 or size > 0 for size in sizes),
        "mesh.data, mesh.fsdp and mesh.tensor must be positive, and at most one of them may be -1;"
        f" got {sizes}",
    )
