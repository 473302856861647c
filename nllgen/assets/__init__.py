"""Files that training needs beside the code: MNIST, Inception's weights and pretrained truths. No torch.

MNIST and the weights are fetched once, verified by their hashes and used offline. Pretrained truths ship with nllgen.
"""

from nllgen.assets.fetch import fetch_inception, fetch_mnist
from nllgen.assets.files import INCEPTION_NAME, asset_folder, inception_weights
from nllgen.assets.verify import has_mnist, mnist_pictures, pretrained_status, require_mnist, status

__all__ = [
    "INCEPTION_NAME",
    "asset_folder",
    "fetch_inception",
    "fetch_mnist",
    "has_mnist",
    "inception_weights",
    "mnist_pictures",
    "pretrained_status",
    "require_mnist",
    "status",
]
