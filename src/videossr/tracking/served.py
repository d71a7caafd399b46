"""The registered model as an MLflow pyfunc: it takes questions with videos, and returns answers.

MLflow copies this file into the registered model and runs it when the model is loaded ("models from code", instead of a
pickle). The package `videossr` must be installed where the model is loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from videossr import config
from videossr.frames.sampling import FramesParams
from videossr.models.checkpoint import load_policy
from videossr.models.policy import Policy
from videossr.models.video_files import prompt_about_files


class ServedPolicy(PythonModel):
    """`predict` takes a table with the columns `question` (text) and `videos` (lists of paths) and returns `answer`."""

    policy: Policy
    frames: FramesParams

    def load_context(self, context: Any) -> None:
        """Load the checkpoint, and the parameters for choosing and scaling frames that it was trained with."""
        self.policy = load_policy(context.artifacts["checkpoint"])
        self.frames = config.build(FramesParams, context.model_config, "model_config")

    def predict(self, context: Any, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Answer every row. Raises DecodeError when a video cannot be read."""
        rows = zip(model_input["question"], model_input["videos"], strict=True)
        prompts = [
            prompt_about_files(question, [Path(video) for video in videos], self.frames) for question, videos in rows
        ]
        return pd.DataFrame({"answer": self.policy.respond(prompts)})


set_model(ServedPolicy())
