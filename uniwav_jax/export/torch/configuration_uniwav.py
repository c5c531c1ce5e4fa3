"""Configuration for `transformers`; the model reads only its field `uniwav`."""

from typing import Any

from transformers import PretrainedConfig


class UniWavConfig(PretrainedConfig):
    """Configuration of UniWavModel and UniWavForCTC."""

    model_type = "uniwav"

    def __init__(self, uniwav: dict[str, Any] | None = None, **options: Any) -> None:
        self.uniwav = uniwav or {}
        super().__init__(**options)
