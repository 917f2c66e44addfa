"""Reading an artifact: only the file that the card means, and only unaltered."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from zoo.card import Artifact
from zoo.errors import ArtifactError


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
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        why = "is a symbolic link" if path.is_symlink() else str(error.strerror)
        raise ArtifactError(f"{path}: {why}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ArtifactError(f"{path}: is not a regular file")
        content = file.read()
    digest = hashlib.sha256(content).hexdigest()
    if digest != artifact.sha256:
        raise ArtifactError(
            f"{path}: sha256 is {digest}, the card says {artifact.sha256}: "
            "the file was altered or only partly copied; fetch it again"
        )
    return content
