"""How the files of a project differ from their commit, without credentials."""

import re
import subprocess
from pathlib import Path

_LOCK = ":(exclude)dvc.lock"  # the record of a run, written by it
_MAX_CHARACTERS = 1_000_000
_REMOVED = "[removed]"
_KNOWN_KEYS = r"AKIA[0-9A-Z]{16}|gh[opsu]_\w{20,}|github_pat_\w{20,}|hf_\w{20,}|sk-[\w-]{20,}|xox[abp]-[\w-]{10,}"
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_KNOWN_KEY = re.compile(_KNOWN_KEYS)
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_ASSIGNMENT = re.compile(
    r"(?i)((?:passw(?:or)?d|secret|api_?key|access_?key|credential|auth_?token|access_?token)\w*[\"']?\s*[:=]\s*)\S.*"
)


def git_commit(project: Path) -> str:
    """The commit of the files, with `-dirty` where files differ from it; `not in git` outside a repository.

    `dvc.lock` may differ: a run writes it, and lineage holds its hash.
    """
    commit = _git(project, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return "not in git"
    return f"{commit.strip()}-dirty" if _diff(project, "--name-only") else commit.strip()


def uncommitted_changes(project: Path) -> str:
    """The difference between the files and their commit as a patch, without what looks like a credential.

    Code that git does not know is named in comments above it. Empty where nothing differs, or outside a repository.
    """
    patch = _diff(project)
    if not patch:
        return ""
    others = _git(project, "ls-files", "--others", "--exclude-standard", "src", "flows", "recipes", "sources") or ""
    names = "".join(f"# not in git: {name}\n" for name in others.splitlines())
    text = without_credentials(names + patch)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}\n# {len(text)} characters, cut here\n"


def without_credentials(text: str) -> str:
    """The text with `[removed]` in place of private keys, passwords in URLs, and values that are named as secrets."""
    for pattern in (_PRIVATE_KEY, _KNOWN_KEY, _PASSWORD_IN_URL):
        text = pattern.sub(_REMOVED, text)
    return _ASSIGNMENT.sub(rf"\1{_REMOVED}", text)


def _diff(project: Path, *options: str) -> str:
    command = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", *options, "HEAD", "--", ".", _LOCK)
    return _git(project, *command) or ""


def _git(project: Path, *arguments: str) -> str | None:
    """The output of a git command in `project`; None where it fails."""
    command = ["git", "-C", str(project), *arguments]
    result = subprocess.run(command, capture_output=True, check=False)
    return result.stdout.decode(errors="replace") if result.returncode == 0 else None
