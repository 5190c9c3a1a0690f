"""What a profile that runs lacks, put right without a start of it: its context in the kubeconfig, its addons."""

from __future__ import annotations

from bootstrap.errors import Problem
from bootstrap.minikube.command import MINIKUBE, start_environment
from bootstrap.minikube.failures import problem_of
from bootstrap.minikube.look import Seen
from bootstrap.minikube.process import run_minikube
from bootstrap.minikube.seed import load_addons
from bootstrap.minikube.starting import STEP, Up, current_context
from bootstrap.minikube.state import missing_addons, parts_of

_TIMEOUT_S = 300.0
# Minikube makes the context that it has put right the current one, too.
_KEEP = r"""
import json, os, re, sys, tempfile
path = os.path.realpath(os.path.join(os.path.expanduser("~"), ".kube", "config"))
with open(path, encoding="utf-8") as stream:
    text = stream.read()
line = "current-context: " + json.dumps(sys.argv[1])
text = re.sub(r"(?m)^current-context:.*$", lambda _: line, text)
handle, fresh = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".config-")
with os.fdopen(handle, "w", encoding="utf-8") as stream:
    os.fchmod(stream.fileno(), os.stat(path).st_mode & 0o777)
    stream.write(text)
os.replace(fresh, path)
"""


def lacks(run: Up, seen: Seen) -> bool:
    """Whether a profile that runs needs any of this."""
    return _lacks_context(run, seen) or bool(missing_addons(seen, run.options))


def mend(run: Up, seen: Seen) -> Problem | None:
    """Put it right; what failed.

    Raises:
        ConnectFailure: the connection was lost.
        GpuctlError: minikube did not end in its time (exit 5).
    """
    problem = _context(run, seen) if _lacks_context(run, seen) else None
    return problem or _addons(run, missing_addons(seen, run.options), seen)


def _lacks_context(run: Up, seen: Seen) -> bool:
    unreached = parts_of(seen).get("Kubeconfig") != "Configured"
    return unreached or (run.request.use_context and current_context(seen) != run.options.profile)


def _context(run: Up, seen: Seen) -> Problem | None:
    run.view.task(run.host.name, STEP, "Context | Have it lead to the profile")
    problem = _called(run, ["update-context"])
    before = current_context(seen)
    if problem is None and not run.request.use_context and before not in {"", run.options.profile}:
        done = run.session.run([*run.session.python, "-I", "-c", _KEEP, before])
        if done.rc:
            run.notes.append(f"the current context is {run.options.profile} now; it was {before}")
    return problem


def _addons(run: Up, names: tuple[str, ...], seen: Seen) -> Problem | None:
    for name in names:
        run.view.task(run.host.name, STEP, f"Addons | Switch on {name}")
        if problem := _called(run, ["addons", "enable", name], start_environment(seen.bundle)):
            return problem
    if names and seen.bundle.path:
        return load_addons(run.session, seen.bundle, run.options.profile, MINIKUBE, run.host.name)
    return None


def _called(run: Up, words: list[str], environment: dict[str, str] | None = None) -> Problem | None:
    run.begun = True
    argv = [MINIKUBE, *words, "--profile", run.options.profile]
    done = run_minikube(run.session, argv, timeout_s=_TIMEOUT_S, environment=environment)
    return problem_of(done.rc, done.events, done.said, run.host.name, run.options.profile) if done.rc else None
