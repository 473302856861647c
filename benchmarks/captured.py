"""Training steps as CUDA graphs, which nllgen does not use: their speed, and whether they give the same bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.packing import Step
from benchmarks.steps import training_state
from nllgen.errors import MachineError
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.guard import StepNumbers, read_numbers
from nllgen.study.config import NLLConfig, NSGANConfig, Precision
from nllgen.train.loop import READ_EVERY
from nllgen.train.state import TrainState

_WARM_UP = 3  # steps before a capture: libraries choose their kernels and make their workspaces


def captured_round(
    paradigm: type[NLLConfig] | type[NSGANConfig], width: int, blocks: int, x: Tensor, precision: Precision
) -> Step:
    """Return a function that replays a step on the images ``x`` ``READ_EVERY`` times and reads the last numbers.

    Raises:
        MachineError: the images are not on a GPU.
    """
    state = training_state(paradigm(batch_size=len(x), steps=10**8), width, blocks, x, precision)
    replay = _captured(state, x)

    def steps() -> object:
        return read_numbers([[replay() for _ in range(READ_EVERY)][-1]])

    return steps


def same_bits(
    paradigm: type[NLLConfig] | type[NSGANConfig], width: int, blocks: int, x: Tensor, precision: Precision
) -> bool:
    """Return whether captured steps leave the weights of as many eager ones.

    Raises:
        MachineError: the images are not on a GPU.
    """
    eager, captured = (
        training_state(paradigm(batch_size=len(x), steps=10**8), width, blocks, x, precision) for _ in range(2)
    )
    replay, step = _captured(captured, x), _step(eager, x)
    for _ in range(_WARM_UP):
        step()
    for _ in range(READ_EVERY):
        step()
        replay()
    pairs = zip(eager.flow.parameters(), captured.flow.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def _step(state: TrainState, x: Tensor) -> Callable[[], StepNumbers]:
    return lambda: state.guard.run(lambda: state.paradigm.step(lambda n: x, 0))


def _captured(state: TrainState, x: Tensor) -> Callable[[], StepNumbers]:
    """Return a function that replays a captured step and returns its numbers; some steps before it warm up."""
    if x.device.type != "cuda":
        raise MachineError(f"CUDA graphs need a GPU, and the images are on {x.device.type}")
    paradigm, step = state.paradigm, _step(state, x)
    others = [paradigm.disc_optimizer] if isinstance(paradigm, Adversarial) else []
    for group in (group for optimizer in (paradigm.optimizer, *others) for group in optimizer.param_groups):
        group["capturable"] = True
    stream = torch.cuda.Stream(x.device)
    stream.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream(x.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    for name in ("noise", "latent", "disc"):
        graph.register_generator_state(state.streams[name])
    with torch.cuda.graph(graph):
        numbers = step()

    def replay() -> StepNumbers:
        graph.replay()
        return numbers

    return replay
