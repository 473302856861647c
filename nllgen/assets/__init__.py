"""Files that training needs beside the code: images, Inception's weights and pretrained truths. No torch.

Images and the weights are fetched once, verified by their hashes and used offline. Pretrained truths ship with nllgen.
"""

from nllgen.assets.fetch import fetch_images, fetch_inception
from nllgen.assets.files import INCEPTION_NAME, asset_folder, inception_weights
from nllgen.assets.verify import first_pictures, has_images, pretrained_status, require_images, status

__all__ = [
    "INCEPTION_NAME",
    "asset_folder",
    "fetch_images",
    "fetch_inception",
    "first_pictures",
    "has_images",
    "inception_weights",
    "pretrained_status",
    "require_images",
    "status",
]
