"""Whether a service of the project is ready."""

import json
import urllib.error
import urllib.request

from videossr.services.definitions import Ports, Service, prefect_api


def answers(url: str) -> bool:
    """Whether a server answers at `url` without an error."""
    return _fetch(urllib.request.Request(url)) is not None


def is_ready(service: Service, ports: Ports) -> bool:
    """Whether `service` answers at its URL or, for a worker, whether the Prefect server has heard of it lately."""
    if service.health is not None:
        return answers(service.health)
    pool = service.name.removeprefix("worker-")
    url = f"{prefect_api(ports)}/work_pools/{pool}/workers/filter"
    body = _fetch(urllib.request.Request(url, b"{}", {"Content-Type": "application/json"}))
    workers = json.loads(body) if body else []
    return any(worker["name"] == service.name and worker["status"] == "ONLINE" for worker in workers)


def _fetch(request: urllib.request.Request) -> bytes | None:
    try:
        with urllib.request.urlopen(request, timeout=2) as reply:
            return bytes(reply.read())
    except (urllib.error.URLError, OSError, ValueError):
        return None
