"""Where tasks run: processes here, an existing scheduler, actors of Ray."""
