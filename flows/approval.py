"""Ask a person in the Prefect UI, and take silence for a no."""

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput

POLL_SECONDS = 5


class Approval(RunInput):
    """The form that the Prefect UI shows to the person who approves."""

    approve: bool = False
    reason: str = ""


def ask(question: str, timeout_seconds: int) -> tuple[bool, str]:
    """Pause the flow run that calls it until a person answers, at most `timeout_seconds`.

    Returns whether the person approves, and a phrase that says so with the reason given.
    """
    form = Approval.with_initial_data(description=question, approve=False)
    try:
        answer = pause_flow_run(wait_for_input=form, timeout=timeout_seconds, poll_interval=POLL_SECONDS)
    except FlowPauseTimeout:
        return False, "nobody approved it in time"
    phrase = "it was approved" if answer.approve else "it was not approved"
    return answer.approve, f"{phrase}: {answer.reason}" if answer.reason else phrase
