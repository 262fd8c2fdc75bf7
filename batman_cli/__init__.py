"""Bright, steady video from bursts of raw frames shot in near darkness.

Example:
    from batman_cli import EnhanceSettings, enhance

    enhance("burst/", "out.mp4", EnhanceSettings(model="clstm"))
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batman_cli.burst import Burst, open_burst
    from batman_cli.pipeline import Result, enhance, enhance_frames
    from batman_cli.settings import EnhanceSettings
    from batman_cli.weights import load_network

__version__ = "0.1.0"
__all__ = [
    "Burst",
    "EnhanceSettings",
    "Result",
    "enhance",
    "enhance_frames",
    "load_network",
    "open_burst",
]

_HOMES = {
    "Burst": "burst",
    "EnhanceSettings": "settings",
    "Result": "pipeline",
    "enhance": "pipeline",
    "enhance_frames": "pipeline",
    "load_network": "weights",
    "open_burst": "burst",
}


def __getattr__(name: str) -> object:
    """Loads a public name on first use, so that `batman --help` need not wait for torch."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'batman_cli' has no attribute '{name}'")
    return getattr(import_module(f"batman_cli.{_HOMES[name]}"), name)
