"""Numbers and names as people read them in a column: three significant digits, short counts, names without their middle."""

from __future__ import annotations

import errno

UNKNOWN = "-"


def time_text(seconds: float | None) -> str:
    """Return a time such as `33.1 µs`, `1.02 ms` or `3.04 s`; UNKNOWN for None."""
    if seconds is None:
        return UNKNOWN
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{_three_digits(seconds)} s"


def count_text(count: float | None) -> str:
    """Return a count in at most five characters: exact below 100,000, then `123k`, `1.23M`; UNKNOWN for None."""
    if count is None:
        return UNKNOWN
    if count < 100_000:
        return str(round(count))
    for factor, unit in ((1e3, "k"), (1e6, "M")):
        if count / factor < 999.5:
            return _three_digits(count / factor) + unit
    return _three_digits(count / 1e9) + "G"


def exact_text(count: int | None, sign: str = "") -> str:
    """Return a count in full, `1,234`; with the sign "+" before those above 0, too; UNKNOWN for None."""
    return UNKNOWN if count is None else f"{count:{sign if count else ''},}"


def rate_text(per_second: float | None) -> str:
    """Return a rate per second in at most five characters; UNKNOWN for None."""
    if per_second is None:
        return UNKNOWN
    return _three_digits(per_second) if 0 < per_second < 999.5 else count_text(per_second)


def bytes_text(count: int) -> str:
    """Return a number of bytes such as `999 B`, `1.02 MB` (powers of 1,000)."""
    for factor, unit in ((1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")):
        if count / factor < 999.5:
            return f"{count if factor == 1 else _three_digits(count / factor)} {unit}"
    return f"{_three_digits(count / 1e12)} TB"


def percent_text(part: float | None, decimals: int = 0) -> str:
    """Return a part of one in hundredths, without a sign; UNKNOWN for None."""
    return UNKNOWN if part is None else f"{100 * part:.{decimals}f}"


def endpoint_text(address: str, port: int) -> str:
    """Return `address:port`, `[address]:port` for IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def shortened(text: str, width: int) -> str:
    """Return text with its middle left out where it is too long; beginning and end of an address tell most."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[left + 1 - width :]}"


def error_name(number: int) -> str:
    """Return ECONNRESET for 104, and `error 999` for a number without a name."""
    return errno.errorcode.get(number, f"error {number}")


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"
