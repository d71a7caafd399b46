"""Data drift: is a new batch of videos like those that a model was trained on?"""

from videossr.drift.comparison import Drift, DriftParams, Finding, find_drift
from videossr.drift.page import render_page
from videossr.drift.profile import Profile, measure_profile

__all__ = ["Drift", "DriftParams", "Finding", "Profile", "find_drift", "measure_profile", "render_page"]
