"""What the doctor found, as data: `--json` prints it as it stands here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Problem(_Frozen):
    """Something that does not work, and what to do about it."""

    problem: str
    fix: str


class Gpu(_Frozen):
    """A GPU as nvidia-smi names it; memory is None where it does not say, as on shared memory."""

    name: str
    memory_mib: int | None
    driver: str


class Machine(_Frozen):
    """The hardware that this process may use.

    Attributes:
        processor: its name.
        cores: that the process may run on.
        core_limit: CPU time that its control groups allow, in cores; None for no limit.
        memory_mib: of the machine.
        memory_limit_mib: that its control groups allow; None for no limit.
        gpus: those that nvidia-smi lists; none also where there is no nvidia-smi.
    """

    processor: str
    cores: int
    core_limit: float | None
    memory_mib: int
    memory_limit_mib: int | None
    gpus: tuple[Gpu, ...]


class ProviderState(_Frozen):
    """Whether an execution provider can run a model, and else why not."""

    name: str
    loads: bool
    reason: str | None


class ModelCheck(_Frozen):
    """One model on one device.

    Attributes:
        model: `name@version`.
        device: `cpu` or `cuda`.
        provider: that onnxruntime took; None if the model does not load.
        load_ms: until the model is ready.
        levels: darkest and brightest grey level of the image of seed 0.
        images_per_s: by size of batch; latents and network, one calling thread.
        error: why it does not work.
    """

    model: str
    device: str
    provider: str | None = None
    load_ms: float | None = None
    levels: tuple[int, int] | None = None
    images_per_s: dict[int, float] = {}
    error: str | None = None


class Agreement(_Frozen):
    """How far a GPU's images are from the CPU's, in grey levels of 255."""

    model: str
    images: int
    largest_difference: int
    differing_pixels: float


class Report(_Frozen):
    """Everything; `problems` is empty where all is well."""

    ok: bool
    version: str
    python: str
    system: str
    packages: dict[str, str | None]
    machine: Machine
    providers: tuple[ProviderState, ...]
    models: tuple[ModelCheck, ...]
    agreement: tuple[Agreement, ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
