"""What the jobs of a study will take of a machine's memory, by the forecast: in a process of its own, so that who asks needs no torch.

    python -m codetune.study.needs jobs.json [--gpu BYTES]

`jobs.json` is a list of paths of `cell.json` and `job.json` files; one JSON object, path to bytes, comes back on stdout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from codetune.config import LoraConfig, TrainRecipe
from codetune.errors import UserError
from codetune.models.forecast import Machine, machine_here
from codetune.runs import read_json
from codetune.study.budgets import equal_budget
from codetune.study.forecasting import Forecaster
from codetune.study.plan import JOB, CellConfig, SearchJob

UNKNOWN = 0  # bytes: no forecast can be made, and the job itself will say why


def needs_of(path: Path, forecaster: Forecaster) -> int:
    """The peak of one job in bytes: of its training, or of writing answers where it trains nothing."""
    if path.name == JOB:
        job = SearchJob.model_validate(read_json(path))
        recipe, budget, reference = job.train, job.budget, job.reference
    else:
        cell = CellConfig.model_validate(read_json(path))
        if cell.train is None:
            asked = TrainRecipe(name=cell.row, model=cell.model, data=cell.data, method=LoraConfig())
            planned = forecaster.planned(asked, cell.row, cell.folder, "")
            return UNKNOWN if planned.memory is None else max(planned.memory.generation, planned.memory.loading)
        recipe, budget, reference = cell.train, cell.budget, cell.reference
    try:
        planned = forecaster.planned(equal_budget(recipe, budget, reference)[0], recipe.name, path.parent, "")
    except UserError:
        return UNKNOWN
    return UNKNOWN if planned.memory is None else planned.memory.peak


def main() -> int:
    listed = [Path(path) for path in json.loads(Path(sys.argv[1]).read_text())]
    machine = Machine("a GPU of the cluster", int(sys.argv[3]), gpu=True, here=False) if len(sys.argv) > 3 else machine_here()
    forecaster = Forecaster(machine)
    print(json.dumps({str(path): needs_of(path, forecaster) for path in listed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
