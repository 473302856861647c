from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nllgen import assets
from nllgen.data.published import Split, load_published
from nllgen.errors import CorruptFileError, MetricInputError
from nllgen.metrics import inception, lenet
from nllgen.metrics.extractors import load_extractor
from nllgen.metrics.features import quantise
from nllgen.metrics.frechet import frechet_from_features
from nllgen.metrics.train_lenet import accuracy, train
from nllgen.study.config import DataConfig
from nllgen.study.lenets import LENETS
from nllgen.torchvision_ops import import_torchvision


@pytest.fixture(scope="module")
def digits(mnist_assets: Path) -> Split:
    """Return MNIST's test split."""
    return load_published(assets.require_images(mnist_assets, "mnist")).test


@pytest.fixture(scope="module")
def extractor() -> lenet.LeNetExtractor:
    return lenet.LeNetExtractor("cpu")


def pixels(num: int = 6, channels: int = 1, size: int = 28) -> torch.Tensor:
    return torch.rand(num, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_quantise_leaves_8_bit_images_alone() -> None:
    image = torch.arange(256).float() / 255
    assert torch.equal(quantise(image), image)


def test_quantise_undoes_dequantisation() -> None:
    level = torch.arange(256).repeat(100)
    v = (level + 0.999 * torch.rand(level.shape)) / 256
    assert torch.equal((255 * quantise(v)).round().long(), level)


def test_quantise_keeps_white() -> None:
    assert quantise(torch.tensor([1.0])).item() == 1.0


@pytest.mark.parametrize(("size", "least"), [(28, 0.99), (14, 0.985)])
def test_each_lenet_reads_the_test_digits_of_its_size(mnist_assets: Path, size: int, least: float) -> None:
    digits = load_published(assets.require_images(mnist_assets, "mnist"), size).test
    network = lenet.LeNetExtractor("cpu", size).network
    assert accuracy(network, digits.images.float() / 255, digits.labels) >= least


@pytest.mark.parametrize(("source", "size"), LENETS)
def test_lenet_names_its_weights_which_are_small(source: str, size: int) -> None:
    weights = Path(lenet.__file__).with_name(LENETS[source, size])
    assert weights.stat().st_size < 500_000
    assert lenet.LeNetExtractor("cpu", size, source).sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_every_set_with_a_lenet_has_one_of_each_design() -> None:
    assert set(LENETS) == {(source, size) for source, _ in LENETS for size in lenet.DESIGNS}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            DataConfig(source="kmnist"),
            "no LeNet for KMNIST of 28×28: those that ship were trained on MNIST and Fashion",
        ),
        (DataConfig(source="fashion-mnist", image_size=7), "no LeNet for images of 7×7: at 7×7 half of the digits"),
    ],
)
def test_images_without_a_lenet_are_named(tmp_path: Path, data: DataConfig, reason: str) -> None:
    said: list[str] = []
    assert load_extractor("lenet", "cpu", domain=data, inception_weights=tmp_path, echo=said.append) is None
    assert reason in said[0]


def test_digits_of_7_pixels_have_no_lenet(tmp_path: Path) -> None:
    said: list[str] = []
    found = [
        load_extractor("lenet", "cpu", domain=DataConfig(image_size=7), inception_weights=tmp_path, echo=said.append)
        for _ in range(2)
    ]
    assert found == [None, None]
    assert len(said) <= 1  # once in a process
    with pytest.raises(MetricInputError, match="no LeNet for images of 7×7: at 7×7 half of the digits"):
        lenet.LeNetExtractor("cpu", 7)


def test_the_network_of_one_size_refuses_images_of_another(extractor: lenet.LeNetExtractor) -> None:
    with pytest.raises(MetricInputError, match="lenet reads images of 28×28, not of 14×14"):
        extractor.features(pixels(size=14))
    assert lenet.LeNetExtractor("cpu", 14).features(pixels(size=14)).shape == (6, 84)


def test_features_are_fp64_rows(extractor: lenet.LeNetExtractor) -> None:
    found = extractor.features(pixels(6))
    assert found.shape == (6, 84)
    assert found.dtype == np.float64


def test_features_do_not_depend_on_the_batch(extractor: lenet.LeNetExtractor) -> None:
    np.testing.assert_allclose(extractor.features(pixels(7), 3), extractor.features(pixels(7)), atol=1e-5)


def test_bytes_are_levels(extractor: lenet.LeNetExtractor, digits: Split) -> None:
    some = digits.images[:5]
    np.testing.assert_array_equal(extractor.features(some), extractor.features(some.float() / 255))


def test_features_are_those_of_8_bit_images(extractor: lenet.LeNetExtractor) -> None:
    image = pixels()
    np.testing.assert_array_equal(extractor.features(image), extractor.features(quantise(image), quantised=False))


def test_unquantised_features_differ(extractor: lenet.LeNetExtractor) -> None:
    assert (extractor.features(pixels()) != extractor.features(pixels(), quantised=False)).any()


def test_distance_of_digits_to_themselves_is_0(extractor: lenet.LeNetExtractor, digits: Split) -> None:
    found = extractor.features(digits.images[:1000])
    assert frechet_from_features(found, found) <= 1e-7 * found.var(0).sum()


def test_other_digits_are_nearer_than_noise(extractor: lenet.LeNetExtractor, digits: Split) -> None:
    one, two = extractor.features(digits.images[:1000]), extractor.features(digits.images[1000:2000])
    noise = extractor.features(pixels(1000))
    assert 20 * frechet_from_features(one, two) < frechet_from_features(one, noise)


def test_nan_pixels_give_nan_features(extractor: lenet.LeNetExtractor) -> None:
    image = pixels()
    image[2, 0, 5, 5] = torch.nan
    found = extractor.features(image)
    assert np.isnan(found[2]).any()
    assert np.isfinite(found[[0, 1, 3]]).all()


@pytest.mark.parametrize("images", [pixels()[0], pixels(channels=3), pixels()[:0]], ids=["3-d", "colour", "none"])
def test_another_shape_is_refused(extractor: lenet.LeNetExtractor, images: torch.Tensor) -> None:
    with pytest.raises(MetricInputError, match="does not accept images of shape"):
        extractor.features(images)


LENET = Path(lenet.__file__).with_name(LENETS["mnist", 28])


def test_logits_are_refused(extractor: lenet.LeNetExtractor) -> None:
    with pytest.raises(MetricInputError, match="pixels outside"):
        extractor.features(4 * pixels() - 2)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:100] + b"x" + data[101:]])
def test_damaged_lenet_weights_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    copy = Path(shutil.copy(LENET, tmp_path))
    shutil.copy(LENET.with_suffix(".json"), tmp_path)
    copy.write_bytes(damage(copy.read_bytes()))
    with pytest.raises(CorruptFileError, match="SHA-256"):
        lenet.LeNetExtractor("cpu", weights=copy)


def test_missing_lenet_weights_are_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="No such file"):
        lenet.LeNetExtractor("cpu", weights=tmp_path / "lenet.pt")


def test_lenet_training_repeats_itself(digits: Split) -> None:
    images, labels = digits.images[:512].float() / 255, digits.labels[:512]
    one, two = (train(images, labels, epochs=1).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write random weights with the keys of pytorch-fid's file, where torch.hub looks for it."""
    import_torchvision()
    from pytorch_fid import inception as fid

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fid, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        state = fid.fid_inception_v3().state_dict()
    path = tmp_path_factory.mktemp("hub") / "hub" / "checkpoints" / assets.INCEPTION_NAME
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def ours(weights: Path) -> inception.InceptionExtractor:
    prefix = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    return inception.InceptionExtractor(weights, "cpu", prefix)


@pytest.fixture(scope="module")
def theirs(weights: Path) -> torch.nn.Module:
    """Return pytorch-fid's own class, which finds the file in torch.hub's directory."""
    from pytorch_fid.inception import InceptionV3

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(weights.parents[2]))
        network: torch.nn.Module = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
        return network.eval()


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_inception_features_are_pytorch_fids(
    ours: inception.InceptionExtractor, theirs: torch.nn.Module, channels: int, size: int
) -> None:
    image = quantise(pixels(2, channels, size))
    with torch.no_grad():
        expected = theirs(image.repeat(1, 3 // channels, 1, 1))[0][:, :, 0, 0].numpy()
    np.testing.assert_allclose(ours.features(image), expected, rtol=1e-4, atol=1e-6)


def test_inception_features_of_a_folder_are_pytorch_fids(
    ours: inception.InceptionExtractor, theirs: torch.nn.Module, tmp_path: Path, digits: Split
) -> None:
    from PIL import Image
    from pytorch_fid.fid_score import get_activations

    files = []
    for i, image in enumerate(digits.images[:2]):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(image[0].numpy()).save(files[-1])
    expected = get_activations(files, theirs, batch_size=2, num_workers=0)
    np.testing.assert_allclose(ours.features(digits.images[:2]), expected, rtol=1e-4, atol=1e-6)


def test_inception_has_2048_features(ours: inception.InceptionExtractor) -> None:
    assert ours.features(pixels(1)).shape == (1, 2048)


def test_inception_with_another_hash_is_refused(weights: Path) -> None:
    with pytest.raises(CorruptFileError, match=f"not {inception.SHA256_PREFIX}"):
        inception.InceptionExtractor(weights, "cpu")


def test_file_without_inceptions_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"other": torch.zeros(1)}, path)
    prefix = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    with pytest.raises(CorruptFileError, match="does not hold Inception"):
        inception.InceptionExtractor(path, "cpu", prefix)


def test_missing_inception_is_none_and_reported_once(tmp_path: Path) -> None:
    said: list[str] = []
    found = [
        load_extractor("inception", "cpu", inception_weights=tmp_path / "none.pth", echo=said.append) for _ in range(2)
    ]
    assert found == [None, None]
    assert len(said) == 1
    assert "nllgen assets fetch inception" in said[0]


def test_lenet_is_found_by_its_name(tmp_path: Path) -> None:
    found = load_extractor("lenet", "cpu", inception_weights=tmp_path, echo=print)
    assert isinstance(found, lenet.LeNetExtractor)


def test_torchvision_is_imported_once() -> None:
    assert import_torchvision() is import_torchvision()
