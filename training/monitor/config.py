"""What is watched of a run, how often, and what a verdict leads to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.network_config import Frozen, Positive

RemedyName = Literal["lower-rates", "lower-g-rate", "strengthen-d", "clamp-sigma0", "more-d-steps"]


class MonitorConfig(Frozen):
    """The collapse monitor; see `training/monitor/`."""

    every: Positive = Field(50, description="iterations between ticks: spectra, gradients, losses")
    look_every: Positive = Field(500, description="iterations between looks at samples")
    samples: Annotated[int, Field(ge=64)] = Field(512, description="images of a look")
    features: Literal["auto", "classifier", "random"] = Field(
        "auto",
        description="what looks compare in; auto: the classifier of the data, if there is one",
    )
    on_collapse: Literal["warn", "stop", "rollback"] = Field(
        "stop", description="what a collapse leads to; nothing is deleted"
    )
    remedies: tuple[RemedyName, ...] = Field(
        ("lower-rates", "strengthen-d", "clamp-sigma0"),
        description="what a rollback changes in the recipe",
    )
    max_rollbacks: int = Field(3, ge=0, description="after so many a collapse stops the run")
    audit: bool = Field(False, description="compare every spectrum with a full decomposition; slow")
