"""`codetune export`: what was tuned, as other programs load it, with a model card.

    codetune export runs/train-lora --to merged --out exports/train-lora
    codetune export runs/train-lora --to adapter --out exports/adapter --base org/model
    codetune export exports/train-lora --to hub --repo me/train-lora --private
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from codetune.cli.output import to_stderr, to_stdout
from codetune.errors import UserError
from codetune.export.adapter import AdapterExport, base_place, export_adapter
from codetune.export.card import CARD
from codetune.export.front import hub_id
from codetune.export.tuned import Tuned, find
from codetune.models.stages import ADAPTER_CONFIG, read, run_of, tuned_folder
from codetune.records import Json, to_json
from codetune.study.tables import format_bytes
from codetune.upload import upload

if TYPE_CHECKING:
    from codetune.export.merged import MergedExport

app = typer.Typer(add_completion=False)
Kind = Literal["merged", "adapter", "peft", "gguf", "hub"]
Dtype = Literal["fp32", "bf16", "fp16"]
_GGUF = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}  # llama.cpp's names


@app.command()
def export(
    tuned: Annotated[str, typer.Argument(help="A run folder, an adapter, a whole tuned model, or an earlier export (for --to hub).")],
    to: Annotated[Kind, typer.Option(help="merged: one whole model. adapter (or peft): for PEFT and vLLM. gguf: merged first.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write; it must not be there yet.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Of the merged weights. Default: the base's own.")] = None,
    base: Annotated[str | None, typer.Option(help="The base, where it is called otherwise now: a hub id or a folder.")] = None,
    scores: Annotated[list[Path] | None, typer.Option(help="A folder of `codetune evaluate --out`, for the card; repeatable.")] = None,
    repo: Annotated[str | None, typer.Option(help="The repository on the hub, as user/name. It is made if it is not there.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Give away what was tuned: merged into its base, as an adapter, or on the hub; always with a model card."""
    if to == "hub":
        if repo is None:
            raise UserError("--to hub needs --repo user/name")
        address = _push(tuned, repo, private, base, scores or [])
        print(json.dumps({"address": address}) if as_json else address)
        return
    found = find(tuned, scores or [])
    target = _target(out, force)
    if to in ("adapter", "peft"):
        written = export_adapter(found, target, base)
        _show(to_json(written), _of_adapter(written), as_json)
        return
    from codetune.export.merged import export_merged  # torch comes with it

    with to_stderr().status("merging, saving, and comparing what was saved"):
        merged = export_merged(found, target, dtype, base)
    lines = _of_merged(merged, found)
    then = f"python convert_hf_to_gguf.py {target} --outfile {target}.gguf --outtype {_GGUF[merged.dtype]}"
    if to == "gguf":
        lines.append(f"next, in a checkout of llama.cpp (not run here): {then}")
    _show(to_json(merged) | ({"next": then} if to == "gguf" else {}), lines, as_json)


def _target(out: Path | None, force: bool) -> Path:
    if out is None:
        raise UserError("--out is missing: give the folder to write, as in --out exports/mine")
    if out.exists() and not force:
        raise UserError(f"--out {out} is there already: choose another, or replace it with --force")
    if out.exists() and not (out / CARD).exists():
        raise UserError(f"--out {out} holds something that is no export: --force replaces earlier exports only; choose another folder")
    return out


def _push(given: str, repo: str, private: bool, base: str | None, scores: list[Path]) -> str:
    """An export as it is; a run's adapter or whole model in the layout that others load, with its card."""
    folder = tuned_folder(Path(given))
    if run_of(folder) is None and (folder / CARD).exists() and base is None and not scores:
        adapter = read(folder / ADAPTER_CONFIG)
        if adapter:
            _require_on_hub(str(adapter.get("base_model_name_or_path")), given)
        return upload(folder, repo, "model", private, f"{folder.resolve().name}, by codetune export")
    found = find(given, scores)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "export"
        _prepare(found, target, base)
        return upload(target, repo, "model", private, f"{found.name}, by codetune export")


def _prepare(found: Tuned, target: Path, base: str | None) -> None:
    if found.whole:
        from codetune.export.merged import export_merged

        export_merged(found, target, None, base)
        return
    _require_on_hub(base_place(found, base), found.given)
    export_adapter(found, target, base)


def _require_on_hub(base: str, given: str) -> None:
    if not hub_id(base):
        raise UserError(
            f"{given}: its base {base} is on this machine alone, so nobody could load the adapter: give its name on the hub with --base, "
            "or upload the merged model (--to merged --out DIR, then that DIR --to hub)"
        )


def _of_merged(written: MergedExport, found: Tuned) -> list[str]:
    size, saved, alone = format_bytes(written.num_bytes), written.saved_difference, written.merge_difference
    compared = f"loaded anew its logits differ by {saved:.1g} of the largest (merging alone: {alone:.1g})"
    lines = [f"{written.folder}: a whole model in {written.dtype}, {size}; {compared}"]
    if found.on_4_bits:
        lines.append("trained on 4 bits, merged into the 16-bit base: it answers a little differently than in training")
    return lines


def _of_adapter(written: AdapterExport) -> list[str]:
    lines = [f"{written.folder}: an adapter for PEFT, on {written.base}"]
    if written.vllm_objections:
        return [*lines, f"vLLM would not load it: {'; '.join(written.vllm_objections)}. For vLLM export it with --to merged"]
    return [*lines, f"with vLLM (by its rules; not run here): {written.vllm_command}"]


def _show(data: Json, lines: list[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(data, default=str))
        return
    for line in lines:
        to_stdout().print(line, markup=False)
