"""Recipes: what is read, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import Cli
from training.classifier import ClassifierRecipe
from training.config import (
    Recipe,
    load_as,
    load_recipe,
    recipe_names,
    task_of,
)
from training.errors import RecipeError
from training.network_config import DcganConfig

NAME = "dcgan-emnist"
KNOWN = ", ".join(recipe_names())


def attribute(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value


def test_recipes_of_the_package_are_valid_and_named_after_their_files() -> None:
    assert NAME in recipe_names()
    for name in recipe_names():
        if task_of(name) == "classifier":
            assert load_as(ClassifierRecipe, name).name == name
        else:
            assert load_recipe(name).name == name


def test_paper_settings_of_dcgan_emnist() -> None:
    recipe = load_recipe(NAME)
    assert isinstance(recipe.network, DcganConfig)
    assert recipe.network.z_dim == 100
    assert recipe.network.linear_batch_norm
    assert recipe.initializer.std == 0.02
    assert (recipe.optimizer.g_lr, recipe.optimizer.d_lr) == (2e-4, 2e-4)
    assert recipe.optimizer.betas == (0.5, 0.999)
    assert recipe.batch_size == 128


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=7", "seed", 7),
        ("optimizer.g_lr=1e-4", "optimizer.g_lr", 1e-4),
        ("optimizer.betas=[0.0, 0.9]", "optimizer.betas", (0.0, 0.9)),
        ("network.linear_batch_norm=false", "network.linear_batch_norm", False),
        ("max_itr=null", "max_itr", None),
        (" seed =3", "seed", 3),
    ],
)
def test_override(override: str, key: str, value: object) -> None:
    recipe = load_recipe(NAME, [override])
    assert attribute(recipe, key) == value
    assert recipe != load_recipe(NAME, ["seed=99"])


def test_only_the_first_equals_sign_separates() -> None:
    with pytest.raises(RecipeError, match=r"^recipe dcgan-emnist: name = 'a=b': "):
        load_recipe(NAME, ["name=a=b"])


def test_last_override_of_a_key_counts() -> None:
    assert load_recipe(NAME, ["seed=3", "seed=4"]).seed == 4


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("seed", ["0", str(2**63 - 1)], ["-1", str(2**63), "1.5", "one"]),
        ("epochs", ["1"], ["0", "null"]),
        ("max_itr", ["1", "null"], ["0"]),
        ("batch_size", ["2"], ["1"]),
        ("precision", ["fp32", "bf16"], ["fp16"]),
        ("log_every", ["1"], ["0"]),
        ("sample_every", ["1"], ["0"]),
        ("checkpoint_every", ["1"], ["0"]),
        ("keep_checkpoints", ["1"], ["0"]),
        ("name", ["a", "7.b_c-d"], ["", "A", "-a", "a/b", "'../a'"]),
        ("dataset", ["emnist-balanced"], ["mnist"]),
        ("network.z_dim", ["1"], ["0"]),
        ("network.channels", ["[1,1,1]"], ["[1,1,0]", "[1,1]", "[1,1,1,1]"]),
        ("network.linear_features", ["1"], ["0"]),
        (
            "network.discriminator_norm",
            ["batch", "spectral", "instance", "none"],
            ["null", "layer"],
        ),
        ("initializer.std", ["1e-9"], ["0", ".nan"]),
        ("optimizer.g_lr", ["1e-12"], ["0", "-1", ".inf"]),
        ("optimizer.d_lr", ["1e-12"], ["0", ".nan"]),
        ("optimizer.betas", ["[0.0, 0.999999]"], ["[0.5, 1.0]", "[-0.1, 0.9]", "[0.5]"]),
        ("optimizer.eps", ["1e-30"], ["0"]),
        ("ema.decay", ["0.0", "0.999999"], ["1.0", "-0.1"]),
        ("ema.start_itr", ["0"], ["-1"]),
    ],
)
def test_limits(key: str, inside: list[str], outside: list[str]) -> None:
    for value in inside:
        load_recipe(NAME, [f"{key}={value}"])
    for value in outside:
        with pytest.raises(RecipeError, match=rf"^recipe {NAME}: {key}[.\d]* = "):
            load_recipe(NAME, [f"{key}={value}"])


def test_recipe_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_recipe(NAME).seed = 2  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "dcgan-emnits",
            "unknown recipe 'dcgan-emnits'; did you mean 'dcgan-emnist'? "
            f"Known: {KNOWN}, or the path of a .yaml file",
        ),
        ("zzz", f"unknown recipe 'zzz'. Known: {KNOWN}, or the path of a .yaml file"),
        (
            "not-there.yaml",
            f"unknown recipe 'not-there.yaml'. Known: {KNOWN}, or the path of a .yaml file",
        ),
    ],
)
def test_unknown_recipe(cli: Cli, argument: str, message: str) -> None:
    ended = cli("train", argument, "--dry-run")
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "recipe dcgan-emnist: epoch: unknown key; did you mean 'epochs'?"),
        (
            "optimizer.g_rl=1",
            "recipe dcgan-emnist: optimizer.g_rl: unknown key; did you mean 'g_lr'?",
        ),
        (
            "ema.zzz=1",
            "recipe dcgan-emnist: ema.zzz: unknown key; known: decay, start_itr",
        ),
        (
            "optimiser.g_lr=1",
            "recipe dcgan-emnist: optimiser: unknown key; did you mean 'optimizer'?",
        ),
        (
            "batch_size=1",
            "recipe dcgan-emnist: batch_size = 1: Input should be greater than 1",
        ),
        (
            "precision=fp16",
            "recipe dcgan-emnist: precision = 'fp16': Input should be 'fp32' or 'bf16'",
        ),
        ("seed", "--set 'seed': must be key=value, e.g. optimizer.g_lr=1e-4"),
        ("=3", "--set '=3': must be key=value, e.g. optimizer.g_lr=1e-4"),
        ("seed.a=3", "--set 'seed.a=3': 'seed' is a value, it has no keys"),
    ],
)
def test_bad_override(cli: Cli, override: str, message: str) -> None:
    ended = cli("train", NAME, "--dry-run", "--set", override)
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {message}\n")


def test_two_mistakes_are_both_named(cli: Cli) -> None:
    ended = cli("train", NAME, "--dry-run", "--set", "seed=-1", "--set", "epochs=0")
    assert ended.code == 2
    assert "seed = -1: " in ended.err
    assert "epochs = 0: " in ended.err


def test_value_that_is_not_yaml_is_told_in_one_line(cli: Cli) -> None:
    ended = cli("train", NAME, "--dry-run", "--set", "epochs=[1")
    assert ended.code == 2
    assert ended.err.startswith("error: --set 'epochs=[1': the value is not YAML: ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1\n", "must be a mapping of keys to values"),
        (b"", "must be a mapping of keys to values"),
        (b"a: [1\n", "cannot be read: "),
        (b"\xff\xfe\xff", "cannot be read: "),
    ],
)
def test_recipe_file_that_is_none(cli: Cli, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    ended = cli("train", "mine.yaml", "--dry-run")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: recipe mine.yaml: {message}")
    assert ended.err.count("\n") == 1


def test_missing_key_is_named_without_the_whole_recipe(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nseed: 31337\n")
    ended = cli("train", "mine.yaml", "--dry-run")
    assert ended.code == 2
    assert ended.err.startswith("error: recipe mine.yaml: epochs")
    assert "31337" not in ended.err


def test_dry_run_prints_what_is_read_back_equal(cli: Cli, tmp_path: Path) -> None:
    overrides = ["optimizer.g_lr=1e-5", "network.channels=[8,4,2]", "max_itr=10", "name=mine"]
    ended = cli("train", NAME, "--dry-run", *[p for o in overrides for p in ("--set", o)])
    assert (ended.code, ended.err) == (0, "")
    assert list(tmp_path.iterdir()) == []  # it wrote nothing, and needed no data
    (tmp_path / "printed.yaml").write_text(ended.out)
    read = load_recipe(str(tmp_path / "printed.yaml"))
    assert read == load_recipe(NAME, overrides)
    assert isinstance(read.network, DcganConfig)
    assert (read.optimizer.g_lr, read.network.channels, read.max_itr) == (1e-5, (8, 4, 2), 10)


def test_a_part_that_null_switches_off_is_switched_on_by_a_key_in_it(tmp_path: Path) -> None:
    path = tmp_path / "resolved.yaml"
    path.write_text(load_recipe(NAME).to_yaml())
    recipe = load_recipe(str(path), ["penalties.sigma0_clamp.sigma_reg=2"])
    assert recipe.penalties.sigma0_clamp is not None
    assert recipe.penalties.sigma0_clamp.sigma_reg == 2
