"""Images drawn from a truth, each with its exact log-density."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nllgen.data.truth import Truth

CHUNK = 500  # images per random stream: a larger set begins with the images of a smaller one

Progress = Callable[[int], None]
ChunkGenerator = Callable[[str, int], torch.Generator]


@torch.no_grad()
def draw(truth: Truth, generator: torch.Generator, n: int = CHUNK) -> tuple[Tensor, Tensor, Tensor]:
    """Draw n images.

    Returns:
        x (n, C, H, W) float32 logits; log p(x) (n,) float64 nats, evaluated on the stored float32 x; and log p(x) from
        the sampling pass, which differs by the rounding of x.
    """
    z = truth.flow.sample_base(n, generator)
    x, log_det = truth.flow.inverse(z)
    return x, truth.flow.log_prob(x), truth.flow.base_log_prob(z) - log_det


def draw_split(
    truth: Truth, split: str, first: int, last: int, generator_of: ChunkGenerator, progress: Progress
) -> tuple[Tensor, Tensor, float]:
    """Draw images ``first`` (a multiple of CHUNK) to ``last`` of a split, each chunk from its own generator.

    Returns:
        x, log p (n,), and max |log p evaluated forward − log p from sampling| in nats.
    """
    assert first % CHUNK == 0
    images, log_probs, worst = [], [], 0.0
    for start in range(first, last, CHUNK):
        x, log_prob, from_sampling = draw(truth, generator_of(split, start // CHUNK))
        worst = max(worst, float((log_prob - from_sampling).abs().max()))
        images.append(x.cpu())
        log_probs.append(log_prob.cpu())
        progress(min(CHUNK, last - start))
    return torch.cat(images)[: last - first], torch.cat(log_probs)[: last - first], worst


@torch.no_grad()
def entropy_log_probs(truth: Truth, first: int, last: int, generator_of: ChunkGenerator, progress: Progress) -> Tensor:
    """Return log p (last − first,) of draws ``first`` (a multiple of CHUNK) to ``last``, for the entropy, in nats.

    The density comes from the sampling pass, which saves a second pass.
    """
    assert first % CHUNK == 0
    log_probs = []
    for start in range(first, last, CHUNK):
        z = truth.flow.sample_base(CHUNK, generator_of("entropy", start // CHUNK))
        log_probs.append((truth.flow.base_log_prob(z) - truth.flow.inverse(z)[1]).cpu())
        progress(min(CHUNK, last - start))
    return torch.cat(log_probs)[: last - first]
