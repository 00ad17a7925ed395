"""What every room uses and what uses none: errors, the log, findings, text, files, deadlines."""
