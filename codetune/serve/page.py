"""What the web page needs: the page itself, and `/api/...` as docs/page-api.md has it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from codetune.records import Json
from codetune.serve import watching
from codetune.serve.api import PAGE, errors
from codetune.serve.ask import ask_routes
from codetune.serve.assistant import Assistant
from codetune.serve.conversations import conversation_routes
from codetune.serve.errors import UnknownIdError
from codetune.serve.feedback import FILE, Feedback
from codetune.serve.judging import feedback_routes
from codetune.serve.programs import program_routes
from codetune.serve.workbench import Workbench

STATIC = Path(__file__).with_name("static")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # the browser asks whether there is a newer one
}  # fmt: skip
# Someone else's study may hold someone else's scripts: they run, and reach neither this page nor its API.
_REPORT_HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts; connect-src 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_page(app: FastAPI, assistant: Assistant) -> None:
    """The page and its routes. Nothing where the assistant has no history."""
    if assistant.history is None:
        return
    bench = assistant.workbench or Workbench(missing=assistant.workbench_missing or "the server was started without a sandbox")
    feedback = Feedback(assistant.folder / FILE, assistant.history)
    for routes in (
        _state_routes(assistant, bench, feedback),
        conversation_routes(assistant.history, feedback),
        ask_routes(assistant, assistant.history),
        program_routes(assistant, bench),
        feedback_routes(feedback, assistant, assistant.history, bench),
        _watching_routes(assistant),
    ):
        app.include_router(routes)
    if STATIC.is_dir():
        app.mount("/static", _Static(directory=STATIC))


def _state_routes(assistant: Assistant, bench: Workbench, feedback: Feedback) -> APIRouter:
    routes, settings = APIRouter(responses=errors(*PAGE)), assistant.settings

    @routes.get("/", include_in_schema=False)
    def page() -> Response:
        file = STATIC / "index.html"
        if not file.is_file():
            raise UnknownIdError("this installation has no web page; /v1 answers all the same")
        return FileResponse(file, headers=_HEADERS)

    @routes.get("/api/state")
    async def state() -> Json:
        names = ("name", "base", "method", "prompt_style", "styles", "max_positions", "infills")
        models = await asyncio.to_thread(assistant.engine.models)
        tier, missing = await asyncio.to_thread(lambda: (bench.tier, bench.missing))
        limits = ("max_new_tokens", "default_new_tokens", "rounds")
        return {
            "version": version("codetune"), "models": [{name: getattr(model, name) for name in names} for model in models],
            "sandbox": {"tier": tier or None, "missing": missing or None},
            "limits": {name: getattr(settings, name) for name in limits},
            "feedback": {"enabled": await asyncio.to_thread(lambda: feedback.enabled), "path": str(feedback.path)},
        }  # fmt: skip

    return routes


def _watching_routes(assistant: Assistant) -> APIRouter:
    routes, root, key = APIRouter(responses=errors(*PAGE)), assistant.runs_root, assistant.settings.api_key

    @routes.get("/api/runs")
    def runs() -> Json:
        return {"runs": watching.runs(root)}

    @routes.get("/api/runs/{id}")
    def run(id: str) -> Json:
        return watching.run(root, id)

    @routes.get("/api/studies")
    def studies() -> Json:
        def with_address(one: Json) -> Json:
            return one | {"url": f"/studies/{quote(one['id'])}/{_ticket(key, one['id'])}{watching.REPORT}"}

        return {"studies": [with_address(one) for one in watching.studies(root)]}

    @routes.get("/studies/{id}/{path:path}", include_in_schema=False)
    def report(id: str, path: str) -> Response:
        ticket = _ticket(key, id)
        if ticket and path.startswith("key-"):  # the guard lets these pass
            given, _, path = path.partition("/")
            if not hmac.compare_digest(f"{given}/".encode(), ticket.encode()):
                raise UnknownIdError("this address of a study is not the server's: open it from the page")
        file, kind = watching.report_file(root, id, path)
        return FileResponse(file, media_type=kind, headers=_REPORT_HEADERS)

    return routes


def _ticket(key: str | None, id: str) -> str:
    """What stands in the address of a study's report in place of the key: a frame cannot send it. Empty where none is asked for."""
    return f"key-{hmac.new(key.encode(), f'study {id}'.encode(), hashlib.sha256).hexdigest()}/" if key else ""


class _Static(StaticFiles):
    """Files of the page, under its policy."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response
