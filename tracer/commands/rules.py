"""`tcptrace rules`: prints the recording and alerting rules for Prometheus, to be named in its rule_files."""

from __future__ import annotations

from tracer.kernel.shipped import shipped


def rules() -> None:
    """Print the rules for Prometheus, recording and alerting, as YAML; no root needed."""
    print((shipped("dashboards") / "rules.yml").read_text(encoding="utf-8"), end="")
