"""The configuration: frozen dataclasses with defaults, made once from a ConfigDict.

Comments give the source of each number: a section of the UniWav paper (arXiv 2503.00733), "DinoSR"
(arXiv 2305.10005), "SpidR", or "ours" where no publication states it.
"""

import dataclasses
import difflib
import json
import operator
import typing
from typing import Any

import ml_collections

from uniwav_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where speech comes from and how it is cut into batches."""

    manifest: str = ""  # manifest.tsv, or a folder made by tools/pack_array_record; commas: several
    weights: str = ""  # share of each corpus in seconds of audio, "0.7,0.3"; empty: natural shares
    eval_manifest: str = ""  # held-out speech; empty: no evaluation
    batch_seconds: float = 3800.0  # global batch: 60.8M samples at 16 kHz = 63 min (DinoSR)
    buckets: tuple[float, ...] = (4.0, 8.0, 12.0, 16.0, 20.0)  # seconds; crops 2-20 s (paper)
    min_seconds: float = 2.0  # shorter clips are left out and counted (paper: crops 2-20 s)
    row_multiple: int = (
        8  # rows of every batch are a multiple of this; the mesh must divide it (ours)
    )
    workers: int = 0  # reader processes per host; 0: threads only (ours)
    threads: int = 4  # reader threads per process (ours)
    prefetch: int = 4  # batches read ahead per process (ours)
    max_bad_fraction: float = 0.02  # unreadable clips above this share stop the run (ours)


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """Surface features: what the encoder reads and the decoder generates (paper, section 3)."""

    kind: str = "log_mel"
    sample_rate: int = 16000
    hop: int = 320  # 50 frames per second (paper)
    mel_bands: int = 80  # paper, appendix
    window: int = 1024  # ours
    mel_low: float = 0.0  # Hz, ours
    mel_high: float = 8000.0  # Hz, ours
    stats: str = ""  # JSON made by tools/measure_stats.py; empty: measured at start-up
    stats_seconds: float = 1800.0  # audio measured at start-up when `stats` is empty (ours)


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Transformer encoder (method section 2)."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    ffn: int = 3072
    norm: str = "pre"  # "pre", or "post" as DinoSR base
    dropout: float = 0.1  # residual dropout (DinoSR base)
    attention_dropout: float = 0.1  # DinoSR base
    layer_drop: float = 0.05  # DinoSR base
    position_convolutions: int = 5  # DinoSR
    position_kernel: int = 19  # DinoSR
    position_groups: int = 16  # DinoSR


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Flow Matching decoder (method section 5)."""

    layers: int = 6
    width: int = 768
    heads: int = 12
    ffn: int = 2048  # GEGLU hidden width; 8/3 of the width (ours)
    position_kernel: int = 31  # depthwise convolution, SpeechFlow / Voicebox
    positions: str = "rotary"  # or "alibi", symmetric, as SpeechFlow
    dropout: float = 0.0  # ours


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The two networks and how they are computed."""

    size: str = "base"  # name of the preset the sizes came from; informative
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    compute_dtype: str = "bfloat16"  # matmuls; norms, softmax, losses, teacher weights stay float32
    remat: str = "full"  # "none", "dots" (keep matmul outputs) or "full" (keep layer inputs)


@dataclasses.dataclass(frozen=True)
class MaskingConfig:
    """Span masking (method section 3)."""

    probability: float = 0.8  # DinoSR
    length: int = 10  # frames per span, DinoSR


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """Self-distillation with online clustering (method section 4)."""

    top_layers: int = 8  # K: 8 of 12 (DinoSR base); 10 of 24 for large
    codewords: int = 256  # V, DinoSR
    codebook_decay: float = 0.9  # DinoSR
    codebook_init: str = "noise"  # DinoSR; "frames": of the first batch, for small batches (ours)
    prediction: str = "spidr"  # "dinosr": all heads on the last layer; "spidr": head l on layer l
    teacher_schedule: str = "dinosr"  # or "spidr": 1 - 0.001 exp(-step / 20000), never stops
    teacher_decay_start: float = 0.999  # DinoSR
    teacher_decay_end: float = 0.9999  # DinoSR
    teacher_decay_steps: int = 30000  # DinoSR
    teacher_stop: float = 0.5  # share of the run after which the teacher is frozen (DinoSR)
    teacher_positions: str = "copied"  # from the student (DinoSR); "averaged" like the rest (ours)


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """Flow Matching (method section 5)."""

    weight: float = 1.0  # lambda: L = L_enc + lambda L_dec; ours, the paper finds it insensitive
    sigma: float = 1e-5  # s in x_t = (1 - (1-s)t) x0 + t x1
    condition_drop: float = 0.1  # rows whose z becomes the null vector
    context: bool = False  # also show the decoder the visible frames (ours, off)
    ema_decay: float = 0.9999  # weights kept for sampling (ours)
    guidance: float = 0.5  # a in v = (1+a) v_cond - a v_null, for the evaluation samples
    sample_steps: int = 16  # solver steps (ours)
    solver: str = "midpoint"  # or "euler"


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW with a tri-stage schedule (method section 6)."""

    lr: float = 5e-4  # peak: base 5e-4, large 2e-4 (paper)
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    weight_decay: float = 0.01  # not on norms, biases and embeddings
    clip: float = 1.0  # global norm
    warmup: float = 0.03  # shares of the run: warm-up, hold, decay (DinoSR)
    hold: float = 0.47
    decay: float = 0.5
    final_scale: float = 0.01  # last lr / peak lr (ours)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    steps: int = 600_000  # paper
    accumulate: int = 1  # microbatches per update
    log_every: int = 50
    max_skipped: int = 20  # non-finite steps in a row that stop the run (ours)
    profile_at: int = -1  # first of five steps recorded with jax.profiler; -1: none


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices per mesh axis; one axis may be -1: all devices that are left."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    slices: int = 1  # multi-slice TPU: the data axis spans slices


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Orbax checkpoints under workdir/checkpoints."""

    every: int = 1000
    keep: int = 2  # the newest ones
    keep_every: int = 50_000  # and every so many steps, for good; 0: none


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Held-out losses and samples."""

    every: int = 5000
    batches: int = 8  # held-out batches measured
    sample_every: int = 20_000  # pictures and wavs; 0: none
    samples: int = 4  # clips rendered


@dataclasses.dataclass(frozen=True)
class HealthConfig:
    """Alarms (ours; bands from DinoSR's and SpidR's published curves)."""

    enabled: bool = True
    grace_steps: int = 2000  # no alarm before this step
    min_target_perplexity: float = 10.0  # of 256 codewords; below: clusters have collapsed
    min_encoder_loss: float = 0.3  # nats; about 0.2 means that the teacher collapsed
    min_target_variance: float = 1e-6  # of a target layer over time, before normalisation
    max_grad_norm: float = 1000.0
    max_input_wait: float = 0.5  # share of a step spent waiting for data, warning only
    patience: int = 10  # alarms in a row before the run stops


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run is made of. `validate` checks it, `to_json` stores it."""

    task: str = "pretrain"
    seed: int = 0
    init_from: str = ""  # workdir or checkpoint folder of another run: start from its parameters
    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = ModelConfig()
    masking: MaskingConfig = MaskingConfig()
    distillation: DistillationConfig = DistillationConfig()
    flow: FlowConfig = FlowConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    health: HealthConfig = HealthConfig()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)


# name: (encoder layers, width, heads, ffn), (decoder ...), K, dropout as DinoSR base
SIZES = {
    "tiny": ((4, 160, 4, 640), (2, 128, 4, 340), 3, False),  # ours: CPU demo
    "small": ((12, 384, 6, 1536), (4, 384, 6, 1024), 8, False),  # ours
    "base": ((12, 768, 12, 3072), (6, 768, 12, 2048), 8, True),  # paper; dropout as DinoSR base
    "large": ((24, 1024, 16, 4096), (12, 1024, 16, 2816), 10, False),  # paper
}


def default_config(size: str = "base") -> ml_collections.ConfigDict:
    """A locked ConfigDict of all fields with the sizes of `size` (a key of `SIZES`) filled in."""
    if size not in SIZES:
        raise UserError(f"unknown model size '{size}'; choose one of {', '.join(SIZES)}")
    encoder, decoder, top_layers, dropout = SIZES[size]
    config = ml_collections.ConfigDict(dataclasses.asdict(Config()))
    config.model.size = size
    for part, sizes in ((config.model.encoder, encoder), (config.model.decoder, decoder)):
        part.layers, part.width, part.heads, part.ffn = sizes
    config.distillation.top_layers = top_layers
    if not dropout:
        config.model.encoder.update(dropout=0.0, attention_dropout=0.0, layer_drop=0.0)
    if size == "large":
        config.optim.lr = 2e-4
    return config.lock()


def from_dict(values: Any) -> Config:
    """Build and validate a `Config` from a ConfigDict or a plain nested dict.

    Raises:
        UserError: an unknown key, a value of the wrong type or an impossible combination.
    """
    if isinstance(values, ml_collections.ConfigDict):
        values = values.to_dict()
    config = _build(Config, values, "config")
    validate(config)
    return config


def _build(cls: type, values: dict[str, Any], path: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise UserError(f"unknown config key '{path}.{key}'" + did_you_mean(key, fields))
    hints = typing.get_type_hints(cls)
    return cls(**{k: _cast(hints[k], v, f"{path}.{k}") for k, v in values.items()})


def did_you_mean(key: str, known: typing.Iterable[str]) -> str:
    """'; did you mean ...?' with the nearest known names, or the list of them."""
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=2, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; known here: {', '.join(known)}"


def _cast(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise UserError(f"{path} must be a group of fields, got {value!r}")
        return _build(hint, value, path)
    if typing.get_origin(hint) is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_cast(typing.get_args(hint)[0], item, path) for item in items)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{path} must be {hint.__name__}, got {value!r}")
    return value


POSITIVE = """model.encoder.layers model.encoder.width model.encoder.heads model.encoder.ffn
model.encoder.position_groups model.encoder.position_kernel model.encoder.position_convolutions
model.decoder.layers model.decoder.width model.decoder.heads model.decoder.ffn
model.decoder.position_kernel features.sample_rate features.hop features.mel_bands features.window
features.stats_seconds masking.length distillation.codewords flow.sample_steps optim.lr optim.eps
optim.clip data.row_multiple data.max_bad_fraction train.steps train.accumulate train.log_every
train.max_skipped mesh.slices checkpoint.every checkpoint.keep evaluate.every evaluate.batches
evaluate.samples health.patience""".split()
SHARES = """model.encoder.dropout model.encoder.attention_dropout model.decoder.dropout
distillation.codebook_decay flow.ema_decay optim.beta1 optim.beta2""".split()  # 1 divides by zero
PROBABILITIES = """model.encoder.layer_drop flow.condition_drop distillation.teacher_decay_start
distillation.teacher_decay_end optim.warmup optim.hold optim.decay""".split()


def validate(config: Config) -> None:
    """Check values and combinations; raise a `UserError` that names the first field at fault."""

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise UserError("config." + message)

    def one_of(path: str, value: str, options: tuple[str, ...]) -> None:
        require(value in options, f"{path} must be one of {', '.join(options)}; got '{value}'")

    encoder, decoder = config.model.encoder, config.model.decoder
    one_of("task", config.task, ("pretrain",))
    one_of("features.kind", config.features.kind, ("log_mel",))
    one_of("model.encoder.norm", encoder.norm, ("pre", "post"))
    one_of("model.decoder.positions", decoder.positions, ("rotary", "alibi"))
    one_of("model.remat", config.model.remat, ("none", "dots", "full"))
    one_of("model.compute_dtype", config.model.compute_dtype, ("float32", "bfloat16"))
    one_of("distillation.prediction", config.distillation.prediction, ("dinosr", "spidr"))
    one_of(
        "distillation.teacher_schedule", config.distillation.teacher_schedule, ("dinosr", "spidr")
    )
    one_of("distillation.codebook_init", config.distillation.codebook_init, ("noise", "frames"))
    one_of(
        "distillation.teacher_positions",
        config.distillation.teacher_positions,
        ("copied", "averaged"),
    )
    one_of("flow.solver", config.flow.solver, ("midpoint", "euler"))
    for path in POSITIVE:
        value = operator.attrgetter(path)(config)
        require(value > 0, f"{path} must be positive; got {value}")  # not NaN either
    for path in SHARES:
        value = operator.attrgetter(path)(config)
        require(0 <= value < 1, f"{path} must be at least 0 and below 1; got {value}")
    for path in PROBABILITIES:
        value = operator.attrgetter(path)(config)
        require(0 <= value <= 1, f"{path} must lie between 0 and 1; got {value}")
    for name, part in (("encoder", encoder), ("decoder", decoder)):
        require(part.width % part.heads == 0, f"model.{name}.width must divide by its heads")
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
    buckets = config.data.buckets
    require(
        bool(buckets) and list(buckets) == sorted(set(buckets)) and buckets[0] > 0,
        f"data.buckets must be rising positive seconds; got {buckets}",
    )
    require(
        0 <= config.data.min_seconds <= buckets[-1],
        f"data.min_seconds must lie between 0 and the longest bucket ({buckets[-1]} s)",
    )
    require(
        config.data.batch_seconds >= buckets[-1] * config.data.row_multiple,
        f"data.batch_seconds ({config.data.batch_seconds:g}) must hold data.row_multiple"
        f" ({config.data.row_multiple}) rows of the longest bucket ({buckets[-1]:g} s); raise it,"
        " or shorten data.buckets or data.row_multiple",
    )
    require(
        config.data.row_multiple % config.train.accumulate == 0,
        f"data.row_multiple ({config.data.row_multiple}) must be a multiple of train.accumulate"
        f" ({config.train.accumulate})",
    )
    stages = config.optim.warmup + config.optim.hold + config.optim.decay
    require(abs(stages - 1) < 1e-6, f"optim.warmup + hold + decay must be 1; got {stages:g}")
    sizes = (config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    require(
        sum(size == -1 for size in sizes) <= 1 and all(size == -1 or size > 0 for size in sizes),
        f"mesh.data, mesh.fsdp, mesh.tensor must be positive, at most one -1; got {sizes}",
    )
