"""Before anything is started: whether a run can work, and what it would take."""
