"""System packages by apt, where nobody has to be asked: as root, or with sudo that needs no password."""

import os
import shutil
import subprocess
from functools import cache

from setup import say

APT_GET = ("apt-get", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120")


def install(*packages: str) -> bool:
    """Install Debian or Ubuntu packages; False when this user may not or apt could not (its message is shown then)."""
    if not can_install():
        return False
    say(f"Installing {' '.join(packages)} with apt-get …")
    if all(map(has_candidate, packages)) and _succeeds(*APT_GET, "install", *packages, is_quiet=True):
        return True
    return _succeeds(*APT_GET, "update") and _succeeds(*APT_GET, "install", *packages)


@cache
def can_install() -> bool:
    """Whether apt-get is here and may be used without a password."""
    return bool(shutil.which("apt-get")) and (os.geteuid() == 0 or _has_open_sudo())


def has_candidate(package: str, *options: str) -> bool:
    """Whether apt knows a version of this package to install; names differ between releases."""
    answer = subprocess.run(("apt-cache", *options, "policy", package), capture_output=True, text=True, check=False)
    return "Candidate: " in answer.stdout and "Candidate: (none)" not in answer.stdout


def by_hand(*packages: str) -> str:
    """The one line for a person to type when `install` may not."""
    return f"sudo apt-get install --no-install-recommends {' '.join(packages)}"


def _has_open_sudo() -> bool:
    return bool(shutil.which("sudo")) and _succeeds("sudo", "-n", "true", is_quiet=True, is_privileged=True)


def _succeeds(*command: str, is_quiet: bool = False, is_privileged: bool = False) -> bool:
    prefix = () if is_privileged or os.geteuid() == 0 else ("sudo", "-n")
    done = subprocess.run(
        (*prefix, *(() if is_privileged else ("env", "DEBIAN_FRONTEND=noninteractive")), *command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode and not is_quiet:
        print(done.stdout, end="", flush=True)
    return done.returncode == 0
