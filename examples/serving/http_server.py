"""Serves a SavedModel over HTTP with TF-Serving's REST requests: what asks TF-Serving may ask this.

pip install fastapi uvicorn
python examples/serving/http_server.py models/digits --name digits --port 8501

POST /v1/models/NAME:predict answers, GET /v1/models/NAME tells whether the model is there. SIGTERM and SIGINT stop it
once the requests that have come are answered.
"""

import asyncio
import concurrent.futures
import signal
from typing import Any

import fastapi
import uvicorn
from batches import Model, Overloaded, parse
from fastapi.responses import JSONResponse, Response
from rest import as_json, read_request

_CODES = {KeyError: 404, ValueError: 400, Overloaded: 503, TimeoutError: 504}


class TooLarge(Exception):
    """A request of more bytes than may be."""


def create_app(model: Model, name: str) -> fastapi.FastAPI:
    """The application: who answers, and the name of the model in addresses."""
    app = fastapi.FastAPI(title=name, docs_url=None, redoc_url=None, openapi_url=None)
    busy = asyncio.Semaphore(model.limits.waiting)
    # JSON takes many times its size in memory while it is read, and of several one after another none takes longer.
    json_thread = concurrent.futures.ThreadPoolExecutor(1, "json")

    async def beside(*call: Any) -> Any:
        """Calls in that thread: numbers in JSON take long, which must not keep the other clients waiting."""
        return await asyncio.get_running_loop().run_in_executor(json_thread, *call)

    @app.get(f"/v1/models/{name}")
    def status() -> dict[str, Any]:
        state = "AVAILABLE" if model.is_open else "UNLOADING"
        told = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(model.version), "state": state, "status": told}]}

    @app.post(f"/v1/models/{name}:predict")
    async def predict(request: fastapi.Request) -> Response:
        if busy.locked():
            return _refused(503, f"{model.limits.waiting} requests are answered, which is as many as may.")
        async with busy:
            try:
                async with asyncio.timeout(model.limits.seconds):
                    body = await _body(request, model.limits.megabytes << 20)
                    signature, inputs, in_rows = await beside(read_request, body, model)
                    answers = await asyncio.wrap_future(model.submit(signature, inputs))
                    content = await beside(as_json, answers, in_rows)
            except TooLarge as error:
                return _refused(413, str(error))
            except tuple(_CODES) as error:
                code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
                return _refused(code, str(error.args[0]) if error.args else "The answer took too long.")
        return Response(content, media_type="application/json")

    return app


async def _body(request: fastapi.Request, most: int) -> bytes:
    """What a client sends, if it is not too much."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise TooLarge(f"The request has more than {most} bytes.")
    return b"".join(parts)


def _refused(code: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, code)


def main() -> None:
    """Serves until a signal comes."""
    options = parse(__doc__, port=8501)
    model = Model(options.model, options.limits)
    # uvicorn handles these itself, and hands them on once it has stopped.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        create_app(model, options.name),
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=round(options.limits.seconds),
        limit_concurrency=4 * options.limits.waiting,
        timeout_keep_alive=round(options.limits.seconds),
    )
    print(f"Serving {options.model} as {options.name!r} at {options.host}:{options.port}", flush=True)
    uvicorn.Server(config).run()
    model.close()
    print("Stopped; every request has its answer.", flush=True)


if __name__ == "__main__":
    main()
