"""The lock must be about what is pinned."""

from __future__ import annotations

from pathlib import Path

CONF = Path(__file__).parent.parent.parent / "conf"


def test_every_pin_but_torch_has_its_hashes() -> None:
    pins = {line for line in (CONF / "pins.txt").read_text().splitlines() if line[0] != "#"}
    entries = (CONF / "pins.lock").read_text().replace("\\\n", "").splitlines()
    locked = {entry.split()[0].lower() for entry in entries if not entry.startswith("#")}
    assert all("--hash=sha256:" in entry for entry in entries if not entry.startswith("#"))
    plain = {pin.lower().replace("_", "-") for pin in pins}
    assert plain - {name.replace("_", "-") for name in locked} == {"torch==2.13.0"}
    assert {name.replace("_", "-") for name in locked} <= plain
