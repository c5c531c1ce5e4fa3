"""Health alarms of codec training."""

from uniwav_jax.config import Config
from uniwav_jax.tasks.task import Alarm


def adversarial(config: Config) -> bool:
    """Whether the discriminator contributes to the codec's gradient."""
    return config.codec.adversarial_share > 0 or config.codec.features_share > 0


def _codewords(config: Config) -> float:
    """Number of codewords that one batch can use: no more than it has frames."""
    structure = config.codec.trained
    frames = config.data.batch_seconds * structure.sample_rate / structure.hop
    return min(structure.codewords, frames)


ALARMS = (
    Alarm(
        "loss_discriminator",
        False,
        "min_discriminator_loss",
        "discriminator loss {value:.3f} is below {limit:g}: the discriminator separates decoded"
        " from real speech without errors and has no gradient left; lower the learning rate or"
        " codec.discriminator_filters",
        applies=adversarial,
    ),
    Alarm(
        "loss_discriminator",
        True,
        "max_discriminator_loss",
        "discriminator loss {value:.3f} is above {limit:g} (2 is a constant output): the"
        " discriminator does not separate decoded from real speech, and its share of the"
        " gradient is noise; lower the learning rate or raise codec.discriminator_filters",
        applies=adversarial,
    ),
    Alarm(
        "latent_rms",
        False,
        "min_latent_rms",
        "root mean square of the latents is {value:.1e}, below {limit:g}: they shrink to zero;"
        " lower codec.penalty or the learning rate",
    ),
    Alarm(
        "latent_rms",
        False,
        "min_latent_to_noise",
        "root mean square of the latents is {value:.3f}, below {limit:g}: the noise hides"
        " almost all of their information; lower codec.noise or codec.penalty",
        unit=lambda config: config.codec.noise,
        applies=lambda config: config.codec.bottleneck == "noise",
    ),
    Alarm(
        "dead_channels",
        True,
        "max_dead_channels",
        "{value:.0%} of the latent channels hardly vary, more than {limit:.0%}: the codec does not"
        " use them; lower the learning rate, or codec.mdct.free",
        applies=lambda config: config.codec.bottleneck == "relative_noise",
    ),
    Alarm(
        "codebook_perplexity",
        False,
        "min_codebook_use",
        "perplexity of the quantiser's codebooks is {value:.1f}, below {limit:.1f}: few"
        " codewords are used; use larger batches, or fewer codec.structure.codewords",
        unit=_codewords,
        applies=lambda config: config.codec.bottleneck == "rvq",
    ),
)
