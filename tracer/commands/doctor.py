"""`tcptrace doctor`: what this machine can and cannot do, each finding with its remedy."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from tracer.commands import options
from tracer.kernel.health import Finding, examine

MARKS = {"ok": "ok  ", "warning": "warn", "problem": "FAIL"}
COLORS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}


def doctor(context: typer.Context, format_name: options.TextOrJson = "text") -> None:
    """Say what this machine can and cannot do for tcptrace; exit 1 if a command would fail."""
    findings = examine()
    if format_name == "json":
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        color = options.is_colored(context)
        print("\n".join(line for finding in findings for line in finding_lines(finding, color=color)))
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)


def finding_lines(finding: Finding, *, color: bool) -> list[str]:
    """Return a finding as text: one line, and a second one with the remedy when there is one."""
    mark = MARKS[finding.status]
    shown = typer.style(mark, fg=COLORS[finding.status]) if color else mark
    lines = [f"{shown} {finding.name}: {finding.detail}"]
    return lines + ([f"     {finding.remedy}"] if finding.remedy else [])
