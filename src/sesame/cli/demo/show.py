"""Output of `sesame demo`: one line per call; with details, or if a call failed, everything.

Used by `cli.demo.command`.
"""

import json

import msgspec
from rich.markup import escape

from sesame.cli import output
from sesame.cli.demo.calls import Answer, DemoCall, DemoFunction, oss_code

SHOWN_CHARS = 360
# Widths of the columns in a call's line: title, event, answer.
TITLE_CHARS, EVENT_CHARS, ANSWER_CHARS = 28, 22, 34


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `stored` is what the bucket holds afterwards, `problem` what is wrong; "" for nothing."""

    function: DemoFunction
    call: DemoCall
    event: bytes
    answer: Answer
    stored: str
    problem: str


def deployed(function: DemoFunction, name: str, took_ms: float) -> None:
    """Prints the heading of a function's calls, shown only with details."""
    output.out.print(
        f"\n[bold]{function.title}[/]  [dim](deployed {name}, handler {function.handler}, in {took_ms:.0f} ms)[/]"
    )


def call(shown: Shown, *, details: bool) -> None:
    if not details:
        _line(shown)
    if details or shown.problem:
        _details(shown)
    if shown.problem:
        output.out.print(f"  [bold red]not as the manual says:[/] {escape(shown.problem)}")


def _line(shown: Shown) -> None:
    state = "[bold red]wrong[/]" if shown.problem else "[green]ok   [/]"
    title, sent = shown.function.title, shown.event.decode()
    if shown.call.leaves:
        # The event of an upload is long and repeats what the result shows.
        sent = json.loads(sent)["objectName"]
    columns = (
        f"{_cut(title, TITLE_CHARS):<{TITLE_CHARS}}",
        f"{_cut(sent or '(no event)', EVENT_CHARS):<{EVENT_CHARS}}",
        f"{_cut(_came_back(shown.answer), ANSWER_CHARS):<{ANSWER_CHARS}}",
    )
    output.out.print(
        f"  {state} {escape('  '.join(columns))}  [dim]{shown.call.temperature} {shown.answer.round_trip_ms:7.1f} ms[/]"
    )


def _came_back(answer: Answer) -> str:
    """Formats the answer as one line: an error as its type and message."""
    text = answer.body.decode("utf-8", "replace")
    if code := oss_code(answer):
        return f"refused by OSS: {code}"
    if answer.failed:
        error = json.loads(text)
        return ": ".join(str(error[key]) for key in ("errorType", "errorMessage") if error.get(key))
    return text or "(empty)"


def _cut(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _details(shown: Shown) -> None:
    answer = shown.answer
    output.out.print(f"  sent  {escape(shown.event.decode() or '(empty)')}")
    for number, line in enumerate(answer.body.decode("utf-8", "replace").splitlines() or ["(empty)"]):
        if len(line) > SHOWN_CHARS and not shown.problem:
            line = f"{line[:SHOWN_CHARS]} … ({len(line) - SHOWN_CHARS} more)"
        label = ("error " if answer.failed else "got   ") if number == 0 else "      "
        output.out.print(f"  {label}{escape(line)}", style="yellow" if answer.failed else "green")
    if shown.call.shows_log or shown.problem:
        for line in answer.log.splitlines():
            output.out.print(f"  log   [dim]{escape(line)}[/]")
    output.out.print(
        f"  time  {shown.call.temperature} {answer.round_trip_ms:.1f} ms for the caller"
        + (f", {answer.duration_ms} ms in the function" if answer.duration_ms else "")
        + f"  [dim]request {answer.request_id}[/]"
    )
    if code := oss_code(answer):
        output.out.print(f"  oss   refused it with {code}", style="cyan")
    if shown.stored:
        output.out.print(f"  oss   {escape(shown.stored)}", style="cyan")
