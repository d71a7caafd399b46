"""Data drift: is a new batch of videos like those that a model was trained on?"""

from videossr.drift.batch import PROFILE_ARTIFACT, compare_batch, measure_batch, measure_project
from videossr.drift.comparison import Drift, DriftParams, Finding, find_drift
from videossr.drift.page import render_page
from videossr.drift.profile import Profile, measure_profile

__all__ = [
    "PROFILE_ARTIFACT",
    "Drift",
    "DriftParams",
    "Finding",
    "Profile",
    "compare_batch",
    "find_drift",
    "measure_batch",
    "measure_profile",
    "measure_project",
    "render_page",
]
