"""A server that answers questions with the champion: MLflow's own, without the tracebacks in its error messages."""

import json
from pathlib import Path
from typing import Any

from videossr.tracking.registry import load_champion


def build_app(project: Path) -> Any:
    """MLflow's scoring server (`POST /invocations`) for the champion, as an ASGI application.

    It opens the videos that `VideoAccess` allows. Raises PolicyError before the first promotion.
    """
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response
    from mlflow.pyfunc import scoring_server

    app = scoring_server.init(load_champion(project, is_trusted=False))

    @app.middleware("http")
    async def hide_tracebacks(request: Request, call_next: Any) -> Response:
        # MLflow puts the stack trace, with paths of this machine, beside the message of every error.
        response = await call_next(request)
        if response.status_code < 400:
            return response
        body = b"".join([chunk async for chunk in response.body_iterator])
        return JSONResponse(_public_error(body), response.status_code)

    return app


def _public_error(body: bytes) -> dict[str, str]:
    try:
        error = json.loads(body)
    except ValueError:
        error = {"message": body.decode(errors="replace")}
    known = error if isinstance(error, dict) else {}
    return {name: str(known[name]) for name in ("error_code", "message") if name in known}


def serve(project: Path, port: int) -> None:
    """Serve the champion on this machine only, until a signal. Raises PolicyError before the first promotion."""
    import uvicorn

    uvicorn.run(build_app(project), host="127.0.0.1", port=port, log_level="warning")
