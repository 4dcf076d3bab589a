"""PromQL in the few forms that the dashboards need; every selector keeps to the chosen jobs and instances.

Divisions leave out what would be divided by nothing (`> 0`) and quantiles of nothing (NaN, which no comparison lets through):
a gap says "there was none", a NaN or an infinity says nothing. The range of a rate is always Grafana's, so that it never
falls below the scrape interval.
"""

from __future__ import annotations

from tracer.outputs.metrics import METRICS, L

SCOPE = 'job=~"$job", instance=~"$instance"'
HOST = ("job", "instance")
NOT_LEFT = 'left=""'
ENDS = ("_bucket", "_sum", "_count")


def series(name: str, *matchers: str) -> str:
    """Return the selector of a metric, named without tcptrace_, that also meets the matchers given."""
    prefix = "" if name == "up" or name.startswith("process_") else "tcptrace_"
    return f"{prefix}{name}{{{', '.join((SCOPE, *matchers))}}}"


def growing(name: str, *matchers: str) -> str:
    """Return the selector of a counter without what label sets had when they left, which is moved and is no growth."""
    of_sets = any(
        name in {metric.name, *(metric.name + end for end in ENDS)} for metric in METRICS if {L, "role"} & {*metric.labels}
    )
    return series(name, *matchers, *([NOT_LEFT] if of_sets else []))


def rate(name: str, *matchers: str) -> str:
    """Return how fast a counter grows, a second."""
    return f"rate({growing(name, *matchers)}[$__rate_interval])"


def growth(name: str, *matchers: str) -> str:
    """Return by how much a counter has grown in the time shown."""
    return f"increase({growing(name, *matchers)}[$__range])"


def happening(name: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """Return how fast a counter grows by labels, zeros included, of those that grow at all in the time shown.

    `> 0` would leave holes in the lines, over which legends take their means.
    """
    grown = f"increase({growing(name, *matchers)}[$__range] @ end())"
    return f"{total(rate(name, *matchers), *by)} and on ({', '.join(by)}) {total(grown, *by)} > 0"


def total(expression: str, *by: str) -> str:
    """Return the sum of an expression, for each combination of the labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def largest(expression: str, *by: str) -> str:
    """Return the greatest value of an expression for each combination of the labels."""
    return f"max by ({', '.join(by)}) ({expression})"


def ratio(part: str, whole: str) -> str:
    """Return a quotient, and nothing where the whole is zero."""
    return f"{part} / ({whole} > 0)"


def native(name: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """Return how fast a native histogram grows, for each combination of the labels; nothing where it was scraped as classic."""
    return total(rate(name, *matchers), *by)


def quantile(q: float, name: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """Return a quantile of a histogram, native or classic, in its unit, and nothing where nothing was observed."""
    buckets = total(rate(f"{name}_bucket", *matchers), *by, "le")
    kinds = (native(name, *by, matchers=matchers), buckets)
    return " or ".join(f"histogram_quantile({q:g}, {kind}) >= 0" for kind in kinds)


def mean(name: str, *by: str) -> str:
    """Return the mean of a histogram, native or classic, in its unit, and nothing where nothing was observed."""
    growth_of = native(name, *by)
    classic = ratio(total(rate(f"{name}_sum"), *by), total(rate(f"{name}_count"), *by))
    return f"{ratio(f'histogram_sum({growth_of})', f'histogram_count({growth_of})')} or {classic}"


def spread(name: str, *matchers: str) -> str:
    """Return how fast a histogram grows for a heat map: a native one where there is one, else the classic buckets by le."""
    return f"{native(name, matchers=matchers)} or on () {total(rate(f'{name}_bucket', *matchers), 'le')}"


def attempts(*by: str, matchers: tuple[str, ...] = ()) -> str:
    """Return how many connection attempts ended a second, in success or failure."""
    succeeded, failed = (total(rate(name, *matchers), *by) for name in ("handshakes_total", "handshake_failures_total"))
    return f"({succeeded} + {failed})"


def failure_ratio(*by: str) -> str:
    """Return the share of connection attempts that failed."""
    return ratio(total(rate("handshake_failures_total"), *by), attempts(*by))


def of_tcptrace(expression: str) -> str:
    """Leave out the other targets of the Prometheus, which `All` lets in where a metric is not ours alone."""
    return f"{expression} and on (job, instance) {series('build_info')}"


def port_use(used: str = series("ephemeral_ports_used")) -> str:
    """Return the share of the ephemeral ports in use towards each destination."""
    return f"{used} / on (job, instance, netns) group_left () ({series('ephemeral_ports_limit')} > 0)"


def top(expression: str, count: int = 10) -> str:
    """Return the greatest values alone, at each moment."""
    return f"topk({count}, {expression})"
