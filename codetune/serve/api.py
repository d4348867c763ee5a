"""The routes of the OpenAI protocol, and the health address."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from codetune.serve.assistant import Assistant


def protocol_routes(assistant: Assistant) -> APIRouter:
    """`/v1/...` and `/health`."""
    routes = APIRouter()
    engine = assistant.engine

    @routes.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "models": [model.name for model in engine.models()]}

    return routes
