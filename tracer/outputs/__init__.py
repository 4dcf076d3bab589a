"""Ways to show a Report: metrics, pages, tables and lines; pure functions, and one HTTP server."""
