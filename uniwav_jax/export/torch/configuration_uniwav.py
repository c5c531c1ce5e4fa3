"""Configuration for `transformers`; all that the model needs is in its field `uniwav`."""

from typing import Any

from transformers import PretrainedConfig


class UniWavConfig(PretrainedConfig):
    """Of UniWavModel and UniWavForCTC."""

    model_type = "uniwav"

    def __init__(self, uniwav: dict[str, Any] | None = None, **options: Any) -> None:
        self.uniwav = uniwav or {}
        super().__init__(**options)
