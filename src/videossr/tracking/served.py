"""The registered model as an MLflow pyfunc: it takes questions with videos, and returns answers.

MLflow copies this file into the registered model and runs it when the model is loaded ("models from code", instead of a
pickle). The package `videossr` must be installed where the model is loaded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from videossr import config
from videossr.decode import REASONS
from videossr.errors import DecodeError, VideoSSRError
from videossr.frames.sampling import FramesParams
from videossr.models.checkpoint import load_policy
from videossr.models.policy import Policy, Prompt
from videossr.models.video_files import prompt_about_files
from videossr.tracking.video_access import VideoAccess, served_access


class ServedPolicy(PythonModel):
    """`predict` takes a table with the columns `question` (text) and `videos` (lists of texts) and returns `answer`.

    A video is a path, or `data:video/mp4;base64,...`. Which paths are opened is the rule of `VideoAccess`.
    """

    policy: Policy
    frames: FramesParams
    access: VideoAccess

    def load_context(self, context: Any) -> None:
        """Load the checkpoint, and the parameters for choosing and scaling frames that it was trained with."""
        self.policy = load_policy(context.artifacts["checkpoint"])
        settings = dict(context.model_config)
        self.access = served_access(settings.pop("is_trusted", False))
        self.frames = config.build(FramesParams, settings, "model_config")

    def predict(self, context: Any, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Answer every row.

        Raises VideoSSRError when a video cannot be opened or read; on a server MlflowException, which the client sees:
        without a path of the server, and without a traceback.
        """
        try:
            prompts = [
                self._prompt(question, videos)
                for question, videos in zip(model_input["question"], model_input["videos"], strict=True)
            ]
        except VideoSSRError as error:
            if self.access.is_trusted:
                raise
            raise MlflowException.invalid_parameter_value(_public_message(error)) from None
        return pd.DataFrame({"answer": self.policy.respond(prompts)})

    def _prompt(self, question: str, videos: Sequence[str]) -> Prompt:
        with self.access.open(videos) as paths:
            return prompt_about_files(question, paths, self.frames)


def _public_message(error: VideoSSRError) -> str:
    # The detail of a DecodeError may hold a path.
    return f"a video cannot be read: {REASONS[error.reason]}" if isinstance(error, DecodeError) else str(error)


set_model(ServedPolicy())
