"""A whole training run: data, network, loop; anew, or from where it was left."""

import dataclasses
import datetime
import hashlib
import os
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from batman_cli import weights
from batman_cli.device import choose_device, is_out_of_memory
from batman_cli.errors import BadInput, MemoryExhausted, OutputError, WeightsError
from batman_cli.output import reason
from batman_cli.progress import Reporter
from batman_cli.raw import RAW_SUFFIXES
from batman_cli.settings import TrainSettings
from batman_cli.training import state
from batman_cli.training.bursts import is_clip, stock_of
from batman_cli.training.card import DRV_SCENES, TrainingFacts
from batman_cli.training.config import checked, plain, toml
from batman_cli.training.drv_windows import shot_count
from batman_cli.training.export import export
from batman_cli.training.folder import BEST, CACHE, LAST, STATE, TOML, clear
from batman_cli.training.loop import Loop
from batman_cli.training.ranks import Ranks, own_rank, together
from batman_cli.training.record import Record
from batman_cli.training.signals import Ending
from batman_cli.training.sources import DrvScene, Library, Source, prepare
from batman_cli.training.state import Run, load_run, new_run
from batman_cli.training.step import Crew
from batman_cli.training.validate import FRAMES
from batman_cli.weights import load_network


def saved_settings(folder: Path) -> TrainSettings:
    """The settings of the run in a folder. Raises WeightsError if there is none."""
    file = folder / STATE
    if not file.is_file():
        what = f"there is no run to resume in {folder}"
        raise WeightsError(what, f"it has no {STATE}", "begin one without --resume")
    return TrainSettings(**checked(state.read_facts(file)["settings"], str(file)))


def export_run(folder: Path, target: Path, licence: str | None, *, overwrite: bool) -> Path:
    """Writes the best network of a run as a model with its card; gives its checkpoint.

    licence: of the data, for the card. Raises WeightsError for a run without a validation, and
    OutputError where the model cannot be written, or exists without `overwrite`.
    """
    if not (folder / BEST).is_file():
        raise WeightsError(
            f"{folder} has no {BEST}",
            "no validation has come to a finite score yet",
            f"train on, with a lower --rate if need be; {LAST} can be tried with `enhance`",
        )
    network = load_network(None, file=folder / BEST)
    scores = weights.read_facts(folder / BEST).get("scores", {})
    position, facts = state.read_position(folder / STATE), state.read_facts(folder / STATE)
    settings = saved_settings(folder)
    told = TrainingFacts(
        settings,
        position.step,
        position.seconds / 60,
        facts["hardware"],
        facts["started"],
        facts["data"],
        facts["held_out"],
        licence,
        position.before,
        scores,
    )
    return export(network, settings.model, target, told, overwrite=overwrite)


def train(settings: TrainSettings, folder: Path, reporter: Reporter, *, resume: bool) -> int | None:
    """Trains until the settings' end; what it leaves in the folder stands above.

    Returns the number of the signal that ended it early, with everything saved, else None.
    Raises BadInput for data that cannot be used, WeightsError for a state that cannot be resumed,
    OutputError where nothing can be written, NotFinite when training has gone astray.
    """
    ranks = own_rank()
    with _crew(settings, ranks) as crew:
        reporter.say(f"{settings.model} on {crew.device.name} ({crew.device.reason})")
        run = _loaded(settings, folder, crew) if resume else _new(settings, crew)
        if settings.statistics == "frozen":
            state.freeze_statistics(run.network)
        if resume:
            reporter.say(f"going on after step {run.position.step}")
        elif settings.start:
            reporter.say(f"beginning from {settings.start.name} where names and shapes agree")
        library = _prepared(settings, folder, ranks, reporter)
        facts = _facts(settings, library, crew)
        if resume:
            _check_same(folder, facts)
        if ranks.first:
            if not resume:
                clear(folder)
            _write_settings(folder, settings)
        recording = Record(folder, from_step=run.position.step) if ranks.first else nullcontext()
        stocks = stock_of(library.training), stock_of(library.validation)

        def asked_to_end() -> None:
            reporter.warn("ending after this step and saving; again gives up what is not saved")

        with Ending(asked_to_end) as ending, recording as record:
            if record and not record.tensorboard:
                reporter.say("no TensorBoard events: pip install 'batman-cli[train]' for them")
            loop = Loop(settings, folder, facts, *stocks, crew, run, record, reporter, ending)
            try:
                return loop.go_on()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise MemoryExhausted(
                    "training does not fit into memory",
                    str(error).splitlines()[0],
                    "choose a smaller --batch, --size or --frames",
                ) from error


@contextmanager
def _crew(settings: TrainSettings, ranks: Ranks) -> Generator[Crew]:
    """Threads and processes that train together."""
    device = choose_device(settings.device, settings.precision)
    on_cpu = device.torch_device.type == "cpu"
    if ranks.world > 1 and device.torch_device.type == "cuda":
        device = dataclasses.replace(device, torch_device=torch.device("cuda", ranks.local))
    cores = _cores(settings)
    threads = min(cores, max(1, settings.batch // ranks.world)) if on_cpu else 1
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, cores // threads))
    try:
        with ThreadPoolExecutor(threads, "train") as pool, together(ranks, device.torch_device):
            yield Crew(pool, threads, device, ranks)
    finally:
        torch.set_num_threads(before)


def _cores(settings: TrainSettings) -> int:
    """Cores that this process may use: its share of the machine's, at most what is asked."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = max(1, (found or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return min(settings.threads or share, share)


def _prepared(settings: TrainSettings, folder: Path, ranks: Ranks, reporter: Reporter) -> Library:
    """The data, decoded; what is left out is told."""
    library = prepare(
        settings.data,
        settings.cache or folder / CACHE,
        bin=settings.bin,
        drv_input=settings.drv_input,
        on_bad=settings.on_bad_data,
        share=(ranks.rank, ranks.world),
        on_item=reporter.counting("decoding", "decoded", "photos, clips and scenes"),
    )
    ranks.wait()
    library = _without_short(library, max(settings.frames, FRAMES))
    if ranks.first:
        for error in library.skipped:
            reporter.warn(f"left out: {error}")
        if set(library.training) & set(library.validation):
            reporter.warn("too little data: validated on what is trained on")
        reporter.event(
            "data",
            {
                "training": len(library.training),
                "validation": len(library.validation),
                "left_out": [str(error) for error in library.skipped],
            },
        )
        counts = f"{len(library.training)} to train on, {len(library.validation)} to validate on"
        reporter.say(f"photos, clips and scenes: {counts}, {len(library.skipped)} left out")
    return library


def _without_short(library: Library, frames: int) -> Library:
    """The data without scenes of fewer shots than bursts have frames: noise must not repeat.

    Raises BadInput if nothing is left.
    """
    every = (*library.training, *library.validation)
    short = {s for s in every if isinstance(s, DrvScene) and shot_count(s) < frames}
    why = f"fewer than {frames} shots, the frames of a burst"
    skipped = tuple(BadInput(scene.name, why) for scene in every if scene in short)
    training = tuple(source for source in library.training if source not in short)
    validation = tuple(source for source in library.validation if source not in short)
    if not (training and validation):
        raise BadInput("nothing to train on", f"every scene has {why}", "ask for fewer --frames")
    return Library(training, validation, (*library.skipped, *skipped))


def _new(settings: TrainSettings, crew: Crew) -> Run:
    return new_run(
        settings.model,
        settings.network,
        optimiser=settings.optimiser,
        rate=settings.highest_rate,
        weight_decay=settings.weight_decay,
        seed=settings.seed,
        start=settings.start,
        device=crew.device,
    )


def _loaded(settings: TrainSettings, folder: Path, crew: Crew) -> Run:
    return load_run(
        folder / STATE,
        optimiser=settings.optimiser,
        rate=settings.highest_rate,
        weight_decay=settings.weight_decay,
        device=crew.device,
    )


def _check_same(folder: Path, facts: dict[str, Any]) -> None:
    """Raises BadInput where the data differ from those that the run began with.

    facts: those of now; the day on which the run began is carried over.
    """
    saved = state.read_facts(folder / STATE)
    if saved["fingerprint"] != facts["fingerprint"]:
        raise BadInput(
            "the data are not those that the run began with",
            "files were added, removed or changed",
            f"restore them, or begin a new run with --start {folder / LAST}",
        )
    facts["started"] = saved["started"]


def _write_settings(folder: Path, settings: TrainSettings) -> None:
    try:
        (folder / TOML).write_bytes(toml(settings).encode(errors="surrogateescape"))
    except OSError as error:
        raise OutputError(f"cannot write {folder / TOML}", reason(error)) from error


def _facts(settings: TrainSettings, library: Library, crew: Crew) -> dict[str, Any]:
    """What is saved with the run: its settings, and what its model card tells."""
    every = set(library.training) | set(library.validation)
    kinds = Counter(_kind(source) for source in every)
    device, ranks = crew.device.torch_device, crew.ranks
    unit = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    number = ranks.world * _cores(settings)
    return {
        "settings": plain(settings),
        "fingerprint": _fingerprint(library),
        "data": dict(kinds),
        "held_out": len(set(library.validation) - set(library.training)),
        "hardware": f"{number} {unit} core{'s' if number > 1 else ''}"
        if device.type == "cpu"
        else f"{ranks.world} x {unit}",
        "started": datetime.date.today().isoformat(),
    }


def _kind(source: Source) -> str:
    """Its kind in the plural, as the card counts them."""
    if isinstance(source, DrvScene):
        return DRV_SCENES
    if Path(source.name).suffix.lower() in RAW_SUFFIXES:
        return "raw files"
    return "clips" if is_clip(source) else "photos"


def _fingerprint(library: Library) -> str:
    """Changes with every source and its place: burst numbers mean something else then."""
    entries = [
        [(one.planes if isinstance(one, DrvScene) else one.pictures).parent.name for one in part]
        for part in (library.training, library.validation)
    ]
    return hashlib.sha256(repr(entries).encode()).hexdigest()
