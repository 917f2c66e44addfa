"""Regenerates the committed stubs from the .proto files: `python -m protos.generate`.

grpcio-tools is pinned (see pyproject.toml) so that the result is the same everywhere; a test checks
that regenerating changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(out: Path) -> None:
    """Writes stubs and their type stubs below `out`, at the paths they are imported by.

    Raises:
        RuntimeError: protoc refused a file; its message is on stderr.
    """
    well_known = resources.files("grpc_tools") / "_proto"
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--grpc_python_out={out}",
        f"--plugin=protoc-gen-mypy_grpc={Path(sys.executable).with_name('protoc-gen-mypy_grpc')}",
        f"--mypy_grpc_out=quiet:{out}",
        *(str(path) for path in sorted((ROOT / "protos").rglob("*.proto"))),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT, help="default: the source tree")
    generate(parser.parse_args().out)
    print("generated", file=sys.stderr)
