"""Errors of training.

    GanagerieError
    └── TrainingError
        ├── RecipeError       a recipe that does not exist, or a value in it that cannot be
        ├── DatasetError      data that is missing or not what it should be
        ├── RunError          a run directory that cannot be used
        ├── StudyError        a study that does not exist, or a size that it cannot have
        │   └── StudyStopped  a study that was asked to stop before it had found anything
        └── CollapsedError    a run that is not worth going on with
            └── DivergedError a loss or a weight that is no longer a finite number

The root is in `zoo/errors.py`.
"""

from __future__ import annotations

from zoo.errors import GanagerieError


class TrainingError(GanagerieError):
    """Root of the errors of training."""


class RecipeError(TrainingError):
    """A recipe that does not exist, or a value in it that cannot be."""


class DatasetError(TrainingError):
    """Data that is missing or not what it should be."""


class RunError(TrainingError):
    """A run directory that cannot be used."""


class StudyError(TrainingError):
    """A study that does not exist, or a size that it cannot have."""


class StudyStopped(StudyError):
    """A study that was asked to stop before it had found anything."""


class CollapsedError(TrainingError):
    """A run that is not worth going on with: it has collapsed."""


class DivergedError(CollapsedError):
    """A loss or a weight that is no longer a finite number."""
