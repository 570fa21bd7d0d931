"""Python web frameworks as services of the accuracy harness, under gunicorn or uvicorn.

Serves the calls of a plan like ``aio_target.py``: FastAPI with httpx, Flask and Django with
requests. Becomes gunicorn once its socket is there; the plan is kept in a file, as there may be
several workers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PLAN = "OTEL_EBPF_TEST_PLAN"
loaded: dict[str, Any] = {}
local = threading.local()
pools: dict[int, ThreadPoolExecutor] = {}


def plan() -> dict[str, Any]:
    """The plan, which is there before the first call comes."""
    if not loaded:
        loaded.update(json.loads(Path(os.environ[PLAN]).read_text()))
    return loaded


def keep(body: bytes) -> None:
    path = Path(os.environ[PLAN])
    path.with_suffix(".new").write_bytes(body)
    path.with_suffix(".new").rename(path)


def pool() -> ThreadPoolExecutor:
    """This process's own: workers are forks."""
    return pools.setdefault(os.getpid(), ThreadPoolExecutor(8))


def question(child: str, parent: str) -> tuple[str, str, bytes, dict[str, str]]:
    node = plan()["nodes"][child]
    method, body = ("POST", b"body " * 60) if node["post"] else ("GET", b"")
    url = f"http://{plan()['services'][node['service']]}/call/{child}"
    return method, url, body, {"X-Truth-Id": child, "X-Truth-Parent": parent}


def call(child: str, parent: str) -> None:
    """A call with requests, in this thread."""
    import requests

    if "session" not in local.__dict__:
        local.session = requests.Session()
        local.session.trust_env = False
    method, url, body, headers = question(child, parent)
    local.session.request(method, url, data=body, headers=headers, timeout=60).raise_for_status()


def perform(name: str) -> None:
    node = plan()["nodes"][name]
    time.sleep(node["sleep_ms"] / 1000)
    if node["mode"] == "submitted":
        list(pool().map(call, node["calls"], [name] * len(node["calls"])))
    else:
        for child in node["calls"]:
            call(child, name)


async def aperform(name: str, send: Callable[[str, str], Any]) -> None:
    from starlette.concurrency import run_in_threadpool

    node = plan()["nodes"][name]
    await asyncio.sleep(random.random() * node["sleep_ms"] / 500)
    calls, mode = node["calls"], node["mode"]
    if mode == "parallel":
        await asyncio.gather(*(send(child, name) for child in calls))
        return
    for child in calls:
        if mode == "to_thread":
            await run_in_threadpool(call, child, name)
        elif mode == "executor":
            await asyncio.get_running_loop().run_in_executor(pool(), call, child, name)
        else:
            await send(child, name)


def answer(path: str, body: bytes) -> str:
    """Of the two paths that are no calls, and of a call below WSGI."""
    if path == "/load":
        keep(body)
        return "loaded"
    if path == "/pending":
        return "0 0"
    name = path[len("/call/") :]
    perform(name)
    return name


def fastapi() -> Any:
    import httpx
    from fastapi import FastAPI, Request
    from fastapi.responses import PlainTextResponse

    globals()["Request"] = Request  # FastAPI looks annotations up in the module
    app = FastAPI()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    clients: list[httpx.AsyncClient] = []

    async def send(child: str, parent: str) -> None:
        if not clients:
            clients.append(httpx.AsyncClient(limits=limits, timeout=60, trust_env=False))
        method, url, body, headers = question(child, parent)
        response = await clients[0].request(method, url, content=body or None, headers=headers)
        response.raise_for_status()

    @app.get("/call/{name}")
    async def serve(name: str) -> PlainTextResponse:
        await aperform(name, send)
        return PlainTextResponse(name)

    @app.post("/load")
    async def load(request: Request) -> PlainTextResponse:
        return PlainTextResponse(answer("/load", await request.body()))

    @app.get("/pending")
    async def pending() -> PlainTextResponse:
        return PlainTextResponse("0 0")

    return app


def flask() -> Any:
    from flask import Flask, request

    app = Flask(__name__)

    @app.route("/<path:rest>", methods=["GET", "POST"])
    def serve(rest: str) -> str:
        return answer(f"/{rest}", request.get_data())

    return app


def django() -> Any:
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import re_path

    def serve(request: Any) -> Any:
        return HttpResponse(answer(request.path, request.body))

    settings.configure(
        ROOT_URLCONF=(re_path(r".*", serve),), ALLOWED_HOSTS=["*"], SECRET_KEY="of a test",
        DATA_UPLOAD_MAX_MEMORY_SIZE=1 << 30,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    )  # fmt: skip
    return get_wsgi_application()


APPS = {"fastapi": fastapi, "flask": flask, "django": django}


def __getattr__(name: str) -> Any:
    """What gunicorn is asked to import of this module."""
    if name.removesuffix("_app") not in APPS:
        raise AttributeError(name)
    return APPS[name.removesuffix("_app")]()


def command(options: Iterable[str], framework: str, listener: socket.socket) -> list[str]:
    return [
        sys.executable, "-m", "gunicorn", "--chdir", str(Path(__file__).parent),
        "-b", f"fd://{listener.fileno()}", "--log-level", "error", *options,
        f"web_target:{framework}_app",
    ]  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("framework", choices=sorted(APPS))
    arguments.add_argument("options", nargs="*", help="of gunicorn")
    chosen = arguments.parse_args()
    os.environ[PLAN] = f"{tempfile.mkdtemp(prefix='web-target-')}/plan.json"
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    os.set_inheritable(listener.fileno(), True)
    print("listening", f"127.0.0.1:{listener.getsockname()[1]}", flush=True)
    os.execv(sys.executable, command(chosen.options, chosen.framework, listener))


if __name__ == "__main__":
    main()
