"""Named random streams."""

from __future__ import annotations

import torch

from nllgen.train.streams import NAMES, RandomStreams, generator, stream_seed

CPU = torch.device("cpu")


def test_streams_of_one_seed_are_all_different() -> None:
    streams = RandomStreams(0, CPU)
    draws = [tuple(torch.rand(4, generator=streams[name]).tolist()) for name in NAMES]
    assert len(set(draws)) == len(NAMES)


def test_using_one_stream_shifts_no_other() -> None:
    used, fresh = RandomStreams(3, CPU), RandomStreams(3, CPU)
    torch.rand(1000, generator=used["noise"])
    assert torch.equal(torch.rand(4, generator=used["latent"]), torch.rand(4, generator=fresh["latent"]))


def test_a_stream_goes_on_where_its_state_was_taken() -> None:
    streams = RandomStreams(3, CPU)
    torch.rand(5, generator=streams["noise"])
    state = streams.state_dict()
    expected = torch.rand(5, generator=streams["noise"])
    other = RandomStreams(99, CPU)
    other.load_state_dict(state)
    assert torch.equal(torch.rand(5, generator=other["noise"]), expected)


def test_paths_of_names_do_not_collide_by_joining() -> None:
    assert stream_seed(1, "a", "b") != stream_seed(1, "ab")
    assert stream_seed(1, 2) != stream_seed(12)


def test_stream_seeds_never_change() -> None:
    """Cell ids identify results that depend on them."""
    assert stream_seed(0, "data") == 736872305540241488
    assert generator(CPU, 0, "data").initial_seed() == stream_seed(0, "data")
