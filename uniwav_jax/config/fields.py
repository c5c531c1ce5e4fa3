"""The configuration's fields: frozen dataclasses with defaults.

Comments give the source of a number: the UniWav paper (arXiv 2503.00733), DinoSR (arXiv 2305.10005
and its published recipe), SpidR, EnCodec, or fairseq's recipes for wav2vec 2.0. Values without a
source are ours.
"""

import dataclasses
import json
from typing import Any

from uniwav_jax.config.task_fields import AsrConfig, CodecConfig, TextConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where speech comes from and how it is cut into batches."""

    manifest: str = ""  # manifest.tsv, or a folder of 'uniwav data pack'; commas: several
    weights: str = ""  # share of each corpus in seconds of audio, "0.7,0.3"; empty: natural shares
    eval_manifest: str = ""  # held-out speech; empty: no evaluation
    batch_seconds: float = 3800.0  # global batch: 60.8M samples at 16 kHz = 63 min (DinoSR)
    buckets: tuple[float, ...] = (4.0, 8.0, 12.0, 16.0, 20.0)  # seconds; crops of 2-20 s: DinoSR
    min_seconds: float = 2.0  # shorter clips are left out and counted (DinoSR)
    row_multiple: int = 8  # rows of every batch are a multiple of this; the mesh must divide it
    workers: int = 0  # reader processes per host; 0: threads only
    threads: int = 4  # reader threads per process
    prefetch: int = 4  # batches read ahead per process
    max_bad_fraction: float = 0.02  # unreadable clips above this share stop the run


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """Surface features: what the encoder reads and the decoder generates (paper, section 3)."""

    kind: str = "log_mel"  # or "codec", or "waveform" for task=codec
    codec: str = ""  # folder of 'uniwav import codec' or 'uniwav export', for kind=codec
    sample_rate: int = 16000  # paper
    hop: int = 320  # 50 frames per second (paper)
    mel_bands: int = 80
    window: int = 1024
    mel_low: float = 0.0  # Hz
    mel_high: float = 8000.0  # Hz
    stats: str = ""  # JSON of 'uniwav data stats'; empty: measured at start-up
    stats_seconds: float = 1800.0  # audio measured at start-up when `stats` is empty


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
    activation_dropout: float = 0.0  # inside the feed-forward, after the activation; DinoSR base
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
    ffn: int = 2048  # GEGLU hidden width; 8/3 of the width
    position_kernel: int = 31  # depthwise convolution, SpeechFlow / Voicebox
    positions: str = "rotary"  # or "alibi", symmetric, as SpeechFlow
    dropout: float = 0.0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The two networks and how they are computed."""

    size: str = "base"  # name of the preset the sizes came from; informative
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    compute_dtype: str = "bfloat16"  # matmuls; norms, softmax, losses, teacher weights stay float32
    attention: str = "auto"  # or "xla", "chunk", "cudnn" (GPU), "splash", "pallas" (TPU)
    # What the backward pass computes again: "full" all but the layers' inputs, "attention" all but
    # these and attention, "dots" all but matmuls, "none" nothing.
    remat: str = "attention"


@dataclasses.dataclass(frozen=True)
class MaskingConfig:
    """Span masking (method section 3)."""

    probability: float = 0.8  # DinoSR
    length: int = 10  # frames per span, DinoSR


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """Self-distillation with online clustering (method section 4)."""

    top_layers: int = 8  # K: 8 of 12 (DinoSR base)
    codewords: int = 256  # V, DinoSR
    codebook_decay: float = 0.9  # DinoSR
    codebook_init: str = "noise"  # DinoSR; "frames": of the first batch, for small batches
    prediction: str = "spidr"  # "dinosr": all heads on the last layer; "spidr": head l on layer l
    teacher_schedule: str = "dinosr"  # or "spidr"; see models/teacher.py
    # Horizons of the running average, 1 / (1 - decay), as shares of the updates until the stop.
    teacher_horizon_start: float = 0.005  # DinoSR: 1000 (decay 0.999) of 200 000
    teacher_horizon_end: float = 0.05  # DinoSR: 10 000 (decay 0.9999) of 200 000
    teacher_rise: float = 0.15  # DinoSR: from the first to the last in 30 000 of 200 000
    teacher_stop: float = 0.5  # share of the run after which the teacher is frozen (DinoSR)
    # The teacher's input norm, projection and positions: "shared" with the student (DinoSR, SpidR)
    # or "averaged" like its layers.
    teacher_input: str = "shared"


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """Flow Matching (method section 5)."""

    # lambda in L = L_enc + lambda L_dec; the paper finds it insensitive. 0: encoder alone.
    weight: float = 1.0
    sigma: float = 1e-5  # s in x_t = (1 - (1-s)t) x0 + t x1
    condition_drop: float = 0.1  # rows whose z becomes the null vector
    context: bool = False  # also show the decoder the visible frames
    ema_decay: float = 0.9999  # weights kept for sampling
    guidance: float = 0.5  # a in v = (1+a) v_cond - a v_null, for the evaluation samples
    sample_steps: int = 16  # solver steps
    solver: str = "midpoint"  # or "euler"


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW with a tri-stage schedule (method section 6)."""

    lr: float = 5e-4  # peak; DinoSR base
    beta1: float = 0.9  # DinoSR base
    beta2: float = 0.98  # DinoSR base
    eps: float = 1e-6  # DinoSR base
    weight_decay: float = 0.01  # DinoSR base; not on norms, biases and embeddings
    clip: float = 1.0  # most that the global norm of the gradient may be; 0: not clipped
    warmup: float = 0.03  # shares of the run: warm-up, hold, decay (DinoSR)
    hold: float = 0.47
    decay: float = 0.5
    final_scale: float = 0.01  # last lr / peak lr


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    steps: int = 600_000
    accumulate: int = 1  # microbatches per update
    log_every: int = 50
    max_skipped: int = 20  # non-finite steps in a row that stop the run
    profile_at: int = -1  # first of five steps recorded with jax.profiler; -1: none


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices per mesh axis; one axis may be -1: all devices that are left."""

    data: int = -1
    fsdp: int = 1
    fsdp_most: int = 0  # with fsdp=-1: at most so many, data takes the rest; 0: no limit
    tensor: int = 1
    slices: int = 1  # multi-slice TPU: the data axis spans slices
    wait_seconds: float = 900.0  # how long processes wait for one another before they end


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
    batches: int = 8  # held-out batches measured at most, no clip twice; 0: all
    sample_every: int = 20_000  # pictures and wavs; 0: none
    samples: int = 4  # clips rendered


@dataclasses.dataclass(frozen=True)
class HealthConfig:
    """Alarms (pretraining's bands are from DinoSR's and SpidR's published curves)."""

    enabled: bool = True
    grace_steps: int = 2000  # no alarm before this step, except for skipped updates
    patience: int = 10  # alarms in a row before the run stops
    # Share of the updates of one line of metrics that were not finite. It holds from the first line
    # on, because no healthy run loses updates at its start.
    max_skipped_share: float = 0.1
    max_grad_norm: float = 1000.0
    max_input_wait: float = 0.5  # share of a step spent waiting for data, warning only
    # Pretraining
    min_target_perplexity: float = 10.0  # of 256 codewords; below: clusters have collapsed
    min_encoder_loss: float = 0.3  # nats; about 0.2 means that the teacher collapsed
    min_target_variance: float = 1e-6  # of a target layer over time, before normalisation
    # Recognition. Every CTC run passes through a phase of blanks alone, which must be over after
    # grace_steps + patience x train.log_every updates. Letters fill 20 to 30 % of the frames of
    # speech, words 5 %: more blanks than this are no text.
    max_blank_share: float = 0.995
    # Codec. The discriminator's hinge loss is 0 where it is never wrong, which ends its gradient,
    # and 2 where its output is constant; our runs went from 0.7 to 1.9.
    min_discriminator_loss: float = 0.05
    max_discriminator_loss: float = 1.99
    min_latent_rms: float = 1e-4
    # Root mean square of the latents over codec.noise: at 0.3 a latent of Gaussian values carries
    # at most log2(1 + 0.09) / 2 = 0.06 bits, a frame of 128 latents 8 bits.
    min_latent_to_noise: float = 0.3
    # Perplexity of the codebooks as a share of the codewords, or of a batch's frames if fewer: 0.25
    # after 400 updates of our recipe, 0.003 with codebooks that had collapsed.
    min_codebook_use: float = 0.05


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run is made of. `validate` checks it, `to_json` stores it."""

    task: str = "pretrain"  # or "asr", "codec"; or "module:VALUE" for a task of your own
    seed: int = 0
    init_from: str = ""  # workdir or checkpoint folder of another run: start from its parameters
    # Parts to take from that run: encoder, heads, decoder, ctc, generator, discriminator, separated
    # by commas; empty: all parts that both runs have.
    init_parts: str = ""
    options: Any = None  # of a task of your own: its `Options`
    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = ModelConfig()
    masking: MaskingConfig = MaskingConfig()
    distillation: DistillationConfig = DistillationConfig()
    flow: FlowConfig = FlowConfig()
    codec: CodecConfig = dataclasses.field(default_factory=CodecConfig)
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    asr: AsrConfig = dataclasses.field(default_factory=AsrConfig)
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    health: HealthConfig = HealthConfig()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)
