"""`CollapseMonitor` in a loop that is not ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.monitor.verdict import Health
from training.monitor.watcher import CollapseMonitor


class Loop:
    """Somebody's GAN of points on a circle, with spectral norm, dropout and AdamW."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.g = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        self.d = nn.Sequential(
            spectral_norm(nn.Linear(2, 32)), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1)
        )
        self.g_optimizer = torch.optim.AdamW(self.g.parameters(), 1e-3)
        self.d_optimizer = torch.optim.AdamW(self.d.parameters(), 1e-3)

    def step(self) -> dict[str, Tensor]:
        angle = 6.283 * torch.rand(64, 1)
        real = torch.cat((angle.cos(), angle.sin()), 1)
        fake = self.g(torch.randn(64, 4))
        softplus = nn.functional.softplus
        loss_d = softplus(-self.d(real)).mean() + softplus(self.d(fake.detach())).mean()
        self.d_optimizer.zero_grad()
        loss_d.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.d_optimizer.step()
        loss_g = softplus(-self.d(fake)).mean()
        self.g_optimizer.zero_grad()
        loss_g.backward()  # type: ignore[no-untyped-call]  # as above
        self.g_optimizer.step()
        return {"d": loss_d.detach(), "g": loss_g.detach()}

    def weights(self) -> Iterator[Tensor]:
        return iter([*self.g.state_dict().values(), *self.d.state_dict().values()])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_written_down_of_it(tmp_path: Path) -> None:
    loop, log = Loop(), tmp_path / "spectra.jsonl"
    monitor = CollapseMonitor(generator=loop.g, discriminator=loop.d, every=10, log=log)
    for itr in range(1, 31):
        verdict = monitor.observe(itr, losses=loop.step(), learning_rate=1e-3)
        assert verdict.health is Health.healthy
    records = lines(log)
    assert [record["itr"] for record in records] == [10, 20, 30]
    for record in records:
        assert record.keys() == {
            *("itr", "G", "D", "loss", "gradient", "update", "nonfinite"),
            *("learning_rate", "monitor_s"),
        }
        assert record["G"].keys() == record["gradient"]["G"].keys() == {"0", "2"}
        assert record["D"].keys() == record["update"]["D"].keys() == {"0", "3"}
        assert all(0 < size < 0.1 for size in record["update"]["G"].values())
        assert record["nonfinite"] == {"G": 0.0, "D": 0.0}
    raw = loop.d[0].parametrizations.weight.original.detach()  # type: ignore[union-attr, operator]
    assert records[-1]["D"]["0"] == pytest.approx(torch.linalg.svdvals(raw)[:3].tolist(), rel=1e-4)
    assert monitor.record == records[-1]


def test_watching_changes_nothing() -> None:
    def trained(*, watched: bool) -> list[Tensor]:
        loop = Loop()
        monitor = CollapseMonitor(generator=loop.g, discriminator=loop.d, every=2, audit=True)
        for itr in range(1, 21):
            losses = loop.step()
            if watched:
                monitor.observe(itr, losses=losses)
        return [weight.clone() for weight in loop.weights()]

    pairs = zip(trained(watched=True), trained(watched=False), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_an_audit_says_how_far_off_the_values_are(tmp_path: Path) -> None:
    loop = Loop()
    monitor = CollapseMonitor(generator=loop.g, discriminator=loop.d, every=1, audit=True)
    monitor.observe(1, losses=loop.step())
    assert monitor.record["audit"].keys() == {"G", "D"}
    assert all(
        error < 1e-4 for errors in monitor.record["audit"].values() for error in errors.values()
    )


def test_nan_is_caught_between_ticks() -> None:
    loop = Loop()
    monitor = CollapseMonitor(generator=loop.g, discriminator=loop.d, every=50)
    for itr in range(1, 8):
        losses = loop.step()
        if itr == 7:
            losses["g"] = torch.tensor(float("nan"))
        verdict = monitor.observe(itr, losses=losses)
    assert verdict.health is Health.collapsed
    assert monitor.collapsed
    assert (verdict.itr, str(verdict)) == (7, "collapsed: loss of g is NaN or infinite")


def test_losses_may_be_plain_numbers_or_missing() -> None:
    loop = Loop()
    monitor = CollapseMonitor(generator=loop.g, discriminator=loop.d, every=1)
    assert monitor.observe(1).health is Health.healthy
    assert "loss" not in monitor.record
    assert monitor.observe(2, losses={"d": 1.0, "g": 2}).health is Health.healthy
    assert monitor.record["loss"] == {"d": 1.0, "g": 2.0}


def test_looks_come_at_their_own_interval_and_when_asked_for() -> None:
    loop, looks = Loop(), list[int]()

    def look() -> dict[str, float]:
        looks.append(len(looks))
        return {"proxy_fid": 7.0}

    monitor = CollapseMonitor(
        generator=loop.g,
        discriminator=loop.d,
        every=4,
        look=look,
        look_every=6,
    )
    seen = []
    for itr in range(1, 13):
        monitor.observe(itr, look=itr == 5)
        if "proxy_fid" in monitor.record and monitor.record["itr"] == itr:
            seen.append(itr)
    assert seen == [5, 6, 12]
    assert len(looks) == 3


@pytest.mark.parametrize("every", [1, 5, 10])
def test_a_resumed_loop_goes_on_to_the_same_records(every: int) -> None:
    loop = Loop()
    first = CollapseMonitor(generator=loop.g, discriminator=loop.d, every=every)
    second = CollapseMonitor(generator=loop.g, discriminator=loop.d, every=every)
    for itr in range(1, 10):
        first.observe(itr, losses=loop.step())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.verdict == first.verdict
    losses = loop.step()
    assert first.observe(10, losses=losses) == second.observe(10, losses=losses)
    timeless = [{k: v for k, v in m.record.items() if k != "monitor_s"} for m in (first, second)]
    assert timeless[0]["update"].keys() == {"G", "D"}
    assert timeless[0] == timeless[1]


def test_a_step_back_to_older_weights_is_no_update() -> None:
    loop = Loop()
    monitor = CollapseMonitor(generator=loop.g, discriminator=loop.d, every=1)
    monitor.observe(1, losses=loop.step())
    older = copy.deepcopy(loop.g.state_dict()), copy.deepcopy(loop.d.state_dict())
    then = copy.deepcopy(monitor.state_dict())
    monitor.observe(2, losses=loop.step())
    with torch.no_grad():
        for parameter in loop.g.parameters():
            parameter.fill_(1e3)
    monitor.observe(3, losses=loop.step())
    loop.g.load_state_dict(older[0])
    loop.d.load_state_dict(older[1])
    monitor.load_state_dict(then)
    monitor.observe(2, losses=loop.step())
    assert 0 < max(monitor.record["update"]["G"].values()) < 0.1
    monitor.forget()
    monitor.observe(3, losses=loop.step())
    assert "update" not in monitor.record


@pytest.mark.parametrize("values", [{"every": 0}, {"look_every": 0}])
def test_intervals_are_one_or_more(values: dict[str, int]) -> None:
    loop = Loop()
    with pytest.raises(ValueError, match="must be 1 or more"):
        CollapseMonitor(generator=loop.g, discriminator=loop.d, **values)  # type: ignore[arg-type]
