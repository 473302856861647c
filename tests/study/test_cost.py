import pytest

from nllgen.study.config import FlowConfig
from nllgen.study.cost import cell_cost, dataset_seconds, pass_seconds
from nllgen.study.counts import flow_cost
from nllgen.study.degrees import DEGREES, student
from nllgen.study.grid import parse_study


def study(block, head=""):
    text = f"name: a\ntruth: {{flow: {{width: 8}}}}\n{head}\ncells: [{block}]"
    return parse_study(text, "g.yaml", precision="bf16")


def cost(degree="W", data="{source: mnist}", paradigm="name: nll"):
    found = study(f"{{degree: {degree}, data: {data}, paradigm: {{{paradigm}}}}}")
    return cell_cost(found.cells[0], found)


@pytest.mark.parametrize("size", [28, 14])
@pytest.mark.parametrize("degree", DEGREES)
def test_parameters_are_those_of_the_flow(degree, size):
    flow = pytest.importorskip("nllgen.flow")
    config = student(FlowConfig(shape=(1, size, size), width=8, blocks=2), degree)
    assert flow_cost(config).num_parameters == flow.RealNVP(config).num_parameters


@pytest.mark.parametrize("config", [FlowConfig(shape=(3, 8, 12), width=3, blocks=0, scales=3), FlowConfig(scales=1)])
def test_parameters_of_other_shapes_are_those_of_the_flow(config):
    flow = pytest.importorskip("nllgen.flow")
    assert flow_cost(config).num_parameters == flow.RealNVP(config).num_parameters


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 7, 9)])
def test_multiplications_are_those_of_the_convolutions(shape):
    torch = pytest.importorskip("torch")
    flow = pytest.importorskip("nllgen.flow")
    model = flow.RealNVP(FlowConfig(shape=shape, width=4, scales=1 if shape[1] % 2 else 2))
    counted = []

    def count(module, _, out):
        counted.append(module.weight[0].numel() * out[0].numel())

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    model(torch.zeros(2, *shape))
    assert flow_cost(model.config).macs == sum(counted)


def test_a_gan_step_costs_more_than_a_likelihood_step():
    assert cost(paradigm="name: nsgan").seconds_per_step > cost().seconds_per_step


def test_fresh_images_cost_a_pass_through_the_truth():
    fresh = cost(data="{source: synthetic, num_train: fresh}").seconds_per_step
    assert fresh > cost(data="{source: synthetic, num_train: 9}").seconds_per_step


def test_evaluations_cost_by_their_number():
    assert cost(paradigm="name: nll, eval_every: 10").eval_seconds > cost().eval_seconds


def test_memory_grows_with_the_batch():
    assert cost(paradigm="name: nll, batch_size: 1024").memory_gb > cost().memory_gb


def test_a_pass_is_faster_in_bf16():
    assert pass_seconds(FlowConfig(), 100, "bf16") < pass_seconds(FlowConfig(), 100, "fp32")


def test_a_study_of_real_data_draws_no_dataset():
    assert dataset_seconds(study("{degree: W, paradigm: {name: nll}}")) == 0


def test_a_step_of_the_thesis_model_costs_what_was_measured():
    # 0.67 s for 128 images on one core; the estimate is to be right within a factor of 2
    found = parse_study("name: a\ncells: [{flow: {}, paradigm: {name: nll}}]", "g.yaml", precision="bf16")
    assert 0.33 < cell_cost(found.cells[0], found).seconds_per_step < 1.34
