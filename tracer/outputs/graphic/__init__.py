"""The look of everything that a browser shows: style, documents, tables, and charts as inline SVG. Pure, without a script."""
