"""Where the network runs and in which precision, with the reason."""

from dataclasses import dataclass
from pathlib import Path

import torch

from batman_cli.errors import UsageError
from batman_cli.settings import DeviceChoice, PrecisionChoice

CONTAINER = Path("/sys/fs/cgroup")  # where Linux tells the limits of a container
UNKNOWN_MEMORY = 4 << 30  # bytes assumed free where the system does not say
NO_MEMORY = (  # in errors of torch that have no type of their own
    *("DefaultCPUAllocator", "MPS backend out of memory", "CUDA error: out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)
BF16_CAPABILITY = (8, 0)  # CUDA compute capability with bf16 matrix units (Ampere)
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # of a CPU, as torch names them


@dataclass(frozen=True)
class Device:
    """Device and precision of a run."""

    torch_device: torch.device
    bf16: bool
    reason: str

    @property
    def name(self) -> str:
        """Short description, such as "cuda, bf16"."""
        return f"{self.torch_device.type}, {'bf16' if self.bf16 else 'fp32'}"


def choose_device(device: DeviceChoice, precision: PrecisionChoice) -> Device:
    """Device to run on.

    Half precision is chosen for CUDA cards and CPUs that have bf16 units only: on a CPU without
    them bf16 is many times slower than fp32 (docs/performance.md), and MPS lacks some operations.
    Raises UsageError for a device that this machine does not have.
    """
    if device == "auto":
        chosen, reason = _best_device()
    else:
        chosen, reason = device, "as asked"
        _require(device)
    if precision == "auto":
        bf16 = _has_bf16_units(chosen)
    else:
        bf16 = precision == "bf16"
        reason += f", {precision} as asked"
    return Device(torch.device(chosen), bf16, reason)


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on the device at present, roughly."""
    if device.type == "cuda":
        # What torch holds without using it is free as well.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return _free_host_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that an allocation failed, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in NO_MEMORY)


def release_memory(device: torch.device) -> None:
    """Gives cached blocks back, so that smaller ones fit after a failed allocation."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _best_device() -> tuple[str, str]:
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "mps", "Apple GPU"
    return "cpu", f"no GPU found, threads: {torch.get_num_threads()}"


def _has_bf16_units(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability() >= BF16_CAPABILITY
    if device == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in BF16_INSTRUCTIONS)
    return False


def _require(device: str) -> None:
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device in available and not available[device]():
        raise UsageError(
            f"device '{device}' is not available here",
            "torch does not see one",
            "use --device auto, or see `batman doctor`",
        )


def _free_host_memory() -> int:
    """Free memory of the machine, or of the container if that has less."""
    try:
        text = Path("/proc/meminfo").read_text()
        free = next(int(x.split()[1]) << 10 for x in text.splitlines() if "MemAvailable" in x)
    except (OSError, ValueError, StopIteration):
        return UNKNOWN_MEMORY
    try:
        limit = int((CONTAINER / "memory.max").read_text())
        used = int((CONTAINER / "memory.current").read_text())
        # Pages of files count as used, and are given up as soon as somebody wants memory.
        lines = (CONTAINER / "memory.stat").read_text().splitlines()
        used -= next((int(x.split()[1]) for x in lines if x.startswith("inactive_file ")), 0)
        return max(0, min(free, limit - used))
    except (OSError, ValueError):  # no container, or one without a limit
        return free
