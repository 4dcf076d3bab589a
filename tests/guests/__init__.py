"""Other kernels in emulated machines: fetched, booted, and tested with tests/kernel; see CONTRIBUTING.md."""
