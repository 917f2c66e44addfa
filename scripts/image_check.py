"""Runs an image as a container would and calls it: image_check.py STORAGE TARGET...

After scripts/image_build.sh, with the same STORAGE; wants root, buildah and Linux's unshare. The
root filesystem is mounted read-only, /tmp is a tmpfs, the user is the image's own, and process 1 is
its entry point. The network is this machine's, on free ports.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from ganagerie import Client, GeneratedImage
from ganagerie.errors import ClientError
from scripts.checking import check, say
from scripts.container import Container, Image
from scripts.image_contents import check_contents, sizes

_MANY: Final = 4096  # images: seconds of work, which SIGTERM finds unfinished


def _check_serving(image: Image) -> None:
    with Container(image, image.command) as container:
        event = container.serving()
        say(f"    {json.dumps(event)}")
        target = f"127.0.0.1:{event['grpc'].rpartition(':')[2]}"
        check(container.user() == (10001, 10001), "process 1 has uid and gid 10001")
        check(container.run("touch", "/opt/x") != 0, "the root filesystem cannot be written")
        check(container.run("touch", "/tmp/x") == 0, "/tmp can")  # noqa: S108  the image's own
        health = [*image.health_check, "--address", target]
        check(container.run(*health) == 0, f"{' '.join(image.health_check)}: exit code 0")
        with Client(target) as client:
            for model in client.models():
                images = client.generate(model, count=16, truncation=1.0, seed=1)
                check(_are_pictures(images), f"16 images of {model} from outside")
            warned = any("OPEN TO OTHER" in e.get("event", "") for e in container.events())
            check(warned, "the log says that the port is open")
            _drain(container, client)
        check(container.run(*health) == 1, f"{' '.join(image.health_check)}: exit code 1 now")


def _check_cuda(image: Image) -> None:
    """No driver is in the image, nor in this container: all the rest must be found."""
    with Container(image, [*image.command, "--device", "cuda"]) as container:
        code, _ = container.wait()
        said = json.dumps(container.events())
    check(code == 2, "--device cuda does not fall back: exit code 2")
    check("libcuda.so.1: cannot open shared object file" in said, "for want of the driver alone")


def _check_training(image: Image) -> None:
    imports = ["python3", "-c", "import torch, torchvision, onnx, onnxscript, tensorboard"]
    with Container(image, imports) as container:
        check(container.wait()[0] == 0, "torch and the others can be loaded")
    with Container(image, ["ganagerie", "train", "dcgan-emnist", "--dry-run"]) as container:
        check(container.wait()[0] == 0, "ganagerie train --dry-run: exit code 0")


def _are_pictures(images: list[GeneratedImage]) -> bool:
    extremes: list[Any] = [result.image.getextrema() for result in images]
    return len(images) == 16 and all(high - low > 100 for low, high in extremes)


def _drain(container: Container, client: Client) -> None:
    running = client.stream("biggan-emnist", count=_MANY, seed=1)
    next(running)
    container.stop()
    rest = sum(1 for _ in running)
    try:
        client.models()
        refused = False
    except ClientError:
        refused = True
    check(rest + 1 == _MANY, f"all {_MANY} images of a request that {container.signal} found")
    check(refused, "requests after it are refused")
    code, said = container.wait()
    check(code == 0, "exit code 0")
    check(said[-2:] == ["draining", "stopped"], "the log says draining, stopped")


def main(storage: Path, targets: list[str]) -> None:
    """Checks each target; exits at the first thing that is not as it should be."""
    for target in targets:
        with Image(storage, target) as image:
            say(f"--- {target}")
            for what, holds in check_contents(image, torch=target == "train"):
                check(holds, what)
            if target == "train":
                _check_training(image)
            else:
                _check_serving(image)
            if target == "gpu":
                _check_cuda(image)
            for line in sizes(image):
                say(line)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: image_check.py STORAGE TARGET..., targets being cpu, gpu and train")
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"FAILED: {error}")
