from __future__ import annotations

from typing import Any

import pytest

from nllgen.planning.cost import cell_cost, dataset_seconds, pass_seconds
from nllgen.planning.flops import dcgan_cost, discriminator_cost, flow_cost
from nllgen.study.config import DCGANConfig, FlowConfig
from nllgen.study.degrees import DEGREES, student
from nllgen.study.load import parse_study


def study(block: Any, head: Any = "") -> Any:
    text = f"name: a\ntruth: {{flow: {{width: 8}}}}\n{head}\ncells: [{block}]"
    return parse_study(text, "g.yaml", precision="bf16")


def cost(degree: Any = "W", data: Any = "{source: mnist}", paradigm: Any = "name: nll") -> Any:
    found = study(f"{{degree: {degree}, data: {data}, paradigm: {{{paradigm}}}}}")
    return cell_cost(found.cells[0], found)


@pytest.mark.parametrize("size", [28, 14])
@pytest.mark.parametrize("degree", DEGREES)
def test_parameters_are_those_of_the_flow(degree: Any, size: Any) -> None:
    flow = pytest.importorskip("nllgen.models")
    config = student(FlowConfig(shape=(1, size, size), width=8, blocks=2), degree)
    assert flow_cost(config).num_parameters == flow.RealNVP(config).num_parameters


@pytest.mark.parametrize("config", [FlowConfig(shape=(3, 8, 12), width=3, blocks=0, scales=3), FlowConfig(scales=1)])
def test_parameters_of_other_shapes_are_those_of_the_flow(config: Any) -> None:
    flow = pytest.importorskip("nllgen.models")
    assert flow_cost(config).num_parameters == flow.RealNVP(config).num_parameters


def counted(model: Any, run: Any) -> Any:
    """Multiply-accumulates of one row of a batch of two, by hooks on every layer that multiplies."""
    torch = pytest.importorskip("torch")
    found = []

    def count(module: Any, args: Any, out: Any) -> None:
        sites = args[0] if isinstance(module, torch.nn.ConvTranspose2d) else out  # each input, or each output, in turn
        found.append(module.weight[0].numel() * sites[0].numel())

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
            module.register_forward_hook(count)
    run(model)
    return sum(found)


SHAPES = [(1, 28, 28), (2, 7, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_multiplications_are_those_of_the_convolutions(shape: Any) -> None:
    torch = pytest.importorskip("torch")
    flow = pytest.importorskip("nllgen.models")
    model = flow.RealNVP(FlowConfig(shape=shape, width=4, scales=1 if shape[1] % 2 else 2))
    assert flow_cost(model.config).macs == counted(model, lambda m: m(torch.zeros(2, *shape)))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dcgan_is_counted(shape: Any) -> None:
    torch = pytest.importorskip("torch")
    from nllgen.models.dcgan import DCGAN

    config = DCGANConfig(shape=shape, width=3, latent_dim=5)
    model = DCGAN(config)
    assert dcgan_cost(config).num_parameters == model.num_parameters
    assert dcgan_cost(config).macs == counted(model, lambda m: m(torch.zeros(2, 5)))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_discriminator_is_counted(shape: Any) -> None:
    torch = pytest.importorskip("torch")
    from nllgen.paradigms.discriminator import Discriminator

    model, cost = Discriminator(shape, 3, torch.Generator()), discriminator_cost(3, shape)
    assert cost.num_parameters == sum(p.numel() for p in model.parameters())
    assert cost.macs == counted(model, lambda m: m(torch.zeros(2, *shape)))


def test_a_gan_step_costs_more_than_a_likelihood_step() -> None:
    assert cost(paradigm="name: nsgan").seconds_per_step > cost().seconds_per_step


@pytest.mark.parametrize(
    ("cheaper", "dearer"),
    [
        ("name: nsgan", "name: nsgan, disc_steps: 5"),
        ("name: nsgan", "name: nsgan, r1_gamma: 1.0"),
        ("name: nsgan", "name: hybrid"),
        ("name: nsgan, disc_steps: 5", "name: wgan_gp"),
        ("name: nll", "name: nsgan_oracle"),
    ],
)
def test_what_a_step_has_more_it_costs_more(cheaper: Any, dearer: Any) -> None:
    data = "{source: synthetic, num_train: 9}"
    assert cost(paradigm=dearer, data=data).seconds_per_step > cost(paradigm=cheaper, data=data).seconds_per_step


def test_a_dcgan_costs_less_than_the_flow_and_has_no_densities_to_measure() -> None:
    found = study("{dcgan: {width: 8}, paradigm: {name: nsgan}}")
    dcgan, flow = cell_cost(found.cells[0], found), cost(paradigm="name: nsgan")
    assert dcgan.seconds_per_step < flow.seconds_per_step
    assert dcgan.eval_seconds < flow.eval_seconds / 2


@pytest.mark.parametrize(
    ("model", "paradigm", "seconds"),
    [
        ("degree: W", "name: nsgan", 0.193),
        ("degree: W", "name: nsgan, disc_steps: 5", 0.527),
        ("degree: W", "name: wgan_gp", 0.834),
        ("degree: W", "name: hybrid", 0.318),
        ("degree: W", "name: nsgan_oracle", 0.422),
        ("dcgan: {width: 32}", "name: nsgan", 0.098),
    ],
)
def test_a_step_of_each_paradigm_costs_what_was_measured(model: Any, paradigm: Any, seconds: Any) -> None:
    """On one core in bf16, 64 images of 28×28, a truth of width 16; to be right within a factor of 1.5."""
    head = "name: a\ntruth: {flow: {width: 16}}\ncells:\n"
    data = "{source: synthetic, num_train: 1000}"
    found = parse_study(
        f"{head}  - {{data: {data}, {model}, paradigm: {{{paradigm}, batch_size: 64}}}}", "g.yaml", precision="bf16"
    )
    assert seconds / 1.5 < cell_cost(found.cells[0], found).seconds_per_step < 1.5 * seconds


def test_fresh_images_cost_a_pass_through_the_truth() -> None:
    fresh = cost(data="{source: synthetic, num_train: fresh}").seconds_per_step
    assert fresh > cost(data="{source: synthetic, num_train: 9}").seconds_per_step


def test_evaluations_cost_by_their_number() -> None:
    assert cost(paradigm="name: nll, eval_every: 10").eval_seconds > cost().eval_seconds


def evaluation(metrics: Any, data: Any = "{source: mnist}", paradigm: Any = "name: nll") -> Any:
    found = study(f"{{degree: W, data: {data}, paradigm: {{{paradigm}}}}}", head=f"metrics: {{{metrics}}}")
    return cell_cost(found.cells[0], found).eval_seconds


@pytest.mark.parametrize(
    "group", ["frechet", "frechet_inf", "kid", "prdc", "memorisation", "fld", "pr_curve", "critic", "resampling"]
)
def test_every_metric_of_images_costs_something(group: Any) -> None:
    assert evaluation(f"every: [], final: [{group}]") > evaluation("every: [], final: []")


@pytest.mark.parametrize("group", ["divergence", "pareto"])
def test_divergences_cost_samples_and_both_densities_of_them(group: Any) -> None:
    synthetic = "{source: synthetic, num_train: 9}"
    assert evaluation(f"every: [{group}]", synthetic) > evaluation("every: []", synthetic)
    assert evaluation(f"every: [{group}]") == evaluation("every: []")  # real data have no truth


def test_a_metric_at_every_evaluation_costs_more_than_at_the_end() -> None:
    assert evaluation("every: [prdc], final: []") > evaluation("every: [], final: [prdc]")


def test_fewer_samples_on_the_way_cost_less_than_fewer_at_the_end() -> None:
    many, synthetic = "num_samples: 4_000", "{source: synthetic, num_train: 9}"
    on_the_way, nowhere = f"{many}, num_samples_every: 1_000", "num_samples: 1_000"
    assert evaluation(many, synthetic) > evaluation(on_the_way, synthetic) > evaluation(nowhere, synthetic)
    assert evaluation(f"{on_the_way}, every: []", synthetic) == evaluation(f"{many}, every: []", synthetic)


def test_without_extractors_there_are_no_metrics_by_features() -> None:
    assert evaluation("frechet: [], final: [kid]") == evaluation("frechet: [], every: [], final: []")
    assert evaluation("frechet: [], final: [critic]") > evaluation("frechet: [], final: []")  # looks at pixels


def test_memory_grows_with_the_batch() -> None:
    assert cost(paradigm="name: nll, batch_size: 1024").memory_gb > cost().memory_gb


def test_a_pass_is_faster_in_bf16() -> None:
    assert pass_seconds(FlowConfig(), 100, "bf16") < pass_seconds(FlowConfig(), 100, "fp32")


def test_a_study_of_real_data_draws_no_dataset() -> None:
    assert dataset_seconds(study("{degree: W, paradigm: {name: nll}}")) == 0


def test_a_step_of_the_thesis_model_costs_what_was_measured() -> None:
    # 0.67 s for 128 images on one core; the estimate is to be right within a factor of 2
    found = parse_study("name: a\ncells: [{flow: {}, paradigm: {name: nll}}]", "g.yaml", precision="bf16")
    assert 0.33 < cell_cost(found.cells[0], found).seconds_per_step < 1.34


def test_predicting_the_critical_step_costs_what_its_latents_do() -> None:
    def nash(num: Any, updates: Any = "simultaneous") -> Any:
        cell = "{degree: W, start: truth, data: {source: synthetic, num_train: fresh}, paradigm: {name: nsgan, "
        cell += f"optimizer: sgd, updates: {updates}, steps: 10}}}}"
        found = study(cell, head=f"metrics: {{num_equilibrium: {num}}}")
        return cell_cost(found.cells[0], found).prepare_seconds

    none = nash(0)
    assert nash(2_000) - none == pytest.approx(2 * (nash(1_000) - none), rel=0.01)
    assert nash(1_000) > none == nash(1_000, "alternating")
