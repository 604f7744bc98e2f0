"""Hot restart: a new epoch takes over sockets and statistics of the one before, which drains and ends."""
