"""Which of the three forms of /metrics a scraper prefers, by its Accept header, and whether it may be packed.

What Prometheus sends: up to 2.48 protobuf without a weight where native histograms are wanted, then weights in the order of its
`scrape_protocols`; since 2.49 with `escaping=`, which is for names that ours are not. Wildcards stand for the plain text, which
everybody can read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tracer.outputs.prometheus import OPENMETRICS, PROTOBUF, TEXT

_PROTOBUF_PARAMETERS = {"proto": "io.prometheus.client.metricfamily", "encoding": "delimited"}


@dataclass(frozen=True)
class Range:
    """One media range of an Accept header, in lower case. quality: 0 (never) to 1."""

    media: str
    parameters: dict[str, str]
    quality: float

    @property
    def content_type(self) -> str | None:
        """The form that it names, None for another, and for wildcards."""
        if self.media == "application/vnd.google.protobuf":
            return PROTOBUF if _PROTOBUF_PARAMETERS.items() <= self.parameters.items() else None
        return {"application/openmetrics-text": OPENMETRICS, "text/plain": TEXT}.get(self.media)


def negotiate(accept: str) -> str:
    """Return the content type that an Accept header prefers, of equals the richer one; TEXT when it names none of ours."""
    weights: dict[str, float] = {}
    for found in _ranges(accept.lower()):
        if found.content_type:
            weights[found.content_type] = max(found.quality, weights.get(found.content_type, 0.0))
    wanted = [form for form in (PROTOBUF, OPENMETRICS, TEXT) if weights.get(form, 0.0) > 0]
    return max(wanted, key=weights.__getitem__, default=TEXT)


def accepts_gzip(accept_encoding: str) -> bool:
    """Say whether an Accept-Encoding header takes gzip."""
    taken = {found.media: found.quality > 0 for found in _ranges(accept_encoding.lower())}
    return taken.get("gzip", taken.get("*", False))


def _ranges(accept: str) -> Iterator[Range]:
    for part in accept.split(","):
        media, *pieces = (piece.strip() for piece in part.split(";"))
        pairs = (piece.partition("=") for piece in pieces)
        parameters = {name.strip(): value.strip().strip('"') for name, _, value in pairs}
        yield Range(media, parameters, _quality(parameters.get("q", "1")))


def _quality(text: str) -> float:
    try:
        return min(float(text), 1.0)
    except ValueError:
        return 0.0
