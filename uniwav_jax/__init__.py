"""UniWav in JAX: one speech foundation model that recognises, speaks and tokenizes.

    import uniwav_jax
    model = uniwav_jax.load("runs/demo")

`load` is imported when it is first used, because JAX takes a second to import.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uniwav_jax.api import load

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":
        from uniwav_jax.api import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
