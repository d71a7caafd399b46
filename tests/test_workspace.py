"""Tools find a home folder and a user name where the machine has none."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

PROGRAM = """
import getpass, os
os.getuid = lambda: 54321  # an id that no machine here has
import pathlib, pwd
from videossr.workspace import configure_tools
configure_tools(pathlib.Path.cwd())
print(pathlib.Path.home(), getpass.getuser())
"""


@pytest.mark.skipif(os.name != "posix", reason="user ids")
def test_a_user_without_a_name_and_a_home_gets_both(tmp_path):
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(tmp_path / "work" / "home"), "uid54321"], done.stderr
