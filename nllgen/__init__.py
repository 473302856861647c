"""Training of the same generative model by maximum likelihood and as a GAN, on data of known density."""

__version__ = "0.2.0"
