"""The committed stubs are those that the .proto files give."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from protos import generate as generator
from protos.generate import ROOT, generate

PROTOS = ["v1/admin.proto", "v1/ganagerie.proto", "inference/v2/open_inference.proto"]


def stubs(root: Path) -> dict[str, bytes]:
    """Generated files below `root`, by path."""
    found = (path for path in (root / "protos").rglob("*_pb2*") if path.suffix in {".py", ".pyi"})
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def test_regenerating_changes_nothing(tmp_path: Path) -> None:
    generate(tmp_path)
    generated, committed = stubs(tmp_path), stubs(ROOT)
    assert len(generated) == 4 * len(PROTOS)
    assert sorted(generated) == sorted(committed)
    assert [name for name in generated if generated[name] != committed[name]] == []


def test_a_file_that_protoc_refuses_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos" / "broken.proto").write_text('syntax = "proto3"; message {')
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match=r"^protoc failed$"):
        generate(tmp_path)
    assert "protos/broken.proto:1:28: Expected message name." in capfd.readouterr().err


@pytest.mark.parametrize("proto", PROTOS)
def test_everything_in_the_protocol_is_documented(tmp_path: Path, proto: str) -> None:
    out, path = tmp_path / "descriptors", str(ROOT / "protos" / proto)
    arguments = [f"-I{ROOT}", "--include_source_info", f"--descriptor_set_out={out}", path]
    assert protoc.main(["protoc", *arguments]) == 0
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    commented = {
        tuple(location.path)
        for location in file.source_code_info.location
        if location.leading_comments.strip()
    }
    # Paths are made of the field numbers of descriptor.proto: 4 messages, 5 enums, 6 services of a
    # file; 2 the fields, values or calls of each.
    named: dict[tuple[int, ...], str] = {}
    for i, message in enumerate(file.message_type):
        named[4, i] = message.name
        named |= {(4, i, 2, j): f"{message.name}.{f.name}" for j, f in enumerate(message.field)}
    for i, enum in enumerate(file.enum_type):
        named[5, i] = enum.name
        named |= {(5, i, 2, j): value.name for j, value in enumerate(enum.value)}
    for i, service in enumerate(file.service):
        named[6, i] = service.name
        named |= {(6, i, 2, j): f"{service.name}.{m.name}" for j, m in enumerate(service.method)}
    assert len(named) > 20
    assert [name for path, name in named.items() if path not in commented] == []
