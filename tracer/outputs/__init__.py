"""Ways to show a Report or events: metrics, tables, ladders, lines; the web and the live view have rooms of their own."""
