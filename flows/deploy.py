"""Register the work pools and the deployments of `prefect.yaml` with the Prefect server at `PREFECT_API_URL`.

`python -m flows.deploy` may run again at any time: a schedule that a person switched on or off stays so. With
`--started-at`, the time at which the services started, no run can be older and still be running: those that the server
takes for running ended without a word, and are marked as crashed. Else they would hold back every later run.
"""

import argparse
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.runtime import run_stage
from videossr.errors import VideoSSRError
from videossr.services.definitions import WORK_POOLS

_HAS_PROCESS = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING]


def deploy(started_at: datetime | None) -> None:
    """Register pools and deployments. Raises VideoSSRError where Prefect refuses `prefect.yaml`."""
    with get_client(sync_client=True) as client:
        if started_at is not None:
            _mark_ended_runs(client, started_at)
        for name, limit in WORK_POOLS.items():
            _provide_work_pool(client, name, limit)
        switched = _read_switches(client)
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        # prefect.yaml names the project's folder by $PWD, which only a shell keeps right.
        variables = {**os.environ, "PWD": str(Path.cwd())}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise VideoSSRError(f"Prefect does not accept prefect.yaml: {(done.stderr or done.stdout).strip()}")
        _restore_switches(client, switched)


def _mark_ended_runs(client: SyncPrefectClient, started_at: datetime) -> None:
    unfinished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_HAS_PROCESS)))
    for run in client.read_flow_runs(flow_run_filter=unfinished):
        if run.state is not None and run.state.timestamp < started_at:
            message = "the services stopped while it ran: start it again, finished stages are kept"
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)


def _provide_work_pool(client: SyncPrefectClient, name: str, limit: int | None) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", concurrency_limit=limit))
    else:
        client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


def _read_switches(client: SyncPrefectClient) -> dict[tuple[UUID, str], bool]:
    """Whether each schedule is switched on, by deployment and the text of the schedule."""
    return {
        (deployment.id, schedule.schedule.model_dump_json()): schedule.active
        for deployment in client.read_deployments()
        for schedule in deployment.schedules
    }


def _restore_switches(client: SyncPrefectClient, switched: dict[tuple[UUID, str], bool]) -> None:
    for deployment in client.read_deployments():
        for schedule in deployment.schedules:
            active = switched.get((deployment.id, schedule.schedule.model_dump_json()), schedule.active)
            if active != schedule.active:
                client.update_deployment_schedule(deployment.id, schedule.id, active=active)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.deploy", description=deploy.__doc__)
    parser.add_argument("--started-at", type=float, help="when the services started, in seconds since the epoch")
    seconds = parser.parse_args().started_at
    started_at = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    run_stage(lambda: deploy(started_at), "deploy")


if __name__ == "__main__":
    main()
