"""The app: every route of the server, behind the guard, with every error in the protocol's form.

    uvicorn.run(make_app(Assistant(engine)), host="127.0.0.1", port=8000)
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from codetune.serve.api import protocol_routes
from codetune.serve.assistant import Assistant
from codetune.serve.errors import answer_errors
from codetune.serve.guard import Guard, demand_json
from codetune.serve.page import add_page


class _App(FastAPI):
    """FastAPI, with a schema that says what the server does: faults of a request are 400, not 422, and all but health needs the key."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            operations = [(path, each) for path, item in schema["paths"].items() for each in item.values()]
            for path, operation in operations:
                operation["responses"].pop("422", None)
                if path != "/health":
                    operation["security"] = [{"key": []}, {}]
            parts = schema["components"]
            for name in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(name, None)
            parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return self.openapi_schema or {}


def make_app(assistant: Assistant) -> FastAPI:
    """The server's app. Closing the engine is up to who made it."""
    settings = assistant.settings
    app = _App(
        title="codetune", version=version("codetune"), docs_url=None, redoc_url=None, redirect_slashes=False,
        description="The OpenAI protocol, spoken by models that codetune tuned.", dependencies=[Depends(demand_json)],
    )  # fmt: skip
    answer_errors(app, settings.retry_after_s)
    app.include_router(protocol_routes(assistant))
    add_page(app, assistant)
    app.add_middleware(Guard, settings=settings)
    if settings.allowed_origins:  # outside the guard: a browser asks without a key first whether it may ask
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.allowed_origins), allow_methods=["*"], allow_headers=["*"], max_age=600
        )
    return app
