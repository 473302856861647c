"""Training batches: epochs, and resuming within an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from nllgen.data.sources import Dequantised, Finite, Fresh
from nllgen.models import RealNVP
from nllgen.study.config import FlowConfig


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1)


def test_an_epoch_shows_every_image_once() -> None:
    source = Finite(numbered(10), generator())
    epoch = torch.cat([source.next(4), source.next(4), source.next(2)]).flatten()
    assert sorted(epoch.tolist()) == list(range(10))


def test_a_batch_across_the_end_of_an_epoch_is_full() -> None:
    source = Finite(numbered(10), generator())
    first, second = source.next(7).flatten(), source.next(7).flatten()
    assert len(second) == 7
    assert set(first.tolist()) | set(second[:3].tolist()) == set(range(10))


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert len(Finite(numbered(3), generator()).next(8)) == 8


def test_epochs_differ_in_order() -> None:
    source = Finite(numbered(50), generator())
    assert not torch.equal(source.next(50), source.next(50))


def test_a_source_goes_on_where_its_state_was_taken() -> None:
    order = generator()
    source = Finite(numbered(10), order)
    source.next(7)
    state, order_state = source.state_dict(), order.get_state()
    expected = torch.cat([source.next(5), source.next(5)])
    other_order = generator(9)
    other = Finite(numbered(10), other_order)
    other.load_state_dict(state)
    other_order.set_state(order_state)
    assert torch.equal(torch.cat([other.next(5), other.next(5)]), expected)


def test_dequantised_images_differ_each_time_they_are_seen() -> None:
    levels = torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)
    source = Dequantised(levels, generator(), generator(1), alpha=1e-6)
    assert not torch.equal(source.next(1), source.next(1))


def test_fresh_images_never_repeat_and_depend_on_the_stream_alone() -> None:
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=2, blocks=0))
    a, b = Fresh(flow, generator(3)), Fresh(flow, generator(3))
    first = a.next(5)
    assert torch.equal(first, b.next(5))
    assert not torch.equal(first, a.next(5))


def test_fresh_images_are_drawn_in_fp32_inside_autocast() -> None:
    torch.manual_seed(0)
    flow = RealNVP(FlowConfig(shape=(1, 4, 4), width=4, blocks=1))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    plain = Fresh(flow, generator(3)).next(4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = Fresh(flow, generator(3)).next(4)
    assert torch.equal(plain, inside)
