"""``--concurrency`` above 1: a supervisor, and one worker process for each socket of a listener."""
