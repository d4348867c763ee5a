"""Who may ask, how much, and how long: on a real socket, as browsers, scripts and whoever is out to harm would ask."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from running_server import serving

from codetune.errors import UserError
from codetune.generate.fake_live import FakeLiveEngine
from codetune.serve.assistant import Assistant
from codetune.serve.settings import ServeSettings

BODY = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}
KEY = "s3cret-key"
HTTP = httpx2.Client()  # one for all: each new one reads the certificates again


def server(**settings: Any) -> Any:
    return serving(Assistant(FakeLiveEngine(lambda ask, index: "fine"), ServeSettings(**settings)))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server(allowed_hosts=("box.example",), allowed_origins=("https://editor.example", "app://notes")) as url:
        yield url


@pytest.fixture(scope="module")
def keyed_url() -> Iterator[str]:
    with server(api_key=KEY) as url:
        yield url


@pytest.fixture(scope="module")
def small_url() -> Iterator[str]:
    with server(max_body_bytes=2000, body_timeout_s=0.3) as url:
        yield url


def ask(url: str, **headers: str) -> httpx2.Response:
    return HTTP.post(f"{url}/v1/chat/completions", json=BODY, headers=headers)


def error(response: httpx2.Response) -> dict[str, Any]:
    """What is said was wrong, in the protocol's form and no other."""
    found: dict[str, Any] = response.json()
    assert set(found) == {"error"}
    assert set(found["error"]) == {"message", "type", "param", "code"}
    assert response.headers["content-type"] == "application/json"
    return found["error"]


def test_without_the_key_nothing_but_the_page_and_health_answers(keyed_url: str) -> None:
    assert HTTP.get(f"{keyed_url}/health").status_code == 200
    for path in ("/v1/models", "/v1/nothing", "/openapi.json", "/api/state", "/health/", "/static", "//health", "/static/../v1/models"):
        response = HTTP.get(f"{keyed_url}{path}")
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert error(response)["code"] == "invalid_api_key"


@pytest.mark.parametrize("given", ["Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer \xff"])
def test_a_key_that_is_not_the_key_is_refused(keyed_url: str, given: str) -> None:
    response = HTTP.get(f"{keyed_url}/v1/models", headers={"Authorization": given.encode("latin-1")})
    assert response.status_code == 401
    assert KEY not in response.text


def test_the_client_with_the_key_and_with_another(keyed_url: str) -> None:
    with openai.OpenAI(base_url=f"{keyed_url}/v1", api_key=KEY) as client:
        assert client.models.list().data
    with openai.OpenAI(base_url=f"{keyed_url}/v1", api_key="wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"


def test_the_key_is_not_shown_with_the_settings() -> None:
    assert KEY not in repr(ServeSettings(api_key=KEY))


def test_an_address_that_others_reach_wants_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "box.example"):
        with pytest.raises(UserError, match="API key"):
            ServeSettings(host=host)
        assert ServeSettings(host=host, api_key=KEY).host == host
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        assert ServeSettings(host=host).api_key is None
    for key in ("", "two words", "schlüssel", "line\n"):
        with pytest.raises(UserError, match="header"):
            ServeSettings(api_key=key)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:9", "LOCALHOST.", "box.example:80", "192.168.1.5", "[fe80::1]"])
def test_names_that_are_ours(url: str, host: str) -> None:
    assert ask(url, Host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "box.example.evil", "localhost@evil.example", "127.1"]
)
def test_names_that_someone_else_made_point_here_are_refused(url: str, host: str) -> None:
    response = ask(url, Host=host)
    assert response.status_code in (400, 403)
    if response.status_code == 403:  # uvicorn answers what is no header itself
        assert error(response)["code"] == "host_not_allowed"


@pytest.mark.parametrize("origin",
    ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://", "https://editor.example.evil"],
)
def test_web_pages_of_others_may_not_ask(url: str, origin: str) -> None:
    response = ask(url, Origin=origin)
    assert response.status_code == 403
    assert error(response)["code"] == "origin_not_allowed"


def test_our_own_page_and_those_allowed_may_ask(url: str) -> None:
    assert ask(url, Origin=url).status_code == 200
    for origin in ("https://editor.example", "app://notes"):
        response = ask(url, Origin=origin)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == origin


def test_a_browser_that_asks_first_is_told_without_a_key() -> None:
    with server(api_key=KEY, allowed_origins=("https://editor.example",)) as url:
        wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        allowed = HTTP.options(f"{url}/v1/chat/completions", headers={"Origin": "https://editor.example", **wanted})
        assert allowed.status_code == 200
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        refused = HTTP.options(f"{url}/v1/chat/completions", headers={"Origin": "https://evil.example", **wanted})
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_what_a_form_on_a_web_page_could_send_is_refused(url: str, kind: str) -> None:
    response = HTTP.post(f"{url}/v1/chat/completions", content=json.dumps(BODY), headers={"Content-Type": kind})
    assert response.status_code == 415
    assert error(response)["code"] == "unsupported_media_type"
    assert HTTP.post(
        f"{url}/v1/chat/completions", content=json.dumps(BODY), headers={"Content-Type": "Application/JSON; charset=utf-8"}
    ).is_success


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(small_url: str) -> None:
    large = {"model": "fake", "messages": [{"role": "user", "content": "x" * 3000}]}
    declared = HTTP.post(f"{small_url}/v1/chat/completions", json=large)
    chunks = (json.dumps(large).encode()[at : at + 500] for at in range(0, 10_000, 500))
    chunked = HTTP.post(f"{small_url}/v1/chat/completions", content=chunks, headers={"Content-Type": "application/json"})
    for response in (declared, chunked):
        assert response.status_code == 413
        assert error(response)["code"] == "body_too_large"
    assert ask(small_url).status_code == 200


def test_a_body_that_only_says_it_is_large_is_not_waited_for(small_url: str) -> None:
    answer = _raw(small_url, b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999999999999\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))


def test_a_body_that_does_not_come_is_given_up(small_url: str) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    answer = _raw(small_url, head)
    assert answer.startswith(b"HTTP/1.1 408")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "timeout"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b"9" * 10_000, b'{"\\ud800": 1}', b'{"model": "\\ud800"}', b"{}",
        b'{"model": "fake", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "fake", "messages": [{"role": "user", "content": "x"}], "seed": 1e400}',
        b'{"model": "fake", "messages": [{"role": "user", "content": "\\ud83d"}]}',
        b'{"model": "fake", "messages": [{"role": "user", "content": "\xed\xa0\xbd"}]}',
        '{"model": "fake", "messages": [{"role": "user", "content": "\\ud83d"}]}'.encode("utf-16"),
        '{"model": "fake", "messages": [{"role": "user", "content": "\\ud83d"}]}'.encode("utf-32-le"),
        b'{"model": "fake", "messages": {"role": "user", "content": "x"}}', b'{"model": {"a": 1}, "messages": 5, "n": true, "stop": 7}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_400(url: str, body: bytes) -> None:
    response = HTTP.post(f"{url}/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert error(response)["type"] == "invalid_request_error"


def test_all_faults_of_a_request_are_said_at_once(url: str) -> None:
    body = {**BODY, "n": 0, "temperature": 9, "top_k": 4}
    said = error(HTTP.post(f"{url}/v1/chat/completions", json=body))["message"]
    assert all(field in said for field in ("n:", "temperature:", "top_k:"))


def test_what_is_not_there_and_what_is_not_done_there(url: str) -> None:
    assert "/v1/embeddings" in error(HTTP.post(f"{url}/v1/embeddings", json={}))["message"]
    wrong = HTTP.get(f"{url}/v1/chat/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert "POST" in error(wrong)["message"]
    assert HTTP.get(f"{url}/v1/models/").status_code == 404


def test_health_says_what_there_is_to_do(url: str) -> None:
    assert HTTP.get(f"{url}/health").json() == {"status": "ok", "models": ["fake"], "running": 0, "waiting": None}


def test_nothing_of_the_outside_is_loaded_by_what_the_server_shows(url: str) -> None:
    assert HTTP.get(f"{url}/docs").status_code == HTTP.get(f"{url}/redoc").status_code == 404


def _raw(url: str, sent: bytes) -> bytes:
    """What is answered until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(sent)
        parts = iter(lambda: connection.recv(65536), b"")
        return b"".join(parts)


def test_who_is_refused_before_the_body_came_gets_the_answer_all_the_same(url: str) -> None:
    """A connection that is closed with a body on its way is reset, and the answer is lost with it."""
    body = json.dumps(BODY).encode()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        head = ("POST /v1/models HTTP/1.1", "Host: evil.example", "Content-Type: application/json", f"Content-Length: {len(body)}")
        connection.sendall("".join(f"{line}\r\n" for line in (*head, "")).encode())
        time.sleep(0.2)
        connection.sendall(body[:10])
        time.sleep(0.2)
        connection.sendall(body[10:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"host_not_allowed" in answer
