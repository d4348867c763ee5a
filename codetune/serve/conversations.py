"""`/api/conversations`: what was asked before, listed, searched, read, renamed and deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from codetune.records import Json
from codetune.serve.api import PAGE, errors
from codetune.serve.asking import Body
from codetune.serve.feedback import Feedback
from codetune.serve.history import History
from codetune.serve.shown import shown_conversation, shown_exchange


class Renaming(Body):
    title: str = Field(min_length=1, max_length=200)


def conversation_routes(history: History, feedback: Feedback) -> APIRouter:
    routes = APIRouter(responses=errors(*PAGE))

    @routes.get("/api/conversations")
    def conversations(
        query: Annotated[str, Query(max_length=1000)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Annotated[float | None, Query(allow_inf_nan=False, description="those updated before: the last one's `updated`")] = None,
    ) -> Json:
        return {"conversations": [shown_conversation(each) for each in history.conversations(query, limit, before)]}

    @routes.get("/api/conversations/{id}")
    def conversation(id: str) -> Json:
        return shown_conversation(history.conversation(id)) | {"exchanges": [shown_exchange(each) for each in history.exchanges(id)]}

    @routes.patch("/api/conversations/{id}")
    def rename(id: str, body: Renaming) -> Json:
        return shown_conversation(history.rename(id, body.title))

    @routes.delete("/api/conversations/{id}")
    def delete(id: str) -> Json:
        exchanges = history.exchanges(id)
        history.delete(id)
        feedback.forget(exchanges)
        return {"deleted": id}

    return routes
