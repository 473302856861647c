"""How good a model is. Tensors come in; floats and arrays go out."""

from nllgen.metrics.frechet import frechet_distance

__all__ = ["frechet_distance"]
