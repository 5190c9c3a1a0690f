"""What a long command shows while it runs: a block that redraws on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from bootstrap.apply.results import HostSummary, Preflight
from bootstrap.apply.view import SilentView
from bootstrap.errors import usage_error
from bootstrap.plan.model import Plan
from bootstrap.ui.console import NORMAL, Console
from bootstrap.ui.layout import clip, clock, columns
from bootstrap.ui.screens import INSTALL, hosts_screen, plan_screen, preflight_screen

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

_REDRAWS_PER_SECOND = 4
_NEEDS_YES = "say yes with --yes when nobody can answer the question"


class JsonView(SilentView):
    """Shows nothing: the document at the end says it all."""

    def confirm(self, question: str) -> bool:
        """Refuse: a question would stand between the reader and the document."""
        raise usage_error(f"with --output json nobody is asked: {question}", _NEEDS_YES)


class ConsoleView:
    """The screens before the run, and what both forms of progress share. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._held: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._release()
        self.stop()

    def stop(self) -> None:
        """End the display; what it showed last stays."""

    def probed(self, hosts: tuple[HostSummary, ...], elapsed: float) -> None:
        """One line per host, held back until it is known that there is something to do or to refuse."""
        self._held += hosts_screen(hosts, elapsed)

    def checked(self, preflight: Preflight) -> None:
        """What the checks found, held back likewise."""
        self._held += preflight_screen(preflight)

    def planned(self, plan: Plan) -> None:
        """The steps that will run."""
        if not plan.empty:
            self._release()
            self.note("\n".join(plan_screen(plan)))

    def _release(self) -> None:
        if self._held:
            self.note("\n".join(self._held))
            self._held = []

    def note(self, message: str) -> None:
        """Sentences."""
        self.console.say(message)

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; raises GpuctlError (usage) where there is none."""
        self._release()
        self.stop()
        if not (sys.stdin is not None and sys.stdin.isatty() and self.console.err.terminal):
            raise usage_error(f"{question} There is no terminal to answer on", _NEEDS_YES)
        self.console.error(f"{question} [y/N]")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}


class PlainView(ConsoleView):
    """One line per change, with the UTC time: for logs, pipes and dumb terminals."""

    def started(self, host: str, step: str) -> None:
        """A step began."""
        self._line(host, step, "started")

    def task(self, host: str, step: str, title: str) -> None:
        """What the step does now."""
        self._line(host, step, title)

    def done(self, host: str, step: str, elapsed: float) -> None:
        """A step ended well."""
        self._line(host, step, f"done in {clock(elapsed)}")

    def failed(self, host: str, step: str, message: str) -> None:
        """A step failed."""
        self._line(host, step, f"failed: {message}")

    def _line(self, host: str, step: str, what: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.console.say(f"{now} {host}: {step}: {_one_line(what)}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


class PlanView(PlainView):
    """For `gpuctl plan`: the plan itself is the answer; of what was seen, only what new hosts will become."""

    def planned(self, plan: Plan) -> None:
        """Say what was seen when something is to be installed."""
        if any(step.action == INSTALL for step in plan.steps):
            self._release()


@dataclass(slots=True)
class _Row:
    step: str
    now: str
    began: float
    ended: float | None = None


@dataclass(slots=True)
class Block:
    """The state behind the live display: the step that each host is at."""

    rows: dict[str, _Row] = field(default_factory=dict)

    def started(self, host: str, step: str, at: float) -> None:
        """The host is at a new step."""
        # A new dict each time: the display's own thread may be reading the old one.
        self.rows = dict(sorted((self.rows | {host: _Row(step, "▸", at)}).items()))

    def task(self, host: str, step: str, title: str, at: float) -> None:
        """The host's step does something else now."""
        if host not in self.rows or self.rows[host].step != step:
            self.started(host, step, at)
        self.rows[host].now = f"▸ {_one_line(title)}"

    def ended(self, host: str, step: str, now: str, at: float) -> None:
        """The host's step is over; its clock stands still until the next one."""
        if host not in self.rows or self.rows[host].step != step:
            self.started(host, step, at)
        row = self.rows[host]
        row.now, row.ended = now, at

    def lines(self, at: float, width: int) -> list[str]:
        """The block as it looks at a moment, each line at most `width` columns."""
        rows = [("host", "step", "elapsed", "now")]
        rows += [(host, r.step, clock((r.ended or at) - r.began), r.now) for host, r in self.rows.items()]
        return [clip(line, width) for line in columns(rows, right=(2,))]


class LiveView(ConsoleView):
    """The block that redraws in place on a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._block = Block()
        self._lock = threading.Lock()
        self._live: Live | None = None

    def started(self, host: str, step: str) -> None:
        """A step began."""
        self._change("started", host, step)

    def task(self, host: str, step: str, title: str) -> None:
        """What the step does now."""
        self._change("task", host, step, title)

    def done(self, host: str, step: str, elapsed: float) -> None:
        """A step ended well."""
        self._change("ended", host, step, f"✓ {clock(elapsed)}")

    def failed(self, host: str, step: str, message: str) -> None:
        """A step failed."""
        self._change("ended", host, step, f"✗ {_one_line(message)}")

    def note(self, message: str) -> None:
        """Sentences above the block."""
        if self._live is None:
            self.console.say(message)
        elif self.console.verbosity >= NORMAL:
            self._live.console.print(self._text(message.split("\n")), soft_wrap=True)

    def stop(self) -> None:
        """Leave the block as it is now."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _change(self, what: str, *words: str) -> None:
        with self._lock:
            getattr(self._block, what)(*words, time.monotonic())
            if self._live is None and self.console.verbosity >= NORMAL:
                self._live = self._start()

    def _start(self) -> Live:
        from rich.console import Console as RichConsole
        from rich.live import Live

        colours: Literal["standard"] | None = "standard" if self.console.err.colour else None
        rich = RichConsole(file=self.console.stderr, force_terminal=True, color_system=colours, highlight=False)
        live = Live(get_renderable=self._render, console=rich, refresh_per_second=_REDRAWS_PER_SECOND, screen=False)
        live.start()
        return live

    def _render(self) -> Text:
        lines = self._block.lines(time.monotonic(), self.console.columns - 1)
        return self._text(lines)

    def _text(self, lines: list[str]) -> Text:
        from rich.text import Text

        return Text.from_ansi("\n".join(self.console.adapt(line, self.console.err) for line in lines))


def view_for(console: Console) -> PlainView | LiveView:
    """The form of progress that the console can show."""
    return LiveView(console) if console.err.terminal else PlainView(console)
