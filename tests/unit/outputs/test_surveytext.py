from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.model.builder import CONTEXT, SECOND, reading
from tests.unit.model.dumps import OTHER_NETNS, OWN, PORTS, dump, sockets
from tracer.ingest.names import name_text
from tracer.ingest.owners import Owner
from tracer.ingest.snapshot import PortUse, Snapshot, parse_snapshot, snapshot_document
from tracer.model.report import Report
from tracer.model.sockets import summed
from tracer.model.summaryjson import summary_document
from tracer.model.survey import Survey, survey
from tracer.model.totals import Model
from tracer.model.unlisted import EventSockets
from tracer.outputs.prometheus import render
from tracer.outputs.surveytext import forecast_text, soonest, survey_document, survey_lines
from tracer.outputs.web.page import page

LONG = "[2001:db8:1111:2222:3333:4444:5555:6666]"


def surveyed(hidden: int = 0) -> Survey:
    found = dump(
        sockets("listen", "0.0.0.0:80", "0.0.0.0:0", rqueue=3, wqueue=128),
        sockets("established", "10.0.0.1:80", "198.51.100.7:51000"),
        sockets("time_wait", n=23),
        sockets("time_wait", "10.0.0.1:80", "198.51.100.7:51001"),
        sockets("time_wait", f"{LONG}:40000", f"{LONG}:443", 5),
        sockets("close_wait", n=2, inode=5),
        sockets("fin_wait2", inode=0, timer=3),
        sockets("last_ack", inode=0),
        ports={OWN: PORTS, OTHER_NETNS: PORTS},
    )
    owner = Owner(4242, name_text(b"leaky\x1bserver"))
    return survey(found, ports=(), owners={5: owner}, heard={5: 93.5}, hidden=hidden, wanted=10)


def test_the_survey_is_read_as_text() -> None:
    assert survey_lines(surveyed()) == [
        "35 sockets",
        "  established           1   syn_sent              0   syn_recv              0",
        "  fin_wait1             0   fin_wait2             1   time_wait            29",
        "  close                 0   close_wait            2   last_ack              1",
        "  listen                1   closing               0",
        "",
        "TIME_WAIT by destination",
        "  192.0.2.1:443                                                            23",
        "  [2001:db8:1111:2222:3333:4444:5555:6666]:443                              5",
        "",
        "TIME_WAIT by local service",
        "  10.0.0.1:80                                                               1",
        "",
        "Ephemeral ports by destination      from                   used  limit    %",
        "  192.0.2.1:443                     10.0.0.1                 27 28,232    0",
        "  [2001:db8:1111:2…4:5555:6666]:443 2001:db8:…5555:6666       5 28,232    0",
        "",
        "CLOSE_WAIT by process                    pid       count      oldest",
        "  leaky\\x1bserver                       4242           2      93.5 s",
        "",
        "FIN_WAIT2 by process                     pid       count      oldest",
        "  (orphan, timed)                          -           1           -",
        "",
        "Listeners, the fullest first      process            waiting    limit   dropped",
        "  0.0.0.0:80                      -                        3      128         -",
        "",
        "1 orphans (closed by their process), 0 not accepted yet",
        "30 timewait objects (TIME_WAIT, and FIN_WAIT2 of orphans: sockstat's tw)",
        "network namespaces: 4026531840 (tcptrace's own), 4026532999",
    ]


def test_it_is_always_under_80_columns() -> None:
    part = sockets("close_wait", f"{LONG}:40000", f"{LONG}:65535", 99, inode=7)
    listening = sockets("listen", f"{LONG}:65535", "[::]:0", 99, rqueue=2**32 - 1, wqueue=2**32 - 1, spread=False)
    many = {OWN + i: PORTS for i in range(60)}
    found = dump(part, listening, ports=many)
    owners = {7: Owner(4194304, "x" * 64)}
    lines = survey_lines(survey(found, ports=(), owners=owners, heard={7: 1e6}, hidden=10**6, wanted=10))
    assert max(map(len, lines)) < 80
    assert "  and 79 more" in lines
    assert any("59 more" in line for line in lines)


def test_what_could_not_be_looked_into_is_said() -> None:
    assert survey_lines(surveyed(hidden=23))[-1].endswith("could not be looked into, as root they can: 23")


def test_the_document_has_all_of_it() -> None:
    found = json.loads(json.dumps(survey_document(surveyed(hidden=1))))
    assert (found["sockets"]["time_wait"], found["orphans"], found["unaccepted"], found["processes_hidden"]) == (29, 1, 0, 1)
    assert found["time_wait"]["by_service"] == [{"service": "10.0.0.1:80", "count": 1}]
    assert found["time_wait"]["objects"] == 30
    assert found["close_wait"] == [{"process": r"leaky\x1bserver", "pid": 4242, "count": 2, "oldest_seconds": 93.5}]
    assert found["fin_wait2"] == [{"process": "(orphan, timed)", "pid": None, "count": 1, "oldest_seconds": None}]
    queue = {"netns": OWN, "service": "0.0.0.0:80", "backlog": 3, "backlog_limit": 128}
    assert found["listeners"] == [{**queue, "drops": None, "process": None, "pid": None}]
    assert found["ephemeral_ports"]["destinations"][0] == {
        "netns": OWN,
        "local_address": "10.0.0.1",
        "destination": "192.0.2.1:443",
        "used": 27,
        "limit": 28232,
        "percent": 0.1,
    }
    assert found["namespaces"] == [OWN, OTHER_NETNS]


USE = PortUse(OWN, "10.0.0.1", "192.0.2.1:443", 27_000, 28_232, 42.0)


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0.0, "now"), (42.0, "in 42.0 s"), (3.25, "in 3.25 s")])
def test_a_forecast_is_told_in_words(seconds: float | None, text: str) -> None:
    assert forecast_text(replace(USE, forecast_seconds=seconds)) == text


def test_only_the_forecast_that_comes_first_is_told_and_none_that_is_far_away() -> None:
    later, far, none = (replace(USE, forecast_seconds=seconds) for seconds in (99.0, 1e6, None))
    assert soonest(Snapshot(ports=(later, far, USE, none))) == USE
    assert soonest(Snapshot(ports=(far, none))) is None
    assert soonest(None) is None


def reported(snapshot: Snapshot) -> Report:
    model = Model(CONTEXT, start_ns=0)
    model.add(reading(snapshot=snapshot, time_ns=5 * SECOND))
    return model.report()


def sums() -> Snapshot:
    parts = [sockets("time_wait", remote=f"192.0.2.{i}:443", n=i) for i in range(1, 13)]
    return replace(summed(dump(*parts, end_ns=2 * SECOND)), duration_seconds=0.25)


def test_the_metrics_tell_the_snapshot_and_how_old_it_is() -> None:
    lines = render(reported(sums())).decode().splitlines()
    assert 'tcptrace_sockets{state="time_wait"} 78.0' in lines
    assert sum(line.startswith("tcptrace_sockets{") for line in lines) == 11
    assert 'tcptrace_time_wait_sockets{destination="192.0.2.12:443"} 12.0' in lines
    assert 'tcptrace_time_wait_sockets{destination="other"} 3.0' in lines
    assert 'tcptrace_ephemeral_ports_used{destination="192.0.2.12:443"} 12.0' in lines
    assert 'tcptrace_ephemeral_ports_used{destination="other"} 2.0' in lines
    assert "tcptrace_ephemeral_ports_limit 28232.0" in lines
    assert "tcptrace_snapshot_duration_seconds 0.25" in lines
    assert "tcptrace_snapshot_age_seconds 3.0" in lines


def test_a_destination_of_two_namespaces_is_one_sample_with_the_larger_use() -> None:
    snapshot = Snapshot(ports=(USE, replace(USE, netns=OTHER_NETNS, used=23)), ports_limit=USE.limit)
    lines = [
        line for line in render(reported(snapshot)).decode().splitlines() if line.startswith("tcptrace_ephemeral_ports_used")
    ]
    assert lines == ['tcptrace_ephemeral_ports_used{destination="192.0.2.1:443"} 27000.0']


def test_a_namespace_with_another_limit_is_named_and_so_is_its_use() -> None:
    other = replace(USE, netns=OTHER_NETNS, used=23, limit=100)
    unknown = replace(USE, netns=None, used=5, limit=None)
    snapshot = Snapshot(ports=(USE, other, unknown), ports_limit=USE.limit, other_limits=((OTHER_NETNS, 100),))
    assert samples(reported(snapshot), "ephemeral_ports") == {
        'used{destination="192.0.2.1:443"} 27000.0',
        f'used{{destination="192.0.2.1:443",netns="{OTHER_NETNS}"}} 23.0',
        'used{destination="192.0.2.1:443",netns="unknown"} 5.0',
        "limit 28232.0",
        f'limit{{netns="{OTHER_NETNS}"}} 100.0',
    }


def test_what_only_events_tell_is_marked_in_metrics_and_for_people() -> None:
    use = replace(USE, netns=OTHER_NETNS, used=7, limit=None, forecast_seconds=None, seen="events")
    unlisted = EventSockets((OTHER_NETNS,), (("192.0.2.1:443", 5),), (use,), 2)
    report = replace(reported(Snapshot(namespaces=(OWN,), time_wait=(("192.0.2.1:443", 78),))), unlisted=unlisted)
    assert samples(report, "time_wait") == {
        'sockets{destination="192.0.2.1:443"} 78.0',
        'sockets{destination="192.0.2.1:443",seen="events"} 5.0',
    }
    assert samples(report, "ephemeral_ports") == {
        f'used{{destination="192.0.2.1:443",netns="{OTHER_NETNS}",seen="events"}} 7.0',
        'used{destination="other",seen="events"} 2.0',
    }
    assert samples(report, "namespaces") == {'{seen="sockets"} 1.0', '{seen="events"} 1.0'}
    assert "<td>192.0.2.1:443 (events)</td><td>10.0.0.1</td><td>7</td><td>-</td><td>-</td>" in page(report)


def samples(report: Report, name: str) -> set[str]:
    prefix = f"tcptrace_{name}"
    lines = render(report).decode().splitlines()
    return {line.removeprefix(prefix).removeprefix("_") for line in lines if line.startswith(prefix)}


def test_without_a_snapshot_there_is_no_such_metric() -> None:
    text = render(Model(CONTEXT).report()).decode()
    for name in ("sockets", "time_wait_sockets", "ephemeral_ports", "snapshot_"):
        assert f"tcptrace_{name}" not in text
    assert Model(CONTEXT).report().snapshot_age_seconds is None


def test_the_page_has_a_row_for_each_destination_with_its_forecast() -> None:
    text = page(reported(replace(sums(), ports=(USE,))))
    assert "<td>192.0.2.1:443</td><td>10.0.0.1</td><td>27,000</td><td>28,232</td><td>in 42.0 s</td>" in text
    assert 'Ephemeral ports in use</h2><span class="soft"> 0</span>' in page(Model(CONTEXT).report())


def test_the_document_of_a_run_has_the_states() -> None:
    assert summary_document(reported(sums()))["sockets"]["time_wait"] == 78


def test_a_snapshot_comes_back_from_json_as_it_was() -> None:
    whole = replace(sums(), ports=(USE,), ports_other=None, namespaces=(OWN, OTHER_NETNS))
    assert parse_snapshot(json.loads(json.dumps(snapshot_document(whole)))) == whole
