"""Ask a person in the Prefect UI, and take silence for a no."""

import threading
from contextvars import copy_context
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run

POLL_SECONDS = 5
# Prefect lets a run whose pause has expired end as failed only. So silence is answered before the pause expires.
GRACE_SECONDS = 120
SILENCE = "nobody approved it in time"


class Approval(RunInput):
    """The form that the Prefect UI shows to the person who approves."""

    approve: bool = False
    reason: str = ""


def ask(question: str, timeout_seconds: int) -> tuple[bool, str]:
    """Pause the flow run that calls it until a person answers, at most `timeout_seconds`.

    Returns whether the person approves, and a phrase that says so with the reason given.
    """
    form = Approval.with_initial_data(description=question, approve=False)
    # A thread does not inherit the context, which knows the address of Prefect's server.
    silence = threading.Timer(timeout_seconds, copy_context().run, [_answer_no, UUID(flow_run.id)])
    silence.daemon = True
    silence.start()
    try:
        answer = pause_flow_run(
            wait_for_input=form, timeout=timeout_seconds + GRACE_SECONDS, poll_interval=POLL_SECONDS
        )
    except FlowPauseTimeout:
        return False, SILENCE
    finally:
        silence.cancel()
    if not answer.approve and answer.reason == SILENCE:
        return False, SILENCE
    phrase = "it was approved" if answer.approve else "it was not approved"
    return answer.approve, f"{phrase}: {answer.reason}" if answer.reason else phrase


def _answer_no(run: UUID) -> None:
    with get_client(sync_client=True) as client:
        client.resume_flow_run(run, run_input={"approve": False, "reason": SILENCE})
