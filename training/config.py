"""Recipes: everything that decides what a training run computes, typed and frozen.

A recipe is a YAML file in `training/recipes/`, or anywhere else by its path. Keys that the models
below do not know are errors, and so are values that do not fit.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from training.errors import RecipeError
from training.monitor.config import MonitorConfig
from training.network_config import NETWORKS, DcganConfig, Frozen, NetworkConfig, Positive
from zoo.errors import one_line, shown

RECIPES = Path(__file__).parent / "recipes"

R = TypeVar("R", bound=BaseModel)

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class LayerInitializer(Frozen):
    """How weights start; see `training/initializers.py`."""

    name: Literal[
        "normal",
        "truncated-normal",
        "truncated-normal-fmod",
        "orthogonal",
        "glorot-uniform",
        "he-uniform",
        "torch-default",
    ] = "normal"
    gain: float = Field(1.0, gt=0)
    std: float = Field(0.02, gt=0, description="of the normal ones, where fan is none")
    fan: Literal["none", "in", "average"] = Field(
        "none", description="std of the normal ones: in: 1/√fan-in, average: 1/√(mean of fans)"
    )


class InitializerConfig(LayerInitializer):
    """How all weights start."""

    batch_norm_std: float = Field(0.0, ge=0, description="of batch-norm gains around 1")
    linear: LayerInitializer | None = Field(
        None, description="of linear layers, where they start otherwise than convolutions"
    )


class OptimizerConfig(Frozen):
    """Adam for both networks (Kingma and Ba 2014)."""

    g_lr: float = Field(2e-4, gt=0)
    d_lr: float = Field(2e-4, gt=0)
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    eps: float = Field(1e-8, gt=0)


class Sigma0ClampConfig(Frozen):
    """Bound of the top singular value of G's weights; one of the two (BigGAN, appendix D)."""

    sigma_reg: float | None = Field(None, gt=0, description="a fixed bound")
    ratio: float | None = Field(None, ge=1, description="times the second singular value")
    layers: tuple[str, ...] = Field((), description="whose weights; none named: all of G's")

    @model_validator(mode="after")
    def _one(self) -> Sigma0ClampConfig:
        if (self.sigma_reg is None) == (self.ratio is None):
            raise ValueError("give one of sigma_reg and ratio")
        return self


class PenaltyConfig(Frozen):
    """What is added to the losses; see `training/regularizers.py`. 0 switches off."""

    orthogonal: float = Field(0.0, ge=0, description="of G's weights, without the diagonal")
    r1_gamma: float = Field(0.0, ge=0, description="of D's gradient at real images")
    r1_every: Positive = Field(16, description="iterations; lazily, the strength made up for")
    sigma0_clamp: Sigma0ClampConfig | None = None


class EmaConfig(Frozen):
    """Exponential moving average of the generator's weights (BigGAN, appendix C)."""

    decay: float = Field(0.999, ge=0, lt=1)
    start_itr: int = Field(1000, ge=0, description="until then the average is the newest weights")


# What only networks with alternating updates have, and the values that switch it off.
_ALTERNATING: dict[str, Any] = {
    "d_steps": 1,
    "accumulations": 1,
    "diffaugment": (),
}


class Recipe(Frozen):
    """One training run, completely."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = Field(1, ge=0, lt=2**63)
    dataset: Literal["emnist-balanced", "cifar10", "images"] = "emnist-balanced"
    class_balanced: bool = Field(False, description="every class as often as any other")
    flips: bool = Field(False, description="mirror half of the real images")
    diffaugment: tuple[Literal["color", "translation", "cutout"], ...] = ()
    network: NetworkConfig = DcganConfig()
    loss: Literal["non-saturating", "hinge"] = "non-saturating"
    initializer: InitializerConfig = InitializerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    penalties: PenaltyConfig = PenaltyConfig()
    ema: EmaConfig = EmaConfig()
    epochs: int = Field(gt=0, description="passes over the training images")
    max_itr: int | None = Field(None, gt=0, description="stop earlier, after this many iterations")
    batch_size: int = Field(128, gt=1, description="of one update of a network")
    d_steps: int = Field(1, gt=0, description="updates of D for each update of G")
    accumulations: int = Field(1, gt=0, description="parts that a batch is computed in")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: forward and backward under autocast; weights stay fp32"
    )
    fused_resampling: bool = Field(
        True, description="up- or downsampling and its convolution as one; the same function"
    )
    channels_last: bool = Field(True, description="memory layout; the same function")
    compile: bool = Field(False, description="torch.compile both networks; not with r1_gamma")
    log_every: Positive = 50
    sample_every: Positive = 500
    checkpoint_every: Positive = 1000
    keep_checkpoints: Positive = 2
    monitor: MonitorConfig = MonitorConfig()

    @property
    def alternates(self) -> bool:
        """Whether G has updates, and fakes, of its own; else both learn from the same ones."""
        return not isinstance(self.network, DcganConfig)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.compile and self.penalties.r1_gamma > 0:
            raise ValueError("compile does not go with penalties.r1_gamma: its double backward")
        if not self.alternates:
            if self.penalties.orthogonal > 0 or self.penalties.r1_gamma > 0:
                raise ValueError("network dcgan takes no penalty but penalties.sigma0_clamp")
            refused = [key for key, off in _ALTERNATING.items() if getattr(self, key) != off]
            if refused:
                raise ValueError(
                    f"network dcgan updates D and G once each on the same fakes: {refused[0]} must "
                    f"stay {_ALTERNATING[refused[0]]}"
                )
        return self

    def to_yaml(self) -> str:
        """The resolved recipe; `load_recipe` reads it back to an equal one."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe and applies ``key=value`` overrides; keys may be dotted.

    Raises:
        RecipeError: no such recipe, an unknown key, or a value that does not fit.
    """
    return load_as(Recipe, name_or_path, overrides)


def task_of(name_or_path: str) -> str:
    """What a recipe trains: `classifier`, or `gan` where it does not say.

    Raises:
        RecipeError: no such recipe, or one that cannot be read.
    """
    return str(_read(name_or_path).get("task", "gan"))


def load_as(model: type[R], name_or_path: str, overrides: Sequence[str] = ()) -> R:
    """Reads a recipe of another kind than `Recipe`; otherwise as `load_recipe`."""
    tree = _read(name_or_path)
    for override in overrides:
        _apply(tree, override)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"recipe {name_or_path}: {_explain(error, model)}") from error


def _read(name_or_path: str) -> dict[str, Any]:
    path = _find(name_or_path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path}: cannot be read: {one_line(error)}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"recipe {path}: must be a mapping of keys to values")
    return tree


def _find(name_or_path: str) -> Path:
    if name_or_path in recipe_names():
        return RECIPES / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    near = difflib.get_close_matches(name_or_path, recipe_names(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise RecipeError(
        f"unknown recipe {name_or_path!r}{hint} "
        f"Known: {', '.join(recipe_names())}, or the path of a .yaml file"
    )


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise RecipeError(f"--set {override!r}: must be key=value, e.g. optimizer.g_lr=1e-4")
    *parents, leaf = key.strip().split(".")
    node: Any = tree
    for parent in parents:
        if node.get(parent) is None:  # not there, or switched off by null
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise RecipeError(f"--set {override!r}: {parent!r} is a value, it has no keys")
    try:
        node[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(
            f"--set {override!r}: the value is not YAML: {one_line(error)}"
        ) from error


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    parts = []
    for problem in error.errors():
        kind = problem["loc"][1:2] if problem["loc"][0:1] == ("network",) else ()
        tagged = bool(kind) and kind[0] in NETWORKS  # pydantic puts the architecture in the path
        key = ".".join(str(p) for p in (*problem["loc"][:1], *problem["loc"][1 + tagged :]))
        if problem["type"] == "extra_forbidden":
            siblings = _keys_at(model, [str(part) for part in problem["loc"][:-1]])
            near = difflib.get_close_matches(str(problem["loc"][-1]), siblings, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(siblings)}"
            parts.append(f"{key}: unknown key; {hint}")
        elif problem["type"] == "missing" and isinstance(problem["input"], dict):
            parts.append(f"{key}: is missing")
        else:
            parts.append(f"{key} = {shown(problem['input'])}: {problem['msg']}")
    return "; ".join(parts)


def _keys_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    if list(path[:1]) == ["network"] and len(path) > 1 and path[1] in NETWORKS:
        return list(NETWORKS[path[1]].model_fields)
    for key in path:
        field = model.model_fields.get(key)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        parts = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not parts:
            return []
        model = parts[0]
    return list(model.model_fields)
