"""The text of a module with a user's own models, good and bad ones."""

from __future__ import annotations

MODULE = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, shape, width=1):
        super().__init__()
        self.shape, self.width = shape, width
        self.mean = nn.Parameter(torch.zeros(shape))

    def initialise(self, x):
        self.mean.copy_(x.mean(0))

    def log_prob(self, x):
        return -0.5 * ((x - self.mean) ** 2).flatten(1).sum(1)

    def sample(self, n, generator=None):
        return self.mean + torch.randn(n, *self.shape, generator=generator)

class NoDensity(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.layer = nn.Linear(1, 1)

class NoSample(Good):
    sample = None

class WrongDensity(Good):
    def log_prob(self, x):
        return super().log_prob(x).sum()

class WrongSample(Good):
    def sample(self, n, generator=None):
        return super().sample(n, generator).flatten(1)

class OwnDice(Good):
    def sample(self, n, generator=None):
        return super().sample(n, None)

class NoGenerator(Good):
    def sample(self, n):
        return super().sample(n, None)

class NoGradient(Good):
    def log_prob(self, x):
        return super().log_prob(x).detach()

class NoParameters(Good):
    def __init__(self, shape):
        super().__init__(shape)
        self.mean.requires_grad_(False)

class RandomDensity(Good):
    def log_prob(self, x):
        return super().log_prob(x) + torch.rand(len(x))

class BatchDensity(Good):
    def log_prob(self, x):
        return super().log_prob((x - x.mean(0)) / 2)

class NaNDensity(Good):
    def log_prob(self, x):
        return super().log_prob(x) * float("nan")

class HalfDensity(Good):
    def log_prob(self, x):
        return super().log_prob(x).half()

class DoubleSamples(Good):
    def sample(self, n, generator=None):
        return super().sample(n, generator).double()

class NaNSamples(Good):
    def sample(self, n, generator=None):
        return super().sample(n, generator) * float("nan")

class Dropout(Good):
    def log_prob(self, x):
        return super().log_prob(nn.functional.dropout(x, 0.5, self.training))

class Rude(Good):
    def __init__(self, shape):
        super().__init__(shape)
        disturb()

    def initialise(self, x):
        disturb()

    def log_prob(self, x):
        value = super().log_prob(x)
        disturb()
        return value

    def sample(self, n, generator=None):
        x = super().sample(n, generator)
        disturb()
        return x

def disturb():
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(torch.get_num_threads() + 1)

def not_a_module(shape) -> nn.Module:
    return 3

def silent(shape):
    open("was-called", "w").close()
    return Good(shape)

class NotOne:
    def __init__(self, shape):
        open("was-called", "w").close()

def told(shape):
    'Make an nn.Module.'
    return Good(shape)

number = 3
"""
