"""Lines in tones: cut, filled, put beside each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from edged.tui.lines import Column, Line, Tone, apart, bar, beside, line, rule, table, wrapped

PARTS = st.lists(st.tuples(st.text(st.sampled_from("ab 書斎─"), max_size=12), st.sampled_from(list(Tone))), max_size=5)


@given(PARTS, st.integers(0, 30))
def test_a_line_that_is_cut_says_so_and_one_that_fits_stays(parts: list[tuple[str, Tone]], width: int) -> None:
    whole = line(*parts)
    cut = whole.fitted(width)
    assert cut.width == cell_len(cut.plain) <= width
    if whole.width <= width:
        assert cut.plain == whole.plain
    elif width:
        assert cut.plain.endswith("…")
        assert whole.plain.startswith(cut.plain[:-1].rstrip())


@given(PARTS, st.integers(1, 30))
def test_a_padded_line_is_exactly_as_wide_as_wanted(parts: list[tuple[str, Tone]], width: int) -> None:
    assert line(*parts).padded(width).width == width


def test_tones_reach_rich_and_change_no_character() -> None:
    text = line("a", ("b", Tone.BAD), line(("c", Tone.STRONG))).text()
    assert text.plain == "abc"
    assert [(span.start, span.end, span.style) for span in text.spans if span.style] == [(1, 2, "red"), (2, 3, "bold")]


def test_what_would_move_the_cursor_is_left_out() -> None:
    assert line("a\x1b[2Jb", ("\r\n", Tone.BAD)).plain == "a [2Jb  "


def test_a_rule_ends_with_the_line() -> None:
    assert rule(line("loss"), 10).plain == "loss ─────"
    assert rule(line("loss of the job"), 10).plain == "loss of t…"


def test_two_lines_stand_apart_only_where_there_is_room() -> None:
    assert apart(line("left"), line("right"), 12) == line("left", " ", "  ", "right")
    assert apart(line("left"), line("right"), 10) is None


def test_columns_are_as_high_as_the_higher_one() -> None:
    drawn = beside([line("ab"), line("cd")], [line("x")], 4, 1)
    assert [each.plain for each in drawn] == ["ab   x", "cd"]
    assert [each.plain for each in beside([], [line("x")], 4, 1)] == ["     x"]


def test_a_bar_has_a_full_and_an_empty_part() -> None:
    assert bar(0.5, 4) == Line((("██", Tone.FIGURE), ("░░", Tone.QUIET)))


def test_a_wrapped_sentence_keeps_its_tone() -> None:
    assert wrapped("one two", 4, " ", Tone.WARN) == [line(("one", Tone.WARN)), line((" two", Tone.WARN))]


def columns(*more: Column) -> list[Column]:
    return [
        Column("node", [line("pi"), line("a long name")]),
        Column("layers", [line("0–2"), line("3")]),
        Column("busy", [line("5%"), line("100%")], right=True),
        *more,
    ]


def test_a_table_is_aligned_figures_to_the_right() -> None:
    assert [row.plain for row in table(columns(), 40)] == [
        "node         layers  busy",
        "pi           0–2       5%",
        "a long name  3       100%",
    ]


def test_where_it_is_narrow_the_last_columns_go_and_then_the_names_shrink() -> None:
    rows = [row.plain.rstrip() for row in table(columns(), 20)]
    assert rows == ["node         layers", "pi           0–2", "a long name  3"]
    rows = [row.plain.rstrip() for row in table(columns(), 16)]
    assert rows == ["node      layers", "pi        0–2", "a long …  3"]


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    assert "role" not in table(columns(Column("role", [line(), line()])), 80)[0].plain
