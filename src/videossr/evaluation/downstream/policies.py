"""A policy by its name: a checkpoint, an adapter, a name of the Hub, an endpoint, or one of them without the video."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from videossr.errors import PolicyError
from videossr.evaluation.downstream.endpoint import open_endpoint
from videossr.models.policy import BlindPolicy, FalliblePolicy

BLIND = "blind:"
ENDPOINT = "endpoint:"
REGISTERED = "models:/"


@dataclass(frozen=True)
class NamedPolicy:
    """A policy and what identifies it: the bytes of its checkpoint, the commit of the Hub, or model and address."""

    policy: FalliblePolicy
    policy_id: str


def open_policy(name: str, registered: Callable[[str], Path] | None = None) -> NamedPolicy:
    """The policy called `name`.

    `name` is a folder with a checkpoint or an adapter, a name of the Hub, `endpoint:URL` (`endpoint:URL#MODEL` where
    the server has several models), or `models:/videossr@champion`, whose folder `registered` finds
    (`tracking.registered_checkpoint`). `blind:` before it hides the video: grey frames at the true times.

    Raises PolicyError where there is no such policy.
    """
    if name.startswith(BLIND):
        seeing = open_policy(name.removeprefix(BLIND), registered)
        return NamedPolicy(BlindPolicy(seeing.policy), f"blind {seeing.policy_id}")
    if name.startswith(ENDPOINT):
        url, _, model = name.removeprefix(ENDPOINT).partition("#")
        endpoint = open_endpoint(url, model)
        return NamedPolicy(endpoint, f"endpoint {endpoint.url} {endpoint.model}")
    if name.startswith(REGISTERED) and registered is not None:
        return _open_checkpoint(str(registered(name)))
    return _open_checkpoint(name)


def _open_checkpoint(name: str) -> NamedPolicy:
    from videossr.models.checkpoint import checkpoint_id, load_policy, resolve_checkpoint  # it imports torch

    folder = Path(name)
    if not name or folder.is_file():
        raise PolicyError(f"a policy must be a folder, a name of the Hub or endpoint:URL, got '{name}': name another")
    checkpoint = resolve_checkpoint(folder) if folder.is_dir() else name
    return NamedPolicy(load_policy(checkpoint), checkpoint_id(checkpoint))
