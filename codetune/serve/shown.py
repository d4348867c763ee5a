"""Records of the history as the page gets them; who answered is withheld while a blind vote is open."""

from __future__ import annotations

from codetune.records import Json
from codetune.serve.history import Answer, Conversation, Exchange


def shown_conversation(conversation: Conversation) -> Json:
    return {"id": conversation.id, "title": conversation.title, "created": conversation.created, "updated": conversation.updated}


def shown_exchange(exchange: Exchange) -> Json:
    return {
        "id": exchange.id, "question": exchange.question, "created": exchange.created, "blind": exchange.blind,
        "chosen": exchange.choice, "answers": [shown_answer(answer, exchange.is_open) for answer in exchange.answers],
    }  # fmt: skip


def shown_answer(answer: Answer, withheld: bool) -> Json:
    """A prompt style may give its model away, so it is withheld, too."""
    return {
        "id": answer.id, "side": answer.side, "model": None if withheld else answer.asked.model, "content": answer.content,
        "finish": answer.finish, "num_tokens": answer.num_tokens, "prompt_tokens": answer.prompt_tokens,
        "first_token_s": answer.first_token_s, "seconds": answer.seconds,
        "prompt_style": "" if withheld else answer.asked.prompt_style, "decoding": answer.asked.decoding,
        "rating": answer.rating, "edited": answer.edited,
    }  # fmt: skip
