"""An image, and a process in it, by buildah, unshare and chroot."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

# What a runtime does for `docker run --read-only --tmpfs /tmp --pid ...`: $1 is the root, $2 the
# user, and the rest is the process, which becomes number 1.
_ENTER: Final = """
set -eu
root=$1 user=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot --userspec="$user" "$root" "$@"
"""
_TIMEOUT_S: Final = 120.0


class Image:
    """An image `ganagerie:TARGET`, mounted while entered.

    Attributes:
        root: its root filesystem.
        config: what its Dockerfile says of processes, as Docker writes it.
    """

    def __init__(self, storage: Path, target: str) -> None:
        self._options = ["--storage-driver", "vfs", "--root", storage / "root"]
        self._options += ["--runroot", storage / "run"]
        self._name = f"localhost/ganagerie:{target}"

    def __enter__(self) -> Image:
        described = json.loads(self.buildah("inspect", "--type", "image", self._name))
        self.config: dict[str, Any] = described["Docker"]["config"]
        self._container = self.buildah("from", "--pull-never", self._name).strip()
        self.root = Path(self.buildah("mount", self._container).strip())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.buildah("rm", self._container)

    @property
    def command(self) -> list[str]:
        """What it runs unless told otherwise."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    @property
    def health_check(self) -> list[str]:
        """What its HEALTHCHECK runs."""
        test: list[str] = self.config["Healthcheck"]["Test"]
        form, *words = test
        if form != "CMD":
            raise ValueError(f"HEALTHCHECK {form}: must be of the exec form")
        return words

    def buildah(self, *arguments: str) -> str:
        """What a buildah command prints."""
        command = ["buildah", *map(str, self._options), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout


class Container:
    """A process in an image, on free ports; killed on leaving if it has not ended by then."""

    def __init__(self, image: Image, command: list[str]) -> None:
        self._image = image
        self.signal: str = image.config["StopSignal"]
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed on leaving
        self._process = self._start(["--pid", "--fork", "--kill-child"], command, self._log)

    def _start(
        self, options: list[str], command: list[str], stderr: IO[bytes] | None
    ) -> subprocess.Popen[str]:
        config = self._image.config
        ports = ["GANAGERIE_PORT=0", "GANAGERIE_HTTP_PORT=0"]
        variables = ["env", "-i", *config["Env"], *ports]
        enter = ["unshare", "--mount", *options, "sh", "-c", _ENTER, "enter"]
        words = [*enter, str(self._image.root), config["User"], *variables, *command]
        return subprocess.Popen(words, stderr=stderr, text=True)

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def events(self) -> list[dict[str, Any]]:
        """What the server has logged; lines that are no JSON as {"line": …}."""
        # Not seek and read: the process writes at the offset that they would move.
        log = self._log.fileno()
        text = os.pread(log, os.fstat(log).st_size, 0).decode()
        lines = [line for line in text.splitlines() if line]
        return [json.loads(line) if line[0] == "{" else {"line": line} for line in lines]

    def serving(self) -> dict[str, Any]:
        """The event of a server that has started.

        Raises:
            RuntimeError: it has ended; with what it logged.
        """
        while self._process.poll() is None:
            for event in self.events():
                if event.get("event") == "serving":
                    return event
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        raise RuntimeError(f"it ended with code {self._process.returncode}: {self.events()}")

    def _pid(self) -> int:
        tasks = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        (child,) = tasks.read_text().split()
        return int(child)

    def user(self) -> tuple[int, int]:
        """Effective uid and gid of process 1."""
        status = Path(f"/proc/{self._pid()}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return int(fields["Uid"].split()[1]), int(fields["Gid"].split()[1])

    def stop(self) -> None:
        """Sends the image's stop signal to process 1."""
        os.kill(self._pid(), signal.Signals[self.signal])

    def wait(self) -> tuple[int, list[str]]:
        """Exit code of process 1, and its events by name."""
        code = self._process.wait(_TIMEOUT_S)
        return code, [event.get("event", "") for event in self.events()]

    def run(self, *command: str) -> int:
        """Exit code of another process in the same image, started like the first one."""
        return self._start([], [*command], None).wait(_TIMEOUT_S)
