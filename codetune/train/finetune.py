"""From a recipe to a tuned model in a run folder: load, tokenise, pack, attach, train, save, and check what was saved.

    codetune train recipes/train-lora.yaml
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from codetune.batches import Batch
from codetune.config import TrainRecipe
from codetune.data.training import training_data
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.models.forecast import machine_here
from codetune.models.forward import summed_loss
from codetune.models.load import LoadedModel
from codetune.models.machine import hardware, peak_memory_bytes, process_bytes, versions
from codetune.models.stages import tuned_hash
from codetune.records import Json
from codetune.runs import locked, read_rows, spared, write_json
from codetune.train.again import ended_by_bad_step, kept_result
from codetune.train.checks import Watch, difference, eos_labels, probe_batch, probe_logits
from codetune.train.fitting import longest_batches, settle_checkpointing
from codetune.train.loop import train
from codetune.train.material import prepare
from codetune.train.monitor import validation_loss
from codetune.train.movement import Start, start_scale, way_of
from codetune.train.out_of_memory import memory_limits, shortage_of
from codetune.train.parallel import ALONE, Group
from codetune.train.precision import autocast, on_this_machine
from codetune.train.resume import CHECKPOINT, Progress
from codetune.train.run import METRICS, Run, Sampler
from codetune.train.start import stands_on
from codetune.train.subject import ADAPTER, adapt, let_go, load_base, reload, save, settle_method
from codetune.train.summary import held_out, summarise
from codetune.train.trackers import Trackers, open_trackers, require_trackers

RESULT = "train.json"
SamplerOf = Callable[[LoadedModel], Sampler]


@dataclass(frozen=True, slots=True)
class Before:
    """What the untuned model makes of a few examples, and of the validation set (None without one)."""

    probe: Batch
    logits: torch.Tensor
    loss: float | None
    probe_loss: float


def finetune(
    recipe: TrainRecipe,
    folder: Path,
    report: Callable[[Progress, int], None] | None = None,
    warn: Callable[[str], None] = warnings.warn,
    sampler_of: SamplerOf | None = None,
    notes: Json | None = None,
    group: Group = ALONE,
) -> dict[str, Any]:
    """Train as the recipe says, from the folder's checkpoint if there is one; what is tuned is then in `folder/adapter`.

    `sampler_of` gives what has the loaded model answer during training, for a recipe with `samples`; see `codetune.tuning`. `notes` go
    into what is returned.

    Returns what a table and the gates need to know, which is also kept in `folder/train.json`: a run that has it is done and is not
    trained again. `warn` is told of damaged checkpoints, full disks and bad steps, a line each. Raises UserError for a model, data set or
    setting that cannot work, before anything is trained. The processes of a `group` call this alike; the first of them writes.
    """
    recipe = on_this_machine(recipe)
    with locked(folder) if group.leads else contextlib.nullcontext():
        config = recipe.model_dump(mode="json") | stands_on(recipe, folder)
        if (kept := group.share(kept_result(config, folder / RESULT) if group.leads else None)) is not None:
            return kept
        require_monitored(recipe, sampler_of is not None)
        require_trackers(recipe.trackers)
        if group.leads:
            write_json(folder / "config.json", config)
        recipe = settle_method(recipe, group.size)
        process_bytes()  # of a forecast, should memory run out
        with memory_limits(folder):
            loaded = load_base(recipe)
        with group.leader_first():
            material = prepare(recipe, loaded)
        group.refuse_differing("models or data", f"{loaded.model_hash} {len(material.examples)} {material.steps}")
        if recipe.train.activation_checkpointing == "auto":
            found = settle_checkpointing(recipe, loaded.model.config, longest_batches(material, recipe.train), machine_here(recipe.device))
            recipe, chosen = group.share(found)
            notes = (notes or {}) | {"activation_checkpointing": chosen}
            if group.leads:
                warn(chosen)
        told = spared(report or (lambda *_: None)), spared(warn)
        run = Run(Adapted(loaded.model, "base"), loaded.family, material, recipe.train, recipe.method.learning_rate, folder, *told, group)
        with memory_limits(folder, shortage_of(recipe, loaded.model.config, material)):
            before = _untuned(recipe, run)
            run = replace(run, adapted=adapt(recipe, loaded), sampler=sampler_of(loaded) if sampler_of else None)
            watch, start = Watch.over(run.adapted), Start.of(run.adapted)
            begun: Json = {"start_scale": start_scale(run.adapted), "probe_loss": [before.probe_loss]}
            begun["probe_loss"].append(_probe_loss(recipe, run.adapted, run.family, before.probe))
            progress = _train(recipe, run, warn)
        measured: Json = {"peak_memory_bytes": peak_memory_bytes(recipe.device), "processes": group.size} | (notes or {})
        measured |= {"energy_j": progress.energy_j if progress.step else None, "energy_source": run.meter.source}
        tuned = run.whole()
        if not group.leads:
            return group.share({})
        save(tuned, loaded, folder / ADAPTER)
        summary = summarise(recipe, tuned, material, progress) | measured
        summary |= {"model_hash": loaded.model_hash, "base_format": loaded.weights_format, "hardware": hardware(), "versions": versions()}
        summary["held_out"] = held_out(before.loss, progress, material, recipe, loaded)
        summary["adapter_bytes"] = sum(file.stat().st_size for file in (folder / ADAPTER).glob("*.safetensors"))
        summary["tuned_hash"] = tuned_hash(folder / ADAPTER)
        with memory_limits(folder):
            begun["probe_loss"].append(_probe_loss(recipe, tuned, run.family, before.probe))
            summary["checks"] = watch.findings(tuned) | begun | start.movement(tuned, _way(run, progress))
            summary["checks"] |= _checks(recipe, run, tuned, before, progress) | eos_labels(material.examples, loaded.tokenizer.eos_id)
        if recipe.decontaminate is not None:
            summary["train_test_overlap"] = training_data(recipe.data, recipe.decontaminate).overlap.summary()
        write_json(folder / RESULT, summary)
        if not ended_by_bad_step(folder):
            shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        return group.share(summary)


def require_monitored(recipe: TrainRecipe, samples: bool) -> None:
    """Raises UserError where the run is to go by a pass rate that nothing measures."""
    if recipe.train.monitor == "pass_rate" and not samples:
        raise UserError("train.monitor=pass_rate needs a `samples` section: give samples.benchmark, or set train.monitor=loss")


def _untuned(recipe: TrainRecipe, run: Run) -> Before:
    """Measured with the base model in the run."""
    probe = probe_batch(run.material.examples)
    loss = validation_loss(run) if run.material.validation is not None else None
    return Before(probe, _probed(recipe, run.adapted, run.family, probe), loss, _probe_loss(recipe, run.adapted, run.family, probe))


def _train(recipe: TrainRecipe, run: Run, warn: Callable[[str], None]) -> Progress:
    """The training itself, with whoever is to be told of it."""
    run.spread()
    begun = max((row["step"] for row in read_rows(run.folder / METRICS)), default=0)
    opened = open_trackers(recipe, run.folder, begun, warn) if run.group.leads else contextlib.nullcontext(Trackers())
    with opened as run.trackers:
        return train(run)


def _checks(recipe: TrainRecipe, run: Run, tuned: Adapted, before: Before, progress: Progress) -> dict[str, Any]:
    """What the gates need to know of losses and logits. The tuned model is used up."""
    logits = _probed(recipe, tuned, run.family, before.probe)
    found = {
        "losses": progress.step + (not progress.losses_finite), "non_finite_losses": int(not progress.losses_finite),
        "adapter_effect": difference(logits, before.logits),
    }  # fmt: skip
    if recipe.architecture is None:
        if run.shards is None:
            let_go(tuned)  # so that the base never lies in memory twice
        again = reload(recipe, run.folder, whole=False)[1]
        found["reload_difference"] = difference(_probed(recipe, again, run.family, before.probe), logits)
    return found


@torch.no_grad()
def _probe_loss(recipe: TrainRecipe, adapted: Adapted, family: Family, probe: Batch) -> float:
    """Mean loss of the probe's supervised tokens, in the precision of the training."""
    adapted.root.eval()
    with autocast(recipe.train, adapted.model.device):
        return float(summed_loss(adapted, family, probe.to(adapted.model.device))) / max(1, probe.num_targets)


def _way(run: Run, progress: Progress) -> float:
    """How far the optimiser could have moved a weight of those that were kept."""
    kept = progress.best_step if run.config.keep == "best" and progress.best_step is not None else progress.step
    return way_of(run.config, run.learning_rate, kept, len(run.material.steps))


def _probed(recipe: TrainRecipe, adapted: Adapted, family: Family, probe: Batch) -> torch.Tensor:
    """The probe's logits in the precision of the training: from disk they must agree to the last bit."""
    with autocast(recipe.train, adapted.model.device):
        return probe_logits(adapted, family, probe)
