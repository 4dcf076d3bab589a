from __future__ import annotations

from tracer.outputs.live.styled import Piece, cut, encoded, line, plain, restyled

LINE = line("plain ", Piece("bold", "bold"), " end")


def test_a_line_is_padded_to_its_width() -> None:
    assert encoded(LINE, 20, color=False) == "plain bold end      "


def test_colours_are_codes_around_a_piece() -> None:
    assert encoded(LINE, 14, color=True) == "plain \x1b[1mbold\x1b[0m end"


def test_a_line_that_fits_is_not_cut() -> None:
    assert cut(LINE, 14) == LINE


def test_a_cut_line_ends_in_an_ellipsis_and_keeps_its_styles() -> None:
    assert cut(LINE, 9)[1] == Piece("bo", "bold")
    assert [plain(cut(LINE, width)) for width in (9, 2, 1, 0)] == ["plain bo…", "p…", "…", ""]


def test_a_chosen_line_has_one_style_over_its_whole_width() -> None:
    assert restyled(LINE, "chosen", 16) == (Piece("plain bold end  ", "chosen"),)
