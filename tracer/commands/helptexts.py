"""What the help has beside docstrings and options: a line on each verb, and two examples (what is typed, what it does)."""

from __future__ import annotations

SUMMARIES = {
    "run": "Trace this machine's TCP connections; live view and /metrics",
    "events": "Print a line for every event, as it happens",
    "follow": "Draw each connection's life as it happens",
    "connections": "Show open connections: rates, queues, why they are slow",
    "audit": "Compare our counts with the kernel's own",
    "snapshot": "Show the sockets as they are now: states, ports, backlogs",
    "record": "Record the raw events to a file",
    "replay": "Show a recording as if it were happening",
    "report": "Report handshake times, failures, peers, worst connections",
    "dashboard": "Print a Grafana dashboard as JSON",
    "rules": "Print the rules for Prometheus, recording and alerting",
    "doctor": "Say what this machine can and cannot do for tcptrace",
    "help": "Show what a verb does, with its options and examples",
}

EXAMPLES: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "run": (
        ("sudo tcptrace run --port 80,443", "two services"),
        ("sudo tcptrace run --duration 5m --json", "for five minutes"),
    ),
    "events": (
        ("sudo tcptrace events --kind failure", "failed connections, as they fail"),
        ("sudo tcptrace events --port 443 --json", "all fields, one object a line"),
    ),
    "follow": (
        ("sudo tcptrace follow --port 8080 --explain", "each step, and what it means"),
        ("sudo tcptrace follow --role client --count 1", "the next outgoing connection"),
    ),
    "connections": (
        ("sudo tcptrace connections --watch", "a new look every second"),
        ("tcptrace connections --sort rtt --count 5", "the five slowest round trips"),
    ),
    "audit": (
        ("sudo tcptrace audit", "ten seconds"),
        ("sudo tcptrace audit --duration 1m --json", "a minute, as one JSON object"),
    ),
    "snapshot": (
        ("sudo tcptrace snapshot", "all network namespaces"),
        ("tcptrace snapshot --netns own --json", "this namespace, as one JSON object"),
    ),
    "record": (
        ("sudo tcptrace record -o FILE --duration 5m", "five minutes of events"),
        ("sudo tcptrace record -o FILE --follow", "and what 'follow' draws"),
    ),
    "replay": (
        ("tcptrace replay FILE --speed 1", "the live view, as fast as it was"),
        ("tcptrace replay FILE events --port 443", "the events of one service"),
    ),
    "report": (
        ("sudo tcptrace report --duration 1m", "the next minute"),
        ("tcptrace report FILE --format html -o PAGE", "a recording, as one page"),
    ),
    "dashboard": (
        ("tcptrace dashboard > tcptrace.json", "the overview"),
        ("tcptrace dashboard --all DIRECTORY", "all of them, as files"),
    ),
    "rules": (
        ("tcptrace rules > tcptrace.rules.yml", "a file for rule_files"),
        ("tcptrace rules | promtool check rules", "check them"),
    ),
    "doctor": (("sudo tcptrace doctor", "as root, who runs the tracer"), ("sudo tcptrace doctor --json", "one JSON object")),
}
