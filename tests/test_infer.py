"""What the runner does when memory runs out, when numbers do, and how reading ahead ends."""

import threading
import time
from pathlib import Path

import pytest
import torch
from test_models import tiny
from test_tiles import CPU, frames, shipped_like

from batman_cli.ahead import read_ahead
from batman_cli.device import Device, choose_device, free_memory, is_out_of_memory
from batman_cli.errors import MemoryExhausted, NotFinite
from batman_cli.infer import Frame, Runner, infer
from batman_cli.models import State, build


class Failing:
    """A network that fails when it is shown more than `limit` samples at once."""

    def __init__(self, limit: int) -> None:
        self.inner, self.limit = shipped_like(), limit
        self.config, self.delay = self.inner.config, 0

    def step(self, planes: torch.Tensor, noise: torch.Tensor, state: State | None):
        if planes.shape[-1] * planes.shape[-2] > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner.step(planes, noise, state)

    def flush(self, state: State) -> list[torch.Tensor]:
        return self.inner.flush(state)

    def to(self, device: torch.device) -> "Failing":
        return self


def test_out_of_memory_shrinks_the_tile_and_gives_the_same_as_that_tile() -> None:
    burst = frames(3, 384, 384)
    runner = Runner(Failing(350 * 350), CPU)
    shrunk = [runner.step(frame) for frame in burst]
    assert runner.tile == 192
    fixed = Runner(shipped_like(), CPU, tile=192)
    for picture, frame in zip(shrunk, burst, strict=True):
        expected = fixed.step(frame)
        assert picture is not None and expected is not None
        assert torch.equal(picture, expected)


def test_memory_that_runs_out_midway_keeps_the_state() -> None:
    burst = frames(3, 384, 384)
    network = Failing(10**9)
    runner, whole = Runner(network, CPU), Runner(shipped_like(), CPU, tile=0)
    for index, frame in enumerate(burst):
        if index == 2:
            network.limit = 350 * 350
        picture, expected = runner.step(frame), whole.step(frame)
        assert picture is not None and expected is not None
        assert float((picture - expected).abs().max()) <= 1 / 255


def test_a_tile_size_of_the_user_is_never_changed() -> None:
    with pytest.raises(MemoryExhausted, match="size was given"):
        Runner(Failing(100), CPU, tile=128).step(frames(1, 256, 256)[0])


def test_no_memory_even_for_the_smallest_tile() -> None:
    with pytest.raises(MemoryExhausted, match="smallest"):
        Runner(Failing(100), CPU).step(frames(1, 256, 256)[0])


def test_other_errors_are_not_taken_for_memory() -> None:
    runner = Runner(shipped_like(), CPU)
    broken = frames(1, 64, 64)[0]
    with pytest.raises(RuntimeError, match=r"size|shape|dimension|expected"):
        runner.step(broken._replace(planes=broken.planes[:3]))


@pytest.mark.parametrize("kind", ["clstm", "3dcnn"])
def test_nan_is_named_and_never_a_picture(kind: str) -> None:
    burst = frames(5, 64, 64)
    burst[3].planes[0, 5, 5] = float("nan")
    pictures = []
    with pytest.raises(NotFinite, match="frame 3"):
        pictures.extend(infer(tiny(kind), iter(burst), CPU))
    assert all(bool(torch.isfinite(p).all()) for p in pictures)


def test_half_precision_that_overflows_is_done_again_in_full() -> None:
    network = shipped_like()
    step, calls = network.step, []

    def overflowing(planes, noise, state):
        picture, after = step(planes, noise, state)
        calls.append(torch.is_autocast_enabled("cpu"))
        return (picture * float("inf") if calls[-1] else picture), after

    network.step = overflowing  # type: ignore[method-assign]
    runner = Runner(network, Device(torch.device("cpu"), True, "test"))
    picture = runner.step(frames(1, 64, 64)[0])
    assert picture is not None and bool(torch.isfinite(picture).all())
    assert calls == [True, False]


def test_half_precision_stays_close() -> None:
    burst = frames(3, 64, 64)
    half = Device(torch.device("cpu"), True, "test")
    full = list(infer(tiny("3dcnn"), iter(burst), CPU))
    for a, b in zip(full, infer(tiny("3dcnn"), iter(burst), half), strict=True):
        assert float((a - b).square().mean()) < 1e-4  # 40 dB


@pytest.mark.parametrize("units", [[], ["avx512_bf16"], ["amx_bf16"]])
def test_a_processor_computes_in_half_precision_where_it_has_units_for_it(
    units: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(units, True))
    assert choose_device("cpu", "auto").bf16 == bool(units)
    assert not choose_device("cpu", "fp32").bf16
    assert choose_device("cpu", "bf16").bf16


def test_noise_at_the_edges_is_no_more_than_elsewhere() -> None:
    """A frame whose sides fit no network is continued so that noise still averages out there."""
    torch.manual_seed(2)
    network = build("clstm", {"widths": (8, 8, 8, 8), "head": 4}).eval()  # adds nothing, untrained
    planes = (0.2 + 0.1 * torch.randn(4, 11 + 3 * 32, 160)).numpy()
    noise = torch.tensor([[0.0] * 4, [0.01] * 4]).numpy()
    picture = Runner(network, CPU).step(Frame(planes, noise))
    assert picture is not None
    error = (picture - 0.2).square().mean((0, 2)).sqrt()  # of each row
    assert float(error[-2:].mean()) < 3 * float(error[32:-64].mean())


def test_read_ahead_keeps_order_and_raises_in_place() -> None:
    def items():
        yield from range(5)
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        seen.extend(read_ahead(items()))
    assert seen == [0, 1, 2, 3, 4] or seen == []


def test_read_ahead_is_bounded_and_its_thread_ends() -> None:
    made = []

    def items():
        for i in range(1000):
            made.append(i)
            yield i

    ahead = read_ahead(items(), depth=2)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert len(made) <= 5
    ahead.close()
    assert not [t for t in threading.enumerate() if t.name == "read-ahead"]


class FlushProbe:
    """A sliding-window network that notes what it is asked to flush, and may fail at it."""

    def __init__(self, limit: int = 10**9, *, broken: bool = False) -> None:
        self.inner, self.limit, self.broken = tiny("3dcnn"), limit, broken
        self.config, self.delay = self.inner.config, self.inner.delay
        self.step = self.inner.step
        self.flushed: list[int] = []

    def flush(self, state: State) -> list[torch.Tensor]:
        side = int(state.tensors[1].shape[-1])
        if side * side > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.flushed.append(side)
        pictures = self.inner.flush(state)
        return [p * float("nan") for p in pictures] if self.broken else pictures

    def to(self, device: torch.device) -> "FlushProbe":
        return self


def test_last_frames_are_tiled_like_the_others() -> None:
    burst, probe = frames(3, 384, 384), FlushProbe()
    tiled = list(infer(probe, iter(burst), CPU, tile=192))
    assert max(probe.flushed) < 384
    for picture, whole in zip(tiled, infer(tiny("3dcnn"), iter(burst), CPU, tile=0), strict=True):
        assert float((picture - whole).abs().max()) <= 1 / 255


def test_memory_that_runs_out_at_the_last_frames_shrinks_the_tile() -> None:
    pictures = list(infer(FlushProbe(350 * 350), iter(frames(3, 384, 384)), CPU))
    assert len(pictures) == 3


def test_nan_in_the_last_frames_is_named() -> None:
    with pytest.raises(NotFinite):
        list(infer(FlushProbe(broken=True), iter(frames(3, 64, 64)), CPU))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_lack_of_memory_is_told_from_other_faults(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_size_of_tiles_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that torch keeps for the next frame is no reason to cut that into tiles."""
    free = [10**12]
    monkeypatch.setattr("batman_cli.infer.free_memory", lambda _: free[0])
    runner = Runner(tiny("clstm"), CPU)
    for frame in frames(2, 720, 720):
        runner.step(frame)
        free[0] = 0
    assert runner.tile is None


@pytest.mark.parametrize(
    ("cached", "expected"), [(0, 100), (700, 800), (10_000, 1000)], ids=["none", "some", "most"]
)
def test_cached_pages_of_files_are_free_memory(
    cached: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of 1000 MiB that uses 900, some of which are pages of the raw files read."""
    mib = 1 << 20
    (tmp_path / "memory.max").write_text(f"{1000 * mib}\n")
    (tmp_path / "memory.current").write_text(f"{900 * mib}\n")
    stat = f"anon 1\ninactive_file {min(cached, 900) * mib}\nactive_file 5\n"
    (tmp_path / "memory.stat").write_text(stat)
    monkeypatch.setattr("batman_cli.device.CONTAINER", tmp_path)
    assert free_memory(torch.device("cpu")) == expected * mib


def test_a_container_that_is_full_has_no_memory_and_not_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("max", "10"), ("current", "20"), ("stat", "")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr("batman_cli.device.CONTAINER", tmp_path)
    assert free_memory(torch.device("cpu")) == 0


def test_a_tile_is_as_small_as_the_network_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for 800 x 800 samples of `clstm`: a network that takes more gets smaller tiles."""
    monkeypatch.setattr("batman_cli.infer.free_memory", lambda _: 6000 * 800**2)
    (frame,), tiles = frames(1, 720, 720), dict[str, int | None]()
    for kind in ("clstm", "kpn"):
        runner = Runner(tiny(kind), CPU)
        runner.step(frame)
        tiles[kind] = runner.tile
    assert tiles == {"clstm": None, "kpn": 424}
