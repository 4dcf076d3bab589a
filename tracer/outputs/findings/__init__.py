"""What `tcptrace report` shows, of Findings."""
