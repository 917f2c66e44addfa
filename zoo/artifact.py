"""Reading an artifact: only the file that the card means, and only unaltered."""

from __future__ import annotations

import hashlib
from pathlib import Path

from zoo.card import Artifact
from zoo.errors import ArtifactError
from zoo.regular_file import read_regular_file


def read_artifact(folder: Path, artifact: Artifact) -> bytes:
    """The artifact's bytes, after its checksum was verified on these very bytes.

    The file must lie directly in `folder` and be a regular file: a symbolic link, at the file or
    at the folder, is refused, and so is a name that leads elsewhere.

    Raises:
        ArtifactError: the file is missing, is not where it may be, or was altered.
    """
    path = folder / artifact.file
    if path.parent != folder or artifact.file in {"", ".", ".."}:
        raise ArtifactError(f"{path}: {artifact.file!r} is not the name of a file in this folder")
    if folder.is_symlink():
        raise ArtifactError(f"{folder}: is a symbolic link, which a zoo may not hold")
    try:
        content = read_regular_file(path)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != artifact.sha256:
        raise ArtifactError(
            f"{path}: sha256 is {digest}, the card says {artifact.sha256}: "
            "the file was altered or only partly copied; fetch it again"
        )
    return content
