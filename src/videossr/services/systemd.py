"""The systemd user unit of a project's services."""

from pathlib import Path

from videossr.errors import ConfigError
from videossr.services.definitions import services_folder

_UNIT = """[Unit]
Description=VideoSSR services of {project}

[Service]
Type=forking
WorkingDirectory={project}
PIDFile={pid_file}
ExecStart={program} up
ExecStop={program} down
TimeoutStartSec=300
TimeoutStopSec=120

[Install]
WantedBy=default.target
"""


def systemd_unit(project: Path, program: Path) -> str:
    """The unit of a project, whose command line program is `program`.

    Raises ConfigError where a path has a character that systemd gives a meaning.
    """
    for path in (project, program):
        if set(str(path)) & set("%\"'\\\n$ "):
            raise ConfigError(f"a systemd unit needs paths without spaces, quotes, % and $, got '{path}': move it")
    return _UNIT.format(project=project, program=program, pid_file=services_folder(project) / "supervisord.pid")
