"""What several test files share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("any-machine", deadline=None)  # a busy machine is no fault
settings.load_profile("any-machine")

_BESIDE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"
_SAMPLES = Path(os.environ.get("BATMAN_SAMPLES") or _BESIDE_CHECKOUT)


def samples(part: str = "") -> Path:
    """A file or folder of the sample data; the test that asks is skipped where it is absent."""
    path = _SAMPLES / part
    if not path.exists():
        pytest.skip(f"no sample data {path} (BATMAN_SAMPLES names their folder)")
    return path
