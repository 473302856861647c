"""Quality metrics of models: tensors in, floats and arrays out. ``frechet_distance`` is loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["frechet_distance"]

if TYPE_CHECKING:
    from nllgen.metrics.frechet import frechet_distance
else:

    def __getattr__(name: str) -> object:
        """Import the public function on first use, so that importing the package does not import torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__} has no attribute {name}")
        from nllgen.metrics import frechet

        return getattr(frechet, name)
