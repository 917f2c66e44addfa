"""What the chart renders, done as Kubernetes would: a real server with its file and Secrets."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import grpc
import pytest
from typer.testing import CliRunner

from ganagerie.cli import app
from server.config_file import load_config
from server.errors import ConfigError
from tests.certificates import Authority, Issued
from tests.deploy.charts import Document, Rendered, needs_helm, render_one
from tests.server.calls import Stubs, fetch, until
from tests.server.keyed_calls import KEY, OTHER, code
from tests.serving import Running, server_process
from tests.toys import write_toy
from zoo.catalog import Catalog

pytestmark = needs_helm

VALUES: Document = {
    "config": {"shutdown_delay_s": 3, "runners": 1},
    "zoo": {"source": "claim", "claim": {"name": "models"}},
    "tls": {"secret": "tls", "clientCaSecret": "ca"},
    "apiKeys": {"secret": "keys"},
    "admin": {"secret": "admins"},
}


def _project(folder: Path, version: str, files: dict[str, bytes]) -> None:
    """Writes a Secret's files as the kubelet does: a link to a folder, swapped at once."""
    folder.mkdir(exist_ok=True)
    (folder / version).mkdir()
    for name, content in files.items():
        (folder / version / name).write_bytes(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").replace(folder / "..data")


@dataclass(frozen=True)
class Mounted:
    """A pod's server with all that it mounts; `keys` is where the Secret of API keys lies."""

    rendered: Rendered
    running: Running
    keys: Path
    authority: Authority
    own: Issued

    def stubs(self) -> Stubs:
        credentials = grpc.ssl_channel_credentials(
            self.authority.ca.read_bytes(), self.own.key.read_bytes(), self.own.cert.read_bytes()
        )
        target = self.running.grpc.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        return Stubs(grpc.secure_channel(target, credentials))

    def probe(self, name: str) -> int:
        """The status that the kubelet would see."""
        get = self.rendered.container[name]["httpGet"]
        assert get["port"] == "http"
        status, _, _ = fetch(self.running.http, get["path"])
        return status


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    rendered = render_one(VALUES)
    etc, zoo = tmp_path / "ganagerie", tmp_path / "zoo"
    etc.mkdir()
    write_toy(zoo, "plain")
    authority = Authority(tmp_path, "one")
    issued = authority.issue("server")
    pair = {"tls.crt": issued.cert.read_bytes(), "tls.key": issued.key.read_bytes()}
    _project(etc / "tls", "..1", pair)
    _project(etc / "client-ca", "..1", {"ca.crt": authority.ca.read_bytes()})
    _project(etc / "api-keys", "..1", {"keys": f"alice {KEY}\n".encode()})
    _project(etc / "admin-keys", "..1", {"keys": b"root correct-horse-administers\n"})
    text = rendered.toml.replace("/etc/ganagerie", str(etc)).replace('"/zoo"', f'"{zoo}"')
    _project(etc / "config", "..1", {"serve.toml": text.encode()})
    _, *args = rendered.container["args"]
    arguments = [arg.replace("/etc/ganagerie", str(etc)) for arg in args]
    with server_process(None, *arguments) as running:
        yield Mounted(rendered, running, etc / "api-keys", authority, authority.issue("client"))


def test_a_pod_with_everything_mounted(mounted: Mounted) -> None:
    """Probes need neither a certificate nor a key; a Secret that changes arrives."""
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert mounted.probe(name) == 200
    with closing(mounted.stubs().channel) as channel:
        stubs = Stubs(channel)
        assert (code(stubs, KEY), code(stubs, OTHER)) == ("OK", "UNAUTHENTICATED")
        _project(mounted.keys, "..2", {"keys": f"bob {OTHER}\n".encode()})
        until(lambda: code(stubs, OTHER) == "OK", "the new key")
        assert code(stubs, KEY) == "UNAUTHENTICATED"
    process = mounted.running.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    until(lambda: mounted.probe("readinessProbe") == 503, "not ready")
    assert mounted.probe("livenessProbe") == 200  # or the kubelet would cut the drain short
    assert process.wait(mounted.rendered.pod["terminationGracePeriodSeconds"]) == 0


def test_a_variable_of_a_service_would_keep_the_server_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the pod has enableServiceLinks: false."""
    monkeypatch.setenv("GANAGERIE_PORT", "tcp://10.96.0.1:50051")
    with pytest.raises(
        ConfigError, match=r"GANAGERIE_PORT: 'tcp://10\.96\.0\.1:50051': Input should"
    ):
        load_config({})


def test_a_zoo_is_copied_out_of_an_image(tmp_path: Path) -> None:
    card = write_toy(tmp_path / "models", "plain")
    image = {"reference": "example.org/zoo:1", "path": f"{tmp_path}/models/"}
    rendered = render_one({"zoo": {"source": "image", "image": image}})
    (init,) = rendered.pod["initContainers"]
    *command, target = init["command"]
    assert target == "/zoo"
    (tmp_path / "volume").mkdir()
    subprocess.run([*command, tmp_path / "volume"], check=True)
    assert Catalog.open(tmp_path / "volume").resolve("plain").card == card


def test_models_are_pulled_by_a_command_that_is_there(tmp_path: Path) -> None:
    runner = CliRunner()
    if runner.invoke(app, ["zoo", "pull", "--help"]).exit_code:
        pytest.skip("this version has no `ganagerie zoo pull`")
    pytest.importorskip("fsspec", reason="the extra hub is not installed")
    card = write_toy(tmp_path / "store", "plain")
    urls = [(tmp_path / "store" / "plain").as_uri()]
    assert urlparse(urls[0]).scheme == "file"
    rendered = render_one({"zoo": {"source": "pull", "pull": {"urls": urls}}})
    (init,) = rendered.pod["initContainers"]
    assert init["image"] == rendered.container["image"]
    *args, target = init["args"]
    assert target == "/zoo"
    done: Any = runner.invoke(app, [*args, str(tmp_path / "volume")])
    assert done.exit_code == 0, done.output
    assert Catalog.open(tmp_path / "volume").resolve("plain").card == card
