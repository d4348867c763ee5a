"""Energy from a folder laid out as Linux lays out its counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetune.models.energy import open_meter, total_of


def zone(powercap: Path, name: str, called: str, energy_uj: int, last_uj: int = 10_000_000) -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    for file, value in (("name", called), ("energy_uj", energy_uj), ("max_energy_range_uj", last_uj)):
        (folder / file).write_text(f"{value}\n")
    return folder / "energy_uj"


def test_packages_and_memory_are_counted_and_what_is_in_them_is_not(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    cores = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 500_000)
    platform = zone(tmp_path, "intel-rapl:1", "psys", 0)
    meter = open_meter(tmp_path)
    assert meter.source == "package-0, dram"
    for counter, now in ((package, 3_000_000), (cores, 9_000_000), (memory, 750_000), (platform, 9_000_000)):
        counter.write_text(f"{now}\n")
    assert meter.lap() == pytest.approx(2.25)
    assert meter.lap() == 0.0


def test_a_counter_that_came_round(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 9_999_999, last_uj=9_999_999)
    meter = open_meter(tmp_path)
    package.write_text("0\n")
    assert meter.lap() == pytest.approx(1e-6)
    package.write_text("2000000\n")
    assert meter.lap() == pytest.approx(2.0)
    package.write_text("1999999\n")
    assert meter.lap() == pytest.approx(9.999999)


def test_what_cannot_be_read_is_none_and_not_zero(tmp_path: Path) -> None:
    assert open_meter(tmp_path / "nowhere").lap() is None
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    (zone(tmp_path, "intel-rapl:1", "package-1", 5)).unlink()  # as where only root may read
    meter = open_meter(tmp_path)
    assert meter.source == "package-0"
    package.unlink()
    assert (meter.lap(), meter.lap()) == (None, None)
    assert total_of([1.0, None]) is None
