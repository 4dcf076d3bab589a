"""The HTTP server: its pages, who may ask for them, and the configuration that says so."""
