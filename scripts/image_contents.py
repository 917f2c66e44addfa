"""What must be in an image, what must not, and how large it is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scripts.container import Image

_OURS: Final = Path("opt/ganagerie")
_COMPILERS: Final = ("cc", "gcc", "g++", "c++", "clang", "ld", "make", "nvcc")
_LARGEST: Final = 10


def check_contents(image: Image, *, torch: bool) -> Iterator[tuple[str, bool]]:
    """Pairs of what should hold and whether it does."""
    root, config = image.root, image.config
    site = _site_packages(root)
    yield "it has a user, 10001:10001", config["User"] == "10001:10001"
    yield "it stops by SIGTERM", config["StopSignal"] == "SIGTERM"
    yield "its entry point is ganagerie itself", config["Entrypoint"] == ["ganagerie"]
    yield "ports 50051 and 8080", set(config["ExposedPorts"]) == {"50051/tcp", "8080/tcp"}
    yield (
        "labels with version and revision",
        all(
            config["Labels"].get(f"org.opencontainers.image.{name}", "unknown") != "unknown"
            for name in ("title", "licenses", "version", "revision")
        ),
    )
    folders = [root / name for name in ("bin", "usr/bin", "usr/local/bin", _OURS / "bin")]
    compilers = [name for name in _COMPILERS for folder in folders if (folder / name).exists()]
    yield f"no compiler ({', '.join(_COMPILERS)})", not compilers
    yield (
        "no pip beside our packages, no cache of it",
        not (
            (site / "pip").exists() or (root / "root/.cache").exists() or (root / "tools").exists()
        ),
    )
    secrets = [root / "etc/pip.conf", root / "run/secrets"]
    yield "no secret of the build", not any(path.exists() for path in secrets)
    yield f"torch is {'there' if torch else 'not there'}", (site / "torch").is_dir() is torch
    sources = [path for path in site.rglob("*.py") if "__pycache__" not in path.parts]
    packages = {"ganagerie", "protos", "server", "training", "zoo"}
    ours = [path for path in sources if path.relative_to(site).parts[0] in packages]
    compiled = [any((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")) for path in ours]
    yield f"our {len(ours)} modules are compiled", len(ours) > 50 and all(compiled)


def _site_packages(root: Path) -> Path:
    (found,) = (root / _OURS / "lib").glob("python3.*/site-packages")
    return found


def sizes(image: Image) -> list[str]:
    """Lines: the whole image, its base, and the largest packages, in MB of 10^6 bytes."""
    whole, ours = _bytes(image.root), _bytes(image.root / _OURS)
    parts = {path.name: _bytes(path) for path in _site_packages(image.root).iterdir()}
    largest = sorted(parts, key=lambda name: -parts[name])[:_LARGEST]
    return [
        f"size: {_mb(whole)} MB uncompressed: {_mb(whole - ours)} the base, {_mb(ours)} ours",
        "largest: " + ", ".join(f"{name} {_mb(parts[name])}" for name in largest),
    ]


def _bytes(path: Path) -> int:
    command = ["du", "--summarize", "--apparent-size", "--block-size=1", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[0])


def _mb(size: int) -> int:
    return round(size / 1e6)
