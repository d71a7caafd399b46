"""Tools find a home folder and a user name where the machine has none, and this machine without a proxy."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from flows.server import answers
from tests.support import ROOT
from videossr.workspace import configure_tools

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


def test_a_proxy_in_the_environment_is_not_asked_for_servers_of_this_machine(tmp_path, monkeypatch):
    """An added host keeps those that the user named, in either spelling."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    monkeypatch.setenv("PREFECT_HOME", "")  # set by configure_tools: restored after the test
    configure_tools(tmp_path)
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "intranet.example,127.0.0.1,localhost,::1"
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer_once, args=(server,), daemon=True).start()
        assert answers(f"http://127.0.0.1:{server.getsockname()[1]}/api")


def answer_once(server):
    connection, _ = server.accept()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    connection.close()
