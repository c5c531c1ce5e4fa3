"""The configuration's fields: frozen dataclasses with defaults.

Comments give a field's unit and the source of its default: the UniWav paper (arXiv 2503.00733),
DinoSR (arXiv 2305.10005 and its published recipe), SpidR, EnCodec, or fairseq's recipes for wav2vec
2.0. Values without a source are ours. "Share" means a number in [0, 1].
"""

import dataclasses
import json
from typing import Any

from uniwav_jax.config.task_fields import (
    AsrConfig,
    CodecConfig,
    TextConfig,
    TokenizerConfig,
    TtsConfig,
)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where speech comes from and how it is cut into batches."""

    # A manifest.tsv or a folder made by 'uniwav data pack'; several are separated by commas.
    manifest: str = ""
    # Share of each corpus in the seconds of audio, "0.7,0.3"; empty: shares follow their sizes.
    weights: str = ""
    eval_manifest: str = ""  # held-out speech, given like `manifest`; empty: no evaluation
    batch_seconds: float = 3800.0  # seconds per global batch: 60.8M samples at 16 kHz (DinoSR)
    buckets: tuple[float, ...] = (4.0, 8.0, 12.0, 16.0, 20.0)  # seconds; DinoSR crops to 2-20 s
    # A pass over the training data uses each clip once at each of these speeds, which change the
    # pitch too (speed perturbation; Ko et al. 2015 have 0.9, 1.0 and 1.1).
    speeds: tuple[float, ...] = (1.0,)
    min_seconds: float = 2.0  # shorter clips are left out and counted (DinoSR)
    row_multiple: int = 8  # rows of every batch are a multiple of this; the mesh must divide it
    workers: int = 0  # reader processes per host; 0: threads only
    threads: int = 4  # reader threads per process
    prefetch: int = 4  # batches read ahead per process
    max_bad_fraction: float = 0.02  # a larger share of unreadable clips stops the run


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """Surface features, the encoder's input and the decoder's output (paper, section 3)."""

    kind: str = "log_mel"  # "log_mel" or "codec"; "waveform" for task=codec
    # For kind=codec: "codec", which is installed with the package, or a folder made by
    # 'uniwav import codec' or 'uniwav export'.
    codec: str = "codec"
    sample_rate: int = 16000  # Hz (paper)
    hop: int = 320  # samples per frame: 50 frames per second (paper)
    mel_bands: int = 80
    window: int = 1024  # samples
    mel_low: float = 0.0  # Hz, lower edge of the lowest band
    mel_high: float = 8000.0  # Hz, upper edge of the highest band
    # JSON file made by 'uniwav data stats'; empty: mean and deviation are measured at the start.
    stats: str = ""
    stats_seconds: float = 1800.0  # seconds of audio that are measured if `stats` is empty


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Transformer encoder (method section 2)."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    ffn: int = 3072  # hidden width of the feed-forward layers
    norm: str = "pre"  # "pre", or "post" like DinoSR base
    dropout: float = 0.1  # probability, on residual branches (DinoSR base)
    attention_dropout: float = 0.1  # probability, on attention weights (DinoSR base)
    activation_dropout: float = 0.0  # probability, after the feed-forward activation (DinoSR base)
    layer_drop: float = 0.05  # probability of skipping a layer (DinoSR base)
    position_convolutions: int = 5  # layers of the convolutional positions (DinoSR)
    position_kernel: int = 19  # frames (DinoSR)
    position_groups: int = 16  # groups of channels in each convolution (DinoSR)


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Flow Matching decoder (method section 5)."""

    layers: int = 6
    width: int = 768
    heads: int = 12
    ffn: int = 2048  # hidden width of the GEGLU layers, 8/3 of the width
    position_kernel: int = 31  # frames of the depthwise convolution (SpeechFlow, Voicebox)
    positions: str = "rotary"  # or "alibi", which is symmetric (SpeechFlow)
    dropout: float = 0.0  # probability


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The two networks and how they are computed."""

    size: str = "base"  # name of the preset that filled in the dimensions; it has no effect
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    # Of matmuls; norms, softmax, losses and the teacher's weights stay float32.
    compute_dtype: str = "bfloat16"
    attention: str = "auto"  # or "xla", "chunk", "cudnn" (GPU), "splash", "pallas" (TPU)
    # How much the backward pass recomputes: "full" everything except the layers' inputs,
    # "attention" everything except these and attention's output, "dots" everything except matmuls,
    # "none" nothing.
    remat: str = "attention"


@dataclasses.dataclass(frozen=True)
class MaskingConfig:
    """Span masking (method section 3)."""

    probability: float = 0.8  # share of frames in spans, if spans did not overlap (DinoSR)
    length: int = 10  # frames per span (DinoSR)


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """Self-distillation with online clustering (method section 4)."""

    top_layers: int = 8  # K, number of top layers whose codewords are predicted (DinoSR base)
    codewords: int = 256  # V, codewords per codebook (DinoSR)
    codebook_decay: float = 0.9  # of the codebooks' running averages, per update (DinoSR)
    # First codewords: "noise" (DinoSR), or "frames" of the first batch, for small batches.
    codebook_init: str = "noise"
    prediction: str = "spidr"  # "dinosr": all heads read the last layer; "spidr": head l layer l
    teacher_schedule: str = "dinosr"  # or "spidr"; see models/teacher.py
    # Horizons of the running average, 1 / (1 - decay), as shares of the updates until the stop.
    teacher_horizon_start: float = 0.005  # DinoSR: 1000 (decay 0.999) of 200 000
    teacher_horizon_end: float = 0.05  # DinoSR: 10 000 (decay 0.9999) of 200 000
    teacher_rise: float = 0.15  # share from the first to the last; DinoSR: 30 000 of 200 000
    teacher_stop: float = 0.5  # share of the run after which the teacher is frozen (DinoSR)
    # The teacher's input norm, projection and positions are "shared" with the student (DinoSR,
    # SpidR) or "averaged" like its layers.
    teacher_input: str = "shared"
    # Clusters of 39 MFCCs as targets (HuBERT's first iteration), for runs that are too short for a
    # teacher that starts from random weights: the only targets in the first share `mfcc_until` of
    # the updates, in which the teacher is a copy of the student; later their loss has the weight
    # `mfcc_weight` beside the teacher's (MT4SSL predicts both).
    mfcc_until: float = 0.0
    mfcc_weight: float = 0.0
    mfcc_visible: float = 0.0  # weight of their loss on frames that are not masked (HuBERT: 0)
    # A codeword with less than this share of uniform use moves to a random frame; 0: never (DinoSR)
    codebook_dead: float = 0.0

    @property
    def mfcc(self) -> bool:
        """Whether clusters of MFCCs are targets in any part of the run."""
        return self.mfcc_until > 0 or self.mfcc_weight > 0


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """Flow Matching (method section 5)."""

    # lambda in L = L_enc + lambda L_dec; the paper finds little effect. 0 trains only the encoder.
    weight: float = 1.0
    sigma: float = 1e-5  # s in x_t = (1 - (1-s)t) x0 + t x1
    start: float = 0.0  # share of the updates after which the decoder is trained
    frames: str = "masked"  # frames that count in pretraining's L_dec: "masked" ones or "all"
    # True trains only the decoder in pretraining, on the encoder of `init_from`.
    encoder_frozen: bool = False
    stratified: bool = False  # True spreads the flow times of a batch evenly over [0, 1]
    condition_drop: float = 0.1  # share of the rows whose z is replaced by the null vector
    context: bool = False  # True also gives the decoder the visible frames as input
    ema_decay: float = 0.9999  # of the averaged weights, which are used for sampling; per update
    guidance: float = 0.5  # a in v = (1+a) v_cond - a v_null, for the evaluation's samples
    sample_steps: int = 16  # steps of the ODE solver
    solver: str = "midpoint"  # or "euler"
    sway: float = 0.0  # of the times between solver steps, see models/flow.py; 0: equal steps
    temperature: float = 1.0  # standard deviation of the noise at which generation starts


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW with a tri-stage schedule (method section 6)."""

    lr: float = 5e-4  # peak learning rate (DinoSR base)
    beta1: float = 0.9  # DinoSR base
    beta2: float = 0.98  # DinoSR base
    eps: float = 1e-6  # DinoSR base
    weight_decay: float = 0.01  # not applied to norms, biases and embeddings (DinoSR base)
    clip: float = 1.0  # maximum of the gradient's global norm; 0: no clipping
    warmup: float = 0.03  # share of the updates with a rising learning rate (DinoSR)
    hold: float = 0.47  # share of the updates at the peak (DinoSR)
    decay: float = 0.5  # share of the updates with a falling learning rate (DinoSR)
    final_scale: float = 0.01  # last learning rate / peak learning rate


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training loop."""

    steps: int = 600_000  # updates
    accumulate: int = 1  # microbatches per update
    log_every: int = 50  # updates per line of metrics
    max_skipped: int = 20  # this many non-finite updates in a row stop the run
    profile_at: int = -1  # first of five updates that jax.profiler records; -1: none


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices per mesh axis; one axis may be -1, which gives it all remaining devices."""

    data: int = -1
    fsdp: int = 1
    fsdp_most: int = 0  # limit for fsdp=-1, beyond which devices go to the data axis; 0: no limit
    tensor: int = 1
    slices: int = 1  # slices of a multi-slice TPU, which the data axis spans
    wait_seconds: float = 900.0  # seconds that processes wait for each other before they end


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Orbax checkpoints under workdir/checkpoints."""

    every: int = 1000  # updates
    keep: int = 2  # number of newest checkpoints that are kept
    keep_every: int = 50_000  # checkpoints at multiples of this step are never deleted; 0: none


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Losses on held-out speech, and samples."""

    every: int = 5000  # updates
    batches: int = 8  # maximum of held-out batches, which repeat no clip; 0: all
    sample_every: int = 20_000  # updates between pictures and WAV files of samples; 0: none
    samples: int = 4  # clips of which samples are made


@dataclasses.dataclass(frozen=True)
class HealthConfig:
    """Limits of alarms (those of pretraining follow DinoSR's and SpidR's published curves)."""

    enabled: bool = True
    grace_steps: int = 2000  # updates before the first alarm, except for skipped updates
    patience: int = 10  # alarms in a row after which the run stops
    # Share of non-finite updates in one line of metrics. It applies from the first line on, because
    # a healthy run loses no updates at its start.
    max_skipped_share: float = 0.1
    max_grad_norm: float = 1000.0  # global norm, before clipping
    max_input_wait: float = 0.5  # share of a step spent waiting for data; only a warning
    # A run with the same configuration, by its workdir, its metrics.jsonl or the name of a model
    # that ships; "": none. A loss that is above its by more than a share of it gives a warning.
    reference: str = ""
    max_above_reference: float = 0.1
    # Pretraining
    min_target_perplexity: float = 10.0  # of 256 codewords; lower if the clusters collapsed
    min_encoder_loss: float = 0.3  # nats; about 0.2 means that the teacher collapsed
    min_target_variance: float = 1e-6  # of a target layer over time, before normalisation
    # Recognition. Every CTC run at first outputs only blanks, and must leave this phase within
    # grace_steps + patience x train.log_every updates. Letters fill 20 to 30 % of the frames of
    # speech and words 5 %, so a larger share of blanks than this means that no text is written.
    max_blank_share: float = 0.995
    # Codec. The discriminator's hinge loss is 0 if it is always right, which ends its gradient, and
    # 2 if its output is constant; in our runs it was between 0.7 and 1.9.
    min_discriminator_loss: float = 0.05
    max_discriminator_loss: float = 1.99
    min_latent_rms: float = 1e-4  # root mean square of the latents
    # Root mean square of the latents divided by codec.noise: at 0.3 a Gaussian latent carries at
    # most log2(1 + 0.09) / 2 = 0.06 bits, and a frame of 128 latents 8 bits.
    min_latent_to_noise: float = 0.3
    # Perplexity of the codebooks as a share of the codewords, or of a batch's frames if these are
    # fewer: it was 0.25 after 400 updates of our recipe, and 0.003 with collapsed codebooks.
    max_dead_channels: float = 0.05  # share of a codec's latent channels that hardly vary
    min_codebook_use: float = 0.05


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run. `rules.validate` checks them and `to_json` writes them."""

    # Or "asr", "codec", "tokenizer", "tts"; "module:VALUE" for a task outside the package.
    task: str = "pretrain"
    seed: int = 0
    # Whose parameters are the start: workdir or checkpoint folder of a run, a folder of
    # 'uniwav export --weights', or the name of a model that ships, such as mini.
    init_from: str = ""
    # Parts that are taken from that run: encoder, heads, decoder, ctc, tokens, generator,
    # discriminator, separated by commas; empty: all parts that both runs have.
    init_parts: str = ""
    options: Any = None  # an instance of `Task.Options`, for a task outside the package
    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = ModelConfig()
    masking: MaskingConfig = MaskingConfig()
    distillation: DistillationConfig = DistillationConfig()
    flow: FlowConfig = FlowConfig()
    codec: CodecConfig = dataclasses.field(default_factory=CodecConfig)
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    asr: AsrConfig = dataclasses.field(default_factory=AsrConfig)
    tts: TtsConfig = dataclasses.field(default_factory=TtsConfig)
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    health: HealthConfig = HealthConfig()

    def to_json(self) -> str:
        """All fields as an indented JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=2)
