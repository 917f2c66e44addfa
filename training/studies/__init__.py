"""Studies: experiments on normalisation, initialisation and optimisation that anybody can repeat.

    study.py     what a study is, and what it finds
    perform.py   runs one, and writes its numbers, its figures and its page

Everything else is one file a study, which arranges parts that `training/` has for its recipes too,
or a part that several studies share. Names and titles are known here without loading torch.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from training.errors import StudyError

if TYPE_CHECKING:
    from training.studies.study import Study

TITLES = {
    "normalization-gradients": "Gradients of every layer under batch, instance and spectral norm",
    "batch-norm": "What batch norm does to training at rates from 1e-4 to 1e-1",
    "initializers": "Gains of the initial weights, and the optimiser that meets them",
    "path-sgd": "Path-SGD against SGD, AdaGrad and Adam, from balanced and unbalanced starts",
    "gradient-ladder": "A network by hand, by autograd and by nn.Module",
    "dcgan-batchnorm": "The DCGAN with and without batch norm in its linear layers",
}
"""Each study's name and what it is about, in order."""

_MODULES = {"initializers": "initializer_grid"}


def load(name: str) -> Study:
    """A study by its name; this loads torch.

    Raises:
        StudyError: there is no such study.
    """
    if name not in TITLES:
        near = difflib.get_close_matches(name, TITLES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise StudyError(f"unknown study {name!r}{hint} Known: {', '.join(TITLES)}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_MODULES.get(name, name.replace('-', '_'))}")
    study: Study = module.STUDY
    return study
