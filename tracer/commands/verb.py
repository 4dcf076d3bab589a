"""What every verb has besides its own options: --color, --json where there is --format, and its help.

The help is plain text: Typer's boxes leave 26 of 80 columns for what an option does, and break words. It begins with the
sentence that says what the verb does, and two examples; options and filters follow, and what else there is to say comes last.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperOption

from tracer.commands.helptexts import EXAMPLES, SUMMARIES
from tracer.errors import UsageError

if TYPE_CHECKING:
    from typer import Context

JSON = "json_wanted"
FIRST_COLUMN = 28
EXAMPLE_COLUMN = 46


class Verb(TyperCommand):
    """A verb; its own options are those of its function."""

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **settings: Any) -> None:
        own = list(params or ())
        places = [place for place, param in enumerate(own) if param.name == "format_name"]
        if places:
            own.insert(places[0] + 1, _json_option())
        first_filter = next((place for place, param in enumerate(own) if _panel(param)), len(own))
        own.insert(first_filter, _color_option())
        super().__init__(name, params=own, **settings)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as every command does, and let --json stand for --format json; raises UsageError where both are given."""
        rest = super().parse_args(ctx, args)
        if ctx.meta.get(JSON):
            source = ctx.get_parameter_source("format_name")
            is_given = source is not None and source.name == "COMMANDLINE"
            if is_given and ctx.params["format_name"] != "json":
                raise UsageError(f"--json and --format {ctx.params['format_name']} are two formats", "give one of them")
            ctx.params["format_name"] = "json"
        return rest

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the line of the list of verbs."""
        return SUMMARIES.get(self.name or "") or super().get_short_help_str(limit)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write all of the help."""
        first, *more = cleandoc(self.help or "").partition("\f")[0].split("\n\n")
        self.format_usage(ctx, formatter)
        _write_paragraph(formatter, first)
        if self.name in EXAMPLES:
            with formatter.section("Examples"):
                formatter.write_dl(EXAMPLES[self.name], col_max=EXAMPLE_COLUMN)
        self.format_options(ctx, formatter)
        for text in more:
            _write_paragraph(formatter, text)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, and the filters under a heading of their own."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                usual = "Arguments" if param.param_type_name == "argument" else "Options"
                panels.setdefault(_panel(param) or usual, []).append(record)
        for title, records in panels.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=FIRST_COLUMN)


def _panel(param: Any) -> str | None:
    panel: str | None = getattr(param, "rich_help_panel", None)
    return panel


def _write_paragraph(formatter: Any, text: str) -> None:
    formatter.write_paragraph()
    formatter.write_text(text)


def _json_option() -> TyperOption:
    return TyperOption(
        param_decls=[JSON, "--json"],
        is_flag=True,
        default=False,
        expose_value=False,
        callback=_keep_json,
        help="The same as --format json.",
    )


def _color_option() -> TyperOption:
    return TyperOption(
        param_decls=["color", "--color/--no-color"],
        is_flag=True,
        default=None,
        expose_value=False,
        callback=_keep_color,
        help="Colors; default: on a terminal, unless NO_COLOR is set.",
    )


def _keep_json(context: Context, _: Any, wanted: bool) -> None:
    context.meta[JSON] = wanted


def _keep_color(context: Context, _: Any, wanted: bool | None) -> None:
    if wanted is not None:
        context.obj = wanted
